"""`lowlight adapt`: pairs of one's own camera become a model, killed or not, and never one that is worse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lowlight as package
from camera import place, write_pairs
from lowlight import methods
from lowlight.errors import UseError
from lowlight.files import claimed
from lowlight.methods.dimma.network import Network
from lowlight.methods.dimma.training.adapt import GRAPH, Course, Order, adapt, left_out
from lowlight.training.camera_pairs import CameraPair, check_pairs, find_pairs, usable
from lowlight.training.loop import Outcome, Timed, fit
from lowlight.training.recipe import Recipe
from lowlight.weights import Header, open_weights, save_safetensors

TINY = Course(
    dimmer_steps=10,
    detail_steps=8,
    steps=20,
    crop=32,
    count=2,
    detail_rate=1e-3,
    rate=3e-3,
    precision="float32",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, normal photos and weights to start from."""
    folder = write_pairs(tmp_path_factory.mktemp("made") / "pairs", 3).parent
    (folder / "photos").mkdir()
    for seed in range(50, 53):
        Image.fromarray(place(seed)).save(folder / "photos" / f"{seed}.png")
    config = methods.find("dimma").tiny_config()  # type: ignore[attr-defined]
    torch.manual_seed(0)
    tensors = {name: tensor.numpy() for name, tensor in Network(config).state_dict().items()}
    header = Header(name="base", method="dimma", config=config.model_dump(mode="json"), licence="CC0")
    save_safetensors(folder / "base.safetensors", header, tensors)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


KNOWN: dict[tuple[bytes, ...], list[CameraPair]] = {}


def pairs_in(folder: Path) -> list[CameraPair]:
    """Its usable pairs; files that were looked at before, as those of every copy of ``made``, are not again."""
    files = find_pairs(folder)
    contents = tuple(file.read_bytes() for _, *both in files for file in both)
    if contents not in KNOWN:
        KNOWN[contents] = usable(check_pairs(files))
    return KNOWN[contents]


def order(folder: Path, **changes: Any) -> Order:
    values = {
        "pairs": pairs_in(folder / "pairs"),
        "out": folder / "mine.onnx",
        "start": folder / "base.safetensors",
        "photos": folder / "photos",
        "course": TINY,
    }
    return Order(**{**values, **changes})  # type: ignore[arg-type]


# Wrong use, told before anything is trained


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-o", "mine.safetensors"], 2, "mine.safetensors: expected a name that ends in .onnx"),
        (["-o", "there.onnx"], 2, "there.onnx exists; --overwrite replaces it"),
        (["-o", "mine.onnx", "--from", "nobody.safetensors"], 1, "nobody.safetensors: no such weights file"),
        (["-o", "mine.onnx", "--pairs", "photos"], 2, "expected two folders in it, dark and light"),
        (["-o", "mine.onnx", "--minutes", "1"], 2, "--minutes"),
        (["-o", "mine.onnx", "--from", "dimma"], 2, "a graph runs but cannot be trained on"),
    ],
)
def test_wrong_use_is_one_line(
    lowlight: Any, folder: Path, arguments: list[str], status: int, said: str
) -> None:
    Path("there.onnx").write_bytes(b"mine")
    given = ["--from", "base.safetensors", "--pairs", "pairs", *arguments]
    found, out, err = lowlight("adapt", *given)
    assert (found, out) == (status, "")
    assert said in err
    assert Path("there.onnx").read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == [
        "base.safetensors",
        "pairs",
        "photos",
        "there.onnx",
    ]


def test_a_graph_is_refused_before_the_pairs_are_looked_at(lowlight: Any, folder: Path) -> None:
    Image.fromarray(place(90)).save(folder / "pairs" / "dark" / "0.png")
    status, out, err = lowlight("adapt", "--pairs", "pairs", "-o", "mine.onnx", "--from", "dimma")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "dimma.onnx: a graph runs but cannot be trained on" in err


def test_photos_are_looked_for_before_the_pairs(lowlight: Any, folder: Path) -> None:
    given = ["--from", "base.safetensors", "--pairs", "pairs", "-o", "mine.onnx", "--photos", "gone"]
    assert lowlight("adapt", *given) == (2, "", "lowlight: --photos gone: expected a folder of photos\n")


def test_all_bad_pairs_are_told_before_anything_is_trained(lowlight: Any, folder: Path) -> None:
    for name in ("0", "2"):
        Image.fromarray(place(90)).save(folder / "pairs" / "dark" / f"{name}.png")
    status, out, err = lowlight("adapt", "--pairs", "pairs", "-o", "mine.onnx", "--from", "base.safetensors")
    lines = err.splitlines()
    assert (status, out, len(lines)) == (1, "", 4)
    assert lines[0].startswith("0: not usable: ")
    assert lines[1].startswith("1: 200x180, lightness 0.0")
    assert lines[2].startswith("2: not usable: ")
    assert "2 of 3 pairs are not usable (0, 2)" in lines[3]
    assert not Path("mine.adapt").exists()


def test_where_weights_to_start_from_belong_is_told(
    lowlight: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowlight.places.folders", lambda: [folder])
    status, _, err = lowlight("adapt", "--pairs", "pairs", "-o", "mine.onnx")
    assert status == 2
    assert "no weights dimma-torch: the package holds graphs only" in err
    assert "put models/dimma-torch.safetensors of lowlight's source into ./models or " in err


@pytest.mark.slow
def test_bad_pairs_are_told_without_torch(folder: Path) -> None:
    Image.fromarray(place(90)).save(folder / "pairs" / "dark" / "0.png")
    command = ["-m", "lowlight", "adapt", "--pairs", "pairs", "-o", "mine.onnx", "--from", "base.safetensors"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "0: not usable" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "numpy" in imported
    assert "torch" not in imported


def test_the_pair_that_is_left_out_is_the_usual_one(folder: Path) -> None:
    pairs = order(folder).pairs
    shares = [pair.dark.mean() / pair.light.mean() for pair in pairs]
    assert left_out(pairs).name == str(np.argsort(shares)[1])


# Whole adaptations


@pytest.mark.slow
def test_pairs_become_a_model(folder: Path) -> None:
    said: list[str] = []
    result = adapt(order(folder), say=said.append)
    assert not result.kept_old
    assert 0 < result.steps <= 20
    assert result.after["psnr"] > result.before["psnr"] + 1
    opened = open_weights(result.out)
    header = opened.header
    assert (opened.kind, header.name, header.precision, header.licence) == ("onnx", "mine", "float16", "CC0")
    assert header.data == ["3 pairs of one's own camera"]
    held = next(pair for pair in order(folder).pairs if pair.name == result.held)
    enhanced = package.load(result.out, threads=1)(held.dark, lightness=float(held.light.mean() / 255))
    error = np.mean((enhanced / 255 - held.light / 255) ** 2)
    assert -10 * np.log10(error) >= result.after["psnr"] - 0.05, (
        "what is better with all pairs, or the best moment without it"
    )
    with Image.open(result.sheet) as sheet:
        assert sheet.width > 4 * 200
    assert any(line.startswith("3 normal photos of ") for line in said)
    told = [line for line in said if "it takes about" in line or line.startswith("8 steps for detail")]
    assert told[0].startswith("as fast as this machine is now, it takes about ")
    assert told[1] == "8 steps for detail and 20 for all, then both again with all pairs"
    dimmer = package.load_dimmer(folder / "mine.adapt" / "dimmer" / "last.safetensors")
    assert dimmer.dim(held.light).mean() == pytest.approx(held.dark.mean(), rel=0.3)


@pytest.mark.slow
def test_what_is_worse_is_not_kept(folder: Path) -> None:
    """From weights that were trained to the left-out pair, by a rate that breaks them."""
    held = left_out(order(folder).pairs).name
    recipe = {
        "name": "base",
        "method": "dimma",
        "stage": "paired",
        "config": open_weights(folder / "base.safetensors").header.config,
        "settings": {"losses": {"lpips": 0}, "optimizer": {"rate": 3e-3}},
        "data": {
            "root": folder,
            "jitter": None,
            "sources": [{"kind": "pairs", "dark": "pairs/dark", "light": "pairs/light", "names": [held]}],
        },
        "batches": [{"crop": 32, "count": 2}],
        "steps": 60,
        "average": None,
    }
    fit(Recipe.model_validate(recipe), folder / "run")
    start = folder / "run" / "last.safetensors"
    said: list[str] = []
    breaking = Course(**{**vars(TINY), "rate": 0.1, "detail_rate": 0.1, "steps": 10})
    result = adapt(order(folder, start=start, course=breaking), say=said.append)
    assert (result.kept_old, result.steps) == (True, 0)
    assert result.after == result.before
    assert f"{held}: nothing was better than before; the old weights are kept" in said
    dark = next(pair for pair in order(folder).pairs if pair.name == held).dark
    pictures = [package.load(each, threads=1)(dark, lightness=0.4) for each in (result.out, start)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1


@pytest.mark.slow
def test_a_folder_of_another_adaptation_is_refused(folder: Path) -> None:
    with pytest.raises(Exception, match="interrupted at step 1 of 10; the same command goes on"):
        adapt(order(folder), stop=lambda: True)
    with pytest.raises(
        UseError, match=r"mine\.adapt: holds an adaptation that began otherwise \(photos, seed\)"
    ):
        adapt(order(folder, seed=1, photos=None))
    (folder / "other.adapt").mkdir()
    (folder / "other.adapt" / "letter.txt").write_text("dear")
    with pytest.raises(UseError, match="exists and holds something else"):
        adapt(order(folder, out=folder / "other.onnx"))


class Trained(Exception):  # noqa: N818 - no error, but where a test ends
    """Training would begin."""


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that a step is found to take, of all or for detail, and a start; only the dimmer seems to be trained."""
    paces = {"all": 4.0, "detail": 4.0, "start": 0.0, "all threads": 1.0}

    def time_steps(recipe: Recipe, ways: Any, enough: Any) -> Timed:
        kind = "detail" if "colour_of" in recipe.settings else "all"
        found: dict[Any, list[float]] = {way: [] for way in ways}
        for (precision, threads), seconds in found.items():
            pace = (
                paces[kind]
                * (1 if precision == "float32" else 2)
                * (1 if threads == 1 else paces["all threads"])
            )
            while not enough(seconds):
                seconds.append(pace if seconds else 60.0)
            assert len(seconds) in ((2, 3, 4) if pace < 15 else (2,)), "no more than is needed"
        return Timed(paces["start"], found)

    def trains(recipe: Recipe, *_: Any, **__: Any) -> Outcome:
        if recipe.stage != "dimmer":
            raise Trained
        return Outcome(recipe.steps, True, None)

    clock = SimpleNamespace(monotonic=lambda: 0.0)  # what is really done takes no time
    for name, stand_in in (("time_steps", time_steps), ("fit", trains), ("time", clock)):
        monkeypatch.setattr(f"lowlight.methods.dimma.training.adapt.{name}", stand_in)
    return paces


MANY = Course(**{**vars(TINY), "steps": 120, "detail_steps": 400, "precision": None})


@pytest.mark.parametrize("detail", [pytest.param(2.0, marks=pytest.mark.slow), 4.0])
def test_too_few_minutes_are_told_before_the_network_is_trained(
    folder: Path, timed: dict[str, float], detail: float
) -> None:
    timed["detail"] = detail
    asked = order(folder, course=MANY)
    told = []
    for minutes in (3, 5, 12):
        said: list[str] = []
        with pytest.raises(UseError, match="fewer than the 50 that it takes to learn") as refused:
            adapt(replace(asked, minutes=minutes), say=said.append)
        told.append(int(str(refused.value).partition("--minutes ")[2].split()[0]))
        assert said[-1] == "timing a few steps on this machine"
        assert not (folder / "mine.adapt" / "plan.json").exists()
    # 50 of 120 steps, 50/120 of 400 for detail, each twice, and what else takes time.
    assert told[0] >= 2 * (50 * 4.0 + 166 * detail) / 60
    with pytest.raises(Trained):
        adapt(replace(asked, minutes=told[-1]))
    plan = json.loads((folder / "mine.adapt" / "plan.json").read_text())
    assert plan["precision"] == "float32"
    assert 50 <= plan["steps"] < 120, "fewer steps, but enough"
    assert plan["detail_steps"] == pytest.approx(plan["steps"] * 400 / 120, abs=4)
    if detail == 4.0:
        assert max(told) - min(told) <= 1, "what it takes does not depend on what was given"


def test_the_time_that_is_told_counts_all_four_trainings_and_their_starts(
    folder: Path, timed: dict[str, float]
) -> None:
    told = {}
    for start in (0.0, 20.0):
        timed["start"] = start
        out = folder / f"{start:.0f}.onnx"
        with pytest.raises(Trained):
            adapt(order(folder, out=out, course=MANY, minutes=200))
        plan = json.loads((out.with_suffix(".adapt") / "plan.json").read_text())
        assert (plan["precision"], plan["steps"], plan["detail_steps"]) == ("float32", 120, 400)
        told[start] = plan["seconds"]
    assert told == {0.0: 2 * 520 * 4.0 + GRAPH, 20.0: 2 * 520 * 4.0 + 4 * 20.0 + GRAPH}


@pytest.mark.parametrize(("times", "threads"), [(0.6, 4), (1.5, 1)])
def test_as_many_threads_are_used_as_are_faster(
    folder: Path, timed: dict[str, float], times: float, threads: int
) -> None:
    timed["all threads"] = times
    with pytest.raises(Trained):
        adapt(order(folder, course=MANY, minutes=200, threads=4))
    plan = json.loads((folder / "mine.adapt" / "plan.json").read_text())
    assert (plan["threads"], plan["seconds"]) == (threads, 2 * 520 * 4.0 * min(times, 1) + GRAPH)


def test_without_photos_those_that_scikit_image_carries_are_dimmed(
    folder: Path, timed: dict[str, float]
) -> None:
    said: list[str] = []
    timed["all"] = timed["detail"] = 0.01
    with pytest.raises(Trained):
        adapt(order(folder, photos=None), say=said.append)
    work = folder / "mine.adapt"
    found = {path.stem for path in (work / "normal").iterdir()}
    light = {pair.name for pair in order(folder).pairs} - {left_out(order(folder).pairs).name}
    assert found == {f"pair-{name}" for name in light} | {"astronaut", "chelsea", "coffee", "rocket"}
    assert "no --photos: the dimmer darkens the pairs' own light photos and 4 free ones" in said[0]


@pytest.mark.slow
def test_steps_that_are_timed_are_those_that_train(folder: Path) -> None:
    """Really timed, with the dimmer; three a kind at most, and nothing stays of them."""
    said: list[str] = []
    asked = iter(range(1000))
    with pytest.raises(Exception, match=r"interrupted at step \d of 8; the same command goes on"):
        adapt(order(folder), say=said.append, stop=lambda: next(asked) > 22)
    assert said[-2].startswith("as fast as this machine is now, it takes about ")
    assert said[-1] == "8 steps for detail and 20 for all, then both again with all pairs"
    assert sorted(path.name for path in (folder / "mine.adapt").iterdir()) == [
        "detail",
        "dimmer",
        "normal",
        "order.json",
        "pairs",
        "plan.json",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_while_steps_are_timed_ends_the_command(
    lowlight: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def time_steps(_: Recipe, __: Any, enough: Any) -> Timed:
        os.kill(os.getpid(), number)
        enough([1.0])
        raise AssertionError

    def trains(recipe: Recipe, *_: Any, **__: Any) -> Outcome:
        return Outcome(recipe.steps, True, None)

    monkeypatch.setattr("lowlight.methods.dimma.training.adapt.fit", trains)
    monkeypatch.setattr("lowlight.methods.dimma.training.adapt.time_steps", time_steps)
    status, out, err = lowlight("adapt", "--pairs", "pairs", "-o", "mine.onnx", "--from", "base.safetensors")
    assert (status, out) == (128 + number, "")
    assert err.splitlines()[-3:] == [
        "timing a few steps on this machine",
        "stopping after this step; again to stop at once",
        "interrupted while steps were timed; the same command goes on",
    ]
    assert not (folder / "mine.adapt" / "plan.json").exists()


def test_a_folder_in_which_another_process_works_is_refused(folder: Path) -> None:
    with claimed(folder / "mine.adapt"):
        before = list((folder / "mine.adapt").iterdir())
        with pytest.raises(UseError, match=r"mine\.adapt: another process works in this folder"):
            adapt(order(folder))
        assert list((folder / "mine.adapt").iterdir()) == before


@pytest.mark.slow
def test_what_is_judged_is_over_when_all_pairs_are_trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time ends the judged training at once, so its best is detail alone; then the machine stops later on."""
    last = {"network": 1, "whole": 1}

    def ended(recipe: Recipe, out: Path, **how: Any) -> Outcome:
        left = iter(range(last.get(out.name, 99), 0, -1))
        outcome = fit(recipe, out, **{**how, "stop": lambda: next(left) == 1})
        if out.name == "whole":
            raise KeyboardInterrupt
        return outcome

    course = Course(**{**vars(TINY), "detail_steps": 40})
    with monkeypatch.context() as patch:
        patch.setattr("lowlight.methods.dimma.training.adapt.fit", ended)
        with pytest.raises(KeyboardInterrupt):
            adapt(order(folder, course=course))
    said: list[str] = []
    result = adapt(order(folder, course=course), say=said.append)
    assert not result.kept_old
    assert any(line.endswith("at best, after 0 steps; now with it, too") for line in said)
    steps = [
        open_weights(folder / "mine.adapt" / part / "last.safetensors").header.recipe["run"]["step"]
        for part in ("detail", "network", "detail-whole", "whole")
    ]
    assert steps == [40, 1, 40, 20]


SCRIPT = """
import sys
from pathlib import Path
from test_adapt import TINY, order
from lowlight.methods.dimma.training.adapt import adapt
folder = Path(sys.argv[1])
print(adapt(order(folder, out=folder / sys.argv[2]), say=lambda line: print(line, flush=True)))
"""


def started(folder: Path, out: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", SCRIPT, str(folder), out]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)


@pytest.mark.slow
def test_an_adaptation_killed_anywhere_ends_as_the_one_that_never_stopped(folder: Path) -> None:
    with started(folder, "whole.onnx") as process:
        output = process.communicate()[0]
        assert process.returncode == 0, output
    work = folder / "killed.adapt"
    places = (
        "pairs/light/1.png",
        "dimmer/checkpoint.safetensors",
        "plan.json",
        "detail/recipe.yaml",
        "network/checkpoint.safetensors",
        "detail-whole/recipe.yaml",
        "whole/recipe.yaml",
    )
    for name in places:
        with started(folder, "killed.onnx") as process:
            wait_for(work / name, process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        assert not (folder / "killed.onnx").exists()
    with started(folder, "killed.onnx") as process:
        output = process.communicate()[0]
        assert process.returncode == 0, output
    assert "going on with" in output
    for part in ("dimmer", "detail", "network", "detail-whole", "whole"):
        one, other = (
            open_weights(folder / f"{name}.adapt" / part / "last.safetensors") for name in ("whole", "killed")
        )
        tensors = [package.weights.load_tensors(each) for each in (one, other)]
        assert all(np.array_equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())
    plans = [json.loads((folder / f"{name}.adapt" / "plan.json").read_text()) for name in ("whole", "killed")]
    assert plans[0]["steps"] == plans[1]["steps"] == 20

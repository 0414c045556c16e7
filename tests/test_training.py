"""The training loop: every promise that it makes, on a toy method with two players."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import lowlight
import tiny
from lowlight import methods, weights
from lowlight.errors import LowlightError, RecipeError, UseError
from lowlight.files import claimed
from lowlight.training import loop
from lowlight.training.checkpoint import Checkpoint, TrainingError
from lowlight.training.data import read_pixels
from lowlight.training.loop import fit, update_average
from lowlight.training.recipe import Recipe
from toy_run import PLUGIN, recipe, write_photos, write_recipe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(PLUGIN)
    write_photos(tmp_path)
    return tmp_path


def checked(root: Path, **changes: Any) -> Recipe:
    return Recipe.model_validate(recipe(root, **changes))


def entries(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k not in ("pace", "seconds")} for entry in entries(run)]


def assert_same_run(a: Path, b: Path) -> None:
    """Both checkpoints hold the same bits."""
    one, two = (Checkpoint.read(run / "checkpoint.safetensors") for run in (a, b))
    assert one.tensors.keys() == two.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, two.tensors[name]), name
    for values in (one.values, two.values):
        del values["seconds"]
    assert one.values == two.values
    best = [weights.load_tensors(weights.open_weights(run / "best.safetensors")) for run in (a, b)]
    for key, array in best[0].items():
        np.testing.assert_array_equal(array, best[1][key])


def test_a_run_trains_both_players_and_leaves_what_it_promises(root: Path, capsys: Any) -> None:
    outcome = fit(checked(root, steps=30), root / "run")
    assert (outcome.step, outcome.finished) == (30, True)
    log = entries(root / "run")
    losses = [entry["terms"] for entry in log if "loss" in entry]
    assert losses[-1]["enhancer.reconstruction"] < 0.6 * losses[0]["enhancer.reconstruction"]
    assert losses[-1]["critic.gradient"] < losses[0]["critic.gradient"]
    found = [entry for entry in log if "validation" in entry]
    assert [entry["step"] for entry in found] == [10, 20, 30]
    held = found[-1]["validation"]["held"]
    assert held["reference"]["psnr"] > held["auto"]["psnr"] > 10
    assert 0 < held["reference"]["ssim"] <= 1
    for entry in found:
        psnr = {given: entry["validation"]["held"][given]["psnr"] for given in ("reference", "auto")}
        assert entry["score"] == pytest.approx(psnr["reference"] + 0.5 * psnr["auto"])
    assert outcome.score == max(entry["score"] for entry in found)
    with Image.open(root / "run" / "samples" / "0000030-held.png") as grid:
        assert grid.size == (4 * 40, 2 * 32)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "step 30/30  validation: held reference" in printed.err
    assert "\r" not in printed.err
    assert not list((root / "run").glob(".*"))


def test_weights_open_as_any_others_and_are_the_averages(root: Path) -> None:
    fit(checked(root), root / "run")
    for name in ("best", "last"):
        opened = weights.open_weights(root / "run" / f"{name}.safetensors", method="toy")
        assert opened.header.recipe["steps"] == 30
        assert opened.header.recipe["run"]["step"] in (10, 20, 30)
        assert str(root) not in opened.header.model_dump_json()
        assert opened.header.scores.keys() == {
            f"held.{given}.{metric}" for given in ("reference", "auto") for metric in ("psnr", "ssim")
        }
        assert 0.3 < opened.arrays["guess"] < 0.7
    averages = Checkpoint.read(root / "run" / "checkpoint.safetensors").part("average.enhancer")
    last = weights.load_tensors(weights.open_weights(root / "run" / "last.safetensors"))
    assert averages.keys() == last.keys()
    for key, array in last.items():
        np.testing.assert_array_equal(array, averages[key].numpy())
    enhancer = lowlight.load(root / "run" / "last.safetensors", engine="torch")
    dark = read_pixels(root / "low" / "5.png")
    assert abs(enhancer(dark, lightness=0.5).mean() / 255 - 0.5) < 0.01


@pytest.mark.slow
def test_a_run_stopped_at_any_step_and_resumed_is_the_run_that_never_stopped(root: Path) -> None:
    whole = checked(root)
    fit(whole, root / "whole")
    asked = iter([False] * 4 + [True])
    first = fit(whole, root / "parts", stop=lambda: next(asked))
    assert (first.step, first.finished) == (5, False)
    place = root / "parts" / "checkpoint.safetensors"
    second = fit(whole, root / "parts", resume=place, max_minutes=0)
    assert (second.step, second.finished) == (6, False)
    torch.manual_seed(99)  # the caller's own generator has no say
    torch.rand(7)
    after = torch.get_rng_state()
    assert fit(whole, root / "parts", resume=place).finished
    assert torch.equal(torch.get_rng_state(), after)
    assert_same_run(root / "whole", root / "parts")
    # Validation comes every ten steps, whoever was stopped; means between stops are of fewer steps.
    for run in ("whole", "parts"):
        assert [e["step"] for e in entries(root / run) if "score" in e] == [10, 20, 30]


@pytest.mark.slow
def test_what_a_killed_process_logged_beyond_its_checkpoint_comes_once(root: Path) -> None:
    fit(checked(root), root / "run")
    whole = untimed(root / "run")
    asked = iter([False] * 13 + [True])
    fit(checked(root), root / "again", stop=lambda: next(asked))
    with (root / "again" / "log.jsonl").open("a") as file:
        file.write('{"step": 15, "loss": 1}\n{"step": 20, "lo')
    fit(checked(root), root / "again", resume=root / "again" / "checkpoint.safetensors")
    assert [entry["step"] for entry in untimed(root / "again")] == [entry["step"] for entry in whole]


def test_a_folder_with_a_run_is_not_overwritten(root: Path) -> None:
    fit(checked(root, steps=1), root / "run")
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(checked(root, steps=1), root / "run")


def test_a_folder_in_which_another_process_trains_is_left_alone(root: Path) -> None:
    fit(checked(root, steps=2), root / "run", stop=lambda: True)
    before = {path: path.read_bytes() for path in (root / "run").iterdir()}
    with (
        claimed(root / "run"),
        pytest.raises(UseError, match="run: another process works in this folder"),
    ):
        fit(checked(root, steps=2), root / "run", resume=root / "run" / "checkpoint.safetensors")
    assert {path: path.read_bytes() for path in (root / "run").iterdir()} == before


def test_a_checkpoint_of_another_recipe_is_refused(root: Path) -> None:
    fit(checked(root, steps=2), root / "run")
    place = root / "run" / "checkpoint.safetensors"
    with pytest.raises(TrainingError, match="another recipe: steps was 2 and is 3"):
        fit(checked(root, steps=3), root / "run", resume=place)
    with pytest.raises(TrainingError, match=r"settings\.noise was 0\.01 and is 0\.5"):
        fit(checked(root, steps=2, settings={"noise": 0.5}), root / "run", resume=place)
    assert fit(checked(root, steps=2, settings={"noise": 0.01}), root / "run", resume=place).finished, (
        "a default"
    )
    assert fit(checked(root, steps=2, log_every=1), root / "run", resume=place).finished


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "expected a checkpoint"), (b"\x08\0\0\0\0\0\0\0{}      ", "expected a checkpoint")],
)
def test_what_is_no_checkpoint_is_refused(root: Path, data: bytes, said: str) -> None:
    (root / "c.safetensors").write_bytes(data)
    with pytest.raises(TrainingError, match=rf"c\.safetensors: {said}"):
        fit(checked(root), root / "run", resume=root / "c.safetensors")


def test_a_checkpoint_cut_anywhere_is_refused(root: Path) -> None:
    fit(checked(root, steps=1), root / "run")
    data = (root / "run" / "checkpoint.safetensors").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (root / "cut.safetensors").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(TrainingError, match=r"cut\.safetensors: expected a checkpoint"):
            Checkpoint.read(root / "cut.safetensors")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_term_and_photos(root: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        fit(checked(root, settings={"poison": [11]}), root / "run")
    assert "step 12: enhancer.reconstruction is nan; photos: low/" in str(caught.value)
    assert str(caught.value).count("->") == 4
    saved = Checkpoint.read(root / "run" / "checkpoint.safetensors")
    assert saved.values["step"] == 10
    assert all(tensor.isfinite().all() for tensor in saved.tensors.values())


def test_skipping_leaves_the_player_and_steps_the_other(root: Path) -> None:
    settings = {"poison": [1, 2]}
    changes: dict[str, Any] = {"settings": settings, "average": None, "save_every": 1, "steps": 6}
    one = checked(root, non_finite="skip", validation=None, **changes)
    asked = iter([True])
    fit(one, root / "run", stop=lambda: next(asked))
    before = Checkpoint.read(root / "run" / "checkpoint.safetensors")
    asked = iter([False, True])
    fit(one, root / "run", resume=root / "run" / "checkpoint.safetensors", stop=lambda: next(asked))
    after = Checkpoint.read(root / "run" / "checkpoint.safetensors")
    assert after.values["step"] == 3
    for key, tensor in before.part("network.enhancer").items():
        assert torch.equal(tensor, after.part("network.enhancer")[key])
    assert not torch.equal(
        before.tensors["network.critic.0.weight"], after.tensors["network.critic.0.weight"]
    )
    fit(one, root / "run", resume=root / "run" / "checkpoint.safetensors")
    assert sum(entry["terms"].get("enhancer.skipped", 0) for entry in entries(root / "run")) <= 2
    assert fit(one, root / "straight").finished
    assert sum(entry["terms"].get("enhancer.skipped", 0) for entry in entries(root / "straight")) == 2


def test_what_was_skipped_is_told_with_term_and_photos(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"poison": [1, 2]}
    fit(checked(root, non_finite="skip", validation=None, settings=settings, steps=6), root / "run")
    told = [line for entry in entries(root / "run") for line in entry.get("left_out", ())]
    assert [line.partition(";")[0] for line in told] == [
        f"step {step}: enhancer.reconstruction is nan" for step in (2, 3)
    ]
    assert all("photos: low/" in line for line in told)
    said = capsys.readouterr().err
    assert all(f"left out: {line}\n" in said for line in told)


def test_a_run_that_skips_everything_stops(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_SKIPPED", 10)
    poison = {"poison": list(range(200))}
    with pytest.raises(TrainingError, match=r"step 11: enhancer\.reconstruction is nan, 11 times in a row"):
        fit(checked(root, steps=200, non_finite="skip", validation=None, settings=poison), root / "run")


def test_clipping_bounds_the_step(root: Path) -> None:
    """One step of Adam without momentum's memory moves by rate * g / (|g| + epsilon): huge epsilon shows g."""
    optimizer = {"rate": 1.0, "epsilon": 1.0, "betas": [0.0, 0.0]}
    moved = {}
    for clip in (1e-4, None):
        settings = {"optimizer": optimizer, "schedule": {"shape": "constant"}}
        run = root / f"run-{clip}"
        changes: dict[str, Any] = {"settings": settings, "average": None, "validation": None, "clip": clip}
        for steps in (1, 2):
            fit(checked(root, steps=steps, **changes), run / str(steps))
        one, two = (
            Checkpoint.read(run / str(steps) / "checkpoint.safetensors").part("network.critic")["0.weight"]
            for steps in (1, 2)
        )
        moved[clip] = float((two - one).norm())
    assert moved[1e-4] <= 1.01e-4
    assert moved[None] > 1e-3


def test_bf16_is_close_to_float32(root: Path) -> None:
    found = {}
    for precision in ("float32", "bf16"):
        fit(checked(root, precision=precision, steps=10), root / precision)
        checkpoint = Checkpoint.read(root / precision / "checkpoint.safetensors")
        assert {t.dtype for t in checkpoint.part("network").values()} <= {torch.float32, torch.int64}
        found[precision] = [e["score"] for e in entries(root / precision) if "score" in e]
    np.testing.assert_allclose(found["bf16"], found["float32"], rtol=0.02)
    assert found["bf16"] != found["float32"]


def test_the_average_is_what_the_formula_says() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(average.weight, 4.0)
    network.running_mean, network.num_batches_tracked = torch.tensor([5.0, 6.0]), torch.tensor(7)
    update_average(average, network, 0.75)
    assert average.weight.tolist() == [3.25, 3.25]
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [1.25, 1.5]
    assert average.num_batches_tracked is not None
    assert average.num_batches_tracked.item() == 7
    assert network.weight.tolist() == [1, 1]


def test_the_average_is_short_at_the_start(root: Path) -> None:
    """After one step the decay is 2/11."""
    fit(checked(root, steps=1, validation=None, average=0.999), root / "run")
    fit(checked(root, steps=1, validation=None, average=1e-9), root / "start")
    saved = Checkpoint.read(root / "run" / "checkpoint.safetensors")
    torch.manual_seed(0)
    from lowlight_toy import Config
    from lowlight_toy.training import Versus

    class Nothing:
        def pictures(self) -> list[Any]:
            return []

    first = Versus(Config(), Versus.Settings(), Nothing(), torch.device("cpu")).networks["enhancer"]  # type: ignore[arg-type]
    weight = first.state_dict()["first.weight"]
    expected = weight * (2 / 11) + saved.tensors["network.enhancer.first.weight"] * (9 / 11)
    torch.testing.assert_close(saved.tensors["average.enhancer.first.weight"], expected)


@pytest.mark.slow
def test_a_stage_starts_from_weights_or_from_a_checkpoint(root: Path) -> None:
    fit(checked(root), root / "first")
    before = Checkpoint.read(root / "first" / "checkpoint.safetensors").part("average.enhancer")
    optimizer = {"optimizer": {"rate": 1e-12}}
    for name in ("last", "checkpoint"):
        start = {"enhancer": str(root / "first" / f"{name}.safetensors")}
        run = root / f"from-{name}"
        fit(checked(root, steps=1, start=start, settings=optimizer), run)
        after = Checkpoint.read(run / "checkpoint.safetensors").part("network.enhancer")
        for key, tensor in before.items():
            torch.testing.assert_close(after[key], tensor, atol=1e-9, rtol=0)
    with pytest.raises(RecipeError, match="no network 'painter'; the stage has: enhancer, critic"):
        fit(checked(root, start={"painter": str(root / "first" / "last.safetensors")}), root / "third")
    with pytest.raises(TrainingError, match=r"last\.safetensors: tensor '0.bias' is missing"):
        fit(checked(root, start={"critic": str(root / "first" / "last.safetensors")}), root / "fourth")


def test_validation_photos_are_not_trained_on(root: Path) -> None:
    (root / "train.txt").write_text("0\n1\n4\n")
    with pytest.raises(RecipeError, match=r"high/4\.png is trained on"):
        fit(checked(root), root / "run")


def test_scenes_on_both_sides_are_told_before_the_first_step(root: Path, capsys: Any) -> None:
    fit(checked(root, steps=2), root / "run")
    assert "to validate on show" not in capsys.readouterr().err
    for folder in ("low", "high"):
        with Image.open(root / folder / "4.png") as photo:
            photo.point(lambda value: value * 0.9).save(root / folder / "again.png")
    (root / "train.txt").write_text("0\n1\nagain\n")
    fit(checked(root, steps=2), root / "second")
    said = capsys.readouterr().err
    assert said.startswith("1 of the photos to validate on show scenes that are trained on")


def test_what_is_kept_of_a_recipe_holds_its_defaults(root: Path) -> None:
    fit(checked(root, steps=2, settings={"noise": 0.02}), root / "run")
    kept = yaml.safe_load((root / "run" / "recipe.yaml").read_text())
    header = weights.open_weights(root / "run" / "last.safetensors").header
    assert kept["config"] == header.config
    assert (kept["settings"]["noise"], kept["settings"]["schedule"]["warmup"]) == (0.02, 3)
    assert header.recipe["settings"] == kept["settings"]


def test_a_crop_larger_than_a_photo_is_refused_with_its_name(root: Path) -> None:
    with pytest.raises(RecipeError, match=r"33 pixels does not fit into low/0\.png \(40x32\)"):
        fit(checked(root, batches=[{"crop": 33, "count": 1}]), root / "run")


def test_a_device_that_is_not_there_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="device cuda is not available"):
        fit(checked(root, device="cuda"), root / "run")


UNPAIRED = {"settings": {"features": {"kind": "structure"}, "patches": 1, "patch": 24}}


def crops(side: int) -> dict[str, Any]:
    """What changes the side of crops, pixels."""
    return {"batches": [{"crop": side, "count": 1}]}


@pytest.mark.parametrize(
    "changes",
    [
        crops(33),
        {"start": {"enhancer": "missing.safetensors"}},
        {"method": "glare", "stage": "flow", "config": {"mixing": False}, "settings": {}},
        {"method": "enlightengan", "stage": "unpaired", "config": {"levels": 3}, **UNPAIRED, **crops(30)},
        {"method": "enlightengan", "stage": "unpaired", "config": {"levels": 3}, **UNPAIRED, **crops(20)},
        {"data": {"root": "nowhere"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_trained_leaves_no_folder(root: Path, changes: dict[str, Any]) -> None:
    values = recipe(root)
    if "data" in changes:
        changes = {"data": {**values["data"], **changes["data"]}}
    with pytest.raises(LowlightError) as caught:
        fit(checked(root, **changes), root / "run")
    assert "Errno" not in str(caught.value)
    assert not (root / "run").exists()


def test_a_stage_goes_on_from_a_checkpoint_as_from_weights_and_from_no_other_network(root: Path) -> None:
    found = methods.room("glare", "training").stages
    values: dict[str, Any] = {
        "method": "glare",
        "settings": {"perceptual": 0, "semantic": 0, "adversarial": 0, "codes_from": 0},
        "steps": 1,
        "batches": [{"crop": 32, "count": 1}],
    }
    first = {"stage": "codebook", "config": tiny.config("glare", found["codebook"]).model_dump()}
    fit(checked(root, **values, **first), root / "codebook")
    then = {"stage": "flow", "config": tiny.config("glare", found["flow"]).model_dump(), "settings": {}}
    kept = []
    for file in ("checkpoint", "last"):
        place = root / "codebook" / f"{file}.safetensors"
        fit(checked(root, **{**values, **then, "start": {"codebook": str(place)}}), root / file)
        kept.append(Checkpoint.read(root / file / "checkpoint.safetensors").part("network.network"))
    for name, tensor in kept[0].items():
        assert torch.equal(tensor, kept[1][name]), name
    wrong = checked(
        root, **{**values, **then, "start": {"codebook": str(root / "last" / "checkpoint.safetensors")}}
    )
    fit(wrong, root / "again")  # that one holds the codebook too
    wrong = checked(
        root, **{**values, **then, "start": {"codebook": str(root / "last" / "last.safetensors")}}
    )
    with pytest.raises(
        RecipeError, match=r"start\.codebook: .*last\.safetensors: expected what stage codebook learns"
    ):
        fit(wrong, root / "wrong")
    with pytest.raises(LowlightError, match="a checkpoint that a training goes on from; take best"):
        lowlight.load(root / "last" / "checkpoint.safetensors")
    with pytest.raises(LowlightError, match="no such file; nothing was saved there"):
        fit(wrong, root / "wrong", resume=root / "nowhere.safetensors")


@pytest.mark.slow
def test_photos_beside_the_network_give_the_same_run(root: Path) -> None:
    one, two = checked(root), checked(root)
    data = two.data.model_copy(update={"cache": "device"})
    fit(one, root / "host")
    fit(two.model_copy(update={"data": data}), root / "device")
    a, b = (Checkpoint.read(root / run / "checkpoint.safetensors") for run in ("host", "device"))
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


@pytest.mark.parametrize("many", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["first", "all"])
@pytest.mark.parametrize("method", methods.names())
def test_every_stage_of_every_method_resumes_exactly(
    root: Path, method: str, many: int | None, few_draws: None
) -> None:
    """The first stages alone are quick; each later one may need what the one before it has trained."""
    (root / "one.txt").write_text("4\n")
    before = ""
    for stage, found in islice(methods.room(method, "training").stages.items(), many):
        changes: dict[str, Any] = {
            "method": method,
            "stage": stage,
            "config": tiny.config(method, found).model_dump(),
            "settings": tiny.settings(found, root).model_dump(),
            "start": dict.fromkeys(found.needed, before),
            "steps": 3,
            "batches": [{"crop": 32, "count": 2}],
            "validation": {
                "every": 2,
                "sets": {"held": {"pairs": {"dark": "low", "light": "high", "names": "one.txt"}}},
            },
        }
        one = checked(root, **changes)
        fit(one, root / f"{stage}-whole")
        parts = root / f"{stage}-parts"
        asked = iter([False, True])
        fit(one, parts, stop=lambda asked=asked: next(asked))
        fit(one, parts, resume=parts / "checkpoint.safetensors")
        assert_same_run(root / f"{stage}-whole", parts)
        before = str(parts / "last.safetensors")


def test_tensorboard_that_is_not_installed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RecipeError, match=r"pip install 'lowlight\[tensorboard\]'"):
        fit(checked(root, tensorboard=True), root / "run")


# Real processes


@contextmanager
def started(root: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`lowlight train` as a process of its own, ended with the test."""
    command = [sys.executable, "-m", "lowlight", "train", *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None:
        if (run / "log.jsonl").exists():
            lines = (run / "log.jsonl").read_text().splitlines()[:-1]
            if lines and json.loads(lines[-1])["step"] >= step:
                return
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached: {process.communicate()}")


@pytest.mark.slow
def test_a_run_killed_anywhere_and_resumed_is_bit_for_bit_the_run_that_never_stopped(root: Path) -> None:
    recipe_path = str(write_recipe(root, steps=120, log_every=1, save_every=7))
    with started(root, recipe_path, "-o", "whole") as process:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    for kills, step in enumerate((10, 33, 80)):
        resume = ["--resume"] if kills else []
        with started(root, recipe_path, "-o", "killed", *resume) as process:
            wait_for_step(root / "killed", step, process)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    with started(root, recipe_path, "-o", "killed", "--resume") as process:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
    assert output.strip() == "killed/best.safetensors"
    assert_same_run(root / "whole", root / "killed")
    assert untimed(root / "whole") == untimed(root / "killed")


@pytest.mark.slow
def test_an_interrupted_run_saves_its_step_and_goes_on(root: Path) -> None:
    recipe_path = str(write_recipe(root, steps=100_000, log_every=1, validation=None))
    with started(root, recipe_path, "-o", "run") as process:
        wait_for_step(root / "run", 10, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 130
    step = Checkpoint.read(root / "run" / "checkpoint.safetensors").values["step"]
    assert f"saved step {step} of 100000" in errors
    assert (root / "run" / "last.safetensors").exists()
    with started(root, recipe_path, "-o", "run", "--resume", "--max-minutes", "0") as process:
        _, errors = process.communicate()
        assert process.returncode == 0
    assert f"the 0.0 minutes for this training are over: saved step {step + 1} of" in errors


@pytest.mark.slow
def test_what_cannot_be_done_is_one_line_and_a_status(root: Path) -> None:
    (root / "file").touch()
    for status, arguments in ((2, ["stepz=3"]), (1, ["-o", "file"]), (1, ["-o", "none", "--resume"])):
        with started(root, str(write_recipe(root)), *arguments) as process:
            output, errors = process.communicate()
        assert process.returncode == status
        assert output == ""
        said = errors.removeprefix("reading the photos\n")
        assert said.startswith("lowlight: ")
        assert said.count("\n") == 1

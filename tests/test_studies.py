"""Studies: each at toy size, and what must be true of what it finds."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import tiny
import tiny_density
from lowlight import enhancer, studies, weights
from lowlight.cli import app
from lowlight.engines.torch import load_network
from lowlight.errors import RecipeError, UseError, WeightsError
from lowlight.evaluation import guards
from lowlight.evaluation.files import to_picture
from lowlight.evaluation.metrics import METRICS
from lowlight.methods.dimma.dimmer import save_dimmer
from lowlight.methods.glare import CODEBOOK, GLARE, CodebookConfig
from lowlight.methods.glare.network import Codec, Network
from lowlight.methods.llflow import LLFlow
from lowlight.photo import Photo
from lowlight.studies import cost
from lowlight.studies.degradations import degraded
from lowlight.studies.features import mixing
from lowlight.studies.few_shot import CHOOSING, LISTS
from lowlight.studies.noise import distances, measure, pool
from pictures import noise, scene, smooth
from toy_run import write_photos, write_recipe


def run(name: str, folder: Path, *changes: str) -> studies.Findings:
    found = studies.run(name, studies.check(name, changes), folder, lambda line: None)
    assert sum(found.photos.values()) > 0 or name == "cost", "every study says how much it measured"
    return found


def test_every_study_is_found_and_says_what_it_shows() -> None:
    for name in studies.names():
        study = studies.find(name)
        assert study.title
        assert study.Settings.model_config["extra"] == "forbid"
        if study.published is not None:
            assert {len(row) for row in study.published.rows} == {len(study.published.columns)}


def test_studies_are_listed_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from lowlight import studies; list(map(studies.find, studies.names()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_studies_and_settings_are_named() -> None:
    with pytest.raises(UseError, match="no study is called 'unknown'; there are: "):
        studies.check("unknown", [])
    with pytest.raises(RecipeError, match="unknown key foto; known here: photos, model"):
        studies.check("lightness", ["photos=here", "foto=there"])
    with pytest.raises(RecipeError, match="unknown key photo; known here: photos, model"):
        studies.check("lightness", ["photo=here"])


@pytest.mark.parametrize(
    ("study", "change", "said"),
    [
        ("cost", "models=dimma", "models = 'dimma': expected a list, as models=[dimma]"),
        ("cost", "sizes=600x400", "sizes = '600x400': expected a list, as sizes=[[600, 400]]"),
        ("cost", "sizes=[600, 400]", "sizes.0 = '600': expected a list, as sizes=[[600, 400]]"),
        ("cross-dataset", "on={mine: 3}", "on.mine = '3': expected a path"),
    ],
)
def test_settings_of_a_wrong_kind_are_told_in_words(study: str, change: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        studies.check(study, [change])
    assert str(told.value) == f"study {study}: {said}"


def test_missing_settings_are_told_with_all_that_can_be_set() -> None:
    with pytest.raises(RecipeError) as told:
        studies.check("lightness", ["scenes=3"])
    assert str(told.value) == (
        "study lightness: missing: photos; its settings: photos (required), model=dimma, "
        "wanted=[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8], scenes=null"
    )
    with pytest.raises(
        RecipeError, match=r"missing: low, reference, results; its settings: .*model=llflow-torch"
    ):
        studies.check("activation", [])


@pytest.mark.parametrize("name", studies.names())
def test_the_help_of_a_study_has_its_settings(name: str) -> None:
    fields = studies.find(name).Settings.model_fields
    assert [key for key, field in fields.items() if not field.description] == [], "say what each is"
    told = CliRunner().invoke(app, ["study", name, "--help"])
    assert told.exit_code == 0
    settings = told.stdout.partition(f"Settings of {name}:\n")[2].partition("\nOptions:")[0]
    keys = re.findall(r"^  (\w+)(?:=| \(required\))", settings, re.MULTILINE)
    assert keys == list(fields)


def test_help_of_no_study_has_no_settings() -> None:
    for words in (["study", "-h"], ["study", "unknown", "--help"], ["enhance", "cost", "--help"]):
        told = CliRunner().invoke(app, words)
        assert told.exit_code == 0
        assert "Settings of" not in told.stdout


def test_the_command_lists_studies_and_writes_a_report(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["study"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in studies.names())
    write_sequences(tmp_path / "photos")
    done = CliRunner().invoke(
        app,
        [
            "study",
            "lightness",
            f"photos={tmp_path / 'photos'}",
            "wanted=[0.3]",
            "-o",
            str(tmp_path / "out"),
        ],
    )
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "out" / "lightness.json").read_text())
    assert record["settings"]["wanted"] == [0.3]
    assert record["photos"] == {"scenes": 2, "exposures": 6}
    assert record["weights"] == {"dimma": weights.open_weights("dimma").sha256}
    assert record["made"]["onnxruntime"]
    assert record["table"]["rows"][0][0] == 0.3
    page = (tmp_path / "out" / "lightness.md").read_text()
    assert "| wanted | mean error |" in page
    said = re.search(r"^dimma: training photos: no photo or scene was found .*$", done.stdout, re.MULTILINE)
    assert said is not None
    assert said[0] in page
    assert said[0] in record["notes"]
    assert (tmp_path / "out" / "lightness.png").exists()


def write_sequences(folder: Path) -> None:
    """Two scenes of three exposures."""
    for number in range(2):
        light = smooth(64, 96, number) / 255
        for name, exposure in (("1", 0.15), ("2", 0.5), ("3", 0.9)):
            path = folder / f"scene{number}" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(255 * light * exposure).astype(np.uint8)).save(path)


def test_lightness_is_reached_and_matches_the_exposure(tmp_path: Path) -> None:
    write_sequences(tmp_path / "photos")
    findings = run("lightness", tmp_path, f"photos={tmp_path / 'photos'}", "wanted=[0.2, 0.4]")
    rows = [dict(zip(findings.table.columns, row, strict=True)) for row in findings.table.rows]
    assert [row["wanted"] for row in rows] == [0.2, 0.4]
    assert all(row["largest error"] < 0.01 for row in rows)
    assert sum(row["exposures near it"] for row in rows) == 4  # two lighter exposures of two scenes
    assert all(row["reference_lightness.psnr"] > 15 for row in rows if row["exposures near it"])


def test_sequences_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "alone").mkdir(parents=True)
    with pytest.raises(Exception, match="no scenes; expected a folder a scene"):
        run("lightness", tmp_path, f"photos={tmp_path / 'photos'}")


@pytest.mark.slow
def test_costs_are_those_of_the_network(tmp_path: Path) -> None:
    findings = run("cost", tmp_path, "models=[dimma]", "sizes=[[96, 64], [192, 128]]", "repeats=1")
    small, large = (dict(zip(findings.table.columns, row, strict=True)) for row in findings.table.rows)
    assert small["engine"] == "onnx"
    assert small["million parameters"] == large["million parameters"]
    assert large["GMAC"] == pytest.approx(4 * small["GMAC"], rel=0.01)
    assert large["MB"] > large["MB above idle"] > 0


@pytest.mark.slow
def test_costs_are_those_of_a_network_that_is_used_and_take_no_memory() -> None:
    """LLFlow's normalisation starts itself in training, with more to compute."""
    parameters, small = cost._size("llflow-torch", 64, 64)
    assert parameters == pytest.approx(4.967635)
    network = load_network(weights.open_weights("llflow-torch")).eval()
    seen = LLFlow.observe_counts(np.ones((3, 256)), LLFlow.Controls())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(
            torch.zeros(1, 3, 64, 64), **{name: torch.tensor(array)[None] for name, array in seen.items()}
        )
    assert small == pytest.approx(counter.get_total_flops() / 2e9)
    large = cost._size("llflow-torch", 64 * 100, 64 * 100)[1]
    assert large == pytest.approx(10_000 * small, rel=1e-3)


def test_a_model_that_is_none_is_told_before_others_are_measured(tmp_path: Path) -> None:
    said: list[str] = []
    settings = studies.check("cost", ["models=[dimma, nobody]"])
    with pytest.raises(WeightsError, match="nobody"):
        studies.find("cost")().run(settings, tmp_path, said.append)
    assert not said


TINY = {"method": "dimma", "stage": "paired", "config": {"widths": [8, 16], "blocks": [1, 1], "unshuffle": 2}}
LOSSES = {"losses": {"lpips": 0, "psnr": 0.05}, "optimizer": {"rate": 1e-3}}


@pytest.mark.slow
def test_seeds_spread(tmp_path: Path, lowlight: Any) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, **TINY, settings=LOSSES)
    changes = ("seeds=[0, 1]", 'changes=["steps=6", "validation.every=3"]')
    findings = run("seeds", tmp_path / "out", f"recipe={recipe}", *changes)
    column = findings.table.columns.index("reference_lightness.psnr")
    assert findings.table.columns[1:] == tuple(
        f"{protocol}.{metric}" for protocol in ("raw", "reference_lightness") for metric in ("psnr", "ssim")
    )
    first, second, mean, deviation = (row[column] for row in findings.table.rows)
    assert first != second
    assert mean == pytest.approx((first + second) / 2)
    assert deviation == pytest.approx(abs(first - second) / 2**0.5)
    # What is validated is what `lowlight evaluate` measures under this name.
    for folder in ("low", "high"):
        (tmp_path / "held" / folder).mkdir(parents=True)
        for name in (tmp_path / "val.txt").read_text().split():
            (tmp_path / "held" / folder / f"{name}.png").symlink_to(tmp_path / folder / f"{name}.png")
    asked = ("--low", tmp_path / "held" / "low", "--reference", tmp_path / "held" / "high", "--json")
    best = tmp_path / "out" / "seed0" / "best.safetensors"
    measured = json.loads(lowlight("evaluate", best, *asked, "--metrics", "psnr,ssim")[1])["columns"]
    values = {f"{each['protocol']}.{each['metric']}": each["mean"] for each in measured}
    for name, value in zip(findings.table.columns[1:], findings.table.rows[0][1:], strict=True):
        assert value == pytest.approx(values[name], abs=1e-4), name
    # Runs that are there already are not trained again.
    assert run("seeds", tmp_path / "out", f"recipe={recipe}", *changes).table.rows == findings.table.rows
    record = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert record["photos"] == {"held": 2}
    assert record["recipe"]["steps"] == 6
    assert record["recipe"]["settings"]["losses"] == {"lpips": 0, "psnr": 0.05}
    assert torch.__version__.startswith(record["made"]["torch"])


# Likelihoods


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, ...]:
    """Three pairs, a density, and the settings that name them."""
    for seed in range(3):
        light = smooth(40, 48, seed)
        for folder, samples in (("low", light // 8), ("high", light)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(samples).save(tmp_path / folder / f"{seed}.png")
    tiny_density.write(tmp_path / "tiny.safetensors")
    folders = f"low={tmp_path / 'low'}", f"reference={tmp_path / 'high'}"
    return (*folders, f"model={tmp_path / 'tiny.safetensors'}")


def rows_of(findings: studies.Findings) -> dict[Any, dict[str, Any]]:
    """Rows by their first column."""
    return {row[0]: dict(zip(findings.table.columns, row, strict=True)) for row in findings.table.rows}


@pytest.mark.parametrize(
    "name",
    ["lightness", "brightness", "activation"]
    + [pytest.param(each, marks=pytest.mark.slow) for each in ("degradations", "against-l1", "colour-maps")],
)
def test_photos_that_a_judged_model_was_trained_on_are_named(
    name: str, pairs: tuple[str, ...], tmp_path: Path
) -> None:
    seen = {"trained": [smooth(40, 48, 1) // 8], "chosen": [smooth(40, 48, 2)]}
    marks = {of: guards.pack(map(guards.mark, photos)) for of, photos in seen.items()}
    tiny_density.write(tmp_path / "tiny.safetensors", seen=marks)
    low, reference, model = pairs
    settings: tuple[str, ...] = (low, reference)
    which = "1"
    if name == "lightness":
        for file in ("0.png", "1.png"):
            (tmp_path / "scenes" / "a").mkdir(parents=True, exist_ok=True)
            (tmp_path / "scenes" / "a" / file).symlink_to(tmp_path / "low" / file)
        settings, which = (f"photos={tmp_path / 'scenes'}", "wanted=[0.4]"), "a/1"
    elif name == "brightness":
        settings = (low, "brightness=[0, 0.1]")
    elif name == "activation":
        settings = (low, reference, f"results={tmp_path / 'low'}")
    elif name == "degradations":
        settings = (low, reference, "draws=1")
    notes = run(name, tmp_path / "out", *settings, model).notes
    assert re.fullmatch(rf"tiny: training photos: 1 of [23] photos were trained on: {which}\.", notes[0])
    if name != "lightness":
        said = "tiny: training photos: scores are too good: the checkpoint was chosen by its score on"
        assert re.match(rf"{said} (the scenes of )?1 of these 3 photos: 2\.", notes[1])


@pytest.mark.slow
def test_noise_is_unlikely_and_light_is_not(pairs: tuple[str, ...], tmp_path: Path) -> None:
    findings = run("degradations", tmp_path / "out", *pairs, "draws=1")
    rows = rows_of(findings)
    published = studies.find("degradations").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows]
    for unit in ("bits per position", "bits per dimension"):
        assert rows["noisy"][unit] > max(rows[name][unit] for name in ("reference", "darker", "lighter"))
    assert rows["noisy"]["less likely than reference"] == 3
    assert rows["reference"]["less likely than reference"] == 0
    again = run("degradations", tmp_path / "again", *pairs, "draws=1")
    assert again.table == findings.table
    assert run("degradations", tmp_path / "other", *pairs, "draws=1", "seed=1").table != findings.table


def test_degradations_have_one_l1() -> None:
    levels = np.full((20, 30, 3), 250.0)
    found = degraded(levels, 20, np.random.default_rng(0))
    assert {name: round(float(np.abs(each - levels).mean()), 9) for name, each in found.items()} == {
        "reference": 0,
        "darker": 20,
        "lighter": 20,
        "noisy": 20,
    }
    assert found["noisy"].mean() == pytest.approx(250)


def test_equal_l1_is_told_apart(pairs: tuple[str, ...], tmp_path: Path) -> None:
    findings = run("against-l1", tmp_path / "out", *pairs, "photos=2")
    rows = rows_of(findings)
    assert rows["slightly lighter"]["L1 of 255"] == rows["noisy"]["L1 of 255"] == 5.43
    assert rows["slightly lighter"]["log-likelihood"] > rows["noisy"]["log-likelihood"]
    assert "on 2 of 2 photos" in findings.notes[1]
    assert (tmp_path / "out" / "against-l1.png").exists()


def test_brightness_rises(pairs: tuple[str, ...], tmp_path: Path) -> None:
    low, _, model = pairs
    findings = run("brightness", tmp_path / "out", low, model)
    means = [row["mean"] for row in rows_of(findings).values()]
    assert list(rows_of(findings)) == [-0.4, -0.2, 0.0, 0.2, 0.4]
    assert means == sorted(set(means))
    assert findings.notes[1] == "The mean rises with every step on 3 of 3 photos."
    assert findings.pictures["brightness"].shape == (
        160 + 32,
        6 * 198 + 6,
        3,
    )  # the dark photo and five results


def test_the_map_is_higher_where_the_picture_is_wrong(pairs: tuple[str, ...], tmp_path: Path) -> None:
    """The maker's results are noise."""
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for seed in range(3):
        Image.fromarray(noise(40, 48, seed=seed)).save(wrong / f"{seed}.png")
    findings = run("activation", tmp_path / "out", *pairs, f"results={wrong}")
    made, true = rows_of(findings).values()
    assert made["mean slope"] > 2 * true["mean slope"]
    assert made["mean of the map"] > true["mean of the map"] + 50
    assert made["mean surprise"] > true["mean surprise"] + 8
    assert "on 3 of 3 photos" in findings.notes[1]
    # A maker that gives the references has nothing to be found.
    same = run("activation", tmp_path / "same", *pairs, f"results={tmp_path / 'high'}")
    made, true = rows_of(same).values()
    assert made["mean slope"] == pytest.approx(true["mean slope"])
    assert made["mean surprise"] == pytest.approx(true["mean surprise"])
    assert "on 0 of 3 photos" in same.notes[1]


def test_results_choose_the_photos(pairs: tuple[str, ...], tmp_path: Path) -> None:
    """They are few where each is made by hand; but names that are asked for must be there."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("0", "2"):
        (few / f"{name}.png").symlink_to(tmp_path / "low" / f"{name}.png")
    findings = run("activation", tmp_path / "out", *pairs, f"results={few}")
    assert findings.photos == {"pairs": 2}
    (tmp_path / "names.txt").write_text("0\n1\n")
    with pytest.raises(UseError, match="few: no photo for 1"):
        run("activation", tmp_path / "out", *pairs, f"results={few}", f"names={tmp_path / 'names.txt'}")
    (few / "stray.png").symlink_to(tmp_path / "low" / "1.png")
    with pytest.raises(UseError, match="low: no photo for stray"):
        run("activation", tmp_path / "out", *pairs, f"results={few}")


def test_colour_maps_are_those_of_the_network(pairs: tuple[str, ...], tmp_path: Path) -> None:
    findings = run("colour-maps", tmp_path / "out", *pairs, "photos=1")
    dark, encoder = (row["distance to the reference's"] for row in rows_of(findings).values())
    light = smooth(40, 48, 0).astype(np.float64) / 255
    true = light / (light.sum(axis=2, keepdims=True) + 1e-4)
    low = (smooth(40, 48, 0) // 8) / 255 + 0.001
    assert dark == pytest.approx(
        np.abs(low / (low.sum(axis=2, keepdims=True) + 1e-4) - true).mean(), rel=1e-4
    )
    assert encoder > dark  # untrained: about a half everywhere
    assert {name: each.shape for name, each in findings.pictures.items()} == {
        "inputs": (160 + 32, 4 * 198 + 6, 3),
        "colour-maps": (160 + 32, 4 * 198 + 6, 3),
    }


FLOW = {
    "method": "llflow",
    "stage": "flow",
    "config": {
        "channels": 8,
        "blocks": 1,
        "growth": 4,
        "stacked": [0],
        "steps": 1,
        "plain_steps": 1,
        "hidden": 8,
    },
    "settings": {"noise_levels": 255, "optimizer": {"kind": "adam", "rate": 1e-3}},
}
SHORT = 'changes=["steps=4", "validation.every=2", "batches=[{crop: 24, count: 2}]"]'


def write_glare(path: Path, **config: Any) -> Network:
    """Weights of a tiny GLARE that nothing was learned by, and its network."""
    torch.manual_seed(0)
    network = Network(GLARE.tiny_config().model_copy(update=config)).eval()
    header = weights.Header(
        name="tiny", method="glare", config=network.config.model_dump(mode="json"), licence="CC0"
    )
    weights.save_safetensors(path, header, {key: each.numpy() for key, each in network.state_dict().items()})
    return network


def test_results_of_each_stage_are_those_of_its_part(pairs: tuple[str, ...], tmp_path: Path) -> None:
    low, reference, _ = pairs
    model = tmp_path / "glare.safetensors"
    network = write_glare(model)
    chosen = (low, reference, f"model={model}", "fidelity=[0, 1]", "metrics=[psnr]")
    rows = rows_of(run("stages", tmp_path / "out", *chosen))
    *_, whole = rows.values()
    assert list(rows)[2:] == ["second decoder, fidelity 0", "second decoder, fidelity 1"]
    assert len({row["raw.psnr"] for row in rows.values()}) == 4
    as_users = enhancer.load(model)
    expected = []
    for file in ("0.png", "1.png", "2.png"):
        made = as_users.enhance_photo(
            Photo(np.asarray(Image.open(tmp_path / "low" / file))), as_users.controls()
        )[0]
        expected.append(
            METRICS["psnr"](
                *map(to_picture, (made.samples, np.asarray(Image.open(tmp_path / "high" / file))))
            )
        )
    assert whole["raw.psnr"] == pytest.approx(np.mean(expected))
    with torch.no_grad():  # where the flow is the identity codes are the same with and without it
        for step in (step for level in network.flow.levels for step in level.steps):
            step.mix.weight.copy_(torch.eye(3))
            for net in step.nets():
                net.last_bias[1::2] = 20  # a scale of 1
    header = weights.open_weights(model).header
    weights.save_safetensors(model, header, {key: each.numpy() for key, each in network.state_dict().items()})
    codes, flow, *_ = rows_of(run("stages", tmp_path / "again", *chosen)).values()
    assert codes["raw.psnr"] == pytest.approx(flow["raw.psnr"], abs=0.05)
    write_glare(model, mixing=False)
    assert len(rows_of(run("stages", tmp_path / "less", *chosen))) == 2
    with pytest.raises(UseError, match=r"expected a \.safetensors file of method glare"):
        run("stages", tmp_path / "not", *pairs)


def test_latents_of_dark_photos_are_told_from_those_of_light_ones(tmp_path: Path) -> None:
    for folder, level in (("low", 20), ("high", 120)):
        (tmp_path / folder).mkdir()
        for index in range(6):
            picture = np.clip(noise(24, 32, seed=index).astype(int) // 4 + level, 0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    network = write_glare(tmp_path / "glare.safetensors")
    config = network.config
    sizes = {key: getattr(config, key) for key in CodebookConfig.model_fields}
    codec = Codec(CodebookConfig(**sizes))
    codec.codebook.load_state_dict(network.decoding.codebook.state_dict())

    def write(path: Path) -> None:
        header = weights.Header(name="codec", method="glare", part=CODEBOOK, config={**sizes}, licence="CC0")
        tensors = {key: each.numpy() for key, each in codec.state_dict().items()}
        weights.save_safetensors(path, header, tensors)

    write(tmp_path / "codebook.safetensors")
    chosen = [f"low={tmp_path / 'low'}", f"reference={tmp_path / 'high'}"]
    chosen += [f"model={tmp_path / 'glare.safetensors'}", f"codebook={tmp_path / 'codebook.safetensors'}"]
    findings = run("features", tmp_path / "out", *chosen)
    light, dark, *_ = findings.table.rows
    assert light == ("light photo", 0.0, 1.0, None)
    with torch.no_grad():
        latents = [
            torch.cat(
                [
                    codec.latent(
                        torch.from_numpy(np.asarray(Image.open(tmp_path / folder / f"{index}.png")) / 255)
                        .permute(2, 0, 1)[None]
                        .float()
                    )
                    for index in range(6)
                ]
            ).double()
            for folder in ("low", "high")
        ]
    away = (latents[0] - latents[1]).square().sum(dim=1).mean()
    spread = latents[1].var(dim=(2, 3), unbiased=True).sum(dim=1).mean()
    assert dark[1] == pytest.approx(float((away / spread).sqrt()), rel=1e-3)
    assert np.asarray(Image.open(tmp_path / "out" / "features.png")).std() > 0
    with pytest.raises(UseError, match="expected more than 5 photos"):
        run("features", tmp_path / "few", *chosen, "photos=5")
    with torch.no_grad():
        codec.codebook.codes.add_(1)
    write(tmp_path / "codebook.safetensors")
    with pytest.raises(UseError, match="its codes are not those of"):
        run("features", tmp_path / "other", *chosen)


def test_neighbours_of_dark_photos() -> None:
    light = [np.array([float(index), 0.0]) for index in range(10)]
    assert mixing(light, [each + np.array([0, 1000]) for each in light]) == 0
    # As near as can be: two of each kind beside it, then a dark one.
    assert mixing(light, [each + np.array([0, 1e-6]) for each in light]) == pytest.approx(0.4)


@pytest.mark.slow
def test_objectives_are_trained_apart(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, **FLOW)
    findings = run("objectives", tmp_path / "out", f"recipe={recipe}", SHORT, "start_steps=2")
    rows = rows_of(findings)
    published = studies.find("objectives").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows]
    assert len({row["reference_lightness.psnr"] for row in rows.values()}) == 3
    # What trains the encoder alone enhances by its colour map.
    alone = enhancer.load(tmp_path / "out" / "encoder" / "best.safetensors")
    result = alone(smooth(24, 32) // 8)
    assert np.array_equal(result[0::2, 0::2], result[1::2, 1::2])
    assert load_log(tmp_path / "out" / "l1")["terms"].keys() == {"network.l1", "network.gradient"}
    assert load_log(tmp_path / "out" / "likelihood")["terms"].keys() == {"network.nll", "network.gradient"}


@pytest.mark.slow
def test_priors_are_trained_apart(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, **FLOW)
    findings = run("prior", tmp_path / "out", f"recipe={recipe}", SHORT, "metrics=[delta_e_76, lpips_alex]")
    rows = rows_of(findings)
    published = studies.find("prior").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows]
    assert len({row["reference_lightness.psnr"] for row in rows.values()}) == 3
    # Without a colour map the latent is zero, whatever the dark photo is.
    header = weights.open_weights(tmp_path / "out" / "none" / "best.safetensors").header
    assert header.config["colour_prior"] is False
    # Other metrics are of the photos and weights that gave the scores; what can't be had says why.
    network = enhancer.load(tmp_path / "out" / "none" / "best.safetensors")
    found = []
    for name in (tmp_path / "val.txt").read_text().split():
        low, light = (np.asarray(Image.open(tmp_path / each / f"{name}.png")) for each in ("low", "high"))
        result = np.asarray(network(low, lightness=light.mean() / 255))
        found.append(METRICS["delta_e_76"](to_picture(result), to_picture(light)))
    row = rows["no colour map"]
    assert row["reference_lightness.delta_e_76"] == pytest.approx(np.mean(found), rel=1e-6)
    assert row["reference_lightness.lpips_alex"] is None
    assert findings.incomplete, "it was asked for by name"
    assert sum(note.startswith("lpips_alex: ") for note in findings.notes) == 1


def load_log(folder: Path) -> dict[str, Any]:
    """The last entry of a run's log that holds losses."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [entry for entry in entries if "terms" in entry][-1]
    return found


# Few pairs


@pytest.fixture
def few_shot(tmp_path: Path, few_draws: None) -> tuple[str, ...]:
    """Pairs and ordinary photos, and the settings of a toy experiment with two lists of two pairs."""
    write_photos(tmp_path, pairs=8)
    (tmp_path / "val.txt").write_text("6\n7\n")
    (tmp_path / "normal").mkdir()
    for seed in range(2):
        Image.fromarray(smooth(32, 40, seed)).save(tmp_path / "normal" / f"{seed}.png")
    return (
        *(f"data={tmp_path}", "low=low", "reference=high", "photos=normal", "judged=val.txt"),
        *("lists=[[0, 1, 2], [3, 4]]", "shots=[2]", "choosing=[5]", "metrics=[psnr, ssim_grey]"),
        *("config={widths: [8, 16], blocks: [1, 1], unshuffle: 2}", "crop=16", "count=2"),
        *("dimmer_steps=10", "steps=6", "tuning_steps=6", "precision=float32"),
    )


@pytest.mark.slow
def test_few_pairs_are_trained_apart_and_tuning_never_ends_worse(
    few_shot: tuple[str, ...], tmp_path: Path, lowlight: Any
) -> None:
    findings = run("few-shot", tmp_path / "out", *few_shot)
    rows = rows_of(findings)
    published = studies.find("few-shot").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows if row[1] == 3]
    assert {(row["pairs"], row["lists"]) for row in rows.values()} == {(2, 2)}
    psnr = [row["reference_lightness.psnr"] for row in rows.values()]
    assert len({round(value, 6) for value in psnr[:3]}) == 3
    start, tuned = (validations(tmp_path / "out" / "0-1" / each) for each in ("mixture", "tuned"))
    assert tuned[0] == max(start), "before its first step it is what it starts from"
    assert max(tuned) > max(start)
    folders = ("--low", tmp_path / "two" / "low", "--reference", tmp_path / "two" / "high")
    for folder in ("low", "high"):
        (tmp_path / "two" / folder).mkdir(parents=True)
        for name in ("6", "7"):
            (tmp_path / "two" / folder / f"{name}.png").symlink_to(tmp_path / folder / f"{name}.png")
    means = []
    for name in ("0-1", "3-4"):
        best = tmp_path / "out" / name / "tuned" / "best.safetensors"
        asked = ("--protocol", "reference_lightness", "--metrics", "psnr", "--json")
        status, out, _ = lowlight("evaluate", best, *folders, *asked)
        assert status == 0
        means.append(json.loads(out)["columns"][0]["mean"])
    tuned = rows["mixture dimming, fine-tuned"]
    assert tuned["reference_lightness.psnr"] == pytest.approx(np.mean(means))
    assert tuned["over lists"] >= 0
    kinds = [
        weights.open_weights(tmp_path / "out" / "0-1" / f"{kind}-dimmer" / "last.safetensors").header.config[
            "kind"
        ]
        for kind in ("deterministic", "mixture")
    ]
    assert kinds == ["deterministic", "mixture"]


@pytest.mark.slow
def test_interrupted_experiments_go_on(
    few_shot: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowlight.training import loop

    alone = (*few_shot, "lists=[[0, 1]]", "tuning_rate=1e-9")
    whole = run("few-shot", tmp_path / "whole", *alone)
    rows = rows_of(whole)
    psnr = {training: row["reference_lightness.psnr"] for training, row in rows.items()}
    # Hardly anything is learned: what was before is kept where nothing is better.
    before, tuned = (validations(tmp_path / "whole" / "0-1" / each) for each in ("mixture", "tuned"))
    assert tuned[0] == max(before)
    assert psnr["mixture dimming, fine-tuned"] == pytest.approx(psnr["mixture dimming"], abs=0.05)
    fit = loop.fit

    def killed(recipe: Any, out: Path, **options: Any) -> Any:
        if recipe.name != "mixture":
            return fit(recipe, out, **options)
        fit(recipe, out, stop=lambda: True, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            run("few-shot", tmp_path / "killed", *alone)
    assert run("few-shot", tmp_path / "killed", *alone).table == whole.table
    # What is done is neither trained nor measured again.
    monkeypatch.setattr(loop, "fit", None)
    assert run("few-shot", tmp_path / "killed", *alone).table == whole.table


def validations(folder: Path) -> list[float]:
    """Scores of a run in order."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [entry["score"] for entry in entries if "validation" in entry]


def test_lists_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[1] / "docs" / "dimma.md").read_text()
    rows = re.findall(r"^\| [1-5] \| ([\d ,]+) \|$", page, re.MULTILINE)
    assert [tuple(row.replace(",", "").split()) for row in rows] == list(LISTS)
    assert f"[{', '.join(CHOOSING)}]" in page


def test_the_measured_table_stands_on_the_page() -> None:
    root = Path(__file__).parents[1]
    measured = json.loads((root / "benchmarks" / "results" / "study_few_shot.json").read_text())
    page = (root / "docs" / "studies.md").read_text()
    assert measured["settings"]["data"] == "DATA"
    published = {row[:2]: row[2:] for row in studies.find("few-shot").published.rows}  # type: ignore[union-attr]
    for row in measured["table"]["rows"]:
        training, pairs, _, psnr, over_lists, over_photos, ssim, *_ = row
        theirs = "{:.2f} ± {:.2f} / {:.2f}".format(*published[training, pairs][:3])
        spread = "-" if over_lists is None else f"{over_lists:.2f}"
        ours = f"{psnr:.2f} | {spread} | {over_photos:.2f} | {ssim:.3f}"
        assert f"| {training} | {pairs} | {ours} | {theirs} |" in page
    lists = {row[2] for row in measured["table"]["rows"]}
    assert lists == {len(measured["settings"]["lists"])}


@pytest.mark.parametrize("seeds", ["[0]", "[1, 2, 1]"])
def test_seeds_that_spread_nothing_are_refused(seeds: str) -> None:
    with pytest.raises(RecipeError, match="two or more different seeds"):
        studies.check("seeds", ["recipe=r.yaml", f"seeds={seeds}"])


def test_lists_too_short_for_the_shots_are_refused() -> None:
    with pytest.raises(RecipeError, match="study few-shot: shots: 9 pairs, but a list has 8"):
        studies.check("few-shot", ["data=here", "shots=[3, 9]"])


# Noise


@pytest.fixture
def camera(tmp_path: Path) -> tuple[str, ...]:
    """Six scenes, their dark photos by a dimmer, and the settings that name both."""
    tiny_dimmer = tiny.dimmer()
    for seed in range(6):
        write_pair(tmp_path, seed, tiny_dimmer.dim(smooth(64, 80, seed), seed=9))
    save_dimmer(tmp_path / "camera.safetensors", tiny_dimmer, name="camera", licence="CC0")
    return (
        f"low={tmp_path / 'low'}",
        f"reference={tmp_path / 'high'}",
        f"model={tmp_path / 'camera.safetensors'}",
    )


def write_pair(root: Path, seed: int, dark: np.ndarray) -> None:
    for folder, samples in (("low", dark), ("high", smooth(64, 80, seed))):
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(samples).save(root / folder / f"{seed}.png")


def test_a_camera_s_own_dimmer_is_nearest(camera: tuple[str, ...], tmp_path: Path) -> None:
    findings = run("noise", tmp_path / "out", *camera)
    rows = rows_of(findings)
    assert list(rows) == ["real", "dimmed", "scaled", "undimmed"]
    values = {kind: row["distance of values"] for kind, row in rows.items()}
    assert values["dimmed"] < values["real"] < values["undimmed"]
    residuals = {kind: row["distance of residuals"] for kind, row in rows.items()}
    assert residuals["dimmed"] < 0.2 * residuals["scaled"]
    real, dimmed, scaled = (rows[kind] for kind in ("real", "dimmed", "scaled"))
    assert dimmed["noise at 8 to 16"] == pytest.approx(real["noise at 8 to 16"], rel=0.1)
    assert scaled["noise at 8 to 16"] < 0.5 * real["noise at 8 to 16"]
    assert dimmed["red"] == pytest.approx(real["red"], rel=0.05)
    assert real["correlation of neighbours"] == pytest.approx(-0.05, abs=0.03)
    assert findings.pictures["patches"].shape == (2 * 166 + 6, 6 * 206 + 6, 3)
    assert "camera: training photos: whether these photos were trained on is unknown" in findings.notes[0]


def test_grain_is_a_correlation_that_no_dimmer_has(camera: tuple[str, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in range(6):
        drawn = rng.normal(0, 6, (65, 81, 3))
        grain = (drawn[1:, 1:] + drawn[:-1, 1:] + drawn[1:, :-1] + drawn[:-1, :-1]) / 2
        write_pair(tmp_path, seed, np.clip(smooth(64, 80, seed) * 0.2 + grain, 0, 255).astype(np.uint8))
    rows = rows_of(run("noise", tmp_path / "out", *camera))
    assert rows["real"]["correlation of neighbours"] > 0.3
    assert rows["dimmed"]["correlation of neighbours"] < 0


def test_distances_are_earth_mover_s() -> None:
    flat = np.ones((36, 36), bool)
    dark, lighter = (np.full((40, 40, 3), value, np.uint8) for value in (20, 23))
    one, other = measure(dark, flat), measure(lighter, flat)
    assert distances(one, other) == (3.0, 0.0)
    noisy = dark.copy()
    noisy[::2, ::2] += 5
    assert distances(measure(noisy, flat), one)[0] == pytest.approx(5 / 4)
    assert distances(pool([one, measure(noisy, flat)]), one)[0] == pytest.approx(5 / 8)
    assert distances(one, measure(np.full_like(dark, 90), flat)) == (70.0, None)  # no band in common


def test_colours_that_share_their_noise_are_told_from_those_that_do_not() -> None:
    flat = np.ones((36, 36), bool)
    apart = np.random.default_rng(0).integers(20, 40, (40, 40, 3), np.uint8)
    shared = np.repeat(apart[..., :1], 3, axis=2)
    assert measure(shared, flat).correlation_of_colours == pytest.approx(1)
    assert measure(apart, flat).correlation_of_colours == pytest.approx(0, abs=0.06)


def test_photos_that_the_dimmer_was_made_from_are_named(camera: tuple[str, ...], tmp_path: Path) -> None:
    seen = {"trained": guards.pack([guards.mark(smooth(64, 80, 2))])}
    save_dimmer(tmp_path / "camera.safetensors", tiny.dimmer(), name="camera", licence="CC0", seen=seen)
    notes = run("noise", tmp_path / "out", *camera, "photos=6").notes
    assert "camera: training photos: 1 of 6 photos were trained on: 2." in notes


# Across data sets


@pytest.fixture
def across(tmp_path: Path) -> Path:
    """The real test part of VE-LOL as it is laid out, and a folder of pairs."""
    for root, names in (("ve/real/test", range(3)), ("mine", (7, 8))):
        for seed in names:
            light = scene(seed, 32, 40)
            for folder, samples in (("low", light // 8), ("high", light)):
                place = tmp_path / root / folder
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(samples).save(place / f"{seed}.png")
    return tmp_path


def test_cells_are_what_evaluate_prints(across: Path, lowlight: Any) -> None:
    mine = f"{{low: {across / 'mine' / 'low'}, reference: {across / 'mine' / 'high'}}}"
    on = f"on={{ve-lol/test-real: {across / 've'}, mine: {mine}}}"
    asked = "psnr,ssim_llflow", "raw,gtmean_llflow"
    findings = run("cross-dataset", across / "out", on, f"metrics=[{asked[0]}]", f"protocols=[{asked[1]}]")
    real, own = (dict(zip(findings.table.columns, row, strict=True)) for row in findings.table.rows)
    assert (real["measured on"], real["photos"]) == ("ve-lol/test-real", 3)
    assert (own["measured on"], own["photos"]) == ("mine", 2)
    chosen = ("--metrics", asked[0], "--protocol", asked[1], "--json")
    folders = ("--low", across / "mine" / "low", "--reference", across / "mine" / "high")
    for row, where in (
        (real, ("--set", "ve-lol", across / "ve", "--split", "test-real")),
        (own, folders),
    ):
        status, out, _ = lowlight("evaluate", "dimma", *where, *chosen)
        assert status == 0
        for column in json.loads(out)["columns"]:
            assert row[f"{column['protocol']}.{column['metric']}"] == pytest.approx(column["mean"], abs=1e-9)
    assert "raw.lightness_error" in real  # never a raw PSNR without it
    notes = "\n".join(findings.notes)
    assert "two splits of the same shots" in notes
    assert "ve-lol shares its shots" in notes  # the shipped weights name LOL among their data
    assert findings.notes[-1].startswith("LOL-v1, LOL-v2 real and VE-LOL's real part")


def test_what_was_trained_on_is_counted(across: Path) -> None:
    (across / "seen").mkdir()
    Image.fromarray(scene(8, 32, 40)).save(across / "seen" / "any.png")
    mine = f"{{low: {across / 'mine' / 'low'}, reference: {across / 'mine' / 'high'}}}"
    settings = (f"on={{mine: {mine}}}", "protocols=[raw]", "metrics=[psnr]", "photos=1")
    for changes, count in (((), 0), ((f"trained_on={{dimma: {across / 'seen'}}}",), 1)):
        whole = run("cross-dataset", across / "out", *settings[:-1], *changes)
        row = dict(zip(whole.table.columns, whole.table.rows[0], strict=True))
        assert (row["photos"], row["seen in training"]) == (2, count)
    fewer = run("cross-dataset", across / "out", *settings)
    assert fewer.table.rows[0][2] == 1
    with pytest.raises(UseError, match="no benchmark set is called 'mine'"):
        run("cross-dataset", across / "out", f"on={{mine: {across}}}")


def test_what_a_set_has_no_references_for_is_said(across: Path, lowlight: Any) -> None:
    vv = across / "vv"
    vv.mkdir()
    Image.fromarray(scene(1, 200, 240) // 4).save(vv / "1.png")
    on = f"on={{vv: {vv}}}"
    status, _, err = lowlight("study", "cross-dataset", on, "-o", across / "out")
    assert (status, "vv has no references, which psnr, ssim, ssim_llflow, lpips_alex" in err) == (2, True)
    status, out, _ = lowlight("study", "cross-dataset", on, "metrics=[psnr, niqe]", "-o", across / "out")
    assert status == 0
    left_out = "raw.psnr, raw.lightness_error, gtmean_llflow.psnr, gtmean_llflow.niqe need them."
    assert f"\nvv has no references: {left_out}\n" in out


def test_a_metric_that_is_missing_is_said_once(
    across: Path, lowlight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("LOWLIGHT_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(place, str(across / "nothing"))
    mine = f"on={{mine: {{low: {across / 'mine' / 'low'}, reference: {across / 'mine' / 'high'}}}}}"
    for changes, wanted in ((["metrics=[psnr, lpips_alex]"], 1), ([], 0)):
        status, out, _ = lowlight("study", "cross-dataset", mine, *changes, "-o", across / "out")
        assert (status, len(re.findall("^lpips_alex: ", out, re.MULTILINE))) == (wanted, 1)
        assert json.loads((across / "out" / "cross-dataset.json").read_text())["incomplete"] == bool(wanted)


def test_the_page_names_every_study() -> None:
    page = Path(__file__).parents[1] / "docs" / "studies.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == studies.names()


def test_commands_of_the_page_are_understood() -> None:
    page = (Path(__file__).parents[1] / "docs" / "studies.md").read_text("utf-8")
    lines = [
        shlex.split(line, comments=True) for line in page.splitlines() if line.startswith("lowlight study ")
    ]
    assert len(lines) > 8
    for _, _, *words in lines:
        if words:
            studies.check(words[0], words[1:])

"""Studies: each at toy size, and what must be true of what it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tiny_density
from lowlight import enhancer, studies, weights
from lowlight.cli import app
from lowlight.errors import RecipeError, UseError
from lowlight.studies.degradations import degraded
from pictures import noise, smooth
from toy_run import write_photos, write_recipe


def run(name: str, folder: Path, *changes: str) -> studies.Findings:
    return studies.run(name, studies.check(name, changes), folder, lambda line: None)


def test_every_study_is_found_and_says_what_it_shows() -> None:
    for name in studies.names():
        study = studies.find(name)
        assert study.title
        assert study.Settings.model_config["extra"] == "forbid"
        if study.published is not None:
            assert {len(row) for row in study.published.rows} == {len(study.published.columns)}


def test_unknown_studies_and_settings_are_named() -> None:
    with pytest.raises(UseError, match="no study is called 'unknown'; there are: "):
        studies.check("unknown", [])
    with pytest.raises(RecipeError, match="unknown key foto; known here: photos, model"):
        studies.check("lightness", ["photos=here", "foto=there"])
    with pytest.raises(RecipeError, match="study lightness: photos is missing"):
        studies.check("lightness", [])


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
            "--out",
            str(tmp_path / "out"),
        ],
    )
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "out" / "lightness.json").read_text())
    assert record["settings"]["wanted"] == [0.3]
    assert record["table"]["rows"][0][0] == 0.3
    assert "| wanted | mean error |" in (tmp_path / "out" / "lightness.md").read_text()
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
    assert all(row["psnr"] > 15 for row in rows if row["exposures near it"])


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


TINY = {"method": "dimma", "stage": "paired", "config": {"widths": [8, 16], "blocks": [1, 1], "unshuffle": 2}}
LOSSES = {"losses": {"lpips": 0, "psnr": 0.05}, "optimizer": {"rate": 1e-3}}


@pytest.mark.slow
def test_seeds_spread(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, **TINY, settings=LOSSES)
    changes = ("seeds=[0, 1]", 'changes=["steps=6", "validation.every=3"]')
    findings = run("seeds", tmp_path / "out", f"recipe={recipe}", *changes)
    column = findings.table.columns.index("held reference psnr")
    first, second, mean, deviation = (row[column] for row in findings.table.rows)
    assert first != second
    assert mean == pytest.approx((first + second) / 2)
    assert deviation == pytest.approx(abs(first - second) / 2**0.5)
    # Runs that are there already are not trained again.
    assert run("seeds", tmp_path / "out", f"recipe={recipe}", *changes).table.rows == findings.table.rows


# Likelihoods


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
    assert "on 2 of 2 photos" in findings.notes[0]
    assert (tmp_path / "out" / "against-l1.png").exists()


def test_brightness_rises(pairs: tuple[str, ...], tmp_path: Path) -> None:
    low, _, model = pairs
    findings = run("brightness", tmp_path / "out", low, model)
    means = [row["mean"] for row in rows_of(findings).values()]
    assert list(rows_of(findings)) == [-0.4, -0.2, 0.0, 0.2, 0.4]
    assert means == sorted(set(means))
    assert findings.notes[0] == "The mean rises with every step on 3 of 3 photos."
    assert findings.pictures["brightness"].shape == (160, 6 * 192, 3)  # the dark photo and five results


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
    assert "on 3 of 3 photos" in findings.notes[0]
    # A maker that gives the references has nothing to be found.
    same = run("activation", tmp_path / "same", *pairs, f"results={tmp_path / 'high'}")
    made, true = rows_of(same).values()
    assert made["mean slope"] == pytest.approx(true["mean slope"])
    assert "on 0 of 3 photos" in same.notes[0]


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
        "inputs": (160, 4 * 192, 3),
        "colour-maps": (160, 4 * 192, 3),
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


@pytest.mark.slow
def test_objectives_are_trained_apart(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, **FLOW)
    findings = run("objectives", tmp_path / "out", f"recipe={recipe}", SHORT, "start_steps=2")
    rows = rows_of(findings)
    published = studies.find("objectives").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows]
    assert len({row["held reference psnr"] for row in rows.values()}) == 3
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
    rows = rows_of(run("prior", tmp_path / "out", f"recipe={recipe}", SHORT))
    published = studies.find("prior").published
    assert published is not None
    assert list(rows) == [row[0] for row in published.rows]
    assert len({row["held reference psnr"] for row in rows.values()}) == 3
    # Without a colour map the latent is zero, whatever the dark photo is.
    header = weights.open_weights(tmp_path / "out" / "none" / "best.safetensors").header
    assert header.config["colour_prior"] is False


def load_log(folder: Path) -> dict[str, Any]:
    """The last entry of a run's log that holds losses."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found: dict[str, Any] = [entry for entry in entries if "terms" in entry][-1]
    return found


def test_the_page_names_every_study() -> None:
    page = Path(__file__).parents[1] / "docs" / "studies.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == studies.names()

"""Studies: each at toy size, and what must be true of what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lowlight import studies
from lowlight.cli import app
from lowlight.errors import RecipeError, UseError
from pictures import smooth
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
    with pytest.raises(UseError, match="no study is called 'brightness'; there are: "):
        studies.check("brightness", [])
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


def test_the_page_names_every_study() -> None:
    page = Path(__file__).parents[1] / "docs" / "studies.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == studies.names()

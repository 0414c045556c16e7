"""The mean of trained networks."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lowlight import weights
from lowlight.cli import app
from lowlight.enhancer import load
from lowlight.errors import WeightsError
from lowlight.evaluation import guards
from lowlight.evaluation.metrics import psnr
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.network import Network
from lowlight.training.average import average
from lowlight.weights import Header
from toy_run import write_photos, write_recipe

TINY = Config(widths=(8, 16), blocks=(1, 1), unshuffle=2)


def write(path: Path, value: float, config: Config = TINY, **about: object) -> Path:
    """Weights whose tensors all hold one value."""
    state = Network(config).state_dict()
    header = Header(
        name="part",
        method="dimma",
        config=config.model_dump(mode="json"),
        licence="free",
        scores={"old": 1.0},
        **about,  # type: ignore[arg-type]
    )
    tensors = {name: np.full(tensor.shape, value, np.float32) for name, tensor in state.items()}
    weights.save_safetensors(path, header, tensors)
    return path


def test_the_mean_is_the_mean(tmp_path: Path) -> None:
    marks = [guards.pack([bytes([number]) * guards.SIZE]) for number in (1, 2)]
    parts = [
        write(
            tmp_path / "a.safetensors", 0.1, data=["x", "y"], seen={"trained": marks[0], "chosen": marks[0]}
        ),
        write(tmp_path / "b.safetensors", 0.2, data=["y", "z"], seen={"trained": marks[1]}),
    ]
    header, tensors = average(parts)
    assert all(np.allclose(tensor, 0.15, atol=1e-7) for tensor in tensors.values())
    assert header.data == ["x", "y", "z"]
    assert header.scores == {}
    assert guards.unpack(header.seen["trained"]) == [bytes([1]) * guards.SIZE, bytes([2]) * guards.SIZE]
    assert "chosen" not in header.seen  # the second part does not tell


@pytest.mark.parametrize(("others", "told"), [(255, 255), (None, None)])
def test_a_mean_is_as_noisy_as_all_its_parts(
    others: float | None, told: float | None, tmp_path: Path
) -> None:
    first = write(tmp_path / "a.safetensors", 0.1, noise_levels=255)
    assert (
        average([first, write(tmp_path / "b.safetensors", 0.2, noise_levels=others)])[0].noise_levels == told
    )


def test_what_has_no_mean_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.safetensors", 0.1)
    other = write(tmp_path / "b.safetensors", 0.1, TINY.model_copy(update={"widths": (8, 8)}))
    with pytest.raises(WeightsError, match=r"b\.safetensors: its config is not that of"):
        average([first, other])


def test_the_command_scores_the_mean(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, method="dimma", stage="paired", config=TINY.model_dump(mode="json"))
    parts = [
        str(write(tmp_path / f"{name}.safetensors", value)) for name, value in (("a", 0.0), ("b", 0.001))
    ]
    out = tmp_path / "mean.safetensors"
    command = ["average", *parts, "-o", str(out), "--name", "mean"]
    done = CliRunner().invoke(app, [*command, "--validate", str(recipe), "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    header = weights.open_weights(out).header
    assert header.name == "mean"
    assert {"held.reference.psnr", "held.auto.ssim"} <= header.scores.keys()
    assert f"held.reference.psnr: {header.scores['held.reference.psnr']}" in done.stdout
    again = CliRunner().invoke(app, command)
    assert again.exit_code != 0
    assert weights.open_weights(out).header.scores == header.scores


@pytest.mark.slow
def test_export_scores_the_graph_that_it_writes(tmp_path: Path) -> None:
    write_photos(tmp_path)
    recipe = write_recipe(tmp_path, method="dimma", stage="paired", config=TINY.model_dump(mode="json"))
    source = write(tmp_path / "a.safetensors", 0.01)
    command = ["export", str(source), "-o", str(tmp_path / "a-fast.onnx"), "--precision", "int8"]
    command += ["--calibrate", str(tmp_path / "low"), "--photos", "2"]
    handlers = list(logging.getLogger().handlers)
    done = CliRunner().invoke(app, [*command, "--validate", str(recipe), "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert logging.getLogger().handlers == handlers, "the quantizer's words go to the root logger"
    graph = load(tmp_path / "a-fast.onnx")
    found = []
    for name in (tmp_path / "val.txt").read_text().split():
        low, light = (np.asarray(Image.open(tmp_path / each / f"{name}.png")) for each in ("low", "high"))
        found.append(psnr(np.asarray(graph(low, lightness=light.mean() / 255)), light))
    scores = weights.open_weights(tmp_path / "a-fast.onnx").header.scores
    assert scores["held.reference.psnr"] == pytest.approx(np.mean(found), abs=1e-4)
    done = CliRunner().invoke(app, [*command, "--overwrite", "--root", str(tmp_path)])
    assert (done.exit_code, type(done.exception).__name__) == (1, "UseError")
    done = CliRunner().invoke(app, [*command, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert weights.open_weights(tmp_path / "a-fast.onnx").header.scores == {}

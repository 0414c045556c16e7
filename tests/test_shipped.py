"""What the weights in the package must be, whatever their scores."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lowlight
from lowlight.enhancer import Enhancer
from lowlight.photo import Photo, read_photo
from lowlight.weights import open_weights

EXAMPLES = Path(__file__).parent.parent / "examples"


def part(name: str) -> Photo:
    """A part of an example: what holds of photos holds of it, in a third of the time."""
    photo = read_photo(EXAMPLES / name)
    return replace(photo, samples=np.ascontiguousarray(photo.samples[30:270, 60:412]))


@pytest.fixture(scope="module")
def dimma() -> Enhancer:
    return lowlight.load("dimma", threads=1)


def test_the_file_is_small_and_says_what_it_is() -> None:
    for name, precision in (("dimma", "float16"), ("dimma-fast", "int8")):
        weights = open_weights(name)
        assert weights.path.stat().st_size <= 12 << 20
        assert weights.header.precision == precision
        assert weights.header.licence
        assert weights.header.data
        for part in weights.header.recipe["mean of"]:
            assert part["run"]["step"] > 0
            assert not any(".." in str(value) for value in part["data"].values())
        assert {"trained", "chosen"} == weights.header.seen.keys()
    assert {"lol.reference.psnr", "sice.auto.ssim"} <= open_weights("dimma").header.scores.keys()


def test_the_cards_speak_of_these_files() -> None:
    card = (EXAMPLES.parent / "docs" / "models.md").read_text()
    for name in ("dimma", "dimma-fast"):
        assert open_weights(name).sha256 in card
    for name in ("llflow.onnx", "llflow-torch.safetensors"):
        assert open_weights(EXAMPLES.parent / "models" / name).sha256 in card


@pytest.mark.parametrize("script", ["table.py", "headers.py"])
def test_readme_and_headers_tell_the_scores_that_were_measured(script: str) -> None:
    check = [sys.executable, str(EXAMPLES.parent / "benchmarks" / script), "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", [(3, 6, 25), (20, 20, 20), (2, 1, 1)])
def test_a_flat_photo_has_no_frame(dimma: Enhancer, value: tuple[int, int, int]) -> None:
    flat = np.full((160, 176, 3), value, np.uint8)
    result = dimma(flat, lightness=0.4).astype(int)
    centre = result[60:100, 60:100].mean(axis=(0, 1))
    # Without the mirrored border edges are off by 30 to 50.
    edges = [result[0], result[-1], result[:, 0], result[:, -1], result[:4, :4].reshape(-1, 3)]
    for edge in edges:
        assert np.abs(edge.mean(axis=0) - centre).max() < 6


@pytest.mark.parametrize("colour", [(0.2, 0.4, 1.0), (1.0, 0.2, 0.2), (0.25, 1.0, 0.25)])
def test_coloured_light_gives_a_picture(dimma: Enhancer, colour: tuple[float, float, float]) -> None:
    """As on stages and in bars; photos that training without such light breaks on."""
    samples = (part("coffee.jpg").samples * np.array(colour)).astype(np.uint8)
    result, report = dimma.enhance_photo(Photo(samples), dimma.controls(lightness=0.4))
    assert report.lightness_after == pytest.approx(0.4, abs=0.01)
    strongest = int(samples.mean(axis=(0, 1)).argmax())
    assert result.samples.mean(axis=(0, 1)).argmax() == strongest
    dark, light = samples[..., strongest].astype(float), result.samples[..., strongest].astype(float)
    assert np.corrcoef(dark.ravel(), light.ravel())[0, 1] > 0.6


@pytest.mark.slow
def test_tiles_give_the_whole_picture(dimma: Enhancer) -> None:
    photo = read_photo(EXAMPLES / "rocket.png")
    photo = replace(photo, samples=photo.samples[60:400, 150:550])
    controls = dimma.controls(lightness=0.4)
    whole, report = dimma.enhance_photo(photo, controls)
    assert report.tiles == 1
    smallest = (dimma.method.multiple + 2 * (dimma.method.halo or 0)) ** 2
    held = photo.samples.nbytes * 2
    memory = held + 2 * smallest * dimma.method.tile_bytes
    tiled, report = dimma.enhance_photo(photo, controls, memory=memory)
    assert report.tiles > 10
    assert np.abs(whole.samples.astype(int) - tiled.samples).max() <= 2  # of 65535


@pytest.mark.parametrize("lightness", [0.15, 0.3, 0.5, 0.7])
def test_asked_is_given(dimma: Enhancer, lightness: float) -> None:
    result, _ = dimma.enhance_photo(part("coffee.jpg"), dimma.controls(lightness=lightness))
    assert result.samples.mean() / 255 == pytest.approx(lightness, abs=0.01)


def test_more_light_is_more_light_everywhere(dimma: Enhancer) -> None:
    photo = part("chelsea.jpg")
    results = [
        dimma.enhance_photo(photo, dimma.controls(lightness=lightness))[0].samples.astype(int)
        for lightness in (0.2, 0.35, 0.5)
    ]
    blocks = [result.reshape(15, 16, 22, 16, 3).mean(axis=(1, 3, 4)) for result in results]
    assert (blocks[0] < blocks[1]).mean() > 0.99
    assert (blocks[1] < blocks[2]).mean() > 0.99


def test_torch_makes_the_same_picture(dimma: Enhancer) -> None:
    """From the weights that training starts from, which the graph was made of."""
    torch_weights = EXAMPLES.parent / "models" / "dimma-torch.safetensors"
    other = lowlight.load(torch_weights, engine="torch", threads=1)
    photo = read_photo(EXAMPLES / "astronaut.jpg")
    observation = dimma.method.observe(photo.samples, dimma.controls())
    again = other.method.observe(photo.samples, other.controls())
    assert all(np.array_equal(observation[name], again[name]) for name in observation)
    tile = photo.window(64, 64, 160, 240)
    difference = dimma.engine.run(tile, observation) - other.engine.run(tile, observation)
    assert np.abs(difference).max() < 1e-4


def test_the_fast_twin_is_close(dimma: Enhancer) -> None:
    photo = part("astronaut.jpg")
    exact, _ = dimma.enhance_photo(photo, dimma.controls(lightness=0.45))
    fast = lowlight.load("dimma", fast=True, threads=1)
    close, _ = fast.enhance_photo(photo, fast.controls(lightness=0.45))
    error = np.square(exact.samples.astype(float) - close.samples).mean()
    assert 10 * np.log10(255**2 / error) > 40


def test_sixteen_bits_are_not_banded(dimma: Enhancer) -> None:
    """A dark ramp finer than 8 bits comes out finer than 8 bits."""
    ramp = np.linspace(600, 1400, 512)[None, :, None] * np.ones((64, 1, 3))
    result, _ = dimma.enhance_photo(Photo(ramp.astype(np.uint16)), dimma.controls(lightness=0.4))
    assert len(np.unique(result.samples[32, :, 1])) > 400

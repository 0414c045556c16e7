"""What LLFlow's weights in the clone must be, whatever their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import lowlight
from lowlight import statistics
from lowlight.enhancer import Enhancer
from lowlight.photo import Photo, read_photo

CLONE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def llflow() -> Enhancer:
    return lowlight.load(CLONE / "models" / "llflow.onnx", threads=1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("astronaut.jpg", "chelsea.jpg")]
    + ["coffee.jpg"],
)
def test_more_brightness_is_a_lighter_picture(llflow: Enhancer, name: str) -> None:
    photo = read_photo(CLONE / "examples" / name)
    side = min(photo.height, photo.width)
    small = Photo(np.rint(255 * statistics.thumbnail(photo.samples[:side, :side], 96)).astype(np.uint8))
    means = [
        statistics.mean(llflow.enhance_photo(small, llflow.controls(brightness=each))[0].samples)
        for each in (-0.4, -0.2, 0.0, 0.2, 0.4)
    ]
    assert (np.diff(means) > 0).all(), means


@pytest.mark.slow
def test_tiles_with_the_stated_halo_give_the_same_8_bits(llflow: Enhancer) -> None:
    photo = read_photo(CLONE / "examples" / "coffee.jpg")
    controls = llflow.controls()
    whole, report = llflow.enhance_photo(photo, controls)
    assert report.tiles == 1
    tiled, report = llflow.enhance_photo(photo, controls, memory=350_000_000)
    assert report.tiles > 1
    differ = tiled.samples != whole.samples
    assert differ.sum() <= 30, "values between two steps, which change with any order of summing"
    assert np.abs(tiled.samples.astype(int) - whole.samples).max() <= 1


@pytest.mark.slow
def test_surprise_shows_noise_and_blur_where_they_are(one_thread: None) -> None:
    """In a picture that the density has drawn itself, of which nothing is surprising."""
    from lowlight.likelihoods import Judge

    low = read_photo(CLONE / "examples" / "coffee.jpg").samples[100:220, 200:360]
    given = Judge.load(CLONE / "models" / "llflow-torch.safetensors").given(low)
    drawn = given.density.draw(torch.Generator().manual_seed(5))[0].permute(1, 2, 0).numpy().clip(0, 1)
    noise = np.random.default_rng(0).normal(0, 8 / 255, drawn.shape).astype(np.float32)
    soft = Image.fromarray(np.rint(drawn * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    stitched = drawn.copy()
    stitched[:, :48] += noise[:, :48]
    stitched[:, -48:] = np.asarray(soft)[:, -48:] / np.float32(255)
    surprise = given.map("surprise", stitched)
    noisy, right, blurred = (surprise[:, part].mean() for part in np.s_[:48, 56:-56, -48:])
    assert abs(right) < 1
    assert noisy > right + 3
    assert blurred < right - 1

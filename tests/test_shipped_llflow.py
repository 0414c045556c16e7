"""What LLFlow's weights in the clone must be, whatever their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lowlight
from lowlight import statistics
from lowlight.enhancer import Enhancer
from lowlight.photo import Photo, read_photo

CLONE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def llflow() -> Enhancer:
    return lowlight.load(CLONE / "models" / "llflow.onnx", threads=1)


@pytest.mark.parametrize("name", ["astronaut.jpg", "chelsea.jpg", "coffee.jpg"])
def test_more_brightness_is_a_lighter_picture(llflow: Enhancer, name: str) -> None:
    photo = read_photo(CLONE / "examples" / name)
    side = min(photo.height, photo.width)
    small = Photo(np.rint(255 * statistics.thumbnail(photo.samples[:side, :side], 128)).astype(np.uint8))
    means = [
        statistics.mean(llflow.enhance_photo(small, llflow.controls(brightness=each))[0].samples)
        for each in (-0.4, -0.2, 0.0, 0.2, 0.4)
    ]
    assert (np.diff(means) > 0).all(), means

"""Metrics against the values of the reference implementations."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lowlight.errors import UseError
from lowlight.evaluation import metrics

FIXTURES = Path(__file__).parent / "fixtures" / "metrics"
VALUES = json.loads((FIXTURES / "values.json").read_text())


def picture(name: str) -> NDArray[np.uint8]:
    with Image.open(FIXTURES / "pictures" / f"{name}.png") as image:
        return np.asarray(image)


@pytest.mark.parametrize("pair", ["a", "b"])
def test_metrics_equal_the_reference_implementations(pair: str) -> None:
    result, reference = picture(f"{pair}_out"), picture(f"{pair}_ref")
    assert metrics.psnr(result, reference) == pytest.approx(VALUES[pair]["psnr"]["rgb8"], abs=1e-9)
    assert metrics.ssim(result, reference) == pytest.approx(VALUES[pair]["ssim"]["gauss_rgb8"], abs=1e-9)


def test_equal_pictures() -> None:
    reference = picture("a_ref")
    assert metrics.psnr(reference, reference) == float("inf")
    assert metrics.ssim(reference, reference) == pytest.approx(1.0, abs=1e-12)


def test_sizes_that_differ_are_an_error_not_a_resize() -> None:
    with pytest.raises(UseError, match="one size"):
        metrics.psnr(picture("a_out"), picture("b_ref"))

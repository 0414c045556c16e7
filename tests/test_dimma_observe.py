"""What Dimma knows of a whole photo: its descriptor, and the lightness that it guesses."""

from __future__ import annotations

import numpy as np
import pytest

from lowlight import estimator, statistics
from lowlight.errors import WeightsError
from lowlight.methods.dimma import DESCRIPTOR, Config, Controls, Dimma, descriptor


def counts_of(seed: int, scale: float) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(2.0, scale, (40, 40, 3)).clip(0, 255)
    return statistics.histograms(values.astype(np.uint8))


def test_a_descriptor_tells_tone_and_cast_but_not_size() -> None:
    counts = counts_of(0, 10.0)
    found = descriptor(counts)
    assert found.shape == (DESCRIPTOR,)
    assert found == pytest.approx(descriptor(counts * 7), abs=1e-6)
    red = counts.copy()
    red[0] = np.roll(red[0], 20)
    assert descriptor(red)[9] > found[9] + 0.3  # the red channel's mean, relative to all


def test_a_descriptor_stays_in_the_range_that_training_saw() -> None:
    low, high = np.full(DESCRIPTOR, -0.1, np.float32), np.full(DESCRIPTOR, 0.1, np.float32)
    bounded = Dimma(Config(), {"descriptor_low": low, "descriptor_high": high})
    found = bounded.observe_counts(counts_of(1, 30.0), 0.2, 0.5)["descriptor"]
    assert found.min() == np.float32(-0.1)
    assert found.max() == np.float32(0.1)
    free = Dimma(Config(), {}).observe_counts(counts_of(1, 30.0), 0.2, 0.5)["descriptor"]
    assert free == pytest.approx(descriptor(counts_of(1, 30.0)))


def test_without_an_estimator_lightness_is_a_constant_and_never_darkens() -> None:
    method = Dimma(Config(), {})
    dark = np.full((8, 8, 3), 20, np.uint8)
    assert method.observe(dark, Controls())["lightness"] == pytest.approx(estimator.DEFAULT_LIGHTNESS)
    bright = np.full((8, 8, 3), 204, np.uint8)
    assert method.observe(bright, Controls())["lightness"] == pytest.approx(0.8)


def test_half_an_estimator_is_refused() -> None:
    with pytest.raises(WeightsError, match="lacks gamma"):
        Dimma(Config(), {"center": np.zeros(3, np.float32)})

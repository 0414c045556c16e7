"""What Dimma knows of a whole photo: its descriptor, and the lightness that it guesses."""

from __future__ import annotations

import numpy as np
import pytest

from lowlight import statistics
from lowlight.errors import WeightsError
from lowlight.methods.dimma import DESCRIPTOR, Config, Controls, Dimma, descriptor, lightness


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


def test_the_estimator_learns_what_depends_on_the_photo() -> None:
    scales = np.random.default_rng(0).uniform(4, 20, 200)
    darks = [counts_of(seed, scale) for seed, scale in enumerate(scales)]
    wanted = 0.3 + 0.01 * scales
    arrays, error = lightness.fit(darks, list(wanted))
    assert error < 0.005 < np.abs(wanted - wanted.mean()).mean()
    guess = lightness.predict(arrays, lightness.features(counts_of(999, 12.0)))
    assert guess == pytest.approx(0.42, abs=0.02)


def test_without_an_estimator_lightness_is_a_constant_and_never_darkens() -> None:
    method = Dimma(Config(), {})
    dark = np.full((8, 8, 3), 20, np.uint8)
    assert method.observe(dark, Controls())["lightness"] == pytest.approx(lightness.DEFAULT_LIGHTNESS)
    bright = np.full((8, 8, 3), 204, np.uint8)
    assert method.observe(bright, Controls())["lightness"] == pytest.approx(0.8)


def test_half_an_estimator_is_refused() -> None:
    with pytest.raises(WeightsError, match="lacks gamma, offset, scale, support, weight"):
        Dimma(Config(), {"center": np.zeros(3, np.float32)})

"""What Dimma knows of a whole photo: its descriptor, and the lightness that it guesses."""

from __future__ import annotations

import numpy as np
import pytest

from lowlight import statistics
from lowlight.errors import WeightsError
from lowlight.methods.dimma import DESCRIPTOR, Config, Controls, Dimma, descriptor, lightness
from pictures import noise


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
    grid = np.full((4, 6, 3), 0.1)
    darks = [lightness.features(counts_of(seed, scale), grid) for seed, scale in enumerate(scales)]
    wanted = 0.3 + 0.01 * scales
    arrays, error = lightness.fit(darks, list(wanted))
    assert error < 0.005 < np.abs(wanted - wanted.mean()).mean()
    guess = lightness.predict(arrays, lightness.features(counts_of(999, 12.0), grid))
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
    other = {name: np.zeros((1, 3) if name == "support" else 3, np.float32) for name in lightness.ARRAYS}
    with pytest.raises(WeightsError, match="looks at 3 numbers of a photo; expected 30"):
        Dimma(Config(), other)


def test_features_do_not_depend_on_resolution() -> None:
    rng = np.random.default_rng(0)
    small = np.kron(rng.integers(0, 80, (25, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    large = np.kron(small, np.ones((6, 6, 1))).astype(np.uint8)
    found = [
        lightness.features(statistics.histograms(each), statistics.thumbnail(each, lightness.THUMBNAIL))
        for each in (small, large)
    ]
    assert found[0].shape == (lightness.FEATURES,)
    assert found[1] == pytest.approx(found[0], abs=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (700, 5), (60, 61)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_features_of_any_photo_are_finite(shape: tuple[int, int], dtype: type) -> None:
    samples = noise(*shape, seed=3).astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    samples = samples / np.float32(255) if dtype == np.float32 else samples
    grid = statistics.thumbnail(samples, lightness.THUMBNAIL)
    assert grid.shape[2] == 3
    assert grid.mean() == pytest.approx(statistics.mean(samples), abs=0.02)
    assert np.isfinite(lightness.features(statistics.histograms(samples), grid)).all()

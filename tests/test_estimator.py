"""The lightness that a dark photo's reference likely has, guessed from the dark photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lowlight import estimator, statistics
from lowlight.errors import WeightsError
from lowlight.training.data import Mixture, PairDrawer, Picture
from lowlight.training.lightness import FEWEST_EXPOSURES, learn_lightness
from pictures import noise


def counts_of(seed: int, scale: float) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(2.0, scale, (40, 40, 3)).clip(0, 255)
    return statistics.histograms(values.astype(np.uint8))


def test_the_estimator_learns_what_depends_on_the_photo() -> None:
    scales = np.random.default_rng(0).uniform(4, 20, 200)
    grid = np.full((4, 6, 3), 0.1)
    darks = [estimator.features(counts_of(seed, scale), grid) for seed, scale in enumerate(scales)]
    wanted = 0.3 + 0.01 * scales
    arrays = estimator.fit(darks, list(wanted))
    fresh = np.linspace(5, 19, 8)
    guesses = [
        estimator.predict(arrays, estimator.features(counts_of(900 + index, scale), grid))
        for index, scale in enumerate(fresh)
    ]
    assert np.abs(guesses - (0.3 + 0.01 * fresh)).mean() < 0.005 < np.abs(wanted - wanted.mean()).mean()


def test_half_an_estimator_and_one_of_other_features_are_refused() -> None:
    assert estimator.pick({"descriptor_low": np.zeros(31, np.float32)}) == {}
    with pytest.raises(WeightsError, match="lacks gamma, offset, scale, support, weight"):
        estimator.pick({"center": np.zeros(3, np.float32)})
    other = {name: np.zeros((1, 3) if name == "support" else 3, np.float32) for name in estimator.ARRAYS}
    with pytest.raises(WeightsError, match="looks at 3 numbers of a photo; expected 30"):
        estimator.pick(other)


def test_features_do_not_depend_on_resolution() -> None:
    rng = np.random.default_rng(0)
    small = np.kron(rng.integers(0, 80, (25, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    large = np.kron(small, np.ones((6, 6, 1))).astype(np.uint8)
    found = [
        estimator.features(statistics.histograms(each), statistics.thumbnail(each, estimator.THUMBNAIL))
        for each in (small, large)
    ]
    assert found[0].shape == (estimator.FEATURES,)
    assert found[1] == pytest.approx(found[0], abs=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (700, 5), (60, 61)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_features_of_any_photo_are_finite(shape: tuple[int, int], dtype: type) -> None:
    samples = noise(*shape, seed=3).astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    samples = samples / np.float32(255) if dtype == np.float32 else samples
    grid = statistics.thumbnail(samples, estimator.THUMBNAIL)
    assert grid.shape[2] == 3
    assert grid.mean() == pytest.approx(statistics.mean(samples), abs=0.02)
    assert np.isfinite(estimator.features(statistics.histograms(samples), grid)).all()


def pairs(count: int) -> list[tuple[Picture, Picture]]:
    """Every second dark photo is darker, and its reference too."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        dark = rng.uniform(0, 0.1 if index % 2 else 0.3, (8, 8, 3))
        light = np.full((8, 8, 3), 0.3 if index % 2 else 0.6)
        photos = ((255 * each).astype(np.uint8) for each in (dark, light))
        pictures = [
            Picture(str(index), torch.from_numpy(each), statistics.histograms(each)) for each in photos
        ]
        made.append((pictures[0], pictures[1]))
    return made


def test_it_is_fitted_to_pairs_whose_exposure_somebody_chose() -> None:
    many = pairs(60)
    made = PairDrawer([(dark, dark) for dark, _ in many], made=True)
    learned = learn_lightness(Mixture([(PairDrawer(many), 1.0), (made, 1.0)]))
    for index, (dark, _) in enumerate(many[:2]):
        guess = estimator.guess(learned, dark.pixels.numpy(), dark.counts)
        assert guess == pytest.approx(0.3 if index else 0.6, abs=0.05)


def test_too_few_pairs_teach_nothing() -> None:
    assert learn_lightness(Mixture([(PairDrawer(pairs(FEWEST_EXPOSURES - 1)), 1.0)])) == {}

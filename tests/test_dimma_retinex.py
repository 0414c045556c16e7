"""Dimma's retinex split, lightness and ISO noise, against numbers of the published code."""

from __future__ import annotations

import numpy as np
import pytest

import fill
from dimma_numbers import FIXTURES
from lowlight.methods.dimma import noise, retinex


@pytest.fixture(scope="module")
def fixture() -> dict[str, np.ndarray]:
    return dict(np.load(FIXTURES / "retinex.npz"))


def test_split_of_both_forms(fixture: dict[str, np.ndarray]) -> None:
    reflectance, illumination = retinex.split(fixture["photo"] / 255)
    first_reflectance, first = retinex.split(fixture["photo"] / 255, "first")
    np.testing.assert_allclose(reflectance, fixture["reflectance"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(illumination, fixture["illumination_max"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(first, fixture["illumination_first_channel"], rtol=0, atol=1e-7)
    assert np.array_equal(first_reflectance, reflectance)


def test_split_of_values_to_255(fixture: dict[str, np.ndarray]) -> None:
    reflectance, illumination = retinex.split(fixture["photo"])
    np.testing.assert_allclose(reflectance, fixture["reflectance_255"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(illumination, fixture["illumination_255"], rtol=0, atol=1e-5)


def test_bins_with_their_quirk_at_greys(fixture: dict[str, np.ndarray]) -> None:
    _, first = retinex.split(fixture["photo"] / 255, "first")
    _, illumination = retinex.split(fixture["photo"])
    assert np.array_equal(retinex.bins(first), fixture["bin_first_channel"])
    assert np.array_equal(retinex.bins(illumination, 255), fixture["bin_statistics"])
    white, dark_grey = np.full((1, 3), 255), np.full((1, 3), 80)
    assert retinex.bins(retinex.split(white / 255)[1]) == 254
    assert retinex.bins(retinex.split(dark_grey / 255)[1]) == 80


def test_forms_differ_only_without_red() -> None:
    photo = fill.photo("forms", 20, 30).astype(np.float64)
    photo[0, :5, 0] = 0
    maximum, first = (retinex.split(photo, form)[1] for form in ("maximum", "first"))
    assert np.array_equal(first[0, :5], np.zeros(5))
    assert maximum[0, :5].min() > 0.05
    np.testing.assert_allclose(maximum.ravel()[5:], first.ravel()[5:], rtol=1e-5)


def test_merge_undoes_split() -> None:
    photo = fill.photo("merge", 20, 30).astype(np.float64)
    photo[0, 0], photo[0, 1] = 0, (0, 0, 1)
    reflectance, illumination = retinex.split(photo)
    np.testing.assert_allclose(retinex.merge(reflectance, illumination), photo, rtol=0, atol=3e-6)
    np.testing.assert_allclose(reflectance[1:].sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_lightness_is_the_mean_of_the_values(depth: str) -> None:
    photo = fill.photo("lightness", 61, 35, high=0.4)
    samples = photo if depth == "float32" else (photo * np.iinfo(depth).max).astype(depth)
    scale = 1 if depth == "float32" else np.iinfo(depth).max
    assert retinex.mean_lightness(samples) == pytest.approx(samples.mean(dtype=np.float64) / scale, abs=2e-6)


def test_lightness_of_pairs() -> None:
    pair = np.load(FIXTURES / "pair_input.npz")
    assert retinex.mean_lightness(pair["dark"]) == pytest.approx(float(pair["source_lightness"]), abs=1e-6)
    assert retinex.mean_lightness(pair["light"]) == pytest.approx(float(pair["target_lightness"]), abs=1e-6)


class Recorded(np.random.Generator):
    """Gives the draws of the fixture."""

    def __init__(self, fixture: dict[str, np.ndarray]) -> None:
        super().__init__(np.random.PCG64())
        self.fixture = fixture

    def poisson(self, lam: float, size: tuple[int, ...]) -> np.ndarray:
        assert lam == pytest.approx(float(self.fixture["iso_poisson_mean"]), rel=1e-6)
        assert size == self.fixture["iso_poisson"].shape
        return self.fixture["iso_poisson"]

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        return self.fixture["iso_normal"]


def test_iso_noise() -> None:
    fixture = dict(np.load(FIXTURES / "pair_input.npz"))
    shift, intensity = float(fixture["iso_color_shift"]), float(fixture["iso_intensity"])
    noisy = noise.iso_noise(fixture["iso_photo"], shift, intensity, Recorded(fixture))
    difference = np.abs(noisy.astype(int) - fixture["iso_result"])
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.005


def test_iso_noise_of_nothing_changes_nothing() -> None:
    photo = (fill.photo("iso", 16, 20) * 255).astype(np.uint8)
    photo[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [7, 7, 7]]
    same = noise.iso_noise(photo, 0.03, 0.0, np.random.default_rng(0))
    assert np.abs(same.astype(int) - photo).max() <= 1, "truncation may lose one level, colours stay"

"""Dimma's dimmer: its mixture density network, calibration and dimming, against numbers of the published code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fill
import lowlight
import tiny
from dimma_numbers import FIXTURES
from lowlight import equalise, statistics
from lowlight.errors import ControlError, PhotoError, WeightsError
from lowlight.methods.dimma import calibration, retinex
from lowlight.methods.dimma.dimmer import (
    Dimmer,
    DimmerConfig,
    Seeded,
    load_dimmer,
    sample,
    save_dimmer,
    tempered,
)
from lowlight.weights import open_weights, save_safetensors

AUTHORS = ("3shot", "480shot")
CURVE = np.linspace(0.05, 0.3, 256)


def authors(name: str) -> Dimmer:
    """A dimmer of the authors, as an import makes it."""
    tensors = dict(np.load(FIXTURES / f"dimmer_{name}.npz"))
    return Dimmer.from_arrays(tensors, tensors.pop("mean"), tensors.pop("std"), form="first")


def filled(weights: str = "weights_mdn.json") -> Dimmer:
    rows = json.loads((FIXTURES / weights).read_text())
    return Dimmer.from_arrays({row[0]: fill.tensor(*row) for row in rows}, CURVE, 0.3 * CURVE)


def flat(planes: np.ndarray) -> np.ndarray:
    """(..., height, width) as (..., height * width)."""
    return planes.reshape(*planes.shape[:-2], -1)


def photo(name: str = "light", height: int = 60, width: int = 50) -> np.ndarray:
    return (fill.photo(name, height, width) * 255).astype(np.uint8)


class Recorded:
    """Gives the draws of a fixture."""

    def __init__(self, fixture: dict[str, np.ndarray]) -> None:
        self.draws = flat(fixture["z_illumination"]), flat(fixture["u"]), flat(fixture["z"])

    def take(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert count == len(self.draws[0])
        return self.draws


# The mixture density network


@pytest.mark.parametrize("name", ["fill", *AUTHORS])
def test_mixture_and_samples(name: str) -> None:
    fixture = np.load(FIXTURES / "mdn.npz")
    dimmer = filled() if name == "fill" else authors(name)
    mixture = dimmer.mixture(flat(fixture["x"][0]))
    for part, found in zip(("mu", "sigma", "pi"), mixture, strict=True):
        expected = flat(fixture[f"{name}_{part}"])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    values, component = sample(*mixture, flat(fixture["u"]), flat(fixture["z"]))
    assert np.array_equal(component, flat(fixture[f"{name}_component"]))
    expected = flat(fixture[f"{name}_sample"])
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_deterministic_rival() -> None:
    fixture = np.load(FIXTURES / "mdn.npz")
    dimmer = filled("weights_dcnn.json")
    assert dimmer.config == DimmerConfig(kind="deterministic", noise="released")
    found, expected = dimmer.expected(flat(fixture["x"][0])), flat(fixture["deterministic_output"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_temperature_scales_variances_and_sharpens_the_choice() -> None:
    means = np.zeros((3, 2, 1), np.float32)
    deviations, weights = means + 0.2, np.broadcast_to(np.float32([[0.8], [0.2]]), means.shape)
    assert tempered(means, deviations, weights, 1)[2] is weights
    _, wider, flatter = tempered(means, deviations, weights, 2)
    np.testing.assert_allclose(wider, 0.2 * np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(flatter[0, :, 0], [2 / 3, 1 / 3], rtol=1e-5)
    _, none, chosen = tempered(means, deviations, weights, 0)
    assert not none.any()
    assert chosen[0, :, 0].tolist() == [1, 0]


# Calibration


@pytest.fixture(scope="module")
def pairs() -> dict[str, np.ndarray]:
    return dict(np.load(FIXTURES / "calibration.npz"))


def test_statistics_as_released(pairs: dict[str, np.ndarray]) -> None:
    both = list(zip(pairs["dark"], pairs["light"], strict=True))
    counts, mean, std = calibration.measure(both)
    assert (counts[1:] > 0).sum() == 130
    for name, values in (("mean", mean), ("std", std)):
        found = calibration.fill(values, counts > 0, "released")
        np.testing.assert_allclose(found, pairs[f"{name}_before_smoothing"], rtol=0, atol=1e-12)
    for form, suffix in (("maximum", ""), ("first", "_first_channel")):
        found = calibration.calibrate(both, form=form, edges="released")
        for name, values in zip(("mean", "std"), found, strict=True):
            np.testing.assert_allclose(values, pairs[f"{name}{suffix}"], rtol=0, atol=1e-12)


def test_mended_edges_are_no_darker_than_the_rest(pairs: dict[str, np.ndarray]) -> None:
    both = list(zip(pairs["dark"], pairs["light"], strict=True))
    (mended, _), (released, _) = (
        calibration.calibrate(both, edges=edges) for edges in ("mended", "released")
    )
    filled_bins = np.flatnonzero(calibration.measure(both)[0])
    inner = [index for index in filled_bins if {index - 1, index + 1} <= set(filled_bins)]
    assert len(inner) > 80
    np.testing.assert_allclose(mended[inner], released[inner], rtol=0, atol=1e-12)
    assert released[0] < 0.5 * released[filled_bins[1]]
    assert released[255] < 0.8 * released[254]
    assert mended[0] == pytest.approx(mended[1], rel=0.2)
    assert mended[255] == pytest.approx(mended[254], rel=0.2)


def test_an_even_camera_is_found_even() -> None:
    """Half the light is left everywhere: every bin says so, also those that no pixel fell into."""
    light = np.linspace(40, 200, 3000).reshape(50, 20, 3)
    mean, std = calibration.calibrate(
        [((light / 2).astype(np.float32) / 255, light.astype(np.float32) / 255)]
    )
    np.testing.assert_allclose(mean, 0.5, rtol=1e-5)
    np.testing.assert_allclose(std, 0, atol=1e-5)


def test_depths_are_calibrated_alike() -> None:
    light, dark = photo("light"), photo("dark") // 5
    eight = calibration.calibrate([(dark, light)])
    deep = calibration.calibrate([(dark.astype(np.uint16) * 257, light.astype(np.uint16) * 257)])
    for one, other in zip(eight, deep, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def noisy_camera(rng: np.random.Generator) -> tuple[list[calibration.Pair], np.ndarray]:
    """Pairs of a camera that leaves a tenth of the light, and the covariance of its noise, in levels of 255."""
    covariance = np.array([[4.0, 0.7, 0.5], [0.7, 1.4, 0.2], [0.5, 0.2, 2.5]])
    pairs: list[calibration.Pair] = []
    for _ in range(2):
        slope = np.linspace(60, 250, 400)[:, None, None] * rng.uniform(0.7, 1, 3)
        light = np.broadcast_to(slope, (400, 300, 3))
        dark = 0.1 * light + rng.multivariate_normal(np.zeros(3), covariance, light.shape[:2])
        pairs.append((np.rint(dark.clip(0, 255)).astype(np.uint8), np.rint(light).astype(np.uint8)))
    return pairs, covariance


def test_noise_is_measured_at_each_brightness() -> None:
    pairs, covariance = noisy_camera(np.random.default_rng(0))
    noise = calibration.measure_noise(pairs)
    assert noise.shape == (6, 256)
    triangle = np.zeros((14, 3, 3))
    triangle[:, *np.tril_indices(3)] = 255 * noise[:, 8:22].T
    found = triangle @ triangle.transpose(0, 2, 1)
    np.testing.assert_allclose(found.mean(axis=0), covariance, rtol=0.05, atol=0.12)
    np.testing.assert_allclose(found[:, 0, 0], covariance[0, 0], rtol=0.2)
    black = np.zeros((30, 30, 3), np.uint8)
    assert calibration.measure_noise([(black, black)]).max() < 1e-5
    small = np.zeros((3, 50, 3), np.uint8)
    assert not calibration.measure_noise([(small, small)]).any()


def test_texture_of_the_light_photo_is_no_noise() -> None:
    rng = np.random.default_rng(0)
    light = rng.integers(120, 200, (200, 200, 3), np.uint8)
    noise = calibration.measure_noise([(light // 4, light)])
    assert 255 * np.hypot(*noise[1:3, 40]) < 0.5  # of what whole levels cut off; the texture's own is 6


def test_twins_have_the_noise_of_the_pairs() -> None:
    pairs, covariance = noisy_camera(np.random.default_rng(0))
    base = tiny.dimmer(noise="measured")
    dimmer = Dimmer(
        base.config, base.tensors, *calibration.calibrate(pairs), calibration.measure_noise(pairs)
    )
    light = np.full((300, 300, 3), 150, np.uint8)
    twin = dimmer.dim(light, seed=1).astype(float)
    found = np.cov(twin.reshape(-1, 3).T)
    assert twin.mean() == pytest.approx(15, abs=0.4)
    np.testing.assert_allclose(found, covariance, rtol=0.15, atol=0.15)
    calm, loud = (dimmer.dim(light, seed=1, temperature=each).std(axis=(0, 1)) for each in (0, 2))
    assert not calm.any()
    np.testing.assert_allclose(loud, np.sqrt(2 * covariance.diagonal()), rtol=0.15)


def test_black_pairs_say_nothing() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(PhotoError, match="light photos of all pairs are black"):
        calibration.calibrate([(black, black)])


# Dimming


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize("number", range(3))
def test_dimming_as_released(name: str, number: int) -> None:
    fixture = dict(np.load(FIXTURES / "dimming.npz"))
    light = fixture["light"]
    illumination, reflectance = authors(name).dim_pixels(
        light.reshape(-1, 3) / 255, Recorded(fixture), factor=float(fixture["dim_factors"][number])
    )
    key = f"{name}_{number}_"
    expected = fixture[f"{key}illumination"].ravel()
    np.testing.assert_allclose(illumination, expected, rtol=0, atol=1e-7)
    expected = fixture[f"{key}reflectance"].reshape(-1, 3)
    np.testing.assert_allclose(reflectance, expected, rtol=0, atol=1e-6)
    dark = (255 * retinex.merge(reflectance, illumination)).astype(np.uint8).reshape(light.shape)
    difference = np.abs(dark.astype(int) - fixture[f"{key}dark"])
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 2
    # What the release's network got beside the dark photo.
    image = fixture[f"{key}image"].transpose(1, 2, 0)
    published = fixture[f"{key}dark"]
    tables = equalise.tables(statistics.histograms(published))
    assert np.array_equal(equalise.apply(published / np.float32(255), tables), image[..., :3])
    colours = retinex.split(published / 255)[0]  # its small term is a third of this one's
    np.testing.assert_allclose(colours, image[..., 3:6], rtol=0, atol=2e-4)
    np.testing.assert_allclose(illumination, image[..., 6].ravel(), rtol=0, atol=1e-7)
    for side, picture in (("source", dark), ("target", light)):
        lightness = retinex.mean_lightness(picture, "first")
        assert lightness == pytest.approx(float(fixture[f"{key}{side}_lightness"]), abs=1e-6)


def test_a_seed_fixes_the_twin_and_strips_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dimmer, light = authors("3shot"), photo()
    twin = dimmer.dim(light, seed=5)
    assert np.array_equal(dimmer.dim(light, seed=5), twin)
    assert (dimmer.dim(light, seed=6) != twin).mean() > 0.3
    monkeypatch.setattr("lowlight.methods.dimma.dimmer._BLOCK", 701)
    shares: list[float] = []
    cut = dimmer.dim(light, seed=5, progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) == 5
    assert shares[-1] == 1
    # Matrices of other sizes may round the last bit of a float32 otherwise, and a value be cut differently.
    assert np.abs(cut.astype(int) - twin).max() <= 1
    assert (cut != twin).mean() < 1e-3


def test_factor_and_temperature() -> None:
    dimmer, light = authors("480shot"), photo()
    means = [dimmer.dim(light, factor=factor).mean() for factor in (0.3, 1, 2)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(0.3 * means[1], rel=0.25)
    assert means[2] < light.mean()
    even = np.full((40, 40, 3), (120, 100, 80), np.uint8)
    spread = [dimmer.dim(even, temperature=each).std(axis=(0, 1)).sum() for each in (0, 0.5, 1, 2)]
    assert spread[0] == 0
    assert spread == sorted(spread)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_twins_keep_their_photo_s_depth_and_leave_it_alone(dtype: type) -> None:
    values = fill.photo("depths", 20, 30)
    light = values if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)
    before = light.copy()
    twin = authors("3shot").dim(light, seed=2)
    assert (twin.shape, twin.dtype) == (light.shape, light.dtype)
    assert np.array_equal(light, before)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert twin.mean() / scale == pytest.approx(authors("3shot").dim(values, seed=2).mean(), rel=0.1)


def test_too_much_light_is_cut_at_white_and_does_not_wrap() -> None:
    bright = Dimmer.from_arrays(filled().tensors, np.ones(256), np.zeros(256))
    twin = bright.dim(np.full((30, 30, 3), 250, np.uint8), factor=2)
    assert twin.max() == 255
    assert twin.mean() > 200


def test_black_stays_black_and_red_is_needed_by_the_authors_dimmers_alone() -> None:
    light = np.array([[[0, 0, 0], [0, 120, 200]]], np.uint8)
    released = authors("480shot")
    mended = Dimmer.from_arrays(released.tensors, *released.arrays.values())
    assert released.dim(light).max() == 0
    assert mended.dim(light)[0, 0].max() == 0
    assert mended.dim(light)[0, 1].max() > 3


def test_rival_has_noise_in_illumination_only() -> None:
    even = np.full((40, 40, 3), (120, 100, 80), np.uint16) * 257
    twin = filled("weights_dcnn.json").dim(even, seed=1).astype(float)
    assert twin.std(axis=(0, 1)).min() > 10
    ratios = twin[..., 0] / twin.sum(axis=2)
    assert ratios.std() < 0.01 * ratios.mean()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"factor": 0.2}, "control factor = 0.2: expected 0.3 to 2"),
        ({"temperature": 3}, "control temperature = 3: expected 0 to 2"),
        ({"seed": -1}, "control seed = -1: expected a whole number of at least 0"),
    ],
)
def test_controls_are_checked(values: dict[str, float], said: str) -> None:
    with pytest.raises(ControlError, match=said):
        filled().dim(photo(), **values)  # type: ignore[arg-type]


def test_draws_continue_where_they_were() -> None:
    whole, parts = Seeded(3), Seeded(3)
    pieces = [parts.take(count) for count in (7, 1, 92)]
    for index, drawn in enumerate(whole.take(100)):
        assert np.array_equal(np.concatenate([piece[index] for piece in pieces], axis=-1), drawn)


# Files


def test_a_dimmer_s_file_gives_the_same_twins(tmp_path: Path) -> None:
    path = tmp_path / "camera.safetensors"
    dimmer = authors("3shot")
    save_dimmer(path, dimmer, name="camera", licence="MIT", notes=["three pairs"])
    found = load_dimmer(path)
    assert found.config == dimmer.config
    assert found.fingerprint == open_weights(path).sha256
    assert np.array_equal(found.dim(photo(), seed=1), dimmer.dim(photo(), seed=1))
    header = open_weights(path).header
    assert (header.method, header.part, header.notes) == ("dimma", "dimmer", ["three pairs"])


def test_a_dimmer_is_no_network_and_a_network_no_dimmer(tmp_path: Path) -> None:
    path = tmp_path / "camera.safetensors"
    save_dimmer(path, filled(), name="camera", licence="CC0")
    with pytest.raises(WeightsError, match=r"camera\.safetensors: expected a network .*, found a dimmer"):
        lowlight.load(path)
    with pytest.raises(WeightsError, match=r"dimma\.onnx: expected a dimmer, found a network that enhances"):
        load_dimmer("dimma")
    opened = open_weights(path)
    save_safetensors(path, opened.header.model_copy(update={"part": "codebook"}), {})
    with pytest.raises(WeightsError, match="dimma has no part 'codebook'; there are: dimmer"):
        open_weights(path)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "camera.safetensors"
    dimmer = filled()
    save_dimmer(path, dimmer, name="camera", licence="CC0")
    header = open_weights(path).header
    rest = {name: tensor for name, tensor in dimmer.tensors.items() if name != "blue_mu.bias"}
    save_safetensors(path, header, rest)
    with pytest.raises(WeightsError, match=r"camera\.safetensors: tensor 'blue_mu\.bias' missing"):
        load_dimmer(path)
    save_safetensors(path, header.model_copy(update={"arrays": {}}), dimmer.tensors)
    with pytest.raises(WeightsError, match="its header lacks the array 'mean'"):
        load_dimmer(path)
    with pytest.raises(WeightsError, match="no dimmer: expected tensors"):
        Dimmer.from_arrays({"a": np.zeros(3, np.float32)}, CURVE, CURVE)
    with pytest.raises(WeightsError, match="std: expected 256 numbers of at least 0"):
        Dimmer.from_arrays(dimmer.tensors, CURVE, -CURVE)
    with pytest.raises(WeightsError, match="mean: expected 256 numbers of at least 0"):
        Dimmer.from_arrays(dimmer.tensors, CURVE[1:], CURVE)
    with pytest.raises(WeightsError, match="noise: expected 6 times 256 finite numbers"):
        Dimmer(DimmerConfig(), dimmer.tensors, CURVE, CURVE, np.full((6, 256), np.nan))
    with pytest.raises(WeightsError, match="dimmer: its header lacks the array 'noise'"):
        Dimmer(DimmerConfig(), dimmer.tensors, CURVE, CURVE)


def test_measured_noise_lies_in_the_file(tmp_path: Path) -> None:
    dimmer = tiny.dimmer(noise="measured")
    save_dimmer(tmp_path / "camera.safetensors", dimmer, name="camera", licence="CC0")
    found = load_dimmer(tmp_path / "camera.safetensors")
    assert np.array_equal(found.dim(photo()), dimmer.dim(photo()))

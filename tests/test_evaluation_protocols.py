"""Protocols against the releases' own numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowlight.evaluation.metrics import METRICS, Picture
from lowlight.evaluation.protocols import (
    GT_MEANS,
    PRESETS,
    PROTOCOLS,
    best_constant,
    dimma_lightness,
    truncated,
)

FIXTURES = Path(__file__).parent / "fixtures" / "metrics"
VALUES = json.loads((FIXTURES / "values.json").read_text())["gt_mean"]

GAINS = {
    "llflow_test": (
        "gtmean_llflow",
        {
            "psnr": ("psnr", 1e-8),
            "ssim_column7_grey8": ("ssim_llflow", 1e-9),
            "ssim_uniform7_rgb8": ("ssim_uniform_rgb", 1e-9),
            "ssim_gauss_rgb8": ("ssim", 1e-9),
        },
    ),
    "llflow_validation": ("gtmean_llflow_val", {"psnr": ("psnr_float", 2e-5)}),
    # Pair b: some values lie so near to a half that float32's last bit rounds them the other way.
    "glare": ("gtmean_glare", {"psnr": ("psnr_float", 2e-5), "ssim_gauss_rgb8": ("ssim", 1e-6)}),
    "retinexformer": ("gtmean_glare", {"psnr": ("psnr_float", 2e-5), "ssim_gauss_rgb8": ("ssim", 1e-6)}),
    "cidnet": (
        "gtmean_cidnet",
        {"psnr": ("psnr_cidnet_float", 2e-5), "ssim_gauss_rgb": ("ssim_float", 1e-5)},
    ),
    "lyt": ("gtmean_lyt", {"psnr": ("psnr_float", 2e-5), "ssim_torchmetrics": ("ssim_lyt", 1e-5)}),
}

MEANS = ("test_mean", "validation_mean")


def picture(name: str) -> Picture:
    with Image.open(FIXTURES / "pictures" / f"{name}.png") as image:
        return Picture.of_samples(np.asarray(image))


def result(pair: str) -> Picture:
    with np.load(FIXTURES / "raw.npz") as raw:
        return Picture(picture(f"{pair}_out").samples, raw[f"{pair}_raw"])


@pytest.mark.parametrize("release", GAINS)
@pytest.mark.parametrize("pair", ["a", "b"])
def test_gains_and_their_scores_are_the_release_s(pair: str, release: str) -> None:
    name, metrics = GAINS[release]
    wanted, reference = VALUES[pair][release], picture(f"{pair}_ref")
    measured, gain = PROTOCOLS[name].apply(result(pair), reference)
    assert gain == pytest.approx(wanted["gain"], abs=1e-6)
    for key, (metric, tolerance) in metrics.items():
        assert METRICS[metric](measured, reference) == pytest.approx(wanted[key], abs=tolerance), metric


@pytest.mark.parametrize("pair", ["a", "b"])
def test_pictures_after_a_gain_are_the_release_s(pair: str) -> None:
    """Every fourth pixel both ways."""
    with np.load(FIXTURES / "steps_every_fourth.npz") as steps:
        truncated_, _ = PROTOCOLS["gtmean_llflow"].apply(result(pair), picture(f"{pair}_ref"))
        assert (truncated_.samples[::4, ::4] == steps[f"gtmean_{pair}_llflow_test"]).all()
        floats, _ = PROTOCOLS["gtmean_glare"].apply(result(pair), picture(f"{pair}_ref"))
        assert floats.raw[::4, ::4] == pytest.approx(steps[f"gtmean_{pair}_glare"], abs=1e-6)


@pytest.fixture(scope="module")
def llflow() -> dict[str, np.ndarray]:
    return dict(np.load(FIXTURES.parent / "llflow" / "protocol.npz"))


@pytest.mark.parametrize("pair", ["", "close_"])
def test_llflow_s_scripts(llflow: dict[str, np.ndarray], pair: str) -> None:
    """Its test, on floats far outside of [0, 1] or on 8 bits, and its training logs."""
    reference = Picture.of_samples(llflow["reference"])
    found = (
        Picture.of_samples(llflow["close"])
        if pair
        else Picture.of_raw(np.ascontiguousarray(llflow["enhanced"].transpose(1, 2, 0)))
    )
    tested, gain = PROTOCOLS["gtmean_llflow"].apply(found, reference)
    assert np.array_equal(tested.samples, llflow[f"{pair}test_result"])
    for name, metric, tolerance in (
        ("test_psnr", "psnr", 1e-4),
        ("test_ssim", "ssim_llflow", 1e-5),
        ("test_ssim_color", "ssim_uniform_rgb", 1e-5),
        ("gray_ssim_2d", "ssim_grey", 1e-5),
    ):
        assert METRICS[metric](tested, reference) == pytest.approx(llflow[pair + name], abs=tolerance), name
    logged, logged_gain = PROTOCOLS["gtmean_llflow_val"].apply(found, reference)
    psnr = METRICS["psnr_float"](logged, reference)
    assert psnr == pytest.approx(llflow[f"{pair}validation_psnr"], abs=1e-4)
    # A side effect clips the picture before; and SSIM is that of the picture without the gain.
    clipped = Picture.of_raw(found.raw.clip(0, 1))
    ssim = METRICS["ssim_llflow_val"](clipped, reference)
    assert ssim == pytest.approx(llflow[f"{pair}validation_ssim"], abs=1e-5)
    if not pair:
        means = {key: float(llflow[f"{key}_reference"] / llflow[f"{key}_output"]) for key in MEANS}
        assert {"test_mean": gain, "validation_mean": logged_gain} == pytest.approx(means, abs=1e-6)


def test_all_gains_differ_and_raw_is_what_it_was() -> None:
    out, reference = result("a"), picture("a_ref")
    assert set(GT_MEANS) == {name for name, _ in GAINS.values()}
    scores = [METRICS["psnr"](PROTOCOLS[name].apply(out, reference)[0], reference) for name in GT_MEANS]
    assert len({round(score, 2) for score in scores}) >= 4
    assert PROTOCOLS["raw"].apply(out, reference) == (out, 1.0)


@pytest.mark.parametrize("release", GAINS)
def test_what_is_rounded_here_alone_is_said(release: str) -> None:
    """``psnr`` and ``ssim`` see 8 bits under every protocol; where the release's own are others, its words say so."""
    name, released = GAINS[release]
    protocol, reference = PROTOCOLS[name], picture("a_ref")
    floats, _ = protocol.apply(result("a"), reference)
    for metric in ("psnr", "ssim"):
        assert METRICS[metric](floats, reference) == METRICS[metric](
            Picture.of_samples(floats.samples), reference
        )
        own = {used for used, _ in released.values() if used.startswith(metric)}
        if own:
            assert (metric in protocol.on_floats) == (metric not in own)
    assert ("rounded to 8 bits after the gain" in protocol.words) == bool(protocol.on_floats)
    assert "not rounded" not in protocol.title


@pytest.mark.parametrize("name", GT_MEANS)
def test_a_black_result_stays_black(name: str) -> None:
    black = Picture.of_samples(np.zeros((12, 12, 3), np.uint8))
    measured, gain = PROTOCOLS[name].apply(black, Picture.of_samples(np.full((12, 12, 3), 90, np.uint8)))
    assert gain == 1.0
    assert not measured.samples.any()


@pytest.mark.parametrize("pair", ["a", "b"])
def test_dimma_is_told_whole_steps(pair: str) -> None:
    wanted = VALUES[pair]["dimma_lightness"]
    step, lightness = dimma_lightness(wanted["source"], wanted["target"])
    assert step == wanted["step"]
    assert lightness == pytest.approx(wanted["source"] + step / 1000)


def test_truncating_is_half_a_step_darker() -> None:
    raw = np.random.default_rng(0).random((64, 64, 3))
    assert Picture.of_raw(raw).samples.mean() - truncated(raw).mean() == pytest.approx(0.5, abs=0.02)


def test_the_best_constant_is_found_on_a_grid_that_gets_finer() -> None:
    assert best_constant(lambda value: -abs(value - 0.437), 0.1, 0.8) == pytest.approx(0.437, abs=0.006)
    assert best_constant(lambda value: -value, 0.1, 0.8) == 0.1
    assert best_constant(lambda value: value, 0.1, 0.8) == 0.8


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_name_what_exists(preset) -> None:  # type: ignore[no-untyped-def]
    assert preset.says
    for protocol, metrics in preset.columns.items():
        assert protocol in PROTOCOLS
        assert set(metrics) <= METRICS.keys()

"""Metrics against the values of the reference implementations, and the laws that they keep."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

import fill
from lowlight.errors import UseError
from lowlight.evaluation import grey, metrics
from lowlight.evaluation.metrics import (
    METRICS,
    Missing,
    Picture,
    Undefined,
    _colour,
    _loe,
    _lpips,
    _niqe,
    _strips,
)
from lowlight.evaluation.metrics._windows import Window, gaussian
from lowlight.evaluation.protocols import PROTOCOLS
from lowlight.nn import perceptual
from lowlight.nn.perceptual import Perceptual
from pictures import smooth

FIXTURES = Path(__file__).parent / "fixtures" / "metrics"
VALUES = json.loads((FIXTURES / "values.json").read_text())
PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"

COMPARING = [name for name, metric in METRICS.items() if metric.compares]
LOCAL = [name for name in METRICS if not name.startswith("lpips")]
"""Those that need no weights."""


@cache
def samples(name: str) -> NDArray[np.uint8]:
    with Image.open(FIXTURES / "pictures" / f"{name}.png") as image:
        return np.asarray(image)


@cache
def picture(name: str) -> Picture:
    if name.endswith("_out") and name != "c_out":
        with np.load(FIXTURES / "raw.npz") as raw:
            found = Picture.of_raw(raw[name.replace("out", "raw")])
        assert np.array_equal(found.samples, samples(name))
        return found
    return Picture.of_samples(samples(name))


@cache
def random_picture(height: int, width: int, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    light = smooth(height, width, seed) / 255 + rng.normal(0, 0.05, (height, width, 3))
    return Picture.of_raw(light.astype(np.float32))


# Values of the reference implementations

EXACT = {
    "psnr": ("psnr.rgb8", 1e-8),
    "psnr_y": ("psnr.basicsr_y8", 1e-8),
    "psnr_float": ("psnr.glare_float", 2e-5),
    "psnr_cidnet": ("psnr.cidnet_rgb8", 2e-5),
    "psnr_dimma_val": ("psnr.torchmetrics_0103_default_float", 1e-5),
    "ssim": ("ssim.gauss_rgb8", 1e-9),
    "ssim_y": ("ssim.gauss_y8", 1e-9),
    "ssim_grey": ("ssim.uniform7_grey8", 1e-9),
    "ssim_uniform_rgb": ("ssim.uniform7_rgb8_llflow", 1e-9),
    "ssim_llflow": ("ssim.column7_grey8_llflow", 1e-9),
    "ssim_glare2": ("ssim.column7_rgb8_glare", 1e-9),
    "ssim_llflow_val": ("ssim.llflow_validation_float", 1e-5),
    "ssim_dimma_val": ("ssim.torchmetrics_0103_default_float", 1e-5),
    "ssim_lyt": ("ssim.torchmetrics_new_float_range1", 1e-5),
    "ms_ssim": ("ms_ssim.rgb8", 1e-6),
    "ms_ssim_torchmetrics": ("ms_ssim.torchmetrics_rgb8", 1e-6),
    "delta_e_76": ("delta_e.cie76", 1e-6),
    "delta_e_94": ("delta_e.cie94_ref_first", 1e-6),
    "delta_e_2000": ("delta_e.ciede2000", 1e-6),
    "lightness_error": ("lightness.abs_error_8", 1e-12),
    "lightness_error_float": ("lightness.abs_error_float", 1e-7),
    "lightness_error_grey": ("lightness.grey_abs_error_8", 1e-12),
    "lightness_error_lab": ("lightness.lab_l_abs_error_8", 1e-9),
}
"""Metric to its value in the fixture, and how far both may differ."""
OTHERS = {
    "psnr.basicsr_rgb8": ("psnr", 1e-8),
    "psnr.llflow_8": ("psnr", 1e-8),
    "psnr.retinexformer_float": ("psnr_float", 2e-5),
    "ssim.skimage_gauss_rgb8": ("ssim", 1e-9),
    "ssim.glare_rgb8": ("ssim", 1e-9),
    "ssim.retinexformer_rgb8": ("ssim", 1e-9),
    "ssim.cidnet_rgb8": ("ssim", 1e-9),
    "ssim.uniform7_rgb8": ("ssim_uniform_rgb", 1e-9),
}
"""Values of other implementations of the same variants."""


@pytest.mark.parametrize("pair", ["a", "b"])
@pytest.mark.parametrize("name", EXACT)
def test_value_of_the_reference_implementation(name: str, pair: str) -> None:
    (family, key), tolerance = EXACT[name][0].split("."), EXACT[name][1]
    found = METRICS[name](picture(f"{pair}_out"), picture(f"{pair}_ref"))
    assert found == pytest.approx(VALUES[pair][family][key], abs=tolerance)


@pytest.mark.parametrize("pair", ["a", "b"])
@pytest.mark.parametrize("key", OTHERS)
def test_one_variant_by_several_implementations(key: str, pair: str) -> None:
    (family, value), (name, tolerance) = key.split("."), OTHERS[key]
    found = METRICS[name](picture(f"{pair}_out"), picture(f"{pair}_ref"))
    assert found == pytest.approx(VALUES[pair][family][value], abs=tolerance)


def test_no_value_of_the_reference_implementations_is_left_out() -> None:
    compared = {key for key, _ in EXACT.values()} | OTHERS.keys()
    compared |= {"lightness.rgb_mean_out", "lightness.rgb_mean_ref"}
    families = ("psnr", "ssim", "ms_ssim", "delta_e", "lightness")
    for pair in "ab":
        assert {f"{family}.{key}" for family in families for key in VALUES[pair][family]} == compared
        assert VALUES[pair].keys() == {*families, "niqe", "loe", "lpips_stand_in"}


@pytest.mark.parametrize("pair", ["a", "b"])
def test_means_of_the_fixture(pair: str) -> None:
    for name in ("out", "ref"):
        found = np.clip(picture(f"{pair}_{name}").raw, 0, 1).mean(dtype=np.float64)
        assert found == pytest.approx(VALUES[pair]["lightness"][f"rgb_mean_{name}"], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "key", "tolerance"),
    # The release's grey is float32, and some of its values round to the other side.
    [("niqe", "live", 1e-6), ("niqe_y", "y", 1e-6), ("niqe_grey", "grey", 0.05)],
)
@pytest.mark.parametrize("photo", ["a", "b", "c"])
def test_niqe_in_float64(name: str, key: str, tolerance: float, photo: str) -> None:
    found = METRICS[name](picture(f"{photo}_out"))
    assert found == pytest.approx(VALUES[photo]["niqe"]["out_float64"][key], abs=tolerance)


@pytest.mark.parametrize(
    ("name", "key", "tolerance"),
    [
        ("niqe", "live_grey", 1e-6),
        ("niqe_y", "basicsr_y", 5e-3),
        ("niqe_cidnet", "cidnet_rgb_order", 5e-3),
        ("niqe_grey", "basicsr_grey", 0.05),
        ("niqe_pyiqa", "pyiqa_yiq", 0.05),
    ],
)
def test_niqe_of_the_reference_implementation(name: str, key: str, tolerance: float) -> None:
    for photo, values in (("a", "out"), ("a", "ref"), ("b", "out"), ("b", "ref"), ("c", "out")):
        found = METRICS[name](picture(f"{photo}_{values}"))
        assert found == pytest.approx(VALUES[photo]["niqe"][values][key], abs=tolerance), photo


@pytest.mark.parametrize("pair", ["a", "b"])
def test_lightness_order_of_the_reference_implementation(pair: str) -> None:
    for name, key in (("loe_npe", "npe"), ("loe_bimef", "bimef100")):
        for result in ("out", "ref"):
            found = METRICS[name](picture(f"{pair}_{result}"), picture(f"{pair}_low"))
            assert found == pytest.approx(VALUES[pair]["loe"][f"{key}_low_{result}"], abs=1e-12)


@pytest.mark.parametrize("pair", ["a", "b"])
def test_cidnets_metrics_after_its_gain(pair: str) -> None:
    expected = VALUES["gt_mean"][pair]["cidnet"]
    gained = Picture.of_raw(np.minimum(samples(f"{pair}_out") * expected["gain"] / 255, 1))
    reference = picture(f"{pair}_ref")
    assert METRICS["psnr_cidnet_float"](gained, reference) == pytest.approx(expected["psnr"], abs=2e-5)
    assert METRICS["ssim_float"](gained, reference) == pytest.approx(expected["ssim_gauss_rgb"], abs=1e-6)
    assert METRICS["psnr_cidnet"](gained, reference) != pytest.approx(expected["psnr"], abs=2e-5)


def test_equal_pictures() -> None:
    reference = picture("a_ref")
    published = {
        "basicsr_psnr": "psnr",
        "glare_psnr": "psnr_float",
        "retinexformer_psnr": "psnr_float",
        "cidnet_psnr": "psnr_cidnet",
        "ssim": "ssim",
    }
    assert published.keys() == VALUES["identical"].keys()
    for key, name in published.items():
        found = METRICS[name](reference, reference)
        assert found == pytest.approx(float(VALUES["identical"][key]), abs=2e-5)
    assert METRICS["psnr_y"](reference, reference) == math.inf
    assert METRICS["psnr_dimma_val"](reference, reference) == math.inf


# LPIPS


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Callable[[str], Path]:
    """Writes the fixture's stand-in of a trunk where lowlight looks for it."""
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def write(net: str) -> Path:
        state = fill.checkpoint(FIXTURES / f"lpips_{net}_weights.json")
        file = tmp_path / "cache" / {"alex": "alexnet", "vgg": "vgg16"}[net]
        path = file.with_name(f"{file.name}-features.safetensors")
        path.parent.mkdir()
        save_file({key: torch.from_numpy(each) for key, each in state.items()}, path)
        return path

    return write


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_of_the_published_code(net: Any, weights: Callable[[str], Path], tmp_path: Path) -> None:
    weights(net)
    for pair in "ab":
        found = METRICS[f"lpips_{net}"](picture(f"{pair}_out"), picture(f"{pair}_ref"))
        expected = VALUES[pair]["lpips_stand_in"][net]
        for key in ("total", "float32_total", "normalize_flag_0_1"):
            assert found == pytest.approx(expected[key], abs=1e-6)
        assert found != pytest.approx(expected["wrong_range_0_1"], abs=1e-3)
        a, b = (
            torch.from_numpy(samples(f"{pair}_{name}").transpose(2, 0, 1)[None] / np.float32(255))
            for name in ("out", "ref")
        )
        layers = perceptual.load(cache=tmp_path / "cache", net=net).layers(a, b)[:, 0]
        assert layers.tolist() == pytest.approx(expected["layers"], abs=1e-6)
        if net == "alex":
            wanted = VALUES["gt_mean"][pair]["llflow_test"]["lpips_alex_stand_in"]
            gained, _ = PROTOCOLS["gtmean_llflow"].apply(picture(f"{pair}_out"), picture(f"{pair}_ref"))
            assert METRICS["lpips_alex"](gained, picture(f"{pair}_ref")) == pytest.approx(wanted, abs=1e-6)
    assert METRICS[f"lpips_{net}"](picture("a_ref"), picture("a_ref")) == 0


def test_lpips_sees_nothing_but_samples(weights: Callable[[str], Path]) -> None:
    """Floats, whose range a caller could mistake, play no part."""
    weights("alex")
    out, reference = picture("a_out"), picture("a_ref")
    again = Picture(out.samples, np.zeros(out.raw.shape))
    assert METRICS["lpips_alex"](again, reference) == METRICS["lpips_alex"](out, reference)


@pytest.mark.parametrize(
    ("net", "facts"),
    [
        ("alex", ("alexnet-owt-7be5be79.pth", "244 MB", "7be5be79", "alexnet-features.safetensors")),
        ("vgg", ("vgg16-397923af.pth", "553 MB", "397923af", "vgg16-features.safetensors")),
    ],
)
def test_missing_weights_are_named_and_never_fetched(
    net: str, facts: tuple[str, ...], weights: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    with pytest.raises(Missing) as caught:
        METRICS[f"lpips_{net}"](picture("a_out"), picture("a_ref"))
    text = str(caught.value)
    assert "\n" not in text
    for fact in (*facts, str(tmp_path / "cache"), "https://download.pytorch.org/models/"):
        assert fact in text


def test_weights_found_later_are_used(weights: Callable[[str], Path]) -> None:
    out, reference = picture("a_out"), picture("a_ref")
    with pytest.raises(Missing):
        METRICS["lpips_alex"](out, reference)
    weights("alex")
    assert METRICS["lpips_alex"](out, reference) > 0


def test_lpips_of_a_batch_is_that_of_its_pairs(
    weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU takes them: all pairs in one forward."""
    weights("alex")
    metric = METRICS["lpips_alex"]
    rng = np.random.default_rng(1)
    pairs = [tuple(rng.integers(0, 256, (2, 40, 52, 3), np.uint8)) for _ in range(3)]
    alone = [metric(*map(Picture.of_samples, pair)) for pair in pairs]
    sizes: list[int] = []
    forward = Perceptual.forward
    monkeypatch.setattr(
        Perceptual, "forward", lambda self, a, b: (sizes.append(len(a)), forward(self, a, b))[1]
    )
    assert metric.batch is not None
    for device in ("cpu", "auto"):
        for at_once, expected in ((1, [1, 1, 1]), (64, [3])):
            monkeypatch.setitem(_lpips.AT_ONCE, "cpu", at_once)
            sizes.clear()
            assert metric.batch(pairs, device) == pytest.approx(alone, abs=1e-6)
            if not torch.cuda.is_available():
                assert sizes == expected
    if not torch.cuda.is_available():
        with pytest.raises(Missing, match="device cuda is not available to torch"):
            metric.batch(pairs, "cuda")


def test_lpips_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Missing, match=r"needs torch: install lowlight\[train\]"):
        METRICS["lpips_alex"](picture("a_out"), picture("a_ref"))


def test_all_but_lpips_need_the_core_alone() -> None:
    program = (
        "import sys; import numpy as np; from lowlight.evaluation.metrics import METRICS, Picture;"
        "x = Picture.of_samples((np.arange(192 * 192 * 3) % 251).astype(np.uint8).reshape(192, 192, 3));"
        "[each(x, x) for each in METRICS.values() if not each.name.startswith('lpips')];"
        "sys.exit(' '.join({'torch', 'scipy', 'skimage'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Laws


@cache
def better_and_worse() -> tuple[Picture, ...]:
    """A reference, a picture near it and one far from it."""
    return tuple(
        Picture.of_raw(np.clip(smooth(170, 171) / 255 * gain + noise, 0, 1).astype(np.float32))
        for gain, noise in (
            (1.0, np.zeros((170, 171, 3))),
            (0.95, np.random.default_rng(1).normal(0, 0.01, (170, 171, 3))),
            (0.5, np.random.default_rng(2).normal(0, 0.1, (170, 171, 3))),
        )
    )


@pytest.mark.parametrize("name", [name for name in LOCAL if METRICS[name].compares == "reference"])
def test_symmetric_and_best_where_pictures_are_equal(name: str) -> None:
    metric = METRICS[name]
    reference, near, far = better_and_worse()
    if name not in ("psnr_dimma_val", "delta_e_94"):  # the peak, the chroma are the reference's
        assert metric(near, reference) == pytest.approx(metric(reference, near), rel=1e-9)
    best, good, bad = (metric(each, reference) for each in (reference, near, far))
    assert best > good > bad if metric.better == "higher" else best < good < bad
    if "ssim" in name:
        assert best == pytest.approx(1, abs=1e-12)
    elif not name.startswith("psnr"):
        assert best == 0


@pytest.mark.parametrize("name", ["loe_npe", "loe_bimef"])
def test_lightness_order_survives_what_keeps_order(name: str) -> None:
    """Any strictly rising curve on all channels."""
    low = np.random.default_rng(0).integers(0, 120, (70, 80, 3), dtype=np.uint8)
    brighter = (np.arange(120) * 2 + 3).astype(np.uint8)[low]
    assert METRICS[name](Picture.of_samples(brighter), Picture.of_samples(low)) == 0
    assert METRICS[name](Picture.of_samples(255 - low), Picture.of_samples(low)) > 50


@settings(max_examples=40)
@given(arrays(np.uint8, (2, 9), elements=st.integers(0, 255) | st.integers(3, 5)))
def test_lightness_order_counts_pairs(values: NDArray[np.uint8]) -> None:
    a, b = values
    slowly = sum((a[i] >= a[j]) != (b[i] >= b[j]) for i in range(9) for j in range(9)) / 9
    assert _loe.disorder(a, b) == pytest.approx(slowly)


@pytest.mark.parametrize("name", LOCAL)
def test_strips_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, reference = random_picture(193, 193, 1), random_picture(193, 193, 2)
    found = []
    for pixels in (1, 5_000, 10**9):
        monkeypatch.setattr(_strips, "PIXELS", pixels)
        found.append(METRICS[name](out, reference))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "name",
    ["psnr", "psnr_y", "ssim", "delta_e_2000", "niqe"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("ssim_grey", "ssim_lyt")],
)
def test_memory_does_not_grow_with_the_height(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strips, "PIXELS", 2048)
    narrow = [samples(f"b_{each}")[:, :100] for each in ("out", "ref")]

    def peak(times: int) -> int:
        result, reference = (Picture.of_samples(np.tile(each, (times, 1, 1))) for each in narrow)
        tracemalloc.start()
        METRICS[name](result, reference)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(1), peak(9)
    assert large - small < 8 * narrow[0].size, "one float64 plane of what was added would be more"


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_windows_are_plain_correlations(half: int, more_rows: int, more_columns: int, seed: int) -> None:
    kernel = gaussian(2 * half + 1, 1.7)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2 * half + 1 + more_rows, 2 * half + 1 + more_columns))
    slowly = np.array(
        [
            [
                (x[i : i + len(kernel), j : j + len(kernel)] * np.outer(kernel, kernel)).sum()
                for j in range(more_columns + 1)
            ]
            for i in range(more_rows + 1)
        ]
    )
    np.testing.assert_allclose(Window(kernel, kernel).blur(x[None])[0], slowly, rtol=0, atol=1e-12)


def test_ciede2000_of_sharmas_test_data() -> None:
    """Pairs of Sharma, Wu, Dalal (2005), table 1, with the jumps of hue and its mean."""
    rows = np.array(
        [
            (50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425),
            (50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615),
            (50, 0, 0, 50, -1, 2, 2.3669),
            (50, 2.49, -0.001, 50, -2.49, 0.0009, 7.1792),
            (50, 2.49, -0.001, 50, -2.49, 0.0010, 7.1792),
            (50, 2.49, -0.001, 50, -2.49, 0.0011, 7.2195),
            (50, -0.001, 2.49, 50, 0.0009, -2.49, 4.8045),
            (50, -0.001, 2.49, 50, 0.0011, -2.49, 4.7461),
            (50, 2.5, 0, 50, 0, -2.5, 4.3065),
            (50, 2.5, 0, 73, 25, -18, 27.1492),
            (50, 2.5, 0, 61, -5, 29, 22.8977),
            (50, 2.5, 0, 56, -27, -3, 31.9030),
            (50, 2.5, 0, 58, 24, 15, 19.4535),
            (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
            (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
        ]
    ).T
    one, other = (rows[0], rows[1], rows[2]), (rows[3], rows[4], rows[5])
    np.testing.assert_allclose(_colour.ciede2000(one, other), rows[6], rtol=0, atol=5e-5)


# NIQE


@pytest.mark.parametrize("pair", ["a", "b"])
def test_niqe_features_of_basicsr(pair: str) -> None:
    down, across = (side // 96 for side in samples(f"{pair}_out").shape[:2])
    found = _niqe.features(samples(f"{pair}_out"), _niqe._luma)
    by_columns = found.reshape(down, across, 36).swapaxes(0, 1).reshape(-1, 36)
    with np.load(FIXTURES / "niqe_steps.npz") as steps:
        expected = steps[f"{pair}_features"]
    shapes = [column for start in (0, 18) for column in (start, *range(start + 2, start + 18, 4))]
    np.testing.assert_allclose(by_columns[:, shapes], expected[:, shapes], rtol=0, atol=1e-3)
    np.testing.assert_allclose(by_columns, expected, rtol=0, atol=2e-5)


def test_niqe_steps_of_basicsr() -> None:
    with np.load(FIXTURES / "steps_every_fourth.npz") as steps:
        for pair, key in (("a", "a_y"), ("b", "b_y")):
            wide = _niqe._luma(samples(f"{pair}_out"))[:192, : steps[key].shape[1] * 4]
            np.testing.assert_array_equal(wide[::4, ::4], steps[key])
        luma = _niqe._luma(samples("a_out")).astype(np.uint8)
        half = _niqe.halve(luma, 0, 96) * 255.0
        np.testing.assert_allclose(half[::4, ::4], steps["a_half"], rtol=0, atol=1e-4)
        for values, key in ((luma, "a_normalised1"), (half, "a_normalised2")):
            strip = np.pad(values.astype(np.float64), 3, "edge")
            found = _niqe.normalised(strip)[::4, ::4]
            np.testing.assert_allclose(found, steps[key], rtol=0, atol=1e-3)
    luma = _niqe._luma(samples("b_out")[:192, :192]).astype(np.uint8)
    half = _niqe.halve(luma, 0, 96) * 255.0
    with np.load(FIXTURES / "niqe_steps.npz") as steps:
        np.testing.assert_allclose(half, steps["b_half"], rtol=0, atol=1e-4)
        for values, key in ((luma, "b_normalised1"), (half, "b_normalised2")):
            strip = np.pad(values.astype(np.float64), 3, "edge")
            np.testing.assert_allclose(_niqe.normalised(strip), steps[key], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(_niqe.halve(luma, 31, 47) * 255.0, half[31:47])


def test_flat_areas_are_zero_whatever_their_value() -> None:
    for value in range(256):
        flat = np.full((16, 16), value, np.uint8)
        assert not _niqe.normalised(flat.astype(np.float64)).any()
        assert not _niqe.normalised(_niqe.halve(flat, 0, 8) * 255.0).any()


@pytest.mark.parametrize(("shape", "draw"), [(2.0, "normal"), (1.0, "laplace")])
def test_fit_finds_the_shape_that_was_drawn(shape: float, draw: str) -> None:
    rng = np.random.default_rng(0)
    values: NDArray[np.float64] = getattr(rng, draw)(size=(1, 600, 600))
    skewed = np.where(values < 0, 2 * values, values)
    found, mean, left, right = (float(each[0]) for each in _niqe._fit(values))
    assert found == pytest.approx(shape, rel=0.02)
    assert (mean, left) == pytest.approx((0, right), abs=0.02)
    _, mean, left, right = (float(each[0]) for each in _niqe._fit(skewed))
    assert left == pytest.approx(2 * right, rel=0.02)
    assert mean < 0


def test_niqe_doubts_few_blocks() -> None:
    assert METRICS["niqe"].doubt(picture("c_out")) == ""
    assert METRICS["niqe"].doubt(picture("a_out")).startswith("only 6 blocks of 96x96 pixels")
    assert METRICS["psnr"].doubt(picture("a_out")) == ""


def test_the_models_terms_travel_with_it() -> None:
    folder = Path(_niqe.__file__).parent
    notice = (folder / "niqe.NOTICE.txt").read_text()
    assert "The University of Texas at Austin" in notice
    with np.load(folder / "niqe.npz") as model:
        assert str(model["notice"]) == notice


# Where there is no number


def undefined(name: str, height: int, width: int) -> str:
    one, other = (Picture.of_samples(smooth(height, width, seed)) for seed in (1, 2))
    with pytest.raises(Undefined) as caught:
        METRICS[name](one, other)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "largest", "text"),
    [
        ("ssim", (10, 40), "needs 11x11 pixels, got 40x10"),
        ("ssim_grey", (40, 6), "needs 7x7 pixels, got 6x40"),
        ("ssim_llflow", (6, 40), "needs 1x7 pixels, got 40x6"),
        ("ssim_lyt", (5, 40), "needs 6x6 pixels, got 40x5"),
        ("ms_ssim", (160, 300), "needs 161 pixels a side, got 300x160"),
        ("ms_ssim_torchmetrics", (300, 160), "needs 161 pixels a side, got 160x300"),
        ("niqe", (191, 191), "needs 2 blocks of 96x96 pixels that are not flat, got 1 in 191x191"),
        ("niqe_y", (95, 900), "got 0 in 900x95"),
        ("niqe_y", (900, 95), "got 0 in 95x900"),
        ("loe_npe", (49, 80), "needs 50 pixels a side, got 80x49"),
        ("lpips_alex", (30, 80), "needs 31 pixels a side, got 80x30"),
        ("lpips_vgg", (80, 15), "needs 16 pixels a side, got 15x80"),
    ],
)
def test_pictures_too_small_have_no_number(name: str, largest: tuple[int, int], text: str) -> None:
    assert text in undefined(name, *largest)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("ssim", (11, 11)),
        ("ssim_grey", (7, 7)),
        ("ssim_llflow", (7, 1)),
        ("ssim_lyt", (6, 6)),
        ("ssim_llflow_val", (1, 1)),
        ("ms_ssim", (161, 161)),
        ("ms_ssim_torchmetrics", (161, 161)),
        ("niqe", (96, 192)),
        ("loe_npe", (50, 50)),
        ("loe_bimef", (1, 1)),
        ("psnr", (1, 1)),
        ("psnr_float", (1, 1)),
        ("delta_e_2000", (1, 1)),
    ],
)
def test_the_smallest_picture_has_a_number(name: str, smallest: tuple[int, int]) -> None:
    one, other = random_picture(*smallest, 1), random_picture(*smallest, 2)
    assert math.isfinite(METRICS[name](one, other))


def test_flat_blocks_do_not_count() -> None:
    flat = np.full((192, 192, 3), 7, np.uint8)
    with pytest.raises(Undefined, match="got 0 in 192x192"):
        metrics.METRICS["niqe"](Picture.of_samples(flat))
    flat[:96] = samples("c_out")[:96, :192]
    assert math.isfinite(METRICS["niqe"](Picture.of_samples(flat)))


def test_flat_pictures_have_no_span_to_compare_in() -> None:
    black, grey = (Picture.of_samples(np.full((16, 16, 3), value, np.uint8)) for value in (0, 9))
    with pytest.raises(Undefined, match="not flat"):
        METRICS["ssim_dimma_val"](black, grey)
    assert METRICS["psnr_dimma_val"](grey, black) == -math.inf


@pytest.mark.parametrize("name", [name for name in COMPARING if re.search("float|_val|lyt", name)])
def test_floats_that_are_no_numbers_give_none(name: str) -> None:
    reference = random_picture(16, 16)
    raw = reference.raw.copy()
    raw[3, 4, 1] = np.nan
    with pytest.raises(Undefined, match=f"{name} gives no number"):
        METRICS[name](Picture(reference.samples, raw), reference)


@pytest.mark.parametrize("name", COMPARING)
def test_sizes_that_differ_are_an_error_not_a_resize(name: str) -> None:
    one, other = (Picture.of_samples(np.zeros((*size, 3), np.uint8)) for size in ((200, 180), (180, 200)))
    with pytest.raises(UseError, match="one size are compared: got 180x200 and 200x180"):
        METRICS[name](one, other)
    with pytest.raises(UseError, match=f"{name} compares with the (reference|input)"):
        METRICS[name](one, None)


@pytest.mark.parametrize(
    ("shape", "dtype", "raw"),
    [
        ((4, 4), np.uint8, np.float32),
        ((4, 4, 4), np.uint8, np.float32),
        ((4, 4, 3), np.uint16, np.float32),
        ((4, 4, 3), np.float32, np.float32),
        ((4, 4, 3), np.uint8, np.uint8),
    ],
)
def test_what_is_no_picture(shape: tuple[int, ...], dtype: Any, raw: Any) -> None:
    with pytest.raises(UseError, match="a picture to measure: expected"):
        Picture(np.zeros(shape, dtype), np.zeros(shape, raw))


def test_rounding_of_computed_pictures() -> None:
    raw = np.array([-0.2, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.999, 1.3]).reshape(1, 2, 3)
    assert Picture.of_raw(raw).samples.ravel().tolist() == [0, 0, 2, 2, 255, 255]


# Pooling


def test_dimmas_validation_pools_over_the_set() -> None:
    metric = METRICS["psnr_dimma_val"]
    assert metric.pool is not None
    pool = metric.pool()
    errors, values, low, high = 0.0, 0, 0.0, 0.0
    for pair in "ab":
        result, reference = picture(f"{pair}_out"), picture(f"{pair}_ref")
        pool.add(result, reference)
        errors += float(np.square(np.clip(result.raw, 0, 1) - reference.raw, dtype=np.float64).sum())
        values += result.raw.size
        low, high = min(low, reference.raw.min()), max(high, reference.raw.max())
    assert pool.value() == pytest.approx(10 * math.log10((high - low) ** 2 / (errors / values)), abs=1e-5)
    alone = [metric(picture(f"{pair}_out"), picture(f"{pair}_ref")) for pair in "ab"]
    assert pool.value() != pytest.approx(np.mean(alone), abs=1e-3)
    assert [name for name, each in METRICS.items() if each.pool] == ["psnr_dimma_val"]


# Greys


def test_greys() -> None:
    red, white = np.array([200, 0, 0], np.uint8), np.array([255, 255, 255], np.uint8)
    assert grey.grey_opencv(red) == 60
    assert grey.grey_swapped(red) == 23
    assert grey.grey_live(red) == 60
    assert grey.luma_studio(red) == pytest.approx(16 + 65.481 * 200 / 255, abs=1e-4)
    assert [f(white) for f in (grey.grey_opencv, grey.grey_swapped, grey.grey_live)] == [255] * 3
    assert grey.luma_studio(white) == pytest.approx(235, abs=1e-4)
    floats = red.astype(np.float32) / 255
    assert grey.grey_opencv(floats) == pytest.approx(0.299 * 200 / 255, abs=1e-7)
    assert grey.grey_opencv(floats).dtype == np.float32


@settings(max_examples=40)
@given(arrays(np.uint8, (4, 3)))
def test_eight_bit_greys_are_rounded_floats(values: NDArray[np.uint8]) -> None:
    for function in (grey.grey_opencv, grey.grey_swapped):
        exact = function(values.astype(np.float64))
        assert np.abs(function(values) - exact).max() <= 0.5 + 0.01
    np.testing.assert_array_equal(grey.grey_swapped(values), grey.grey_opencv(values[:, ::-1]))


# Names and documents


def test_metrics_are_described() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert "\n" not in metric.title
        assert "the same" not in metric.title, "reports show titles alone"
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_the_documents_table_is_the_registry() -> None:
    section = PAGE.read_text("utf-8").partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w*) \| (.+?) \|$", section, re.MULTILINE)
    assert rows == [(name, metric.compares, metric.title) for name, metric in METRICS.items()]


def test_the_documents_speeds_are_the_measured_ones() -> None:
    results = PAGE.parents[1] / "benchmarks" / "results" / "metrics.json"
    measured = json.loads(results.read_text())["metrics"]
    table = PAGE.read_text("utf-8").partition("| | lowlight | scikit-image |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]*) ?\|$", table, re.MULTILINE)
    assert len(rows) == len(table.splitlines()) - 1
    for name, *cells in rows:
        for cell, whose in zip(cells, ("lowlight", "scikit-image"), strict=True):
            assert (cell == "") == (whose not in measured[name])
            if cell:
                digits = len(cell.partition(".")[2])
                assert float(cell) == round(measured[name][whose], digits), name
    for name, found in measured.items():
        assert abs(found.get("difference", 0)) < 1e-12, name

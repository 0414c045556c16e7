"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004), by strips, in float64.

With m, n the local means, s, t the local variances and c the covariance under a window: the mean of
``(2mn + C1)(2c + C2) / ((m^2 + n^2 + C1)(s + t + C2))``, ``C1 = (0.01 L)^2``, ``C2 = (0.03 L)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.grey import grey_opencv, luma_studio
from lowlight.evaluation.metrics import _strips
from lowlight.evaluation.metrics._surface import Metric, Picture, Undefined, same_size
from lowlight.evaluation.metrics._windows import Array, Window, gaussian

Planes = Callable[[NDArray[Any]], Array]
"""Rows of a picture (rows, width, 3) to the planes that are compared: (planes, rows, width)."""


GAUSSIAN = Window(gaussian(11, 1.5), gaussian(11, 1.5))
UNIFORM = Window(np.full(7, 1 / 7), np.full(7, 1 / 7))
MIRRORED = Window(GAUSSIAN.down, GAUSSIAN.across, "reflect")
ZEROS = Window(GAUSSIAN.down, GAUSSIAN.across, "constant")
COLUMN = Window(np.full(7, 1 / 7), np.ones(1))


def ssim(result: NDArray[Any], reference: NDArray[Any]) -> float:
    """Of RGB (height, width, 3) from 0 to 255: Gaussian window 11x11, valid area, mean of R, G and B.

    Raises UseError for sizes that differ, Undefined below 11 pixels a side.
    """
    same_size(result, reference)
    return similarity(result, reference, rgb, GAUSSIAN, 255)[0]


def similarity(
    x: NDArray[Any], y: NDArray[Any], planes: Planes, window: Window, span: float, sample: int = 0
) -> tuple[float, float]:
    """(mean of the map, mean of its second factor alone, the contrast) over whole (height, width, 3) pictures
    of one size. Raises Undefined below the window's size.

    span: L of the formula. sample: so many values make the variances a sample's (n - 1), as scikit-image does.
    """
    height, width = x.shape[:2]
    if height < window.smallest[0] or width < window.smallest[1]:
        raise Undefined(
            f"this SSIM needs {window.smallest[1]}x{window.smallest[0]} pixels, got {width}x{height}"
        )
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    unbias = sample / (sample - 1) if sample else 1.0
    full, contrast, count = [], [], 0
    reach, side = len(window.down) // 2, len(window.across) // 2
    inset = reach if window.border == "valid" else 0
    for top, bottom in _strips.strips(height - 2 * inset, width, halo=reach):
        first, last = top + inset - reach, bottom + inset + reach
        a, b = (planes(each[max(first, 0) : last]) for each in (x, y))
        if window.border != "valid":
            around = (0, 0), (max(-first, 0), max(last - height, 0)), (side, side)
            a, b = np.pad(a, around, window.border), np.pad(b, around, window.border)
        m, n, squares, product = window.blur(np.stack([a, b, a * a + b * b, a * b]))
        both, means = m * n, m * m + n * n
        right = (2 * unbias * (product - both) + c2) / (unbias * (squares - means) + c2)
        contrast += _strips.total(right)
        right *= (2 * both + c1) / (means + c1)
        full += _strips.total(right)
        count += right.size
    return math.fsum(full) / count, math.fsum(contrast) / count


def rgb(rows: NDArray[Any]) -> Array:
    return np.ascontiguousarray(np.moveaxis(rows, -1, 0), np.float64)


def _clipped(rows: NDArray[Any]) -> Array:
    return np.clip(rgb(rows), 0, 1)


def _clipped_255(rows: NDArray[Any]) -> Array:
    return 255 * _clipped(rows)


def _grey(rows: NDArray[Any]) -> Array:
    return grey_opencv(rows)[None].astype(np.float64)


def _luma(rows: NDArray[Any]) -> Array:
    return luma_studio(rows)[None].astype(np.float64)


def _on_samples(planes: Planes, window: Window, sample: int = 0) -> Callable[[Picture, Picture], float]:
    return lambda result, reference: similarity(
        result.samples, reference.samples, planes, window, 255, sample
    )[0]


def _on_raw(planes: Planes, window: Window, span: float = 1) -> Callable[[Picture, Picture], float]:
    return lambda result, reference: similarity(result.raw, reference.raw, planes, window, span)[0]


def _dimma(result: Picture, reference: Picture) -> float:
    ends = (np.clip((each.raw.min(), each.raw.max()), 0, 1) for each in (result, reference))
    span = max(float(high - low) for low, high in ends)
    if span == 0:
        raise Undefined("ssim_dimma_val needs a picture that is not flat")
    return similarity(result.raw, reference.raw, _clipped, GAUSSIAN, span)[0]


def _metric(name: str, title: str, measure: Callable[[Picture, Picture], float]) -> Metric:
    return Metric(name, f"{title}; at most 1", "higher", "reference", measure)


METRICS = (
    _metric(
        "ssim",
        "8-bit RGB, Gaussian 11x11 of sigma 1.5, valid area, mean of channels (Wang 2004, BasicSR, most papers)",
        _on_samples(rgb, GAUSSIAN),
    ),
    _metric(
        "ssim_float",
        "RGB floats, clipped and not rounded, Gaussian 11x11, valid area, L = 255 (CIDNet's script after its gain)",
        _on_raw(_clipped_255, GAUSSIAN, 255),
    ),
    _metric(
        "ssim_y",
        "studio-range luma of 8-bit RGB, Gaussian 11x11, valid area (BasicSR `test_y_channel`)",
        _on_samples(_luma, GAUSSIAN),
    ),
    _metric(
        "ssim_grey",
        "8-bit OpenCV grey, uniform 7x7, valid area, sample covariance (scikit-image's default)",
        _on_samples(_grey, UNIFORM, 49),
    ),
    _metric(
        "ssim_uniform_rgb",
        "8-bit RGB, uniform 7x7, valid area, sample covariance, mean of channels (LLFlow with `gray_scale=False`)",
        _on_samples(rgb, UNIFORM, 49),
    ),
    _metric(
        "ssim_llflow",
        "8-bit OpenCV grey, uniform 7x1 down each column (LLFlow's released script, scikit-image 0.18)",
        _on_samples(_grey, COLUMN, 7),
    ),
    _metric(
        "ssim_glare2",
        "8-bit RGB, uniform 7x1 down each column (second SSIM of GLARE's stage-3 test)",
        _on_samples(rgb, COLUMN, 7),
    ),
    _metric(
        "ssim_llflow_val",
        "floats, not clipped, Gaussian 11x11, zeros around, full size (LLFlow's `util.ssim`; its training logs clip first)",
        _on_raw(rgb, ZEROS),
    ),
    _metric(
        "ssim_dimma_val",
        "clipped floats, Gaussian 11x11, valid area, L = the larger span of the two pictures (torchmetrics 0.10.3)",
        _dimma,
    ),
    _metric(
        "ssim_lyt",
        "clipped floats, Gaussian 11x11, mirrored border, full size, L = 1 (torchmetrics 1.9, LYT-Net)",
        _on_raw(_clipped, MIRRORED),
    ),
)

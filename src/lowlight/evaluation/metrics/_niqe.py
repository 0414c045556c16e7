"""Natural image quality evaluator: how far a photo's local statistics are from those of good photos.

Mittal, Soundararajan, Bovik, IEEE SPL 2013, after the release of the Laboratory for Image and Video Engineering
(LIVE), The University of Texas at Austin, whose model ships beside this file with its terms. Float64, in strips
of one row of blocks. Variants differ by the grey picture that they look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.grey import grey_live, luma_studio
from lowlight.evaluation.metrics import _strips
from lowlight.evaluation.metrics._surface import Metric, Picture, Undefined
from lowlight.evaluation.metrics._windows import Array, Window, gaussian

BLOCK = 96
"""Pixels a side of a block, at the first scale."""
FEW = 12
"""Fewer blocks than this make a covariance of 36 features that deserves little trust."""

Grey = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""8-bit RGB (..., 3) to whole greys from 0 to 255."""

_WINDOW = Window(gaussian(7, 7 / 6), gaussian(7, 7 / 6))
_REACH = 3
_NOTHING = 1e-10
_CUBIC = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / np.float32(256)
"""Bicubic weights (a = -0.5) at distances of 1/4, 3/4, 5/4, 7/4 pixels of the half-size picture."""


def niqe(samples: NDArray[np.uint8], grey: Grey = grey_live) -> float:
    """NIQE of 8-bit RGB (height, width, 3); lower is better, good photos lie around 2 to 5. Raises Undefined."""
    found = features(samples, grey)
    known = found[~np.isnan(found).any(axis=1)]
    if len(known) < 2:
        height, width = samples.shape[:2]
        raise Undefined(
            f"NIQE needs 2 blocks of {BLOCK}x{BLOCK} pixels that are not flat, got {len(known)} in {width}x{height}"
        )
    mean, covariance = _model()
    gap = mean - np.nanmean(found, axis=0)
    spread = (covariance + np.cov(known, rowvar=False)) / 2
    return math.sqrt(gap @ np.linalg.pinv(spread) @ gap)


def features(samples: NDArray[np.uint8], grey: Grey = grey_live) -> Array:
    """(blocks, 36): 18 numbers of each whole block at each of two scales, a row of blocks after the other.

    NaN where a block is too flat to be fitted.
    """
    down, across = (side // BLOCK for side in samples.shape[:2])
    if not down * across:
        return np.empty((0, 36))
    samples = samples[: down * BLOCK, : across * BLOCK]
    greys = np.empty(samples.shape[:2], np.uint8)
    for top, bottom in _strips.strips(down * BLOCK, across * BLOCK):
        greys[top:bottom] = grey(samples[top:bottom])
    rows = [
        np.concatenate([_describe(normalised(strip), across) for strip in scales], axis=1)
        for scales in _block_rows(greys)
    ]
    return np.concatenate(rows)


def _block_rows(greys: NDArray[np.uint8]) -> Iterator[tuple[Array, Array]]:
    """Strips of one row of blocks, at full and at half size, with three more pixels on each side."""
    height = len(greys)
    for top in range(0, height, BLOCK):
        rows = np.clip(np.arange(top - _REACH, top + BLOCK + _REACH), 0, height - 1)
        halved = np.clip(np.arange(top // 2 - _REACH, (top + BLOCK) // 2 + _REACH), 0, height // 2 - 1)
        half = halve(greys, halved[0], halved[-1] + 1).astype(np.float64)
        yield _widen(greys[rows]), _widen(half[halved - halved[0]] * 255.0)


def _widen(strip: NDArray[Any]) -> Array:
    return np.pad(strip.astype(np.float64), ((0, 0), (_REACH, _REACH)), "edge")


def halve(greys: NDArray[np.uint8], first: int, end: int) -> NDArray[np.float32]:
    """Rows from first to end of a picture of half the size: MATLAB's ``imresize(greys, 0.5)``.

    Bicubic (a = -0.5), stretched by two against aliasing, the border mirrored with its edge. In float32 of values
    in [0, 1], as BasicSR has it: float64 would move NIQE by 1e-6 away from all published Python numbers.
    """
    height, width = greys.shape
    rows = greys[_mirror(np.arange(2 * first - 3, 2 * end + 3), height)].astype(np.float32) / np.float32(255)
    strip = _every_second(rows.T, end - first).T
    return _every_second(strip[:, _mirror(np.arange(-3, width + 3), width)], width // 2)


def _every_second(lines: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(lines, 2 count + 6) to (lines, count)."""
    total = np.zeros((len(lines), count), np.float32)
    for k, weight in enumerate(_CUBIC):
        total += weight * lines[:, k : k + 2 * count - 1 : 2]
    return total


def _mirror(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Indices around a line folded into it, the edge repeated."""
    index = index % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def normalised(strip: Array) -> Array:
    """(value - local mean) / (local standard deviation + 1), for all but the three outer pixels."""
    mean, squares = _WINDOW.blur(np.stack([strip, strip * strip]))
    difference = strip[_REACH:-_REACH, _REACH:-_REACH] - mean
    # In a clipped sky the window's rounding would decide which side of zero a pixel is counted on.
    difference[np.abs(difference) < _NOTHING] = 0
    return np.asarray(difference / (np.sqrt(np.abs(squares - mean * mean)) + 1))


def _describe(strip: Array, across: int) -> Array:
    """18 features of each block of a row of blocks: (height, width) to (across, 18)."""
    side = len(strip)
    blocks = strip.reshape(side, across, side).swapaxes(0, 1)
    shape, _, left, right = _fit(blocks)
    found = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        found += _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
    return np.stack(found, axis=1)


def _fit(blocks: Array) -> tuple[Array, Array, Array, Array]:
    """Asymmetric generalised Gaussian of each block by its moments: shape, mean, left and right width."""
    values = blocks.reshape(len(blocks), -1)
    below, above = np.minimum(values, 0), np.maximum(values, 0)
    squares_below, squares_above = (np.einsum("ij,ij->i", each, each) for each in (below, above))
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat block has nothing on one side: NaN
        left = np.sqrt(squares_below / np.count_nonzero(below, axis=1))
        right = np.sqrt(squares_above / np.count_nonzero(above, axis=1))
        q = left / right
        size = np.abs(values).mean(axis=1)
        ratio = size**2 / ((squares_below + squares_above) / values.shape[1])
        ratio *= (q**3 + 1) * (q + 1) / (q**2 + 1) ** 2
    shapes, ratios, g1, g2, g3 = _shapes()
    at = np.clip(np.searchsorted(ratios, ratio), 1, len(ratios) - 1)
    at -= (ratios[at - 1] - ratio) ** 2 <= (ratios[at] - ratio) ** 2
    at[np.isnan(ratio)] = 0  # as the release: its search finds nothing better than the first shape
    left, right = (width * np.sqrt(g1[at] / g3[at]) for width in (left, right))
    return shapes[at], (right - left) * g2[at] / g1[at], left, right


@cache
def _shapes() -> Array:
    """Rows: shapes a = 0.2, 0.201, ... 10; the moment ratio of each, which rises with it; G(1/a), G(2/a), G(3/a)."""
    shapes = 0.2 + 0.001 * np.arange(9801)
    g1, g2, g3 = ([math.gamma(k / a) for a in shapes.tolist()] for k in (1, 2, 3))
    return np.stack([shapes, np.square(g2) / (np.array(g1) * g3), g1, g2, g3])


@cache
def _model() -> tuple[Array, Array]:
    """Mean (36) and covariance (36, 36) of the release's good photos."""
    with (
        resources.as_file(resources.files(__package__) / "niqe.npz") as path,
        np.load(path) as model,
    ):
        return model["mean"], model["covariance"]


def _luma(samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.rint(luma_studio(samples))


def _grey_basicsr(samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """OpenCV's grey of float32 in [0, 1]: green, then blue and red by fused multiply-add, which decides ties."""
    x = samples / np.float32(255)
    total = x[..., 1] * np.float32(0.587)
    for channel, weight in ((2, 0.114), (0, 0.299)):
        total = (x[..., channel] * np.float64(np.float32(weight)) + total).astype(np.float32)
    return np.rint(total * np.float32(255))


def _grey_pyiqa(samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Y of YIQ of float32 in [0, 1]."""
    x = samples / np.float32(255)
    r, g, b = (np.float32(weight) for weight in (0.299, 0.587, 0.114))
    return np.rint((x[..., 0] * r + x[..., 1] * g + x[..., 2] * b) * np.float32(255))


def _doubt(result: Picture) -> str:
    count = math.prod(side // BLOCK for side in result.samples.shape[:2])
    if count >= FEW:
        return ""
    return f"only {count} blocks of {BLOCK}x{BLOCK} pixels: NIQE of fewer than {FEW} deserves little trust"


def _metric(name: str, title: str, grey: Grey) -> Metric:
    return Metric(name, title, "lower", "", lambda result: niqe(result.samples, grey), doubt=_doubt)


METRICS = (
    _metric(
        "niqe", "after the LIVE release, on MATLAB's grey, rounded; 0 and more, good photos 2 to 5", grey_live
    ),
    _metric("niqe_y", "LIVE's model on rounded studio-range luma (BasicSR, `y`)", _luma),
    _metric("niqe_grey", "LIVE's model on OpenCV's float grey, rounded (BasicSR, `gray`)", _grey_basicsr),
    _metric("niqe_pyiqa", "LIVE's model on rounded luma of YIQ (pyiqa)", _grey_pyiqa),
    _metric(
        "niqe_cidnet",
        "LIVE's model on rounded studio-range luma with red and blue exchanged (CIDNet)",
        lambda samples: _luma(samples[..., ::-1]),
    ),
)

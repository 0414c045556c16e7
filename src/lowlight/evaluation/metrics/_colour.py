"""Colour differences in CIELAB, and errors of the mean lightness."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.grey import grey_opencv
from lowlight.evaluation.metrics import _strips
from lowlight.evaluation.metrics._surface import Metric, Picture

Array = NDArray[np.float64]

_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
"""Linear sRGB to XYZ, as scikit-image has it."""
_WHITE = np.array([0.95047, 1.0, 1.08883])
"""D65, 2 degrees."""


def _tables() -> Array:
    """(3, 3, 256): what each value of each channel adds to X, Y, Z, in units of the white."""
    value = np.arange(256) / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    return np.asarray((_XYZ / _WHITE[:, None])[..., None] * linear)


_TABLES = _tables()


def lab(samples: NDArray[np.uint8]) -> tuple[Array, Array, Array]:
    """CIELAB (D65, 2 degrees) of 8-bit sRGB (..., 3): L from 0 to 100, a, b, each (...)."""
    x, y, z = (_root(sum((table[c][samples[..., c]] for c in range(3)), np.zeros(()))) for table in _TABLES)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _root(t: Array) -> Array:
    return np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)


def delta_e_76(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> Array:
    """Distance in CIELAB of each pixel: (..., 3) sRGB to (...)."""
    squares = (np.square(p - q) for p, q in zip(lab(x), lab(y), strict=True))
    return np.sqrt(sum(squares, np.zeros(())))


def delta_e_94(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> Array:
    """CIE94 of each pixel, weights of graphic arts, by the chroma of ``y``: (..., 3) sRGB to (...)."""
    (l1, a1, b1), (l2, a2, b2) = lab(y), lab(x)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    chroma = np.square((c1 - c2) / (1 + 0.045 * c1))
    hue = np.maximum((a1 - a2) ** 2 + (b1 - b2) ** 2 - (c1 - c2) ** 2, 0) / (1 + 0.015 * c1) ** 2
    return np.asarray(np.sqrt((l1 - l2) ** 2 + chroma + hue))


def delta_e_2000(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> Array:
    """CIEDE2000 of each pixel: (..., 3) sRGB to (...)."""
    return ciede2000(lab(x), lab(y))


def ciede2000(one: tuple[Array, Array, Array], other: tuple[Array, Array, Array]) -> Array:
    """CIEDE2000 of (L, a, b), as Sharma, Wu, Dalal (2005) write it, all three weights 1."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    stretch = 1.5 - 0.5 * _seventh((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1) % (2 * np.pi), np.arctan2(b2, a2) % (2 * np.pi)

    turn = h2 - h1
    far = np.abs(turn) > np.pi
    grey = c1 * c2 == 0
    # hues on both sides of red: the shorter way round, and the middle of that way
    turn = np.where(grey, 0, turn - far * np.sign(turn) * 2 * np.pi)
    around = np.where(h1 + h2 < 2 * np.pi, 2 * np.pi, -2 * np.pi)
    h = np.where(grey, h1 + h2, (h1 + h2 + far * around) / 2)

    middle, c = (l1 + l2) / 2 - 50, (c1 + c2) / 2
    t = 1 - 0.17 * np.cos(h - math.radians(30)) + 0.24 * np.cos(2 * h)
    t += 0.32 * np.cos(3 * h + math.radians(6)) - 0.20 * np.cos(4 * h - math.radians(63))
    light = (l2 - l1) / (1 + 0.015 * middle**2 / np.sqrt(20 + middle**2))
    chroma = (c2 - c1) / (1 + 0.045 * c)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * c * t)
    bend = math.radians(60) * np.exp(-(((h - math.radians(275)) / math.radians(25)) ** 2))
    rotation = -2 * _seventh(c) * np.sin(bend)
    total = light**2 + chroma**2 + hue**2 + rotation * chroma * hue
    return np.asarray(np.sqrt(np.maximum(total, 0)))


def _seventh(c: Array) -> Array:
    power = c**7
    return np.sqrt(power / (power + 25.0**7))


def _lightness(samples: NDArray[np.uint8]) -> Array:
    return lab(samples)[0]


def _grey(samples: NDArray[np.uint8]) -> Array:
    return grey_opencv(samples).astype(np.float64) / 255


def _mean_of(
    function: Callable[[NDArray[Any]], Array], *, raw: bool = False
) -> Callable[[Picture, Picture], float]:
    """The measure that compares the means of a function of rows."""

    def measure(result: Picture, reference: Picture) -> float:
        x, y = (_strips.mean(function, each.raw if raw else each.samples) for each in (result, reference))
        return abs(x - y)

    return measure


def _plain(rows: NDArray[Any]) -> Array:
    return np.asarray(rows.reshape(len(rows), -1) / np.float64(255))


def _clipped(rows: NDArray[Any]) -> Array:
    return np.asarray(np.clip(rows, 0, 1).reshape(len(rows), -1), np.float64)


METRICS = (
    Metric(
        "delta_e_76",
        "CIE76, distance in CIELAB (D65, 2 degrees), mean over the pixels of 8-bit sRGB; 0 is equal",
        "lower",
        "reference",
        lambda result, reference: _strips.mean(delta_e_76, result.samples, reference.samples),
    ),
    Metric(
        "delta_e_94",
        "CIE94 of graphic arts (D65, 2 degrees) by the reference's chroma, mean over the pixels of 8-bit sRGB; 0 is equal",
        "lower",
        "reference",
        lambda result, reference: _strips.mean(delta_e_94, result.samples, reference.samples),
    ),
    Metric(
        "delta_e_2000",
        "CIEDE2000 (D65, 2 degrees), mean over the pixels of 8-bit sRGB; 0 is equal",
        "lower",
        "reference",
        lambda result, reference: _strips.mean(delta_e_2000, result.samples, reference.samples),
    ),
    Metric(
        "lightness_error",
        "difference of the means of all 8-bit values, in units of white",
        "lower",
        "reference",
        _mean_of(_plain),
    ),
    Metric(
        "lightness_error_float",
        "difference of the means of all clipped floats, in units of white",
        "lower",
        "reference",
        _mean_of(_clipped, raw=True),
    ),
    Metric(
        "lightness_error_grey",
        "difference of the means of 8-bit OpenCV greys, in units of white",
        "lower",
        "reference",
        _mean_of(_grey),
    ),
    Metric(
        "lightness_error_lab",
        "difference of the means of L of CIELAB (D65, 2 degrees), 0 to 100",
        "lower",
        "reference",
        _mean_of(_lightness),
    ),
)

"""The one gain that gives a result the mean asked for.

It multiplies what is nearly black and spares what is nearly white: in units of white a value y becomes
g y / (1 + (g - 1) y), which shifts log(y / (1 - y)) by log(g). Black and white stay, nothing clips, no white turns
grey, and whatever lies between can reach any mean. A plain factor does neither, and is 0.3 dB worse (docs/models.md).
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])
BOUNDS = (1 / 256, 64.0)
"""A gain is never outside, so that a picture that is nearly black does not become nothing but noise."""
_VALUES = np.arange(65536) / 65535
_EXACT = 1e-7


def apply_gain(values: Floats, gain: float) -> Floats:
    """values: any shape, 1 = white. Below 0 and above 1 the curve goes on straight, as steep as it is there."""
    kept = np.clip(values, 0, 1)
    beyond = (values - kept) * np.where(values > 1, 1 / gain, gain).astype(values.dtype)
    result: Floats = gain * kept / (1 + (gain - 1) * kept) + beyond
    return result


def slope(values: Floats, gain: float) -> Floats:
    """How much small differences around the values, in [0, 1], are multiplied."""
    result: Floats = gain / (1 + (gain - 1) * values) ** 2
    return result


def solve_gain(counts: NDArray[np.int64], wanted: float) -> float:
    """The gain that makes the mean of counted values the wanted one, or the bound that is nearest to it.

    counts: (65536,), how often each 16-bit value occurs; wanted: mean in [0, 1].
    """
    found = np.flatnonzero(counts)
    values, shares = _VALUES[found], counts[found] / counts.sum()
    low, high = (math.log(bound) for bound in BOUNDS)
    # Newton's steps for the logarithm of the gain, in which the mean rises from 0 to 1; halving where they leave
    # what is known to hold the solution.
    shift = 0.0
    for _ in range(60):
        brightened = apply_gain(values, math.exp(shift))
        missing = wanted - float(brightened @ shares)
        if abs(missing) < _EXACT or high - low < _EXACT:
            break
        low, high = (shift, high) if missing > 0 else (low, shift)
        rise = float((brightened * (1 - brightened)) @ shares)
        shift = shift + missing / rise if rise > 0 else math.inf
        if not low < shift < high:
            shift = (low + high) / 2
    return math.exp(shift)

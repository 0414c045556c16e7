"""Small separable windows over planes of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def gaussian(size: int, sigma: float) -> Array:
    """Weights of a Gaussian at whole pixels, sum 1."""
    offset = np.arange(size) - size // 2
    kernel = np.exp(-(offset**2) / (2 * sigma**2))
    return np.asarray(kernel / kernel.sum())


@dataclass(frozen=True)
class Window:
    """Symmetric weights of odd length, sum 1, along both axes; what lies around the picture."""

    down: Array
    across: Array
    border: Literal["valid", "reflect", "constant"] = "valid"
    """``valid``: only whole windows count; else every pixel does, with mirrored or zero surroundings."""

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width that a picture must have."""
        if self.border == "constant":
            return 1, 1
        down, across = len(self.down), len(self.across)
        return (down, across) if self.border == "valid" else (down // 2 + 1, across // 2 + 1)

    def blur(self, planes: Array) -> Array:
        """Weighted means under all whole windows: (..., height, width) to what is left of both."""
        return _along(_along(planes, self.down, -2), self.across, -1)


def _along(planes: Array, kernel: Array, axis: Literal[-1, -2]) -> Array:
    """Correlate with a symmetric kernel along one of the last two axes, whole windows only."""
    length, half = planes.shape[axis] - len(kernel) + 1, len(kernel) // 2
    if half == 0:
        return planes

    def moved(by: int) -> Array:
        return planes[..., by : by + length] if axis == -1 else planes[..., by : by + length, :]

    found: Array = moved(half) * kernel[half]
    pair = np.empty_like(found)
    for k in range(half):
        np.add(moved(k), moved(len(kernel) - 1 - k), out=pair)
        pair *= kernel[k]
        found += pair
    return found

"""Pictures in strips of rows, so that a large one costs bounded memory, with sums that no cut changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = 1 << 14
"""Of a strip, about: its float64 planes stay in a core's cache."""


def strips(height: int, width: int, halo: int = 0) -> Iterator[tuple[int, int]]:
    """(top, bottom) of strips that together are all rows; at least four times the halo high."""
    rows = max(PIXELS // max(1, width), 4 * halo, 1)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def total(values: NDArray[np.float64]) -> list[float]:
    """The sums of the rows (last axis). ``math.fsum`` of all of them is the same however rows were cut."""
    sums: list[float] = np.ascontiguousarray(values).sum(axis=-1).ravel().tolist()
    return sums


def mean(function: Callable[..., NDArray[np.float64]], *pictures: NDArray[Any]) -> float:
    """Mean of a function of (rows, width, 3) pieces to (..., rows, n), over whole pictures."""
    sums: list[float] = []
    count = 0
    for top, bottom in strips(*pictures[0].shape[:2]):
        values = function(*(picture[top:bottom] for picture in pictures))
        sums += total(values)
        count += values.size
    return math.fsum(sums) / count

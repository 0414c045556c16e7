"""Lightness order error (NPE, Wang et al. 2013): how many pairs of points change which of them is lighter.

Lightness is the largest of R, G, B, 8-bit. The mean over sample points i of the number of points j with
``[Li >= Lj] != [Li' >= Lj']``. It grows with the number of points, so that variants are not comparable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.metrics._surface import Metric, Picture, at_least

REACH = 7
"""Of NPE's maximum over 15x15."""
STEPS = 50
POINTS = 100


def _loe_npe(result: Picture, source: Picture) -> float:
    at_least(STEPS, "loe_npe", result.samples)
    height, width = result.samples.shape[:2]
    step = min(height, width) // STEPS
    rows, columns = np.arange(step - 1, height, step), np.arange(step - 1, width, step)
    return disorder(*(_largest(each.samples, rows, columns) for each in (source, result)))


def _loe_bimef(result: Picture, source: Picture) -> float:
    height, width = result.samples.shape[:2]
    points = np.ix_(_spread(height), _spread(width))
    return disorder(*(each.samples[points].max(axis=-1) for each in (source, result)))


def disorder(source: NDArray[np.uint8], result: NDArray[np.uint8]) -> float:
    """The error of two sets of 8-bit lightnesses, exact: pairs of values are counted, not pairs of points."""
    counts = np.zeros((256, 256), np.int64)
    np.add.at(counts, (source.ravel(), result.ravel()), 1)
    below = counts.cumsum(axis=0).cumsum(axis=1)  # points with Lj <= row and Lj' <= column
    changed = below[:, -1:] + below[-1:, :] - 2 * below
    return int((counts * changed).sum()) / source.size


def _largest(
    samples: NDArray[np.uint8], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Maximum over 15x15 pixels and three channels around each sample point.

    What the release mirrors at the border lies inside the window anyway, so that the window is cut there.
    """
    lines = np.stack([samples[max(0, row - REACH) : row + REACH + 1].max(axis=(0, 2)) for row in rows])
    return np.stack(
        [lines[:, max(0, column - REACH) : column + REACH + 1].max(axis=1) for column in columns], axis=1
    )


def _spread(length: int) -> NDArray[np.intp]:
    """round(linspace(1, length, 100)), halves up, counted from 0."""
    return (2 * (length - 1) * np.arange(POINTS) + POINTS - 1) // (2 * (POINTS - 1))


METRICS = (
    Metric(
        "loe_npe",
        "maximum over 15x15, points every floor(min(height, width) / 50) pixels (NPE, LIME, STAR); 0 is equal order",
        "lower",
        "input",
        _loe_npe,
    ),
    Metric(
        "loe_bimef",
        "100x100 points, no filter (BIMEF); 0 is equal order, at most 10000",
        "lower",
        "input",
        _loe_bimef,
    ),
)

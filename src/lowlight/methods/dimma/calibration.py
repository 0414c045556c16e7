"""What a camera leaves of a scene in its dark photos: illumination over 256 bins, from pairs, and its noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lowlight import statistics
from lowlight.errors import PhotoError
from lowlight.methods import Samples
from lowlight.methods.dimma.retinex import Form, Values, bins, split

BINS = 256
Edges = Literal["mended", "released"]
Pair = tuple[Samples, Samples]
"""A dark photo and its light one, of one size."""
WINDOW = 5
"""Side of the square whose mean is taken off: the rest is the residual."""
FEWEST = 200
"""Residuals of a bin below which its noise is not known."""
FLATTEST = 0.25
"""Share of a light photo whose dark pixels tell the noise: of less flat ones texture would be taken for it."""
LEAST_VARIANCE = 1e-12
"""Added where all residuals are zero."""


def calibrate(
    pairs: Sequence[Pair], *, form: Form = "maximum", edges: Edges = "mended"
) -> tuple[Values, Values]:
    """Mean and deviation (256,) of ``L_dark / L_light`` over all pixels of each bin ``floor(L_light)``.

    pairs: dark and light photos (height, width, 3). form: of the illumination, see ``retinex.split``; the
    released dimmers were made with ``first``. edges: see ``smooth``. Raises PhotoError where the light photos
    are black.
    """
    counts, mean, std = measure(pairs, form)
    if not counts[1:].any():
        raise PhotoError("the light photos of all pairs are black: nothing is known of the camera")
    return smooth(fill(mean, counts > 0, edges), edges), smooth(fill(std, counts > 0, edges), edges)


def measure(pairs: Sequence[Pair], form: Form = "maximum") -> tuple[Values, Values, Values]:
    """Pixels, mean and population deviation of the ratio in each bin; all of bin 0 is 0."""
    counts, sums, squares = np.zeros((3, BINS))
    for level, ratio in _ratios(pairs, form):
        counts += np.bincount(level, minlength=BINS)
        sums += np.bincount(level, ratio, BINS)
    mean = sums / np.maximum(counts, 1)
    # Twice through the photos: a deviation from sums of squares would lose its digits in narrow bins.
    for level, ratio in _ratios(pairs, form):
        squares += np.bincount(level, (ratio - mean[level]) ** 2, BINS)
    return counts, mean, np.sqrt(squares / np.maximum(counts, 1))


def measure_noise(pairs: Sequence[Pair]) -> Values:
    """The noise of a dark photo's pixels by the brightness around them: (6, 256), for values in [0, 1].

    Bins are ``floor(255 L)`` of the dark photo's local mean. Each column is the lower triangle, row by row, of
    the matrix that makes noise with the camera's covariance of red, green and blue out of three independent
    normal numbers. Measured where the light photo is flat, on what a dark pixel is above its surroundings
    and the light photo's own texture does not explain. Bins with too few pixels get their neighbours';
    zeros where no bin has enough.
    """
    counts, products = np.zeros(BINS), np.zeros((3, 3, BINS))
    for dark, light in pairs:
        for below, above in zip(statistics.strips(dark), statistics.strips(light), strict=True):
            if min(below.shape[:2]) >= WINDOW:
                level, residual = _residuals(below, above)
                counts += np.bincount(level, minlength=BINS)
                for i, j in np.ndindex(3, 3):
                    products[i, j] += np.bincount(level, residual[:, i] * residual[:, j], BINS)
    known = counts >= FEWEST
    if not known.any():
        return np.zeros((6, BINS))
    # A residual lacks the share that its own pixel has in the mean.
    products *= WINDOW**2 / (WINDOW**2 - 1) / np.maximum(counts, 1)
    covariance = np.array([[smooth(fill(values, known)) for values in row] for row in products])
    triangle = np.linalg.cholesky(covariance.transpose(2, 0, 1) + LEAST_VARIANCE * np.eye(3))
    return np.ascontiguousarray(triangle[:, *np.tril_indices(3)].T)


def _residuals(dark: Samples, light: Samples) -> tuple[NDArray[np.intp], Values]:
    """Bins (n,) and residuals (n, 3) of the pixels in flat parts."""
    below, above = (each / np.float64(statistics.full_scale(each)) for each in (dark, light))
    around, light_around = local_mean(below), local_mean(above)
    texture = (inner(above) - light_around) * (around / np.maximum(light_around, 1 / 255))
    flat = is_flat(above.mean(axis=2), FLATTEST)
    return bins(around[flat].mean(axis=1)), (inner(below) - around - texture)[flat]


def local_mean(picture: Values) -> Values:
    """Means of squares of ``WINDOW``, of (height, width, ...) without its edges."""
    height, width = (side - WINDOW + 1 for side in picture.shape[:2])
    rows = sum((picture[i : height + i] for i in range(WINDOW)), np.zeros(1))
    means: Values = sum((rows[:, i : width + i] for i in range(WINDOW)), np.zeros(1)) / WINDOW**2
    return means


def inner(picture: Values) -> Values:
    """Without the edges that ``local_mean`` has no squares for."""
    edge = WINDOW // 2
    return picture[edge:-edge, edge:-edge]


def is_flat(grey: Values, share: float = 0.5) -> NDArray[np.bool_]:
    """Where a picture (height, width) varies least: a share of it, without its edges."""
    variance = local_mean(grey**2) - local_mean(grey) ** 2
    return np.asarray(variance <= np.quantile(variance, share))


def _ratios(pairs: Iterable[Pair], form: Form) -> Iterator[tuple[NDArray[np.intp], Values]]:
    for dark, light in pairs:
        for below, above in zip(statistics.strips(dark), statistics.strips(light), strict=True):
            of_dark, of_light = (
                split(each * (255 / statistics.full_scale(each)), form)[1] for each in (below, above)
            )
            level = bins(of_light, 255)
            known = level > 0
            yield level[known], of_dark[known] / of_light[known]


def fill(values: Values, filled: NDArray[np.bool_], edges: Edges = "mended") -> Values:
    """Values (256,) for the bins without pixels: on the line between their neighbours, and at the ends those
    of the nearest bin that has some; bin 0 never has.

    ``released``: ascending, the average of both neighbours where the next bin has pixels, else the left one's
    value, and bin 0 counts as known to be 0.
    """
    if edges == "mended":
        known = np.flatnonzero(filled)
        return np.interp(np.arange(BINS), known, values[known])
    result = values.copy()
    for index in range(1, BINS):
        if not filled[index]:
            result[index] = result[index - 1]
            if index + 1 < BINS and filled[index + 1]:
                result[index] = (result[index - 1] + values[index + 1]) / 2
    return result


def smooth(values: Values, edges: Edges = "mended") -> Values:
    """A running mean over three bins; ``released``: with zeros beyond the ends, which lose a third by it."""
    padded = np.pad(values, 1, "edge" if edges == "mended" else "constant")
    return np.convolve(padded, np.ones(3) / 3, "valid")

"""How much light a camera leaves in its dark photos: illumination statistics over 256 bins, from pairs (S3)."""

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

"""What is observed once on a whole photo: histograms and means, in strips, at any depth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lowlight.methods import Samples

BINS = 256
_STRIP_PIXELS = 1 << 20


def full_scale(samples: Samples) -> float:
    """The value that stands for 1 at this depth."""
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[samples.dtype.name]


def strips(samples: Samples) -> Iterator[Samples]:
    """Rows of a photo in pieces of about a megapixel, so that nothing whole is ever converted."""
    rows = max(1, _STRIP_PIXELS // max(1, samples.shape[1]))
    for top in range(0, samples.shape[0], rows):
        yield samples[top : top + rows]


def histograms(samples: Samples) -> NDArray[np.float64]:
    """How many pixels of each channel have each value: (3, 256) counts; other depths are rounded to 8 bits."""
    counts = np.zeros((3, BINS), np.float64)
    for strip in strips(samples):
        coarse = to_8_bits(strip)
        for channel in range(3):
            counts[channel] += np.bincount(coarse[..., channel].ravel(), minlength=BINS)
    return counts


def mean(samples: Samples, counts: NDArray[np.float64] | None = None) -> float:
    """Mean of all values in [0, 1], from the samples' full depth. counts: their histograms, where known."""
    if samples.dtype == np.uint8:
        counts = histograms(samples) if counts is None else counts
        return float(histogram_means(counts).mean())  # exact, and faster
    total = sum(float(strip.sum(dtype=np.float64)) for strip in strips(samples))
    return total / (full_scale(samples) * samples.size)


def histogram_means(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each channel in [0, 1] from its (3, 256) counts."""
    means: NDArray[np.float64] = counts @ (np.arange(BINS) / (BINS - 1)) / counts.sum(axis=1)
    return means


def thumbnail(samples: Samples, side: int) -> NDArray[np.float64]:
    """Means in [0, 1] of a grid of about square cells: (rows, columns, 3), the shorter ``side`` long.

    Smaller photos keep their pixels. Of cells with many pixels a regular sample is taken, at least 8 by 8.
    """
    height, width = samples.shape[:2]
    cell = max(1.0, min(height, width) / side)
    step = max(1, int(cell) // 8)
    grid: NDArray[np.float64] = np.asarray(samples[::step, ::step])
    for axis, length in enumerate((height, width)):
        count = max(1, round(length / cell))
        starts = np.arange(count) * grid.shape[axis] // count
        sizes = np.diff(starts, append=grid.shape[axis])
        sums = np.add.reduceat(grid, starts, axis=axis, dtype=np.float64)
        grid = sums / np.expand_dims(sizes, tuple({0, 1, 2} - {axis}))
    return grid / full_scale(samples)


def to_8_bits(samples: Samples) -> NDArray[np.uint8]:
    """Samples of any shape and depth, clipped to [0, 1] and rounded to 8 bits; those of 8 bits as they are."""
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    if samples.dtype == np.uint16:
        # round(v / 257) without leaving 32 bits
        return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    levels = np.clip(np.asarray(samples, np.float32), 0, 1) * np.float32(255)
    return np.asarray(np.rint(levels), np.uint8)

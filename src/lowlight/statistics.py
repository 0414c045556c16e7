"""What is observed once on a whole photo: histograms and means, in strips, at any depth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lowlight.methods import Array, Samples

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
        coarse = _to_bins(strip)
        for channel in range(3):
            counts[channel] += np.bincount(coarse[..., channel].ravel(), minlength=BINS)
    return counts


def channel_means(samples: Samples) -> NDArray[np.float64]:
    """Mean of each channel in [0, 1], from the samples' full depth."""
    total = np.zeros(3)
    for strip in strips(samples):
        total += strip.sum(axis=(0, 1), dtype=np.float64)
    means: NDArray[np.float64] = total / (full_scale(samples) * samples.shape[0] * samples.shape[1])
    return means


def histogram_means(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each channel in [0, 1] from its (3, 256) counts."""
    means: NDArray[np.float64] = counts @ (np.arange(BINS) / (BINS - 1)) / counts.sum(axis=1)
    return means


def gradient_means(samples: Samples, long_side: int = 512) -> Array:
    """Mean absolute difference of neighbouring pixels' mean values, vertical and horizontal, in [0, 1].

    Taken on a copy reduced to about ``long_side`` by averaging, because it depends on resolution.
    """
    factor = max(1, round(max(samples.shape[:2]) / long_side))
    rows = max(factor, _STRIP_PIXELS // max(1, samples.shape[1]) // factor * factor)
    columns = max(1, samples.shape[1] // factor)
    reduced = []
    for top in range(0, max(1, samples.shape[0] // factor * factor), rows):
        strip = samples[top : top + rows]
        height = max(1, strip.shape[0] // factor)
        grey = strip.mean(axis=2, dtype=np.float32)[: height * factor, : columns * factor]
        block = (height, grey.shape[0] // height, columns, grey.shape[1] // columns)
        reduced.append(grey.reshape(block).mean(axis=(1, 3)))
    small = np.concatenate(reduced)
    small /= np.float32(full_scale(samples))
    down = np.abs(np.diff(small, axis=0)).mean() if small.shape[0] > 1 else 0.0
    across = np.abs(np.diff(small, axis=1)).mean() if small.shape[1] > 1 else 0.0
    return np.array([down, across], np.float32)


def _to_bins(strip: Samples) -> NDArray[np.uint8]:
    if strip.dtype == np.uint8:
        return strip.astype(np.uint8, copy=False)
    if strip.dtype == np.uint16:
        # round(v / 257) without leaving 32 bits
        return ((strip.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(strip * (BINS - 1)).astype(np.uint8)

"""Histogram equalisation, looked up in tables that are observed once on the whole photo.

The tables are OpenCV's ``equalizeHist`` on each channel, exactly, for 8-bit photos. Deeper photos are counted
in 256 bins and looked up between the tables' entries, so that no step of a smooth sky is lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowlight.methods import Array


def tables(histograms: ArrayLike) -> Array:
    """Equalised value in [0, 1] of each of 256 values: (..., 256) counts to (..., 256) float32.

    With i0 the first filled bin, v becomes ``round((cdf(v) - h[i0]) * 255 / (n - h[i0])) / 255`` (0 up to i0);
    a flat channel keeps its values. Raises ValueError where a histogram is empty.
    """
    counts = np.asarray(histograms, np.float64)
    if counts.shape[-1:] != (256,):
        raise ValueError(f"histograms: expected (..., 256) counts, got shape {counts.shape}")
    total = counts.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("histograms: expected at least one pixel a channel, got none")
    lowest = np.take_along_axis(counts, (counts > 0).argmax(axis=-1, keepdims=True), axis=-1)
    above = np.maximum(np.cumsum(counts, axis=-1) - lowest, 0)
    flat = total == lowest
    # OpenCV divides and multiplies in float32 and rounds halves to even: sums at x.5 depend on it.
    scale = np.float32(255) / np.where(flat, 1, total - lowest).astype(np.float32)
    levels = np.rint(above.astype(np.float32) * scale)
    return (np.where(flat, np.arange(256), levels) / 255).astype(np.float32)


def apply(pixels: NDArray[np.floating], tables: Array) -> Array:
    """Look (height, width, 3) pixels in [0, 1] up in (3, 256) tables, linearly between their entries."""
    position = pixels.astype(np.float32) * np.float32(255)
    low = np.floor(position).astype(np.intp)
    share = position - low
    equalised = np.empty_like(position)
    for channel, table in enumerate(tables):
        below = table[low[..., channel]]
        above = table[np.minimum(low[..., channel] + 1, 255)]
        equalised[..., channel] = below + (above - below) * share[..., channel]
    return equalised

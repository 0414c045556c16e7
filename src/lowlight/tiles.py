"""Windows over a photo: a core to keep, a halo to see, sides that the network accepts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lowlight.methods import Array

PREFERRED = 1024
"""Side of a core that keeps a network's maps in the processor's cache and the share of halos small."""


@dataclass(frozen=True)
class Window:
    """A tile: the core is kept, the outer window (core and halo) is computed. Pixels of the photo."""

    top: int
    left: int
    height: int
    width: int
    outer_top: int
    outer_left: int
    outer_height: int
    outer_width: int


def whole(height: int, width: int) -> Window:
    """The whole photo as one tile."""
    return Window(0, 0, height, width, 0, 0, height, width)


def padded(side: int, multiple: int) -> int:
    """The smallest multiple that is not below the side."""
    return math.ceil(side / multiple) * multiple


def plan(height: int, width: int, halo: int, multiple: int, pixels: int) -> list[Window]:
    """Tiles whose outer windows hold at most ``pixels`` pixels where that is possible at all.

    Outer windows start at multiples of ``multiple`` and end there or at the photo's edge, so that a network
    with strides sees the same grid in a tile as in the whole photo. Cores cover each pixel once.
    """
    halo = math.ceil(halo / multiple) * multiple
    if padded(height, multiple) * padded(width, multiple) <= min(pixels, (PREFERRED + 2 * halo) ** 2):
        return [whole(height, width)]
    side = max(multiple, min(PREFERRED, (math.isqrt(pixels) - 2 * halo) // multiple * multiple))
    return list(_grid(height, width, halo, multiple, side))


def split(window: Window, height: int, width: int, halo: int, multiple: int) -> list[Window]:
    """Four smaller tiles (two for a narrow one) in place of one that did not fit; none when it cannot shrink."""
    halo = math.ceil(halo / multiple) * multiple
    rows = _halves(window.top, window.height, multiple)
    columns = _halves(window.left, window.width, multiple)
    if len(rows) * len(columns) == 1:
        return []
    return [_window(top, left, h, w, height, width, halo) for top, h in rows for left, w in columns]


def mirror(tile: Array, rows: tuple[int, int], columns: tuple[int, int], multiple: int) -> Array:
    """Mirror a tile outwards: by (above, below) rows and (before, after) columns, and on until multiples."""
    (above, below), (before, after) = rows, columns
    height, width = above + tile.shape[0] + below, before + tile.shape[1] + after
    below += padded(height, multiple) - height
    after += padded(width, multiple) - width
    if not (above or below or before or after):
        return tile
    return np.pad(tile, ((above, below), (before, after), (0, 0)), mode="symmetric")


def _grid(height: int, width: int, halo: int, multiple: int, side: int) -> Iterator[Window]:
    for top, rows in _cuts(height, side, multiple):
        for left, columns in _cuts(width, side, multiple):
            yield _window(top, left, rows, columns, height, width, halo)


def _cuts(length: int, side: int, multiple: int) -> list[tuple[int, int]]:
    """Equal pieces, each a multiple but for the last."""
    count = math.ceil(length / side)
    piece = padded(math.ceil(length / count), multiple)
    return [(start, min(piece, length - start)) for start in range(0, length, piece)]


def _halves(start: int, length: int, multiple: int) -> list[tuple[int, int]]:
    first = padded(math.ceil(length / 2), multiple)
    return [(start, length)] if first >= length else [(start, first), (start + first, length - first)]


def _window(top: int, left: int, rows: int, columns: int, height: int, width: int, halo: int) -> Window:
    outer_top, outer_left = max(0, top - halo), max(0, left - halo)
    bottom, right = min(height, top + rows + halo), min(width, left + columns + halo)
    return Window(top, left, rows, columns, outer_top, outer_left, bottom - outer_top, right - outer_left)

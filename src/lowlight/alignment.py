"""How far a photo is shifted against another one of the same scene, whatever their exposures and noise.

Phase correlation (Kuglin, Hines 1975) of what is left of both photos when tone is taken out: first of small copies of
the whole, then of windows in full size, which also tell a camera that turned from one that was moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lowlight import statistics
from lowlight.methods import Array, Samples

SIDE = 512
"""Longest side of the small copies, and side of the windows, pixels."""
REACH = 8
"""Pixels to each side that tone is measured over."""
FLOOR = 0.01
"""Deviation of a place below which there is nothing to see; of square roots of values in [0, 1]."""
PASS = 0.12
"""Deviation of the low pass, in cycles a pixel: above it a dark photo holds noise."""
SURE = 0.2
"""Correlation of a window from which its shift is believed."""

Vector: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Shift:
    """Where a second photo shows what a first one shows."""

    down: int
    """What stands at row r of the first stands at row r + down of the second; whole pixels."""
    right: int
    likeness: float
    """Correlation of the two photos' detail where they overlap, -1 to 1; of photos of different places about 0."""
    spread: float
    """Pixels by which parts of the photo are shifted otherwise: the camera turned or zoomed, or the scene moved."""


def measure(first: Samples, second: Samples) -> Shift:
    """The shift of the second photo against the first, both (height, width, 3) of one size and any depth.

    Right to half a pixel where there is detail, up to a quarter of the photo's sides.
    """
    greys = _grey(first), _grey(second)
    factor = max(1, -(-max(greys[0].shape) // SIDE))
    small = [_detail(_reduced(grey, factor)) for grey in greys]
    found, likeness = _correlate(*small)
    shift = round(found[0] * factor), round(found[1] * factor)
    rests = np.array(_rests(*greys, shift))
    if not len(rests):
        return Shift(*shift, likeness, 0.0)
    middle = np.median(rests, axis=0)
    spread = float(np.quantile(np.abs(rests - middle).max(axis=1), 0.75))
    down, right = (round(whole + rest) for whole, rest in zip(shift, middle, strict=True))
    return Shift(down, right, likeness, spread)


def overlap(height: int, width: int, shift: Shift) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the first and of the second photo that show the same."""
    of_first, of_second = [], []
    for side, moved in ((height, shift.down), (width, shift.right)):
        of_first.append(slice(max(0, -moved), side - max(0, moved)))
        of_second.append(slice(max(0, moved), side + min(0, moved)))
    return (of_first[0], of_first[1]), (of_second[0], of_second[1])


def _grey(samples: Samples) -> Array:
    """(height, width) means of the channels, in [0, 1]."""
    scale = np.float32(3 * statistics.full_scale(samples))
    return np.concatenate(
        [strip.sum(axis=-1, dtype=np.float32) / scale for strip in statistics.strips(samples)]
    )


def _reduced(grey: Array, factor: int) -> Array:
    """Means of squares of ``factor`` pixels; what is left over at the right and below is dropped."""
    height, width = (side // factor for side in grey.shape)
    squares = grey[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(squares.mean(axis=(1, 3)))


def _detail(grey: Array) -> Array:
    """What is left without tone: the square root, whose noise is alike everywhere, less its mean around each pixel
    and divided by its deviation there."""
    root = np.sqrt(grey)
    smooth = _box(root, 1)
    mean = _box(smooth, REACH)
    deviation = np.sqrt(np.maximum(_box(smooth**2, REACH) - mean**2, 0))
    return np.asarray((smooth - mean) / (deviation + np.float32(FLOOR)))


def _box(values: Array, reach: int) -> Array:
    """Means of squares of 2 reach + 1 pixels; the border is repeated."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (reach + 1, reach)
        sums = np.cumsum(np.pad(values, pads, "edge"), axis=axis, dtype=np.float64)
        size = 2 * reach + 1
        upper, lower = (np.take(sums, range(start, start + values.shape[axis]), axis) for start in (size, 0))
        values = ((upper - lower) / size).astype(np.float32)
    return values


def _correlate(first: Array, second: Array) -> tuple[Vector, float]:
    """Shift in pixels, with fractions, and the correlation of what both hold below the low pass."""
    height, width = first.shape
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    low = np.exp(-(rows**2 + columns**2) / (2 * PASS**2))
    fade = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    spectra = [np.fft.rfft2(each * fade) for each in (first, second)]
    cross = spectra[1] * spectra[0].conj() * low
    # Half whitened: wholly, the many frequencies that hold noise alone would drown those of a very dark photo.
    surface = np.fft.irfft2(cross / np.sqrt(np.abs(cross) + 1e-12), s=(height, width))
    far_down, far_right = height // 4, width // 4
    allowed = np.zeros(surface.shape, bool)
    allowed[np.ix_(range(-far_down, far_down + 1), range(-far_right, far_right + 1))] = True
    row, column = np.unravel_index(np.argmax(np.where(allowed, surface, -np.inf)), surface.shape)
    down = _peak(*(surface[(row + step) % height, column] for step in (-1, 0, 1)))
    right = _peak(*(surface[row, (column + step) % width] for step in (-1, 0, 1)))
    down += row if row <= far_down else row - height
    right += column if column <= far_right else column - width
    whole = Shift(round(down), round(right), 0, 0)
    ours, theirs = overlap(height, width, whole)
    a, b = (_passed(each)[place] for each, place in ((first, ours), (second, theirs)))
    norm = np.sqrt(np.mean(a * a) * np.mean(b * b))
    return (float(down), float(right)), float(np.mean(a * b) / max(norm, 1e-12))


def _passed(detail: Array) -> Array:
    """Without the finest detail, where the noise is."""
    return _box(_box(detail, 1), 1)


def _peak(before: float, top: float, after: float) -> float:
    """Place of the top of the parabola through three values, -0.5 to 0.5 from the middle one."""
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def _rests(first: Array, second: Array, shift: tuple[int, int]) -> list[Vector]:
    """What windows of both, the second's moved by the shift, still differ by; only where it is sure."""
    ours, theirs = overlap(first.shape[0], first.shape[1], Shift(*shift, 0, 0))
    first, second = first[ours], second[theirs]
    height, width = (min(SIDE, side // 2) for side in first.shape)
    found = []
    for top in np.linspace(0, first.shape[0] - height, 3, dtype=int):
        for left in np.linspace(0, first.shape[1] - width, 3, dtype=int):
            place = slice(top, top + height), slice(left, left + width)
            rest, likeness = _correlate(_detail(first[place]), _detail(second[place]))
            if likeness >= SURE:
                found.append(rest)
    return found

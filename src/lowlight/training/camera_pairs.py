"""Pairs of one's own camera, checked before anything is learned from them. Needs no torch.

What a shifted, swapped or clipped pair says would be learned as if it were the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowlight import alignment, statistics
from lowlight.errors import LowlightError, PhotoError, UseError, shown
from lowlight.evaluation import guards, pairing
from lowlight.methods import Samples
from lowlight.photo import describe_photo, read_photo

Pixels = NDArray[np.uint8]

FEWEST, MOST = 3, 8
FOLDERS = (("dark", "light"), ("low", "high"))
LARGEST_SHIFT = 0.02
"""Of the photo's longer side: further apart, more than the tripod's shake has moved."""
LARGEST_SPREAD = 1.5
"""Pixels: parts of the photo that are shifted otherwise by more tell that the camera turned."""
LEAST_LIKENESS = 0.25
"""Of the two photos' detail; LOL's pairs have 0.6 and more, but one (0.07), whose camera was moved."""
DARKER = 0.8
"""The dark photo's mean is at most this share of the light one's."""
LEAST_LIGHT = 0.12
"""Mean of a light photo below which it is no example of a light photo."""
CLIPPED, FAR_CLIPPED = 0.05, 0.3
"""Share of the light photo's pixels with a channel at its end: a word, and a refusal."""
LEAST_SIGNAL = 1.5 / 255
"""Mean of a dark photo, and ..."""
MOST_BLACK = 0.9
"""... share of its pixels that are wholly black, beyond which it holds nothing to learn from."""
LEAST_SIDE = 160
MOST_PIXELS = 4_000_000
"""Of larger photos the middle is taken, at full size: the camera's noise must stay what it is."""


@dataclass(frozen=True)
class CameraPair:
    """A pair as training takes it: aligned, of one size, 8 bits."""

    name: str
    dark: Pixels
    """(height, width, 3)."""
    light: Pixels
    notes: tuple[str, ...] = ()
    """What was found or changed, for the user."""


@dataclass(frozen=True)
class Check:
    """What became of one pair: usable, or why not."""

    name: str
    pair: CameraPair | None
    problem: str = ""

    def line(self) -> str:
        """The pair in one line."""
        if self.pair is None:
            return f"{self.name}: not usable: {self.problem}"
        means = " and ".join(f"{each.mean() / 255:.3f}" for each in (self.pair.dark, self.pair.light))
        height, width = self.pair.dark.shape[:2]
        return "; ".join((f"{self.name}: {width}x{height}, lightness {means}", *self.pair.notes))


def find_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Name, dark and light photo of each pair of a folder, which has two folders ``dark`` and ``light``, or ``low``
    and ``high``, with equal names but for their suffixes.

    Raises UseError when the folders are not there, a photo lacks its partner, or there are too few or too many.
    """
    for names in FOLDERS:
        if all((folder / name).is_dir() for name in names):
            break
    else:
        raise UseError(
            f"{shown(folder)}: expected two folders in it, dark and light, with equal names of photos"
        )
    dark, light = (pairing.photos_in(folder / name) for name in names)
    stems = sorted(dark.keys() | light.keys(), key=pairing.natural)
    pairing.refuse_missing(stems, [(folder / names[0], dark), (folder / names[1], light)])
    if not FEWEST <= len(stems) <= MOST:
        advice = (
            "take more pairs of other scenes"
            if len(stems) < FEWEST
            else "with so many, `lowlight train` learns more"
        )
        raise UseError(f"{shown(folder)}: {len(stems)} pairs; expected {FEWEST} to {MOST}: {advice}")
    return [(stem, dark[stem], light[stem]) for stem in stems]


def check_pairs(files: list[tuple[str, Path, Path]]) -> list[Check]:
    """Look at every pair, so that all that is wrong is told at once; files: see ``find_pairs``."""
    checks: list[Check] = []
    seen: dict[str, list[bytes]] = {}
    for name, dark, light in files:
        check = check_pair(name, dark, light)
        if check.pair is not None:
            own = guards.mark(check.pair.light)
            again = next((other for other, marks in seen.items() if guards.Index(marks).find(own)), None)
            seen[name] = [own]
            if again is not None:
                note = f"shows the same scene as {again}; another scene would teach more"
                check = replace(check, pair=replace(check.pair, notes=(*check.pair.notes, note)))
        checks.append(check)
    return checks


def check_pair(name: str, dark_file: Path, light_file: Path) -> Check:
    """Read a pair and tell whether it can be learned from."""
    try:
        if problem := _unlike(dark_file, light_file):
            return Check(name, None, problem)
        dark, light = (read_photo(path).samples for path in (dark_file, light_file))
    except LowlightError as error:
        return Check(name, None, str(error))
    notes: list[str] = []
    if problem := _exposure(dark, light, notes):
        return Check(name, None, problem)
    shift = alignment.measure(dark, light)
    if problem := _shift(dark.shape, shift, notes):
        return Check(name, None, problem)
    of_dark, of_light = alignment.overlap(dark.shape[0], dark.shape[1], shift)
    dark, light = dark[of_dark], light[of_light]
    height, width = dark.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return Check(name, None, f"{width}x{height} pixels; expected at least {LEAST_SIDE} a side")
    if height * width > MOST_PIXELS:
        middle = _middle(height, width)
        dark, light = dark[middle], light[middle]
        notes.append(f"the middle {dark.shape[1]}x{dark.shape[0]} of {width}x{height} is learned from")
    if dark.dtype != np.uint8:
        notes.append("rounded to 8 bits")
    return Check(name, CameraPair(name, eight_bits(dark), eight_bits(light), tuple(notes)))


def _unlike(dark: Path, light: Path) -> str:
    """In what the two files differ by their headers, or nothing: neither is resized or flattened to fit."""
    looks = {}
    for role, path in (("dark", dark), ("light", light)):
        described = describe_photo(path)
        if described["alpha"]:
            return f"the {role} photo has an alpha channel; flatten it first"
        size = f"{described['width']}x{described['height']}"
        colour = "grey" if described["colour"] == "grey" else "colour"
        looks[role] = {"sizes": size, "depths": pairing.depth_of(path), "colours": colour}
    for what, found in looks["dark"].items():
        if found != looks["light"][what]:
            return f"{what} differ: dark {found}, light {looks['light'][what]}"
    return ""


def _exposure(dark: Samples, light: Samples, notes: list[str]) -> str:
    """What is wrong with the exposures, or nothing; less grave things become notes."""
    of_dark, of_light = (statistics.histograms(each) for each in (dark, light))
    below, above = (float(statistics.histogram_means(each).mean()) for each in (of_dark, of_light))
    if below > above:
        return (
            f"the dark photo is the lighter one ({below:.2f} against {above:.2f}): are the folders swapped?"
        )
    if below > DARKER * above:
        return (
            f"the dark photo is hardly darker ({below:.2f} against {above:.2f}); give it a tenth of the light"
        )
    if above < LEAST_LIGHT:
        return f"the light photo is dark (mean {above:.2f}); expose it as results shall look"
    pixels = of_dark[0].sum()
    black = float(of_dark[:, 0].min() / pixels)
    if below < LEAST_SIGNAL or black > MOST_BLACK:
        return f"the dark photo holds no signal (mean {255 * below:.1f} of 255, {black:.0%} black); give it more light"
    clipped = float(of_light[:, -1].max() / pixels)
    if clipped > FAR_CLIPPED:
        return f"{clipped:.0%} of the light photo is clipped to white; expose it less"
    if clipped > CLIPPED:
        notes.append(f"{clipped:.0%} of the light photo is clipped to white; less exposure would teach more")
    return ""


def _shift(shape: tuple[int, ...], shift: alignment.Shift, notes: list[str]) -> str:
    """What is wrong with how the two photos lie, or nothing; a small shift becomes a note."""
    if shift.likeness < LEAST_LIKENESS:
        return (
            f"the two photos do not show the same (their detail agrees by {max(shift.likeness, 0):.0%}): "
            "another scene, a moved camera, or no signal in the dark one"
        )
    moved = f"{abs(shift.right)} pixels sideways and {abs(shift.down)} up or down"
    if max(abs(shift.down), abs(shift.right)) > LARGEST_SHIFT * max(shape[:2]):
        return f"the camera moved between the two by {moved}; use a tripod and a timer"
    if shift.spread > LARGEST_SPREAD:
        return (
            f"parts of the photo are shifted by {shift.spread:.1f} pixels against others: the camera turned or zoomed, "
            "or the scene moved; use a tripod and a timer"
        )
    if shift.down or shift.right:
        notes.append(f"the two were {moved} apart and are aligned by cropping")
    return ""


def _middle(height: int, width: int) -> tuple[slice, slice]:
    """The middle of a photo, of its own shape and ``MOST_PIXELS``."""
    scale = (MOST_PIXELS / (height * width)) ** 0.5
    rows, columns = int(height * scale), int(width * scale)
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def eight_bits(samples: Samples) -> Pixels:
    """A photo of any depth in 8 bits, in a piece of memory of its own shape."""
    return np.ascontiguousarray(statistics.to_8_bits(samples))


def usable(checks: list[Check]) -> list[CameraPair]:
    """The pairs, all of them. Raises PhotoError when one is not usable: fewer would not be what was asked for."""
    if bad := [check.name for check in checks if check.pair is None]:
        count = f"{len(bad)} of {len(checks)} pairs are not usable ({', '.join(bad)})"
        raise PhotoError(f"{count}; replace them or take them out of the folders")
    return [check.pair for check in checks if check.pair is not None]

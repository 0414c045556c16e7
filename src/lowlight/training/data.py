"""Training data: photographs in memory as uint8, and batches of crops cut from them.

Every source gives pairs of a dark and a light photo with their whole histograms, so that what a method
observes of a photo is known for a crop too, and stays right when the photo's exposure is jittered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from lowlight import statistics
from lowlight.errors import RecipeError, UseError
from lowlight.evaluation import guards, pairing
from lowlight.training.darken import Darkening, darken

Pixels = NDArray[np.uint8]
Counts = NDArray[np.float64]
SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_LEVELS = np.arange(256)
_MADE = " (darkened)"
"""Ends the names of photos that were made from others."""


# What a recipe says of data


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Pairs(_Spec):
    """Two folders; photos are paired by equal stem."""

    kind: Literal["pairs"] = "pairs"
    dark: Path
    light: Path
    names: Path | tuple[str, ...] | None = None
    """Stems of the pairs to take, or a text file below the root with one a line. Without it every photo needs
    its partner."""
    exclude: tuple[str, ...] = ()
    histograms: Path | None = None
    """.npz with ``name`` (n,), ``low`` and ``high`` (n, 3, 256): counts over the whole photos, where the
    files hold windows of them."""
    weight: float = Field(1.0, gt=0)


class Exposures(_Spec):
    """A folder of scenes, each a folder of aligned exposures: a darker one with any lighter one is a pair."""

    kind: Literal["exposures"] = "exposures"
    folder: Path
    exclude: tuple[str, ...] = ()
    """Scenes."""
    middle: float = Field(0.6, ge=0, le=1)
    """Share of pairs whose light photo is the exposure with the mean nearest to 0.45."""
    same: float = Field(0.04, ge=0, le=1)
    """Share of pairs of one photo with itself: what is light enough stays as it is."""
    weight: float = Field(1.0, gt=0)


class Photos(_Spec):
    """A folder of normal photos, each paired with dark twins of itself, or, without ``darken``, with itself."""

    kind: Literal["photos"] = "photos"
    folder: Path
    exclude: tuple[str, ...] = ()
    darken: Darkening | None = None
    twins: int = Field(2, ge=1)
    """Dark twins a photo."""
    weight: float = Field(1.0, gt=0)


class Unpaired(_Spec):
    """Dark photos and light ones that do not belong together, of any sizes."""

    kind: Literal["unpaired"] = "unpaired"
    dark: Path
    light: Path
    names: Path | tuple[str, ...] | None = None
    """Stems of the dark photos to take, or a text file below the root with one a line; default: all."""
    exclude: tuple[str, ...] = ()
    """Stems, of both folders."""
    weight: float = Field(1.0, gt=0)


Source = Annotated[Pairs | Exposures | Photos | Unpaired, Field(discriminator="kind")]


class Jitter(_Spec):
    """Random exposure and cast; the histograms go through the same tables as the pixels."""

    share: float = Field(0.5, ge=0, le=1)
    """Of the photos that are changed, dark and light apart."""
    dark: tuple[float, float] = (-0.4, 0.4)
    """Range of the logarithm of the dark photo's gain."""
    light: tuple[float, float] = (-0.3, 0.15)
    cast: float = Field(0.03, ge=0)
    """Deviation of the logarithm of each channel's gain, in the dark photo."""
    coloured: float = Field(0.0, ge=0, le=1)
    """Share of the pairs that are seen in coloured light: both photos lose much of one or two channels."""
    partly: float = Field(0.0, ge=0, le=1)
    """Share of those in which that light falls on a part of the photo: the rest of it is seen in white light."""


class Data(_Spec):
    """``data`` of a recipe."""

    root: Path = Path()
    """What the paths of all sources start from, the validation's too."""
    sources: tuple[Source, ...] = Field(min_length=1)
    jitter: Jitter | None = Jitter()
    cache: Literal["host", "device"] = "host"
    """Where the photos lie; ``device``: beside the network, so that batches never travel."""


# Photos in memory


@dataclass(frozen=True)
class Picture:
    """A photo, or a window of one, with the histogram of the whole."""

    name: str
    """Its path below the data's root."""
    pixels: Tensor
    """(height, width, 3) uint8."""
    counts: Counts
    """(3, 256)."""


Pair = tuple[Picture, Picture]
"""Dark and light, of one size."""


class Drawer(Protocol):
    """A source in memory."""

    def draw(self, rng: np.random.Generator) -> Pair: ...

    def pictures(self) -> Iterable[Picture]: ...

    def exposures(self) -> Iterable[Pair]:
        """Dark photos with the exposure that somebody chose for their scene; none where nobody did."""
        ...


class PairDrawer:
    """Any of a list of pairs."""

    def __init__(self, pairs: Sequence[Pair], *, made: bool = False) -> None:
        """made: the dark photos were made from the light ones."""
        self.pairs = pairs
        self.made = made

    def draw(self, rng: np.random.Generator) -> Pair:
        return self.pairs[int(rng.integers(len(self.pairs)))]

    def pictures(self) -> Iterable[Picture]:
        return (picture for pair in self.pairs for picture in pair)

    def exposures(self) -> Iterable[Pair]:
        return () if self.made else self.pairs


class ExposureDrawer:
    """Any darker with any lighter exposure of a scene."""

    def __init__(self, scenes: Sequence[Sequence[Picture]], middle: float, same: float) -> None:
        """middle, same: see ``Exposures``."""
        self.scenes = [sorted(scene, key=_mean) for scene in scenes]
        self.middles = [int(np.argmin([abs(_mean(each) - 0.45) for each in scene])) for scene in self.scenes]
        self.middle = middle
        self.same = same

    def draw(self, rng: np.random.Generator) -> Pair:
        index = int(rng.integers(len(self.scenes)))
        scene, middle = self.scenes[index], self.middles[index]
        if middle and rng.random() < self.middle:
            dark, light = int(rng.integers(middle)), middle
        else:
            dark, light = sorted(int(each) for each in rng.choice(len(scene), 2, replace=False))
        return scene[dark], scene[dark if rng.random() < self.same else light]

    def pictures(self) -> Iterable[Picture]:
        return (picture for scene in self.scenes for picture in scene)

    def exposures(self) -> Iterable[Pair]:
        return (
            (dark, scene[middle])
            for scene, middle in zip(self.scenes, self.middles, strict=True)
            for dark in scene[:middle]
        )


class UnpairedDrawer:
    """Any dark photo with any light one."""

    def __init__(self, darks: Sequence[Picture], lights: Sequence[Picture]) -> None:
        self.darks = darks
        self.lights = lights

    def draw(self, rng: np.random.Generator) -> Pair:
        """Two photos that differ in size and in what they show."""
        return self.darks[int(rng.integers(len(self.darks)))], self.lights[
            int(rng.integers(len(self.lights)))
        ]

    def pictures(self) -> Iterable[Picture]:
        return (*self.darks, *self.lights)

    def exposures(self) -> Iterable[Pair]:
        return ()


def _mean(picture: Picture) -> float:
    return float(statistics.histogram_means(picture.counts).mean())


# Reading


def picture_name(path: Path, root: Path) -> str:
    """What a photo is called in logs: its path below the root where it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def read_pixels(path: Path) -> Pixels:
    """An 8-bit photo as RGB, upright, taken for sRGB. Raises RecipeError naming the file."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise RecipeError(f"{path}: expected 8 bits a channel to train on, found mode {image.mode}")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: expected a photo to train on: {error}") from None


def _photos(folder: Path, exclude: Sequence[str] = ()) -> dict[str, Path]:
    """Photos of a folder by stem."""
    try:
        return pairing.photos_in(folder, suffixes=SUFFIXES, exclude=exclude)
    except UseError as error:
        raise RecipeError(str(error)) from None


def pair_files(spec: Pairs, root: Path) -> list[tuple[str, Path, Path]]:
    """(stem, dark, light) of all pairs, sorted by stem. Whatever has no partner is an error that names it."""
    dark, light = (_photos(root / folder, spec.exclude) for folder in (spec.dark, spec.light))
    names = _names(spec, root, dark.keys() | light.keys())
    _refuse_missing(names, [(root / spec.dark, dark), (root / spec.light, light)])
    return [(name, dark[name], light[name]) for name in names]


def _names(spec: Pairs | Unpaired, root: Path, found: Iterable[str]) -> list[str]:
    """Stems that a source names, less those that it excludes; where it names none all that were found, sorted."""
    if spec.names is None:
        return sorted(found)
    if isinstance(spec.names, tuple):
        return [name for name in spec.names if name not in spec.exclude]
    try:
        text = (root / spec.names).read_text("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{root / spec.names}: expected a list of names: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{root / spec.names}: expected a list of names in UTF-8") from None
    listed = (line.strip() for line in text.splitlines())
    return [name for name in listed if name and name not in spec.exclude]


def _refuse_missing(names: Sequence[str], sides: Sequence[tuple[Path, Mapping[str, Path]]]) -> None:
    try:
        pairing.refuse_missing(names, sides)
    except UseError as error:
        raise RecipeError(str(error)) from None


class _Reader:
    """Reads the photos of sources below ``root`` into memory of ``place``."""

    def __init__(self, root: Path, place: torch.device, rng: np.random.Generator) -> None:
        self.root = root
        self.place = place
        self.rng = rng

    def read(self, spec: Pairs | Exposures | Photos | Unpaired) -> Drawer:
        if isinstance(spec, Pairs):
            return self.pairs(spec)
        if isinstance(spec, Unpaired):
            return self.unpaired(spec)
        if isinstance(spec, Exposures):
            return self.exposures(spec)
        return self.photos(spec)

    def pairs(self, spec: Pairs) -> PairDrawer:
        known = None if spec.histograms is None else _read_histograms(self.root / spec.histograms)
        pairs = []
        for name, dark, light in pair_files(spec, self.root):
            if known is not None and name not in known:
                raise RecipeError(f"{spec.histograms}: no histograms for {name}")
            of_dark, of_light = (None, None) if known is None else known[name]
            pair = self.picture(dark, of_dark), self.picture(light, of_light)
            check_sizes(dark, pair[0].pixels.shape, light, pair[1].pixels.shape)
            pairs.append(pair)
        return PairDrawer(pairs)

    def exposures(self, spec: Exposures) -> ExposureDrawer:
        folder = self.root / spec.folder
        try:
            found = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError as error:
            raise RecipeError(f"{folder}: expected a folder of scenes: {error.strerror}") from None
        scenes = []
        for each in found:
            if each.name in spec.exclude:
                continue
            scene = [self.picture(path) for path in _photos(each).values()]
            if len(scene) < 2 or len({picture.pixels.shape for picture in scene}) > 1:
                raise RecipeError(f"{each}: expected at least two exposures of one size")
            scenes.append(scene)
        if not scenes:
            raise RecipeError(f"{folder}: no scenes; expected a folder a scene")
        return ExposureDrawer(scenes, spec.middle, spec.same)

    def photos(self, spec: Photos) -> PairDrawer:
        pairs = []
        for path in _photos(self.root / spec.folder, spec.exclude).values():
            light = self.picture(path)
            if spec.darken is None:
                pairs.append((light, light))
                continue
            for _ in range(spec.twins):
                twin = darken(light.pixels.cpu().numpy(), spec.darken, self.rng)
                pairs.append((self.keep(f"{light.name}{_MADE}", twin), light))
        return PairDrawer(pairs, made=True)

    def unpaired(self, spec: Unpaired) -> UnpairedDrawer:
        dark, light = (_photos(self.root / folder, spec.exclude) for folder in (spec.dark, spec.light))
        names = _names(spec, self.root, dark)
        _refuse_missing(names, [(self.root / spec.dark, dark)])
        if not names:
            raise RecipeError(f"{self.root / spec.dark}: expected names of photos to train on, found none")
        return UnpairedDrawer(
            [self.picture(dark[name]) for name in names], [self.picture(path) for path in light.values()]
        )

    def picture(self, path: Path, counts: Counts | None = None) -> Picture:
        return self.keep(picture_name(path, self.root), read_pixels(path), counts)

    def keep(self, name: str, pixels: Pixels, counts: Counts | None = None) -> Picture:
        if counts is None:
            counts = statistics.histograms(pixels)
        return Picture(name, torch.from_numpy(pixels).to(self.place), counts)


def check_sizes(dark: Path, of_dark: tuple[int, ...], light: Path, of_light: tuple[int, ...]) -> None:
    """Raise RecipeError when the two photos of a pair differ in (height, width, ...)."""
    if of_dark[:2] != of_light[:2]:
        sizes = f"{of_dark[1]}x{of_dark[0]} and {of_light[1]}x{of_light[0]}"
        raise RecipeError(f"{dark} and {light}: a pair has one size, these have {sizes}")


def _read_histograms(path: Path) -> dict[str, tuple[Counts, Counts]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            dark, light = file["low"].astype(np.float64), file["high"].astype(np.float64)
            names = [Path(str(name)).stem for name in file["name"]]
    except OSError as error:
        raise RecipeError(f"{path}: expected an .npz of histograms: {error.strerror or error}") from None
    except (ValueError, KeyError) as error:
        raise RecipeError(f"{path}: expected an .npz of histograms (name, low, high): {error}") from None
    return {name: (dark[i], light[i]) for i, name in enumerate(names)}


# Batches


@dataclass(frozen=True)
class Batch:
    """Crops of pairs, and what a method may observe of the whole photos they come from."""

    dark: Tensor
    """(count, 3, crop, crop) float32 in [0, 1], channels-last."""
    light: Tensor
    """The same windows of the light photos."""
    dark_counts: Counts
    """(count, 3, 256) histograms of the whole dark photos, after augmentation."""
    light_counts: Counts
    names: list[str]
    """Where each pair comes from."""


class Mixture:
    """Several sources of pairs, drawn from by their weights. All that is random comes from the caller."""

    def __init__(self, sources: Sequence[tuple[Drawer, float]], jitter: Jitter | None = None) -> None:
        """sources: with their weights, in any unit."""
        self.sources = [source for source, _ in sources]
        self.bounds = np.cumsum([weight for _, weight in sources])
        self.bounds /= self.bounds[-1]
        self.jitter = jitter

    @classmethod
    def read(cls, data: Data, rng: np.random.Generator, device: torch.device) -> Mixture:
        """Read all photos of a recipe. rng: for what is made of photos once (dark twins)."""
        if not data.root.is_dir():
            raise RecipeError(f"data.root: {data.root}: expected a folder; there is none")
        reader = _Reader(data.root, device if data.cache == "device" else torch.device("cpu"), rng)
        return cls([(reader.read(spec), spec.weight) for spec in data.sources], data.jitter)

    def pictures(self) -> Iterable[Picture]:
        """All photos, dark and light; a photo in several pairs comes several times."""
        return (picture for source in self.sources for picture in source.pictures())

    def exposures(self) -> Iterable[Pair]:
        """Dark photos with the exposure that somebody chose for their scene."""
        return (pair for source in self.sources for pair in source.exposures())

    def smallest(self) -> Picture:
        """The picture with the shortest side: the largest crop that fits all."""
        return min(self.pictures(), key=lambda picture: min(picture.pixels.shape[:2]))

    def draw(self, rng: np.random.Generator, *, apart: bool = False) -> Pair:
        """A pair of one of the sources. apart: the two need not belong together; else kind ``unpaired`` is refused."""
        if not apart and any(isinstance(each, UnpairedDrawer) for each in self.sources):
            raise RecipeError("data.sources: this stage learns from pairs, and kind unpaired has none")
        return self.sources[int(np.searchsorted(self.bounds, rng.random(), side="right"))].draw(rng)

    def marks(self) -> set[bytes]:
        """Marks of all photos that are real, to find them again among those that the network is judged on."""
        return {
            guards.mark(picture.pixels.cpu().numpy())
            for picture in self.pictures()
            if not picture.name.endswith(_MADE)
        }

    def digest(self) -> str:
        """SHA-256 over names, pixels and histograms: equal data give equal digests."""
        found = hashlib.sha256()
        for picture in self.pictures():
            found.update(picture.name.encode())
            found.update(np.ascontiguousarray(picture.counts).tobytes())
            found.update(picture.pixels.cpu().numpy().tobytes())
        return found.hexdigest()

    def batch(
        self,
        rng: np.random.Generator,
        count: int,
        crop: int,
        device: torch.device,
        *,
        given: Sequence[Pair] | None = None,
        turns: bool = True,
    ) -> Batch:
        """Cut random windows, flip, transpose and jitter them.

        Pixels and histograms go through the same tables of 256 values; the tables also make the floats.
        given: count pairs in place of drawn ones. turns: in all eight positions; otherwise as they are, or mirrored
        left to right.
        """
        windows: tuple[list[Tensor], list[Tensor]] = ([], [])
        names: list[str] = []
        tables = np.empty((2, count, 3, 256), np.float32)
        counts = np.empty((2, count, 3, 256))
        for index in range(count):
            pair = self.draw(rng) if given is None else given[index]
            height, width = pair[0].pixels.shape[:2]
            top, left = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
            turn = int(rng.integers(8)) if turns else 2 * int(rng.integers(2))
            lights = self._lights(rng)
            for side, picture in enumerate(pair):
                window = picture.pixels[top : top + crop, left : left + crop]
                if turn & 3:
                    window = window.flip([axis for axis in (0, 1) if turn >> axis & 1])
                windows[side].append(window.transpose(0, 1) if turn & 4 else window)
                gains = self._exposure(rng, is_dark=side == 0)
                # A random threshold of rounding, so that a change of exposure leaves no comb of its own.
                rounding = rng.random((3, 1))
                seen = [(share, _table(gains * light, rounding)) for share, light in lights]
                tables[side, index] = seen[0][1] / np.float32(255)
                counts[side, index] = sum(share * _through(table, picture.counts) for share, table in seen)
            names.append(pair[0].name if pair[0] is pair[1] else f"{pair[0].name} -> {pair[1].name}")
        floats = [
            _look_up(torch.stack(crops).to(device), torch.from_numpy(table).to(device))
            for crops, table in zip(windows, tables, strict=True)
        ]
        return Batch(floats[0], floats[1], counts[0], counts[1], names)

    def _lights(self, rng: np.random.Generator) -> list[tuple[float, NDArray[np.float64]]]:
        """The lights that a pair is seen in: shares of the photo, and gains of the channels, at most 1.

        The window lies in the first.
        """
        white = np.ones(3)
        if self.jitter is None or not self.jitter.coloured or rng.random() >= self.jitter.coloured:
            return [(1.0, white)]
        gains = np.exp(rng.normal(0, 0.8, 3))
        coloured = gains / gains.max()
        if not self.jitter.partly or rng.random() >= self.jitter.partly:
            return [(1.0, coloured)]
        share = rng.uniform()
        lights = [(share, coloured), (1 - share, white)]
        return lights if rng.random() < 0.5 else lights[::-1]

    def _exposure(self, rng: np.random.Generator, *, is_dark: bool) -> NDArray[np.float64]:
        """Gains of the channels by which a photo's exposure is changed."""
        jitter = self.jitter
        if jitter is None or rng.random() >= jitter.share:
            return np.ones(3)
        gains = np.full(3, np.exp(rng.uniform(*(jitter.dark if is_dark else jitter.light))))
        return gains * np.exp(rng.normal(0, jitter.cast, 3)) if is_dark else gains


def _table(gains: NDArray[np.float64], rounding: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(3, 256) new values of 8-bit values. rounding (3, 1): what is added before the fraction is cut off."""
    values = _LEVELS * gains[:, None] + rounding
    table: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return table


def _through(table: NDArray[np.uint8], counts: Counts) -> Counts:
    """Histograms (3, 256) of a photo after its values went through a table."""
    pairs = zip(table, counts, strict=True)
    return np.stack([np.bincount(new, weights=old, minlength=256) for new, old in pairs])


def _look_up(windows: Tensor, tables: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 through (n, 3, 256) tables: (n, 3, h, w) float32, channels-last."""
    rows = torch.arange(tables.shape[0] * 3, dtype=torch.int32, device=tables.device).view(-1, 1, 1, 3)
    places = windows.to(torch.int32) + 256 * rows
    return tables.reshape(-1).index_select(0, places.reshape(-1)).view(windows.shape).permute(0, 3, 1, 2)

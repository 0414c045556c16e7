"""A photo through a method: look once, tile, run, join, reach the lightness asked for, blend."""

from __future__ import annotations

import io
import math
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

import numpy as np
from numpy.typing import NDArray

from lowlight import methods, photo, places, statistics, tiles
from lowlight.engines import Device, Engine, EngineName, OutOfMemory, Precision
from lowlight.errors import ControlError, EngineError, PhotoError, UseError
from lowlight.gain import apply_gain, slope, solve_gain
from lowlight.methods import Array, Controls, Frame, Method, Observation, PublishedControls, Samples
from lowlight.photo import Photo, to_float
from lowlight.plan import target_of
from lowlight.search import Found, find_value

if TYPE_CHECKING:
    from PIL.Image import Image

    from lowlight.weights import Weights

Number = TypeVar("Number", bound=np.generic)
"""What an array is of: uint8, uint16 or a float."""

TRIAL_SIDE = 128
"""Shorter side of the reduced copy on which a control is searched that gives the lightness asked for."""
SPREAD_WHITE = 0.25
"""Standard deviation that is white in the map of a spread."""
_DEEP = 65535
_SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class Report:
    """What was done to one photo."""

    controls: dict[str, Any]
    """The controls as used; ``lightness`` is a number here, also when it was asked as ``auto``, and None
    where the method chose by itself."""
    lightness_before: float
    lightness_after: float
    tiles: int
    seconds: float
    notes: tuple[str, ...] = ()
    spread: Photo | None = None
    """Where it was asked for: the standard deviation of the samples whose mean the result is, grey, 16 bits,
    SPREAD_WHITE and more white; of each pixel's channels the mean, after gain, to first order, and strength."""
    floats: Array | None = None
    """Where they were asked for: the result after gain and strength before it was clipped, rounded or cut to
    whole levels, (height, width, 3) float32, 1 = white."""


@dataclass(frozen=True)
class _Draws:
    """How the samples of a tile are drawn."""

    at_once: int = 1
    spread: bool = False
    """Their deviation is wanted too."""


class Enhancer:
    """A method with weights on a device; call it many times, from several threads.

    Made by ``lowlight.load``; the training loop makes one around the network that it trains.
    """

    def __init__(
        self, method: Method, engine: Engine, *, fingerprint: str = "", memory: int | None = None
    ) -> None:
        """fingerprint: hash of weights and precision, what a result carries to count as made by these.

        memory: bytes that one photo may take, itself included; default: half of what is free.
        """
        self.method = method
        self.engine = engine
        self.fingerprint = fingerprint
        self.memory = memory

    def controls(self, **values: Any) -> Controls:
        """Checked controls; raises ControlError with name, value and range."""
        return methods.parse_controls(self.method, values)

    def enhance_photo(
        self,
        photo: Photo,
        controls: Controls | None = None,
        *,
        memory: int | None = None,
        progress: Callable[[float], None] | None = None,
        spread: bool = False,
        floats: bool = False,
    ) -> tuple[Photo, Report]:
        """Enhance a photo of any size in tiles that fit the memory (bytes).

        progress: called with the share done, after each tile. spread: make ``Report.spread``. floats: make
        ``Report.floats``, which takes 12 bytes a pixel beyond that memory. Raises EngineError when not even the
        smallest tile fits, ControlError for a spread where the controls draw but one sample.
        """
        if not isinstance(photo, Photo):
            raise PhotoError(f"expected a Photo, got {type(photo).__name__}; arrays go into enhancer(array)")
        if not isinstance(controls, Controls | None):
            raise ControlError(
                f"expected enhancer.controls(lightness=0.4), say, got {type(controls).__name__}"
            )
        started = time.perf_counter()
        controls = controls or self.controls()
        before = statistics.mean(photo.samples)
        if spread:
            self.check_spread(controls)
        if controls.strength == 0:
            still = _to_map(np.zeros((photo.height, photo.width), np.uint16), 0.0) if spread else None
            seconds = time.perf_counter() - started
            same = to_float(photo.samples) if floats else None
            return photo, Report(
                _used(controls, before), before, before, 0, seconds, spread=still, floats=same
            )
        as_released = isinstance(controls, PublishedControls) and controls.published
        small = self._reduced_as_released(photo, controls)
        frame = self._frame(small.height, small.width, controls)
        seen = small if frame is None else Photo(self._mirror(small.samples, frame))
        observation = self.method.observe(seen.samples, controls)
        memory = memory or self.memory or free_memory() // 2
        windows = self._plan(seen, memory)
        wanted = self._wanted(seen, observation, controls)
        found = None if as_released else self._search(seen, observation, controls, memory)
        if found is not None:
            observation = {**observation, found.control: np.array(found.value, np.float32)}
        draws = _Draws(self._at_once(seen, observation, windows, memory), spread)
        loose = np.empty(seen.samples.shape, np.float32) if floats or small is not photo else None
        cut = frame is not None and frame.truncated
        deep, values, count, deviation = self._run(
            seen, observation, windows, draws, progress, loose, cut=cut
        )
        if frame is not None:
            (top, _), (left, _) = frame.rows, frame.columns
            inner = slice(top, top + small.height), slice(left, left + small.width)
            deep = np.ascontiguousarray(deep[inner])
            deviation = None if deviation is None else deviation[inner]
            loose = None if loose is None else loose[inner]
        if small is not photo and loose is not None:
            loose = self._enlarged_as_released(loose, photo)
            deep = _in_16_bits(loose, cut=cut).astype(np.uint16)
        if seen is not photo:
            values = np.bincount(deep.ravel(), minlength=_DEEP + 1)
        gain = 1.0 if wanted is None or as_released else solve_gain(values, wanted)
        if deviation is not None:
            _scale_deviation(deviation, deep, gain)  # before the result takes the place of ``deep``
        samples = _finish(deep, photo, gain, controls.strength)
        after = statistics.mean(samples)
        notes: list[str] = []
        reached = float(apply_gain(np.arange(_DEEP + 1) / _DEEP, gain) @ values / values.sum())
        if wanted is not None and abs(reached - wanted) > 0.01:
            why = "was asked as released" if as_released else "cannot be reached"
            notes.append(f"lightness {wanted:.2f} {why}; the result has {reached:.2f}")
        used = _used(controls, wanted)
        if found is not None:
            used[found.control] = round(found.value, 4)
            if found.how != "reached":
                notes.append(f"{_explain(found, wanted)}; a gain of {gain:.2f} follows")
        drawn = None if deviation is None else _to_map(deviation, controls.strength)
        if not floats:
            loose = None
        if loose is not None:
            loose = _blend(apply_gain(loose, gain), photo, slice(None), controls.strength)
        seconds = time.perf_counter() - started
        report = Report(used, before, after, count, seconds, tuple(notes), drawn, loose)
        return replace(photo, samples=samples), report

    @overload
    def __call__(
        self,
        picture: str | os.PathLike[str],
        *,
        output: str | os.PathLike[str] | None = None,
        **controls: Any,
    ) -> Path: ...
    @overload
    def __call__(self, picture: bytes, **controls: Any) -> bytes: ...
    @overload
    def __call__(self, picture: NDArray[Number], **controls: Any) -> NDArray[Number]: ...
    @overload
    def __call__(self, picture: Image, **controls: Any) -> Image: ...
    def __call__(self, picture: Any, *, output: str | os.PathLike[str] | None = None, **controls: Any) -> Any:
        """Enhance a path, PIL image, array (uint8, uint16, float in [0, 1]) or bytes; gives the same kind back.

        controls: ``lightness`` (0 to 1 or ``"auto"``), ``strength`` (0 to 1), and the method's own.

        A path gives a path: the result is written beside the input as ``name.enhanced.suffix``, or as output
        says, a file or a folder, over an earlier result of lowlight but over no other file. Arrays are
        (height, width), (height, width, 3) or (height, width, 4) with alpha, sRGB-encoded.
        """
        checked = self.controls(**controls)
        if isinstance(picture, str | os.PathLike):
            source = Path(picture)
            target = target_of(source, None if output is None else os.fspath(output))
            if os.path.lexists(target) and not _is_own(target):
                raise PhotoError(f"{target} exists and was not made by lowlight: move it away")
            result, _ = self.enhance_photo(photo.read_photo(source, exact=checked.strength == 0), checked)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PhotoError(f"{target}: can't be written: {error.strerror}") from None
            photo.write_photo(result, target, fingerprint="python")
            return target
        if output is not None:
            raise UseError("output goes with a path; what comes back for other pictures is the result itself")
        if isinstance(picture, bytes):
            result, _ = self.enhance_photo(photo.read_photo(picture, exact=checked.strength == 0), checked)
            stream = io.BytesIO()
            photo.write_photo(result, stream)
            return stream.getvalue()
        if isinstance(picture, np.ndarray):
            dark = from_array(picture)
            result, _ = self.enhance_photo(dark, checked)
            # An array may have more digits than a photo.
            return picture.copy() if result is dark else _to_array(result, picture)
        from PIL import Image

        if not isinstance(picture, Image.Image):
            raise PhotoError(
                f"expected a path, PIL image, NumPy array or bytes, got {type(picture).__name__}"
            )
        from lowlight.pil import from_pil, to_pil

        result, _ = self.enhance_photo(from_pil(picture), checked)
        return to_pil(result, picture)

    def check_controls(self, controls: Controls) -> None:
        """Raises ControlError for what these weights cannot do; observing any photo tells it."""
        self._draws(controls)

    def check_spread(self, controls: Controls) -> None:
        """Raises ControlError where the controls draw but one sample, which has no spread."""
        if self._draws(controls) == 1:
            how = ""
            if {"samples", "temperature"} <= self.method.Controls.model_fields.keys():
                how = ": set samples to at least 2 and temperature above 0"
            raise ControlError(f"a spread needs several samples, and {self.method.name} draws one here{how}")

    def _draws(self, controls: Controls) -> int:
        """Samples that these controls draw of any photo."""
        return len(self.method.observe(np.zeros((1, 1, 3), np.uint8), controls).get("sample", (0,)))

    def memory_for(self, height: int, width: int, itemsize: int, controls: Controls) -> int:
        """Bytes that a photo takes while it is enhanced, itself included, in tiles of the preferred size."""
        if (frame := self._frame(height, width, controls)) is not None:
            height, width = height + sum(frame.rows), width + sum(frame.columns)
        whole = self._padded(height, width)
        if self.method.halo is not None:
            whole = min(whole, (tiles.PREFERRED + 2 * self.method.halo + self.method.multiple) ** 2)
        more = min(self._draws(controls), _SAMPLES_AT_ONCE) - 1
        samples = more * getattr(self.method, "sample_bytes", 0)
        return _held(height, width, itemsize) + whole * (self.method.tile_bytes + samples)

    def _at_once(
        self, photo: Photo, observation: Observation, windows: list[tiles.Window], memory: int
    ) -> int:
        """Samples that one run of the engine may draw: more share what depends on the dark photo alone."""
        draws = len(observation.get("sample", (0,)))
        if draws == 1:
            return 1
        pixels = max(self._padded(each.outer_height, each.outer_width) for each in windows)
        held = _held(photo.height, photo.width, photo.samples.itemsize)
        room = (memory - held) // pixels - self.method.tile_bytes
        fit = 1 + room // getattr(self.method, "sample_bytes", self.method.tile_bytes)
        return int(min(max(fit, 1), draws, _SAMPLES_AT_ONCE))

    def _plan(self, photo: Photo, memory: int) -> list[tiles.Window]:
        smallest = self._padded(photo.height, photo.width)
        if self.method.halo is not None:
            smallest = min(smallest, (self.method.multiple + 2 * self.method.halo) ** 2)
        held = _held(photo.height, photo.width, photo.samples.itemsize)
        room = (memory - held) // self.method.tile_bytes
        if room < smallest:
            needed = held + smallest * self.method.tile_bytes
            way = "give more memory"
            if self.method.halo is None:
                way += " or a smaller photo, for this network sees it in one piece"
            raise EngineError(
                f"{photo.width}x{photo.height} pixels need at least {math.ceil(needed / 1e6)} MB, "
                f"and {memory // 1_000_000} MB are allowed: {way}"
            )
        if self.method.halo is None:
            return [tiles.whole(photo.height, photo.width)]
        return tiles.plan(photo.height, photo.width, self.method.halo, self.method.multiple, room)

    def _padded(self, height: int, width: int) -> int:
        """Pixels of the whole photo as a network sees it."""
        rows, columns = (
            tiles.padded(side, self.method.multiple) + 2 * self.method.border for side in (height, width)
        )
        return rows * columns

    def _wanted(self, photo: Photo, observation: Observation, controls: Controls) -> float | None:
        """The mean of the result: asked for, or what ``auto`` stands for; None where the network decides."""
        if "lightness" in observation:
            return float(observation["lightness"])
        if controls.lightness != "auto":
            return float(controls.lightness)
        choose: Callable[[Samples], float | None] | None = getattr(self.method, "choose_lightness", None)
        as_released = isinstance(controls, PublishedControls) and controls.published
        given = getattr(self.method, "lightens", None) in controls.model_fields_set
        return None if choose is None or as_released or given else choose(photo.samples)

    def _search(
        self, photo: Photo, observation: Observation, controls: Controls, memory: int
    ) -> Found | None:
        """The value of the method's control that gives the lightness asked for, on a reduced copy of the photo.

        None where no number was asked for, the method has no such control, or the user gave its value.
        """
        name: str | None = getattr(self.method, "lightens", None)
        if name is None or controls.lightness == "auto" or name in controls.model_fields_set:
            return None
        told = {**observation, **({"sample": observation["sample"][:1]} if "sample" in observation else {})}
        copy = _reduced(photo)
        windows = self._plan(copy, memory)

        def mean_at(value: float) -> float:
            asked = {**told, name: np.array(value, np.float32)}
            return _mean(self._run(copy, asked, windows, _Draws(), None)[1])

        schema = self.method.Controls.model_json_schema()["properties"][name]
        bounds = schema["minimum"], schema["maximum"]
        return find_value(name, mean_at, float(controls.lightness), getattr(controls, name), bounds)

    def _run(
        self,
        photo: Photo,
        observation: Observation,
        windows: list[tiles.Window],
        draws: _Draws,
        progress: Callable[[float], None] | None,
        loose: Array | None = None,
        *,
        cut: bool = False,
    ) -> tuple[NDArray[np.uint16], NDArray[np.int64], int, NDArray[np.uint16] | None]:
        """The network's result, clipped, in 16 bits; how often each value is in it; the number of tiles it took;
        where it is asked for, the samples' deviation, (height, width), in 16 bits.

        A second thread puts each result in its place while the engine computes the next. loose: takes the result
        as it is, not clipped. cut: the values are truncated to 8 bits.
        """
        if "extent" in observation:
            sides = [
                tiles.padded(side, self.method.multiple) + 2 * self.method.border
                for side in (photo.height, photo.width)
            ]
            observation = {**observation, "extent": np.array(sides, np.float32)}
        deep = np.empty(photo.samples.shape, np.uint16)
        values = np.zeros(_DEEP + 1, np.int64)
        deviation = np.empty(deep.shape[:2], np.uint16) if draws.spread else None
        waiting, done, count = deque(windows), 0, 0

        def keep(result: Array, spread: Array | None, window: tiles.Window) -> None:
            core = self._core(result, window)
            values[:] += _keep(core, deep, window, cut=cut)
            if loose is not None:
                loose[window.top : window.top + window.height, window.left :][:, : window.width] = core
            if deviation is not None and spread is not None:
                place = deviation[window.top : window.top + window.height, window.left :]
                place[:, : window.width] = np.rint(self._core(spread, window) * np.float32(_DEEP))

        with ThreadPoolExecutor(1) as second:
            kept: Future[None] | None = None
            while waiting:
                window = waiting.popleft()
                try:
                    result, spread = self._result(self._cut(photo, window), observation, window, draws)
                except OutOfMemory:
                    smaller = tiles.split(
                        window, photo.height, photo.width, self.method.halo or 0, self.method.multiple
                    )
                    if not smaller or self.method.halo is None:
                        raise EngineError(
                            f"a tile of {window.outer_width}x{window.outer_height} pixels does not fit in memory"
                        ) from None
                    waiting.extendleft(reversed(smaller))
                    continue
                if kept is not None:
                    kept.result()
                if waiting:
                    kept = second.submit(keep, result, spread, window)
                else:  # the last, and a small photo's only one: nothing is left to wait beside
                    keep(result, spread, window)
                done += window.height * window.width
                count += 1
                if progress is not None:
                    progress(done / (photo.height * photo.width))
        return deep, values, count, deviation

    def _frame(self, height: int, width: int, controls: Controls) -> Frame | None:
        """What the method's release puts around a photo; None where the release is not asked for."""
        released = getattr(self.method, "released_frame", None)
        as_released = isinstance(controls, PublishedControls) and controls.published
        return released(height, width, controls) if released is not None and as_released else None

    def _mirror(self, samples: Samples, frame: Frame) -> Samples:
        """A photo with what the method's release puts around it."""
        framed: Any = np.pad(samples, (frame.rows, frame.columns, (0, 0)), mode=frame.mode)
        return framed  # type: ignore[no-any-return]

    def _reduced_as_released(self, photo: Photo, controls: Controls) -> Photo:
        """The photo itself, or a smaller one where the method's release is asked for and would reduce it."""
        reduced = getattr(self.method, "released_reduced", None)
        if reduced is None or not (isinstance(controls, PublishedControls) and controls.published):
            return photo
        pixels: Array | None = reduced(photo.samples)
        return photo if pixels is None else Photo(pixels)

    def _enlarged_as_released(self, result: Array, photo: Photo) -> Array:
        """What ``_reduced_as_released`` reduced, at the photo's size again."""
        enlarged: Callable[[Array, int, int], Array] = self.method.released_enlarged  # type: ignore[attr-defined]
        return enlarged(result, photo.height, photo.width)

    def _result(
        self, tile: Array, observation: Observation, window: tiles.Window, draws: _Draws
    ) -> tuple[Array, Array | None]:
        """What the engine makes of a tile, and of several samples the mean and, if asked for, the deviation."""
        if "origin" in observation:
            above, before = self._mirrored(window)
            place = np.array([window.outer_top - above, window.outer_left - before], np.float32)
            observation = {**observation, "origin": place}
        samples = observation.get("sample")
        if samples is None or len(samples) == 1:
            return self.engine.run(tile, observation), None
        first: Array | None = None
        # Sums of differences from the first sample: small numbers, whose squares lose nothing.
        total, squares = np.zeros_like(tile), np.zeros_like(tile) if draws.spread else None
        for start in range(0, len(samples), draws.at_once):
            asked = {**observation, "sample": samples[start : start + draws.at_once]}
            for picture in np.split(self.engine.run(tile, asked), len(asked["sample"]), axis=2):
                clipped = np.clip(picture, 0, 1)  # one sample's stray value must not decide the mean
                first = clipped if first is None else first
                clipped = clipped - first
                total += clipped
                if squares is not None:
                    squares += clipped * clipped
        assert first is not None  # noqa: S101
        count = np.float32(len(samples))
        if squares is None:
            return first + total / count, None
        variance = (squares - total * total / count) / (count - 1)
        return first + total / count, np.sqrt(np.maximum(variance, 0)).mean(axis=2)

    def _cut(self, photo: Photo, window: tiles.Window) -> Array:
        """A tile as the network gets it: at the photo's edges mirrored outwards by the border."""
        dark = photo.window(window.outer_top, window.outer_left, window.outer_height, window.outer_width)
        border = self.method.border
        below = border if window.outer_top + window.outer_height == photo.height else 0
        after = border if window.outer_left + window.outer_width == photo.width else 0
        above, before = self._mirrored(window)
        return tiles.mirror(dark, (above, below), (before, after), self.method.multiple)

    def _core(self, result: Array, window: tiles.Window) -> Array:
        """What is kept of a tile's result."""
        above, before = self._mirrored(window)
        top, left = above + window.top - window.outer_top, before + window.left - window.outer_left
        return result[top : top + window.height, left : left + window.width]

    def _mirrored(self, window: tiles.Window) -> tuple[int, int]:
        """Mirrored rows above and columns before a tile."""
        above, before = (
            self.method.border if start == 0 else 0 for start in (window.outer_top, window.outer_left)
        )
        return above, before


def _reduced(photo: Photo) -> Photo:
    """A copy, its shorter side TRIAL_SIDE long; a smaller photo as it is.

    Of pixels picked evenly. Means of several would lack the photo's noise, and networks make what has none darker or
    lighter than the same with noise.
    """
    sides = photo.samples.shape[:2]
    cell = min(sides) / TRIAL_SIDE
    if cell <= 1:
        return photo
    counts = (round(side / cell) for side in sides)
    rows, columns = (
        (2 * np.arange(count) + 1) * side // (2 * count) for side, count in zip(sides, counts, strict=True)
    )
    return Photo(photo.samples[np.ix_(rows, columns)])


def _scale_deviation(deviation: NDArray[np.uint16], deep: NDArray[np.uint16], gain: float) -> None:
    """Multiply the deviation of each pixel by the gain's slope there, the mean of its channels' slopes."""
    steep = slope(np.arange(_DEEP + 1) / _DEEP, gain).astype(np.float32)
    for row, values in zip(deviation, deep, strict=True):
        row[:] = np.rint(np.minimum(row * steep[values].mean(axis=1), _DEEP))


def _to_map(deviation: NDArray[np.uint16], strength: float) -> Photo:
    """The map of a spread."""
    scaled = np.minimum(np.arange(_DEEP + 1) * (strength / SPREAD_WHITE), _DEEP)
    grey = np.rint(scaled).astype(np.uint16)[deviation]
    return Photo(np.repeat(grey[:, :, None], 3, axis=2), grey=True)


def _explain(found: Found, wanted: float | None) -> str:
    there = f"{found.mean:.2f} at {found.value:g}"
    if found.how == "beyond":
        return f"lightness {wanted:.2f} is beyond what {found.control} reaches here, {there}"
    return (
        f"{found.control} does not move the mean of this photo steadily: {there} is closest to {wanted:.2f}"
    )


def _mean(values: NDArray[np.int64]) -> float:
    """Mean in [0, 1] of (65536,) counts of 16-bit values."""
    return float(np.arange(_DEEP + 1) @ values / values.sum() / _DEEP)


def _in_16_bits(values: Array, *, cut: bool) -> Array:
    """Clipped and rounded; cut: truncated to 8 bits, of which 16 have 257 steps."""
    clipped = np.clip(values, 0.0, 1.0)
    deep: Array = np.floor(clipped * np.float32(255)) * 257 if cut else np.rint(clipped * np.float32(_DEEP))
    return deep


def _keep(core: Array, deep: NDArray[np.uint16], window: tiles.Window, *, cut: bool) -> NDArray[np.int64]:
    """Write a tile's core, clipped, into its place in 16 bits; gives how often it has each value."""
    place = deep[window.top : window.top + window.height, window.left : window.left + window.width]
    counts = np.zeros(_DEEP + 1, np.int64)
    rows = max(1, (1 << 16) // window.width)  # little at a time: bincount turns what it counts into 64 bits
    for top in range(0, window.height, rows):
        part = slice(top, top + rows)
        place[part] = _in_16_bits(core[part], cut=cut)
        counts += np.bincount(place[part].ravel(), minlength=_DEEP + 1)
    return counts


def _held(height: int, width: int, itemsize: int) -> int:
    """The photo, and its result that waits in 16 bits for its mean; a float result needs room of its own."""
    return height * width * 3 * (itemsize + 2 + (itemsize if itemsize > 2 else 0))


def free_memory() -> int:
    """Bytes that the system could give now, as far as it tells; 4 GB where it does not."""
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 << 30


def load(
    model: str | Path = "dimma",
    *,
    engine: EngineName = "auto",
    device: Device = "auto",
    threads: int | None = None,
    fast: bool = False,
    precision: Precision = "float32",
    memory: int | None = None,
    alone: bool = False,
) -> Enhancer:
    """An enhancer for a shipped model's name or a weights file.

    engine: auto is onnx for graphs and torch for .safetensors files. threads: of the engine, default all
    cores. fast: the model's int8 twin. precision: bf16 on engines openvino and torch, faster on some CPUs and
    slower on others. memory: see ``Enhancer``. alone: nothing else runs beside this enhancer, one call at a time:
    8 % faster on engine onnx, and half as fast in company.

    Raises UseError for a value that does not exist, EngineError for a device or engine that is not at hand,
    WeightsError for the file.
    """
    _check_choice("engine", engine, EngineName)
    _check_choice("device", device, Device)
    _check_choice("precision", precision, Precision)
    _check_count("threads", threads)
    _check_count("memory", memory)
    from lowlight.weights import open_weights

    weights = open_weights(places.fast(model) if fast else model, part="")
    method = methods.create(weights.header.method, weights.header.config, weights.arrays)
    made_by = weights.sha256 if precision == "float32" else f"{weights.sha256}-{precision}"
    runner = _engine(weights, engine, device, threads, precision, alone)
    return Enhancer(method, runner, fingerprint=made_by, memory=memory)


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise UseError(f"{name} = {value!r}: expected one of {', '.join(get_args(choices))}")


def _check_count(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UseError(f"{name} = {value!r}: expected a whole number of at least 1, or None")


def _engine(
    weights: Weights,
    name: EngineName,
    device: Device,
    threads: int | None,
    precision: Precision,
    alone: bool,
) -> Engine:
    if name == "auto":
        name = "onnx" if weights.kind == "onnx" else "torch"
    if name == "torch":
        if weights.kind != "safetensors":  # told without waiting for torch
            raise EngineError(
                f"engine torch runs .safetensors weights; {weights.path} is an ONNX graph: "
                "take engine onnx or openvino"
            )
        from lowlight.engines.torch import TorchEngine

        return TorchEngine.from_weights(weights, device=device, threads=threads, precision=precision)
    if name == "openvino":
        from lowlight.engines.openvino import OpenvinoEngine

        if device not in ("auto", "cpu"):
            raise EngineError(f"engine openvino runs on cpu, not on {device}; take engine onnx for it")
        return OpenvinoEngine(weights, threads=threads, precision=precision)
    from lowlight.engines.onnx import OnnxEngine

    if precision != "float32":
        raise EngineError(
            f"engine onnx computes in float32, not in {precision}: take engine openvino, or engine torch with "
            ".safetensors weights"
        )
    return OnnxEngine(weights, device=device, threads=threads, alone=alone)


@lru_cache(maxsize=4)
def _kept(model: str) -> Enhancer:
    return load(model)


@overload
def enhance(
    picture: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    model: str | Path = "dimma",
    **controls: Any,
) -> Path: ...
@overload
def enhance(picture: bytes, *, model: str | Path = "dimma", **controls: Any) -> bytes: ...
@overload
def enhance(picture: NDArray[Number], *, model: str | Path = "dimma", **controls: Any) -> NDArray[Number]: ...
@overload
def enhance(picture: Image, *, model: str | Path = "dimma", **controls: Any) -> Image: ...
def enhance(
    picture: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    model: str | Path = "dimma",
    **controls: Any,
) -> Any:
    """Make a dark picture light: ``load(model)(picture, **controls)``, the enhancer kept for the next call.

    picture: a path, PIL image, array (uint8, uint16, float in [0, 1]; RGB, sRGB-encoded) or bytes of a file;
    the same kind comes back, a path as the path of ``name.enhanced.suffix`` beside it.
    output: for a path, the result's name (its suffix chooses the format) or a folder for it.
    controls: ``lightness`` (mean of the result, 0 to 1, or ``"auto"``), ``strength`` (share of the result in
    the picture, 0 to 1), and what else the method has (``lowlight methods``).
    """
    return _kept(str(model))(picture, output=output, **controls)


def _used(controls: Controls, lightness: float | None) -> dict[str, Any]:
    return {**controls.model_dump(), "lightness": None if lightness is None else round(lightness, 4)}


def _is_own(path: Path) -> bool:
    """Whether a file is an earlier result."""
    try:
        return photo.read_fingerprint(path) is not None
    except PhotoError:  # no photo at all, or a link that leads nowhere
        return False


def _finish(deep: NDArray[np.uint16], dark: Photo, gain: float, strength: float) -> Samples:
    """Gain, blend with the dark photo, and back to its depth: by table and in strips, for memory's sake.

    The result takes the place of ``deep`` where its depth allows.
    """
    source = dark.samples
    table = apply_gain(np.arange(_DEEP + 1) / _DEEP, gain).astype(np.float32)
    # A strip is written no further than it was read: 8 bits fill the first half of what 16 bits took.
    result: Samples = np.empty_like(source)
    if source.itemsize <= deep.itemsize:
        result = deep.reshape(-1).view(source.dtype)[: source.size].reshape(source.shape)
    rows = max(1, (1 << 20) // max(1, source.shape[1]))
    for top in range(0, source.shape[0], rows):
        part = slice(top, top + rows)
        values = _blend(table[deep[part]], dark, part, strength)
        if source.dtype == np.float32:
            result[part] = values
        else:
            values *= np.float32(statistics.full_scale(source))
            result[part] = np.rint(values, out=values).astype(source.dtype)
    return result


def _blend(values: Array, dark: Photo, rows: slice, strength: float) -> Array:
    """Rows of a result, grey where the dark photo is, blended with it; may change ``values``."""
    if dark.grey:
        values[:] = values.mean(axis=2, keepdims=True)
    if strength == 1:
        return values
    before = to_float(dark.samples[rows])
    return before + np.float32(strength) * (values - before)


def from_array(array: NDArray[Any]) -> Photo:
    """A photo from what ``Enhancer`` takes as an array. Raises PhotoError."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise PhotoError(f"expected an array (height, width[, 1, 3 or 4]), got shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        if not np.issubdtype(array.dtype, np.floating):
            raise PhotoError(f"expected uint8, uint16 or float in [0, 1], got {array.dtype}")
        least, most = float(array.min()), float(array.max())
        if not (math.isfinite(least) and math.isfinite(most)):
            raise PhotoError("a float array must lie in [0, 1], and this one holds NaN or infinity")
        if least < 0 or most > 1:
            way = "clip it" if least >= -0.5 and most <= 1.5 else "divide by its format's largest value"
            raise PhotoError(
                f"a float array must lie in [0, 1], and this one has {least:.6g} to {most:.6g}: {way}"
            )
        array = array.astype(np.float32)
    array = array[..., None] if array.ndim == 2 else array
    colour = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Photo(np.ascontiguousarray(colour), alpha=alpha, grey=array.shape[2] == 1)


def _to_array(result: Photo, like: NDArray[Any]) -> NDArray[Any]:
    samples: NDArray[Any] = result.samples[..., :1] if result.grey else result.samples
    samples = samples.astype(like.dtype, copy=False)
    if result.alpha is not None:
        samples = np.concatenate([samples, like[..., 3:]], axis=2)
    return samples.reshape(like.shape)

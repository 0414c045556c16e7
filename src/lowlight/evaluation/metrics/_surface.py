"""What every metric is: a name, a number for a picture (beside another one), and the reasons to give none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lowlight.engines import Device
from lowlight.errors import LowlightError, UseError

Samples = NDArray[np.uint8]
"""(height, width, 3), RGB, as saved."""


class Undefined(LowlightError):  # noqa: N818 - an answer rather than a fault
    """A metric is not defined for this picture; the text says why."""


class Missing(LowlightError):  # noqa: N818
    """A metric can't be computed here: a file of weights or a package is missing; the text says which."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as metrics see it."""

    samples: Samples
    raw: NDArray[np.floating[Any]]
    """(height, width, 3), float32 or float64, 1 = white, before rounding and clipping."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 3 or self.samples.shape[2] != 3 or self.samples.dtype != np.uint8:
            raise UseError(
                f"a picture to measure: expected (height, width, 3) 8-bit samples, "
                f"got {self.samples.shape} {self.samples.dtype}"
            )
        if self.raw.shape != self.samples.shape or self.raw.dtype not in (np.float32, np.float64):
            raise UseError(
                f"a picture to measure: expected {self.samples.shape} raw floats, "
                f"got {self.raw.shape} {self.raw.dtype}"
            )

    @classmethod
    def of_samples(cls, samples: NDArray[np.uint8]) -> Picture:
        """A picture of a file, which has no more than its samples."""
        return cls(samples, samples / np.float32(255))

    @classmethod
    def of_raw(cls, raw: NDArray[np.floating[Any]]) -> Picture:
        """A computed picture: its samples are clipped and rounded, halves to even."""
        return cls(np.rint(255 * np.clip(raw, 0, 1)).astype(np.uint8), raw)


class Pool(Protocol):
    """A set's value that is not the mean of its pictures'."""

    def add(self, result: Picture, other: Picture) -> None: ...
    def value(self) -> float: ...


@dataclass(frozen=True)
class Metric:
    """One exact variant of a metric. ``metric(result, other)`` gives its number."""

    name: str
    title: str
    """The variant in words, with range or unit, in one line."""
    better: Literal["higher", "lower"]
    compares: Literal["reference", "input", ""]
    """What the other picture is; empty: the metric looks at the result alone."""
    measure: Callable[..., float]
    """``(result, other)``, or ``(result)`` where nothing is compared."""
    pool: Callable[[], Pool] | None = None
    """How the release pools a set; None: a set's value is the mean over its pictures."""
    batch: Callable[[Sequence[tuple[Samples, Samples]], Device], list[float]] | None = None
    """The numbers of many (result, other), all of one size, on a device at once; None: nothing would be won."""
    weights: Callable[[], Path] | None = None
    """The file of the network that it looks through; raises Missing. None: there is no network."""
    doubt: Callable[[Picture], str] = lambda result: ""
    """Why this picture's number deserves little trust; empty: no reason known."""

    def __call__(self, result: Picture, other: Picture | None = None) -> float:
        """The metric's number. Raises UseError for sizes that differ, Undefined, Missing."""
        if not self.compares:
            return self._number(self.measure(result))
        if other is None:
            raise UseError(
                f"{self.name} compares with the {self.compares}: expected a second picture, got none"
            )
        same_size(result.samples, other.samples)
        return self._number(self.measure(result, other))

    def _number(self, value: float) -> float:
        if math.isnan(value):
            raise Undefined(f"{self.name} gives no number here: do the floats hold any that is none?")
        return value


def same_size(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Raises UseError unless two (height, width, 3) pictures have one size."""
    if a.shape != b.shape:
        raise UseError(
            f"pictures of one size are compared: got {a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]}; "
            "crop or resize them yourself, and say so"
        )


def at_least(side: int, metric: str, picture: NDArray[Any]) -> None:
    """Raises Undefined unless both sides of a (height, width, 3) picture have so many pixels."""
    height, width = picture.shape[:2]
    if min(height, width) < side:
        raise Undefined(f"{metric} needs {side} pixels a side, got {width}x{height}")

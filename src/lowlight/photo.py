"""A photo as the program sees it: pixels in their own depth, and all that must survive beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from lowlight.methods import Array, Samples

Format = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]
Strip = Literal["gps", "all"]

MAX_PIXELS = 250_000_000


@dataclass(frozen=True)
class Metadata:
    """What stands beside the pixels in a file."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    resolution: tuple[float, float] | None = None
    """Pixels per millimetre, horizontal and vertical."""


@dataclass(frozen=True)
class Photo:
    """A photo, upright, in sRGB, in the depth of its file.

    Whole photos stay in their own depth, because float32 pixels of 100 megapixels are 1.2 GB; ``pixels``
    and ``window`` give the float32 view that networks work on.
    """

    samples: Samples
    """(height, width, 3) RGB, sRGB-encoded: uint8, uint16, or float32 in [0, 1] (float files; linear in the
    file). Grey photos have three equal channels."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | Array | None = None
    """(height, width), same dtype as ``samples``."""
    grey: bool = False
    """The file has one colour channel, and so will the result."""
    format: Format = "png"
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    """What reading dropped or changed, one sentence each, for the user."""

    @property
    def height(self) -> int:
        return int(self.samples.shape[0])

    @property
    def width(self) -> int:
        return int(self.samples.shape[1])

    @property
    def pixels(self) -> Array:
        """(height, width, 3) float32 in [0, 1], sRGB-encoded, of the whole photo."""
        return self.window(0, 0, self.height, self.width)

    def window(self, top: int, left: int, height: int, width: int) -> Array:
        """Float32 pixels of a window that lies inside the photo."""
        return to_float(self.samples[top : top + height, left : left + width])


def to_float(samples: Samples) -> Array:
    """Any depth to float32 in [0, 1]."""
    if samples.dtype == np.float32:
        return samples.astype(np.float32)
    scale = np.float32(np.iinfo(samples.dtype).max)
    return samples.astype(np.float32) / scale


def read_photo(source: Path | str | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo by its content, never by its name.

    Raises PhotoError, in one line, for whatever is no photo, is broken, or is larger than allowed.
    """
    raise NotImplementedError


def write_photo(
    photo: Photo,
    target: Path | str | BinaryIO,
    *,
    format: Format | None = None,
    quality: int = 95,
    strip: Strip | None = None,
) -> None:
    """Write a photo: temporary name in the target's folder, synced, renamed."""
    raise NotImplementedError

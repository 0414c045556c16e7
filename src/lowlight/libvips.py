"""libvips: imported on first use, pictures from arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS = {np.dtype(np.uint8): "uchar", np.dtype(np.uint16): "ushort", np.dtype(np.float32): "float"}
_GREY = {"uchar": "b-w", "ushort": "grey16", "float": "b-w"}
_RGB = {"uchar": "srgb", "ushort": "rgb16", "float": "scrgb"}


@lru_cache(maxsize=1)
def vips() -> Any:
    """The module pyvips. Operations that libvips calls untrusted are blocked for the whole process."""
    import pyvips

    pyvips.block_untrusted_set(True)
    return pyvips


class VipsError(Exception):
    """libvips refused; the text is its reason."""


class failing:  # noqa: N801 - read as a statement
    """libvips' errors that leave the block become VipsErrors. A class for the reason of ``errors.naming``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, vips().Error):
            raise VipsError(error.detail) from error
        if isinstance(error, UnicodeDecodeError):
            # pyvips stumbles over a reason that quotes bytes of the file, and leaves it to be met again.
            vips().vips_lib.vips_error_clear()
            raise VipsError from error


def image_of(samples: NDArray[Any]) -> Any:
    """An image over an array's own memory: (height, width) or (height, width, channels).

    What is computed from it uses two threads: encoders take one row after another, and each further thread
    would only hold more rows. (libvips' own default is a thread per core.)
    """
    samples = np.ascontiguousarray(samples)
    height, width = samples.shape[:2]
    bands = samples.shape[2] if samples.ndim == 3 else 1
    image = named(vips().Image.new_from_memory(samples.data, width, height, bands, BANDS[samples.dtype]))
    image.set_type(vips().GValue.gint_type, "concurrency", 2)
    return image


def rounded(image: Any, dtype: np.dtype[Any]) -> Any:
    """An image in another depth; to whole numbers by rounding."""
    if dtype != np.float32:
        image = image.rint()
    return named(image.cast(BANDS[dtype]))


def named(image: Any) -> Any:
    """An image that says that it is grey or RGB, as its number of channels and its depth tell."""
    return image.copy(interpretation=(_RGB if image.bands >= 3 else _GREY)[image.format])


def reason(error: Exception) -> str:
    """The first line of what libvips or Pillow says, in parentheses and fit for one line, or nothing.

    libvips keeps one text for all threads: it may be empty, or another photo's.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = "".join(c for c in lines[0] if c.isprintable())[:120] if lines else ""
    return f" ({said})" if said else ""

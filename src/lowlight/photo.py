"""A photo as the program sees it: pixels in their own depth, and all that must survive beside them.

Rules for what has no one answer:

- Depth is the file's: 8 bits or fewer are uint8; up to 16, and half a float, keep their own kind.
- Values without a profile are sRGB. Another RGB or grey profile is converted to sRGB, and back on writing;
  CMYK becomes RGB for good. A float TIFF is linear light with sRGB's primaries, whatever its profile says.
- Refused in one line: HDR curves (PQ, HLG), Lab, whole numbers above 16 bits, signed ones.
- Of several pictures the first is taken; gain maps and thumbnails go, because they show the old pixels.
- Orientation is EXIF's, or else XMP's; in AVIF the file's own boxes rule, as the format says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lowlight import colour, containers, netpbm
from lowlight.containers import Format as Format
from lowlight.errors import PhotoError, shown
from lowlight.libvips import VipsError, reason
from lowlight.metadata import Metadata as Metadata
from lowlight.methods import Array, Samples
from lowlight.reading import DAMAGED as DAMAGED
from lowlight.reading import DamagedError, Picture, find_fingerprint, open_picture, opened
from lowlight.statistics import strips
from lowlight.writing import Order, write_file, write_stream
from lowlight.writing import Strip as Strip

MAX_PIXELS = 250_000_000

_STRIP = 8
"""Rows that are decoded at once; few, so that libvips' small buffers are used again."""


@dataclass(frozen=True)
class Kept:
    """A file's own values beside what they became: written again for a photo whose samples nobody replaced."""

    values: Samples
    """As ``Photo.samples``, but in the file's profile, or linear."""
    samples: Samples
    profile: bytes | None


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
    """Its profile is the file's: ``samples`` were converted from it, and are converted back on writing."""
    notes: tuple[str, ...] = ()
    """What reading dropped or changed, one sentence each, for the user."""
    kept: Kept | None = None
    """Where ``read_photo`` was asked for it and had to convert the samples."""

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
    scale = np.float32(255 if samples.dtype == np.uint8 else 65535)
    return np.divide(samples, scale, dtype=np.float32)


def read_photo(
    source: Path | str | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS, exact: bool = False
) -> Photo:
    """Read a photo by its content, never by its name.

    exact: keep the file's own values beside converted ones, so that the photo is written back bit for bit as
    long as its samples are not replaced; takes twice the memory.

    Raises PhotoError, in one line that begins with the file's name, for whatever is no photo, is broken,
    or has more than ``max_pixels`` pixels (told from its header, before anything is decoded).
    """
    with opened(source, max_pixels) as file:
        try:
            return _decode(open_picture(file, max_pixels, exact=exact), exact=exact)
        except DamagedError:
            pass  # read again below, where no traceback holds the pixels of the first attempt
        picture = open_picture(file, max_pixels, exact=exact, lenient=True)
        picture.notes.append(DAMAGED)
        return _decode(picture, exact=exact)


def describe_photo(source: Path | str | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """What a photo is, from its header alone. Raises PhotoError as ``read_photo`` does, damage apart."""
    with opened(source, max_pixels) as file:
        picture = open_picture(file, max_pixels, lenient=True)
        if picture.format in ("bmp", "ppm"):
            picture.fingerprint = containers.find_mark(picture.format, file)
    metadata = picture.metadata
    width, height = picture.width, picture.height
    turned = picture.orientation >= 5
    return {
        "format": containers.NAMES[picture.format],
        "width": height if turned else width,
        "height": width if turned else height,
        "depth": "float" if picture.dtype == np.float32 else f"{picture.bits} bit",
        "colour": picture.colour,
        "alpha": picture.alpha,
        "profile": None if metadata.icc is None else colour.profile_name(metadata.icc),
        "orientation": picture.orientation,
        "exif": metadata.exif is not None,
        "xmp": metadata.xmp is not None,
        "resolution": metadata.resolution,
        "fingerprint": picture.fingerprint,
        "notes": picture.notes,
    }


def read_fingerprint(source: Path | str) -> str | None:
    """The fingerprint that ``write_photo`` put into a file; None where there is none or the file was cut since.

    Reads metadata and the file's end only. Raises PhotoError where the file is no photo.
    """
    with opened(source, MAX_PIXELS) as file:
        kind = containers.sniff(file.read(512))
        if kind == "avif":
            return open_picture(file, MAX_PIXELS).fingerprint
        if not (netpbm.is_whole(file) if kind == "ppm" else containers.has_end(kind, file)):
            return None
        if kind in ("bmp", "ppm"):
            return containers.find_mark(kind, file)
        return find_fingerprint(containers.scan(kind, file).xmp)


def _decode(picture: Picture, *, exact: bool) -> Photo:
    turned = picture.orientation >= 5
    height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
    samples = np.empty((height, width, 3), picture.dtype)
    alpha = np.empty((height, width), picture.dtype) if picture.alpha else None
    stored = _stored(samples, picture.orientation)
    stored_alpha = None if alpha is None else _stored(alpha, picture.orientation)
    for top in range(0, picture.height, _STRIP):
        count = min(_STRIP, picture.height - top)
        rows = picture.rows(top, count)
        stored[top : top + count] = rows[..., :3] if rows.shape[-1] >= 3 else rows[..., :1]
        if stored_alpha is not None:
            stored_alpha[top : top + count] = rows[..., -1]
    values = None
    if picture.dtype == np.float32 or picture.profile is not None:
        values = samples.copy() if exact else None
        samples = _converted(picture, samples, alpha)
    kept = None
    if values is not None:
        kept = Kept(cast(Samples, values), cast(Samples, samples), picture.metadata.icc)
    return Photo(
        samples=cast(Samples, samples),
        alpha=alpha,
        grey=picture.colour == "grey",
        format=picture.format,
        metadata=picture.metadata,
        notes=tuple(dict.fromkeys(picture.notes)),
        kept=kept,
    )


def _stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of an upright array in the order in which a file of that orientation stores it."""
    if orientation in (5, 7):
        upright = upright.swapaxes(0, 1)
        return upright if orientation == 5 else upright[::-1, ::-1]
    if orientation in (6, 8):
        return np.rot90(upright, 1 if orientation == 6 else -1)
    if orientation in (2, 3):
        upright = upright[:, ::-1]
    return upright[::-1] if orientation in (3, 4) else upright


def _converted(picture: Picture, samples: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """A file's own values to sRGB; linear ones in place, with their opacity cut to 0 to 1."""
    if picture.profile is not None:
        try:
            return colour.array_to_srgb(samples, picture.profile, grey=picture.colour == "grey")
        except VipsError as error:
            raise PhotoError(f"the colour profile can't be converted{reason(error)}") from error
    arrays = [samples] if alpha is None else [samples, alpha]
    clipped = [_clip(array) for array in arrays]
    if any(clipped):
        picture.notes.append("Values outside 0 to 1 were clipped.")
    for strip in strips(cast(Samples, samples)):
        strip[:] = colour.to_srgb_curve(cast(Array, strip))
    return samples


def _clip(values: NDArray[Any]) -> bool:
    """Clip to 0 to 1 in place, not-a-number to 0; whether there was anything to clip."""
    clipped = False
    for strip in strips(cast(Samples, values)):
        if not ((strip >= 0) & (strip <= 1)).all():
            clipped = True
            strip[:] = np.clip(np.nan_to_num(strip, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    return clipped


def write_photo(
    photo: Photo,
    target: Path | str | BinaryIO,
    *,
    format: Format | None = None,  # noqa: A002 (the word that users know)
    quality: int = 95,
    strip: Strip | None = None,
    fingerprint: str | None = None,
) -> tuple[str, ...]:
    """Write a photo: temporary name in the target's folder, synced, renamed. Gives notes: what was dropped.

    format: default: what the target's suffix names; the photo's own for an open file.
    quality: 1 to 100 for JPEG (4:4:4), WebP and AVIF; 100 means lossless for the last two.
    strip: ``gps`` leaves out the place; ``all`` leaves out everything but the colour profile.
    fingerprint: a short text that ``read_fingerprint`` finds again (in the XMP; in PPM a comment, in BMP
    behind the pixels); an older one never survives.

    16-bit and float photos keep 16 bits in PNG and PPM, their own kind in TIFF, 12 bits in AVIF, and are
    rounded to 8 in JPEG, WebP and BMP. Raises PhotoError, in one line that begins with the target's name;
    whatever happens, what stood there before is whole and no other file remains.
    """
    if not isinstance(photo, Photo):
        raise PhotoError(f"expected a Photo, got {type(photo).__name__}")
    if format is not None and format not in containers.NAMES:
        raise PhotoError(f"format {format!r}: expected one of {', '.join(containers.NAMES)}")
    if not 1 <= quality <= 100:
        raise PhotoError(f"quality {quality}: expected 1 to 100")
    if fingerprint is not None and not re.fullmatch("[!-~]{1,256}", fingerprint):
        raise ValueError(f"fingerprint {fingerprint!r}: expected 1 to 256 characters of ASCII without blanks")
    if not isinstance(target, (Path, str)):
        return write_stream(photo, target, Order(format or photo.format, quality, strip, fingerprint))
    target = Path(target)
    named = containers.SUFFIXES.get(target.suffix.lower())
    if format is not None and named not in (None, format):
        raise PhotoError(f"{shown(target)}: the name says {named}, format says {format}")
    kind = format or named
    if kind is None:
        what = f"{shown(target.suffix)} files" if target.suffix else "a name without suffix"
        raise PhotoError(
            f"{shown(target)}: cannot write {what}; expected one of {', '.join(containers.SUFFIXES)}, or a format"
        )
    return write_file(photo, target, Order(kind, quality, strip, fingerprint))

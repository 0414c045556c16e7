"""Photos into files: pixels by an encoder, metadata spliced in, a temporary name, synced, renamed."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from lowlight import colour, containers, netpbm
from lowlight.containers import Format
from lowlight.errors import PhotoError, naming
from lowlight.files import replacing
from lowlight.libvips import VipsError, failing, image_of, reason, rounded, vips
from lowlight.metadata import Metadata, edit_exif, edit_xmp

if TYPE_CHECKING:
    from lowlight.photo import Photo

Strip = Literal["gps", "all"]


@dataclass(frozen=True)
class Order:
    """How a photo is to be written."""

    format: Format
    quality: int
    strip: Strip | None
    fingerprint: str | None


def write_file(photo: Photo, target: Path, order: Order) -> tuple[str, ...]:
    """Replace or make a file, whole or not at all; gives notes."""
    with naming(target, "written"):
        # A link is written through: what it names is replaced.
        target = Path(os.path.realpath(target))
        mode = _mode(target)
        with tempfile.TemporaryFile(dir=target.parent) as bare:
            changes, notes = _encode(photo, bare, order)
            with replacing(target, mode) as file:
                containers.copy_spliced(bare, file, changes)
        return notes


def _mode(target: Path) -> int | None:
    """The permissions of a file that will be replaced; None: there is no such file."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise PhotoError(
            f"can't be written: this is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}"
        )
    return stat.S_IMODE(mode)


def write_stream(photo: Photo, target: BinaryIO, order: Order) -> tuple[str, ...]:
    """Write to an open binary file; gives notes."""
    with naming(target, "written"), tempfile.TemporaryFile() as bare:
        changes, notes = _encode(photo, bare, order)
        containers.copy_spliced(bare, target, changes)
        target.flush()
        return notes


@cache
def _first_writer() -> int:
    """The process that wrote first; one that is forked from it later remembers it too."""
    return os.getpid()


def _refuse_after_fork() -> None:
    """A fork has none of libvips' threads, and would wait for them without end."""
    if _first_writer() != os.getpid():
        raise PhotoError(
            "can't be written: this process was forked from one that had written photos, and libvips does not "
            "work in it; start processes by 'spawn', or write in them alone"
        )


def _encode(photo: Photo, file: BinaryIO, order: Order) -> tuple[list[containers.Splice], tuple[str, ...]]:
    """Write the pixels to an empty file; what is to be changed in it then, and notes."""
    _refuse_after_fork()
    kind, notes = order.format, []
    containers.check_sides(kind, photo.width, photo.height)
    metadata, dropped = _outgoing(photo, order)
    notes += dropped
    alpha = photo.alpha is not None and kind not in ("jpeg", "bmp", "ppm")
    if photo.alpha is not None and not alpha:
        notes.append(f"{containers.NAMES[kind]} holds no transparency; it was left out.")
    if photo.samples.dtype != np.uint8 and kind in ("jpeg", "webp", "bmp"):
        notes.append(f"{containers.NAMES[kind]} holds 8 bits; the values were rounded.")
    try:
        with failing():
            image = outgoing_image(photo, metadata.icc, kind, alpha=alpha)
            if kind in ("bmp", "ppm"):
                _save_plain(image, file, kind, photo.metadata.resolution if order.strip != "all" else None)
                changes = [containers.mark(kind, file, order.fingerprint)] if order.fingerprint else []
                return changes, tuple(notes)
            pyvips = vips()
            if kind == "avif":
                for key, data in (
                    ("exif-data", metadata.exif and containers.EMPTY_EXIF),
                    ("xmp-data", metadata.xmp),
                    ("icc-profile-data", metadata.icc),
                ):
                    if data is not None:
                        image.set_type(pyvips.GValue.blob_type, key, data)
            target = pyvips.Target.new_to_descriptor(file.fileno())
            settings = _settings(kind, order.quality, photo, metadata)
            pyvips.Operation.call(_SAVERS[kind], image, target, **settings)
    except VipsError as error:
        # Where the disk is full, the system says so to us too.
        os.lseek(file.fileno(), 0, os.SEEK_END)
        os.write(file.fileno(), b"\0")
        raise PhotoError(f"can't be written{reason(error)}") from error
    changes, more = containers.splices(kind, file, metadata, alpha=alpha)
    return changes, (*notes, *more)


_SAVERS = {
    "jpeg": "jpegsave_target", "png": "pngsave_target", "tiff": "tiffsave_target", "webp": "webpsave_target",
    "avif": "heifsave_target",
}  # fmt: skip


def _settings(kind: Format, quality: int, photo: Photo, metadata: Metadata) -> dict[str, Any]:
    if kind == "jpeg":
        # Optimised tables would need the whole photo's coefficients in memory.
        return {"Q": quality, "subsample_mode": "off", "keep": "none"}
    if kind == "png":
        return {"compression": 1, "filter": "sub", "keep": "none"}
    if kind == "tiff":
        predictor = "none" if photo.samples.dtype == np.float32 else "horizontal"
        large = photo.samples.nbytes > 3 << 30
        return {"compression": "deflate", "predictor": predictor, "bigtiff": large, "keep": "none"}
    if kind == "webp":
        return {"Q": quality, "lossless": quality == 100, "exact": True, "effort": 2, "keep": "none"}
    # The default effort takes 16 times as long for as many bytes.
    keep = {"exif": metadata.exif, "xmp": metadata.xmp, "icc": metadata.icc}
    return {
        "Q": quality,
        "lossless": quality == 100,
        "compression": "av1",
        "effort": 2,
        "subsample_mode": "off",
        "bitdepth": 8 if photo.samples.dtype == np.uint8 else 12,
        "keep": "|".join(name for name, data in keep.items() if data is not None) or "none",
    }


def _outgoing(photo: Photo, order: Order) -> tuple[Metadata, list[str]]:
    """The metadata that the file is to hold."""
    size = (photo.width, photo.height)
    found, gps, notes = photo.metadata, order.strip != "gps", []
    if order.strip == "all":
        found = Metadata(icc=found.icc)
    exif, xmp, icc = found.exif, found.xmp, found.icc
    if order.format in ("bmp", "ppm"):
        if exif or xmp:
            notes.append(f"{containers.NAMES[order.format]} holds no metadata; EXIF and XMP were left out.")
        return Metadata(), notes
    try:
        exif = edit_exif(exif, size, gps=gps) if exif is not None else None
    except ValueError:
        notes.append("The EXIF can't be read and was dropped.")
        exif = None
    try:
        if xmp is not None or order.fingerprint is not None:
            xmp = edit_xmp(xmp, size, gps=gps, fingerprint=order.fingerprint)
    except ValueError:
        notes.append("The XMP can't be read and was dropped.")
        xmp = edit_xmp(None, size, fingerprint=order.fingerprint)
    linear = photo.samples.dtype == np.float32 and order.format == "tiff"
    if icc is not None and (linear or colour.profile_space(icc) != ("GRAY" if photo.grey else "RGB")):
        icc = None
    return replace(found, exif=exif, xmp=xmp, icc=icc), notes


def outgoing_image(photo: Photo, icc: bytes | None, kind: Format, *, alpha: bool) -> Any:
    """The pixels as the file is to hold them, as a libvips image: nothing is computed yet."""
    kept = photo.kept
    linear = photo.samples.dtype == np.float32
    # The file's own values, if they are still true and the new file says the same of them.
    exact = (
        kept is not None
        and kept.samples is photo.samples
        and kept.profile == icc
        and (kind == "tiff" or not linear)
    )
    samples = kept.values if kept is not None and exact else photo.samples
    image = image_of(samples)
    wide = kind in ("png", "tiff", "ppm", "avif")
    if photo.grey:
        # Equal channels stay exactly what they are.
        grey = image.recomb([[0.2126, 0.7152, 0.0722]])
        image = rounded(grey, samples.dtype)
    opacity = None if photo.alpha is None or not alpha else image_of(photo.alpha)
    if linear and kind == "tiff":
        image = image if exact else colour.linear_light(image)
        return image if opacity is None else image.bandjoin(opacity)
    if linear:
        image = rounded(image * 65535, np.dtype(np.uint16))
        opacity = None if opacity is None else rounded(opacity * 65535, np.dtype(np.uint16))
    if icc is not None and not exact and not colour.is_srgb(icc):
        image = colour.from_srgb(image, icc)
    if opacity is not None:
        image = image.bandjoin(opacity)
    if image.format == "ushort" and not wide:
        image = rounded(image / 257, np.dtype(np.uint8))
    elif image.format == "ushort" and kind == "avif":
        # libvips shifts 16 bits to 12.
        image = rounded((image * (4095 / 65535)).rint() * 16, np.dtype(np.uint16))
    return image


def _save_plain(image: Any, file: BinaryIO, kind: Format, resolution: tuple[float, float] | None) -> None:
    dtype = np.uint16 if image.format == "ushort" else np.uint8
    shape = (image.height, image.width, 3) if image.bands == 3 else (image.height, image.width)
    samples = np.frombuffer(image.write_to_memory(), dtype).reshape(shape)
    if kind == "ppm":
        netpbm.write(file, samples)
        return
    from PIL import Image

    dpi = (resolution[0] * 25.4, resolution[1] * 25.4) if resolution else (96, 96)
    Image.fromarray(samples).save(file, "BMP", dpi=dpi)

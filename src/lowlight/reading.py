"""Files opened: what a photo's header says, and its rows for those who ask.

libvips reads JPEG, PNG, TIFF, WebP and AVIF in strips; Pillow reads BMP and the few TIFFs that libvips
lacks; PPM is read here. A loader is chosen by the file's first bytes, from this list alone, and called by
its name: nothing else in either library ever sees a user's file.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lowlight import colour, containers, netpbm
from lowlight.containers import Format
from lowlight.errors import PhotoError, naming
from lowlight.libvips import VipsError, failing, image_of, reason, rounded, vips
from lowlight.metadata import (
    Metadata,
    edit_exif,
    edit_xmp,
    exif_orientation,
    exif_resolution,
    has_gain_map,
    read_xmp_fingerprint,
    xmp_orientation,
)

DAMAGED = "The file is damaged: part of the picture may be wrong."

_LOADERS = {"jpeg": "jpegload", "png": "pngload", "tiff": "tiffload", "webp": "webpload", "avif": "heifload"}
_SPEAKERS = {"jpeg": "jpeg", "png": "png", "tiff": "tiff", "webp": "webp", "avif": "heif"}
_DEPTHS = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}

# Pillow warns through Python's filters, which belong to the whole process.
_PILLOW = threading.Lock()


class DamagedError(PhotoError):
    """A JPEG decoder complained, which may mean a lost half or nothing; ``lenient`` reads what there is."""


class opened(naming):  # noqa: N801 - read as a statement
    """A seekable file at its start; errors that leave the block are PhotoErrors that begin with its name."""

    def __init__(self, source: Path | str | bytes | BinaryIO, max_pixels: int) -> None:
        super().__init__(source, "read")
        self._source, self._max_pixels = source, max_pixels

    def __enter__(self) -> BinaryIO:
        with naming(self._source, "read"):
            if isinstance(self._source, (Path, str)):
                self._file = _open_regular(self._source)
            elif isinstance(self._source, bytes):
                self._file = io.BytesIO(self._source)
            else:
                self._file = io.BytesIO(_drained(self._source, self._max_pixels))
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._file.close()
        super().__exit__(kind, error, traceback)


def _open_regular(path: Path | str) -> BinaryIO:
    # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:
        raise PhotoError("no file can have this name") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise PhotoError("this is a folder" if stat.S_ISDIR(mode) else "this is no regular file")
    return os.fdopen(descriptor, "rb")


def _drained(stream: BinaryIO, max_pixels: int) -> bytes:
    """All bytes of a stream, unless it can't be a photo: a pipe may never end."""
    head = stream.read(512)
    containers.sniff(head)
    pieces, size = [head], len(head)
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > _most_bytes(max_pixels):
            raise PhotoError(f"more bytes than a photo of {max_pixels} pixels can have")
    return b"".join(pieces)


@dataclass
class Picture:
    """An opened file: what its header says, and its rows as they are stored, for those who ask."""

    format: Format
    width: int
    height: int
    dtype: np.dtype[Any]
    bits: int
    colour: str
    """As the file has it: ``RGB``, ``grey``, ``CMYK`` or ``palette``."""
    alpha: bool
    rows: Callable[[int, int], NDArray[Any]]
    """Rows from top, a number: (rows, width, channels), sRGB, grey or linear; the last channel may be alpha.
    Asked from top to bottom."""
    profile: bytes | None = None
    """The rows are in its space and wait to be converted."""
    orientation: int = 1
    metadata: Metadata = field(default_factory=Metadata)
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)
    held: object = None
    """What libvips reads from while rows are asked for; Python must not free it before."""


def open_picture(file: BinaryIO, max_pixels: int, *, exact: bool = False, lenient: bool = False) -> Picture:
    """exact: leave rows in a profile's space where it can be converted later (not CMYK).

    A JPEG that its decoder complains about raises DamagedError, here or when rows are asked for, and with
    ``lenient`` gives what can be read.
    """
    file.seek(0)
    kind = containers.sniff(file.read(512))
    file.seek(0)
    if kind == "ppm":
        return _open_ppm(file, max_pixels)
    if kind == "bmp":
        return _open_bmp(file, max_pixels)
    blocks = containers.scan(kind, file)
    strict = kind == "jpeg" and not lenient
    image, held = _open_vips(kind, file, max_pixels, blocks, strict=strict)
    if kind == "avif":
        for name, key in (("exif", "exif-data"), ("xmp", "xmp-data"), ("icc", "icc-profile-data")):
            if image.get_typeof(key):
                setattr(blocks, name, bytes(image.get(key)).removeprefix(b"Exif\0\0"))
    if image.get_typeof("n-pages") and image.get("n-pages") > 1 and not blocks.notes:
        blocks.notes.append(containers.FIRST_ONLY)
    try:
        with failing():
            return replace(_interpret(kind, image, blocks, exact, strict=strict), held=held)
    except VipsError as error:
        raise _broken(kind, error) from error


def _open_vips(
    kind: Format, file: BinaryIO, max_pixels: int, blocks: containers.Blocks, *, strict: bool
) -> tuple[Any, object]:
    """A libvips image whose header has been read, within the limit of pixels, and what it reads from."""
    pyvips = vips()
    held = b""
    try:
        if kind == "tiff" and containers.tiff_storage(file).planar_tiles:
            # Else it is found out with the first pixel.
            raise VipsError("tiled separate planes are not supported")
        with failing():
            if isinstance(file, io.BytesIO):
                held = file.getvalue()
                source = pyvips.Source.new_from_memory(held)
            elif kind in ("jpeg", "webp", "avif"):
                # libvips would map files of these kinds; a map of a file that someone cuts kills the process.
                held = _whole(file, max_pixels)
                source = pyvips.Source.new_from_memory(held)
            else:
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                source = pyvips.Source.new_from_descriptor(file.fileno())
            image = pyvips.Operation.call(
                f"{_LOADERS[kind]}_source",
                source,
                access="sequential",
                fail_on="warning" if strict else "error",
            )
    except VipsError as error:
        if kind == "tiff":
            # Pillow turns TIFFs by itself.
            blocks.orientation = 1
            return _open_odd_tiff(file, max_pixels, error), None
        raise _broken(kind, error, strict=strict) from error
    _check_size(image.width, image.height, max_pixels)
    return image, (source, held)


def _whole(file: BinaryIO, max_pixels: int) -> bytes:
    file.seek(0)
    data = file.read(_most_bytes(max_pixels) + 1)
    if len(data) > _most_bytes(max_pixels):
        raise PhotoError(f"more bytes than a photo of {max_pixels} pixels can have")
    return data


def _most_bytes(max_pixels: int) -> int:
    """Four float channels, and room for metadata."""
    return 16 * max_pixels + (1 << 26)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise PhotoError(f"a photo of {width} x {height} pixels has nothing to show")
    if width * height > max_pixels:
        raise PhotoError(
            f"{width} x {height} = {width * height:,} pixels, more than the {max_pixels:,} allowed; raise"
            " the limit (--max-pixels) if you trust the file"
        )


def _broken(kind: Format, error: Exception, *, strict: bool = False) -> PhotoError:
    what = "broken, cut or unusual" if kind == "tiff" else "broken or cut"
    said = reason(error)
    # libvips keeps one text for all photos, and each begins with the part of libvips that says it.
    speaker = said.partition(":")[0].lower()
    if any(word in speaker for other, word in _SPEAKERS.items() if other != kind):
        said = ""
    return (DamagedError if strict else PhotoError)(f"{what} {containers.NAMES[kind]}{said}")


def _interpret(kind: Format, image: Any, blocks: containers.Blocks, exact: bool, *, strict: bool) -> Picture:
    """Rules of colour, depth and orientation; all lazily, no pixel is decoded here."""
    notes = blocks.notes
    bits = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 0
    if image.format == "double":
        image = image.cast("float")
    if image.format not in _DEPTHS:
        raise PhotoError(f"samples of kind {image.format} are not read; convert to 8 or 16 bit first")
    if image.interpretation in ("lab", "labs", "labq", "lch", "xyz"):
        raise PhotoError(f"colours in {image.interpretation} are not read; convert to RGB first")
    dtype = np.dtype(_DEPTHS[image.format])
    cmyk = image.interpretation == "cmyk"
    colours = 4 if cmyk else 3 if image.bands >= 3 else 1
    alpha = image.bands == colours + 1
    if image.bands not in (colours, colours + 1) or (cmyk and dtype == np.float32):
        raise PhotoError(f"{image.bands} channels are not read; convert to RGB, grey or CMYK first")

    icc, convert = blocks.icc, False
    if dtype == np.float32:
        if icc is not None:
            notes.append("A float file is taken as linear sRGB; its colour profile was dropped.")
        icc = None
    elif icc is not None:
        space = colour.profile_space(icc)
        if space != {1: "GRAY", 3: "RGB", 4: "CMYK"}[colours]:
            if space is None or colours != 1:
                notes.append("The colour profile can't be trusted and was ignored.")
            icc = None
        elif not colour.is_srgb(icc):
            convert = colour.converts(icc)
            if not convert:
                notes.append("The colour profile can't be converted and was ignored.")
                icc = None
    if cmyk:
        image = colour.to_srgb(image, icc if convert else None)
        icc = None
        notes.append("CMYK was converted to sRGB; the result is RGB.")
    elif convert and not exact:
        image = colour.to_srgb(image, icc)
        if colours == 1:
            image = image[0].bandjoin(image[3]) if alpha else image[0]
    if kind == "avif" and 8 < bits < 16:
        # libvips shifts, so that the brightest value of 10 bits would be 65472.
        full = ((1 << bits) - 1) << (16 - bits)
        image = rounded(image * (65535 / full), dtype)

    region = vips().Region.new(image)

    def rows(top: int, count: int) -> NDArray[Any]:
        try:
            with failing():
                data = region.fetch(0, top, image.width, count)
        except VipsError as error:
            raise _broken(kind, error, strict=strict) from error
        return np.frombuffer(data, dtype).reshape(count, image.width, image.bands)

    palette = image.get_typeof("palette") and image.get("palette")
    orientation, metadata = _upright(kind, blocks, icc, image.width, image.height)
    return Picture(
        format=kind,
        width=image.width,
        height=image.height,
        dtype=dtype,
        bits=bits or dtype.itemsize * 8,
        colour="CMYK" if cmyk else "palette" if palette else "RGB" if colours == 3 else "grey",
        alpha=alpha,
        rows=rows,
        profile=icc if exact and convert else None,
        orientation=orientation,
        metadata=metadata,
        fingerprint=find_fingerprint(blocks.xmp),
        notes=notes,
    )


def _upright(
    kind: Format, blocks: containers.Blocks, icc: bytes | None, width: int, height: int
) -> tuple[int, Metadata]:
    """The orientation that the pixels wait for, and the metadata as they are true after it."""
    exif, xmp, resolution = blocks.exif, blocks.xmp, blocks.resolution
    orientations = [blocks.orientation]
    if exif is not None:
        try:
            orientations.append(exif_orientation(exif))
            resolution = resolution or exif_resolution(exif)
        except ValueError:
            blocks.notes.append("The EXIF can't be read and was dropped.")
            exif = None
    if xmp is not None:
        try:
            orientations.append(xmp_orientation(xmp))
        except ValueError:
            blocks.notes.append("The XMP can't be read and was dropped.")
            xmp = None
    orientation = 1 if kind == "avif" else next((found for found in orientations if found), 1)
    size = (height, width) if orientation >= 5 else (width, height)
    if exif is not None:
        exif = edit_exif(exif, size, turned=orientation >= 5)
    if xmp is not None:
        if has_gain_map(xmp):
            blocks.notes.append(containers.GAIN_MAP)
        xmp = edit_xmp(xmp, size)
    if orientation >= 5 and resolution is not None:
        resolution = resolution[::-1]
    return orientation, Metadata(exif, xmp, icc, resolution)


def find_fingerprint(xmp: bytes | None) -> str | None:
    """The fingerprint in a packet of XMP, if it can be read at all."""
    try:
        return read_xmp_fingerprint(xmp) if xmp is not None else None
    except ValueError:
        return None


def _open_odd_tiff(file: BinaryIO, max_pixels: int, refusal: Exception) -> Any:
    """A TIFF that libvips can't open, by Pillow: only bare values, and only where Pillow keeps their depth.

    Compressed ones would go to a second libtiff, which writes its complaints to stderr.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    storage = containers.tiff_storage(file)
    if not storage.bare or storage.channels > 4:
        raise _broken("tiff", refusal)
    file.seek(0)
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with TiffImageFile(file) as image:
                _check_size(image.width, image.height, max_pixels)
                depths = image.tag_v2.get(258, (1,))
                if image.mode == "I;16" and set(depths) == {12}:
                    samples = ((np.asarray(image).astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
                elif set(depths) == {8} and image.mode in ("L", "LA", "RGB", "RGBA"):
                    samples = np.asarray(image)
                else:
                    raise _broken("tiff", refusal)
        except (PhotoError, MemoryError):
            raise
        except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them stumble over
            raise _broken("tiff", refusal) from error
    return image_of(samples)


def _open_bmp(file: BinaryIO, max_pixels: int) -> Picture:
    from PIL.BmpImagePlugin import BmpImageFile

    try:
        image: Any = BmpImageFile(file)
        _check_size(image.width, image.height, max_pixels)
    except PhotoError:
        raise
    except Exception as error:
        raise _broken("bmp", error) from error
    palette = image.mode == "P"
    grey = image.mode in ("1", "L")
    dpi = image.info.get("dpi")
    loaded: Any = None

    def rows(top: int, count: int) -> NDArray[Any]:
        nonlocal loaded
        if loaded is None:
            try:
                image.load()
            except MemoryError:
                raise
            except Exception as error:
                raise _broken("bmp", error) from error
            mode = "L" if grey else "RGBA" if image.mode == "RGBA" else "RGB"
            loaded = image if image.mode == mode else image.convert(mode)
        part = np.asarray(loaded.crop((0, top, image.width, top + count)))
        return part.reshape(count, image.width, -1)

    return Picture(
        format="bmp",
        width=image.width,
        height=image.height,
        dtype=np.dtype(np.uint8),
        bits=8,
        colour="palette" if palette else "grey" if grey else "RGB",
        alpha=image.mode == "RGBA",
        rows=rows,
        metadata=Metadata(resolution=(dpi[0] / 25.4, dpi[1] / 25.4) if dpi and all(dpi) else None),
    )


def _open_ppm(file: BinaryIO, max_pixels: int) -> Picture:
    header = netpbm.read_header(file)
    _check_size(header.width, header.height, max_pixels)
    return Picture(
        format="ppm",
        width=header.width,
        height=header.height,
        dtype=header.dtype,
        bits=header.maximum.bit_length(),
        colour="RGB" if header.channels == 3 else "grey",
        alpha=False,
        rows=netpbm.row_reader(file, header),
    )

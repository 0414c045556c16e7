"""Where EXIF, XMP, ICC profile and resolution stand in each file format, read and written without pixels.

Reading goes through a file's blocks and believes no length that the file does not hold. Writing gives
splices: an encoder writes bare pixels, and the blocks are put in while its file is copied to the target.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from lowlight import tiff
from lowlight.errors import PhotoError
from lowlight.files import write_all
from lowlight.metadata import Metadata, exif_for_tiff, exif_from_tiff, join_xmp, split_xmp

Format = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]

SUFFIXES: dict[str, Format] = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".tif": "tiff",
    ".tiff": "tiff", ".webp": "webp", ".avif": "avif", ".bmp": "bmp", ".dib": "bmp", ".ppm": "ppm",
    ".pgm": "ppm", ".pnm": "ppm",
}  # fmt: skip
"""Formats by the suffix of a name, lower case; a format's first suffix is the usual one."""

NAMES: dict[Format, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "webp": "WebP",
    "avif": "AVIF",
    "bmp": "BMP",
    "ppm": "PPM",
}

_MOST_SIDE: dict[Format, int] = {"jpeg": 65500, "webp": 16383, "avif": 16384}
"""Pixels, where a format or its encoder has a limit below those of photos."""
_MOST_BLOCK = 1 << 24
"""Bytes of a profile or packet; larger ones are no use to anybody and may be compressed bombs."""
_EXIF, _XMP, _MORE_XMP = (
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
)
_ICC = b"ICC_PROFILE\0"
_JPEG_SEGMENT = 65533
"""Bytes that a JPEG segment holds beside marker and length."""
_SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
"""White, red, green, blue of sRGB as a PNG states them: x and y in hundred thousandths."""
_HDR_CURVES = {16: "PQ", 18: "HLG"}

FIRST_ONLY = "Only the first picture of the file was used."
CAPTIONS = "IPTC captions are not kept; EXIF and XMP are."
GAIN_MAP = "The HDR gain map belongs to the old pixels and was dropped."


@dataclass
class Blocks:
    """What stands beside the pixels, as the file says it."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    resolution: tuple[float, float] | None = None
    orientation: int | None = None
    """Only where the format itself has one (TIFF); else it is in EXIF or XMP."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Splice:
    """Put ``insert`` in the place of ``remove`` bytes at ``offset``."""

    offset: int
    remove: int
    insert: bytes


_KNOWN: list[tuple[bytes, Format]] = [
    (rb"\xff\xd8\xff", "jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", "tiff"),
    (rb"RIFF....WEBP", "webp"),
    (rb"....ftyp(?:avi[fs]|(?:mif1|msf1|miaf)(?:....)*?avi[fs])", "avif"),
    (rb"BM", "bmp"),
    (rb"P[1-6][\s#]", "ppm"),
]
_FOREIGN: list[tuple[bytes, str]] = [
    (rb"GIF8", "a GIF"),
    (rb"....ftyp(?:hei|hev|mif1|msf1)", "a HEIC photo"),
    (rb"....ftypcrx|FUJIFILM|IIU\0|IIR[OS]|\0MRM", "a raw photo"),
    (rb"....ftyp", "a film"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF", "a PDF"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg", "an SVG drawing"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)", "a web page"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL photo"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 photo"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\x76\x2f\x31\x01", "an OpenEXR file"),
    (rb"#\?(?:RADIANCE|RGBE)", "a Radiance file"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "an archive"),
    (rb"version https://git-lfs", "a Git LFS pointer: fetch the file itself"),
]


def sniff(head: bytes) -> Format:
    """The format that a file's first bytes name. Raises PhotoError for all else."""
    for pattern, known in _KNOWN:
        if re.match(pattern, head, re.DOTALL):
            return known
    expected = "expected a JPEG, PNG, TIFF, WebP, AVIF, BMP or PPM photo"
    if not head:
        raise PhotoError(f"the file is empty; {expected}")
    for pattern, name in _FOREIGN:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            raise PhotoError(f"this is {name}; {expected}")
    raise PhotoError(f"not a photo: its first bytes are {head[:8].hex(' ')}; {expected}")


def check_sides(kind: Format, width: int, height: int) -> None:
    """Raise PhotoError where a format cannot hold a photo of this size."""
    most = _MOST_SIDE.get(kind, max(width, height))
    if max(width, height) > most:
        raise PhotoError(
            f"can't be written: {NAMES[kind]} holds at most {most} pixels a side, and the photo is "
            f"{width} x {height}; choose another format"
        )


def scan(kind: Format, file: BinaryIO) -> Blocks:
    """Read all blocks of a file. Raises PhotoError for what must not be read as a photo (HDR curves)."""
    blocks = Blocks()
    file.seek(0)
    if kind == "jpeg":
        _scan_jpeg(file, blocks)
    elif kind == "png":
        _scan_png(file, blocks)
    elif kind == "webp":
        _scan_webp(file, blocks)
    elif kind == "tiff":
        _scan_tiff(file, blocks)
    elif kind == "avif":
        _scan_avif(file, blocks)
    return blocks


def _scan_jpeg(file: BinaryIO, blocks: Blocks) -> None:
    profile: dict[int, bytes] = {}
    pieces = 0
    more: dict[int, bytes] = {}
    for marker, data in _jpeg_segments(file):
        if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 12:
            unit, across, down = struct.unpack(">BHH", data[7:12])
            millimetres = {1: 25.4, 2: 10.0}.get(unit)
            if millimetres and across and down:
                blocks.resolution = across / millimetres, down / millimetres
        elif marker == 0xE1 and data.startswith(_EXIF) and blocks.exif is None:
            blocks.exif = data[len(_EXIF) :]
        elif marker == 0xE1 and data.startswith(_XMP) and blocks.xmp is None:
            blocks.xmp = data[len(_XMP) :]
        elif marker == 0xE1 and data.startswith(_MORE_XMP) and len(data) >= len(_MORE_XMP) + 40:
            body = data[len(_MORE_XMP) :]
            name, offset = body[:32], struct.unpack(">I", body[36:40])[0]
            if blocks.xmp is not None and name in blocks.xmp:
                more[offset] = body[40:]
        elif marker == 0xE2 and data.startswith(_ICC) and len(data) > len(_ICC) + 2:
            number, pieces = data[len(_ICC)], data[len(_ICC) + 1]
            profile[number] = data[len(_ICC) + 2 :]
        elif marker == 0xE2 and data.startswith(b"MPF\0"):
            blocks.notes.append(FIRST_ONLY)
        elif marker == 0xE2 and data.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
            blocks.notes.append(GAIN_MAP)
        elif marker == 0xED and data.startswith(b"Photoshop 3.0\0") and b"8BIM\x04\x04" in data:
            blocks.notes.append(CAPTIONS)
    if profile and sorted(profile) == list(range(1, pieces + 1)):
        blocks.icc = b"".join(profile[number] for number in sorted(profile))
    elif profile:
        blocks.notes.append("The colour profile is incomplete and was ignored.")
    if more and blocks.xmp is not None:
        try:
            blocks.xmp = join_xmp(blocks.xmp, b"".join(more[offset] for offset in sorted(more)))
        except ValueError:
            blocks.notes.append("The second part of the XMP can't be read and was dropped.")


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Application segments before the picture."""
    file.seek(2)
    while True:
        head = file.read(2)
        while head[1:] == b"\xff":
            head = b"\xff" + file.read(1)
        if len(head) < 2 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return
        length = file.read(2)
        if len(length) < 2 or (size := int.from_bytes(length, "big")) < 2:
            return
        if 0xE0 <= head[1] <= 0xEF:
            yield head[1], file.read(size - 2)
        else:
            file.seek(size - 2, 1)


def _scan_png(file: BinaryIO, blocks: Blocks) -> None:
    gamma = None
    other_points = False
    known = False
    for name, length in _chunks(file, 8, ">I4s", tail=4):
        if name in (b"IDAT", b"fdAT"):
            continue
        if name == b"acTL":
            blocks.notes.append("Only the first picture of the animation was used.")
        if (
            name not in (b"iCCP", b"eXIf", b"iTXt", b"pHYs", b"cICP", b"gAMA", b"cHRM", b"sRGB")
            or length > _MOST_BLOCK
        ):
            continue
        data, check = file.read(length), file.read(4)
        if int.from_bytes(check, "big") != zlib.crc32(data, zlib.crc32(name)):
            blocks.notes.append(f"The block {name.decode()} is damaged and was ignored.")
        elif name == b"iCCP":
            _, _, packed = data.partition(b"\0")
            blocks.icc = _inflated(packed[1:])
            if blocks.icc is None:
                blocks.notes.append("The colour profile is damaged and was ignored.")
        elif name == b"eXIf":
            blocks.exif = data.removeprefix(_EXIF)
        elif name == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0"):
            # Flag and method of compression, two names that end in a zero, text.
            text = data[20:].split(b"\0", 2)[-1]
            blocks.xmp = _inflated(text) if data[18:19] == b"\1" else text
        elif name == b"pHYs" and length == 9:
            across, down, unit = struct.unpack(">IIB", data)
            if unit == 1 and across and down:
                blocks.resolution = across / 1000, down / 1000
        elif name == b"cICP" and length == 4:
            known = True
            _check_code_points(data[0], data[1], blocks)
        elif name == b"gAMA" and length == 4:
            gamma = int.from_bytes(data, "big") / 100000
        elif name == b"cHRM" and length == 32:
            points = zip(struct.unpack(">8I", data), _SRGB_POINTS, strict=True)
            other_points = any(abs(found - srgb) > 1000 for found, srgb in points)
        elif name == b"sRGB":
            known = True
    if known or blocks.icc is not None:
        return
    if gamma is not None and not 0.4 < gamma < 0.5:
        blocks.notes.append(f"The file asks for gamma {gamma:.5g}; its values were taken as sRGB.")
    if other_points:
        blocks.notes.append("The file names other colour primaries; its values were taken as sRGB.")


def _chunks(file: BinaryIO, start: int, head: str, tail: int) -> Iterator[tuple[bytes, int]]:
    """Chunks (name, length), the file standing at their data; ``tail``: bytes between data and next chunk."""
    end = file.seek(0, 2)
    size = struct.calcsize(head)
    while start + size <= end:
        file.seek(start)
        fields = struct.unpack(head, file.read(size))
        length, name = fields if isinstance(fields[0], int) else fields[::-1]
        if start + size + length > end:
            return
        yield name, length
        start += size + length + (tail if tail else length % 2)


def _inflated(packed: bytes) -> bytes | None:
    expander = zlib.decompressobj()
    try:
        data = expander.decompress(packed, _MOST_BLOCK)
    except zlib.error:
        return None
    return data if expander.eof else None


def _check_code_points(primaries: int, curve: int, blocks: Blocks) -> None:
    """Colours named by the numbers of ITU-T H.273."""
    if curve in _HDR_CURVES:
        raise PhotoError(
            f"this is an HDR photo ({_HDR_CURVES[curve]}), which is not read; convert it to sRGB first"
        )
    if primaries not in (1, 2):
        blocks.notes.append(f"The file names colour primaries {primaries}; its values were taken as sRGB.")


def _scan_webp(file: BinaryIO, blocks: Blocks) -> None:
    for name, length in _chunks(file, 12, "<4sI", tail=0):
        if name == b"ANIM":
            blocks.notes.append("Only the first picture of the animation was used.")
        if name not in (b"ICCP", b"EXIF", b"XMP ") or length > _MOST_BLOCK:
            continue
        data = file.read(length)
        if name == b"ICCP":
            blocks.icc = data
        elif name == b"EXIF":
            blocks.exif = data.removeprefix(_EXIF)
        else:
            blocks.xmp = data


def _scan_tiff(file: BinaryIO, blocks: Blocks) -> None:
    try:
        layout = tiff.read_layout(file)
        entries, following = tiff.read_entries(file, layout, layout.first)
    except ValueError as error:
        raise PhotoError(f"broken TIFF: {error}") from error
    if following:
        blocks.notes.append(FIRST_ONLY)
    if 33723 in entries:
        blocks.notes.append(CAPTIONS)
    found = tiff.read_integer(file, layout, entries.get(274))
    blocks.orientation = found if found in range(1, 9) else None
    for tag, name in ((700, "xmp"), (34675, "icc")):
        if tag in entries and entries[tag].size <= _MOST_BLOCK:
            file.seek(entries[tag].value_at)
            setattr(blocks, name, file.read(entries[tag].size))
    blocks.resolution = tiff.read_resolution(file, layout, entries)
    blocks.exif = exif_from_tiff(file, layout, entries)


@dataclass(frozen=True)
class TiffStorage:
    """How a TIFF file stores its values."""

    bare: bool
    """Without compression."""
    channels: int
    planar_tiles: bool
    """In tiles that hold one channel each."""


def tiff_storage(file: BinaryIO) -> TiffStorage:
    layout = tiff.read_layout(file)
    entries, _ = tiff.read_entries(file, layout, layout.first)
    compression, channels, planes = (
        tiff.read_integer(file, layout, entries.get(tag)) or 1 for tag in (259, 277, 284)
    )
    return TiffStorage(compression == 1, channels, 322 in entries and planes == 2 and channels > 1)


def _scan_avif(file: BinaryIO, blocks: Blocks) -> None:
    head = file.read(1 << 16)
    if re.match(rb"....ftyp.{0,64}?avis", head, re.DOTALL):
        blocks.notes.append("Only the first picture of the animation was used.")
    if b"infe" in head and b"tmap" in head:
        blocks.notes.append(GAIN_MAP)
    at = head.find(b"colrnclx")
    if at >= 0 and len(head) >= at + 12:
        primaries, curve = struct.unpack(">HH", head[at + 8 : at + 12])
        _check_code_points(primaries, curve, blocks)


def splices(
    kind: Format, file: BinaryIO, metadata: Metadata, *, alpha: bool
) -> tuple[list[Splice], list[str]]:
    """What to change in an encoder's file so that it holds the metadata, and what it can't hold."""
    if kind == "jpeg":
        return _splice_jpeg(file, metadata)
    if kind == "png":
        return _splice_png(file, metadata), []
    if kind == "webp":
        return _splice_webp(file, metadata, alpha), []
    if kind == "tiff":
        return _splice_tiff(file, metadata), []
    if kind == "avif":
        return _splice_avif(file, metadata), []
    return [], []


def mark(kind: Format, file: BinaryIO, fingerprint: str) -> Splice:
    """A fingerprint in BMP and PPM, which hold no XMP: a comment in PPM, behind the pixels in BMP."""
    line = f"# lowlight:fingerprint {fingerprint}\n".encode()
    return Splice(3 if kind == "ppm" else file.seek(0, 2), 0, line)


def find_mark(kind: Format, file: BinaryIO) -> str | None:
    """The fingerprint that ``mark`` put into a BMP or PPM file."""
    line = rb"# lowlight:fingerprint ([!-~]+)\n"
    file.seek(0 if kind == "ppm" else max(0, file.seek(0, 2) - 512))
    found = re.search(rb"\AP[56]\n" + line if kind == "ppm" else line + rb"\Z", file.read(512))
    return found and found[1].decode()


def has_end(kind: Format, file: BinaryIO) -> bool:
    """Whether a JPEG or PNG file ends as it must; reading the others' blocks tells that they were cut."""
    end = {"jpeg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}.get(kind, b"")
    file.seek(max(0, file.seek(0, 2) - len(end)))
    return file.read() == end


def copy_spliced(source: BinaryIO, target: BinaryIO, changes: list[Splice]) -> None:
    at = 0
    for change in sorted(changes, key=lambda change: change.offset):
        _copy(source, target, at, change.offset)
        write_all(target, change.insert)
        at = change.offset + change.remove
    _copy(source, target, at, source.seek(0, 2))


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        piece = source.read(min(1 << 20, end - start))
        write_all(target, piece)
        start += len(piece)


def _splice_jpeg(file: BinaryIO, metadata: Metadata) -> tuple[list[Splice], list[str]]:
    notes = []
    unit, across, down = 0, 1, 1
    if metadata.resolution:
        inches = [min(65535, max(1, round(side * 25.4))) for side in metadata.resolution]
        unit, (across, down) = 1, inches
    segments = [_segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", unit, across, down, 0, 0))]
    if metadata.exif is not None:
        if len(metadata.exif) + len(_EXIF) > _JPEG_SEGMENT:
            notes.append("The EXIF is larger than a JPEG file can hold and was left out.")
        else:
            segments.append(_segment(0xE1, _EXIF + metadata.exif))
    if metadata.xmp is not None:
        main, more, name = metadata.xmp, b"", ""
        if len(main) + len(_XMP) > _JPEG_SEGMENT:
            main, more, name = split_xmp(main)
        segments.append(_segment(0xE1, _XMP + main))
        for at in range(0, len(more), 65000):
            place = name.encode() + struct.pack(">II", len(more), at)
            segments.append(_segment(0xE1, _MORE_XMP + place + more[at : at + 65000]))
    if metadata.icc is not None:
        size = _JPEG_SEGMENT - len(_ICC) - 2
        pieces = [metadata.icc[at : at + size] for at in range(0, len(metadata.icc), size)]
        if len(pieces) > 255:
            notes.append("The colour profile is larger than a JPEG file can hold and was left out.")
        else:
            segments += [
                _segment(0xE2, _ICC + bytes([number, len(pieces)]) + piece)
                for number, piece in enumerate(pieces, 1)
            ]
    file.seek(2)
    marker, size = struct.unpack(">HH", file.read(4))
    return [Splice(2, 2 + size if marker == 0xFFE0 else 0, b"".join(segments))], notes


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _splice_png(file: BinaryIO, metadata: Metadata) -> list[Splice]:
    chunks = []
    if metadata.icc is not None:
        chunks.append(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc)))
    if metadata.resolution is not None:
        across, down = (min(0x7FFFFFFF, round(side * 1000)) for side in metadata.resolution)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif is not None:
        chunks.append(_chunk(b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    changes = [Splice(33, 0, b"".join(chunks))]
    for name, length in _chunks(file, 8, ">I4s", tail=4):
        if name == b"IDAT":
            break
        if name == b"pHYs":
            # The encoder always writes one, also where nothing is known.
            changes.append(Splice(file.tell() - 8, length + 12, b""))
    return changes


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _splice_webp(file: BinaryIO, metadata: Metadata, alpha: bool) -> list[Splice]:
    parts = [(b"ICCP", 0x20, metadata.icc), (b"EXIF", 0x08, metadata.exif), (b"XMP ", 0x04, metadata.xmp)]
    if not any(data for _, _, data in parts):
        return []
    end = file.seek(0, 2)
    file.seek(12)
    name, _, old = file.read(4), file.read(4), file.read(10)
    flags = old[0] if name == b"VP8X" else 0x10 * alpha
    for _, flag, data in parts:
        flags |= flag if data else 0
    packed = [
        tag + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) if data else b""
        for tag, _, data in parts
    ]
    canvas = old[4:10] if name == b"VP8X" else _webp_canvas(name, old)
    head = b"VP8X" + struct.pack("<IB3x", 10, flags) + canvas + packed[0]
    removed = 18 if name == b"VP8X" else 0
    size = end - 8 - removed + len(head) + len(packed[1]) + len(packed[2])
    return [
        Splice(4, 4, struct.pack("<I", size)),
        Splice(12, removed, head),
        Splice(end, 0, packed[1] + packed[2]),
    ]


def _webp_canvas(name: bytes, data: bytes) -> bytes:
    """Width and height, each less one in three bytes, from the head of a lossy or lossless picture."""
    if name == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", data[6:10]))
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _splice_tiff(file: BinaryIO, metadata: Metadata) -> list[Splice]:
    """The first directory anew, at the end of the file, with all tags in it."""
    layout = tiff.read_layout(file)
    entries, _ = tiff.read_entries(file, layout, layout.first)
    added: tiff.Directory = exif_for_tiff(metadata.exif) if metadata.exif is not None else {}
    if metadata.xmp is not None:
        added[700] = tiff.Value(1, metadata.xmp)
    if metadata.icc is not None:
        added[34675] = tiff.Value(7, metadata.icc)
    kept = {tag: entry.raw for tag, entry in entries.items() if tag not in (282, 283, 296)}
    if metadata.resolution is not None:
        added.update(tiff.resolution_values(metadata.resolution))
    end = file.seek(0, 2)
    start = end + end % 2
    at = 8 if layout.big else 4
    return [
        Splice(at, layout.inline, layout.pack(layout.pointer, start)),
        Splice(end, 0, b"\0" * (end % 2) + tiff.build(added, layout, start, kept)),
    ]


EMPTY_EXIF = b"II*\0\x08\0\0\0" + bytes(6)
"""A directory without tags: the AVIF encoder makes room for an item, and the true EXIF takes its place."""


def _splice_avif(file: BinaryIO, metadata: Metadata) -> list[Splice]:
    """EXIF at the end of the file, and its item's location changed to there (ISO 14496-12, 8.11.3)."""
    if metadata.exif is None:
        return []
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(1 << 16)
    at, length = _exif_extent(head)
    payload = struct.pack(">I", len(_EXIF)) + _EXIF + metadata.exif
    place = bytes(length - 10) + struct.pack(">HII", 1, end + 8, len(payload))
    return [
        Splice(at, length, place),
        Splice(end, 0, struct.pack(">I4s", 8 + len(payload), b"mdat") + payload),
    ]


def _exif_extent(head: bytes) -> tuple[int, int]:
    """Where base, number of extents, offset and length of the EXIF item stand, and how many bytes they are.

    For a file that libvips wrote: sizes of four bytes, small numbers of items, one extent for EXIF.
    """
    entry = head.index(b"infe") + 4
    while head[entry + 8 : entry + 12] != b"Exif":
        entry = head.index(b"infe", entry) + 4
    item = head[entry + 4 : entry + 6]
    at = head.index(b"iloc") + 4
    version, sizes = head[at], head[at + 4 : at + 6]
    if version > 1 or sizes[0] != 0x44 or sizes[1] not in (0x00, 0x40):
        raise PhotoError("can't be written: the AVIF encoder places its items in an unknown way")
    base = sizes[1] >> 4
    (count,) = struct.unpack(">H", head[at + 6 : at + 8])
    at += 8
    for _ in range(count):
        start = at + (6 if version == 1 else 4)
        (extents,) = struct.unpack(">H", head[start + base : start + base + 2])
        if head[at : at + 2] == item and extents == 1:
            return start, base + 10
        at = start + base + 2 + 8 * extents
    raise PhotoError("can't be written: the AVIF encoder left no room for EXIF")

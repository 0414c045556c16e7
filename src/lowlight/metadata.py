"""What stands beside the pixels: EXIF and XMP, kept as they are but for what is no longer true.

EXIF is changed in place, so that a camera maker's own block, whose offsets count from the start of the
EXIF, stays readable. Only bytes that a tag refers to survive: no thumbnail of the dark photo, no place.
"""

from __future__ import annotations

import hashlib
import io
import xml.dom.minidom as dom
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.parsers.expat import ExpatError

from lowlight import tiff

ORIENTATION = 0x112

# Tags that say where image data stands: in an EXIF block they can only point at a thumbnail.
_IMAGE_DATA = (273, 279, 324, 325, 330, 513, 514)
_SIZES = {"ifd0": (0x100, 0x101), "exif": (0xA002, 0xA003)}
_ACROSS_AND_DOWN = {282: 283, 283: 282, 0xA20E: 0xA20F, 0xA20F: 0xA20E}
"""Tags of resolution, and of the sensor's, that tell of one side, with the tag of the other."""
# Tags of a TIFF file's first directory that describe the photo rather than how it is stored.
_DESCRIBING = (
    269,
    270,
    271,
    272,
    285,
    305,
    306,
    315,
    316,
    18246,
    18249,
    33432,
    40091,
    40092,
    40093,
    40094,
    40095,
)

_MOST_XMP = 1 << 22
"""A parsed document takes many times its size; packets of cameras and editors stay far below."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_OURS = "urn:x-lowlight:1.0/"
# What is said of pictures that stood beside the first: gain maps, thumbnails, appended films.
_STALE = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": None,
    "http://ns.apple.com/HDRGainMap/1.0/": None,
    "http://ns.google.com/photos/1.0/container/": None,
    "http://ns.google.com/photos/1.0/camera/": ("MotionPhoto", "MicroVideo"),
    "http://ns.adobe.com/xap/1.0/": ("Thumbnails",),
    _NOTE: ("HasExtendedXMP",),
    # A result is told from what it was made of.
    _OURS: None,
}
_EMPTY = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + _RDF.encode() + b'"></rdf:RDF></x:xmpmeta>'
)


@dataclass(frozen=True)
class Metadata:
    """What stands beside the pixels in a file."""

    exif: bytes | None = None
    """As a TIFF structure, without the marker that some formats put before it."""
    xmp: bytes | None = None
    icc: bytes | None = None
    resolution: tuple[float, float] | None = None
    """Pixels per millimetre, horizontal and vertical."""


def exif_orientation(exif: bytes) -> int | None:
    """The orientation, 1 to 8, or None where the tag is absent or senseless. Raises ValueError: no EXIF."""
    file, layout, entries, _ = _open_exif(exif)
    found = tiff.read_integer(file, layout, entries.get(ORIENTATION))
    return found if found in range(1, 9) else None


def exif_resolution(exif: bytes) -> tuple[float, float] | None:
    """Pixels per millimetre, horizontal and vertical. Raises ValueError: no EXIF."""
    file, layout, entries, _ = _open_exif(exif)
    return tiff.read_resolution(file, layout, entries)


def _open_exif(exif: bytes) -> tuple[BinaryIO, tiff.Layout, dict[int, tiff.Entry], int]:
    file = io.BytesIO(exif)
    layout = tiff.read_layout(file)
    if layout.big:
        raise ValueError("EXIF as BigTIFF")
    entries, following = tiff.read_entries(file, layout, layout.first)
    return file, layout, entries, following


def edit_exif(exif: bytes, size: tuple[int, int], *, turned: bool = False, gps: bool = True) -> bytes:
    """EXIF of an upright photo of ``size`` (width, height), without thumbnail; ``gps=False``: without place.

    turned: its sides changed places, so that what is told of one goes for the other. Every value stays at its offset. Raises ValueError where ``exif`` can't be read.
    """
    # Pillow hands EXIF out with the marker.
    exif = exif.removeprefix(b"Exif\0\0")
    file, layout, entries, _ = _open_exif(exif)
    result = bytearray(len(exif))
    live = [(0, 8)]

    def copy(offset: int, found: dict[int, tiff.Entry], numbers: dict[int, int]) -> None:
        rows = []
        for tag, entry in found.items():
            row = entry.raw
            if turned and (other := found.get(_ACROSS_AND_DOWN.get(tag, tag))):
                row = row[:2] + other.raw[2:]
            if tag in numbers:
                # Written anew, whatever kind and count a damaged file claims: readers differ on those.
                kind, code = (4, "I") if entry.kind == 4 or numbers[tag] > 0xFFFF else (3, "H")
                number = layout.pack(code, numbers[tag]).ljust(4, b"\0")
                row = row[:2] + layout.pack("H", kind) + layout.pack("I", 1) + number
            elif entry.size > layout.inline:
                live.append((entry.value_at, entry.value_at + entry.size))
            rows.append(row)
        table = layout.pack("H", len(rows)) + b"".join(rows) + b"\0\0\0\0"
        directories.append((offset, table))

    def below(parent: dict[int, tiff.Entry], pointer: int, numbers: dict[int, int]) -> dict[int, tiff.Entry]:
        """Copy a sub-directory; drop the pointer where there is none."""
        at = tiff.read_integer(file, layout, parent.get(pointer))
        try:
            if at is None:
                raise ValueError("no pointer")
            found, _ = tiff.read_entries(file, layout, at)
        except ValueError:
            parent.pop(pointer, None)
            return {}
        if pointer == tiff.EXIF_POINTER:
            below(found, tiff.INTEROP_POINTER, {})
        copy(at, found, numbers)
        return found

    directories: list[tuple[int, bytes]] = []
    if not gps:
        entries.pop(tiff.GPS_POINTER, None)
    for tag in _IMAGE_DATA:
        entries.pop(tag, None)
    below(entries, tiff.EXIF_POINTER, dict(zip(_SIZES["exif"], size, strict=True)))
    below(entries, tiff.GPS_POINTER, {})
    copy(layout.first, entries, {ORIENTATION: 1, **dict(zip(_SIZES["ifd0"], size, strict=True))})

    for start, end in _union(live):
        result[start:end] = exif[start:end]
    for offset, table in directories:
        # The last four bytes, the pointer to a thumbnail's directory, may lie beyond a careless file's end.
        result[offset : offset + len(table)] = table
        live.append((offset, offset + len(table)))
    return bytes(result[: max(end for _, end in live)])


def _union(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bytes as ranges that do not overlap: thousands of tags may claim the same megabytes."""
    reached = 0
    for start, end in sorted(ranges):
        if end > reached:
            yield max(start, reached), end
            reached = end


def exif_from_tiff(file: BinaryIO, layout: tiff.Layout, entries: dict[int, tiff.Entry]) -> bytes | None:
    """The describing tags of a TIFF file as an EXIF block of its own."""
    directory = _describing(file, layout, entries)
    alone = tiff.Layout("<", False, 8)
    return b"II*\0\x08\0\0\0" + tiff.build(directory, alone, 8) if directory else None


def exif_for_tiff(exif: bytes) -> tiff.Directory:
    """The describing tags of an EXIF block, to stand in a TIFF file. Raises ValueError: no EXIF."""
    file, layout, entries, _ = _open_exif(exif)
    return _describing(file, layout, entries)


def _describing(file: BinaryIO, layout: tiff.Layout, entries: dict[int, tiff.Entry]) -> tiff.Directory:
    def values(found: dict[int, tiff.Entry], wanted: tuple[int, ...] | None) -> tiff.Directory:
        chosen: tiff.Directory = {}
        for tag, entry in found.items():
            if tag not in tiff.POINTERS and (wanted is None or tag in wanted):
                value = tiff.read_value(file, layout, entry)
                if value is not None:
                    chosen[tag] = value
        return chosen

    def below(parent: dict[int, tiff.Entry], pointer: int) -> tiff.Directory:
        at = tiff.read_integer(file, layout, parent.get(pointer))
        try:
            found, _ = tiff.read_entries(file, layout, at or 0)
        except ValueError:
            return {}
        chosen = values(found, None)
        if pointer == tiff.EXIF_POINTER and (interop := below(found, tiff.INTEROP_POINTER)):
            chosen[tiff.INTEROP_POINTER] = interop
        return chosen

    directory = values(entries, _DESCRIBING)
    for pointer in (tiff.EXIF_POINTER, tiff.GPS_POINTER):
        if found := below(entries, pointer):
            directory[pointer] = found
    return directory


def xmp_orientation(xmp: bytes) -> int | None:
    """The orientation, 1 to 8, that an XMP packet names. Raises ValueError where it can't be read."""
    for _, _, value in _properties(_parse(xmp), _TIFF, "Orientation"):
        if value.strip() in set("12345678"):
            return int(value)
    return None


def has_gain_map(xmp: bytes) -> bool:
    return b"http://ns.adobe.com/hdr-gain-map/1.0/" in xmp or b"http://ns.apple.com/HDRGainMap/1.0/" in xmp


def edit_xmp(
    xmp: bytes | None, size: tuple[int, int], *, gps: bool = True, fingerprint: str | None = None
) -> bytes | None:
    """An XMP packet true of an upright photo of ``size`` (width, height); None: nothing is left to say.

    ``gps=False`` takes the place out; ``fingerprint`` is put in, in a namespace of our own, and any older
    one goes. Raises ValueError where the packet can't be read.
    """
    document = _parse(xmp if xmp is not None else _EMPTY)
    width, height = size
    for namespace, name, number in (
        (_TIFF, "Orientation", 1),
        (_TIFF, "ImageWidth", width),
        (_TIFF, "ImageLength", height),
        (_EXIF, "PixelXDimension", width),
        (_EXIF, "PixelYDimension", height),
    ):
        for element, attribute, _ in list(_properties(document, namespace, name)):
            if attribute is not None:
                attribute.value = str(number)
            else:
                _empty(element)
                element.appendChild(document.createTextNode(str(number)))
    stale = dict(_STALE)
    if not gps:
        stale[_EXIF] = ("GPS",)
    for namespace, prefixes in stale.items():
        for element, attribute, _ in list(_properties(document, namespace, None)):
            name = attribute.localName if attribute is not None else element.localName
            if prefixes is not None and not str(name).startswith(prefixes):
                continue
            if attribute is not None:
                element.removeAttributeNode(attribute)
            elif element.parentNode is not None:
                element.parentNode.removeChild(element)
    rdf = _rdf(document)
    for node in list(rdf.childNodes):
        if node.nodeType == 1 and not node.childNodes and not _says_something(node):
            rdf.removeChild(node)
    if fingerprint is not None:
        description = document.createElementNS(_RDF, "rdf:Description")
        for name, value in (
            ("xmlns:rdf", _RDF),
            ("rdf:about", ""),
            ("xmlns:lowlight", _OURS),
            ("lowlight:fingerprint", fingerprint),
        ):
            description.setAttribute(name, value)
        rdf.appendChild(description)
    return _packet(document) if any(node.nodeType == 1 for node in rdf.childNodes) else None


def read_xmp_fingerprint(xmp: bytes) -> str | None:
    """The fingerprint that ``edit_xmp`` put in. Raises ValueError where the packet can't be read."""
    if _OURS.encode() in xmp:
        for _, _, value in _properties(_parse(xmp), _OURS, "fingerprint"):
            return value
    return None


def join_xmp(main: bytes, extended: bytes) -> bytes:
    """One packet from the two parts that a JPEG file holds of a packet above 64 KiB. Raises ValueError."""
    document, more = _parse(main), _parse(extended)
    target = _rdf(document)
    for node in list(_rdf(more).childNodes):
        target.appendChild(document.importNode(node, True))
    for element, attribute, _ in list(_properties(document, _NOTE, "HasExtendedXMP")):
        if attribute is not None:
            element.removeAttributeNode(attribute)
    return _packet(document)


def split_xmp(xmp: bytes) -> tuple[bytes, bytes, str]:
    """The opposite: a main part, an extended part, and the name (MD5) by which the first knows the second."""
    extended = b"".join(node.toxml().encode() for node in _parse(xmp).childNodes if node.nodeType == 1)
    name = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper()
    main = _EMPTY.replace(
        b"</rdf:RDF>",
        f'<rdf:Description rdf:about="" xmlns:xmpNote="{_NOTE}" xmpNote:HasExtendedXMP="{name}"/></rdf:RDF>'.encode(),
    )
    return main, extended, name


def _parse(xmp: bytes) -> dom.Document:
    if len(xmp) > _MOST_XMP:
        raise ValueError("XMP too large")
    plain = xmp.replace(b"\0", b"")
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise ValueError("XMP with declarations")
    try:
        document = dom.parseString(xmp.strip(b"\0 \t\r\n"))  # noqa: S318 (see above)
        _rdf(document)
        document.toxml()  # here, and not later, a document that is nested too deep fails
        return document
    except (ExpatError, RecursionError, LookupError) as error:
        raise ValueError(f"XMP is no XML: {error}") from error


def _rdf(document: dom.Document) -> dom.Element:
    found = document.getElementsByTagNameNS(_RDF, "RDF")
    if not found:
        raise ValueError("XMP without RDF")
    return found[0]


def _properties(
    document: dom.Document, namespace: str, name: str | None
) -> Iterator[tuple[dom.Element, dom.Attr | None, str]]:
    """Properties of a namespace, as elements or as attributes (None for the attribute: an element)."""
    for element in document.getElementsByTagNameNS(_RDF, "Description"):
        for attribute in list(element.attributes.values()):
            if attribute.namespaceURI == namespace and name in (None, attribute.localName):
                yield element, attribute, attribute.value
    for element in document.getElementsByTagNameNS(namespace, name or "*"):
        yield element, None, "".join(child.data for child in element.childNodes if child.nodeType == 3)


def _says_something(element: dom.Element) -> bool:
    return any(attribute.namespaceURI not in (_RDF, _XMLNS) for attribute in element.attributes.values())


def _empty(element: dom.Element) -> None:
    for child in list(element.childNodes):
        element.removeChild(child)


def _packet(document: dom.Document) -> bytes:
    body = b"".join(node.toxml().encode() for node in document.childNodes if node.nodeType == 1)
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode()
    return begin + body + b'<?xpacket end="w"?>'

"""The directories of tags that TIFF files are made of, and EXIF blocks too: read with distrust, built anew."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

EXIF_POINTER, GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF_POINTER, GPS_POINTER, INTEROP_POINTER)

# Bytes of one number of each type, and how many such numbers one value has.
_NUMBER = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 4,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_PAIRS = (5, 10)
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_MOST_VALUE = 1 << 22
"""No tag that describes a photo is larger; a larger one is damage or an attack."""


@dataclass(frozen=True)
class Layout:
    """Byte order (``<`` or ``>``), BigTIFF or not, and where the first directory stands."""

    order: str
    big: bool
    first: int

    @property
    def pointer(self) -> str:
        return "Q" if self.big else "I"

    @property
    def counter(self) -> str:
        """How the number of a directory's entries is stored."""
        return "Q" if self.big else "H"

    @property
    def entry_size(self) -> int:
        return 20 if self.big else 12

    @property
    def inline(self) -> int:
        """Values up to so many bytes stand in the entry itself."""
        return 8 if self.big else 4

    def pack(self, kinds: str, *values: int) -> bytes:
        return struct.pack(self.order + kinds, *values)

    def unpack(self, kinds: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + kinds, data)


@dataclass(frozen=True)
class Entry:
    """A tag in a file: type and count as the file says, and where its value stands."""

    tag: int
    kind: int
    count: int
    value_at: int
    size: int
    raw: bytes
    """The entry as it stands in the directory."""


@dataclass(frozen=True)
class Value:
    """A tag's value apart from any file, in little-endian order."""

    kind: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _size_of(self.kind)


Directory: TypeAlias = "dict[int, Value | Directory]"


def _size_of(kind: int) -> int:
    return _NUMBER[kind] * (2 if kind in _PAIRS else 1)


def read_layout(file: BinaryIO) -> Layout:
    """Raises ValueError where no TIFF structure begins."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("no TIFF header")
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 42:
        return Layout(order, False, struct.unpack(order + "I", head[4:8])[0])
    if version == 43 and len(head) == 16:
        return Layout(order, True, struct.unpack(order + "Q", head[8:16])[0])
    raise ValueError("no TIFF header")


def read_entries(file: BinaryIO, layout: Layout, offset: int) -> tuple[dict[int, Entry], int]:
    """The entries of the directory at ``offset``, and where the next directory stands (0: nowhere).

    Entries whose type is unknown or whose value does not lie in the file are left out. Raises ValueError
    where there is no directory.
    """
    end = file.seek(0, 2)
    head_size = struct.calcsize(layout.counter)
    if not 8 <= offset <= end - head_size:
        raise ValueError("directory outside the file")
    file.seek(offset)
    (count,) = layout.unpack(layout.counter, file.read(head_size))
    if count > 65535 or offset + head_size + count * layout.entry_size > end:
        raise ValueError("directory longer than the file")
    table = file.read(count * layout.entry_size)
    tail = file.read(layout.inline)
    following = layout.unpack(layout.pointer, tail)[0] if len(tail) == layout.inline else 0
    entries = {}
    for index in range(count):
        raw = table[index * layout.entry_size : (index + 1) * layout.entry_size]
        tag, kind = layout.unpack("HH", raw[:4])
        (number,) = layout.unpack(layout.pointer, raw[4 : 4 + layout.inline])
        if kind not in _NUMBER:
            continue
        size = number * _size_of(kind)
        at = offset + head_size + index * layout.entry_size + 4 + layout.inline
        if size > layout.inline:
            (at,) = layout.unpack(layout.pointer, raw[-layout.inline :])
        if at + size <= end:
            entries[tag] = Entry(tag, kind, number, at, size, raw)
    return entries, following


def read_value(file: BinaryIO, layout: Layout, entry: Entry) -> Value | None:
    """The value of a tag, or None where it is larger than a description can be."""
    if entry.size > _MOST_VALUE:
        return None
    file.seek(entry.value_at)
    data = file.read(entry.size)
    return Value(entry.kind, _swapped(entry.kind, data) if layout.order == ">" else data)


def read_integer(file: BinaryIO, layout: Layout, entry: Entry | None) -> int | None:
    """The first number of an unsigned integer tag."""
    if entry is None or entry.kind not in _UNSIGNED or entry.count < 1:
        return None
    file.seek(entry.value_at)
    return layout.unpack(_UNSIGNED[entry.kind], file.read(_NUMBER[entry.kind]))[0]


def read_rational(file: BinaryIO, layout: Layout, entry: Entry | None) -> float | None:
    if entry is None or entry.kind != 5 or entry.count < 1:
        return None
    file.seek(entry.value_at)
    above, below = layout.unpack("II", file.read(8))
    return above / below if below else None


def read_resolution(
    file: BinaryIO, layout: Layout, entries: Mapping[int, Entry]
) -> tuple[float, float] | None:
    """Pixels per millimetre from the tags XResolution, YResolution and ResolutionUnit."""
    across = read_rational(file, layout, entries.get(282))
    down = read_rational(file, layout, entries.get(283))
    unit = read_integer(file, layout, entries.get(296)) or 2
    millimetres = {2: 25.4, 3: 10.0}.get(unit)
    if not across or not down or millimetres is None:
        return None
    return across / millimetres, down / millimetres


def resolution_values(resolution: tuple[float, float]) -> Directory:
    """The three tags of a resolution, in pixels per inch."""
    across, down = (struct.pack("<II", min(round(side * 254_000), 0xFFFFFFFF), 10_000) for side in resolution)
    return {282: Value(5, across), 283: Value(5, down), 296: Value(3, struct.pack("<H", 2))}


def build(directory: Directory, layout: Layout, base: int, kept: Mapping[int, bytes] | None = None) -> bytes:
    """A directory with its values and sub-directories, to stand at the offset ``base`` of a file.

    ``kept``: entries of a directory of that file, as they stand there; their values stay where they are.
    """
    rows = dict(kept or {})
    head = struct.calcsize(layout.counter)
    length = head + len(rows.keys() | directory.keys()) * layout.entry_size + layout.inline
    values = bytearray()

    def place(data: bytes) -> int:
        if len(values) % 2:
            values.append(0)
        at = base + length + len(values)
        values.extend(data)
        return at

    for tag, value in directory.items():
        if isinstance(value, Value):
            data = _swapped(value.kind, value.data) if layout.order == ">" else value.data
            kind, count = value.kind, value.count
            if len(data) > layout.inline:
                data = layout.pack(layout.pointer, place(data))
        else:
            kind, count = (18 if layout.big else 4), 1
            if len(values) % 2:
                values.append(0)
            at = base + length + len(values)
            values.extend(build(value, layout, at))
            data = layout.pack(layout.pointer, at)
        rows[tag] = layout.pack("HH" + layout.pointer, tag, kind, count) + data.ljust(layout.inline, b"\0")
    table = b"".join(rows[tag] for tag in sorted(rows))
    end = layout.pack(layout.pointer, 0)
    return layout.pack(layout.counter, len(rows)) + table + end + bytes(values)


def _swapped(kind: int, data: bytes) -> bytes:
    size = _NUMBER[kind]
    if size == 1:
        return data
    return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))

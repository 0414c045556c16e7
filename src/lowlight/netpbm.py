"""PBM, PGM and PPM, 8 and 16 bit: a header in text, then values (http://netpbm.sourceforge.net/doc)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lowlight.errors import PhotoError

_MOST_HEADER = 1 << 16
_MOST_TEXT = 1 << 28
"""Bytes of a file whose values are text; each takes many times its size while it is read."""


@dataclass(frozen=True)
class Header:
    """What stands before the values."""

    kind: int
    """1 to 6: bits, grey, colour as text; bits, grey, colour as bytes."""
    width: int
    height: int
    maximum: int
    start: int
    """Where the values begin."""

    @property
    def channels(self) -> int:
        return 3 if self.kind in (3, 6) else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.maximum < 256 else np.uint16)


def read_header(file: BinaryIO) -> Header:
    """Raises PhotoError."""
    file.seek(0)
    head = file.read(_MOST_HEADER)
    gap = rb"(?:\s|#[^\n\r]*[\n\r])+"
    numbers = 2 if head[1:2] in b"14" else 3
    match = re.match(rb"P([1-6])" + (gap + rb"(\d{1,10})") * numbers + rb"(?:#[^\n\r]*[\n\r]|\s)", head)
    if match is None:
        raise PhotoError("broken or cut PPM (no header)")
    kind, width, height = (int(match[i]) for i in (1, 2, 3))
    maximum = int(match[4]) if numbers == 3 else 1
    if not 1 <= maximum <= 65535:
        raise PhotoError(f"broken PPM (largest value {maximum}, expected 1 to 65535)")
    return Header(kind, width, height, maximum, match.end())


def is_whole(file: BinaryIO) -> bool:
    """Whether a file of bytes (not bits, not text) holds exactly the values that its header announces."""
    header = read_header(file)
    values = header.width * header.height * header.channels * header.dtype.itemsize
    return header.kind in (5, 6) and file.seek(0, 2) == header.start + values


def row_reader(file: BinaryIO, header: Header) -> Callable[[int, int], NDArray[Any]]:
    """A function that gives rows (top, number) as (rows, width, channels), scaled to their whole range."""
    values = np.rint(np.arange(256 if header.maximum < 256 else 65536) * _full(header) / header.maximum)
    table = np.minimum(values, _full(header)).astype(header.dtype)
    length = header.width * header.channels

    def raw(top: int, count: int) -> NDArray[Any]:
        stored = header.dtype.newbyteorder(">")
        file.seek(header.start + top * length * stored.itemsize)
        data = file.read(count * length * stored.itemsize)
        return np.frombuffer(data[: len(data) // stored.itemsize * stored.itemsize], stored)

    def bits(top: int, count: int) -> NDArray[Any]:
        packed = (header.width + 7) // 8
        file.seek(header.start + top * packed)
        data = np.frombuffer(file.read(count * packed), np.uint8)
        rows = data[: len(data) // packed * packed].reshape(-1, packed)
        return 1 - np.unpackbits(rows, axis=1)[:, : header.width].ravel()

    text: NDArray[Any] | None = None

    def written(top: int, count: int) -> NDArray[Any]:
        nonlocal text
        if text is None:
            text = _text_values(file, header)
        return text[top * length : (top + count) * length]

    source = raw if header.kind in (5, 6) else bits if header.kind == 4 else written

    def rows(top: int, count: int) -> NDArray[Any]:
        found = source(top, count)
        if len(found) != count * length:
            raise PhotoError(f"broken or cut PPM (the values end before row {top + count})")
        scaled: NDArray[Any] = table[found]
        return scaled.reshape(count, header.width, header.channels)

    return rows


def _full(header: Header) -> int:
    return int(np.iinfo(header.dtype).max)


def _text_values(file: BinaryIO, header: Header) -> NDArray[Any]:
    file.seek(header.start)
    data = file.read(_MOST_TEXT + 1)
    if len(data) > _MOST_TEXT:
        raise PhotoError("a PPM whose values are text is too large; convert it to PNG first")
    data = re.sub(rb"#[^\n\r]*", b"", data)
    if header.kind == 1:
        digits = np.frombuffer(b"".join(data.split()), np.uint8)
        if not np.isin(digits, (48, 49)).all():
            raise PhotoError("broken PBM (a value that is neither 0 nor 1)")
        return 49 - digits
    count = header.width * header.height * header.channels
    words = np.array(data.split(maxsplit=count)[:count], "S")
    letters = words.view(np.uint8)
    if words.itemsize > 9 or ((letters < 48) & (letters > 0)).any() or (letters > 57).any():
        raise PhotoError("broken PPM (a value that is no number)")
    return np.minimum(words.astype(np.uint32), 65535 if header.maximum > 255 else 255)


def write(file: BinaryIO, samples: NDArray[Any]) -> None:
    """Write (height, width) as PGM or (height, width, 3) as PPM, uint8 or uint16."""
    height, width = samples.shape[:2]
    kind = 6 if samples.ndim == 3 else 5
    file.write(f"P{kind}\n{width} {height}\n{np.iinfo(samples.dtype).max}\n".encode())
    for top in range(0, height, 64):
        rows = samples[top : top + 64]
        if rows.dtype == np.uint16 and sys.byteorder == "little":
            rows = rows.byteswap()
        file.write(rows.tobytes())

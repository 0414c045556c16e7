"""Marks of photos, small enough for a weights file's header: has this photo, or its scene, been trained on?

A mark is 24 bytes: the first 8 of the SHA-256 over size and RGB values, which finds the same pixels in any
lossless file, and a difference hash of 128 bits, which finds a re-encoded or resized copy of the whole frame and
most other exposures of the same scene. It does not find crops, mirrored or turned copies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowlight.errors import WeightsError

Pixels = NDArray[np.uint8]
EXACT = 8
SIZE = EXACT + 16
"""Bytes of a mark."""
NEAR = 14
"""Bits of the difference hash in which two photos of one scene may differ.

Measured on 569 photos (LOL references, SICE, BSDS500): JPEG of quality 50 and copies of a third of the size or
square ones at most 8 bits, 93 % of the exposures of 60 scenes at most 14; photos of different scenes 23 or more.
"""
_LEAST_SPAN = 0.5
"""Grey levels between the darkest and the lightest part below which a picture has no structure to compare."""


def mark(pixels: Pixels) -> bytes:
    """The mark of an 8-bit RGB photo (height, width, 3)."""
    exact = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
    exact.update(np.ascontiguousarray(pixels).data)
    grey = Image.fromarray(pixels).convert("L")
    floats = Image.fromarray(np.asarray(grey, np.float32))
    rows = np.asarray(floats.resize((9, 8), Image.Resampling.BOX))
    columns = np.asarray(floats.resize((8, 9), Image.Resampling.BOX))
    bits = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), (columns[1:] > columns[:-1]).ravel()])
    if np.ptp(rows) < _LEAST_SPAN:
        bits[:] = False
    return exact.digest()[:EXACT] + np.packbits(bits).tobytes()


def pack(marks: Iterable[bytes]) -> str:
    """Marks as text, sorted, each once."""
    return base64.b64encode(b"".join(sorted(set(marks)))).decode()


def unpack(text: str) -> list[bytes]:
    """Inverse of ``pack``. Raises ValueError for what is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        data = b"?"
    if len(data) % SIZE:
        raise ValueError(f"expected base64 of marks of {SIZE} bytes")
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]


def union(seen: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What networks that became one have seen, as a header holds it; what one of them does not tell is unknown."""
    told = set.intersection(*(set(each) for each in seen))
    return {of: pack(mark for each in seen for mark in unpack(each[of])) for of in sorted(told)}


@dataclass(frozen=True)
class Leak:
    """A judged photo that the weights have met before."""

    name: str
    kind: Literal["photo", "scene"]
    """``photo``: the same pixels; ``scene``: a copy of it, or the same scene again."""
    of: Literal["trained", "chosen"]
    """Trained on, or chosen by: the checkpoint is the best of several on photos like this."""
    bits: int
    """Of 128 in which the difference hashes differ."""


class Index:
    """Marks to look photos up in."""

    def __init__(self, marks: Sequence[bytes]) -> None:
        table = np.frombuffer(b"".join(marks), np.uint8).reshape(-1, SIZE)
        self.exact = {each[:EXACT] for each in marks}
        hashes = table[:, EXACT:]
        self.hashes = hashes[hashes.any(axis=1)]

    def find(self, photo: bytes) -> tuple[Literal["photo", "scene"], int] | None:
        """How a marked photo is known here, with the distance of the hashes; None: it is not."""
        if photo[:EXACT] in self.exact:
            return "photo", 0
        own = np.frombuffer(photo[EXACT:], np.uint8)
        if not len(self.hashes) or not own.any():
            return None
        distance = int(np.unpackbits(self.hashes ^ own, axis=1).sum(axis=1, dtype=np.int64).min())
        return ("scene", distance) if distance <= NEAR else None


def scenes(marks: Mapping[str, bytes]) -> dict[str, str]:
    """For each marked photo the first name of its scene: photos whose difference hashes are near are of one, and
    what is near to one of them. A picture without structure is alone."""
    names = list(marks)
    table = np.frombuffer(b"".join(marks.values()), np.uint8).reshape(-1, SIZE)[:, EXACT:]
    structured: NDArray[np.bool_] = table.max(axis=1, initial=0) > 0
    found: dict[str, str] = {}
    for index, name in enumerate(names):
        waiting = [] if name in found else [index]
        while waiting:
            at = waiting.pop()
            found.setdefault(names[at], name)
            near = np.unpackbits(table ^ table[at], axis=1).sum(axis=1, dtype=np.int64) <= NEAR
            for other in np.flatnonzero(near & structured) if structured[at] else ():
                if names[other] not in found:
                    found[names[other]] = name
                    waiting.append(int(other))
    return found


def find_leaks(
    known: Mapping[Literal["trained", "chosen"], Sequence[bytes]], photos: Mapping[str, Sequence[bytes]]
) -> list[Leak]:
    """Which photos are known; photos: by name the marks of their files (reference, dark photo)."""
    leaks = []
    for of, marks in known.items():
        index = Index(marks)
        for name, own in photos.items():
            found = [match for each in own if (match := index.find(each)) is not None]
            if found:
                kind, bits = min(found, key=lambda match: (match[0] != "photo", match[1]))
                leaks.append(Leak(name, kind, of, bits))
    return leaks


def read_seen(seen: Mapping[str, str], where: object) -> dict[Literal["trained", "chosen"], list[bytes]]:
    """The marks that a weights file's header holds; empty where it holds none, as older and imported files do."""
    found: dict[Literal["trained", "chosen"], list[bytes]] = {}
    for of in ("trained", "chosen"):
        if of in seen:
            try:
                found[of] = unpack(seen[of])
            except ValueError as error:
                raise WeightsError(f"{where}: header: seen.{of}: {error}") from None
    return found

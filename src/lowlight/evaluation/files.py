"""Photos as metrics see them: 8 bits as saved beside floats, from files of any depth."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lowlight.errors import naming
from lowlight.evaluation.metrics import Picture
from lowlight.methods import Samples
from lowlight.photo import Photo, read_photo, to_float
from lowlight.statistics import to_8_bits


def to_picture(samples: Samples) -> Picture:
    """A photo's samples beside its floats in full depth."""
    return Picture(to_8_bits(samples), to_float(samples))


def read(path: Path) -> tuple[Photo, str]:
    """A photo and the SHA-256 of its file. Raises PhotoError."""
    with naming(path, "read"), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return read_photo(path), digest

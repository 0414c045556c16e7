"""Which file belongs to which: photos of several folders paired by their names, never by their places in a list."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lowlight.containers import SUFFIXES
from lowlight.errors import PhotoError, UseError, reason, shown
from lowlight.photo import describe_photo

Role = Literal["result", "low", "reference"]
ROLES: tuple[Role, ...] = ("result", "low", "reference")
_LISTED = 20
"""Names that an error lists."""


@dataclass(frozen=True)
class Case:
    """One photo to judge: the files that bear its name."""

    name: str
    result: Path | None
    low: Path | None
    reference: Path | None

    def files(self) -> dict[Role, Path]:
        """Those that there are."""
        found: dict[Role, Path | None] = {
            "result": self.result,
            "low": self.low,
            "reference": self.reference,
        }
        return {role: path for role, path in found.items() if path is not None}


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``2`` before ``10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def photos_in(
    folder: Path,
    *,
    suffixes: Collection[str] = SUFFIXES.keys(),
    exclude: Container[str] = (),
    deep: bool = False,
) -> dict[str, Path]:
    """Photos of a folder by stem; with ``deep`` of the folders below too, by path and stem: ``night/7``.

    Hidden names are left out and links to folders not followed. Raises UseError for a folder that can't be
    listed or has no photo, and for two photos of one stem.
    """
    try:
        files = _below(folder) if deep else sorted(folder.iterdir())
    except OSError as error:
        raise UseError(f"{shown(folder)}: expected a folder of photos: {reason(error)}") from None
    found: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or path.stem in exclude:
            continue
        name = path.relative_to(folder).with_name(path.stem).as_posix()
        if name in found:
            raise UseError(f"{shown(folder)}: {found[name].name} and {path.name} have one stem; keep one")
        found[name] = path
    if not found:
        raise UseError(f"{shown(folder)}: no photos; expected files ending in {', '.join(sorted(suffixes))}")
    return found


def _below(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(names)]
    return found


def refuse_missing(names: Sequence[str], folders: Iterable[tuple[Path, Container[str]]]) -> None:
    """Raise UseError that lists which of ``names`` have no photo, folder by folder."""
    lacking = []
    for folder, found in folders:
        if missing := [name for name in names if name not in found]:
            lacking.append(f"{shown(folder)}: no photo for {listed(missing)}")
    if lacking:
        raise UseError("; ".join(lacking))


def plural(count: int, word: str) -> str:
    """A count with its word."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Names in a row; of many the first ones and how many more there are."""
    more = f"{separator}and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return shown(separator.join(names[:_LISTED])) + more


def strip_pattern(photos: Mapping[str, Path], pattern: str, folder: Path) -> dict[str, Path]:
    """Photos by what ``*`` of the pattern stands for: with ``low*``, ``low00690`` becomes ``00690``.

    Raises UseError for a pattern without exactly one ``*``, and for names that it does not fit.
    """
    if pattern.count("*") != 1:
        raise UseError(f"pattern {pattern!r}: expected a name with one *, as low*")
    before, after = pattern.split("*")
    found: dict[str, Path] = {}
    others = []
    for name, path in photos.items():
        place, slash, stem = name.rpartition("/")
        if len(stem) > len(before + after) and stem.startswith(before) and stem.endswith(after):
            found[place + slash + stem[len(before) : len(stem) - len(after)]] = path
        else:
            others.append(name)
    if others:
        raise UseError(f"{shown(folder)}: {listed(others)}: no name of the pattern {pattern!r}")
    return found


def pair(
    folders: Mapping[Role, Path], patterns: Mapping[Role, str] | None = None, names: Sequence[str] = ()
) -> list[Case]:
    """The cases that folders hold, by natural order of their names.

    patterns: what the names of a folder look like around the part that they share, as ``low*``.
    names: only these; every other photo is left alone. Without it every photo needs its partner everywhere.
    Raises UseError that lists what has no partner.
    """
    found: dict[Role, dict[str, Path]] = {}
    for role, folder in folders.items():
        photos = photos_in(folder, deep=True)
        pattern = (patterns or {}).get(role, "*")
        found[role] = photos if pattern == "*" else strip_pattern(photos, pattern, folder)
    wanted = names or sorted({name for photos in found.values() for name in photos}, key=natural)
    refuse_missing(wanted, [(folders[role], photos) for role, photos in found.items()])
    return [Case(name, *(found[role][name] if role in found else None for role in ROLES)) for name in wanted]


def check_alike(cases: Iterable[Case]) -> tuple[list[Case], dict[str, str]]:
    """Look at the headers of all files; gives the cases that can be read and, by name, what is wrong with others.

    Raises UseError that lists the cases whose files differ in size, depth or colour, or have an alpha channel:
    no photo is ever resized or flattened to fit.
    """
    kept: list[Case] = []
    broken: dict[str, str] = {}
    unlike: list[str] = []
    for case in cases:
        try:
            found = {role: describe_photo(path) for role, path in case.files().items()}
        except PhotoError as error:
            broken[case.name] = str(error)
            continue
        kept.append(case)
        looks = {role: _look(described) for role, described in found.items()}
        for what in ("sizes", "depths", "colours"):
            if len({look[what] for look in looks.values()}) > 1:
                words = ", ".join(f"{role} {look[what]}" for role, look in looks.items())
                unlike.append(f"{case.name}: {what} differ: {words}")
        if alpha := [role for role, described in found.items() if described["alpha"]]:
            unlike.append(f"{case.name}: {' and '.join(alpha)} with an alpha channel; flatten first")
    if unlike:
        raise UseError(f"photos that can't be compared: {listed(unlike, '; ')}")
    return kept, broken


def _look(described: Mapping[str, Any]) -> dict[str, str]:
    """What the files of a case must share, as their headers tell it."""
    return {
        "sizes": f"{described['width']}x{described['height']}",
        "depths": _depth(described),
        "colours": "grey" if described["colour"] == "grey" else "colour",
    }


def depth_of(path: Path) -> str:
    """``8 bit``, ``16 bit`` or ``float``. Raises PhotoError."""
    return _depth(describe_photo(path))


def _depth(described: Mapping[str, Any]) -> str:
    depth = str(described["depth"])
    return depth if depth == "float" or int(depth.split()[0]) > 8 else "8 bit"

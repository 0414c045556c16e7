"""Which photo becomes which file: names, folders, patterns in, pairs out, and no two alike."""

from __future__ import annotations

import glob
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from lowlight.containers import SUFFIXES, Format, sniff
from lowlight.errors import PhotoError, UseError, naming, reason, shown

OWN = ".enhanced"
"""Mark of results beside their photos: ``a.jpg`` gives ``a.enhanced.jpg``."""

# fmt: off
UNREAD = frozenset([
    ".heic", ".heif", ".hif", ".jxl", ".gif", ".jp2", ".psd", ".dng", ".raw", ".nef", ".nrw", ".cr2", ".cr3", ".crw",
    ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".fff", ".iiq", ".mos", ".x3f", ".erf",
    ".kdc", ".dcr",
])
# fmt: on
"""Suffixes of photos in formats that lowlight does not read; in folders they are passed over with a note."""

SPREAD = ".spread"
"""Mark of the map of a result's spread beside the result: ``a.enhanced.jpg`` has ``a.enhanced.spread.png``."""

Pair: TypeAlias = tuple[Path, Path]
"""A photo and its result."""


@dataclass(frozen=True)
class Job:
    """One photo to do. None as source is standard input, None as target standard output."""

    source: Path | None
    target: Path | None
    format: Format | None
    """None: that of the photo."""
    spread: Path | None = None
    """The map of the result's spread, where one is wanted."""


@dataclass(frozen=True)
class Plan:
    """All that will be done, known before the first pixel."""

    jobs: list[Job]
    failures: list[tuple[Path, str]]
    """What was asked for and can't be had, with the reason."""
    notes: list[str]


def make_plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    wanted: Format | None = None,
    own: str = OWN,
    spread: bool = False,
) -> Plan:
    """Decide which file becomes which.

    inputs: files, folders (with all below them), patterns, or ``-`` alone. output: a file for one photo,
    ``-``, or a folder that gets the same tree; None: beside each photo. wanted: the results' format, default
    that of each photo. own: the mark of results beside their photos, by which they are known again. Inside a
    folder, hidden names and links to folders are not followed. spread: each result gets a map beside it.

    Raises UseError where two results would have one name (also but for case, as on many systems), a result
    would overwrite an input, or OUT is not what the inputs need.
    """
    if "" in inputs or output == "":
        raise UseError("a name is empty: expected a file or folder")
    if spread and (output == "-" or (output is None and "-" in inputs)):
        raise UseError("the map of a spread is written beside the result: give a file or folder as OUT")
    if "-" in inputs:
        return _plan_stream(inputs, output, wanted, spread)
    found = _Found(os.path.realpath(output) if output not in (None, "-") else None, own)
    for text in inputs:
        found.add(text)
    named = len(found.photos) + len(found.failures)
    if output == "-":
        if named != 1:
            raise UseError(f"standard output takes one photo, and the inputs are {named}")
        return Plan([Job(path, None, wanted) for path, _ in found.photos], found.failures, found.notes)
    if output is None:
        pairs = _without_results(_pairs(found, None, wanted), own, found.notes)
    elif found.plain and named == 1 and _is_file(output):
        _check_format(Path(output), wanted)
        pairs = [(path, Path(output)) for path, _ in found.photos]
    else:
        _check_folder(output)
        pairs = _pairs(found, Path(output), wanted)
    maps = [(source, spread_of(target)) for source, target in pairs] if spread else []
    _check_collisions([*pairs, *maps])
    jobs = [
        Job(source, target, SUFFIXES[target.suffix.lower()], spread_of(target) if spread else None)
        for source, target in pairs
    ]
    return Plan(jobs, found.failures, found.notes)


def spread_of(result: Path) -> Path:
    """The name of the map of a result's spread."""
    return result.with_name(f"{result.stem}{SPREAD}.png")


def _plan_stream(inputs: Sequence[str], output: str | None, wanted: Format | None, spread: bool) -> Plan:
    if len(inputs) > 1:
        raise UseError("standard input (-) must be the only input")
    if output is None or output == "-":
        return Plan([Job(None, None, wanted)], [], [])
    if not _is_file(output):
        raise UseError(f"{shown(output)}: a photo from standard input needs a file's name, say result.jpg")
    _check_format(Path(output), wanted)
    target = Path(output)
    job = Job(None, target, SUFFIXES[target.suffix.lower()], spread_of(target) if spread else None)
    return Plan([job], [], [])


@dataclass
class _Found:
    """Photos with their places under OUT, and what was no photo."""

    output: str | None
    """The folder of results, resolved: never walked into, so that results are not taken as photos."""
    own: str
    """The mark of results, which are left out of folders and patterns."""
    photos: list[tuple[Path, Path]] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plain: bool = True
    """Nothing but files was named: no folder, no pattern."""

    def add(self, text: str) -> None:
        """Take a file's or folder's name, or a pattern where no file has that name."""
        if os.path.lexists(text) or not any(mark in text for mark in "*?["):
            self._add_path(Path(text))
            return
        self.plain = False
        # Path.glob knows neither absolute patterns nor the shell's rule about hidden names.
        paths = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
        if not paths:
            self.failures.append((Path(text), "no file has a name of this pattern"))
        for path in paths:
            if not _is_own(path, self.own):
                self._add_path(path)
        self.notes += _left_out(path for path in paths if _is_own(path, self.own))

    def _add_path(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self.failures.append((path, reason(error)))
            return
        if stat.S_ISDIR(mode):
            self.plain = False
            self._walk(path)
        elif stat.S_ISREG(mode):
            self.photos.append((path, Path(path.name)))
        else:
            self.failures.append((path, "is a pipe or device; give - and pipe the photo in"))

    def _walk(self, top: Path) -> None:
        before = len(self.photos) + len(self.failures)
        errors: list[OSError] = []
        own: list[Path] = []
        unread: list[Path] = []
        for folder, folders, files in os.walk(top, onerror=errors.append):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if self._enters(here / name))
            for name in sorted(files):
                path = here / name
                suffix = path.suffix.lower()
                if name.startswith(".") or not (suffix in SUFFIXES or suffix in UNREAD):
                    continue
                if suffix in UNREAD:
                    unread.append(path)
                elif _is_own(path, self.own):
                    own.append(path)
                elif path.is_file():
                    self.photos.append((path, path.relative_to(top)))
                else:
                    self.failures.append((path, "is a pipe, a device or a link that leads nowhere"))
        self.failures += [(Path(os.fsdecode(error.filename)), reason(error)) for error in errors]
        self.notes += _left_out(own)
        if unread:
            kinds = ", ".join(sorted({path.suffix.lower() for path in unread}))
            first = shown(unread[0]) + (f" and {len(unread) - 1} more" if len(unread) > 1 else "")
            self.notes.append(f"{first}: formats that are not read ({kinds}), left out; convert them first")
        elif len(self.photos) + len(self.failures) == before:
            self.notes.append(f"{shown(top)}: no photos in this folder")

    def _enters(self, folder: Path) -> bool:
        if folder.name.startswith("."):
            return False
        if folder.is_symlink():
            self.notes.append(f"{shown(folder)}: a link to a folder, not followed")
            return False
        return self.output is None or os.path.realpath(folder) != self.output


def _left_out(results: Iterable[Path]) -> list[str]:
    """A note about results that stand among the photos."""
    names = [shown(path) for path in results]
    if not names:
        return []
    if len(names) == 1:
        return [f"{names[0]}: a result, left out; give it alone to do it again"]
    return [f"{names[0]} and {len(names) - 1} more: results, left out; give one alone to do it again"]


def _is_own(path: Path, own: str) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem.removesuffix(SPREAD).endswith(own) and path.is_file()


def _is_file(output: str) -> bool:
    """Whether OUT names the result itself, by a photo's suffix, and not a folder for it."""
    target = Path(output)
    if target.is_dir() or output.endswith(("/", os.sep)) or not target.suffix:
        return False
    if target.suffix.lower() not in SUFFIXES:
        raise UseError(
            f"{shown(output)}: cannot write {shown(target.suffix)} files; expected one of "
            f"{', '.join(SUFFIXES)}, or a folder (end it in /)"
        )
    return True


def _check_format(target: Path, wanted: Format | None) -> None:
    known = SUFFIXES[target.suffix.lower()]
    if wanted not in (None, known):
        raise UseError(f"{shown(target)}: the name says {known}, --format says {wanted}")


def _check_folder(output: str) -> None:
    folder = Path(output)
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise UseError(f"{shown(place)}: expected a folder for the results, found a file")
            break
    if folder.suffix.lower() in SUFFIXES and not folder.is_dir() and not output.endswith(("/", os.sep)):
        raise UseError(
            f"{shown(output)}: a photo's name, and the inputs are several or a folder; "
            f"for a folder of this name end it in /"
        )


def target_of(photo: Path, output: str | None = None) -> Path:
    """The result's name: beside its photo, or as OUT says, a file by its suffix and else a folder.

    Raises PhotoError where neither name nor content says a format, UseError for what OUT cannot be.
    """
    if output == "":
        raise UseError("a name is empty: expected a file or folder")
    if output is not None and _is_file(output):
        target = Path(output)
    else:
        with naming(photo, "read"):
            suffix = _suffix(photo, None)
        if output is None:
            target = photo.with_name(f"{photo.stem}{OWN}{suffix}")
        else:
            _check_folder(output)
            target = Path(output, f"{photo.stem}{suffix}")
    _check_collisions([(photo, target)])
    return target


def _pairs(found: _Found, folder: Path | None, wanted: Format | None) -> list[Pair]:
    # Keys in place of a list: the same photo named twice is one job.
    pairs: dict[Pair, Pair] = {}
    for path, place in found.photos:
        try:
            suffix = _suffix(path, wanted)
        except PhotoError as error:
            found.failures.append((path, str(error)))
            continue
        except OSError as error:
            found.failures.append((path, reason(error)))
            continue
        if folder is None:
            target = path.with_name(f"{path.stem}{found.own}{suffix}")
        else:
            target = folder / place.with_name(f"{place.stem}{suffix}")
        pairs.setdefault((_resolved(path), _resolved(target)), (path, target))
    return list(pairs.values())


def _suffix(photo: Path, wanted: Format | None) -> str:
    """A result keeps its photo's suffix where that fits the format."""
    known = SUFFIXES.get(photo.suffix.lower())
    if known is not None and wanted in (None, known):
        return photo.suffix
    if wanted is None:
        with photo.open("rb") as file:
            wanted = sniff(file.read(512))
    return next(suffix for suffix, kind in SUFFIXES.items() if kind == wanted)


def _resolved(path: Path) -> Path:
    """The place of a name: links in its folders followed, not one under the name itself."""
    return Path(os.path.realpath(path.parent), path.name)


def _without_results(pairs: list[Pair], mark: str, notes: list[str]) -> list[Pair]:
    """`enhance *.jpg` a second time: the shell names the results of the first time too."""
    results = {_resolved(made) for _, target in pairs for made in (target, spread_of(target))}
    kept, own = [], []
    for source, target in pairs:
        if _is_own(source, mark) and _resolved(source) in results:
            own.append(source)
        else:
            kept.append((source, target))
    notes += _left_out(own)
    return kept


def _check_collisions(pairs: Sequence[Pair]) -> None:
    sources: dict[str | tuple[int, int], Path] = {}
    for source, _ in pairs:
        sources[_key(source)] = source
        if identity := _identity(source):
            sources[identity] = source
    results: dict[str, Path] = {}
    for source, target in pairs:
        for same in (_key(target), _identity(target)):
            if same in sources:
                raise UseError(
                    f"the result of {shown(source)} would overwrite the input {shown(sources[same])}; "
                    f"give another OUT"
                )
        other = results.setdefault(_key(target), source)
        if other is not source:
            raise UseError(
                f"{shown(other)} and {shown(source)} would both become {shown(target)}; "
                f"put them into different folders"
            )
    for source, target in pairs:
        for folder in target.parents:
            if blocked := results.get(_key(folder)):
                raise UseError(
                    f"the result of {shown(blocked)} and the folder for that of {shown(source)} would both be "
                    f"{shown(folder)}; put them into different folders"
                )


def _key(path: Path) -> str:
    """Equal for names that some file systems take for one: they ignore case and how accents are written."""
    return unicodedata.normalize("NFC", str(_resolved(path))).casefold()


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode: finds one file behind two names."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

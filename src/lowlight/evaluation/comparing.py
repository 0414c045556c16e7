"""Several results on the same photos: paired differences, with bootstrap intervals over scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lowlight.errors import UseError, shown
from lowlight.evaluation.pairing import listed, natural, plural
from lowlight.evaluation.scoring import Report, read_report

RESAMPLES = 10_000
LEVEL = 0.95
FEW = 10
"""Scenes below which percentile intervals are much too narrow: of normal values they hold 90 % of the means at 10."""
_AT_ONCE = 1 << 22
"""Indices drawn at once."""


@dataclass(frozen=True)
class Difference:
    """A result's column against the first result's, over the photos where both are finite."""

    mean: float
    low: float | None
    high: float | None
    """Bounds of the 95 % interval of the mean difference; None: of one scene there is none."""
    count: int
    """Photos."""


@dataclass(frozen=True)
class Comparison:
    """Reports of the same photos."""

    reports: dict[str, Report]
    """By name, of the photos that all have; what the others are compared with comes first."""
    places: dict[str, Path]
    """Folders of the reports."""
    differences: dict[str, dict[str, Difference]]
    """Column, then name, of all but the first."""
    scenes: dict[str, str] | None
    """The first photo of its scene for each; None: not known, and photos are resampled."""
    left_out: dict[str, str]
    """Photos that not all results have, with who has not, and why."""
    notes: list[str]
    seed: int
    """Of the bootstrap."""

    @property
    def base(self) -> str:
        """Name of the result that the others are compared with."""
        return next(iter(self.reports))

    @property
    def photos(self) -> list[str]:
        """Names of the photos that all have."""
        return [row.name for row in self.reports[self.base].photos]

    @property
    def drawn(self) -> tuple[Literal["scenes", "photos"], int]:
        """What the bootstrap draws, and how many there are."""
        return (
            ("photos", len(self.photos))
            if self.scenes is None
            else ("scenes", len(set(self.scenes.values())))
        )

    @property
    def too_narrow(self) -> bool:
        """What is drawn is too little for intervals of that level."""
        return self.drawn[1] < FEW


def bootstrap(
    differences: NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> tuple[float, float] | None:
    """Bounds of the 95 % percentile interval of the mean of (n,) paired differences; the same seed, the same bounds.

    groups: n labels; what has one label is drawn together. None for a single group.
    """
    _, labels = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(labels, differences), np.bincount(labels)
    count = len(sums)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    left = RESAMPLES
    while left:
        rows = min(left, max(1, _AT_ONCE // count))
        drawn = rng.integers(0, count, (rows, count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
        left -= rows
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def compare(paths: Sequence[Path], seed: int = 0) -> Comparison:
    """Read reports and compare all with the first, on the photos that all have.

    Raises UseError for reports that have less than half of their photos in common, and for other references under
    the same names.
    """
    found = [read_report(path) for path in paths]
    folders = [path if path.is_dir() else path.parent for path in paths]
    names = _names(found, folders)
    reports, places = dict(zip(names, found, strict=True)), dict(zip(names, folders, strict=True))
    left_out = _left_out(reports)
    reports = {name: report.without(left_out) for name, report in reports.items()}
    first, *others = reports.items()
    notes = []
    for name, report in others:
        _check_same_files(first[0], first[1], name, report)
        if report.made["lowlight"] != first[1].made["lowlight"]:
            versions = report.made["lowlight"], first[1].made["lowlight"]
            notes.append(f"{name} was measured by lowlight {versions[0]}, {first[0]} by {versions[1]}")
        for metric in report.weights.keys() & first[1].weights.keys():
            if report.weights[metric].sha256 != first[1].weights[metric].sha256:
                files = (Path(each.weights[metric].path).name for each in (report, first[1]))
                notes.append(
                    f"{metric} of {name} and {first[0]} look through other weights: {', '.join(files)}"
                )
        if report.system.saved != first[1].system.saved:
            notes.append(f"{name}: {report.system.saved}; {first[0]}: {first[1].system.saved}")
    guards: dict[str, list[str]] = {line: [] for report in reports.values() for line in report.guard.lines}
    for name, report in reports.items():
        for line in report.guard.lines:
            guards[line].append(name)
    notes += [f"{', '.join(of)}: training photos: {line}" for line, of in guards.items()]
    measured = dict.fromkeys(
        column.name for report in reports.values() for column in report.columns if not column.missing
    )
    if partly := [column for column in measured if not _shared(column, reports)]:
        notes.append(f"only some results have {listed(partly)}")
    scenes = next((known for report in reports.values() if (known := report.scenes) is not None), None)
    differences = {
        column: {
            name: difference
            for name, report in others
            if (difference := _difference(first[1], report, column, scenes, seed)) is not None
        }
        for column in (column.name for column in first[1].columns)
        if _shared(column, reports)
    }
    return Comparison(reports, places, differences, scenes, left_out, notes, seed)


def _names(reports: Sequence[Report], folders: Sequence[Path]) -> list[str]:
    """A name for each report: its system's, with its folder's where that says no more. Raises UseError."""
    systems = [report.system.name for report in reports]
    for endings in ([folder.resolve().name for folder in folders], [str(folder) for folder in folders]):
        names = [
            name if systems.count(name) == 1 else f"{name} ({ending})"
            for name, ending in zip(systems, endings, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    twice = next(folder for name, folder in zip(names, folders, strict=True) if names.count(name) > 1)
    raise UseError(f"{shown(twice)}: given twice; expected each result once")


def _left_out(reports: Mapping[str, Report]) -> dict[str, str]:
    """Photos that not all results have, with who has not, and why. Raises UseError where few are left."""
    measured = {name: {row.name for row in report.photos} for name, report in reports.items()}
    every = sorted(
        {photo for name, report in reports.items() for photo in (*measured[name], *report.failed)},
        key=natural,
    )
    found = {}
    for photo in every:
        lacking = [
            f"not in {name}" + (f" ({reports[name].failed[photo]})" if photo in reports[name].failed else "")
            for name in reports
            if photo not in measured[name]
        ]
        if lacking:
            found[photo] = ", ".join(lacking)
    if 2 * len(found) > len(every):
        raise UseError(
            f"results of one set of photos are compared: all have {len(every) - len(found)} of {len(every)}, "
            f"expected at least half; {listed([f'{photo}: {why}' for photo, why in found.items()], '; ')}"
        )
    return found


def _shared(column: str, reports: Mapping[str, Report]) -> bool:
    found = [report.column(column) for report in reports.values()]
    return all(each is not None and not each.missing for each in found)


def _check_same_files(first: str, a: Report, name: str, b: Report) -> None:
    others = {row.name: row for row in b.photos}
    for role in ("reference", "low"):
        changed = [
            row.name
            for row in a.photos
            if role in row.files
            and role in others[row.name].files
            and row.files[role].sha256 != others[row.name].files[role].sha256
        ]
        if changed:
            raise UseError(f"{first} and {name} were measured with other {role} files: {listed(changed)}")


def _difference(
    a: Report, b: Report, column: str, scenes: Mapping[str, str] | None, seed: int
) -> Difference | None:
    whole = a.column(column)
    if whole is not None and whole.pooled:  # not a mean over photos
        return None
    theirs = {row.name: row.values.get(column) for row in b.photos}
    found = {
        row.name: y - x
        for row in a.photos
        if (x := row.values.get(column)) is not None
        and (y := theirs[row.name]) is not None
        and math.isfinite(y - x)
    }
    if not found:
        return None
    values = np.array(list(found.values()))
    groups = [name if scenes is None else scenes[name] for name in found]
    low, high = bootstrap(values, groups, seed) or (None, None)
    return Difference(float(values.mean()), low, high, len(found))


def heading(comparison: Comparison) -> str:
    """What was compared, in one line."""
    where = comparison.reports[comparison.base].data.where
    scenes = "" if comparison.scenes is None else f" of {plural(comparison.drawn[1], 'scene')}"
    left_out = f", {len(comparison.left_out)} left out" if comparison.left_out else ""
    return f"{len(comparison.reports)} results on {where}: {plural(len(comparison.photos), 'photo')}{scenes}{left_out}"


def intervals(comparison: Comparison) -> str:
    """What the intervals are, in one line."""
    of, count = comparison.drawn
    if count == 1:
        return f"differences to {comparison.base}, photo by photo; of {plural(count, of[:-1])} there is no interval"
    how = {
        "photos": "; scenes are not known, so photos of one count as independent",
        "scenes": ", whose photos are drawn together",
    }[of]
    few = f"; {count} are few, and the intervals too narrow" if comparison.too_narrow else ""
    return (
        f"differences to {comparison.base}, photo by photo, with {100 * LEVEL:.0f} % intervals of their mean: {RESAMPLES} "
        f"bootstrap resamples (seed {comparison.seed}) of {count} {of}{how}{few}"
    )


def most_different(comparison: Comparison) -> list[str]:
    """Names of all photos by how far the results lie apart in the first column."""
    names = comparison.photos
    column = next(iter(comparison.differences), None)
    if column is None:
        return names
    values: dict[str, list[float]] = {name: [] for name in names}
    for report in comparison.reports.values():
        for row in report.photos:
            value = row.values.get(column)
            if value is not None and math.isfinite(value):
                values[row.name].append(value)
    return sorted(names, key=lambda name: -float(np.ptp(values[name])) if values[name] else 0.0)

"""Several results on the same photos: differences with paired bootstrap intervals, and their pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowlight.errors import UseError, shown
from lowlight.evaluation.page import (
    definitions,
    document,
    escaped,
    html_table,
    items,
    picture,
    pictures_of,
    table_of,
)
from lowlight.evaluation.pairing import listed
from lowlight.evaluation.report import number, published
from lowlight.evaluation.scoring import Report, read_report

RESAMPLES = 10_000
LEVEL = 0.95
_AT_ONCE = 1 << 22
"""Indices drawn at once."""


@dataclass(frozen=True)
class Difference:
    """A result's column against the first result's, over the photos where both are finite."""

    mean: float
    low: float
    high: float
    """Bounds of the 95 % interval of the mean difference."""
    count: int


@dataclass(frozen=True)
class Comparison:
    """Reports of the same photos."""

    reports: dict[str, Report]
    """By name; what the others are compared with comes first."""
    places: dict[str, Path]
    """Folders of the reports."""
    differences: dict[str, dict[str, Difference]]
    """Column, then name, of all but the first."""
    notes: list[str]
    seed: int
    """Of the bootstrap."""

    @property
    def base(self) -> str:
        """Name of the result that the others are compared with."""
        return next(iter(self.reports))


def bootstrap(differences: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Bounds of the 95 % percentile interval of the mean of (n,) paired differences; the same seed, the same bounds."""
    rng = np.random.default_rng(seed)
    count = len(differences)
    means: list[NDArray[np.float64]] = []
    left = RESAMPLES
    while left:
        rows = min(left, max(1, _AT_ONCE // count))
        means.append(differences[rng.integers(0, count, (rows, count))].mean(axis=1))
        left -= rows
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def compare(paths: Sequence[Path], seed: int = 0) -> Comparison:
    """Read reports and compare all with the first.

    Raises UseError for reports of other photos, or of other references under the same names.
    """
    found = [read_report(path) for path in paths]
    folders = [path if path.is_dir() else path.parent for path in paths]
    names = _names(found, folders)
    reports, places = dict(zip(names, found, strict=True)), dict(zip(names, folders, strict=True))
    first, *others = reports.items()
    notes = []
    for name, report in others:
        _check_same_photos(first[0], first[1], name, report)
        if report.made["lowlight"] != first[1].made["lowlight"]:
            versions = report.made["lowlight"], first[1].made["lowlight"]
            notes.append(f"{name} was measured by lowlight {versions[0]}, {first[0]} by {versions[1]}")
        if report.system.saved != first[1].system.saved:
            notes.append(f"{name}: {report.system.saved}; {first[0]}: {first[1].system.saved}")
    for name, report in reports.items():
        notes += [f"{name}: training photos: {line}" for line in report.guard.lines]
    measured = dict.fromkeys(
        column.name for report in reports.values() for column in report.columns if not column.missing
    )
    if partly := [column for column in measured if not _shared(column, reports)]:
        notes.append(f"only some results have {listed(partly)}")
    differences = {
        column: {name: _difference(first[1], report, column, seed) for name, report in others}
        for column in (column.name for column in first[1].columns)
        if _shared(column, reports)
    }
    kept = {
        column: {name: found for name, found in by_name.items() if found is not None}
        for column, by_name in differences.items()
    }
    return Comparison(reports, places, kept, notes, seed)


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


def _shared(column: str, reports: Mapping[str, Report]) -> bool:
    found = [report.column(column) for report in reports.values()]
    return all(each is not None and not each.missing for each in found)


def _check_same_photos(first: str, a: Report, name: str, b: Report) -> None:
    rows, others = ({row.name: row for row in report.photos} for report in (a, b))
    for one, two, here, there in ((rows, others, first, name), (others, rows, name, first)):
        if missing := [row for row in one if row not in two]:
            raise UseError(
                f"results of one set of photos are compared: {here} has {listed(missing)}, {there} has not"
            )
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


def _difference(a: Report, b: Report, column: str, seed: int) -> Difference | None:
    whole = a.column(column)
    if whole is not None and whole.pooled:  # not a mean over photos
        return None
    ours = {row.name: row.values.get(column) for row in a.photos}
    pairs = [(ours[row.name], row.values.get(column)) for row in b.photos]
    found = np.array([y - x for x, y in pairs if x is not None and y is not None and math.isfinite(y - x)])
    if not len(found):
        return None
    return Difference(float(found.mean()), *bootstrap(found, seed), len(found))


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a column of the reports a row, a result a column, with its difference to the first."""
    names = list(comparison.reports)
    header = ["column", names[0]]
    for name in names[1:]:
        header += [name, "difference (95 %)"]
    rows = []
    for column, differences in comparison.differences.items():
        cells = [column]
        for name, report in comparison.reports.items():
            found = report.column(column)
            mean = None if found is None else found.mean
            cells.append(
                f"{number(mean)} ({0 if found is None else found.count})" if mean is not None else "none"
            )
            if name != names[0]:
                cells.append(_interval(differences.get(name)))
        rows.append(cells)
    return header, rows


def _interval(found: Difference | None) -> str:
    if found is None:
        return ""
    return f"{_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}]"


def _signed(value: float) -> str:
    return f"{value + 0.0:+.2f}" if abs(value) >= 1 else f"{round(value, 4) + 0.0:+.4f}"


def to_html(comparison: Comparison, photos: int) -> str:
    """One page: the table, and a sheet of pictures, those first where the results differ most."""
    header, rows, last = published(comparison.reports)
    body = [
        "<h1>Comparison</h1>",
        items([heading(comparison), *comparison.notes]),
        html_table(*table(comparison), stacked=True),
        f"<p><small>{escaped(f'Means (count); {intervals(comparison)}.')}</small></p>",
    ]
    if last:
        body.append("<h2>Published under this name of data, protocol and metric variant</h2>")
        body += [html_table(header, rows)] if rows else []
        body.append(f"<p>{escaped(last)}</p>")
    chosen = most_different(comparison)[:photos]
    if chosen:
        body += [f"<h2>Photos ({len(chosen)})</h2>", _sheet(comparison, chosen)]
    first = next(iter(comparison.reports.values()))
    body += [
        "<h2>Protocols</h2>",
        definitions(first.protocols),
        "<h2>Metrics</h2>",
        definitions(first.metrics),
    ]
    return document("lowlight: comparison", body)


def heading(comparison: Comparison) -> str:
    """What was compared, in one line."""
    first = next(iter(comparison.reports.values()))
    return f"{len(comparison.reports)} results on {first.data.where}: {len(first.photos)} photos"


def intervals(comparison: Comparison) -> str:
    """What the intervals are, in one line."""
    return (
        f"differences to {comparison.base}, photo by photo, with {LEVEL:.0%} intervals of their mean: {RESAMPLES} "
        f"bootstrap resamples of the photos, seed {comparison.seed}; photos of one scene are taken for independent"
    )


def most_different(comparison: Comparison) -> list[str]:
    """Names of all photos by how far the results lie apart in the first column."""
    names = [row.name for row in next(iter(comparison.reports.values())).photos]
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


def _sheet(comparison: Comparison, photos: Sequence[str]) -> str:
    """A row a photo: input, all results, reference, as far as there are pictures."""
    rows = {photo: _pictures(comparison, photo) for photo in photos}
    words = [
        word
        for word in ("input", *comparison.reports, "reference")
        if any(word in cells for cells in rows.values())
    ]
    lines = [[escaped(photo), *(cells.get(word, "none") for word in words)] for photo, cells in rows.items()]
    return table_of(["photo", *words], lines)


def _pictures(comparison: Comparison, photo: str) -> dict[str, str]:
    """HTML of a photo's pictures, by result or role."""
    column = next(iter(comparison.differences), "")
    cells: dict[str, str] = {}
    for name, report in comparison.reports.items():
        row = next(row for row in report.photos if row.name == photo)
        for role, pixels in pictures_of(row, comparison.places[name]):
            word = name if role == "output" else role
            if word not in cells:
                cells[word] = picture(pixels, word, side=300)
                if role == "output":
                    cells[word] += f"<br><small>{escaped(column)} {number(row.values.get(column))}</small>"
    return cells

"""A comparison in words and pictures: JSON, CSV, Markdown and a page, and the folder that holds them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lowlight import markdown
from lowlight.evaluation.comparing import (
    LEVEL,
    RESAMPLES,
    Comparison,
    Difference,
    heading,
    intervals,
    most_different,
)
from lowlight.evaluation.page import (
    definitions,
    document,
    escaped,
    html_table,
    items,
    picture,
    pictures_of,
    published_numbers,
    table_of,
)
from lowlight.evaluation.report import appendix, number, with_arrow
from lowlight.evaluation.scoring import versions
from lowlight.files import write_file

PAGE = "comparison.html"


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a column of the reports a row, a result a column, with its difference to the first."""
    base, *others = comparison.reports
    header = ["column", base]
    for name in others:
        header += [name, f"difference ({100 * LEVEL:.0f} %)"]
    rows = []
    for column, differences in comparison.differences.items():
        cells = [with_arrow(column, _better(comparison, column))]
        for name, report in comparison.reports.items():
            found = report.column(column)
            mean = None if found is None else found.mean
            cells.append(
                f"{number(mean)} ({0 if found is None else found.count})" if mean is not None else "none"
            )
            if name != base:
                cells.append(_interval(differences.get(name)))
        rows.append(cells)
    return header, rows


def _better(comparison: Comparison, column: str) -> str:
    """``higher``, ``lower`` or empty."""
    return comparison.reports[comparison.base].better[column.partition(".")[2]]


def _interval(found: Difference | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return _signed(found.mean)
    return f"{_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}]"


def _signed(value: float) -> str:
    return f"{value + 0.0:+.2f}" if abs(value) >= 1 else f"{round(value, 4) + 0.0:+.4f}"


def notes(comparison: Comparison) -> list[str]:
    """What to know before a number is read: photos left out first."""
    return [
        *(f"left out: {name}: {why}" for name, why in comparison.left_out.items()),
        *(f"note: {note}" for note in comparison.notes),
    ]


def to_json(comparison: Comparison) -> str:
    """All of it but the photos' rows, which the reports have."""
    told = {
        "base": comparison.base,
        "results": {name: str(folder) for name, folder in comparison.places.items()},
        "photos": comparison.photos,
        "scenes": comparison.scenes,
        "left_out": comparison.left_out,
        "interval": {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "of": comparison.drawn[0],
            "count": comparison.drawn[1],
            "too_narrow": comparison.too_narrow,
            "seed": comparison.seed,
        },
        "made": versions(),
        "better": {column: _better(comparison, column) for column in comparison.differences},
        "means": {
            name: {column.name: column.mean for column in report.columns}
            for name, report in comparison.reports.items()
        },
        "differences": {
            column: {name: asdict(each) for name, each in by_name.items()}
            for column, by_name in comparison.differences.items()
        },
        "notes": comparison.notes,
    }
    return json.dumps(told, indent=1) + "\n"


def to_csv(comparison: Comparison) -> str:
    """A row a column and result: which way is better; mean, deviation, photos in it; difference to the first, its
    bounds, its photos; what the bootstrap of all intervals drew, how many, its seed, and whether they are too few."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    first = ("column", "better", "result", "mean", "deviation", "photos")
    interval = ("interval of", "count", "seed", "too narrow")
    writer.writerow([*first, "difference", "low", "high", "photos of difference", *interval])
    drawn = (*comparison.drawn, comparison.seed, "yes" if comparison.too_narrow else "no")
    for name, differences in comparison.differences.items():
        for result, report in comparison.reports.items():
            if (column := report.column(name)) is None:
                continue
            own = (column.mean, column.deviation, column.count)
            found = differences.get(result)
            other = () if found is None else (found.mean, found.low, found.high, found.count)
            cells = [*own, *other, *[None] * (4 - len(other))]
            numbers = ("" if cell is None else repr(cell) for cell in cells)
            bounded = found is not None and found.low is not None
            told = drawn if bounded else [""] * len(drawn)
            writer.writerow([name, _better(comparison, name), result, *numbers, *told])
    return stream.getvalue()


def to_markdown(comparison: Comparison) -> str:
    """The table and what must be said with it."""
    first = comparison.reports[comparison.base]
    parts = [
        "# Comparison",
        "\n".join(f"- {markdown.escaped(line)}" for line in (heading(comparison), *notes(comparison))),
        markdown.table(*table(comparison)),
        markdown.escaped(f"Means (photos); {intervals(comparison)}."),
    ]
    parts += appendix(first, comparison.reports, versions())
    return "\n\n".join(parts) + "\n"


def to_html(comparison: Comparison, photos: int) -> str:
    """One page: the table, and a sheet of pictures, those first where the results differ most."""
    body = [
        "<h1>Comparison</h1>",
        items([heading(comparison), *notes(comparison)]),
        html_table(*table(comparison), stacked=True),
        f"<p><small>{escaped(f'Means (photos); {intervals(comparison)}.')}</small></p>",
    ]
    body += published_numbers(comparison.reports)
    chosen = most_different(comparison)[:photos]
    if chosen:
        body += [f"<h2>Photos ({len(chosen)})</h2>", _sheet(comparison, chosen)]
    body += definitions(comparison.reports[comparison.base])
    return document("lowlight: comparison", body)


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


def write_comparison(comparison: Comparison, folder: Path, *, pictures: int) -> None:
    """Write all files of a comparison. pictures: photos on the page's sheet."""
    texts = {
        "comparison.csv": to_csv(comparison),
        "comparison.md": to_markdown(comparison),
        PAGE: to_html(comparison, pictures),
        "comparison.json": to_json(comparison),
    }
    for name, text in texts.items():
        write_file(folder / name, text.encode("utf-8", "backslashreplace"))

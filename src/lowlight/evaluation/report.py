"""A report in words: lines for a terminal, Markdown, CSV, and the folder that holds them all."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lowlight import markdown
from lowlight.errors import UseError, shown
from lowlight.evaluation import leaderboard
from lowlight.evaluation.metrics import Picture
from lowlight.evaluation.pairing import listed, plural
from lowlight.evaluation.protocols import PROTOCOLS
from lowlight.evaluation.scoring import Column, Data, Guard, Report, System
from lowlight.files import write_file
from lowlight.photo import Photo, write_photo

PUBLISHED = "Published under this name of data, protocol and metric variant"
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
"""By what is better."""
RESULTS = "results"
"""Folder of what a model made, in a report's folder."""


def number(value: float | None, like: float | None = None) -> str:
    """With the digits that mean something; as many as ``like`` would have."""
    if value is None:
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:.2f}" if abs(value if like is None else like) >= 10 else f"{value:.4f}"


def cell(column: Column | None) -> str:
    """Mean, spread and count of a column."""
    if column is None:
        return ""
    if column.missing:
        return "-"
    if column.mean is None:
        text = "none"
    else:
        text = number(column.mean)
        if column.pooled:
            text += " pooled"
        elif column.deviation is not None:
            text += f" ± {number(column.deviation, like=column.mean)}"
        text += f" ({column.count})"
    if column.infinite:
        text += f" +{column.infinite} inf"
    if column.undefined:
        text += f" +{column.undefined} not defined"
    return text


def with_arrow(name: str, better: str) -> str:
    """A metric or column, and which way it is better."""
    return f"{name} {ARROWS[better]}".rstrip()


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a metric a row, a protocol a column."""
    names = list(report.protocols)
    rows = []
    for metric in report.metrics:
        cells = [cell(report.column(f"{protocol}.{metric}")) for protocol in names]
        rows.append([with_arrow(metric, report.better[metric]), *cells])
    return ["metric", *names], rows


def opening(system: System, data: Data, photos: int, guard: Guard, warnings: Sequence[str]) -> list[str]:
    """What is measured, on what, and what to know before a number is read."""
    weights = f", weights {system.sha256[:12]}" if system.sha256 else ""
    return [
        f"{system.kind} {system.name}{weights}, on {data.where}: {plural(photos, 'photo')}",
        f"results: {system.saved}",
        *(f"training photos: {line}" for line in guard.lines),
        *(f"note: {warning}" for warning in warnings),
    ]


def head(report: Report) -> list[str]:
    """The opening of a report that is done."""
    return opening(report.system, report.data, len(report.photos), report.guard, report.warnings)


def tail(report: Report) -> list[str]:
    """What stands below the table: scenes, empty columns, worst photos."""
    lines = []
    if report.scenes is not None and (scenes := len(set(report.scenes.values()))) < len(report.photos):
        lines.append(f"{len(report.photos)} photos show {plural(scenes, 'scene')}: they are not independent")
    for reason in dict.fromkeys(column.missing for column in report.columns if column.missing):
        names = dict.fromkeys(column.metric for column in report.columns if column.missing == reason)
        lines.append(f"no {', '.join(names)}: {reason}")
    for metric, file in report.weights.items():
        lines.append(f"{metric} looks through {Path(file.path).name}, SHA-256 {file.sha256[:16]}...")
    rounded = [
        column.name
        for column in report.columns
        if column.protocol in PROTOCOLS and column.metric in PROTOCOLS[column.protocol].on_floats
    ]
    if rounded:
        lines.append(
            f"of the result rounded to 8 bits after the gain, where the release measures floats: {listed(rounded)}; "
            "the presets measure what the releases do"
        )
    first = next((column for column in report.columns if column.worst), None)
    if first is not None:
        lines.append(f"worst by {first.name}: {listed(first.worst[:5])}")
    return lines


def left_out(report: Report) -> list[str]:
    """Photos that could not be measured."""
    return [f"left out: {name}: {reason}" for name, reason in report.failed.items()]


def published(reports: Mapping[str, Report]) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and a last line: published numbers under the same name of data, protocol and metric variant.

    reports: by the names that their rows get, all on the same data. Nothing is found where that is not the whole set.
    """
    first = next(iter(reports.values()))
    if not first.data.as_published or any(report.failed for report in reports.values()):
        return [], [], ""
    measured: dict[str, list[list[str]]] = {}
    for name, report in reports.items():
        for column in report.columns:
            if column.mean is not None:
                row = [column.name, f"{name} (measured)", number(column.mean), ""]
                measured.setdefault(column.name, []).append(row)
    found, others = leaderboard.beside(first.data.set, first.data.split, measured)
    rows = []
    for column_name, own in measured.items():
        of_column = [row for row in found if f"{row.protocol}.{row.metric}" == column_name]
        if of_column:
            rows += [[column_name, row.method, f"{row.value:g}", row.source] for row in of_column] + own
    last = f"{others} other published numbers on this set have another or no stated protocol or variant."
    if not first.data.names_checked:
        last = f"Names of the photos of {first.data.set} are not known, only counted: others would not be noticed. {last}"
    return ["column", "method", "value", "source"], rows, last if rows or others else ""


def to_csv(report: Report) -> str:
    """A row a photo: name, scene, values by column, gains by protocol, and why a photo was left out.

    ``inf`` is infinite, empty not defined.
    """
    columns = [column.name for column in report.columns if not column.missing]
    gains = list(dict.fromkeys(name for row in report.photos for name in row.gains))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["name", "scene", *columns, *(f"{name}.gain" for name in gains), "error"])
    for row in report.photos:
        values = [row.values.get(name) for name in columns] + [row.gains.get(name) for name in gains]
        writer.writerow(
            [row.name, row.scene, *("" if value is None else repr(value) for value in values), ""]
        )
    for name, reason in report.failed.items():
        writer.writerow([name, *[""] * (1 + len(columns) + len(gains)), reason])
    return stream.getvalue()


def to_markdown(report: Report) -> str:
    """The whole report but for the photos' rows."""
    parts = [
        f"# {markdown.escaped(report.system.name)}",
        "\n".join(f"- {markdown.escaped(line)}" for line in head(report)),
    ]
    parts.append(markdown.table(*table(report)))
    parts.append("Mean ± standard deviation over photos (count). Infinite values are left out of the mean.")
    if lines := [*tail(report), *left_out(report)]:
        parts.append("\n".join(f"- {markdown.escaped(line)}" for line in lines))
    parts += appendix(report, {report.system.name: report}, report.made)
    return "\n\n".join(parts) + "\n"


def appendix(first: Report, reports: Mapping[str, Report], made: Mapping[str, str]) -> list[str]:
    """What follows a table in Markdown: published numbers, what ``first`` says of protocols and metrics, versions."""
    header, rows, last = published(reports)
    parts: list[str] = []
    if last:
        parts.append(f"## {PUBLISHED}")
        parts += [markdown.table(header, rows)] if rows else []
        parts.append(last)
    for title, defined in (("Protocols", first.protocols), ("Metrics", first.metrics)):
        parts.append(f"## {title}")
        parts.append("\n".join(f"- `{name}`: {each}" for name, each in defined.items()))
    parts.append(f"Made with {', '.join(f'{name} {version}' for name, version in made.items())}.")
    return parts


def to_json(report: Report) -> str:
    """What ``scoring.read_report`` reads. Infinite values are the text ``Infinity``."""
    return report.model_dump_json(indent=1) + "\n"


def claim(folder: Path, *, overwrite: bool) -> None:
    """Make sure before the work that a report may be written here. Raises UseError."""
    if folder.exists() and not folder.is_dir():
        raise UseError(f"{shown(folder)}: expected a folder for the report, found a file")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UseError(f"{shown(folder)}: the folder is not empty; choose another, or --overwrite")


def keeper(folder: Path) -> Callable[[str, Picture], None]:
    """Takes a photo's name and result, and writes it into the report's folder."""

    def keep(name: str, picture: Picture) -> None:
        target = folder / RESULTS / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_photo(Photo(picture.samples), target)

    return keep


def write_report(report: Report, folder: Path, *, pictures: int) -> None:
    """Write all files of a report. pictures: photos that the page shows, worst first."""
    from lowlight.evaluation.page import to_html

    write_file(folder / "photos.csv", to_csv(report).encode("utf-8", "backslashreplace"))
    write_file(folder / "report.md", to_markdown(report).encode("utf-8", "backslashreplace"))
    write_file(folder / "report.html", to_html(report, folder, pictures).encode("utf-8", "backslashreplace"))
    write_file(folder / "report.json", to_json(report).encode())

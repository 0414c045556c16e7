"""A report as one HTML page: no network, no framework, all names escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowlight.errors import LowlightError, shown
from lowlight.evaluation import files
from lowlight.evaluation.report import RESULTS, head, number, published, table, tail
from lowlight.evaluation.scoring import Report, Row
from lowlight.statistics import to_8_bits

WIDTH = 560
"""Of a picture on the page, pixels, at most."""
ERROR_GAIN = 4
"""An error map is brightest at a quarter of full scale."""

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #ddd;padding:.25rem .7rem;text-align:left;white-space:nowrap}
td+td{font-variant-numeric:tabular-nums}
ul{padding-left:1.2rem}
figure{margin:2rem 0;border-top:1px solid #ccc;padding-top:1rem}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}
.slider{position:relative;--cut:50%}
.slider img{max-width:100%}
.slider .under{display:block}
.slider .top{position:absolute;left:0;top:0;z-index:1;clip-path:inset(0 calc(100% - var(--cut)) 0 0)}
.slider .away{display:none}
input[type=range]{width:100%;margin:.3rem 0}
small{color:#555}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}small{color:#aaa}th,td{border-color:#444}}
"""
_SCRIPT = """
for (const figure of document.querySelectorAll('figure')) {
  const slider = figure.querySelector('.slider'), choice = figure.querySelector('select');
  if (!choice) continue;
  figure.querySelector('input').addEventListener('input', event => {
    slider.style.setProperty('--cut', event.target.value + '%');
  });
  choice.addEventListener('change', () => {
    const [left, right] = choice.value.split(' ');
    for (const image of slider.children) {
      const role = image.dataset.role;
      image.className = role === right ? 'under' : role === left ? 'top' : 'away';
    }
  });
}
"""


def to_html(report: Report, folder: Path, pictures: int) -> str:
    """The page. folder: of the report, where the results of a model lie. pictures: photos shown, worst first."""
    title = f"{report.system.name}: evaluation"
    header, rows, last = published({report.system.name: report})
    body = [
        f"<h1>{escaped(title)}</h1>",
        items(head(report)),
        html_table(*table(report)),
        "<p><small>Mean ± standard deviation over photos (count). Infinite values are left out of the mean.</small></p>",
        items(tail(report)),
    ]
    if last:
        body.append("<h2>Published, same data, protocol and metric variant</h2>")
        body += [html_table(header, rows)] if rows else []
        body.append(f"<p>{escaped(last)}</p>")
    chosen = worst_first(report)
    if pictures:
        body.append(f"<h2>Photos, worst first ({min(pictures, len(chosen))} of {len(chosen)})</h2>")
        body += [_figure(report, row, folder) for row in chosen[:pictures]]
    columns = [column.name for column in report.columns if not column.missing]
    values = [[row.name, *(number(row.values.get(name)) for name in columns)] for row in chosen]
    body += ["<h2>All photos</h2>", html_table(["name", *columns], values)]
    body += [
        "<h2>Protocols</h2>",
        definitions(report.protocols),
        "<h2>Metrics</h2>",
        definitions(report.metrics),
    ]
    made = ", ".join(f"{name} {version}" for name, version in report.made.items())
    body.append(f"<p><small>Made with {escaped(made)}.</small></p>")
    return document(title, body, _SCRIPT)


def document(title: str, body: Sequence[str], script: str = "") -> str:
    """A whole page that may load nothing."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaped(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            *([f"<script>{script}</script>"] if script else []),
            "</body></html>",
            "",
        ]
    )


def worst_first(report: Report) -> list[Row]:
    """All photos by the first column that has an order; what it gives no number to comes last."""
    column = next((each for each in report.columns if each.worst), None)
    if column is None:
        return report.photos
    sign = -1 if report.better[column.metric] == "lower" else 1

    def key(row: Row) -> tuple[bool, float]:
        value = row.values.get(column.name)
        return value is None, 0.0 if value is None else sign * value

    return sorted(report.photos, key=key)


def pictures_of(row: Row, folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(role, 8-bit picture) of a photo, as far as its files are still there, unchanged: input, output, reference."""
    places = {role: Path(file.path) for role, file in row.files.items()}
    places.setdefault("result", folder / RESULTS / f"{row.name}.png")
    for role, word in (("low", "input"), ("result", "output"), ("reference", "reference")):
        if role in places and places[role].is_file():
            try:
                photo, digest = files.read(places[role])
            except LowlightError:
                continue
            if role not in row.files or row.files[role].sha256 == digest:
                yield word, to_8_bits(photo.samples)


def _figure(report: Report, row: Row, folder: Path) -> str:
    found = dict(pictures_of(row, folder))
    shown_columns = [column.name for column in report.columns if row.values.get(column.name) is not None]
    numbers = ", ".join(f"{name} {number(row.values[name])}" for name in shown_columns[:12])
    parts = [f"<figure><figcaption><b>{escaped(row.name)}</b> <small>{escaped(numbers)}</small></figcaption>"]
    if found:
        roles = list(found)
        right = roles[-1]
        left = roles[-2] if len(roles) > 1 else right
        images = "".join(
            f'<img data-role="{role}" class="{_place(role, left, right)}" alt="{role}" src="{data_uri(picture)}">'
            for role, picture in found.items()
        )
        choices = [(a, b) for index, a in enumerate(roles) for b in roles[index + 1 :]]
        options = "".join(
            f'<option value="{a} {b}"{" selected" if (a, b) == (left, right) else ""}>{a} | {b}</option>'
            for a, b in choices
        )
        parts.append(f'<div class="pictures"><div><div class="slider">{images}</div>')
        if choices:
            parts.append(
                '<input type="range" min="0" max="100" value="50" aria-label="where the two pictures meet">'
                f"<select>{options}</select>"
            )
        parts.append("</div>")
        if "output" in found and "reference" in found:
            uri = data_uri(error_map(found["output"], found["reference"]))
            parts.append(
                f'<div><img alt="error" src="{uri}"><br><small>error, {ERROR_GAIN} times</small></div>'
            )
        parts.append("</div>")
    parts.append("</figure>")
    return "".join(parts)


def _place(role: str, left: str, right: str) -> str:
    return "under" if role == right else "top" if role == left else "away"


def error_map(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean absolute error of the channels, times ``ERROR_GAIN``: black, red, yellow, white."""
    error = np.abs(result.astype(np.float32) - reference).mean(axis=2) * (ERROR_GAIN / 255)
    heat = np.stack([3 * error, 3 * error - 1, 3 * error - 2], axis=2)
    return np.asarray(255 * np.clip(heat, 0, 1), np.uint8)


def data_uri(picture: NDArray[np.uint8], width: int = WIDTH) -> str:
    """A picture, reduced to a width, inside the page."""
    image = Image.fromarray(picture)
    if image.width > width:
        size = width, max(1, round(image.height * width / image.width))
        image = image.resize(size, Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def escaped(text: str) -> str:
    """Text of a user, on one line, for HTML."""
    return html.escape(shown(text))


def items(lines: Sequence[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>" if lines else ""


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of escaped text."""
    head_cells = "".join(f"<th>{escaped(cell)}</th>" for cell in header)
    lines = ("".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head_cells}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def definitions(titles: Mapping[str, str]) -> str:
    """Names with their titles."""
    return items([f"{name}: {title}" for name, title in titles.items()])

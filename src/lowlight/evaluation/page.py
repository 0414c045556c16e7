"""A report as one HTML page: no network, no framework, all names escaped."""

from __future__ import annotations

import base64
import html
import io
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lowlight.errors import LowlightError, shown
from lowlight.evaluation import files
from lowlight.evaluation.pairing import Role
from lowlight.evaluation.report import PUBLISHED, RESULTS, head, left_out, number, published, table, tail
from lowlight.evaluation.scoring import Report, Row
from lowlight.statistics import to_8_bits

SIDE = 600
"""Of a picture on the page, pixels, at most."""
THUMBNAIL = 96
"""Of a picture in the table of all photos, pixels, at most."""
ERROR_WHITE = 0.4
"""Of full scale: errors from here on are white in a map."""
_LEGEND = (
    f"error: black 0, red {ERROR_WHITE / 3:.2f}, yellow {ERROR_WHITE * 2 / 3:.2f}, "
    f"white {ERROR_WHITE:.2f} of full scale and more"
)
_ROLES: dict[Role, str] = {"low": "input", "result": "output", "reference": "reference"}
"""What the page calls the files of a photo, from left to right."""

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem}
h1{overflow-wrap:anywhere}
ul{padding-left:1.2rem}
li{overflow-wrap:anywhere}
small{opacity:.75}
img{max-width:100%;height:auto;vertical-align:middle}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse}
th,td{border-bottom:1px solid #8886;padding:.3rem .6rem;text-align:left;vertical-align:top;line-height:1.25}
td{white-space:nowrap;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{position:sticky;left:0;background:Canvas;z-index:2}
td img{max-width:none}
select{margin-top:.4rem}
figure{margin:2rem 0;border-top:1px solid #8886;padding-top:1rem}
figcaption{margin-bottom:.5rem;overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}
.slider{position:relative;width:fit-content;--cut:50%}
.slider img{display:none}
.slider .left,.slider .right{display:block}
.slider img.left{position:absolute;inset:0;clip-path:inset(0 calc(100% - var(--cut)) 0 0)}
.slider::after{content:"";position:absolute;top:0;bottom:0;left:calc(var(--cut) - 1px);width:2px;background:#fff;
box-shadow:0 0 2px #000;pointer-events:none}
.slider b{position:absolute;bottom:0;padding:0 .4rem;background:#000a;color:#fff;font:13px/1.6 system-ui}
.slider b.left{left:0}
.slider b.right{right:0}
.slider:focus-within{outline:2px solid Highlight;outline-offset:2px}
.slider input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize;touch-action:pan-y}
.slider input::-webkit-slider-thumb{appearance:none;width:1px}
.slider input::-moz-range-thumb{border:0;width:1px}
.slider input,.slider input::-webkit-slider-runnable-track{appearance:none;height:100%}
"""
_SCRIPT = """
for (const slider of document.querySelectorAll('.slider')) {
  const cut = slider.querySelector('input'), choice = slider.parentElement.querySelector('select');
  const move = () => slider.style.setProperty('--cut', cut.value + '%');
  const choose = () => {
    const [left, right] = choice.value.split(' ');
    for (const image of slider.querySelectorAll('img'))
      image.className = {[left]: 'left', [right]: 'right'}[image.alt] ?? '';
    slider.querySelector('b.left').textContent = left;
    slider.querySelector('b.right').textContent = right;
  };
  cut.addEventListener('input', move);
  choice.addEventListener('change', choose);
  move();
  choose();
}
"""


def to_html(report: Report, folder: Path, pictures: int) -> str:
    """The page. folder: of the report, where the results of a model lie. pictures: photos shown, worst first."""
    title = f"{report.system.name}: evaluation"
    body = [
        f"<h1>{escaped(title)}</h1>",
        items(head(report)),
        html_table(*table(report), stacked=True),
        "<p><small>Mean ± standard deviation over photos (count). Infinite values are left out of the mean.</small></p>",
        items([*tail(report), *left_out(report)]),
    ]
    body += published_numbers({report.system.name: report})
    chosen = worst_first(report)
    if pictures:
        body.append(f"<h2>Photos, worst first ({min(pictures, len(chosen))} of {len(chosen)})</h2>")
        body += [_figure(report, row, folder, place) for place, row in enumerate(chosen[:pictures])]
    body += ["<h2>All photos</h2>", _all_photos(report, chosen, folder, pictures)]
    body += definitions(report)
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


def pictures_of(
    row: Row, folder: Path, words: Collection[str] = tuple(_ROLES.values())
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(role, 8-bit picture) of a photo, as far as its files are still there, unchanged: input, output, reference."""
    places = {role: Path(file.path) for role, file in row.files.items()}
    places.setdefault("result", folder / RESULTS / f"{row.name}.png")
    for role, word in _ROLES.items():
        if word in words and role in places and places[role].is_file():
            try:
                photo, digest = files.read(places[role])
            except LowlightError:
                continue
            if role not in row.files or row.files[role].sha256 == digest:
                yield word, to_8_bits(photo.samples)


def _figure(report: Report, row: Row, folder: Path, place: int) -> str:
    """A photo's numbers under the first protocol, its pictures under a slider, and its map of errors."""
    first = next(iter(report.protocols))
    values = {
        column.metric: row.values.get(column.name) for column in report.columns if column.protocol == first
    }
    numbers = ", ".join(f"{metric} {number(value)}" for metric, value in values.items() if value is not None)
    found = dict(pictures_of(row, folder))
    parts = [_slider(found)] if found else []
    if "output" in found and "reference" in found:
        map_of_errors = picture(error_map(found["output"], found["reference"]), "error")
        parts.append(f"<div>{map_of_errors}<br><small>{_LEGEND}</small></div>")
    return (
        f'<figure id="photo-{place}"><figcaption><b>{escaped(row.name)}</b> '
        f"<small>{escaped(f'{first}: {numbers}')}</small></figcaption>"
        f'<div class="pictures">{"".join(parts)}</div></figure>'
    )


def _slider(found: Mapping[str, NDArray[np.uint8]]) -> str:
    """Pictures of one size on top of each other, two at a time; with one there is nothing to slide."""
    *others, right = found
    if not others:
        return f"<div>{picture(found[right], right)}</div>"
    left = others[-1]
    places = {left: "left", right: "right"}
    images = "".join(picture(pixels, role, places.get(role, "")) for role, pixels in found.items())
    choices = "".join(
        f'<option value="{a} {b}"{" selected" if (a, b) == (left, right) else ""}>{a} | {b}</option>'
        for a, b in itertools.combinations(found, 2)
    )
    return (
        f'<div><div class="slider">{images}<b class="left">{left}</b><b class="right">{right}</b>'
        '<input type="range" min="0" max="100" step="0.5" value="50" aria-label="where the two pictures meet"></div>'
        f'<select aria-label="pictures left and right">{choices}</select></div>'
    )


def _all_photos(report: Report, rows: Sequence[Row], folder: Path, pictures: int) -> str:
    """A row a photo, with a small picture of the result that leads to its figure; without pictures, numbers alone."""
    columns = [column.name for column in report.columns if not column.missing]
    lines = []
    for place, row in enumerate(rows):
        name = escaped(row.name)
        if pictures:
            found = dict(pictures_of(row, folder, ("output",)))
            name = "".join(f"{picture(pixels, '', side=THUMBNAIL)}<br>" for pixels in found.values()) + name
        if place < pictures:
            name = f'<a href="#photo-{place}">{name}</a>'
        lines.append([name, *(number(row.values.get(column)) for column in columns)])
    return table_of(["name", *columns], lines)


def error_map(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean absolute error of the channels: from black over red and yellow, a third each, to white."""
    level = np.abs(result.astype(np.float32) - reference).mean(axis=2) / (255 * ERROR_WHITE)
    heat = np.stack([3 * level, 3 * level - 1, 3 * level - 2], axis=2)
    return np.asarray(255 * np.clip(heat, 0, 1), np.uint8)


def picture(pixels: NDArray[np.uint8], alt: str, kind: str = "", side: int = SIDE) -> str:
    """A picture inside the page, its longer side reduced to ``side``."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    chosen = f' class="{kind}"' if kind else ""
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img alt="{escaped(alt)}"{chosen} {size} src="data:image/jpeg;base64,{data}">'


def escaped(text: str) -> str:
    """Text of a user, on one line, for HTML."""
    return html.escape(shown(text))


def items(lines: Sequence[str]) -> str:
    """A list; what stands between backticks is code."""
    marked = (re.sub("`(.*?)`", r"<code>\1</code>", escaped(line)) for line in lines)
    return f"<ul>{''.join(f'<li>{line}</li>' for line in marked)}</ul>" if lines else ""


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, stacked: bool = False) -> str:
    """A table of text. stacked: what follows a number in its cell stands below it, smaller."""
    show = _stacked if stacked else escaped
    return table_of(header, [[escaped(row[0]), *map(show, row[1:])] for row in rows])


def _stacked(text: str) -> str:
    first, *rest = escaped(text).split(" ", 1)
    return "<br>".join([first, *(f"<small>{each}</small>" for each in rest)])


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows are HTML, the header is text; long names break behind an underscore or point."""
    heads = "".join(
        f"<th>{escaped(cell).replace('_', '_<wbr>').replace('.', '.<wbr>')}</th>" for cell in header
    )
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{heads}</tr>{lines}</table></div>'


def published_numbers(reports: Mapping[str, Report]) -> list[str]:
    """What ``report.published`` finds, under a heading."""
    header, rows, last = published(reports)
    if not last:
        return []
    found = [html_table(header, rows)] if rows else []
    return [f"<h2>{PUBLISHED}</h2>", *found, f"<p>{escaped(last)}</p>"]


def definitions(report: Report) -> list[str]:
    """Protocols and metrics with their titles, under headings."""
    lines: list[str] = []
    for title, defined in (("Protocols", report.protocols), ("Metrics", report.metrics)):
        lines += [f"<h2>{title}</h2>", items([f"`{name}`: {each}" for name, each in defined.items()])]
    return lines

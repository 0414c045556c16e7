"""A sheet of pictures: rows of them, each with a line of text above where it has one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
HEIGHT = 240
"""Of each picture, pixels."""
_TEXT = 14
_GAP = 6


def draw(rows: Sequence[Sequence[tuple[str, Pixels]]], height: int = HEIGHT) -> Pixels:
    """A picture (height, width, 3) of rows of titled pictures (height, width, 3) of any size, each scaled to ``height``."""
    scaled = [[(title, _scaled(pixels, height)) for title, pixels in row] for row in rows]
    columns = max(len(row) for row in scaled)
    widths = [max(row[at][1].width for row in scaled if at < len(row)) for at in range(columns)]
    lines = [_TEXT + _GAP if any(title for title, _ in row) else 0 for row in scaled]
    size = _GAP + sum(width + _GAP for width in widths), _GAP + sum(line + height + _GAP for line in lines)
    canvas = Image.new("RGB", size, "white")
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    top = _GAP
    for row, line in zip(scaled, lines, strict=True):
        left = _GAP
        for (title, picture), width in zip(row, widths, strict=False):
            text.text((left, top), title, "black", font)
            canvas.paste(picture, (left, top + line))
            left += width + _GAP
        top += line + height + _GAP
    return np.asarray(canvas)


def _scaled(pixels: Pixels, height: int) -> Image.Image:
    width = max(1, round(pixels.shape[1] * height / pixels.shape[0]))
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)

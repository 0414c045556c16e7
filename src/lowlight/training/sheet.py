"""A contact sheet: rows of pictures with a line of text above each."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
WIDTH = 360
"""Of each picture, pixels, at most."""
_TEXT = 14
_GAP = 6


def png(rows: Sequence[Sequence[tuple[str, Pixels]]]) -> bytes:
    """PNG of rows of titled pictures (height, width, 3), each reduced to fit its column; those of a row are of one
    size."""
    font = ImageFont.load_default(_TEXT)
    line = _TEXT + 2 * _GAP
    drawn: list[list[Image.Image]] = []
    for row in rows:
        height, width = row[0][1].shape[:2]
        scale = min(1, WIDTH / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        drawn.append([Image.fromarray(picture).resize(size, Image.Resampling.BOX) for _, picture in row])
    columns, wide = max(len(row) for row in rows), max(row[0].width for row in drawn)
    total = _GAP + sum(row[0].height + line + _GAP for row in drawn)
    canvas = Image.new("RGB", (_GAP + columns * (wide + _GAP), total), "white")
    draw = ImageDraw.Draw(canvas)
    top = _GAP
    for row, pictures in zip(rows, drawn, strict=True):
        for column, ((title, _), picture) in enumerate(zip(row, pictures, strict=True)):
            left = _GAP + column * (wide + _GAP)
            draw.text((left, top), title, "black", font)
            canvas.paste(picture, (left, top + line))
        top += pictures[0].height + line + _GAP
    stream = io.BytesIO()
    canvas.save(stream, "png")
    return stream.getvalue()

"""One latent shifted: brightness over the control of that name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import enhancer, photo, statistics, studies
from lowlight.evaluation.pairing import Case, photos_in
from lowlight.studies._shared import met, sheet, spread

PLOT = 480, 360
"""Width and height of the plot, pixels."""


class Brightness:
    """Each photo at each brightness."""

    title: ClassVar[str] = "Mean of the result over the latent's brightness"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), figure 6, which gives no numbers"
    published: ClassVar[studies.Table | None] = None

    class Settings(studies.Settings):
        low: Path
        """Folder of dark photos."""
        photos: int | None = Field(None, ge=1)
        """At most, spread evenly; default: all."""
        model: str = "llflow"
        """Name or weights file of a method with a control ``brightness``."""
        brightness: tuple[float, ...] = Field((-0.4, -0.2, 0.0, 0.2, 0.4), min_length=2)
        """What the control is set to, rising."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Means in [0, 1]. Pictures: the first photo's results, and a line a photo."""
        model = enhancer.load(settings.model)
        means: list[list[float]] = []
        shown: NDArray[np.uint8] | None = None
        files = spread(list(photos_in(settings.low).items()), settings.photos)
        for name, path in files:
            say(name)
            low = photo.read_photo(path)
            results = [
                model.enhance_photo(low, model.controls(brightness=each))[0] for each in settings.brightness
            ]
            means.append([statistics.mean(each.samples) for each in results])
            if shown is None:
                titles = ["dark photo", *map(str, settings.brightness)]
                shown = sheet([each.samples for each in (low, *results)], titles=titles)
        values = np.array(means)
        rows = [
            (each, *map(float, (column.mean(), column.min(), column.max())))
            for each, column in zip(settings.brightness, values.T, strict=True)
        ]
        rising = int(np.sum((np.diff(values) > 0).all(axis=1)))
        cases = [Case(name, None, path, None) for name, path in files]
        note = f"The mean rises with every step on {rising} of {len(values)} photos."
        assert shown is not None  # noqa: S101
        pictures = {"brightness": shown, "brightness-lines": _plot(settings.brightness, values)}
        table = studies.Table(("brightness", "mean", "darkest photo", "lightest photo"), rows)
        return studies.Findings(
            table, [*met(settings.model, cases), note], pictures, {"dark photos": len(values)}
        )


def _plot(across: tuple[float, ...], values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A grey line a photo and a black one for their mean; up: 0 to 1, across: the range of brightness."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", PLOT, "white")
    draw = ImageDraw.Draw(image)
    columns = np.interp(across, (min(across), max(across)), (0, PLOT[0] - 1))
    for line in [*values, values.mean(axis=0)]:
        points = [(float(x), float((1 - y) * (PLOT[1] - 1))) for x, y in zip(columns, line, strict=True)]
        draw.line(points, fill=(190, 190, 190), width=1)
    draw.line(points, fill=(0, 0, 0), width=3)
    return np.asarray(image)

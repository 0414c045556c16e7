"""Real dark photos beside dimmed ones: their values, their noise by brightness, its grain, their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from lowlight import studies
from lowlight.errors import UseError
from lowlight.methods.dimma.calibration import WINDOW, inner, is_flat, local_mean
from lowlight.methods.dimma.dimmer import Dimmer, load_dimmer
from lowlight.statistics import to_8_bits
from lowlight.studies._shared import Pairs, Scene, cases_of, met, read_scenes, sheet, spread

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

BANDS = (0, 8, 16, 32, 64, 256)
"""Edges of the levels by which residuals are told apart."""
EDGES = np.arange(-32.125, 32.5, 0.25)
"""Of the bins of residuals, in levels of 255; what lies beyond counts in the last ones."""
FEWEST = 100
"""Residuals of a band below which there is nothing to compare."""
FACTORS = (0.3, 2.0)
PATCH = 80
"""Side of a patch, pixels."""
SHOWN_AT = 110.0
"""Mean level that patches are brightened to."""


class Noise:
    """References of held-out pairs are dimmed, and measured beside the real dark photos of the same scenes."""

    title: ClassVar[str] = "Real dark photos beside dimmed ones: values, noise by brightness, grain, colours"
    source: ClassVar[str] = ""
    published: ClassVar[studies.Table | None] = None

    class Settings(Pairs):
        model: str
        """Name or file of the dimmer."""
        factor: float | None = Field(None, ge=FACTORS[0], le=FACTORS[1])
        """Of the light that is left; default: for each photo the one that gives its real dark photo's mean."""
        seed: int = Field(0, ge=0)
        """Of the dimming."""
        patches: int = Field(8, ge=1)
        """On the sheet, at most."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Distances are earth mover's, in levels of 255."""
        dimmer = load_dimmer(settings.model)
        found: dict[str, list[Measured]] = {}
        patches: list[tuple[Pixels, Pixels]] = []
        for scene in read_scenes(settings):
            say(scene.name)
            pictures = variants(dimmer, scene, settings.factor, settings.seed)
            flat = is_flat(pictures["undimmed"].mean(axis=2))
            for kind, picture in pictures.items():
                found.setdefault(kind, []).append(measure(picture, flat))
            patches.append((_patch(pictures["real"]), _patch(pictures["dimmed"])))
        if len(patches) < 2:
            raise UseError(f"{settings.low}: expected two photos or more, to compare real with real")
        pooled = {kind: pool(each) for kind, each in found.items()}
        halves = pool(found["real"][::2]), pool(found["real"][1::2])
        rows: list[tuple[studies.Cell, ...]] = []
        for kind, each in pooled.items():
            one, other = halves if kind == "real" else (each, pooled["real"])
            rows.append(
                (
                    kind,
                    *distances(one, other),
                    each.correlation,
                    each.correlation_of_colours,
                    *each.means,
                    *each.deviations,
                )
            )
        bands = [f"noise at {low} to {high}" for low, high in pairwise(BANDS)]
        columns = (
            *("photos", "distance of values", "distance of residuals", "correlation of neighbours"),
            "correlation of colours",
            *("red", "green", "blue", *bands),
        )
        chosen = [_brightened(*pair) for pair in spread(patches, settings.patches)]
        notes = [
            *met(settings.model, cases_of(settings)),
            f"{len(patches)} pairs. Distances are those to the real photos, in levels of 255.",
            "In the row of the real photos they are those of one half of them to the other: the floor.",
            "dimmed: the references, by the dimmer. undimmed: the references.",
            "scaled: the references times the factor that gives the real photo's mean, without noise.",
            f"Residual: what a value is above the mean of the {WINDOW}x{WINDOW} around it.",
            "Residuals are taken in the half of each reference that varies least.",
            "noise at A to B: the residuals' root mean square where that mean is from A to B.",
            "correlation of neighbours: of residuals side by side; of independent ones it is -0.05.",
            "correlation of colours: of the residuals of a pixel's red, green and blue, in the mean.",
        ]
        pictures = {"histograms": histograms(pooled), "patches": sheet(*zip(*chosen, strict=True))}
        return studies.Findings(studies.Table(columns, rows), notes, pictures, {"pairs": len(patches)})


def variants(dimmer: Dimmer, scene: Scene, factor: float | None, seed: int) -> dict[str, Pixels]:
    """The dark photo, and what is made of its reference to be like it."""
    dark, light = to_8_bits(scene.low), to_8_bits(scene.reference)
    if factor is None:
        coarse = np.ascontiguousarray(light[::4, ::4])
        made = dimmer.dim(coarse, seed=seed).mean()
        factor = float(np.clip(dark.mean() / max(made, 1e-9), *FACTORS))
    gain = dark.mean() / max(light.mean(), 1e-9)
    return {
        "real": dark,
        "dimmed": to_8_bits(dimmer.dim(light, factor=factor, seed=seed)),
        "scaled": np.rint(np.minimum(light * gain, 255)).astype(np.uint8),
        "undimmed": light,
    }


# Measuring


@dataclass(frozen=True)
class Measured:
    """Counts and sums of photos of one kind; those of two may be added."""

    values: Floats
    """(3, 256)."""
    residuals: Floats
    """(bands, bins)."""
    squares: Floats
    """(bands,): sums of squared residuals."""
    products: Floats
    """(2,): sums over neighbours of the residuals' product, and of their mean square."""
    colours: Floats
    """(2,): the same over the three pairs of colours of a pixel."""

    @property
    def means(self) -> list[float]:
        """Of red, green and blue, in levels of 255."""
        return [float(each) for each in self.values @ np.arange(256) / self.values.sum(axis=1)]

    @property
    def deviations(self) -> list[float | None]:
        """Root mean square of the residuals of each band; None for too few."""
        counts = self.residuals.sum(axis=1)
        return [
            float(np.sqrt(square / count)) if count >= FEWEST else None
            for square, count in zip(self.squares, counts, strict=True)
        ]

    @property
    def correlation(self) -> float | None:
        """Of residuals side by side."""
        return float(self.products[0] / self.products[1]) if self.products[1] else None

    @property
    def correlation_of_colours(self) -> float | None:
        """Of the residuals of a pixel's red, green and blue."""
        return float(self.colours[0] / self.colours[1]) if self.colours[1] else None


def pool(all_of: Sequence[Measured]) -> Measured:
    """Several photos as one."""
    return Measured(
        sum((each.values for each in all_of), np.zeros(1)),
        sum((each.residuals for each in all_of), np.zeros(1)),
        sum((each.squares for each in all_of), np.zeros(1)),
        sum((each.products for each in all_of), np.zeros(1)),
        sum((each.colours for each in all_of), np.zeros(1)),
    )


def measure(picture: Pixels, flat: NDArray[np.bool_]) -> Measured:
    """Values of a whole photo, residuals where it is flat."""
    levels = picture.astype(np.float64)
    means = local_mean(levels)
    residuals = inner(levels) - means
    band = np.digitize(means[flat], BANDS[1:-1])
    here = residuals[flat]
    counts = [
        np.histogram(np.clip(here[band == index], EDGES[0], EDGES[-1]), EDGES)[0]
        for index in range(len(BANDS) - 1)
    ]
    products = np.zeros(2)
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = flat[one] & flat[other]
        first, second = residuals[one][both], residuals[other][both]
        products += (first * second).sum(), (first**2 + second**2).sum() / 2
    return Measured(
        np.stack([np.bincount(picture[..., c].ravel(), minlength=256) for c in range(3)]).astype(np.float64),
        np.stack(counts).astype(np.float64),
        np.bincount(band.ravel(), here.ravel() ** 2, len(BANDS) - 1).astype(np.float64),
        products,
        np.array([((here.sum(axis=1) ** 2).sum() - (here**2).sum()) / 2, (here**2).sum()]),
    )


def distances(one: Measured, other: Measured) -> tuple[float, float | None]:
    """Earth mover's distances in levels of 255: of values, the mean over colours; of residuals, the mean over the
    bands that both fill, each by its share in ``other``; None where there is no such band."""
    values = float(np.mean([_moved(*pair) for pair in zip(one.values, other.values, strict=True)]))
    filled = np.minimum(one.residuals.sum(axis=1), other.residuals.sum(axis=1)) >= FEWEST
    if not filled.any():
        return values, None
    pairs = zip(one.residuals[filled], other.residuals[filled], strict=True)
    moved = [_moved(*pair) * float(EDGES[1] - EDGES[0]) for pair in pairs]
    return values, float(np.average(moved, weights=other.residuals[filled].sum(axis=1)))


def _moved(one: Floats, other: Floats) -> float:
    """Earth mover's distance of two histograms, in bins."""
    return float(np.abs(np.cumsum(one / one.sum() - other / other.sum())).sum())


# Pictures


def _patch(picture: Pixels) -> Pixels:
    """From the middle."""
    top, left = (max(0, (side - PATCH) // 2) for side in picture.shape[:2])
    return picture[top : top + PATCH, left : left + PATCH]


def _brightened(real: Pixels, dimmed: Pixels) -> tuple[Pixels, Pixels]:
    """Both by the one factor that makes the real one well visible."""
    gain = max(1.0, SHOWN_AT / max(real.mean(), 1.0))
    first, second = (np.minimum(each * gain, 255).astype(np.uint8) for each in (real, dimmed))
    return first, second


COLOURS = {"real": "black", "dimmed": "red", "scaled": "blue", "undimmed": "darkgrey"}
PANEL = 320, 200
"""Width and height of one histogram, pixels."""
FLOOR = -5.0
"""Decimal logarithm of the smallest share that is drawn."""


def histograms(pooled: Mapping[str, Measured]) -> Pixels:
    """Values, and residuals of each band, on a logarithmic scale."""
    bands = [f"residuals at {low} to {high}" for low, high in pairwise(BANDS)]
    panels = [_panel("values", {kind: each.values.sum(axis=0) for kind, each in pooled.items()})]
    for index, title in enumerate(bands):
        panels.append(_panel(title, {kind: each.residuals[index] for kind, each in pooled.items()}))
    rows = [np.concatenate(panels[at : at + 3], axis=1) for at in range(0, len(panels), 3)]
    return np.concatenate(rows)


def _panel(title: str, counts: Mapping[str, Floats]) -> Pixels:
    width, height = PANEL
    image = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(image)
    draw.text((8, 4), title, fill="black")
    for index, (kind, histogram) in enumerate(counts.items()):
        draw.text((width - 70, 4 + 12 * index), kind, fill=COLOURS[kind])
        if histogram.sum() < FEWEST:
            continue
        shares = np.log10(np.maximum(histogram / histogram.sum(), 10**FLOOR))
        across = np.linspace(8, width - 8, len(shares))
        down = 8 + (height - 16) * shares / FLOOR
        draw.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=COLOURS[kind])
    return np.asarray(image)

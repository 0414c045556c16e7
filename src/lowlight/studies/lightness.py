"""Lightness asked for against lightness reached, and the result beside the scene's own exposure."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import enhancer, photo, statistics, studies
from lowlight.errors import PhotoError
from lowlight.evaluation import metrics
from lowlight.evaluation.files import to_picture
from lowlight.evaluation.pairing import Case
from lowlight.photo import Photo
from lowlight.studies._shared import met, sheet, spread


class LightnessControl:
    """One dark exposure of each scene is driven to lightnesses, and to those of the scene's other exposures."""

    title: ClassVar[str] = "Lightness asked for against lightness reached, on exposure sequences"
    source: ClassVar[str] = "Dimma (arXiv 2310.09633), figures 8 to 10, which give no numbers"
    published: ClassVar[studies.Table | None] = None

    class Settings(studies.Settings):
        photos: Path
        """Folder with one folder a scene, which holds aligned exposures of it."""
        model: str = "dimma"
        """Name or weights file."""
        wanted: tuple[float, ...] = Field((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), min_length=1)
        """Mean lightness of the results, 0 to 1."""
        scenes: int | None = Field(None, ge=1)
        """At most, spread evenly; default: all."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Mean over the scenes; errors are absolute differences of means in [0, 1]."""
        model = enhancer.load(settings.model)
        scenes = spread(_scenes(settings.photos), settings.scenes)
        errors: dict[float, list[float]] = {wanted: [] for wanted in settings.wanted}
        matched: dict[float, list[tuple[float, float]]] = {wanted: [] for wanted in settings.wanted}
        shown: NDArray[np.uint8] | None = None
        for number, files in enumerate(scenes, 1):
            say(f"scene {number} of {len(scenes)}: {files[0].parent.name}")
            exposures = sorted(
                (photo.read_photo(file) for file in files), key=lambda p: statistics.mean(p.samples)
            )
            dark, *lighter = exposures
            results = [_enhance(model, dark, wanted) for wanted in settings.wanted]
            for wanted, result in zip(settings.wanted, results, strict=True):
                errors[wanted].append(abs(statistics.mean(result.samples) - wanted))
            for other in lighter:
                if other.samples.shape != dark.samples.shape:
                    raise PhotoError(f"{files[0].parent}: expected exposures of one size")
                mean = statistics.mean(other.samples)
                nearest = min(settings.wanted, key=lambda wanted: abs(wanted - mean))
                result = _enhance(model, dark, mean)
                pictures = [to_picture(each.samples) for each in (result, other)]
                matched[nearest].append(
                    (metrics.METRICS["psnr"](*pictures), metrics.METRICS["ssim"](*pictures))
                )
            if shown is None:
                titles = ["dark photo", *map(str, settings.wanted)]
                shown = sheet([each.samples for each in (dark, *results)], titles=titles)
        rows = []
        for wanted in settings.wanted:
            pairs = np.array(matched[wanted]).reshape(-1, 2)
            scores = (None, None) if len(pairs) == 0 else tuple(map(float, pairs.mean(axis=0)))
            worst, middle = float(np.max(errors[wanted])), float(np.mean(errors[wanted]))
            rows.append((wanted, middle, worst, len(pairs), *scores))
        quality = ("reference_lightness.psnr", "reference_lightness.ssim")
        columns = ("wanted", "mean error", "largest error", "exposures near it", *quality)
        cases = [
            Case(f"{file.parent.name}/{file.stem}", None, file, None) for each in scenes for file in each
        ]
        notes = (
            *met(settings.model, cases),
            f"The darkest of each of {len(scenes)} scenes' exposures is the input.",
            "reference_lightness: it is driven to the exact mean of a lighter exposure, and compared with that.",
            "Each lighter exposure counts in the row of the nearest wanted lightness.",
            "What is not reached is beyond the gain's bounds, 1/256 to 64, or black and white, which it leaves.",
        )
        assert shown is not None  # noqa: S101
        photos = {"scenes": len(scenes), "exposures": sum(map(len, scenes))}
        return studies.Findings(studies.Table(columns, rows), notes, {"lightness": shown}, photos)


def _enhance(model: enhancer.Enhancer, dark: Photo, lightness: float) -> Photo:
    return model.enhance_photo(dark, model.controls(lightness=lightness))[0]


def _scenes(root: Path) -> list[list[Path]]:
    """Files of each scene with at least two exposures."""
    if not root.is_dir():
        raise PhotoError(f"{root}: expected a folder with one folder a scene")
    found = [
        sorted(file for file in scene.iterdir() if file.is_file() and not file.name.startswith("."))
        for scene in sorted(root.iterdir())
        if scene.is_dir()
    ]
    scenes = [files for files in found if len(files) > 1]
    if not scenes:
        raise PhotoError(f"{root}: no scenes; expected a folder a scene with at least two exposures in it")
    return scenes

"""Where a likelihood finds a picture unbelievable: half a result, half the reference."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lowlight import places, studies
from lowlight.errors import PhotoError
from lowlight.methods import Samples
from lowlight.photo import to_float
from lowlight.studies._shared import Pairs, cases_of, met, read_scenes, sheet


class Activation:
    """Results stitched to references, once on the left and once on the right: activation map and surprise."""

    title: ClassVar[str] = "Activation maps of results stitched to references"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), figure 8, which gives no numbers"
    published: ClassVar[studies.Table | None] = None

    class Settings(Pairs):
        model: str = places.DENSITY
        """The judge: name or tensors of a method that is a density."""
        results: Path
        """Folder of results of any program, of the same names; without ``names`` they choose the photos."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """The picture: of the first photos the dark one, both stitched ones, each with its maps."""
        from lowlight.likelihoods import Judge, paint

        judge = Judge.load(settings.model)
        photos: list[NDArray[np.float64]] = []
        shown: list[list[Samples]] = []
        for scene in read_scenes(settings, settings.results):
            say(scene.name)
            width = scene.low.shape[1]
            if width < 2:
                raise PhotoError(f"{scene.name}: one column can't be halved")
            given = judge.given(scene.low, slopes=True)
            result, light = to_float(scene.result), to_float(scene.reference)
            left = np.arange(width) < width // 2
            row: list[Samples] = [scene.low]
            both = []
            # Both ways round, so that what stands on the two sides counts alike.
            for made in (left, ~left):
                stitched = np.where(made[:, None], result, light)
                slopes, surprise = given.map("slopes", stitched), given.map("surprise", stitched)
                activation = paint("slopes", slopes)
                both.append(
                    [
                        [each[:, side].mean() for each in (slopes, activation, surprise)]
                        for side in (made, ~made)
                    ]
                )
                row += [stitched, activation, paint("surprise", surprise)]
            photos.append(np.mean(both, axis=0))
            if len(shown) < 4:
                shown.append(row)
        higher = sum(made[1] > true[1] for made, true in photos)
        rows = [
            (title, *np.mean(photos, axis=0)[side].tolist())
            for side, title in enumerate(("result", "reference"))
        ]
        notes = (
            *met(settings.model, cases_of(settings, settings.results)),
            f"The map is higher on the result's half on {higher} of {len(photos)} photos.",
            "Slope: 2-norm over the channels of the gradient of the published NLL. Map: slopes equalised, 0 to 255.",
            "Surprise: bits a position beyond those of pictures that the model draws itself.",
        )
        maps = "slopes", "surprise"
        titles = ("dark photo", "result, reference", *maps, "reference, result", *maps)
        return studies.Findings(
            studies.Table(("half", "mean slope", "mean of the map", "mean surprise"), rows),
            notes,
            {"activation": sheet(*shown, titles=titles)},
            {"pairs": len(photos)},
        )

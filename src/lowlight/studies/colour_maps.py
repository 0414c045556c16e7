"""What LLFlow's encoder sees, and its colour map beside those of the dark photo and the reference."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lowlight import places, studies, weights
from lowlight.errors import UseError
from lowlight.methods import Array
from lowlight.photo import to_float
from lowlight.studies._shared import Pairs, cases_of, met, read_scenes, sheet

INPUTS = "log photo", "equalised photo", "colour map", "noise map"
MAPS = "of the dark photo", "of the encoder", "of the reference", "reference"


class ColourMaps:
    """Maps of each photo; pictures of the first."""

    title: ClassVar[str] = "The encoder's inputs, and colour maps"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), figures 3 and 4, which give no numbers"
    published: ClassVar[studies.Table | None] = None

    class Settings(Pairs):
        model: str = places.DENSITY
        """Name or tensors of LLFlow."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Distances: mean absolute difference to the reference's colour map."""
        import torch

        from lowlight.likelihoods import Judge
        from lowlight.methods.llflow.network import Network, colour_map, prepare

        opened = weights.open_weights(settings.model, part="")
        if opened.header.method != "llflow":
            raise UseError(f"{settings.model}: expected LLFlow, found {opened.header.method}")
        judge = Judge.load(settings.model)
        network, multiple = judge.network, judge.method.multiple
        assert isinstance(network, Network)  # noqa: S101
        distances: list[tuple[float, float]] = []
        pictures: dict[str, NDArray[np.uint8]] = {}
        for scene in read_scenes(settings):
            say(scene.name)
            height, width = (side // multiple * multiple for side in scene.low.shape[:2])
            dark, light = (
                torch.from_numpy(to_float(each[:height, :width]).transpose(2, 0, 1)[None].copy())
                for each in (scene.low, scene.reference)
            )
            tables = torch.from_numpy(judge.method.observe(scene.low, judge.method.Controls())["tables"])[
                None
            ]
            with torch.no_grad():
                log, equalised, colours, slopes = torch.split(prepare(dark, tables), 3, dim=1)
                made = network.encode(dark, tables)[1]
            true = colour_map(light)
            distances.append(tuple((each - true).abs().mean().item() for each in (colours, made)))  # type: ignore[arg-type]
            if not pictures:
                inputs = (1 + log / 7, equalised, *(each / each.max() for each in (colours, slopes)))
                maps = (*(each / true.max() for each in (colours, made, true)), light)
                pictures = {
                    "inputs": sheet([_samples(each.numpy()) for each in inputs], titles=INPUTS),
                    "colour-maps": sheet([_samples(each.numpy()) for each in maps], titles=MAPS),
                }
        of_dark, of_encoder = np.mean(distances, axis=0)
        rows = [("dark photo", float(of_dark)), ("encoder", float(of_encoder))]
        nearer = sum(encoder < dark for dark, encoder in distances)
        notes = (
            *met(settings.model, cases_of(settings)),
            f"The encoder's map is nearer than the dark photo's on {nearer} of {len(distances)} photos.",
            "inputs: each on a scale of its own. colour-maps: the three maps on one scale.",
        )
        return studies.Findings(
            studies.Table(("colour map of", "distance to the reference's"), rows),
            notes,
            pictures,
            {"pairs": len(distances)},
        )


def _samples(picture: Array) -> Array:
    """(1, 3, height, width) to a picture in [0, 1]."""
    return np.asarray(np.clip(picture[0].transpose(1, 2, 0), 0, 1))

"""How far scores spread when nothing but the seed of a training changes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import field_validator

from lowlight import studies
from lowlight.studies._shared import Training, train


class Seeds:
    """One recipe, trained once a seed; a run that was interrupted goes on."""

    title: ClassVar[str] = "Spread of scores from seed to seed"
    source: ClassVar[str] = ""
    published: ClassVar[studies.Table | None] = None

    class Settings(Training):
        seeds: tuple[int, ...] = (0, 1, 2)

        @field_validator("seeds")
        @classmethod
        def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
            if len(seeds) < 2 or len(set(seeds)) < len(seeds):
                raise ValueError("expected two or more different seeds")
            return seeds

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a seed with the scores of the weights that validation chose, then their mean and deviation."""
        scores = [train(settings, [f"seed={seed}"], folder / f"seed{seed}", say) for seed in settings.seeds]
        rows: list[tuple[studies.Cell, ...]] = [
            (str(seed), *found.values()) for seed, found in zip(settings.seeds, scores, strict=True)
        ]
        table = np.array([list(found.values()) for found in scores])
        rows.append(("mean", *map(float, table.mean(axis=0))))
        rows.append(("deviation", *map(float, table.std(axis=0, ddof=1))))
        note = "The scores are those of the validation that chose the weights: read differences, not heights."
        return studies.Findings(studies.Table(("seed", *scores[0]), rows), [note])

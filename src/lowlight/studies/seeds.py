"""How far scores spread when nothing but the seed of a training changes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import field_validator

from lowlight import studies
from lowlight.studies._shared import Training, findings, train


class Seeds:
    """One recipe, trained once a seed; a run that was interrupted goes on."""

    title: ClassVar[str] = "Spread of scores from seed to seed"
    source: ClassVar[str] = ""
    published: ClassVar[studies.Table | None] = None

    class Settings(Training):
        seeds: tuple[int, ...] = (0, 1, 2)
        """Of the trainings, two or more."""

        @field_validator("seeds")
        @classmethod
        def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
            if len(seeds) < 2 or len(set(seeds)) < len(seeds):
                raise ValueError("expected two or more different seeds")
            return seeds

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a seed with the scores of the weights that validation chose, then their mean and deviation."""
        scores = {
            str(seed): train(settings, [f"seed={seed}"], folder / f"seed{seed}", say)
            for seed in settings.seeds
        }
        names = list(next(iter(scores.values())))
        table = np.array([list(found.values()) for found in scores.values()])
        for title, values in (("mean", table.mean(axis=0)), ("deviation", table.std(axis=0, ddof=1))):
            scores[title] = dict(zip(names, map(float, values), strict=True))
        return findings(settings, "seed", scores)

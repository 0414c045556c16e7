"""What the trainings of LLFlow's and GLARE's releases have in common: their schedule and their epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from lowlight.errors import RecipeError
from lowlight.training.data import Mixture, Pair, PairDrawer
from lowlight.training.stage import Rates


class Released(Rates):
    """Their schedule: milestones are shares of the iterations asked for, of which they run fewer.

    In iteration k, counted from 1, the warm-up of W gives k / W, and (W - 1) / W from iteration W on for good.
    """

    asked: int = Field(ge=1)
    """Iterations asked for."""
    warmup: int = Field(0, ge=0)
    """W."""
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    decay: float = Field(0.5, gt=0, le=1)
    """At each milestone."""

    def factor(self, step: int, total: int) -> float:
        """See ``Rates.factor``."""
        iteration = step + 1
        factor = self.decay ** sum(iteration >= milestone * self.asked for milestone in self.milestones)
        return factor * (min(iteration, self.warmup - 1) / self.warmup if self.warmup else 1.0)


def released_pairs(data: Mixture) -> list[Pair]:
    """All pairs, of which the epochs are made. Raises RecipeError where a source holds anything else."""
    if not all(isinstance(each, PairDrawer) and not each.made for each in data.sources):
        raise RecipeError("settings.released_batches: expected sources of kind pairs alone")
    return list(data.exposures())


def epoch_batch(pairs: Sequence[Pair], count: int, step: int, seed: int) -> list[Pair]:
    """The pairs of a step's batch where each pair comes once an epoch: nothing to keep for a run that goes on.

    Raises RecipeError where there are fewer than a batch holds.
    """
    whole = len(pairs) // count
    if not whole:
        raise RecipeError(
            f"settings.released_batches: expected {count} pairs or more, for a batch, got {len(pairs)}"
        )
    epoch, place = divmod(step, whole)
    order = np.random.default_rng([seed, epoch]).permutation(len(pairs))
    return [pairs[index] for index in order[place * count : (place + 1) * count]]

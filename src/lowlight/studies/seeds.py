"""How far scores spread when nothing but the seed of a training changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lowlight import studies
from lowlight.errors import RecipeError
from lowlight.training.loop import fit
from lowlight.training.recipe import read_recipe


class Seeds:
    """One recipe, trained once a seed; a run that was interrupted goes on."""

    title: ClassVar[str] = "Spread of scores from seed to seed"
    source: ClassVar[str] = ""
    published: ClassVar[studies.Table | None] = None

    class Settings(studies.Settings):
        recipe: Path
        seeds: tuple[int, ...] = Field((0, 1, 2), min_length=2)
        changes: tuple[str, ...] = ()
        """Of the recipe, as ``key=value``."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a seed with the scores of the weights that validation chose, then their mean and deviation."""
        scores: list[dict[str, float]] = []
        for seed in settings.seeds:
            recipe = read_recipe(settings.recipe, [*settings.changes, f"seed={seed}"])
            if recipe.validation is None:
                raise RecipeError(f"{settings.recipe}: validation is missing; without it there is no score")
            out = folder / f"seed{seed}"
            checkpoint = out / "checkpoint.safetensors"
            say(f"seed {seed}: {out}")
            fit(recipe, out, resume=checkpoint if checkpoint.exists() else None)
            scores.append(_best(out / "log.jsonl"))
        rows: list[tuple[studies.Cell, ...]] = [
            (str(seed), *found.values()) for seed, found in zip(settings.seeds, scores, strict=True)
        ]
        table = np.array([list(found.values()) for found in scores])
        rows.append(("mean", *map(float, table.mean(axis=0))))
        rows.append(("deviation", *map(float, table.std(axis=0, ddof=1))))
        note = "The scores are those of the validation that chose the weights: read differences, not heights."
        return studies.Findings(studies.Table(("seed", *scores[0]), rows), [note])


def _best(log: Path) -> dict[str, float]:
    """Scores of the best validation of a run, by set, protocol and metric."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    best = [entry for entry in entries if entry.get("best")][-1]
    return {" ".join(path): value for path, value in _leaves(best["validation"])}


def _leaves(nested: dict[str, Any]) -> list[tuple[tuple[str, ...], float]]:
    found: list[tuple[tuple[str, ...], float]] = []
    for name, value in nested.items():
        if isinstance(value, dict):
            found += [((name, *path), leaf) for path, leaf in _leaves(value)]
        else:
            found.append(((name,), float(value)))
    return found

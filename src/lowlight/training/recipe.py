"""A recipe: one YAML file that says all of one training stage, checked before anything is read or computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lowlight import methods
from lowlight.engines import Precision
from lowlight.errors import RecipeError
from lowlight.training.data import Data, Pairs
from lowlight.training.stage import Settings, Stage
from lowlight.values import override, validate


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Phase(_Part):
    """Crops and batch for a part of the run."""

    until: float = Field(1.0, gt=0, le=1)
    """Share of the steps at which the phase ends."""
    crop: int = Field(ge=1)
    """Side of the square crops, pixels."""
    count: int = Field(ge=1)
    """Crops a batch."""


class ValidationSet(_Part):
    """Pairs of whole photos to validate on, and what their scores weigh in the choice of the best."""

    pairs: Pairs
    score: dict[Literal["reference", "auto"], float] = Field({"reference": 1.0}, min_length=1)
    """Weight of the mean PSNR by how the lightness is given: the reference's own mean, or automatic. What
    stands here is measured, with weight 0 too."""
    limit: int | None = Field(None, ge=1)
    """Photos at most, spread evenly over the set; default: all."""


class Validation(_Part):
    """``validation`` of a recipe."""

    every: int = Field(1000, ge=1)
    """Steps; the last step is always validated."""
    at_start: bool = False
    """Before the first step too, so that ``best`` is never worse than what the run starts from."""
    sets: dict[str, ValidationSet] = Field(min_length=1)
    samples: int = Field(4, ge=0)
    """Photos of each set in the grids of samples."""


class Recipe(_Part):
    """One training stage: method, data, budget."""

    name: str
    """Of the weights: what users will call the model."""
    method: str
    stage: str
    config: dict[str, Any] = {}
    """The method's ``Config``: sizes of its network, or of the part that the stage trains."""
    settings: dict[str, Any] = {}
    """The stage's ``Settings``: losses, optimizers, schedules."""
    start: dict[str, Path] = {}
    """.safetensors to start networks of the stage from, by the network's name; tensors must fit exactly."""
    data: Data
    validation: Validation | None = None
    steps: int = Field(ge=1)
    batches: tuple[Phase, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1)
    """Of the CPU."""
    precision: Precision = "float32"
    """``bf16``: autocast; weights, optimizers and parts that ask for it stay float32."""
    average: float | None = Field(0.999, gt=0, lt=1)
    """Decay of the moving average of the weights, which is what validation sees and users get."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of a player's gradient."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What to do when a loss or gradient is not finite; ``skip`` leaves the player's weights as they are."""
    log_every: int = Field(50, ge=1)
    save_every: int = Field(500, ge=1)
    """Steps between checkpoints."""
    tensorboard: bool = False
    licence: str = "see data"
    """Of the weights."""
    sources: tuple[str, ...] = ()
    """What the data are, with terms, one sentence each, for the weights' header."""

    @model_validator(mode="after")
    def _phases_cover_the_run(self) -> Recipe:
        ends = [phase.until for phase in self.batches]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"batches: expected rising values of until that end at 1.0, got {ends}")
        return self

    def phase(self, step: int) -> Phase:
        """The phase of a step, counted from 0."""
        return next(phase for phase in self.batches if step < phase.until * self.steps)


def read_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe with changes of the form ``key=value``.

    Keys are dotted (``data.cache``, ``data.sources.0.weight``), values are YAML. Raises RecipeError with file,
    key, value and what is allowed.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: expected a recipe: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected keys and values, found {type(values).__name__}")
    for change in overrides:
        override(values, change)
    recipe = validate(Recipe, values, str(path))
    stage_settings(recipe, str(path))
    return recipe


def stage_settings(recipe: Recipe, where: str) -> tuple[type[Stage], methods.Config, Settings]:
    """The stage's class with the checked ``config`` and ``settings``. where: for errors, the recipe's file."""
    if recipe.method not in methods.names():
        raise RecipeError(f"{where}: method: {recipe.method!r}; there are: {', '.join(methods.names())}")
    stages: Mapping[str, type[Stage]] = methods.room(recipe.method, "training").stages
    if recipe.stage not in stages:
        raise RecipeError(
            f"{where}: stage: {recipe.method} has no {recipe.stage!r}; it has: {', '.join(stages)}"
        )
    stage = stages[recipe.stage]
    config = validate(methods.configs(recipe.method)[stage.part], recipe.config, where, "config")
    return stage, config, validate(stage.Settings, recipe.settings, where, "settings")


def in_full(recipe: Recipe, where: str) -> Recipe:
    """The recipe with every default of its ``config`` and ``settings`` written out, as it is kept with what it made."""
    _, config, settings = stage_settings(recipe, where)
    filled = {"config": config.model_dump(mode="json"), "settings": settings.model_dump(mode="json")}
    return recipe.model_copy(update=filled)

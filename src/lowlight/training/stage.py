"""The surface of a training stage: who plays, and which losses each player is stepped on.

A stage belongs to a method; the loop (``training.loop``) knows only what stands here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lowlight.methods import Array

if TYPE_CHECKING:
    from lowlight.training.data import Batch, Mixture, Pixels


class Settings(BaseModel):
    """What a recipe may set of a stage, under ``settings``. A stage inherits and adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(Settings):
    """Adam with decoupled (``adamw``) or added (``adam``) weight decay."""

    kind: Literal["adamw", "adam"] = "adamw"
    rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    epsilon: float = Field(1e-8, gt=0)


class Rates(Settings, ABC):
    """Factor of the rate as a function of the step."""

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """step: counted from 0; total: steps of the whole run."""


class Schedule(Rates):
    """A linear warm-up, then a shape over the whole run."""

    shape: Literal["constant", "linear", "cosine", "steps"] = "cosine"
    warmup: int = Field(0, ge=0)
    """Steps until the full rate."""
    floor: float = Field(0.0, ge=0, le=1)
    """``linear``, ``cosine``: the factor at the end."""
    milestones: tuple[float, ...] = ()
    """``steps``: shares of the run after which the rate is multiplied by ``decay``."""
    decay: float = Field(0.5, gt=0, le=1)

    def factor(self, step: int, total: int) -> float:
        """See ``Rates.factor``."""
        share = step / total
        if self.shape == "cosine":
            factor = self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
        elif self.shape == "linear":
            factor = 1 - (1 - self.floor) * share
        elif self.shape == "steps":
            factor = self.decay ** sum(share >= milestone for milestone in self.milestones)
        else:
            factor = 1.0
        return factor * min(1.0, (step + 1) / (self.warmup + 1))


@dataclass(frozen=True)
class Player:
    """Parameters that one optimizer steps on their own losses."""

    parameters: Sequence[nn.Parameter]
    optimizer: Optimizer
    schedule: Rates
    decayed: Sequence[nn.Parameter] | None = None
    """Those of them that the optimizer's weight decay is for; None: all."""


@dataclass(frozen=True)
class Moment:
    """Where the run stands, and the generators that it owns; whatever is random draws from these."""

    step: int
    """Counted from 0."""
    total: int
    crop: int
    """Side of the crops of this step, pixels."""
    count: int
    """Crops in this step's batch."""
    rng: np.random.Generator
    generator: torch.Generator
    """On the device of the run."""


class Stage(ABC):
    """One stage of a method's training.

    Everything that training changes lies in ``networks``, as parameters or buffers: these are what
    checkpoints hold and what is averaged. The loop puts them into training mode and channels-last. What stays as
    it is may lie there too, if it is started from a file, so that a checkpoint is all that a run needs to go on; other
    frozen helpers are kept elsewhere and put on the device by the stage itself.
    """

    Settings: ClassVar[type[Settings]] = Settings
    part: ClassVar[str] = ""
    """What of the method is trained: a part, whose ``Config`` the recipe's ``config`` then is (see
    ``methods.configs``); empty: the network that enhances photos."""
    networks: dict[str, nn.Module]
    needed: ClassVar[frozenset[str]] = frozenset()
    """Networks that a recipe must name a file for, under ``start``: what this stage goes on from."""
    tiny_sizes: ClassVar[Mapping[str, Any]] = {}
    """What of the method's tiny config its contract tests change."""
    noise_levels: float | None = None
    """What the header tells by that name: a density's noise on its references."""

    @abstractmethod
    def __init__(self, config: Any, settings: Any, data: Mixture, device: torch.device) -> None:
        """config: the method's ``Config``; settings: this class's ``Settings``; data: to train on."""

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """By name, in any order; called once."""

    @abstractmethod
    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield a player's name and its named loss terms (scalars, weighted; their sum is stepped on).

        The loop steps that player before it asks for the next. Under ``bf16`` this runs in autocast; parts
        that need float32 disable it and cast. A ``with`` block must not span a ``yield``.
        """

    @abstractmethod
    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        """The method's ``Network`` (or part) among these (``networks`` or their averages): what users get."""

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        """The next batch; a stage that wants other data than crops of pairs overrides this."""
        return data.batch(moment.rng, moment.count, moment.crop, device)

    def check_crop(self, crop: int) -> None:  # noqa: B027 - most stages take whatever their network takes
        """Raise RecipeError for crops of that side, in pixels, that the losses cannot take."""

    @classmethod
    def tiny_settings(cls) -> Any:
        """``Settings`` that contract tests train with: nothing large, nothing that must be downloaded."""
        return cls.Settings()

    def arrays(self) -> dict[str, Array]:
        """Small arrays that the method's ``observe`` needs (an estimator, say); kept in the weights' header."""
        return {}

    def indifferent(self) -> list[nn.Parameter]:
        """Parameters that no loss depends on, by its formula: their gradient is rounding, or nothing."""
        return []

    def measured(self, networks: Mapping[str, nn.Module]) -> dict[str, Array]:
        """More arrays for ``observe``, taken from the networks (or their averages) that users get."""
        return {}

    def inherit(self, arrays: Mapping[str, Array]) -> None:  # noqa: B027 - most stages have nothing to inherit
        """Take over what the data are too few to tell from ``arrays`` of the weights that the run starts from.

        Also called with the run's own when it goes on, which must then change nothing.
        """

    def adopt(
        self, name: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Mapping[str, Tensor]:
        """Tensors of a file that ``networks[name]`` starts from, as the network takes them, which is whole.

        config: what the file says of its sizes. Raises RecipeError where another network is meant.
        """
        return tensors

    def begin(self) -> None:  # noqa: B027 - most stages have nothing to do
        """Called once when all that the recipe starts from is loaded, and never when a run goes on."""

    def judge(
        self, networks: Mapping[str, nn.Module], pairs: Sequence[tuple[Pixels, Pixels]]
    ) -> tuple[dict[str, float], float]:
        """Of a stage that trains a part: measures on held-out dark and light photos, and their score.

        The score is what the best is chosen by, larger is better. Networks are judged by the photos they make.
        """
        raise NotImplementedError

    def sample(self, networks: Mapping[str, nn.Module], pair: tuple[Pixels, Pixels]) -> list[Pixels]:
        """Of a stage that trains a part: what it makes of a held-out pair, pictures of one size to stand side by side."""
        return []

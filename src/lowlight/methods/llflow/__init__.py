"""LLFlow (2022): a conditional normalizing flow, run backwards from a colour map without brightness.

Source: arXiv 2109.05923, with the authors' release (commit 115da16) where the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from lowlight import equalise, estimator, methods, statistics
from lowlight.errors import WeightsError
from lowlight.methods import Array, Frame, Observation, Samples


def _listed(value: object) -> object:
    """``1,3`` and ``1``, as ``--set`` gives them."""
    return value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value


class Config(methods.Config):
    """Sizes of the network. The defaults are the published small one's."""

    channels: int = Field(32, ge=1)
    """Of the encoder. Published: 32, or 64."""
    blocks: int = Field(4, ge=1)
    """Residual dense blocks of the encoder. Published: 4, or 24."""
    growth: int = Field(32, ge=1)
    """Channels that each convolution in a dense block adds."""
    stacked: Annotated[tuple[int, ...], BeforeValidator(_listed)] = (1,)
    """Blocks, from 0, whose outputs join the conditions. Published: 1, or 1, 3, 5 and 7."""
    steps: int = Field(4, ge=0)
    """Conditioned steps of each level. Published: 4, or 12. With one level and no steps of either kind the
    picture is the encoder's colour map."""
    plain_steps: int = Field(2, ge=0)
    """Steps without condition, before them."""
    hidden: int = Field(64, ge=1)
    """Channels inside a step's networks."""
    levels: int = Field(3, ge=1)
    """Each halves the size."""
    colour_prior: bool = True
    """The prior's mean is the colour map; otherwise zero."""
    halo: int | None = Field(None, ge=0)
    """Pixels of context that a tile needs; None: all that the network looks to."""

    @model_validator(mode="after")
    def _stacked_blocks_exist(self) -> Config:
        if any(not 0 <= block < self.blocks for block in self.stacked):
            raise ValueError(
                f"stacked: expected blocks from 0 to {self.blocks - 1}, got {list(self.stacked)}"
            )
        if len(set(self.stacked)) < len(self.stacked):
            raise ValueError(f"stacked: expected each block once, got {list(self.stacked)}")
        return self

    @property
    def condition(self) -> int:
        """Channels of each level's condition."""
        return self.channels * (1 + len(self.stacked))


class Controls(methods.SampledControls):
    """LLFlow's controls."""

    brightness: float = Field(
        0.0, ge=-0.4, le=0.4, description="added to the latent that the flow starts from; more is lighter"
    )


_Config: TypeAlias = Config
_Controls: TypeAlias = Controls


class LLFlow:
    """LLFlow's surface: what it observes and how it cuts."""

    name: ClassVar[str] = "llflow"
    title: ClassVar[str] = "LLFlow: conditional normalizing flow (2022)"
    Controls: ClassVar[type[methods.Controls]] = Controls
    Config: ClassVar[type[methods.Config]] = Config
    border = 0
    lightens: ClassVar[str] = "brightness"

    def __init__(self, config: _Config, arrays: Mapping[str, Array]) -> None:
        """arrays: an estimator of lightness (see ``lowlight.estimator``; none: ``auto`` is what the flow gives), and
        ``direction``, what ``brightness`` is multiplied by for each of the latent's channels (none: ones).

        Raises WeightsError for part of an estimator and for a direction of another length.
        """
        self.config = config
        self.estimator = estimator.pick(arrays)
        self.direction = arrays.get("direction")
        channels = 3 * 4**config.levels
        if self.direction is not None and self.direction.shape != (channels,):
            raise WeightsError(
                f"the direction of brightness has shape {self.direction.shape}; expected ({channels},)"
            )
        self.multiple = 2**config.levels
        self.halo: int | None = receptive_field(config) if config.halo is None else config.halo
        # The wide convolution of the first level, and the encoder's maps at full size.
        # Measured for the small network in ONNX Runtime: 1600 to 1700 bytes, and 130 for each further sample.
        self.sample_bytes = 4 * config.hidden
        self.tile_bytes = 2 * config.steps * config.hidden + 16 * config.channels + 600

    @staticmethod
    def tiny_config() -> _Config:
        """A network for tests."""
        return Config(
            channels=8, blocks=1, growth=4, stacked=(0,), steps=1, plain_steps=1, hidden=8, levels=2
        )

    def observe(self, samples: Samples, controls: methods.Controls) -> Observation:
        """The tables that equalise the whole photo, and the latent asked for."""
        assert isinstance(controls, _Controls)  # noqa: S101
        told = self.observe_counts(statistics.histograms(samples), controls)
        if self.direction is not None:
            told["direction"] = np.ones_like(self.direction) if controls.published else self.direction
        return told

    def choose_lightness(self, samples: Samples) -> float | None:
        """See ``methods.Method``."""
        if not self.estimator:
            return None
        counts = statistics.histograms(samples)
        guess = estimator.guess(self.estimator, samples, counts)
        # A photo that is light enough already is not darkened.
        return max(guess, statistics.mean(samples, counts))

    @staticmethod
    def observe_counts(counts: NDArray[np.float64], controls: _Controls | None = None) -> Observation:
        """The observation of a photo known by its (3, 256) histograms."""
        controls = controls or _Controls()
        return {
            "tables": equalise.tables(counts),
            "brightness": np.array(controls.brightness, np.float32),
            "origin": np.zeros(2, np.float32),
            **controls.drawn(),
        }

    @staticmethod
    def released_frame(height: int, width: int, _controls: methods.Controls) -> Frame:
        """What the release mirrors outwards, always some; what is equalised counts the mirrored pixels too."""
        return Frame.to_multiples_of_16(height, width)


def receptive_field(config: Config) -> int:
    """Pixels that the network looks to each side.

    The encoder: two convolutions and the noise map at full size, fifteen convolutions a block and one more at
    half size, one convolution and a mean at each smaller size. The flow: two convolutions a conditioned step
    at its level's size, and on the coarsest two more, of the condition. Squares of each size round up.
    """
    squares = [2**level for level in range(1, config.levels + 1)]
    encoder = 3 + 2 * (15 * config.blocks + 1) + 2 * sum(squares[1:])
    flow = 2 * config.steps * sum(squares) + 2 * squares[-1]
    return int(encoder + flow + sum(squares))

"""Dimma (2023): a U-Net that makes a dark photo as light as it is asked to.

Source: arXiv 2310.09633, with the authors' release where the paper is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lowlight import estimator, methods, statistics
from lowlight.errors import ControlError
from lowlight.methods import Array, Observation, Samples
from lowlight.methods.dimma.dimmer import PART, DimmerConfig
from lowlight.methods.dimma.retinex import mean_lightness, observe_published

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
DESCRIPTOR = 3 * len(QUANTILES) + 4
"""Numbers in a descriptor."""
DARKEST = 1 / 1020
"""Means below a quarter of an 8-bit step are taken as this, so that the gain stays finite."""


class Config(methods.Config):
    """Sizes of the network. ``tiled``: the CPU size, exact in tiles; ``published``: the authors' class."""

    body: Literal["tiled", "published"] = "tiled"
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((64, 128, 256), min_length=2)
    """Channels of each level, from the top."""
    blocks: tuple[Annotated[int, Field(ge=0)], ...] = (1, 1, 2)
    """``tiled``: residual blocks a level and side; the last level's stand in the middle. ``published``: (2,)."""
    unshuffle: int = Field(4, ge=1)
    """``tiled``: side of the pixel blocks that become channels at the top."""
    halo: int | None = Field(None, ge=0)
    """``tiled``: pixels of context that a tile needs; None: all that the network looks to. What lies further
    than 96 pixels changes nothing above rounding in trained weights (``benchmarks/tiles.py``)."""
    head: Literal["sig_dim", "dim", "HE", "normal", "retinex", "retinex_tanh"] = "sig_dim"
    """``published``: what the network's output means."""
    norm_groups: int = Field(32, ge=1)
    """``published``: of the channels of every level, whose number it divides."""
    attention_head: int = Field(64, ge=1)
    """``published``: channels of one; it divides those of the last level."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Config:
        given = f"got {list(self.blocks)}"
        if self.body == "tiled":
            if len(self.blocks) != len(self.widths):
                raise ValueError(f"blocks: expected {len(self.widths)} numbers, one a level, {given}")
            return self
        if len(self.blocks) != 1 or self.blocks[0] < 1:
            raise ValueError(f"blocks: body published expects one number of at least 1, {given}")
        for width in self.widths:
            if width % self.norm_groups:
                raise ValueError(
                    f"norm_groups: {self.norm_groups} does not divide the {width} channels of a level"
                )
        if self.widths[0] % 2:
            raise ValueError(f"widths: body published expects an even number first, got {self.widths[0]}")
        if self.widths[-1] % self.attention_head:
            raise ValueError(
                f"attention_head: {self.attention_head} does not divide the {self.widths[-1]} channels of the last level"
            )
        return self


class Controls(methods.PublishedControls):
    """Dimma's controls: the lightness, which the network is conditioned on, the strength, and ``published``."""


_Config: TypeAlias = Config


class Dimma:
    """Dimma's surface: what it observes and how it cuts."""

    name: ClassVar[str] = "dimma"
    title: ClassVar[str] = "Dimma: lightness-conditioned U-Net (2023)"
    Controls: ClassVar[type[methods.Controls]] = Controls
    Config: ClassVar[type[methods.Config]] = Config
    parts: ClassVar[Mapping[str, type[methods.Config]]] = {PART: DimmerConfig}

    def __init__(self, config: _Config, arrays: Mapping[str, Array]) -> None:
        """arrays: the lightness estimator's (see ``lowlight.estimator``; none: a constant), and
        ``descriptor_low``, ``descriptor_high`` (31,), the range that training saw (none: any).

        Raises WeightsError for part of an estimator.
        """
        self.config = config
        self.estimator = estimator.pick(arrays) or estimator.constant(estimator.DEFAULT_LIGHTNESS)
        unbounded = np.full(DESCRIPTOR, np.inf, np.float32)
        self.range = (arrays.get("descriptor_low", -unbounded), arrays.get("descriptor_high", unbounded))
        levels = len(config.widths) - 1
        if config.body == "tiled":
            self.multiple = config.unshuffle * 2**levels
            self.halo: int | None = receptive_field(config) if config.halo is None else config.halo
            self.border = self.multiple
            self.tile_bytes = 50 * config.widths[0] // config.unshuffle**2
        else:
            self.multiple = 2**levels
            self.halo = None
            self.border = 0
            self.tile_bytes = 140 * config.widths[0]

    @staticmethod
    def tiny_config() -> _Config:
        """A network for tests."""
        return Config(widths=(8, 16), blocks=(1, 1), unshuffle=2)

    def observe(self, samples: Samples, controls: methods.Controls) -> Observation:
        """Means, descriptor and the lightness wanted, from the whole photo.

        Raises ControlError for ``published`` where the network is not the authors'.
        """
        published = isinstance(controls, Controls) and controls.published
        if published and self.config.body != "published":
            raise ControlError("control published = True: this network is not the authors'; leave it out")
        counts = statistics.histograms(samples)
        source = mean_lightness(samples) if published else statistics.mean(samples, counts)
        if controls.lightness == "auto":
            predicted = estimator.guess(self.estimator, samples, counts)
            # A photo that is light enough already is not darkened.
            lightness = max(predicted, source)
        else:
            lightness = controls.lightness
        return self.observe_counts(counts, source, lightness, published=published)

    def observe_counts(
        self, counts: NDArray[np.float64], source: float, lightness: float, *, published: bool = False
    ) -> Observation:
        """The observation of a photo known by its histograms (3, 256), its mean and the mean wanted.

        published: see ``retinex.observe_published``; only for the authors' network.
        """
        if self.config.body == "published":
            return observe_published(counts, source, lightness, published=published)
        return {
            "source_lightness": np.array(max(source, DARKEST), np.float32),
            "lightness": np.array(lightness, np.float32),
            # Outside the range that training saw the network would extrapolate, to anything.
            "descriptor": descriptor(counts).clip(*self.range),
        }


def receptive_field(config: Config) -> int:
    """Pixels that the tiled network looks to each side: two per residual block, one per 3x3 at its level.

    Level k works on squares of ``unshuffle * 2^k`` pixels; going down and up again adds at most one such
    square of the lowest level.
    """
    reach = 2 * config.unshuffle  # stem and head
    for level, blocks in enumerate(config.blocks):
        sides = 1 if level == len(config.blocks) - 1 else 2
        reach += sides * blocks * 2 * config.unshuffle * 2**level
    return int(reach + config.unshuffle * 2 ** (len(config.blocks) - 1))


def descriptor(counts: NDArray[np.float64]) -> Array:
    """What the tiled network knows of the whole photo: (31,) numbers from its (3, 256) histograms.

    Logarithms of nine quantiles and the mean of each channel, all relative to the mean, and of the mean: tone
    and colour cast that no window shows.
    """
    means = statistics.histogram_means(counts)
    mean = means.mean()
    shares = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    quantiles = np.stack([np.searchsorted(share, QUANTILES) for share in shares]) / 255
    tone = np.log(quantiles + 2 / 255) - np.log(mean + 2 / 255)
    cast = np.log(means + 1 / 255) - np.log(mean + 1 / 255)
    return np.concatenate(
        [np.concatenate([tone, cast[:, None]], axis=1).ravel(), [np.log(mean + 1 / 255)]]
    ).astype(np.float32)

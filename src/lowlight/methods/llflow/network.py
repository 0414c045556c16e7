"""LLFlow's network: the encoder of the dark photo, and the flow that it conditions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight.errors import EngineError
from lowlight.nn.flow import Flow, Map, find_non_finite, log_prob_by_place
from lowlight.nn.inverse_flow import InverseFlow
from lowlight.nn.lookup import equalise
from lowlight.nn.noise import noise_at
from lowlight.nn.rrdb import SLOPE, FoldedBlock, ResidualDenseBlock

if TYPE_CHECKING:
    from lowlight.methods.llflow import Config

DARKEST = 0.001
"""Added to the dark photo, so that its logarithm is finite."""
EPSILON = 1e-4
"""Added to sums of channels that are divided by."""


def colour_map(picture: Tensor) -> Tensor:
    """Colour without brightness: each channel's share of the sum."""
    return picture / (picture.sum(dim=1, keepdim=True) + EPSILON)


def noise_map(picture: Tensor) -> Tensor:
    """The larger of the slopes along rows and columns, of each channel; zeros outside the picture."""
    padded = F.pad(picture, (1, 1, 1, 1))
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return 0.5 * torch.maximum(down.abs(), right.abs())


def prepare(dark: Tensor, tables: Tensor) -> Tensor:
    """The encoder's twelve channels: log photo, equalised photo, colour map, noise map.

    dark: (batch, 3, height, width) in [0, 1]; tables: (batch, 3, 256), see ``lowlight.equalise``.
    """
    log = (dark + DARKEST).clamp(min=DARKEST).log()
    colours = colour_map(log.exp())
    return torch.cat([log, equalise(dark, tables), colours, noise_map(colours)], dim=1)


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a dark photo."""

    conditions: list[Tensor]
    """Of the flow's levels, at half, quarter, ... of the size."""
    colours: Tensor
    """(batch, 3, height, width) in (0, 1), float32: the colour map of the photo as it is to be."""


class Encoder(nn.Module):
    """Residual dense blocks at half size, and what they give at each level's size."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.channels
        self.config = config
        self.stacked = config.stacked
        self.first = nn.Conv2d(12, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualDenseBlock(width, config.growth) for _ in range(config.blocks))
        self.trunk = nn.Conv2d(width, width, 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.levels - 1))
        self.colours = nn.Conv2d(width, 3, 1)

    def forward(self, dark: Tensor, tables: Tensor) -> Encoded:
        """dark, tables: see ``prepare``."""
        x = F.leaky_relu(self.first(prepare(dark, tables)), SLOPE)
        head = x = F.max_pool2d(self.second(x), 2)
        kept = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stacked:
                kept.append(x)
        feature = head + self.trunk(x)
        # The head is constant in squares of 2x2: computed at half size, doubled afterwards.
        colours = torch.sigmoid(self.colours(feature).float()).repeat_interleave(2, 2).repeat_interleave(2, 3)
        stack = torch.cat(kept, dim=1) if kept else feature[:, :0]
        conditions = [torch.cat([feature, stack], dim=1)]
        for level, down in enumerate(self.downs, start=1):
            feature = down(F.avg_pool2d(feature, 2))
            if level < len(self.downs):
                # In the release an activation in place changes what is handed on too.
                feature = F.leaky_relu(feature, SLOPE)
            step = 2**level
            conditions.append(torch.cat([feature, stack[:, :, ::step, ::step]], dim=1))
        return Encoded(conditions, colours)

    def folded(self) -> Encoder:
        """The same for enhancing alone, of the same layers."""
        with torch.device("meta"):  # no tensors: the layers are exchanged
            other = Encoder(self.config)
        for name, layer in self.named_children():
            setattr(other, name, layer)
        other.blocks = nn.ModuleList(FoldedBlock(each) for each in self.blocks)  # type: ignore[arg-type]
        return other


@dataclass(frozen=True)
class Density:
    """Of (batch, 3, height, width) pictures. Raises EngineError, naming the place in the flow, for what is not finite."""

    flow: Map
    mean: Tensor
    """Of the prior."""

    def log_likelihood(self, picture: Tensor) -> Tensor:
        """The natural one as a sum over pixels: (batch, height, width)."""
        found = log_prob_by_place(self.flow, picture, self.mean)
        if not bool(torch.isfinite(found).all()):
            raise EngineError(f"the likelihood is not finite: {find_non_finite(self.flow, picture)}")
        return found

    def draw(self, generator: torch.Generator) -> Tensor:
        """A picture as likely as the density has it, not clipped."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return self.flow.inverse(self.mean + noise)[0]

    def likeliest(self) -> Tensor:
        """The picture at the prior's mean, as enhancing gives it, not clipped."""
        return self.flow.inverse(self.mean)[0]


class Network(nn.Module):
    """``forward(dark, **observation)``: (batch, 3, height, width) in [0, 1] to the enhanced picture.

    Sides are multiples of 2^levels; the result is not clipped. ``encoder``, ``flow`` and ``mean`` are what
    training and likelihoods need.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.flow = Flow(3, config.condition, config.hidden, config.plain_steps, config.steps, config.levels)

    def encode(self, dark: Tensor, tables: Tensor) -> tuple[Map, Tensor]:
        """The flow as a map of normal photos, given a dark one, and the colour map, (batch, 3, height, width)."""
        encoded = self.encoder(dark, tables)
        return self.flow(encoded.conditions), encoded.colours

    def mean(self, colours: Tensor) -> Tensor:
        """See ``prior_mean``."""
        return prior_mean(self.config, colours)

    def density(self, dark: Tensor, tables: Tensor, **_enhancing: Tensor) -> Density:
        """Of normal photos, given dark ones. The prior's mean is always that of the encoder's colour map.

        dark, tables: see ``prepare``; what else is observed only enhancing needs.
        """
        flow, colours = self.encode(dark, tables)
        return Density(flow, self.mean(colours))

    def forward(self, dark: Tensor, tables: Tensor, **latent: Tensor) -> Tensor:
        """tables: (batch, 3, 256); latent: see ``draw_latents``. Gives (batch, 3 * samples, height, width)."""
        flow, colours = self.encode(dark, tables)
        latents = draw_latents(self.mean(colours), **latent)
        return torch.cat([flow.inverse(z)[0] for z in latents.unbind(1)], dim=1)

    def folded(self) -> Enhancing:
        """The same ``forward`` with all that only training needs multiplied in; shares the encoder's layers."""
        return Enhancing(self)


class Enhancing(nn.Module):
    """``Network`` for enhancing alone: the inverse as plain convolutions."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.config = network.config
        self.encoder = network.encoder.folded()
        self.inverse = InverseFlow(network.flow)

    def forward(self, dark: Tensor, tables: Tensor, **latent: Tensor) -> Tensor:
        """See ``Network.forward``."""
        encoded = self.encoder(dark, tables)
        latents = draw_latents(prior_mean(self.config, encoded.colours), **latent)
        pictures: Tensor = self.inverse(encoded.conditions, latents)
        return pictures.flatten(1, 2)


def prior_mean(config: Config, colours: Tensor) -> Tensor:
    """The prior's mean of a colour map: squeezed at once, another order than that of the flow's squeezes."""
    mean = F.pixel_unshuffle(colours, 2**config.levels)
    return mean if config.colour_prior else torch.zeros_like(mean)


def draw_latents(
    mean: Tensor,
    brightness: Tensor,
    temperature: Tensor,
    seed: Tensor,
    sample: Tensor,
    origin: Tensor,
    direction: Tensor | None = None,
) -> Tensor:
    """The latents that the flow starts from: (batch, samples, channels, height, width).

    mean: the prior's, (batch, channels, height, width). brightness: (batch,), added to every number, times
    direction, (batch, channels), if there is one.
    temperature: (batch,), the deviation of the noise around the mean. seed: (batch, 2), sample: (batch, samples):
    what the noise is drawn by. origin: (batch, 2), row and column of the picture in the whole, in pixels.
    """
    samples = sample.shape[1]
    key = torch.cat([seed[:, None].expand(-1, samples, -1), sample[:, :, None]], dim=2)
    side = math.isqrt(mean.shape[1] // 3)
    place = (origin / side).long()[:, None].expand(-1, samples, -1)
    noise = noise_at(place.flatten(0, 1), key.flatten(0, 1).long(), *mean.shape[1:])
    shift = brightness[:, None] if direction is None else brightness[:, None] * direction
    shifted = mean + shift[:, :, None, None]
    return shifted[:, None] + temperature[:, None, None, None, None] * noise.reshape(
        mean.shape[0], samples, *mean.shape[1:]
    )

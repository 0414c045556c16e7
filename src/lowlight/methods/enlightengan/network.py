"""EnlightenGAN's generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from lowlight.methods.enlightengan import Config

SLOPE = 0.2
"""Of the leaky ReLUs below zero."""
SPREAD = 0.02
"""Deviation of the first weights."""
LUMA = (0.299, 0.587, 0.114)


def attention_map(x: Tensor) -> Tensor:
    """How dark each pixel is, 0 to 1: (batch, 1, height, width) of pictures (batch, 3, height, width) in [-1, 1]."""
    red, green, blue = (x[:, channel : channel + 1] + 1 for channel in range(3))
    return 1 - (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) / 2


class Norm(nn.Module):
    """Batch normalisation with running statistics, as torch's but without its counter, which no published file has."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + SPREAD * torch.randn(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=self.training, eps=1e-5
        )


def convolution(inputs: int, outputs: int, side: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution as the release starts it: small weights, torch's own biases."""
    made = nn.Conv2d(inputs, outputs, side, stride, padding)
    nn.init.normal_(made.weight, 0, SPREAD)
    return made


class Block(nn.Module):
    """Two convolutions, each with a leaky ReLU and, after it, a norm: (batch, inputs, h, w) to (batch, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, *, norms: int = 2) -> None:
        """norms: 1 leaves out the second."""
        super().__init__()
        self.convs = nn.ModuleList(convolution(each, outputs, 3, padding=1) for each in (inputs, outputs))
        self.norms = nn.ModuleList(Norm(outputs) for _ in range(norms))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """gate: (batch, 1, h, w), what lies between the two is multiplied by."""
        x = self.norms[0](F.leaky_relu(self.convs[0](x), SLOPE))
        if gate is not None:
            x = x * gate
        x = F.leaky_relu(self.convs[1](x), SLOPE)
        return self.norms[1](x) if len(self.norms) > 1 else x


class Network(nn.Module):
    """``forward(dark, **observation)``: (batch, 3, height, width) in [0, 1] to the enhanced picture, not clipped.

    Sides are multiples of 2^(levels - 1). ``generate`` is what training needs.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(config.levels)]
        below = [4 if config.attention else 3, *widths]
        self.downs = nn.ModuleList(Block(below[level], widths[level]) for level in range(config.levels))
        self.lifts = nn.ModuleList(
            convolution(2 * width, width, 3, padding=1) for width in reversed(widths[:-1])
        )
        self.ups = nn.ModuleList(
            Block(2 * width, width, norms=2 if level else 1)
            for level, width in reversed(list(enumerate(widths[:-1])))
        )
        self.last = convolution(widths[0], 3, 1)

    def forward(
        self,
        dark: Tensor,
        residual: Tensor,
        darken: Tensor,
        origin: Tensor | None = None,
        extent: Tensor | None = None,
    ) -> Tensor:
        """residual, darken: (batch,), the controls. origin, extent: (batch, 2), see ``enlarge``."""
        x = 2 * (dark / darken[:, None, None, None]).clamp(0, 1) - 1
        _, latent = self.generate(x, origin=origin, extent=extent)
        return (x + residual[:, None, None, None] * latent + 1) / 2

    def generate(
        self, x: Tensor, *, origin: Tensor | None = None, extent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Of (batch, 3, height, width) in [-1, 1] the enhanced picture on that scale, and what was added to x."""
        gates: list[Tensor | None] = [None] * self.config.levels
        seen = x
        if self.config.attention:
            dark = attention_map(x)
            seen = torch.cat([x, dark], dim=1)
            for level in range(self.config.levels):
                # The darkest pixel of each cell.
                gates[level] = dark if level == 0 else F.max_pool2d(gates[level - 1], 2)  # type: ignore[arg-type]
        skips: list[Tensor] = []
        y = seen
        *downs, bottom = self.downs
        for down in downs:
            skips.append(down(y))
            y = F.max_pool2d(skips[-1], 2)
        y = bottom(y, gates[-1])
        for lift, up, skip, level in zip(
            self.lifts, self.ups, reversed(skips), reversed(range(len(skips))), strict=True
        ):
            y = lift(enlarge(y, 2**level, origin, extent, aligned=self.config.align_corners))
            y = up(torch.cat([y, _gated(skip, gates[level])], dim=1))
        latent = _gated(self.last(y), gates[0])
        return x + latent, latent


def _gated(x: Tensor, gate: Tensor | None) -> Tensor:
    return x if gate is None else x * gate


def enlarge(x: Tensor, scale: int, origin: Tensor | None, extent: Tensor | None, *, aligned: bool) -> Tensor:
    """(batch, channel, height, width) bilinearly to twice the sides.

    aligned: the corners of the whole stay corners; origin and extent then tell, as (batch, 2) in pixels of the photo,
    where x begins in the whole and how large that is (None: x is the whole). scale: pixels of the photo to one of the
    result.
    """
    if not aligned or origin is None or extent is None:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=aligned)
    for axis in (0, 1):
        x = _enlarge_axis(x, 2 + axis, origin[:, axis] / scale, extent[:, axis] / scale)
    return x


def _enlarge_axis(x: Tensor, axis: int, origin: Tensor, extent: Tensor) -> Tensor:
    """Of a whole of m, number i of the 2m results lies at i (m - 1) / (2m - 1) = i / 2 - i / (2 (2m - 1)).

    That is never further than a half from i / 2: an even one lies between the number i / 2 and the one before, an odd
    one between (i - 1) / 2 and the one after. So two neighbours make each, with shares that change along the way.
    """
    count = x.shape[axis]
    shape = (-1, 1, count, 1) if axis == 2 else (-1, 1, 1, count)
    numbers = 2 * torch.arange(count, device=x.device, dtype=origin.dtype) + origin[:, None]
    behind = [((numbers + odd) / (2 * (extent[:, None] - 1))).reshape(shape).to(x.dtype) for odd in (0, 1)]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, count - 1)], dim=axis)
    after = torch.cat([x.narrow(axis, 1, count - 1), x.narrow(axis, count - 1, 1)], dim=axis)
    even = x + behind[0] * (before - x)
    odd = x + (0.5 - behind[1]) * (after - x)
    if torch.compiler.is_exporting() or x.is_contiguous():
        return torch.stack([even, odd], dim=axis + 1).flatten(axis, axis + 1)
    # Channels last: kept so, else two copies are made of what is largest here.
    pair = [each.permute(0, 2, 3, 1) for each in (even, odd)]
    return torch.stack(pair, dim=axis).flatten(axis - 1, axis).permute(0, 3, 1, 2)

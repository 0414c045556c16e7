"""The convolutional autoencoder of VQGAN (Esser, Rombach, Ommer, 2021): residual blocks, attention, a few levels.

Names of the tensors are those of its published code (``down.0.block.1.norm1``, ``up.2.attn.0.proj_out``). GroupNorm
and attention see the whole picture: a tile never equals its part of an untiled run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight.nn import unet

EPSILON = 1e-6
PIECES = 8
"""Of the places, in a graph, whose attention is computed one after the other."""
LATENT = 3
"""Channels of the latent, and of the picture."""


class Sizes(Protocol):
    """What an encoder and its decoder have in common."""

    def widths(self) -> Sequence[int]:
        """Channels of each level, from full size; each level halves the sides."""

    @property
    def blocks(self) -> int:
        """Residual blocks of an encoder's level; a decoder's has one more."""

    @property
    def groups(self) -> int:
        """Of the norms."""

    @property
    def attention(self) -> Sequence[int]:
        """Levels, from 0, that have attention after each block; the middle always has it."""


class GroupNorm(unet.GroupNorm):
    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, EPSILON)


class ResidualBlock(nn.Module):
    """x + two convolutions, a norm and SiLU before each: (batch, inputs, h, w) to (batch, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        result: Tensor = (x if self.nin_shortcut is None else self.nin_shortcut(x)) + h
        return result


class Attention(nn.Module):
    """x + what each place takes from all others, one head: (batch, channels, h, w) to the same."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # (batch, 1, places, channels)
        query, key, value = (
            layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v)
        )
        attended = _attend(query, key, value)[:, 0]
        result: Tensor = x + self.proj_out(attended.transpose(1, 2).reshape(x.shape))
        return result


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention of (batch, 1, places, channels)."""
    if not torch.compiler.is_exporting():
        return F.scaled_dot_product_attention(query, key, value)
    # Torch's own holds some rows at a time. A graph would hold them all: the square of the places.
    places = query.shape[2]
    block = (places + PIECES - 1) // PIECES
    rows = F.pad(query * query.shape[3] ** -0.5, (0, 0, 0, PIECES * block - places))
    across = key.transpose(2, 3)
    parts = rows.reshape(rows.shape[0], 1, PIECES, block, rows.shape[3]).unbind(2)
    return torch.cat([(part @ across).softmax(dim=3) @ value for part in parts], dim=2)[:, :, :places]


class Downsample(nn.Module):
    """Half the sides, rounded down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        smaller: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return smaller


class Upsample(nn.Module):
    """Twice the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        larger: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return larger


class Middle(nn.Module):
    """Block, attention, block, at the smallest size."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = Attention(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return result


class Level(nn.Module):
    """Blocks of one size, attention after each if there is any, and then the change of size, by ``forward``'s caller."""

    def __init__(self, inputs: int, outputs: int, groups: int, blocks: int, *, attention: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(outputs if index else inputs, outputs, groups) for index in range(blocks)
        )
        self.attn = nn.ModuleList(Attention(outputs, groups) for _ in range(blocks if attention else 0))
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        return x


class Encoder(nn.Module):
    """A picture to its latent at 1 / 2^(levels - 1) of its size, and what the levels before the last saw."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        steps, groups = sizes.widths(), sizes.groups
        self.conv_in = nn.Conv2d(LATENT, steps[0], 3, padding=1)
        self.down: Sequence[Level] = nn.ModuleList(  # type: ignore[assignment]
            Level(above, width, groups, sizes.blocks, attention=level in sizes.attention)
            for level, (above, width) in enumerate(zip([steps[0], *steps], steps, strict=False))
        )
        for level, width in zip(self.down, steps[:-1], strict=False):
            level.downsample = Downsample(width)
        self.mid = Middle(steps[-1], groups)
        self.norm_out = GroupNorm(groups, steps[-1])
        self.conv_out = nn.Conv2d(steps[-1], LATENT, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x: (batch, 3, height, width), sides multiples of 2^(levels - 1). Features: from full size."""
        x = self.conv_in(x)
        features = []
        for level in self.down:
            x = level(x)
            if level.downsample is not None:
                features.append(x)
                x = level.downsample(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x)))), features


Adjust = Callable[[int, Tensor], Tensor]
"""What becomes of a decoder's map after the blocks of a level, which are counted from 0, full size."""


class Decoder(nn.Module):
    """A latent to a picture, which is not clipped."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        steps, groups = sizes.widths(), sizes.groups
        self.conv_in = nn.Conv2d(LATENT, steps[-1], 3, padding=1)
        self.mid = Middle(steps[-1], groups)
        self.up: Sequence[Level] = nn.ModuleList(  # type: ignore[assignment]
            Level(below, width, groups, sizes.blocks + 1, attention=level in sizes.attention)
            for level, (below, width) in enumerate(zip([*steps[1:], steps[-1]], steps, strict=True))
        )
        for level, width in zip(self.up[1:], steps[1:], strict=True):
            level.upsample = Upsample(width)
        self.norm_out = GroupNorm(groups, steps[0])
        self.conv_out = nn.Conv2d(steps[0], LATENT, 3, padding=1)

    def walk(self, z: Tensor, adjust: Adjust) -> Tensor:
        """The map at full size. adjust: on all levels but the smallest."""
        x = self.mid(self.conv_in(z))
        for level in reversed(range(len(self.up))):
            part = self.up[level]
            x = part(x)
            if level < len(self.up) - 1:
                x = adjust(level, x)
            if part.upsample is not None:
                x = part.upsample(x)
        return x  # type: ignore[no-any-return]

    def features(self, z: Tensor) -> list[Tensor]:
        """What the levels but the smallest make of a latent, from full size."""
        found: list[Tensor] = []

        def keep(_level: int, x: Tensor) -> Tensor:
            found.insert(0, x)
            return x

        self.walk(z, keep)
        return found

    def forward(self, z: Tensor, adjust: Adjust = lambda _level, x: x) -> Tensor:
        """z: (batch, 3, h, w) to (batch, 3, 2^(levels - 1) h, ...)."""
        picture: Tensor = self.conv_out(F.silu(self.norm_out(self.walk(z, adjust))))
        return picture


def without_effect(module: nn.Module) -> list[nn.Parameter]:
    """Parameters in a module that change no result, by their formula: their gradient is rounding.

    A bias of the keys adds the same to all that a place compares; a bias before a norm of one channel a group is
    taken off again.
    """
    biases: list[Tensor | None] = []
    for each in module.modules():
        if isinstance(each, Attention):
            biases.append(each.k.bias)
        elif isinstance(each, ResidualBlock) and each.norm2.num_groups == each.norm2.num_channels:
            biases.append(each.conv1.bias)
    return [each for each in biases if isinstance(each, nn.Parameter)]

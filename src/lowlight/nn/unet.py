"""The U-Net conditioned on a number that Dimma publishes: diffusers' ``UNet2DModel`` at its settings.

Names of the tensors are those of today's diffusers (``to_q``, ...). GroupNorm and attention see the whole
picture: a tile never equals its part of an untiled run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


class GroupNorm(nn.GroupNorm):
    """Takes a single pixel too, which the lowest level of a tiny photo is."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, + embedding, norm, SiLU, convolution, + shortcut; ``resample`` before the first."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, groups: int, *, resample: float | None = None
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, inputs, EPSILON)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, outputs)
        self.norm2 = GroupNorm(groups, outputs, EPSILON)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.resample = resample

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = F.silu(self.norm1(x))
        if self.resample == 0.5:
            x, hidden = F.avg_pool2d(x, 2), F.avg_pool2d(hidden, 2)
        elif self.resample == 2:
            x, hidden = (F.interpolate(each, scale_factor=2.0, mode="nearest") for each in (x, hidden))
        hidden = self.conv1(hidden) + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        result: Tensor = x + hidden
        return result


class Attention(nn.Module):
    """Every pixel of the coarsest level attends to every other, in heads of ``head`` channels."""

    def __init__(self, channels: int, head: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // head
        self.group_norm = GroupNorm(groups, channels, EPSILON)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)
        query, key, value = (
            projection(pixels).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.to_q, self.to_k, self.to_v)
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = x + self.to_out[0](attended).transpose(1, 2).unflatten(2, x.shape[2:])
        return result


class TimestepEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, sinusoid: Tensor) -> Tensor:
        embedded: Tensor = self.linear_2(F.silu(self.linear_1(sinusoid)))
        return embedded


class DownLevel(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, embedding: int, groups: int, blocks: int, *, last: bool
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(inputs if index == 0 else outputs, outputs, embedding, groups)
            for index in range(blocks)
        )
        if not last:
            self.downsamplers = nn.ModuleList(
                [ResidualBlock(outputs, outputs, embedding, groups, resample=0.5)]
            )

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """The state after each block and after the downsampler, where there is one."""
        states = []
        for block in (*self.resnets, *getattr(self, "downsamplers", ())):
            x = block(x, embedding)
            states.append(x)
        return states


class Middle(nn.Module):
    def __init__(self, channels: int, embedding: int, groups: int, head: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, head, groups)])
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, embedding, groups) for _ in range(2))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        before, after = self.resnets
        result: Tensor = after(self.attentions[0](before(x, embedding)), embedding)
        return result


class UpLevel(nn.Module):
    def __init__(
        self, inputs: Sequence[int], outputs: int, embedding: int, groups: int, *, last: bool
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(width, outputs, embedding, groups) for width in inputs)
        if not last:
            self.upsamplers = nn.ModuleList([ResidualBlock(outputs, outputs, embedding, groups, resample=2)])

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Takes one skip a block from the end of ``skips``."""
        for block in self.resnets:
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
        for upsampler in getattr(self, "upsamplers", ()):
            x = upsampler(x, embedding)
        return x


class UNet(nn.Module):
    """Picture and one number a picture to a picture of the same size.

    widths: channels of each level, from the top; multiples of ``groups``, the last one of ``head``.
    blocks: residual blocks a level on the way down; one more on the way up.
    """

    frequencies: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        *,
        blocks: int = 2,
        groups: int = 32,
        head: int = 64,
    ) -> None:
        super().__init__()
        top, bottom, embedding, levels = widths[0], widths[-1], 4 * widths[0], len(widths)
        self.conv_in = nn.Conv2d(inputs, top, 3, padding=1)
        self.time_embedding = TimestepEmbedding(top)
        self.down_blocks = nn.ModuleList(
            DownLevel(a, b, embedding, groups, blocks, last=level == levels - 1)
            for level, (a, b) in enumerate(zip([top, *widths], widths, strict=False))
        )
        self.mid_block = Middle(bottom, embedding, groups, head)
        self.up_blocks = nn.ModuleList()
        current = bottom
        for level in reversed(range(levels)):
            width, above = widths[level], widths[max(level - 1, 0)]
            skips = [width] * blocks + [above]
            widths_in = [current + skips[0], *(width + skip for skip in skips[1:])]
            self.up_blocks.append(UpLevel(widths_in, width, embedding, groups, last=level == 0))
            current = width
        self.conv_norm_out = GroupNorm(groups, top, EPSILON)
        self.conv_out = nn.Conv2d(top, outputs, 3, padding=1)
        frequencies = torch.exp(-math.log(10000) / (top // 2) * torch.arange(top // 2, dtype=torch.float32))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def sinusoid(self, time: Tensor) -> Tensor:
        """(batch,) to (batch, widths[0]): cosines, then sines, of falling frequency."""
        angle = time.float()[:, None] * self.frequencies
        return torch.cat([angle.cos(), angle.sin()], dim=1)

    def embed(self, time: Tensor) -> Tensor:
        """(batch,) to (batch, 4 * widths[0]), always in float32: bf16 ruins angles of hundreds of radians."""
        with torch.autocast(time.device.type, enabled=False):
            embedded: Tensor = self.time_embedding(self.sinusoid(time))
        return embedded

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: (batch, inputs, height, width), sides multiples of 2^(levels - 1); time: (batch,).

        Gives (batch, outputs, height, width).
        """
        embedding = self.embed(time)
        x = self.conv_in(x)
        skips = [x]
        for down in self.down_blocks:
            skips.extend(down(x, embedding))
            x = skips[-1]
        x = self.mid_block(x, embedding)
        for up in self.up_blocks:
            x = up(x, skips, embedding)
        result: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return result

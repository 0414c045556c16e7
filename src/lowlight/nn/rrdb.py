"""Residual-in-residual dense blocks: the trunk of super-resolution networks, used as a feature encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLUs below zero."""
RESIDUAL = 0.2
"""Share of what a block adds to its input."""


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each of all that came before: (batch, channels, height, width) to the same."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels]
        self.convs = nn.ModuleList(
            _conv(channels + index * growth, width) for index, width in enumerate(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        *growing, last = self.convs
        for conv in growing:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), SLOPE)], dim=1)
        return torch.add(x, last(seen), alpha=RESIDUAL)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    """Small at first, so that a deep trunk starts near the identity."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    if conv.weight.is_meta:  # nothing to draw, for which torch would import its compiler: seconds
        return conv
    with torch.no_grad():
        nn.init.kaiming_normal_(conv.weight).mul_(0.1)
        conv.bias.zero_()  # type: ignore[union-attr]
    return conv


class ResidualDenseBlock(nn.Module):
    """Three dense blocks inside a residual: an RRDB."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.channels = channels
        self.blocks = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.blocks(x), alpha=RESIDUAL)


class FoldedBlock(nn.Module):
    """A ``ResidualDenseBlock`` with a convolution in place of the last product; shares the layers.

    ONNX Runtime keeps its own layout of maps through convolutions and sums, but not through a product: all that
    follows one would be laid out anew at every layer.
    """

    def __init__(self, block: ResidualDenseBlock) -> None:
        super().__init__()
        self.blocks = block.blocks
        self.share = nn.Conv2d(block.channels, block.channels, 1, groups=block.channels, bias=False)
        self.share.weight = nn.Parameter(torch.full_like(self.share.weight, RESIDUAL), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.share(self.blocks(x))  # type: ignore[no-any-return]

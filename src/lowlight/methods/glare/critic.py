"""The critic of the codebook's training: a U-Net that scores each pixel, after Real-ESRGAN (Wang et al., 2021)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
DEPTH = 3
"""Times that the size is halved: sides are multiples of 2^3."""


class Critic(nn.Module):
    """``forward(picture)``: (batch, 3, height, width) in [0, 1] to scores, (batch, 1, height, width).

    All convolutions but the first and the last have spectral norm (Miyato et al., 2018).
    """

    def __init__(self, width: int) -> None:
        """width: channels at full size, doubled by each halving."""
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(above, below, 4, stride=2, padding=1, bias=False))
            for above, below in pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(below, above, 3, padding=1, bias=False))
            for above, below in pairwise(widths)
        )
        self.same = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, width, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        maps = [F.leaky_relu(self.first(picture), SLOPE)]
        for layer in self.down:
            maps.append(F.leaky_relu(layer(maps[-1]), SLOPE))
        x = maps.pop()
        for layer in reversed(self.up):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.leaky_relu(layer(x), SLOPE) + maps.pop()
        for layer in self.same:
            x = F.leaky_relu(layer(x), SLOPE)
        scores: Tensor = self.last(x)
        return scores

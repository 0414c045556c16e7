"""What is coarse in a picture, its colours and tones, apart from what is fine, its detail and noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SIDE = 25
"""Side of the square that colours are averaged over, pixels."""


def coarse(picture: Tensor) -> Tensor:
    """The mean of the square around each pixel, mirrored at the border, of (batch, 3, height, width), which
    must have more than 12 pixels a side."""
    padded = F.pad(picture, [SIDE // 2] * 4, mode="reflect")
    return F.avg_pool2d(F.avg_pool2d(padded, (SIDE, 1), 1), (1, SIDE), 1)

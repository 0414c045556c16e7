"""Vector quantisation (van den Oord, Vinyals, Kavukcuoglu, 2017): each place of a latent becomes its nearest code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AT_ONCE = 1024
"""Codes that are compared at once: scores of all would be by far the largest map of a network."""


class Codebook(nn.Module):
    """``codes``, (count, channels)."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(count, channels).uniform_(-1 / count, 1 / count))

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the nearest code at each place, the first of equal ones; float32 also under autocast.

        z: (batch, channels, h, w) to (batch, h, w).
        """
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.codes.dtype)
            best, found = None, None
            for start in range(0, len(self.codes), AT_ONCE):
                codes = self.codes[start : start + AT_ONCE].detach()
                # |z - e|^2 = |z|^2 - 2 (z e - |e|^2 / 2), and |z|^2 is the same for all codes.
                scores = F.conv2d(z.detach(), codes[:, :, None, None], -codes.square().sum(dim=1) / 2)
                score, index = scores.max(dim=1)
                if best is None or found is None:
                    best, found = score, index
                else:
                    found = torch.where(score > best, index + start, found)
                    best = torch.maximum(score, best)
            assert found is not None  # noqa: S101
            return found

    def look_up(self, indices: Tensor) -> Tensor:
        """The codes, (batch, h, w) to (batch, channels, h, w)."""
        return F.embedding(indices, self.codes).permute(0, 3, 1, 2)

    def forward(self, z: Tensor) -> Tensor:
        """The nearest codes of z, (batch, channels, h, w)."""
        return self.look_up(self.nearest(z))

"""A lightness-conditioned U-Net for CPUs, exact in tiles.

It differs from the published network (``nn.unet``) where that one needs the whole picture or most of the
time: the body works on pixel-unshuffled input at a quarter of the resolution, nothing is normalised over the
picture and nothing attends; what must be known of the whole photo comes in as observed numbers.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight.methods.dimma import DESCRIPTOR, Config

EMBEDDING = 128
FREQUENCIES = 32


class Block(nn.Module):
    """Residual block; the condition scales and shifts between its two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.condition = nn.Linear(EMBEDDING, 2 * channels)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.condition(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(F.silu(x)) * (1 + scale) + shift
        added: Tensor = self.second(F.silu(hidden))
        return x + added


class Blocks(nn.ModuleList):
    """Residual blocks one after the other."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(Block(channels) for _ in range(count))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class TiledUNet(nn.Module):
    """Dark photo, its mean, the mean wanted and the photo's descriptor to the enhanced photo.

    The network sees the dark photo beside its copy multiplied to the wanted mean, so that it need not learn
    to divide, and adds its output to the dark photo: noise that it does not add again need not be removed.
    """

    frequencies: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, self.unshuffle = config.widths, config.unshuffle
        samples = self.unshuffle**2
        self.stem = nn.Conv2d(6 * samples, widths[0], 3, padding=1)
        self.embedding = nn.Sequential(
            nn.Linear(2 * FREQUENCIES + DESCRIPTOR, EMBEDDING),
            nn.SiLU(),
            nn.Linear(EMBEDDING, EMBEDDING),
            nn.SiLU(),
        )
        self.encoder = nn.ModuleList(
            Blocks(width, count) for width, count in zip(widths[:-1], config.blocks[:-1], strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.middle = Blocks(widths[-1], config.blocks[-1])
        self.ups = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(
            Blocks(width, count) for width, count in zip(widths[:-1], config.blocks[:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], 3 * samples, 3, padding=1)
        with torch.no_grad():
            self.head.weight.mul_(0.2)
        frequencies = torch.exp(torch.linspace(0, math.log(1000), FREQUENCIES))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def embed(self, source_lightness: Tensor, lightness: Tensor, descriptor: Tensor) -> Tensor:
        """(batch,), (batch,), (batch, descriptor) to the condition, always in float32: bf16 ruins the angles."""
        with torch.autocast(source_lightness.device.type, enabled=False):
            angle = (lightness - source_lightness)[:, None] * self.frequencies
            known = torch.cat([angle.sin(), angle.cos(), descriptor], dim=1)
            embedded: Tensor = self.embedding(known)
        return embedded

    def forward(
        self, dark: Tensor, source_lightness: Tensor, lightness: Tensor, descriptor: Tensor
    ) -> Tensor:
        """dark: (batch, 3, height, width) in [0, 1], sides multiples of unshuffle * 2^(levels - 1).

        source_lightness, lightness: (batch,), the dark photo's mean (above 0) and the wanted one.
        descriptor: (batch, n), see ``methods.dimma.descriptor``. Gives the enhanced photo, not clipped.
        """
        # Unshuffled before it is doubled: at full resolution two copies would be the most memory of all.
        x = F.pixel_unshuffle(dark, self.unshuffle)
        gained = (x * (lightness / source_lightness)[:, None, None, None]).clamp(max=1)
        embedding = self.embed(source_lightness, lightness, descriptor)
        x = self.stem(torch.cat([x, gained], dim=1))
        skips = []
        for blocks, down in zip(self.encoder, self.downs, strict=True):
            x = blocks(x, embedding)
            skips.append(x)
            x = down(x)
        x = self.middle(x, embedding)
        for blocks, up in zip(reversed(self.decoder), reversed(self.ups), strict=True):
            x = skips.pop() + F.pixel_shuffle(up(x), 2)
            x = blocks(x, embedding)
        added: Tensor = F.pixel_shuffle(self.head(F.silu(x)), self.unshuffle)
        return dark + added

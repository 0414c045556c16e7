"""Dimma's network: the published U-Net with its input preparation and heads, or the CPU size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowlight.methods.dimma.retinex import EPSILON
from lowlight.methods.dimma.tiled_unet import TiledUNet
from lowlight.nn.lookup import equalise
from lowlight.nn.unet import UNet

if TYPE_CHECKING:
    from lowlight.methods.dimma import Config

INPUTS = 10
STEPS = 1000
"""Time steps of the release for a difference of 1 in lightness."""


def prepare(dark: Tensor, tables: Tensor) -> Tensor:
    """The network's ten channels: dark photo, its equalised copy, reflectance, illumination (maximum form).

    dark: (batch, 3, height, width) in [0, 1]; tables: (batch, 3, 256), see ``lowlight.equalise``.
    """
    reflectance = dark / (dark.sum(dim=1, keepdim=True) + EPSILON)
    illumination = (dark / (3 * reflectance + EPSILON)).amax(dim=1, keepdim=True)
    return torch.cat([dark, equalise(dark, tables), reflectance, illumination], dim=1)


def apply_head(head: str, y: Tensor, x: Tensor) -> Tensor:
    """The picture, in [0, 1], from the network's output and its ten input channels."""
    dark, equalised, reflectance, illumination = torch.split(x, [3, 3, 3, 1], dim=1)
    match head:
        case "sig_dim":
            picture = dark + torch.sigmoid(y)
        case "dim":
            picture = dark + y
        case "HE":
            picture = equalised + y
        case "normal":
            picture = y
        case "retinex":
            picture = (reflectance + torch.tanh(y[:, :3])) * (illumination + torch.sigmoid(y[:, 3:]))
        case "retinex_tanh":
            picture = (reflectance + torch.tanh(y[:, :3])) * (illumination + torch.tanh(y[:, 3:]))
        case _:
            raise ValueError(f"head: got {head!r}")
    return picture.clamp(0, 1)


def time_step(source_lightness: Tensor, lightness: Tensor, published: Tensor) -> Tensor:
    """(batch,) time in thousandths of lightness: exact, or where ``published`` is 1, whole steps as released."""
    exact = STEPS * (lightness - source_lightness)
    return torch.where(published > 0.5, exact.trunc(), exact)


class Network(nn.Module):
    """``forward(dark, **observation)``: (batch, 3, height, width) in [0, 1] to the enhanced picture.

    ``published``: observation as ``retinex.observe_published`` gives it, with a batch axis; sides multiples
    of 2^(levels - 1). ``tiled``: that of ``methods.dimma.tiled_unet.TiledUNet``.
    """

    backbone: UNet | TiledUNet

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.body == "tiled":
            self.backbone = TiledUNet(config)
        else:
            self.backbone = UNet(
                INPUTS,
                4 if config.head.startswith("retinex") else 3,
                config.widths,
                blocks=config.blocks[0],
                groups=config.norm_groups,
                head=config.attention_head,
            )

    def forward(self, dark: Tensor, **observation: Tensor) -> Tensor:
        if self.config.body == "tiled":
            enhanced: Tensor = self.backbone(dark, **observation)
            return enhanced
        return self._published(dark, **observation)

    def _published(
        self, dark: Tensor, tables: Tensor, source_lightness: Tensor, lightness: Tensor, published: Tensor
    ) -> Tensor:
        x = prepare(dark, tables)
        y = self.backbone(x, time_step(source_lightness, lightness, published))
        return apply_head(self.config.head, y, x)

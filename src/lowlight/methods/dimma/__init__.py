"""Dimma (2023): a U-Net that makes a dark photo as light as it is asked to.

Source: arXiv 2310.09633; sections named S.. are those of the method's page in ``docs``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lowlight import methods


class Config(methods.Config):
    """Sizes of the network. ``tiled``: the CPU size, exact in tiles; ``published``: the authors' class."""

    body: Literal["tiled", "published"] = "tiled"
    widths: tuple[int, ...] = Field((64, 128, 256), min_length=2)
    """Channels of each level, from the top."""
    blocks: tuple[int, ...] = (1, 1, 2)
    """``tiled``: residual blocks a level and side; the last level's stand in the middle. ``published``: (2,)."""
    unshuffle: int = Field(4, ge=1)
    """``tiled``: side of the pixel blocks that become channels at the top."""
    descriptor: bool = True
    """``tiled``: the whole photo's histogram descriptor joins the condition."""
    head: Literal["sig_dim", "dim", "HE", "normal", "retinex", "retinex_tanh"] = "sig_dim"
    """``published``: what the network's output means (S8)."""
    norm_groups: int = 32
    attention_head: int = 64

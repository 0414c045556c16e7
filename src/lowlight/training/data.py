"""Training data: photographs in memory as uint8, and batches of crops cut from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Crops of pairs, and what a method may observe of the whole photos they come from."""

    dark: Tensor
    """(count, 3, crop, crop) float32 in [0, 1], channels-last."""
    light: Tensor
    """The same windows of the light photos."""
    dark_counts: NDArray[np.float64]
    """(count, 3, 256) histograms of the whole dark photos, after augmentation."""
    light_counts: NDArray[np.float64]
    names: list[str]
    """Where each pair comes from."""


class Mixture:
    """Several sources of pairs, drawn from by their weights."""

    def batch(self, rng: np.random.Generator, count: int, crop: int, device: torch.device) -> Batch:
        """Cut a batch of random crops."""
        raise NotImplementedError

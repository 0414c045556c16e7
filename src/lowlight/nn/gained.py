"""Errors of a picture after the one gain that gives it its reference's mean, as every result gets it at the end."""

from __future__ import annotations

from torch import Tensor

GAINS = (0.5, 2.0)
"""Bounds of the gain, so that a black prediction does not ask for an infinite one."""


def gained(predicted: Tensor, light: Tensor) -> Tensor:
    """(batch, 3, height, width) predictions, each with the gain that brings it, clipped, to its reference's mean."""
    means = predicted.clamp(0, 1).mean(dim=(1, 2, 3), keepdim=True)
    return predicted * (light.mean(dim=(1, 2, 3), keepdim=True) / means.clamp(min=1e-3)).clamp(*GAINS)


def log_error(predicted: Tensor, light: Tensor) -> Tensor:
    """(batch,): logarithm of the mean squared error, not far below that of 50 dB: -PSNR in units of 4.34 dB."""
    return ((predicted - light) ** 2).mean(dim=(1, 2, 3)).add(1e-5).log()

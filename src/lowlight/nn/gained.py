"""Errors of a picture after the one gain that gives it its reference's mean, as every result gets it at the end."""

from __future__ import annotations

import torch
from torch import Tensor

BOUNDS = (-3.0, 3.0)
"""Of the gain's logarithm, so that a black prediction does not ask for an infinite one."""
_STEPS = 5


def gained(predicted: Tensor, light: Tensor) -> Tensor:
    """(batch, 3, height, width) predictions, each with the gain that brings it, clipped, to its reference's mean.

    The gain is ``lowlight.gain``'s, and so is how it goes on below black and above white. Its derivative by the
    prediction is that of the exact solution, which Newton's steps come near to.
    """
    predicted, wanted = predicted.float(), light.float().mean(dim=(1, 2, 3), keepdim=True)
    kept = predicted.clamp(0, 1)
    shift = torch.zeros_like(wanted)
    with torch.no_grad():
        for _ in range(_STEPS):
            shift = _step(kept, wanted, shift)
    gain = _step(kept, wanted, shift).exp()
    steep = torch.where(predicted > 1, 1 / gain, gain)
    return _brightened(kept, gain) + (predicted - kept) * steep


def _brightened(kept: Tensor, gain: Tensor) -> Tensor:
    return gain * kept / (1 + (gain - 1) * kept)


def _step(kept: Tensor, wanted: Tensor, shift: Tensor) -> Tensor:
    """One of Newton's steps from a gain's logarithm; through the last one, gradients are those of the solution."""
    reached = _brightened(kept, shift.exp())
    rise = (reached * (1 - reached)).detach().mean(dim=(1, 2, 3), keepdim=True)
    missing = wanted - reached.mean(dim=(1, 2, 3), keepdim=True)
    return (shift + missing / rise.clamp(min=1e-3)).clamp(*BOUNDS)


def log_error(predicted: Tensor, light: Tensor) -> Tensor:
    """(batch,): logarithm of the mean squared error, not far below that of 50 dB: -PSNR in units of 4.34 dB."""
    return ((predicted - light) ** 2).mean(dim=(1, 2, 3)).add(1e-5).log()

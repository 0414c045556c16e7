"""Multi-scale SSIM (Wang, Simoncelli, Bovik 2003): contrast at four scales, all of SSIM at the fifth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.metrics._ssim import GAUSSIAN, MIRRORED, rgb, similarity
from lowlight.evaluation.metrics._surface import Metric, Picture, at_least
from lowlight.evaluation.metrics._windows import Array

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
SMALLEST = 161
"""Pixels a side: the window must fit at the fifth scale."""


def _ms_ssim(result: Picture, reference: Picture) -> float:
    """pytorch-msssim: valid area, zeros before and behind an odd side before halving, mean of the channels."""
    at_least(SMALLEST, "MS-SSIM", result.samples)
    scores = []
    for channel in range(3):
        x, y = _channel(result, channel), _channel(reference, channel)
        factors = []
        for scale in range(len(WEIGHTS)):
            full, contrast = similarity(x, y, rgb, GAUSSIAN, 255)
            factors.append(full if scale == len(WEIGHTS) - 1 else contrast)
            x, y = _halve_padded(x), _halve_padded(y)
        scores.append(_product(factors))
    return float(np.mean(scores))


def _ms_ssim_torchmetrics(result: Picture, reference: Picture) -> float:
    """torchmetrics: SSIM of the mirrored picture, contrast of the valid area; the last odd row is left out."""
    at_least(SMALLEST, "MS-SSIM", result.samples)
    factors = np.zeros((3, len(WEIGHTS)))
    for channel in range(3):
        x, y = _channel(result, channel), _channel(reference, channel)
        for scale in range(len(WEIGHTS)):
            if scale == len(WEIGHTS) - 1:
                factors[channel, scale] = similarity(x, y, rgb, MIRRORED, 255)[0]
            else:
                factors[channel, scale] = similarity(x, y, rgb, GAUSSIAN, 255)[1]
                x, y = _halve(x), _halve(y)
    return _product(factors.mean(axis=0))


def _product(factors: NDArray[np.float64] | list[float]) -> float:
    return float(np.prod(np.maximum(factors, 0) ** WEIGHTS))


def _channel(picture: Picture, channel: int) -> Array:
    """(height, width, 1)."""
    return picture.samples[..., channel : channel + 1].astype(np.float64)


def _halve(x: Array) -> Array:
    """Means of 2x2 values of (height, width, 1); what is left over of an odd side is dropped."""
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    x = x[:height, :width]
    return (x[::2, ::2] + x[::2, 1::2] + x[1::2, ::2] + x[1::2, 1::2]) / 4


def _halve_padded(x: Array) -> Array:
    """The same, with a zero before and behind an odd side that counts in the means."""
    return _halve(np.pad(x, [(side % 2, side % 2) for side in x.shape[:2]] + [(0, 0)]))


METRICS = (
    Metric(
        "ms_ssim",
        "8-bit RGB, five scales, valid area, odd sides padded, mean of channels (pytorch-msssim); at most 1",
        "higher",
        "reference",
        _ms_ssim,
    ),
    Metric(
        "ms_ssim_torchmetrics",
        "8-bit RGB, five scales, mirrored border at the last, odd sides cut (torchmetrics 1.9); at most 1",
        "higher",
        "reference",
        _ms_ssim_torchmetrics,
    ),
)

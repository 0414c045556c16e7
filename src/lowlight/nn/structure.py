"""Losses on the structure of a picture: SSIM at several scales, and gradients."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
SMALLEST = WINDOW
"""Side of the smallest picture that has an SSIM."""
SQUARE = 8
"""Side of the squares whose colours are compared, pixels."""
DARK = 0.2
"""Of a picture's mean: what is added to each channel of a square before its colour is taken."""
STEEP = 3.0
"""How fast an edge's weight falls with the logarithm of what it is times as light on one side as on the other."""
FLAT = 0.02
"""Of a picture of unit variance, the variance of a window that counts half, as it is nearly flat."""
NONE = 5e-4
"""Of the same, a variance that is added to both: detail that is fainter by far is none."""


def similarity(a: Tensor, b: Tensor, taps: int = WINDOW) -> tuple[Tensor, Tensor]:
    """(batch,) structural similarity of (batch, channel, height, width) pictures in [0, 1], and its part without light.

    Gaussian window of taps pixels, sigma 1.5, valid area, mean over channels (Wang et al. 2004); float32 or wider.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in (a, b))
        rows, columns = (_window(side, taps, a.device).to(a.dtype) for side in a.shape[2:])

        def blur(x: Tensor) -> Tensor:
            # Two products with a banded matrix: several times faster on a CPU than a depthwise convolution.
            return rows @ x.contiguous() @ columns.T

        mean_a, mean_b = blur(a), blur(b)
        variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
        covariance = blur(a * b) - mean_a * mean_b
        contrast = (2 * covariance + 0.03**2) / (variances + 0.03**2)
        light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        return (light * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """(batch,) ``similarity`` alone."""
    return similarity(a, b)[0]


def multiscale_ssim(a: Tensor, b: Tensor, scales: int = 3) -> Tensor:
    """(batch,) mean of ``ssim`` at full, half, quarter, ... size, as many as the pictures allow.

    The mean instead of the product of Wang et al. 2003: it has no powers of negative numbers.
    """
    found = [ssim(a, b)]
    while len(found) < scales and min(a.shape[2:]) >= 2 * SMALLEST:
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        found.append(ssim(a, b))
    return torch.stack(found).mean(dim=0)


def unlikeness(result: Tensor, dark: Tensor, scales: int = 5) -> Tensor:
    """(batch,) 0 to 2: how little of a dark picture's detail is in the result, whatever its light and contrast.

    1 - the correlation within SSIM's window of the logarithms of each channel, at zero mean and unit variance over the
    picture; the mean over channels, scales (as many as the pictures allow) and places, but places where the dark
    picture is flat count less. Of logarithms, so that detail in the dark counts as detail in the light does; what is
    much darker than its picture counts as flat, as it is noise.
    """

    def logarithm(picture: Tensor) -> Tensor:
        picture = picture.float().clamp(min=0)
        return F.instance_norm(
            (picture + DARK * picture.mean(dim=(1, 2, 3), keepdim=True) + 1e-3).log(), eps=1e-5
        )

    found: list[Tensor] = []
    with torch.autocast(dark.device.type, enabled=False):
        a, b = logarithm(result), logarithm(dark)
        while len(found) < scales and (not found or min(a.shape[2:]) >= SMALLEST):
            rows, columns = (_window(side, WINDOW, a.device).float() for side in a.shape[2:])
            means = [rows @ each.contiguous() @ columns.T for each in (a, b, a * a, b * b, a * b)]
            variances = [(means[2 + k] - means[k] ** 2).clamp(min=0) for k in (0, 1)]
            covariance = means[4] - means[0] * means[1]
            deviations = ((variances[0] + NONE) * (variances[1] + NONE)).sqrt()
            counts = variances[1] / (variances[1] + FLAT)
            found.append((counts * (1 - covariance / deviations)).mean(dim=(1, 2, 3)))
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return torch.stack(found).mean(dim=0)


def colour_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far the colours of two pictures in [0, 1] are apart, whatever their light: 0 to 2/3.

    The absolute difference of each channel's share in the means of squares of SQUARE pixels, over squares, channels
    and batch. What is much darker than the picture counts as grey: noise has no colour there.
    """

    def shares(picture: Tensor) -> Tensor:
        means = F.avg_pool2d(picture.clamp(min=0), min(SQUARE, *picture.shape[2:]))
        means = means + DARK * means.mean(dim=(1, 2, 3), keepdim=True) + 1e-3
        return means / means.sum(dim=1, keepdim=True)

    with torch.autocast(a.device.type, enabled=False):
        return (shares(a.float()) - shares(b.float())).abs().mean()


def unevenness(result: Tensor, dark: Tensor) -> Tensor:
    """How unevenly a dark picture in [0, 1] was lightened where it has no edges: 0 if all of it alike.

    The total variation of the logarithm of how many times as light the result's squares of SQUARE pixels are, over
    neighbours, each pair weighed by exp(-STEEP |logarithm of how many times as light one is as the other in the dark
    picture|); what is much darker than its picture counts little. After the smoothness of illumination maps in
    Zero-DCE (Guo et al. 2020) and LIME (Guo et al. 2017).
    """

    def light(picture: Tensor) -> Tensor:
        means = F.avg_pool2d(picture.mean(dim=1, keepdim=True).clamp(min=0), min(SQUARE, *picture.shape[2:]))
        return (means + DARK * means.mean(dim=(1, 2, 3), keepdim=True) + 1e-3).log()

    with torch.autocast(dark.device.type, enabled=False):
        before = light(dark.float())
        gain = light(result.float()) - before
        steps = [((-STEEP * before.diff(dim=axis).abs()).exp(), gain.diff(dim=axis)) for axis in (2, 3)]
        return torch.cat([(weight * step.abs()).flatten() for weight, step in steps]).mean()


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """(batch,) mean absolute difference of the pictures' horizontal and vertical gradients."""
    difference = a - b
    return difference.diff(dim=2).abs().mean(dim=(1, 2, 3)) + difference.diff(dim=3).abs().mean(dim=(1, 2, 3))


def structure(a: Tensor, b: Tensor) -> Tensor:
    """(batch,) distance in structure: what the multi-scale SSIM lacks to 1, and the gradients' distance."""
    return 1 - multiscale_ssim(a, b) + gradient_distance(a, b)


@lru_cache(maxsize=16)
def _window(side: int, taps: int, device: torch.device) -> Tensor:
    """(side - taps + 1, side) float64: the Gaussian window at each valid place."""
    if side < taps:
        raise ValueError(f"SSIM: expected sides of at least {taps} pixels, got {side}")
    offsets = torch.arange(taps, dtype=torch.float64) - taps // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    window = torch.zeros(side - taps + 1, side, dtype=torch.float64)
    for row in range(len(window)):
        window[row, row : row + taps] = weights
    return window.to(device)

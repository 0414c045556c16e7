"""Full-reference metrics on 8-bit RGB pictures, as the field's reference implementations define them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(height, width, 3), RGB."""

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def psnr(result: Picture, reference: Picture) -> float:
    """10 log10(255^2 / mean squared error) over all pixels and channels, in dB; inf for equal pictures."""
    _same_shape(result, reference)
    error = np.mean((result.astype(np.float64) - reference) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(result: Picture, reference: Picture) -> float:
    """Structural similarity: Gaussian window 11x11 of sigma 1.5, valid area only, mean of R, G and B.

    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004; L = 255. Both sides need 11 pixels.
    """
    _same_shape(result, reference)
    if min(result.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs {SSIM_WINDOW} pixels a side, got {result.shape[1]}x{result.shape[0]}")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = result.astype(np.float64), reference.astype(np.float64)
    mx, my = _blur(x), _blur(y)
    vx, vy, cov = _blur(x * x) - mx**2, _blur(y * y) - my**2, _blur(x * y) - mx * my
    likeness = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(likeness.mean())


def _blur(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian window by rows, then by columns, on the valid area."""
    offset = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    kernel = np.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        length = picture.shape[axis] - SSIM_WINDOW + 1
        parts = (kernel[k] * picture.take(range(k, k + length), axis=axis) for k in range(SSIM_WINDOW))
        picture = sum(parts, np.zeros(()))
    return picture


def _same_shape(result: Picture, reference: Picture) -> None:
    if result.shape != reference.shape:
        raise ValueError(f"pictures of one size are compared: got {result.shape} and {reference.shape}")

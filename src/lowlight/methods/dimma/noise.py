"""Camera noise for training on good photos: the release's ISO noise, in hue and lightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowlight.methods import Array

_CORNERS = np.array([[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]])
"""Which of (high, low, falling, rising) red, green and blue are in each sixth of the hue circle."""


def iso_noise(
    photo: NDArray[np.uint8], colour_shift: float, intensity: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Noise on an 8-bit (height, width, 3) photo; the release draws shift and intensity from U(0.01, 0.05)
    and U(0.1, 0.5).

    Hue gets normal noise of ``360 * colour_shift * intensity`` degrees. Lightness l gets Poisson noise of mean
    ``255 * intensity * deviation of l``, times (1 - l): noise of nearly one sign, so the photo gets lighter.
    """
    hue, lightness, saturation = _to_hls(photo.astype(np.float32) / np.float32(255))
    mean = 255 * intensity * float(lightness.std(dtype=np.float64))
    grain = rng.poisson(mean, lightness.shape).astype(np.float32) / np.float32(255)
    hue = hue + rng.standard_normal(hue.shape).astype(np.float32) * np.float32(360 * colour_shift * intensity)
    lightness = lightness + grain * (1 - lightness)
    noisy = _from_hls(np.mod(hue, 360), lightness, saturation)
    return np.clip(noisy * 255, 0, 255).astype(np.uint8)


def _to_hls(picture: Array) -> tuple[Array, Array, Array]:
    """Hue in degrees, lightness and saturation in [0, 1], in float32 as OpenCV computes them."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    high, low = picture.max(axis=-1), picture.min(axis=-1)
    total, spread = high + low, high - low
    lightness = total * np.float32(0.5)
    coloured = spread > np.finfo(np.float32).eps
    divisor = np.where(lightness < 0.5, total, 2 - total)
    saturation = np.divide(spread, divisor, out=np.zeros_like(spread), where=coloured)
    sixth = np.divide(np.float32(60), spread, out=np.zeros_like(spread), where=coloured)
    hue = np.where(
        high == red,
        (green - blue) * sixth,
        np.where(high == green, (blue - red) * sixth + 120, (red - green) * sixth + 240),
    )
    return np.where(hue < 0, hue + 360, hue).astype(np.float32), lightness, saturation


def _from_hls(hue: Array, lightness: Array, saturation: Array) -> Array:
    high = np.where(
        lightness <= 0.5, lightness * (1 + saturation), lightness + saturation - lightness * saturation
    )
    low = 2 * lightness - high
    position = hue * np.float32(6 / 360)
    sector = np.floor(position)
    share = position - sector
    levels = np.stack([high, low, low + (high - low) * (1 - share), low + (high - low) * share], axis=-1)
    return np.take_along_axis(levels, _CORNERS[sector.astype(np.intp) % 6], axis=-1).astype(np.float32)

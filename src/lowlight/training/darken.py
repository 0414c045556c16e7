"""Dark twins of normal photos: less light, a colour cast, a sensor's noise, and what JPEG makes of it."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from lowlight.methods import Array

Range = tuple[float, float]
_AtLeastOne = Annotated[float, Field(ge=1)]
_Quality = Annotated[float, Field(ge=1, le=100)]
_FINE = 1 << 16


class Darkening(BaseModel):
    """Ranges that a photo's darkening is drawn from; those of ``exposure``, ``shot``, ``read`` by logarithm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exposure: Range = (0.004, 0.25)
    """Share of the light that is left."""
    cast: float = 0.12
    """Deviation of the logarithm of each channel's gain."""
    shot: Range = (2e-5, 1.5e-3)
    """Variance of the linear signal per signal; a quarter of the photos has a tenth of it."""
    read: Range = (1e-4, 3e-3)
    """Deviation of the noise that does not depend on the signal, linear."""
    correlation: Range = (0.0, 0.7)
    """Share of noise that neighbours have in common, as demosaicing leaves it."""
    grain: tuple[_AtLeastOne, _AtLeastOne] = (1.0, 1.0)
    """Size of the noise's grain in pixels: more where a camera smoothed it, or a photo was made larger."""
    tone: float = 0.12
    """Deviation of the logarithm of a final gamma."""
    black: float = 0.015
    """Largest black level that is cut off, in a quarter of the photos."""
    compressed: float = Field(0.0, ge=0, le=1)
    """Share of the photos that are written as JPEG with colours at half the size, and read again."""
    quality: tuple[_Quality, _Quality] = (50.0, 97.0)
    """Of that JPEG."""


def darken(rgb: NDArray[np.uint8], ranges: Darkening, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A dark twin of an 8-bit sRGB photo (height, width, 3)."""
    gains = np.exp(rng.normal(0, ranges.cast, 3))
    gains *= _by_logarithm(ranges.exposure, rng) / gains.mean()
    shot = _by_logarithm(ranges.shot, rng) * rng.choice([1.0, 1.0, 1.0, 0.1])
    read = _by_logarithm(ranges.read, rng)
    light = _TO_LINEAR[rgb] * gains.astype(np.float32)
    noise = _noise(light.shape, rng.uniform(*ranges.correlation), _by_logarithm(ranges.grain, rng), rng)
    light += noise * np.sqrt(shot * light + read**2)
    encoded = _FROM_LINEAR[(np.clip(light, 0, 1) * _FINE).astype(np.int32)]
    encoded **= np.float32(np.exp(rng.normal(0, ranges.tone)))
    encoded -= np.float32(rng.choice([0, 0, 0, 1]) * rng.uniform(0, ranges.black))
    # Rounded at random, so that no levels vanish from the darkest parts.
    dark = (np.clip(encoded, 0, 1) * 255 + rng.random(encoded.shape, np.float32)).astype(np.uint8)
    return _through_jpeg(dark, rng.uniform(*ranges.quality)) if rng.random() < ranges.compressed else dark


def _through_jpeg(rgb: NDArray[np.uint8], quality: float) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=round(quality), subsampling="4:2:0")
    return np.array(Image.open(file))


def _noise(shape: tuple[int, ...], correlation: float, grain: float, rng: np.random.Generator) -> Array:
    """Normal noise of deviation 1, mixed with its own average over 2x2 pixels, enlarged ``grain`` times."""
    height, width = (round(side / grain) for side in shape[:2])
    noise = rng.standard_normal((height, width, shape[2]), np.float32)
    if (height, width) != shape[:2]:
        enlarged = (
            Image.fromarray(each).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
            for each in np.moveaxis(noise, 2, 0)
        )
        noise = np.stack([np.asarray(each) for each in enlarged], axis=2)
    shared = noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))
    noise = (1 - correlation) * noise + correlation / 2 * shared
    mixed: Array = (noise / max(float(noise.std()), 1e-6)).astype(np.float32)
    return mixed


def _by_logarithm(span: Range, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _to_linear() -> Array:
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _from_linear() -> Array:
    value = np.arange(_FINE + 1) / _FINE
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055).astype(np.float32)


_TO_LINEAR = _to_linear()
_FROM_LINEAR = _from_linear()

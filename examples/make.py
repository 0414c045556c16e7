"""Make the example photos: free pictures that scikit-image carries, as a sensor would see them in little light.

    uv run --extra train python examples/make.py

Each picture is turned into linear light, dimmed, given shot and read noise, and coded again.
coffee.jpg: Rachel Michetti, CC0. chelsea.jpg (cat): Stefan van der Walt, CC0. astronaut.jpg (Eileen Collins):
NASA, public domain. rocket.png (16 bits): SpaceX, CC0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage import data

from lowlight.photo import Photo, write_photo

FOLDER = Path(__file__).parent
SHOT, READ = 4e-4, 6e-4
"""Variance of the signal per signal, and deviation of the noise in the dark; linear, 1 = white."""


def darken(
    picture: NDArray[np.uint8], light: float, cast: tuple[float, float, float], seed: int
) -> NDArray[np.float64]:
    """Linear light times ``light`` and ``cast``, with noise, coded as sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    coded = picture / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear = linear * light * np.array(cast)
    linear += rng.normal(size=linear.shape) * np.sqrt(SHOT * linear + READ**2)
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)


def main() -> None:
    scenes = {
        "coffee.jpg": (data.coffee(), 0.03, (1.0, 1.0, 1.0)),
        "chelsea.jpg": (data.chelsea(), 0.02, (1.05, 1.0, 0.95)),
        "astronaut.jpg": (data.astronaut(), 0.05, (1.0, 1.0, 1.0)),
        "rocket.png": (data.rocket(), 0.06, (1.0, 1.0, 1.05)),
    }
    for seed, (name, (picture, light, cast)) in enumerate(scenes.items()):
        dark = darken(picture, light, cast, seed)
        deep = name.endswith(".png")
        samples = np.rint(dark * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        write_photo(Photo(samples), FOLDER / name)


if __name__ == "__main__":
    main()

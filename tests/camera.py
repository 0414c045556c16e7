"""Made-up places, and what a camera makes of them at night: for tests of pairs of one's own camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def place(seed: int, height: int = 180, width: int = 200, detail: int = 5) -> Pixels:
    """Patches of ``detail`` pixels, lighter and darker, on a slow gradient: (height, width, 3)."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for size, strength in ((10 * detail, 0.6), (detail, 0.4)):
        small = rng.integers(20, 236, (height // size + 2, width // size + 2, 3), np.uint8)
        large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        picture += strength * np.asarray(large, np.float32)
    return picture.round().astype(np.uint8)


def night(light: Pixels, share: float = 0.12, seed: int = 0) -> Pixels:
    """The same place with that share of the light, a cast, and noise."""
    rng = np.random.default_rng(seed)
    dark = light * share * np.array([1.1, 1.0, 0.8])
    return np.clip(dark + rng.normal(0, 1.5, light.shape), 0, 255).astype(np.uint8)


def write_pairs(folder: Path, count: int = 4, names: tuple[str, str] = ("dark", "light")) -> Path:
    """Pairs 0.png and so on, of places with these seeds."""
    for index in range(count):
        light = place(index)
        for name, picture in zip(names, (night(light, seed=index), light), strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{index}.png", compress_level=1)
    return folder

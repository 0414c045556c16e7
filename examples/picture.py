"""Make docs/example.jpg, the picture of the README: example photos beside what the shipped model makes of them.

uv run python examples/picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import lowlight
from lowlight.photo import Photo, read_photo, write_photo

FOLDER = Path(__file__).parent
HEIGHT = 300
NAMES = ("coffee.jpg", "rocket.png", "chelsea.jpg")


def small(photo: Photo) -> np.ndarray:
    """8-bit pixels at the row's height."""
    image = Image.fromarray(np.rint(photo.pixels * 255).astype(np.uint8))
    return np.asarray(
        image.resize((round(photo.width * HEIGHT / photo.height), HEIGHT), Image.Resampling.LANCZOS)
    )


def main() -> None:
    enhancer = lowlight.load("dimma")
    dark, light = [], []
    for name in NAMES:
        photo = read_photo(FOLDER / name)
        result, report = enhancer.enhance_photo(photo)
        print(f"{name}: lightness {report.lightness_before:.2f} to {report.lightness_after:.2f}")
        dark.append(small(photo))
        light.append(small(result))
    rows = np.concatenate([np.concatenate(dark, axis=1), np.concatenate(light, axis=1)])
    write_photo(Photo(rows), FOLDER.parent / "docs" / "example.jpg", quality=88)


if __name__ == "__main__":
    main()

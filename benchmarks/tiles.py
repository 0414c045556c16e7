"""How much context a tile of the shipped model needs.

    uv run python benchmarks/tiles.py [--model dimma] [--photo FILE]

Cuts a photo at half its height and compares the upper half, computed with less and less of the lower half as
context, with the photo computed whole. Differences in 1/255.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import lowlight
from lowlight.photo import read_photo

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dimma")
    parser.add_argument("--photo", type=Path, default=EXAMPLE)
    arguments = parser.parse_args()
    enhancer = lowlight.load(arguments.model)
    multiple = enhancer.method.multiple
    photo = read_photo(arguments.photo)
    height, width = photo.height // multiple * multiple, photo.width // multiple * multiple
    pixels = photo.window(0, 0, height, width)
    observation = enhancer.method.observe(photo.samples, enhancer.controls())
    whole = enhancer.engine.run(pixels, observation)
    cut = height // 2 // multiple * multiple
    print(f"{'halo':>6}{'largest':>12}{'mean':>12}")
    for halo in range(0, min(161, height - cut), multiple):
        part = enhancer.engine.run(pixels[: cut + halo], observation)
        error = np.abs(part[:cut] - whole[:cut]) * 255
        print(f"{halo:>6}{error.max():>12.6f}{error.mean():>12.8f}")


if __name__ == "__main__":
    main()

"""How much context a tile of an LLFlow model needs for the same 8 bits, on photos of one's own.

    uv run --extra train python benchmarks/llflow_halo.py MODEL FOLDER [--photos 12] [--threads N] [--json FILE]

Each photo is computed whole, and as a tile that is cut off at half its height and half its width. What is kept
of a tile lies at least the halo away from its cuts, so one such tile tells the error of every halo. A halo is
enough where nothing that is kept is further than a hundredth of an 8-bit step from the whole photo's; the table
also counts 8-bit values that differ all the same, having stood on the edge between two. The largest halo that
can be told is half of the photos' shorter side.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lowlight
from lowlight.engines import Engine
from lowlight.evaluation.pairing import photos_in
from lowlight.methods import Observation
from lowlight.photo import Photo, read_photo

ENOUGH = 0.01
"""Of an 8-bit step."""


def errors_by_halo(
    engine: Engine, pixels: NDArray[np.float32], observation: Observation, halos: list[int], multiple: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Largest error in 8-bit steps, and how many 8-bit values differ, of what each halo keeps of the cut tile."""
    height, width = (side // 2 // multiple * multiple for side in pixels.shape[:2])
    whole, cut = (
        255 * np.clip(engine.run(part, observation)[:height, :width], 0, 1)
        for part in (pixels, np.ascontiguousarray(pixels[:height, :width]))
    )
    rows, columns = np.arange(height, 0, -1)[:, None], np.arange(width, 0, -1)[None, :]
    near = np.minimum(rows, columns)  # pixels from each to the nearest cut
    error, differs = np.abs(whole - cut).max(axis=2), (np.rint(whole) != np.rint(cut)).sum(axis=2)
    largest = [float(error[near > halo].max(initial=0)) for halo in halos]
    return np.array(largest), np.array([int(differs[near > halo].sum()) for halo in halos])


def _enough(halos: list[int], errors: NDArray[np.float64]) -> int | None:
    return next((halo for halo, error in zip(halos, errors, strict=True) if error <= ENOUGH), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("folder", type=Path, help="dark photos, some hundred pixels a side at least")
    parser.add_argument("--photos", type=int, default=12, help="at most, spread evenly")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    enhancer = lowlight.load(arguments.model, threads=arguments.threads)
    multiple = enhancer.method.multiple
    files = list(photos_in(arguments.folder).values())
    files = files[:: math.ceil(len(files) / arguments.photos)]
    halos: list[int] = []
    largest, differing = np.zeros(0), np.zeros(0, np.int64)
    for turns, file in enumerate(files):
        # Turned, so that each side is cut in some photo.
        photo = Photo(np.ascontiguousarray(np.rot90(read_photo(file).samples, turns)))
        height, width = photo.height // multiple * multiple, photo.width // multiple * multiple
        if not halos:
            halos = list(range(0, min(height, width) // 2, multiple))
            largest, differing = np.zeros(len(halos)), np.zeros(len(halos), np.int64)
        pixels = photo.window(0, 0, height, width)
        observation = enhancer.method.observe(photo.samples, enhancer.controls())
        error, differs = errors_by_halo(enhancer.engine, pixels, observation, halos, multiple)
        largest, differing = np.maximum(largest, error), differing + differs
        print(f"{file.name}: {_enough(halos, error)}", flush=True)
    print(f"{'halo':>6}{'largest error, 8-bit steps':>30}{'8-bit values that differ':>28}")
    for halo, error, differs in zip(halos, largest, differing, strict=True):
        print(f"{halo:>6}{error:>30.6f}{differs:>28}")
    enough = _enough(halos, largest)
    print(f"enough: {enough}")
    if arguments.json:
        table = {"photos": len(files), "enough": enough, "halo": halos}
        found = {**table, "largest": largest.tolist(), "differing": differing.tolist()}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

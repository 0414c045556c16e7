"""A small training run for tests: photos, and a recipe for the plug-in method of ``tests/plugin``."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

PLUGIN = Path(__file__).parent / "plugin"


def write_photos(root: Path, pairs: int = 6) -> None:
    """Pairs of smooth colours with a dark twin; those of the names in val.txt are held out."""
    rng = np.random.default_rng(0)
    for index in range(pairs):
        small = Image.fromarray(rng.integers(60, 256, (4, 5, 3), np.uint8))
        light = np.asarray(small.resize((40, 32), Image.Resampling.BICUBIC))
        dark = (light * 0.2 + rng.integers(0, 4, light.shape)).astype(np.uint8)
        for folder, pixels in (("low", dark), ("high", light)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    (root / "train.txt").write_text("\n".join(str(index) for index in range(pairs - 2)))
    (root / "val.txt").write_text(f"{pairs - 2}\n{pairs - 1}\n")


def recipe(root: Path, **changes: Any) -> dict[str, Any]:
    """The recipe's values with changes at the top level."""
    pairs = {"dark": "low", "light": "high"}
    return {
        "name": "toy",
        "method": "toy",
        "stage": "versus",
        "data": {"root": str(root), "sources": [{"kind": "pairs", **pairs, "names": "train.txt"}]},
        "validation": {
            "every": 10,
            "sets": {
                "held": {"pairs": {**pairs, "names": "val.txt"}, "score": {"reference": 1.0, "auto": 0.5}}
            },
        },
        "steps": 30,
        "batches": [{"until": 0.5, "crop": 12, "count": 4}, {"until": 1.0, "crop": 24, "count": 2}],
        "device": "cpu",
        "log_every": 5,
        "save_every": 7,
        **changes,
    }


def write_recipe(root: Path, **changes: Any) -> Path:
    """The recipe as a file."""
    path = root / "toy.yaml"
    path.write_text(yaml.safe_dump(recipe(root, **changes)))
    return path

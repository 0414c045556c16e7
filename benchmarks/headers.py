"""Write the measured scores into the headers of the weights that come with lowlight, and, where a card has the hash
that a file had, the new one into it.

    uv run --extra train python benchmarks/headers.py [--check]

The scores are those that ``benchmarks/shipped_model.py --json`` left in benchmarks/results. ``--check`` changes nothing
and fails where a header says anything else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from lowlight.weights import load_tensors, open_weights, save_safetensors

ROOT = Path(__file__).parent.parent
CARDS = ROOT / "docs" / "models.md"
FILES = {
    "src/lowlight/shipped/dimma.onnx": "dimma",
    "models/dimma-torch.safetensors": "dimma",
    "src/lowlight/shipped/dimma-fast.onnx": "dimma-fast",
    "models/llflow.onnx": "llflow",
    "models/llflow-torch.safetensors": "llflow",
}
"""The weights, and whose results they have."""
MODES = {"reference": "given", "auto": "auto"}
"""What headers and results call the lightness."""


def measured(name: str) -> dict[str, float]:
    """The scores of a model as a header holds them: ``lol.reference.psnr``."""
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return {
        f"{photos}.{mode}.{metric}": round(
            float(np.mean([row[metric] for row in rows[f"{photos} {called}"]])), 4
        )
        for photos in ("lol", "sice")
        for mode, called in MODES.items()
        for metric in ("psnr", "ssim")
    }


def rewrite(path: Path, scores: dict[str, float]) -> None:
    """The same weights under a header with these scores."""
    weights = open_weights(path)
    header = weights.header.model_copy(update={"scores": scores})
    if weights.kind == "safetensors":
        save_safetensors(path, header, load_tensors(weights))
        return
    import onnx

    from lowlight.training.export import save_onnx

    save_onnx(path, header, onnx.load_from_string(weights.read()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for file, model in FILES.items():
        path, scores = ROOT / file, measured(model)
        before = open_weights(path)
        if before.header.scores == scores:
            continue
        if check:
            raise SystemExit(f"{file}: its scores differ from benchmarks/results; run benchmarks/headers.py")
        rewrite(path, scores)
        after = open_weights(path).sha256
        CARDS.write_text(CARDS.read_text().replace(before.sha256, after))
        print(f"{file}: {after}")


if __name__ == "__main__":
    main()

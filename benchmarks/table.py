"""Fill the README's table of methods from the measured rows in benchmarks/results.

    uv run python benchmarks/table.py [--check]

Each file there is what ``benchmarks/shipped_model.py --json`` wrote. ``--check`` changes nothing and fails when the
README says anything else.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
MODELS = {
    "dimma": "[Dimma](docs/dimma.md) (2023), shipped",
    "dimma-fast": "the same in int8 (`--fast`)",
    "llflow": "[LLFlow](docs/llflow.md) (2022), small net, in the clone",
}
COLUMNS = ("lol given", "lol auto", "sice given", "sice auto")


def rows() -> str:
    """The lines of the table for all models that were measured."""
    lines = []
    for name, title in MODELS.items():
        measured = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        cells = []
        for column in COLUMNS:
            keys = ("psnr", "ssim", "lightness_error")
            psnr, ssim, error = (np.mean([row[key] for row in measured[column]]) for key in keys)
            # A raw PSNR says little without the error of lightness; where that is given there is none.
            cells.append(f"{psnr:.2f} / {ssim:.3f}" + f" / {error:.3f}" * column.endswith("auto"))
        lines.append(f"| {title} | {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    text = readme.read_text()
    header = "".join(re.findall(r"\| method .*\n\|---.*\n", text))
    start = text.index(header) + len(header)
    end = text.index("| [EnlightenGAN]")
    filled = text[:start] + rows() + text[end:]
    if check and filled != text:
        raise SystemExit("README.md: the table differs from benchmarks/results; run benchmarks/table.py")
    if not check:
        readme.write_text(filled)


if __name__ == "__main__":
    main()

"""Three, five and eight pairs of a camera: what `lowlight adapt` gains on that camera's other photos.

    uv run --extra train python benchmarks/few_shot.py --from runs/without-lol/last.safetensors [--data DIR]

The five published lists of LOL pairs (docs/dimma.md), each from weights that never saw LOL
(recipes/dimma-without-lol.yaml), with normal photos that are not LOL's either. Measured on the 36 validation pairs of
LOL: whole photos of other scenes, the reference's mean lightness given, raw 8-bit RGB, mean over pictures. Beside it
the rivals that know only the same pairs: `pairs` goes on from the same weights, `nothing` begins with random
ones. Goes on where it was stopped; ``--table`` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import lowlight
from lowlight.methods.dimma.training.adapt import Course, Order, adapt
from lowlight.studies.few_shot import LISTS
from lowlight.training.camera_pairs import check_pairs, usable
from lowlight.training.loop import fit
from lowlight.training.recipe import Recipe
from lowlight.weights import open_weights
from shipped_model import data_folder, measure, pairs

RESULTS = Path(__file__).parent / "results" / "few_shot.json"
SHOTS = (3, 5, 8)
ARMS = ("adapt", "pairs", "nothing")
Row = dict[str, Any]


def score(model: Path, data: Path) -> Row:
    """PSNR and SSIM on the validation pairs, the reference's mean given."""
    enhancer = lowlight.load(model, threads=1)
    rows = [measure(enhancer, pair, given=True) for pair in pairs(data, "lol")]
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in ("psnr", "ssim")}


def adapted(names: tuple[str, ...], start: Path, data: Path, out: Path) -> Row:
    """What users get."""
    files = [(name, data / f"lol/low/{name}.webp", data / f"lol/high/{name}.jpg") for name in names]
    order = Order(
        usable(check_pairs(files)),
        out.with_suffix(".onnx"),
        start,
        data / "unpaired" / "normal",
        minutes=24 * 60,
        course=Course(precision="bf16"),
    )
    result = adapt(order, say=lambda line: print(line, flush=True))
    left_out = {"name": result.held, "before": result.before, "after": result.after}
    return {**score(result.out, data), "left_out": left_out, "kept_old": result.kept_old}


def supervised(
    names: tuple[str, ...], start: Path | None, base: Path, data: Path, out: Path, steps: int
) -> Row:
    """The pairs only, all of them, with the settings of ``adapt``; from nothing at five times its rate."""
    course = Course()
    optimizer = {"kind": "adamw", "rate": course.rate * (1 if start else 5), "betas": [0.9, 0.99]}
    recipe = Recipe.model_validate(
        {
            "name": out.name,
            "method": "dimma",
            "stage": "paired",
            "config": open_weights(base).header.config,
            "start": {"network": start} if start else {},
            "settings": {
                "losses": {"mse": 0, "lpips": 0, "psnr": 0.05, "ssim": 0.5},
                "optimizer": {**optimizer, "weight_decay": 1e-4},
                "schedule": {"shape": "cosine", "warmup": 20},
            },
            "data": {
                "root": data,
                "jitter": None,
                "sources": [{"kind": "pairs", "dark": "lol/low", "light": "lol/high", "names": names}],
            },
            "batches": [{"crop": course.crop, "count": course.count}],
            "steps": steps,
            "precision": "bf16",
            "average": 0.99,
            "save_every": 100,
        }
    )
    checkpoint = out / "checkpoint.safetensors"
    fit(recipe, out, resume=checkpoint if checkpoint.exists() else None)
    return score(out / "last.safetensors", data)


def run(arguments: argparse.Namespace) -> None:
    """All arms, numbers of pairs and lists, those apart that are done."""
    data, start = data_folder(arguments.data), arguments.start.resolve()
    found: Row = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    sha = open_weights(start).sha256
    if found.get("from", sha) != sha or found.get("steps", arguments.steps) != arguments.steps:
        raise SystemExit(f"{RESULTS}: made from other weights or with other steps; move it away")
    found |= {"from": sha, "steps": arguments.steps}
    found.setdefault("before", score(start, data))
    for arm in arguments.arms:
        work = arguments.work / arm
        doers: dict[str, Callable[[tuple[str, ...], Path], Row]] = {
            "adapt": lambda names, out: adapted(names, start, data, out),
            "pairs": lambda names, out: supervised(names, start, start, data, out, arguments.steps),
            "nothing": lambda names, out: supervised(names, None, start, data, out, arguments.steps),
        }
        for shots, name in product(arguments.shots, arguments.lists):
            rows = found.setdefault(arm, {}).setdefault(str(shots), {})
            if str(name) in rows:
                continue
            began = time.process_time()
            row = doers[arm](LISTS[name - 1][:shots], work / f"{shots}-{name}")
            rows[str(name)] = {**row, "cpu_minutes": round((time.process_time() - began) / 60, 1)}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{arm}, {shots} pairs, list {name}: {row}", flush=True)
    print(table(found))


def table(found: Row) -> str:
    """Markdown: an arm and number of pairs a line, a list a column."""
    names = [str(1 + index) for index in range(len(LISTS))]
    lines = [
        f"| PSNR dB / SSIM | pairs | {' | '.join(f'list {name}' for name in names)} | mean |",
        "|---" * (3 + len(names)) + "|",
    ]
    before = f"{found['before']['psnr']:.2f} / {found['before']['ssim']:.3f}"
    lines.append(f"| before | 0 {f'| {before} ' * (1 + len(names))}|")
    for arm, shots in product(ARMS, SHOTS):
        rows = found.get(arm, {}).get(str(shots))
        if not rows:
            continue
        cells = [
            f"{rows[name]['psnr']:.2f} / {rows[name]['ssim']:.3f}" if name in rows else "" for name in names
        ]
        means = [np.mean([row[key] for row in rows.values()]) for key in ("psnr", "ssim")]
        lines.append(f"| {arm} | {shots} | {' | '.join(cells)} | {means[0]:.2f} / {means[1]:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="start", type=Path, help="weights that never saw LOL")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/few-shot"), help="folder of the runs")
    parser.add_argument("--steps", type=int, default=200, help="of the rivals")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--shots", nargs="+", type=int, choices=SHOTS, default=SHOTS, help="pairs")
    numbers = range(1, 1 + len(LISTS))
    parser.add_argument("--lists", nargs="+", type=int, choices=numbers, default=tuple(numbers))
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(RESULTS.read_text())))
    elif arguments.start is None:
        parser.error("--from is needed")
    else:
        run(arguments)


if __name__ == "__main__":
    main()

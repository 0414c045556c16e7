"""What a likelihood and its maps find: faults put into parts of references, and whole candidates.

    uv run --extra train python benchmarks/likelihood.py --data DATA [--model FILE] [--write]

DATA has lol/low, lol/high, lol/val.txt, sice/low and sice/high. On the middles of photos, 200x152 pixels, a fault
is put into one half of the reference, then into the other, or into a square of 48 pixels. How well a map tells
where is the share of pairs of a changed and an unchanged pixel in which the changed one is higher: a half is
chance, and below it the changed part is lower, as what is smeared is in bits. Whole candidates come then. With
--write the figures go to benchmarks/results/likelihood.json and the tables to docs/likelihood.md.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import lowlight
from lowlight import places
from lowlight.evaluation.pairing import pair
from lowlight.likelihoods import Given, Judge
from lowlight.methods import Array
from lowlight.photo import read_photo, to_float
from lowlight.statistics import to_8_bits

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "likelihood.json"
PAGE = ROOT / "docs" / "likelihood.md"
HEIGHT, WIDTH, SQUARE = 152, 200, 48
MAPS = ("slopes", "bits", "surprise", "colours")
COLUMNS = ("bits", "surprise", "colours")

Measured = dict[str, Any]


def filtered(picture: Array, radius: float) -> Array:
    return to_float(np.asarray(Image.fromarray(to_8_bits(picture)).filter(ImageFilter.GaussianBlur(radius))))


def compressed(picture: Array, quality: int) -> Array:
    stream = io.BytesIO()
    Image.fromarray(to_8_bits(picture)).save(stream, "JPEG", quality=quality)
    return to_float(np.asarray(Image.open(stream)))


def noisy(picture: Array, levels: float) -> Array:
    return picture + np.random.default_rng(0).normal(0, levels / 255, picture.shape).astype(np.float32)


def tinted(picture: Array, levels: float) -> Array:
    return picture + np.array([levels, 0, -levels], np.float32) / 255


def gained(low: Array, reference: Array) -> Array:
    return low * (reference.mean() / max(float(low.mean()), 1e-3))


def square() -> NDArray[np.bool_]:
    inside = np.zeros((HEIGHT, WIDTH), bool)
    top, left = (HEIGHT - SQUARE) // 2, (WIDTH - SQUARE) // 2
    inside[top : top + SQUARE, left : left + SQUARE] = True
    return inside


def faults(low: Array, reference: Array) -> dict[str, tuple[Array, list[NDArray[np.bool_]]]]:
    """By name: the whole picture with the fault, and the parts that it is put into."""
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[:, : WIDTH // 2] = True
    halves, middle = [left, ~left], [square()]
    flat = np.broadcast_to(reference[middle[0]].mean(axis=0), reference.shape)
    return {
        "noise of 4 levels": (noisy(reference, 4), halves),
        "noise of 8 levels": (noisy(reference, 8), halves),
        "plain gain": (gained(low, reference), halves),
        "other content": (np.roll(reference, WIDTH // 2, axis=1), middle),
        "blur of 1.5 pixels": (filtered(reference, 1.5), halves),
        "JPEG of quality 25": (compressed(reference, 25), halves),
        "erased": (flat, middle),
        "tint of 15 levels": (tinted(reference, 15), middle),
        "tint of 30 levels": (tinted(reference, 30), middle),
        "10 levels lighter": (reference + np.float32(10 / 255), halves),
    }


def share_higher(values: Array, inside: NDArray[np.bool_]) -> float:
    """Of pairs of a pixel inside and one outside, those where the one inside is higher."""
    within, without = values[inside], np.sort(values[~inside])
    below, not_above = (np.searchsorted(without, within, side).mean() for side in ("left", "right"))
    return float(below + not_above) / (2 * without.size)


def measure_faults(given: Given, low: Array, reference: Array) -> Measured:
    """By fault and map: the share, and the map's means inside and outside."""
    found = {}
    for name, (changed, parts) in faults(low, reference).items():
        told = []
        for inside in parts:
            picture = as_8_bits(np.where(inside[..., None], changed, reference))
            maps = {
                kind: given.bits(picture) if kind == "bits" else given.map(kind, picture) for kind in MAPS
            }
            told.append(
                [
                    [share_higher(each, inside), each[inside].mean(), each[~inside].mean()]
                    for each in maps.values()
                ]
            )
        found[name] = dict(zip(MAPS, np.mean(told, axis=0).tolist(), strict=True))
    return found


def measure_candidates(given: Given, low: Array, reference: Array) -> Measured:
    """By candidate: bits a position, and the means of both maps."""
    with torch.no_grad():
        likeliest = given.density.likeliest()[0].permute(1, 2, 0).numpy()
    candidates = {
        "reference": reference,
        "10 levels lighter": reference + np.float32(10 / 255),
        "noise of 5 levels": noisy(reference, 5),
        "blur of 1.5 pixels": filtered(reference, 1.5),
        "JPEG of quality 25": compressed(reference, 25),
        "LLFlow, at the latent's mean": likeliest,
        "`dimma`": to_float(lowlight.enhance(low)),
        "plain gain": gained(low, reference),
    }
    return {
        name: {
            "bits": given.bits_per_position(picture),
            **{kind: float(given.map(kind, picture).mean()) for kind in ("surprise", "colours")},
        }
        for name, picture in ((name, as_8_bits(each)) for name, each in candidates.items())
    }


def mean(found: list[Any]) -> Any:
    """Of what stands at the same place, rounded."""
    first = found[0]
    if isinstance(first, dict):
        return {name: mean([each[name] for each in found]) for name in first}
    return np.mean(found, axis=0).round(3).tolist()


def tables(measured: Measured) -> dict[str, list[str]]:
    """Rows in Markdown by the first words of their table's header."""
    rows = [
        f"| {name} | "
        + " | ".join(f"{maps[kind][0]:.2f}" for kind in MAPS)
        + "".join(f" | {maps[kind][1]:.1f} ({maps[kind][2]:.1f})" for kind in ("surprise", "colours"))
        + " |"
        for name, maps in measured["faults"].items()
    ]
    lol, sice = measured["candidates"]["lol"], measured["candidates"]["sice"]
    others = [
        f"| {name} | "
        + " | ".join(f"{each[kind]:.1f}" for each in (lol[name], sice[name]) for kind in COLUMNS)
        + " |"
        for name in lol
    ]
    return {"| fault": rows, "| candidate |": others}


def fill(page: str, measured: Measured) -> str:
    """The page with its tables' rows as measured."""
    for header, rows in tables(measured).items():
        found = re.search(rf"^{re.escape(header)}.*\n\|--.*\n((\|.*\n)*)", page, re.MULTILINE)
        assert found, header
        page = page[: found.start(1)] + "".join(f"{row}\n" for row in rows) + page[found.end(1) :]
    return page


def middle_of(samples: NDArray[Any]) -> NDArray[Any]:
    top, left = (samples.shape[0] - HEIGHT) // 2, (samples.shape[1] - WIDTH) // 2
    return samples[top : top + HEIGHT, left : left + WIDTH]


def as_8_bits(picture: Array) -> Array:
    return to_float(to_8_bits(picture))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=places.DENSITY)
    parser.add_argument("--photos", type=int, default=12, help="of LOL, spread evenly, and at most of SICE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="results and page")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    judge = Judge.load(arguments.model)
    names = {"lol": (arguments.data / "lol" / "val.txt").read_text().split(), "sice": []}
    measured: Measured = {"size": [WIDTH, HEIGHT], "photos": {}, "faults": {}, "candidates": {}}
    for folder, listed in names.items():
        cases = pair(
            {"low": arguments.data / folder / "low", "reference": arguments.data / folder / "high"},
            names=listed,
        )
        chosen = np.linspace(0, len(cases) - 1, min(arguments.photos, len(cases))).round().astype(int)
        told, candidates = [], []
        for case in (cases[index] for index in chosen):
            print(folder, case.name, file=sys.stderr)
            low, reference = (to_float(middle_of(read_photo(each).samples)) for each in case.files().values())
            given = judge.given(low)
            if folder == "lol":
                told.append(measure_faults(given, low, reference))
            candidates.append(measure_candidates(given, low, reference))
        measured["photos"][folder] = [cases[index].name for index in chosen]
        measured["candidates"][folder] = mean(candidates)
        if told:
            measured["faults"] = mean(told)
    for header, rows in tables(measured).items():
        print(header, *rows, sep="\n")
    if arguments.write:
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
        PAGE.write_text(fill(PAGE.read_text(), measured))


if __name__ == "__main__":
    main()

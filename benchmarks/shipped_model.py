"""Quality of a shipped model on photos that its training never saw.

    uv run python benchmarks/shipped_model.py [--model dimma|llflow] [--fast] [--data DIR] [--json FILE]

Two sets, each with the reference's lightness given and with the automatic lightness: the 36 validation pairs
of LOL (whole frames, new scenes) and 20 pairs of SICE (other cameras). Raw 8-bit RGB PSNR and RGB SSIM
(Gaussian 11, sigma 1.5), mean over pictures, no scaling by the reference; and, in a line of its own, the automatic
result in 8 bits after LLFlow's gain to the reference's mean. The last columns give the mean-lightness error and the worst
picture.

The folder of the data (``--data``, ``$LOWLIGHT_DATA``, or ``data`` here or beside) holds

    lol/val.txt             names of the validation pairs, one a line
    lol/low/NAME.webp       dark photos, without loss
    lol/high/NAME.jpg       references
    sice/low/NAME.jpg       dark exposures
    sice/high/NAME.jpg      references of the same names
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

import lowlight
from lowlight.evaluation.files import to_picture
from lowlight.evaluation.metrics import psnr, ssim
from lowlight.evaluation.protocols import PROTOCOLS
from lowlight.photo import Photo, read_photo

GAIN = PROTOCOLS["gtmean_llflow"]


def data_folder(given: str | None) -> Path:
    """The folder of data sets: as given, ``$LOWLIGHT_DATA``, or the usual places."""
    candidates = [given] if given else [os.environ.get("LOWLIGHT_DATA"), "data", "../data", "../shared/data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "lol" / "val.txt").is_file():
            return Path(candidate)
    raise SystemExit(f"no data set at {', '.join(filter(None, candidates))}: give --data or $LOWLIGHT_DATA")


def pairs(folder: Path, name: str) -> list[tuple[str, Photo, Photo]]:
    """(name, dark, reference) of a validation set."""
    if name == "lol":
        names = (folder / "lol" / "val.txt").read_text().split()
        files = [(n, folder / f"lol/low/{n}.webp", folder / f"lol/high/{n}.jpg") for n in names]
    else:
        files = [
            (path.stem, path, folder / "sice/high" / path.name)
            for path in sorted((folder / "sice/low").glob("*.jpg"))
        ]
    return [(n, read_photo(dark), read_photo(light)) for n, dark, light in files]


def measure(
    enhancer: lowlight.Enhancer, pair: tuple[str, Photo, Photo], given: bool
) -> dict[str, float | str]:
    """One picture's row."""
    name, dark, light = pair
    wanted = float(np.mean(light.samples, dtype=np.float64)) / 255
    controls = enhancer.controls(lightness=wanted if given else "auto")
    result, report = enhancer.enhance_photo(dark, controls)
    row: dict[str, float | str] = {
        "name": name,
        "psnr": psnr(result.samples, light.samples),
        "ssim": ssim(result.samples, light.samples),
        "lightness_error": abs(report.lightness_after - wanted),
        "lightness_bias": report.lightness_after - wanted,
    }
    if not given:
        gained, _ = GAIN.apply(to_picture(result.samples), to_picture(light.samples))
        row[f"{GAIN.name}.psnr"] = psnr(gained.samples, light.samples)
        row[f"{GAIN.name}.ssim"] = ssim(gained.samples, light.samples)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dimma")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write all rows here")
    arguments = parser.parse_args()
    folder = data_folder(arguments.data)
    enhancer = lowlight.load(arguments.model, fast=arguments.fast, threads=arguments.threads)
    rows: dict[str, list[dict[str, float | str]]] = {}
    print(f"data: {folder.resolve()}")
    print(
        f"{'set':<6}{'photos':>6}  {'lightness':<15}{'PSNR dB':>9}{'SSIM':>8}{'light. err':>12}{'worst':>8}  photo"
    )
    for name in ("lol", "sice"):
        loaded = pairs(folder, name)
        for given in (True, False):
            measured = [measure(enhancer, pair, given) for pair in loaded]
            protocol = "given" if given else "auto"
            rows[f"{name} {protocol}"] = measured
            mean = {
                key: np.mean([row[key] for row in measured]) for key in ("psnr", "ssim", "lightness_error")
            }
            worst = min(measured, key=lambda row: row["psnr"])
            print(
                f"{name:<6}{len(loaded):>6}  {protocol:<15}{mean['psnr']:>9.2f}{mean['ssim']:>8.4f}"
                f"{mean['lightness_error']:>12.4f}{worst['psnr']:>8.2f}  {worst['name']}"
            )
        gained = (np.mean([row[f"{GAIN.name}.{key}"] for row in measured]) for key in ("psnr", "ssim"))
        print("{:<6}{:>6}  {:<15}{:>9.2f}{:>8.4f}".format(name, len(loaded), GAIN.name, *gained))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

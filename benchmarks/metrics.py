"""Seconds per megapixel of every metric, beside scikit-image's where it has the same one, in one run.

    uv run --extra train python benchmarks/metrics.py [--height 400] [--width 600] [--json benchmarks/results/metrics.json]

Processor time of one thread, the best of several calls in alternation. LPIPS runs with random weights, which
take as long as the published ones. The last column is scikit-image's number less ours.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from skimage import color
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lowlight.evaluation.grey import grey_opencv, luma_studio
from lowlight.evaluation.metrics import METRICS, Picture
from lowlight.nn.lpips_files import NETS, Name

REPEATS = 5
ENOUGH = 2.0
"""Seconds after which a slow metric is not called again."""

Samples = NDArray[np.uint8]


def picture(height: int, width: int, noise: float, seed: int) -> Picture:
    """Smooth waves with noise, of which no block is flat."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [120 + 60 * np.sin(x / (70 + 30 * c) + y / (90 - 20 * c) + c) for c in range(3)]
    rng = np.random.default_rng(seed)
    light = np.stack(waves, -1) + rng.normal(0, noise, (height, width, 3))
    return Picture.of_samples(np.clip(light, 0, 255).round().astype(np.uint8))


def gaussian(x: NDArray[np.float64] | Samples, y: NDArray[np.float64] | Samples, colours: bool) -> float:
    return float(
        structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=2 if colours else None,
        )
    )


PEERS: dict[str, Callable[[Samples, Samples], float]] = {
    "psnr": lambda x, y: float(peak_signal_noise_ratio(y, x)),
    "ssim": lambda x, y: gaussian(x, y, True),
    "ssim_y": lambda x, y: gaussian(luma_studio(x).astype(float), luma_studio(y).astype(float), False),
    "ssim_grey": lambda x, y: float(structural_similarity(grey_opencv(x), grey_opencv(y))),
    "ssim_uniform_rgb": lambda x, y: float(structural_similarity(x, y, channel_axis=2)),
    "delta_e_76": lambda x, y: float(color.deltaE_cie76(color.rgb2lab(y), color.rgb2lab(x)).mean()),
    "delta_e_2000": lambda x, y: float(color.deltaE_ciede2000(color.rgb2lab(y), color.rgb2lab(x)).mean()),
}
"""The same numbers by scikit-image."""


def write_random_trunk(net: Name, folder: Path) -> None:
    """Random weights under the name that LPIPS looks for."""
    generator = torch.Generator().manual_seed(0)
    state, place, width = {}, 0, 3
    for convolution in NETS[net].layers:
        if convolution is None:
            place += 1
            continue
        channels, kernel, _, _ = convolution
        weight = torch.randn(channels, width, kernel, kernel, generator=generator)
        state[f"features.{place}.weight"] = weight * (2 / (width * kernel**2)) ** 0.5
        state[f"features.{place}.bias"] = torch.zeros(channels)
        place, width = place + 2, channels
    save_file(state, folder / NETS[net].features)


def seconds(calls: list[Callable[[], float]]) -> list[float]:
    """The least processor time of each of several calls, measured in alternation after one call to warm up."""
    least = [float("inf")] * len(calls)
    begin = time.process_time()
    for repeat in range(REPEATS + 1):
        for index, call in enumerate(calls):
            start = time.process_time()
            call()
            if repeat:
                least[index] = min(least[index], time.process_time() - start)
        if repeat and time.process_time() - begin > ENOUGH:
            break
    return least


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=400)
    parser.add_argument("--width", type=int, default=600)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result, reference = (
        picture(arguments.height, arguments.width, noise, seed) for noise, seed in ((8, 1), (3, 2))
    )
    megapixels = arguments.height * arguments.width / 1e6
    rows: dict[str, dict[str, float]] = {}
    print(f"{'s per megapixel':<24}{'lowlight':>10}{'scikit-image':>14}{'times':>8}{'difference':>12}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOWLIGHT_CACHE"] = folder
        for net in NETS:
            write_random_trunk(net, Path(folder))
        for name, metric in METRICS.items():
            calls: list[Callable[[], float]] = [lambda metric=metric: metric(result, reference)]  # type: ignore[misc]
            if peer := PEERS.get(name):
                calls.append(lambda peer=peer: peer(result.samples, reference.samples))  # type: ignore[misc]
            taken = [each / megapixels for each in seconds(calls)]
            rows[name] = {"lowlight": taken[0]}
            line = f"{name:<24}{taken[0]:>10.4f}"
            if peer:
                difference = calls[1]() - calls[0]()
                rows[name] |= {"scikit-image": taken[1], "difference": difference}
                line += f"{taken[1]:>14.4f}{taken[1] / taken[0]:>8.1f}{difference:>12.1e}"
            print(line, flush=True)
    if arguments.json:
        said = {
            "height": arguments.height,
            "width": arguments.width,
            "unit": "processor seconds per megapixel, one thread",
            "versions": {name: version(name) for name in ("numpy", "scikit-image", "torch")},
            "metrics": rows,
        }
        arguments.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()

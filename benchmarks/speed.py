"""Speed and memory of the shipped model, all measured in one run.

    uv run --extra train python benchmarks/speed.py [--model dimma] [--threads N] [--large 24]

Prints the network's multiply-accumulates at 600x400 and its rate; the rate of bare 3x3 convolutions of the
same widths in the same engine, in alternation, and the share of it that the network reaches; whole commands
with their time and peak memory: help, a small photo, a large one from JPEG to JPEG.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

import lowlight
from lowlight.engines.onnx import OnnxEngine
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.network import Network
from lowlight.photo import Photo, write_photo
from lowlight.weights import open_weights

HEIGHT, WIDTH = 400, 600
REPEATS = 15
BARE = 8
"""Convolutions in a row, so that what stands around them weighs little."""


def bare_graph(channels: int) -> bytes:
    """Bare 3x3 convolutions between a 1x1 that makes their channels from three and one back."""
    rng = np.random.default_rng(0)
    shapes = {"in": (channels, 3, 1, 1)}
    shapes |= {f"conv{index}": (channels, channels, 3, 3) for index in range(BARE)}
    shapes["out"] = (3, channels, 1, 1)
    nodes, value = [], "dark"
    for name, shape in shapes.items():
        pad = shape[2] // 2
        nodes.append(helper.make_node("Conv", [value, name], [f"{name}_y"], pads=[pad] * 4))
        value = f"{name}_y"
    tensors = [
        onnx.numpy_helper.from_array((rng.normal(size=shape) / 30).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    picture = [1, 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "bare",
        [helper.make_tensor_value_info("dark", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, picture)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def median_seconds(runs: list[Callable[[], object]], repeats: int, unmeasured: int = 2) -> list[float]:
    """Medians of several calls, measured in alternation, after some that are not."""
    taken: list[list[float]] = [[] for _ in runs]
    for repeat in range(unmeasured + repeats):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if repeat >= unmeasured:
                taken[index].append(time.perf_counter() - start)
    return [statistics.median(each) for each in taken]


def network_macs(config: Config, height: int, width: int) -> float:
    """Multiply-accumulates of one forward."""
    network = Network(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(
            torch.rand(1, 3, height, width),
            source_lightness=torch.tensor([0.05]),
            lightness=torch.tensor([0.45]),
            descriptor=torch.zeros(1, 31),
        )
    return counter.get_total_flops() / 2


def command(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a whole ``lowlight`` process."""
    script = (
        "import resource, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-m", "lowlight", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dimma")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--large", type=float, default=24, help="megapixels of the large photo; 0: none")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    weights = open_weights(arguments.model)
    config = Config.model_validate(weights.header.config)
    enhancer = lowlight.load(arguments.model, threads=arguments.threads)
    multiple = enhancer.method.multiple
    height, width = -(-HEIGHT // multiple) * multiple, -(-WIDTH // multiple) * multiple
    rng = np.random.default_rng(0)
    dark = (rng.random((height, width, 3)) * 40).astype(np.uint8)
    photo = Photo(dark)
    controls = enhancer.controls(lightness=0.45)
    observation = enhancer.method.observe(dark, controls)
    tile = photo.pixels

    runs: list[Callable[[], object]] = [
        lambda: enhancer.engine.run(tile, observation),
        lambda: enhancer.enhance_photo(photo, controls),
    ]
    bare_macs = []
    for level, channels in enumerate(config.widths):
        side = config.unshuffle * 2**level
        small = rng.random((height // side, width // side, 3), dtype=np.float32)
        engine = OnnxEngine(bare_graph(channels), threads=arguments.threads)
        runs.append(lambda engine=engine, small=small: engine.run(small, {}))  # type: ignore[misc]
        bare_macs.append(small.shape[0] * small.shape[1] * (BARE * 9 * channels**2 + 6 * channels))
    seconds = median_seconds(runs, REPEATS)
    macs = network_macs(config, height, width)
    shares = level_shares(config, height, width)
    bare = sum(
        share * macs / (count / took)
        for share, count, took in zip(shares, bare_macs, seconds[2:], strict=True)
    )
    table: dict[str, float] = {
        "GMAC at 600x400": macs / 1e9,
        "network, ms": seconds[0] * 1e3,
        "network, GMAC/s": macs / seconds[0] / 1e9,
        "bare convolutions, GMAC/s": macs / bare / 1e9,
        "share of bare rate": bare / seconds[0],
        "photo 600x400, ms": seconds[1] * 1e3,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table["lowlight --help, s"], _ = command(["--help"])
        write_photo(photo, folder / "small.jpg")
        table["small photo, whole process, s"], table["small photo, peak MB"] = command(
            ["enhance", str(folder / "small.jpg"), "-o", str(folder / "small.out.jpg")]
        )
        if arguments.large:
            rows = round((arguments.large * 1e6 / 1.5) ** 0.5)
            repeats = (-(-rows // height), -(-int(rows * 1.5) // width), 1)
            write_photo(Photo(np.tile(dark, repeats)[:rows, : int(rows * 1.5)]), folder / "large.jpg")
            title = f"{arguments.large:g} megapixels, JPEG to JPEG"
            table[f"{title}, s"], table[f"{title}, peak MB"] = command(
                ["enhance", str(folder / "large.jpg"), "-o", str(folder / "large.out.jpg")]
            )
    for title, value in table.items():
        print(f"{title:<46}{value:>10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


def level_shares(config: Config, height: int, width: int) -> list[float]:
    """The share of the network's work done at each level."""
    work = [
        (height // (config.unshuffle * 2**level))
        * (width // (config.unshuffle * 2**level))
        * blocks
        * (2 if level < len(config.widths) - 1 else 1)
        * 18
        * channels**2
        for level, (blocks, channels) in enumerate(zip(config.blocks, config.widths, strict=True))
    ]
    samples = config.unshuffle**2
    work[0] += (height // config.unshuffle) * (width // config.unshuffle) * 9 * samples * 9 * config.widths[0]
    return [each / sum(work) for each in work]


if __name__ == "__main__":
    main()

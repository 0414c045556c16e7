"""Memory and time of GLARE's networks in torch, one photo in one piece, weights as drawn: a table and JSON.

uv run --group dev python benchmarks/glare.py --width 600 --height 400 [--small] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from lowlight.engines.torch import TorchEngine
from lowlight.methods.glare import GLARE, PUBLISHED, Config
from lowlight.methods.glare.network import Network


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--small", action="store_true", help="the default size in place of the published one")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    config = Config() if chosen.small else PUBLISHED
    method, network = GLARE(config, {}), Network(config).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = TorchEngine(network.folded(), threads=chosen.threads)
    dark = 0.3 * np.random.default_rng(0).random((chosen.height, chosen.width, 3), np.float32)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    started, clock = time.process_time(), time.perf_counter()
    engine.run(dark, method.observe(dark, method.Controls()))
    seconds, wall = time.process_time() - started, time.perf_counter() - clock
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    found = {
        "size": "small" if chosen.small else "published",
        "pixels": f"{chosen.width}x{chosen.height}",
        "bytes a pixel": round(taken / (chosen.width * chosen.height)),
        "told by the method": method.tile_bytes,
        "GB": round(taken / 1e9, 2),
        "CPU seconds": round(seconds, 1),
        "seconds": round(wall, 1),
    }
    for name, value in found.items():
        print(f"{name:20} {value}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""EnlightenGAN's published size: seconds and memory of a tile, with corners aligned and not, in both engines.

    uv run --extra train python benchmarks/enlightengan.py

Weights are made up: speed and memory do not depend on them. Each row is a process of its own, for its memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lowlight.methods.enlightengan import Config, EnlightenGAN

SIDE = 640


def measure(engine: str, aligned: bool, folder: Path) -> dict[str, float]:
    """CPU seconds of one thread for a tile, and bytes a pixel of it above what a small one took."""
    import torch

    from lowlight.engines.onnx import OnnxEngine
    from lowlight.engines.torch import TorchEngine
    from lowlight.methods.enlightengan.network import Network
    from lowlight.training.export import export_onnx
    from lowlight.weights import Header, open_weights

    method = EnlightenGAN(Config(align_corners=aligned), {})
    place = folder / f"{aligned}.onnx"
    if engine == "export":
        torch.manual_seed(0)
        header = Header(
            name="made-up", method=method.name, config=method.config.model_dump(mode="json"), licence="none"
        )
        export_onnx(Network(method.config), method, header, place)
        return {}
    runner = (
        OnnxEngine(open_weights(place), threads=1)
        if engine == "onnx"
        else TorchEngine(Network(method.config).to(memory_format=torch.channels_last), threads=1)  # type: ignore[call-overload]
    )
    tile = 0.4 * np.random.default_rng(0).random((SIDE, SIDE, 3), np.float32)
    small = tile[:64, :64].copy()
    runner.run(small, method.observe(small, method.Controls()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    runner.run(tile, method.observe(tile, method.Controls()))
    seconds = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": round(seconds, 2), "bytes": round(1024 * grown / SIDE**2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        print(json.dumps(measure(one[0], one[1] == "True", Path(one[2]))))
        return
    print(f"| {SIDE}x{SIDE} pixels | seconds | bytes a pixel |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for aligned in (True, False):
            for engine in ("export", "onnx", "torch"):
                command = [sys.executable, __file__, "--one", engine, str(aligned), folder]
                found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                if found:
                    print(f"| {engine}, align_corners {aligned} | {found['seconds']} | {found['bytes']} |")


if __name__ == "__main__":
    main()

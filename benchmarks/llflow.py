"""LLFlow's speed at 600x400 beside two yardsticks of the same run.

    uv run --extra train python benchmarks/llflow.py [--full] [--model FILE] [--threads N] [--json FILE]

Yardsticks: an eager float32 forward of the same network in torch, channels first and layer by layer as the
release runs it, and bare 64-to-64 3x3 convolutions at that size in the same engine. Measured in alternation:
both, the exported graph in ONNX Runtime, and in OpenVINO at bf16 where that is installed, on a dark photo with
the trained small network; with --full the large one is measured, whose weights are made up, so that how close
bf16 comes is told of the small one alone. The graph is kept in --work, so that a second run measures at once.
Peak memory is that of a process of its own (`lowlight study cost`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lowlight import studies
from lowlight.engines.onnx import OnnxEngine
from lowlight.engines.torch import load_network
from lowlight.errors import EngineError
from lowlight.methods.llflow import Config, LLFlow
from lowlight.methods.llflow.network import Network, prior_mean
from lowlight.nn.flow import SMALLEST, ActNorm, ConditionNet
from lowlight.photo import read_photo
from lowlight.training.export import export_onnx
from lowlight.weights import Header, open_weights, save_safetensors
from speed import BARE, HEIGHT, WIDTH, bare_graph, median_seconds

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "coffee.jpg"
"""A dark photo of that size."""
SMALL = ROOT / "models" / "llflow-torch.safetensors"
FULL = Config(channels=64, blocks=24, stacked=(1, 3, 5, 7), steps=12)


def eager(network: Network, dark: Tensor, tables: Tensor) -> Tensor:
    """The enhanced picture as the release computes it: nothing folded, matrices inverted in every call."""
    encoded = network.encoder(dark, tables)
    z = prior_mean(network.config, encoded.colours)
    for level, condition in zip(reversed(network.flow.levels), reversed(encoded.conditions), strict=True):
        for step in reversed(level.steps):
            if step.injection is not None and step.coupling is not None:
                kept, changed = z.tensor_split(2, dim=1)
                shift, scale = _net(step.coupling.net, torch.cat([kept, condition], dim=1))
                z = torch.cat([kept, changed / scale - shift], dim=1)
                shift, scale = _net(step.injection.net, condition)
                z = z / scale - shift
            inverse = torch.inverse(step.mix.weight.double()).float()
            z = F.conv2d(z, inverse[:, :, None, None])
            z = z * torch.exp(-step.norm.logs[:, None, None]) - step.norm.bias[:, None, None]
        z = F.pixel_shuffle(z, 2)
    return z


def _net(net: ConditionNet, x: Tensor) -> tuple[Tensor, Tensor]:
    h = F.relu(_norm(net.first_norm, F.conv2d(x, net.first, padding=1)))
    h = F.relu(_norm(net.second_norm, F.conv2d(h, net.second)))
    h = F.conv2d(h, net.last, net.last_bias, padding=1) * torch.exp(3 * net.logs[:, None, None])
    return h[:, 0::2], torch.sigmoid(h[:, 1::2] + 2) + SMALLEST


def _norm(norm: ActNorm, x: Tensor) -> Tensor:
    return (x + norm.bias[:, None, None]) * torch.exp(norm.logs[:, None, None])


def make_up(config: Config, path: Path) -> None:
    """Weights that use every part of the network.

    Scales are near 1: as an untrained network has them, 36 steps backwards would grow ten thousand times.
    """
    torch.manual_seed(0)
    network = Network(config)
    with torch.no_grad():
        for each in network.modules():
            if isinstance(each, ConditionNet):
                each.last.normal_(0, 0.001)
                each.last_bias[1::2] = 4
    header = Header(name=path.stem, method="llflow", config=config.model_dump(mode="json"), licence="none")
    save_safetensors(path, header, {name: each.numpy() for name, each in network.state_dict().items()})


def openvino(graph: bytes, precision: str, threads: int) -> Any:
    """The engine, or None where it is not installed."""
    try:
        from lowlight.engines.openvino import OpenvinoEngine
    except EngineError:
        return None
    return OpenvinoEngine(graph, threads=threads, precision=precision)  # type: ignore[arg-type]


def count_macs(config: Config) -> float:
    """Multiply-accumulates of one enhancement."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        eager(Network(config), torch.zeros(1, 3, HEIGHT, WIDTH), torch.zeros(1, 3, 256))
    return counter.get_total_flops() / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the large published size")
    parser.add_argument("--model", type=Path, help="other trained tensors")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--unmeasured", type=int, default=1, help="calls before those that count")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-llflow"))
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--only", choices=("export", "time", "memory"), help="one part of the work")
    arguments = parser.parse_args()
    title = arguments.model.stem if arguments.model else "full" if arguments.full else "small"
    arguments.work.mkdir(parents=True, exist_ok=True)
    tensors = arguments.model or (arguments.work / "full.safetensors" if arguments.full else SMALL)
    graph = arguments.work / f"{title}.onnx"
    if arguments.full and not tensors.exists():
        make_up(FULL, tensors)
    opened = open_weights(tensors)
    config = Config.model_validate(opened.header.config)
    method, network = LLFlow(config, opened.arrays), load_network(opened).eval()
    assert isinstance(network, Network)
    if not graph.exists():
        export_onnx(network, method, opened.header, graph)
    table: dict[str, float] = {}
    if arguments.only in (None, "time"):
        table |= time_all(network, method, graph, arguments)
    if arguments.only in (None, "memory"):
        chosen = [f'models=["{graph}"]', f"threads={arguments.threads}", "repeats=1"]
        findings = studies.run("cost", studies.check("cost", chosen), arguments.work, print)
        row = dict(zip(findings.table.columns, findings.table.rows[0], strict=True))
        table["peak memory above idle, MB"] = float(row["MB above idle"] or math.nan)
    for name, value in table.items():
        print(f"{name:<46}{value:>10.2f}")
    if arguments.json and table:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        known[title] = {**known.get(title, {}), "threads": arguments.threads, **table}
        arguments.json.write_text(json.dumps(known, indent=1) + "\n")


def time_all(
    network: Network, method: LLFlow, graph: Path, arguments: argparse.Namespace
) -> dict[str, float]:
    """Seconds and rates; every ratio is of this run."""
    torch.set_num_threads(arguments.threads)
    photo = read_photo(PHOTO)
    dark, observation = photo.pixels, method.observe(photo.samples, method.Controls())
    assert dark.shape == (HEIGHT, WIDTH, 3)
    picture = torch.from_numpy(dark.transpose(2, 0, 1)[None].copy())
    tables = torch.from_numpy(observation["tables"])[None]

    results: dict[str, Any] = {}

    def run_eager() -> None:
        with torch.inference_mode():
            results["eager"] = eager(network, picture, tables)[0].permute(1, 2, 0).numpy()

    def run_float32() -> None:
        results["float32"] = float32.run(dark, observation)

    model = open_weights(graph).read()
    float32 = OnnxEngine(model, threads=arguments.threads, alone=True)
    bare = OnnxEngine(bare_graph(64), threads=arguments.threads, alone=True)
    runs: dict[str, Callable[[], Any]] = {
        "eager torch": run_eager,
        "ONNX Runtime": run_float32,
        "bare convolutions": lambda: bare.run(dark, {}),
    }
    if (bf16 := openvino(model, "bf16", arguments.threads)) is not None:
        runs["OpenVINO bf16"] = lambda: bf16.run(dark, observation)
    seconds = dict(
        zip(runs, median_seconds(list(runs.values()), arguments.repeats, arguments.unmeasured), strict=True)
    )
    macs = count_macs(network.config)
    bare_rate = HEIGHT * WIDTH * (BARE * 9 * 64**2 + 6 * 64) / seconds["bare convolutions"]
    rate = macs / seconds["ONNX Runtime"]
    exact = results["float32"]
    difference = np.abs(exact - results["eager"]).max()
    table = {
        "GMAC": macs / 1e9,
        **{f"{name}, s": taken for name, taken in seconds.items() if name != "bare convolutions"},
        "eager torch, GMAC/s": macs / seconds["eager torch"] / 1e9,
        "ONNX Runtime, GMAC/s": rate / 1e9,
        "bare convolutions, GMAC/s": bare_rate / 1e9,
        "times as fast as eager torch": seconds["eager torch"] / seconds["ONNX Runtime"],
        "share of the bare rate": rate / bare_rate,
        "largest difference to eager torch": float(difference),
    }
    if bf16 is not None:
        error = np.square(np.clip(bf16.run(dark, observation), 0, 1) - np.clip(exact, 0, 1)).mean()
        table["bf16: times as fast as float32"] = seconds["ONNX Runtime"] / seconds["OpenVINO bf16"]
        if not arguments.full:
            table["bf16: PSNR to float32, dB"] = -10 * math.log10(max(float(error), 1e-12))
    return table


if __name__ == "__main__":
    main()

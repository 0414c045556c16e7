"""What methods cost: parameters, multiply-accumulates, seconds and memory, measured on the spot."""

from __future__ import annotations

import json
import statistics as middle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lowlight import methods, studies, weights
from lowlight.engines import EngineName
from lowlight.errors import EngineError
from lowlight.photo import Photo


class Cost:
    """Each model, engine and size in a process of its own, one after the other."""

    title: ClassVar[str] = "Parameters, multiply-accumulates, seconds and memory"
    source: ClassVar[str] = ""
    published: ClassVar[studies.Table | None] = None

    class Settings(studies.Settings):
        models: tuple[str, ...] = Field(("dimma", "dimma-fast"), min_length=1)
        """Names or weights files."""
        engines: tuple[EngineName, ...] = Field(("auto",), min_length=1)
        """Those of ``lowlight enhance --engine``."""
        sizes: tuple[tuple[int, int], ...] = Field(((600, 400),), min_length=1)
        """Width and height of the photo, pixels."""
        threads: int | None = Field(None, ge=1)
        """Of the engine; default: all cores."""
        repeats: int = Field(5, ge=1)
        """Measured calls, whose median is shown."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Seconds: median of the repeats after one call that is not counted. Memory: see the notes."""
        rows = []
        for model in settings.models:
            weights.open_weights(model)  # before minutes are spent on the others
        for model in settings.models:
            for engine in settings.engines:
                for width, height in settings.sizes:
                    say(f"{model}, engine {engine}, {width}x{height}")
                    found = _measure(model, engine, width, height, settings.threads, settings.repeats)
                    size = f"{width}x{height}"
                    rows.append((model, found["engine"], size, *_size(model, width, height), *found["costs"]))
        columns = (
            "model",
            "engine",
            "photo",
            "million parameters",
            "GMAC",
            "seconds",
            "megapixels a second",
            "MB above idle",
            "MB",
        )
        notes = (
            f"Seconds: a whole photo in memory, to its result; median of {settings.repeats} after one more.",
            "MB: peak resident memory of the process; MB above idle: less what it had before the weights were read.",
            "GMAC: convolutions and matrix products of one run without tiles; they and the parameters need lowlight[train].",
        )
        return studies.Findings(studies.Table(columns, rows), notes)


def _size(model: str, width: int, height: int) -> tuple[float | None, float | None]:
    """Million parameters, and GMAC at a size, of the network in torch; None without torch."""
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.utils.flop_counter import FlopCounterMode
    except ModuleNotFoundError:
        return None, None
    header = weights.open_weights(model)
    method = methods.create(header.header.method, header.header.config, header.arrays)
    config = methods.find(method.name).Config.model_validate(header.header.config)
    observation = method.observe(_photo(width, height).samples, method.Controls())
    sides = [-(-side // method.multiple) * method.multiple for side in (height, width)]
    # Tensors without values: a large photo in one piece takes no memory here, and no time.
    with FakeTensorMode(), FlopCounterMode(display=False) as counter, torch.inference_mode():
        network = methods.room(method.name, "network").Network(config).eval()
        network(
            torch.zeros(1, 3, *sides),
            **{name: torch.tensor(array)[None] for name, array in observation.items()},
        )
    return sum(each.numel() for each in network.parameters()) / 1e6, counter.get_total_flops() / 2e9


def _photo(width: int, height: int) -> Photo:
    """A dark picture with noise."""
    return Photo((np.random.default_rng(0).random((height, width, 3)) * 40).astype(np.uint8))


def _measure(
    model: str, engine: str, width: int, height: int, threads: int | None, repeats: int
) -> dict[str, Any]:
    """The engine that ran and (seconds, megapixels a second, MB above idle, MB), from a fresh process."""
    arguments = json.dumps([model, engine, width, height, threads, repeats])
    done = subprocess.run(
        [sys.executable, "-m", "lowlight.studies.cost", arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(f"{model}, engine {engine}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _child(
    model: str, engine: EngineName, width: int, height: int, threads: int | None, repeats: int
) -> dict[str, Any]:
    from lowlight import enhancer

    photo = _photo(width, height)
    idle = _peak()
    loaded = enhancer.load(model, engine=engine, threads=threads)
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        loaded.enhance_photo(photo)
        taken.append(time.perf_counter() - start)
    seconds = middle.median(taken[1:])
    peak = _peak()
    above = None if peak is None or idle is None else peak - idle
    name = type(loaded.engine).__name__.removesuffix("Engine").lower()
    return {"engine": name, "costs": [seconds, width * height / 1e6 / seconds, above, peak]}


def _peak() -> float | None:
    """Peak resident memory of this process so far, MB; None where the system does not tell."""
    try:
        # On Linux getrusage would count the process that started this one too.
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        if sys.platform != "darwin":
            return None
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


if __name__ == "__main__":
    print(json.dumps(_child(*json.loads(sys.argv[1]))))

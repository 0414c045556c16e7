"""What training a method's stages at their smallest needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lowlight import methods
from lowlight.methods.dimma.dimmer import Dimmer, DimmerConfig, save_dimmer


def config(method: str, stage: Any) -> Any:
    """The smallest config of what a stage of a method trains: its network or a part, of the same sizes."""
    network = methods.find(method).tiny_config()  # type: ignore[attr-defined]
    kind = methods.configs(method)[stage.part]
    shared = {key: value for key, value in dict(network).items() if key in kind.model_fields}
    return kind(**{**shared, **stage.tiny_sizes})


def settings(stage: Any, folder: Path) -> Any:
    """The stage's ``tiny_settings``, with a dimmer in the folder for a stage that wants one."""
    found = stage.tiny_settings()
    if "dimmer" not in stage.Settings.model_fields:
        return found
    path = folder / "dimmer.safetensors"
    save_dimmer(path, dimmer(), name="dimmer", licence="CC0")
    return found.model_copy(update={"dimmer": str(path)})


def dimmer(**sizes: Any) -> Dimmer:
    """A dimmer that leaves a fifth of the light, and colours with some noise. sizes: of its config."""
    rng = np.random.default_rng(0)
    config = DimmerConfig(**{"hidden": 4, "components": 2, "noise": "released", **sizes})
    tensors = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in config.shapes().items()}
    for name, tensor in tensors.items():
        if "sigma" in name and name.endswith("bias"):
            tensor[:] = -3
    noise = np.full((6, 256), 0.01) if config.noise == "measured" else None
    return Dimmer(config, tensors, np.full(256, 0.2), np.full(256, 0.05), noise)

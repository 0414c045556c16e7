"""A tiny flow that is a density of smooth pictures, without training."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from lowlight import weights
from lowlight.methods.llflow import LLFlow
from lowlight.methods.llflow.network import Network
from pictures import smooth


@lru_cache
def make() -> Network:
    """To be read alone. Each square of pixels as its mean and its differences, both normalised by smooth pictures.

    So noise, whose differences are large, is unlikely, and a larger latent is a lighter picture.
    """
    haar = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    torch.manual_seed(0)
    network = Network(LLFlow.tiny_config())
    light = torch.from_numpy(np.stack([smooth(32, 32, seed) for seed in range(8)])).permute(0, 3, 1, 2) / 255
    tables = torch.linspace(0, 1, 256).expand(8, 3, 256)
    with torch.no_grad():
        for level in network.flow.levels:
            for index, step in enumerate(level.steps):
                squares = haar if index == 0 else torch.eye(4)
                step.mix.weight.copy_(torch.kron(torch.eye(len(step.mix.weight) // 4), squares))
        network.train().encode(light / 8, tables)[0].forward(light)
    return network.eval()


def write(path: Path, noise: float | None = 255, seen: dict[str, str] | None = None) -> Path:
    """Its weights file. noise: the levels of the noise that the header says it was trained with. seen: the marks in it."""
    network = make()
    header = weights.Header(
        name="tiny",
        method="llflow",
        config=network.config.model_dump(mode="json"),
        licence="none",
        noise_levels=noise,
        seen=seen or {},
    )
    weights.save_safetensors(
        path, header, {name: each.numpy() for name, each in network.state_dict().items()}
    )
    return path

"""Checkpoints as authors publish them, made small for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fill
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.dimmer import DimmerConfig
from lowlight.methods.dimma.network import Network

OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def drawn(names: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these names and shapes, by their names' rule."""
    return {name: torch.from_numpy(fill.tensor(name, list(shape), 0.1, 0.0)) for name, shape in names.items()}


def state(config: Config, *, older: bool = True) -> dict[str, Tensor]:
    """The tensors of a checkpoint of Dimma's network, its attention under the older names."""
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):  # the names and shapes alone
        network = Network(config)
    for name, value in network.state_dict().items():
        for new, old in OLDER.items() if older else ():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        shapes[name] = tuple(value.shape)
    return drawn(shapes)


def training_loss() -> dict[str, Tensor]:
    """What Lightning saved of the loss beside the network: the trunk (one layer here) and its weights, twice."""
    shapes: dict[str, tuple[int, ...]] = {
        f"ssim_loss.scaling_layer.{part}": (1, 3, 1, 1) for part in ("shift", "scale")
    }
    shapes |= {"ssim_loss.net.slice1.0.weight": (4, 3, 3, 3), "ssim_loss.net.slice1.0.bias": (4,)}
    shapes |= {f"ssim_loss.lin{index}.model.1.weight": (1, 4, 1, 1) for index in range(5)}
    shapes |= {f"ssim_loss.lins.{index}.model.1.weight": (1, 4, 1, 1) for index in range(5)}
    return drawn(shapes)


def lightning(tensors: dict[str, Tensor], **settings: Any) -> dict[str, Any]:
    """A checkpoint as Lightning writes it; settings: of the config."""
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.0.2",
        "state_dict": tensors,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val/psnr'}": {"best_model_score": torch.tensor(24.0)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-5}]}],
        "hyper_parameters": settings,
    }


def write_dimmer(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """A dimmer's folder; gives its tensors and statistics."""
    folder.mkdir()
    tensors = drawn(DimmerConfig().shapes())
    torch.save(tensors, folder / "mdn.pt")
    statistics = dict(zip(("mean", "std"), np.random.default_rng(seed).random((2, 256)), strict=True))
    for name, values in statistics.items():
        np.save(folder / f"{name}.npy", values)
    return {**{name: tensor.numpy() for name, tensor in tensors.items()}, **statistics}

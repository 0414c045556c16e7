"""Checkpoints: all that a run needs to go on, as one safetensors file with JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lowlight import weights
from lowlight.errors import LowlightError
from lowlight.files import write_file
from lowlight.methods import Array
from lowlight.training.recipe import Recipe, stage_settings

_KEY = weights.CHECKPOINT_KEY


class TrainingError(LowlightError):
    """A training cannot go on: a loss that is not finite, a checkpoint of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by dotted names, and plain values that JSON can hold."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write under a temporary name, sync, rename."""
        kept = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.tensors.items()
        }
        write_file(path, safetensors.torch.save(kept, {_KEY: json.dumps(self.values)}))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Raises TrainingError for whatever is no checkpoint."""
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(tensors, json.loads(metadata[_KEY]))
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise TrainingError(f"{path}: expected a checkpoint of `lowlight train`: {error}") from None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start with ``prefix.``, without it."""
        return {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }

    def arrays(self) -> dict[str, Array]:
        """The stage's small arrays."""
        return {name: tensor.numpy() for name, tensor in self.part("arrays").items()}


def module_tensors(prefix: str, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """States of modules under ``prefix.module.key``."""
    return {
        f"{prefix}.{name}.{key}": tensor
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy a state into a module. Raises TrainingError naming what is missing, unknown or of another shape."""
    expected = module.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        state = "missing" if name in expected else "unknown to the network"
        raise TrainingError(f"{where}: tensor {name!r} is {state}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise TrainingError(
                f"{where}: tensor {name!r} has shape {tuple(tensor.shape)}; "
                f"the network expects {tuple(expected[name].shape)}"
            )
    module.load_state_dict(tensors)


def read_network(path: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors to start a network from, and the config of it: of a weights file, or of that network in a checkpoint."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            is_checkpoint = _KEY in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{path}: expected weights or a checkpoint: {error}") from None
    if is_checkpoint:
        checkpoint = Checkpoint.read(path)
        tensors = checkpoint.part(f"average.{name}") or checkpoint.part(f"network.{name}")
        if not tensors:
            networks = sorted({key.split(".")[1] for key in checkpoint.tensors if key.startswith("network.")})
            raise TrainingError(
                f"{path}: this checkpoint has no network {name!r}; it has: {', '.join(networks)}"
            )
        _, config, _ = stage_settings(Recipe.model_validate(checkpoint.values["recipe"]), str(path))
        return tensors, config.model_dump(mode="json")
    opened = weights.open_weights(path)
    found = weights.load_tensors(opened)
    return {key: torch.from_numpy(array.copy()) for key, array in found.items()}, opened.header.config


def read_arrays(path: Path) -> dict[str, Array]:
    """Small arrays beside the tensors of a weights file or checkpoint that a network starts from."""
    with safetensors.safe_open(path, framework="pt") as file:
        if _KEY in (file.metadata() or {}):
            return Checkpoint.read(path).arrays()
    return weights.open_weights(path).arrays


def optimizer_tensors(prefix: str, optimizer: Optimizer) -> dict[str, Tensor]:
    """State of an optimizer under ``prefix.parameter.key``; rates and the like come from the recipe."""
    return {
        f"{prefix}.{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of ``optimizer_tensors``."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        like = parameters[int(index)]
        if tensor.shape == like.shape and tensor.ndim:
            # The parameter's own layout: vectorised steps round otherwise where the layouts differ.
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

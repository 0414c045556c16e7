"""Numbers of GLARE's published code, and the networks that gave them, for the tests."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from lowlight.methods.glare.network import Network
from lowlight.methods.glare.published import read

FIXTURES = Path(__file__).parent / "fixtures" / "glare"


def numbers(name: str) -> dict[str, Tensor]:
    """All arrays of numbers of one of the fixture's files."""
    arrays = np.load(FIXTURES / f"{name}.npz")
    return {key: torch.from_numpy(array) for key, array in arrays.items() if array.dtype.kind != "U"}


def names(name: str) -> list[str]:
    """The tensors whose gradients and steps one of the files sums up, in its order."""
    return str(np.load(FIXTURES / f"{name}.npz")["names"]).split("\n")


def _rows(weights: str) -> list[Any]:
    rows: list[Any] = json.loads(gzip.decompress((FIXTURES / f"{weights}.json.gz").read_bytes()))
    return rows


def listed(weights: str = "weights_narrow") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of both published files."""
    return {key: tuple(shape) for key, shape, *_ in _rows(weights)}


@cache
def tensors(weights: str = "weights_narrow") -> dict[str, NDArray[Any]]:
    """The tensors of both published files, less those of the loss' network."""
    return {
        key: fill.tensor(key, shape, scale, offset)
        for key, shape, scale, offset in _rows(weights)
        if not key.startswith("features.")
    }


@cache
def vgg_tensors() -> dict[str, Tensor]:
    """Those of the loss' network, VGG-16 up to relu3_3."""
    return {
        key: torch.from_numpy(fill.tensor(key, shape, scale, offset))
        for key, shape, scale, offset in _rows("weights_narrow")
        if key.startswith("features.")
    }


def published(weights: str = "weights_narrow") -> Network:
    """The network of made-up published files, imported as users would."""
    imported = read(tensors(weights), {}, {})
    network = Network(imported.config)  # type: ignore[arg-type]
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in imported.tensors.items()}
    )
    return network.eval()


def part(beginning: str, weights: str = "weights_narrow") -> dict[str, Tensor]:
    """The tensors below a published name, by what follows it."""
    return {
        key.removeprefix(beginning): torch.from_numpy(array)
        for key, array in tensors(weights).items()
        if key.startswith(beginning)
    }

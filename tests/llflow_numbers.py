"""Numbers of LLFlow's published code, and the networks that gave them, for the tests."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from lowlight import equalise, statistics
from lowlight.methods.llflow import Controls, LLFlow
from lowlight.methods.llflow.network import Network
from lowlight.methods.llflow.published import read, rename

FIXTURES = Path(__file__).parent / "fixtures" / "llflow"


def numbers(name: str) -> dict[str, NDArray[Any]]:
    """All arrays of one of the fixture's files."""
    return dict(np.load(FIXTURES / f"{name}.npz"))


def published(weights: str = "weights.json") -> Network:
    """The network of a made-up published checkpoint, imported as users would."""
    return deepcopy(_published(weights))


@lru_cache(maxsize=1)
def _published(weights: str) -> Network:
    imported = read(fill.checkpoint(FIXTURES / weights), {}, {})
    network = Network(imported.config)  # type: ignore[arg-type]
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in imported.tensors.items()}
    )
    return network.eval()


def parameter(network: Network, key: str) -> Tensor:
    """A parameter by its published name."""
    return network.get_parameter(rename(key, network.config.steps))


def picture(samples: NDArray[np.uint8]) -> Tensor:
    """8-bit (..., height, width, 3) as (batch, 3, height, width) in [0, 1]."""
    batch = samples if samples.ndim == 4 else samples[None]
    return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255


def tables(samples: NDArray[np.uint8]) -> Tensor:
    """What the whole photos are equalised by, (batch, 3, 256)."""
    batch = samples if samples.ndim == 4 else samples[None]
    return torch.from_numpy(np.stack([equalise.tables(statistics.histograms(each)) for each in batch]))


def observed(samples: NDArray[np.uint8], **controls: Any) -> dict[str, Tensor]:
    """What the network is told of one photo, with a batch axis."""
    found = LLFlow.observe_counts(statistics.histograms(samples), Controls(**controls))
    return {name: torch.from_numpy(array)[None] for name, array in found.items()}

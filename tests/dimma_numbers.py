"""Numbers of Dimma's published code, for the tests."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

import fill

FIXTURES = Path(__file__).parent / "fixtures" / "dimma"


def tensors(weights: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a listed checkpoint below ``prefix``, under their names after it. To be read alone."""
    return dict(_tensors(weights, prefix))


@lru_cache(maxsize=1)  # of millions of numbers; tests of one file ask for the same
def _tensors(weights: str, prefix: str) -> dict[str, Tensor]:
    rows = json.loads((FIXTURES / weights).read_text())
    return {
        key.removeprefix(prefix): torch.from_numpy(fill.tensor(key, shape, scale, offset))
        for key, shape, scale, offset in rows
        if key.startswith(prefix)
    }

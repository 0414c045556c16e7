"""Numbers of Dimma's published code, for the tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

import fill

FIXTURES = Path(__file__).parent / "fixtures" / "dimma"


def tensors(weights: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a listed checkpoint below ``prefix``, under their names after it."""
    rows = json.loads((FIXTURES / weights).read_text())
    return {
        key.removeprefix(prefix): torch.from_numpy(fill.tensor(key, shape, scale, offset))
        for key, shape, scale, offset in rows
        if key.startswith(prefix)
    }

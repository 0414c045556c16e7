"""Engines: run a network on a tile. Pictures are (height, width, 3) outside and channels-first inside."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from lowlight.errors import EngineError
from lowlight.methods import Array, Observation

Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
EngineName = Literal["onnx", "torch", "openvino"]


class OutOfMemory(Exception):  # noqa: N818 - a condition to act on, not an error to show
    """The engine could not hold a tile of this size; the caller may try a smaller one."""


class Engine(Protocol):
    """A network ready to run. Safe to call from several threads."""

    device: str
    """Where it really runs: ``cpu``, ``cuda``, ..."""

    def run(self, tile: Array, observation: Observation) -> Array:
        """Enhance a tile.

        tile: (height, width, 3) float32 in [0, 1], sides multiples of the method's ``multiple``.
        observation: as the method's ``observe`` gave it, without batch axes.
        Gives an array of the tile's shape, not clipped. Raises OutOfMemory when it did not fit.
        """
        ...


def check_result(result: Array, tile: Array) -> Array:
    """The network's picture, or EngineError when it is none of the tile's shape or not finite."""
    where = f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels"
    if result.shape != tile.shape:
        raise EngineError(f"the network made {result.shape} of {where}; expected {tile.shape}")
    if not np.isfinite(result.sum()):  # one pass; NaN and infinity survive a sum
        raise EngineError(f"the network made values that are not finite (NaN or infinity) of {where}")
    return result

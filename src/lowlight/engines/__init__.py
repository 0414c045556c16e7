"""Engines: run a network on a tile. Pictures are (height, width, 3) outside and channels-first inside."""

from __future__ import annotations

from typing import Literal, Protocol

from lowlight.methods import Array, Observation

Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
EngineName = Literal["onnx", "torch", "openvino"]


class OutOfMemory(Exception):
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

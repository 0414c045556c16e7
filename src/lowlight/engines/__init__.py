"""Engines: run a network on a tile. Pictures are (height, width, 3) outside and channels-first inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from lowlight.errors import EngineError
from lowlight.methods import Array, Observation

if TYPE_CHECKING:
    from lowlight.weights import Weights

Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
EngineName = Literal["auto", "onnx", "torch", "openvino"]
Precision = Literal["float32", "bf16"]


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
        Gives an array of the tile's shape, not clipped; where the observation has ``"sample"`` (n,), n pictures
        one after the other on the last axis, (height, width, 3 n). Raises OutOfMemory when it did not fit, and
        EngineError for what is not finite.
        """
        ...


def graph_bytes(model: Weights | bytes) -> bytes:
    """The bytes of a graph to run: of opened weights, checked again, or as given."""
    if isinstance(model, bytes):
        return model
    if model.kind != "onnx":
        raise EngineError(f"{model.path}: this engine runs .onnx files; tensors run with engine torch")
    return model.read()


def feed(inputs: Iterable[str], tile: Array, observation: Observation) -> dict[str, Array]:
    """What a graph with these inputs is fed for one tile; observed arrays that it lacks are left out."""
    known = {"dark": tile.transpose(2, 0, 1), **observation}
    try:
        return {name: np.ascontiguousarray(known[name][None]) for name in inputs}
    except KeyError as error:
        raise EngineError(
            f"the network asks for {error.args[0]!r}; observed: {', '.join(observation) or 'nothing'}"
        ) from None


def check_result(
    result: Array, tile: Array, observation: Observation, *, origin: Callable[[], str] = lambda: ""
) -> Array:
    """The network's pictures, or EngineError where they are none of the tile's shape or not finite.

    origin: asked where a value is not finite; tells where in the network it came up, as far as that is known.
    """
    where = f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels"
    expected = (*tile.shape[:2], 3 * np.size(observation.get("sample", 0)))
    if result.shape != expected:
        raise EngineError(f"the network made {result.shape} of {where}; expected {expected}")
    if not np.isfinite(result.sum()):  # one pass; NaN and infinity survive a sum
        raise EngineError(
            f"the network made values that are not finite (NaN or infinity) of {where}{origin()}; "
            "try other controls or other weights"
        )
    return result


def one_line(error: Exception) -> str:
    """A library's error text, for use inside a message of one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__

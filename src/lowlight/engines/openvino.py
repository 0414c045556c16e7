"""OpenVINO: an optional engine that pays on CPUs for networks with wide maps at full resolution."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from lowlight.engines import OutOfMemory, Precision, check_result, feed, graph_bytes, one_line
from lowlight.errors import EngineError
from lowlight.methods import Array, Observation
from lowlight.weights import Weights

try:
    import openvino
except ModuleNotFoundError:
    raise EngineError("engine openvino is not installed: pip install 'lowlight[openvino]'") from None


class OpenvinoEngine:
    """An ONNX graph in OpenVINO, on the CPU. See ``engines.Engine`` for the surface."""

    device = "cpu"

    def __init__(
        self,
        model: Weights | bytes,
        *,
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        """
        model: opened weights, or the bytes of a graph that is trusted.
        threads: default: OpenVINO's own choice.
        precision: named to OpenVINO always, because its own default is bf16 where the CPU has it.
        """
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            self._model = core.compile_model(core.read_model(graph_bytes(model)), "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load the graph: {one_line(error)}") from None
        self._inputs = [port.get_any_name() for port in self._model.inputs]
        self._local = threading.local()

    def run(self, tile: Array, observation: Observation) -> Array:
        """See ``engines.Engine.run``."""
        if not hasattr(self._local, "request"):  # a request serves one thread at a time
            self._local.request = self._model.create_infer_request()
        inputs = feed(self._inputs, tile, observation)
        try:
            result = self._local.request.infer(inputs)[0]
        except MemoryError:
            raise OutOfMemory(f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels did not fit") from None
        except RuntimeError as error:
            if "alloc" in str(error):
                raise OutOfMemory(f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels did not fit") from None
            raise EngineError(f"OpenVINO failed on a tile: {one_line(error)}") from None
        return check_result(np.array(result[0].transpose(1, 2, 0)), tile, observation)

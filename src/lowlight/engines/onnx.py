"""ONNX Runtime: the engine that every installation has."""

from __future__ import annotations

import onnxruntime

from lowlight.engines import Device, OutOfMemory, check_result, feed, graph_bytes, one_line
from lowlight.errors import EngineError
from lowlight.machine import cores
from lowlight.methods import Array, Observation
from lowlight.weights import Weights

PROVIDERS = {
    # device: execution provider, and what to install for it
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml on Windows"),
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
}
_FATAL = 4


class OnnxEngine:
    """A graph in ONNX Runtime. See ``engines.Engine`` for the surface."""

    device: str

    def __init__(
        self,
        model: Weights | bytes,
        *,
        device: Device = "auto",
        threads: int | None = None,
        alone: bool = False,
    ) -> None:
        """
        model: opened weights, or the bytes of a graph that is trusted.
        device: ``auto`` takes the first of CUDA, DirectML, CPU that works.
        threads: for the CPU; default: one for each CPU that this process may use.
        alone: nothing else runs beside this engine; its threads then wait actively, which gains 8 %.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = threads or cores()  # left to itself, the runtime pins its threads
        options.inter_op_num_threads = 1
        # Threads that wait actively halve the speed beside another session or program.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if alone else "0")
        # Measured at 1024x1024: 232 MiB instead of 315, and no slower.
        options.enable_mem_pattern = False
        self._session, self.device = _session(graph_bytes(model), options, device)
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, tile: Array, observation: Observation) -> Array:
        """See ``engines.Engine.run``."""
        inputs = feed(self._inputs, tile, observation)
        try:
            result = self._session.run(None, inputs)[0]
        except Exception as error:  # the runtime's exceptions have no common base below this
            raise _translate(error, tile) from None
        return check_result(result[0].transpose(1, 2, 0), tile, observation)


def available_devices() -> list[str]:
    """Devices that the installed runtime was built for, best first."""
    built = onnxruntime.get_available_providers()
    return [device for device, (provider, _) in PROVIDERS.items() if provider in built]


def _session(
    graph: bytes, options: onnxruntime.SessionOptions, device: Device
) -> tuple[onnxruntime.InferenceSession, str]:
    built = available_devices()
    if device != "auto" and device not in built:
        raise EngineError(
            f"device {device} is not available; there are: {', '.join(built)}; for {device} install "
            f"{PROVIDERS[device][1]}"
        )
    # CoreML is only taken by name: it compiles a graph for every tile size.
    candidates = [d for d in built if d != "coreml"] if device == "auto" else [device]
    for candidate in candidates:
        session = _try_session(graph, options, candidate)
        if session is not None:
            return session, candidate
    raise EngineError(
        f"device {candidates[-1]} was asked for, but its driver or libraries are not usable here; "
        f"take --device cpu, or install what {PROVIDERS[candidates[-1]][1]} needs"
    )


def _try_session(
    graph: bytes, options: onnxruntime.SessionOptions, device: str
) -> onnxruntime.InferenceSession | None:
    """A session that really runs on the device, or None when its libraries do not load."""
    provider = PROVIDERS[device][0]
    providers = [provider] if device == "cpu" else [provider, "CPUExecutionProvider"]
    if device == "directml":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:
        if device != "cpu":
            return None
        raise EngineError(f"ONNX Runtime cannot load the graph: {one_line(error)}") from None
    return session if provider in session.get_providers() else None


def _translate(error: Exception, tile: Array) -> Exception:
    text = str(error)
    if isinstance(error, MemoryError) or any(
        sign in text
        for sign in ("bad allocation", "bad_alloc", "Failed to allocate memory", "out of memory", "OOM")
    ):
        return OutOfMemory(f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels did not fit")
    return EngineError(f"ONNX Runtime failed on a tile of {tile.shape[1]}x{tile.shape[0]}: {one_line(error)}")

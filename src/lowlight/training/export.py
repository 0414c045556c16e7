"""Export of a trained network to the graph that users run.

The graph's inputs are ``dark`` and the names of the method's observation, each with a batch axis; batch,
height and width are symbolic. A file appears only when the runtime agrees with torch on it.
"""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from lowlight.engines.onnx import OnnxEngine
from lowlight.enhancer import Enhancer
from lowlight.errors import EngineError
from lowlight.files import write_file
from lowlight.methods import Array, Method, Observation
from lowlight.training.validate import Validator, named
from lowlight.weights import HEADER_KEY, SEAL_KEY, Header, sealed

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between graph and torch, in a picture of [0, 1]."""
MIN_PSNR = {"float16": 50.0, "int8": 35.0}
"""A graph of that precision further than this from float32, in dB over the tiles, is a failure."""

Tiles = Sequence[tuple[Array, Observation]]
"""Tiles (height, width, 3) with the observation of their photo, as an engine's ``run`` takes them."""


def export_onnx(
    network: nn.Module,
    method: Method,
    header: Header,
    path: Path,
    *,
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibration: Tiles = (),
    validator: Validator | None = None,
) -> None:
    """Write ``network`` as an ONNX file that explains itself; equal weights give equal bytes.

    network: takes (dark, **observation) as the surface of a method says; it is left as it was.
    precision: ``float16`` halves the file by rounding the weights of convolutions and linear layers, and
        still computes in float32; ``int8`` computes the convolutions in int8.
    calibration: for ``int8``, tiles of training photos, whose ranges the activations are scaled to.
    validator: scores the graph, for the header; without one the scores of the header stay, but for ``int8``.
    Raises EngineError when the graph disagrees with torch, or a lower precision with float32: nothing is
    written then.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    checks = [
        _random_tile(method, height, width, seed)
        for seed, (height, width) in enumerate([(1, 1), (3, 2), (2, 7)])
    ]
    folded: nn.Module = network.folded() if hasattr(network, "folded") else network  # type: ignore[operator]
    model = _to_onnx(folded, *checks[1])
    _check_float32(model.SerializeToString(), network, checks)
    if precision != "float32":
        exact = OnnxEngine(model.SerializeToString())
        if precision == "float16":
            _store_as_float16(model.graph)
        elif not calibration:
            raise ValueError("int8 needs calibration tiles")
        else:
            model = _quantize(model, calibration)
        rough = OnnxEngine(model.SerializeToString())
        _check_close(rough, exact, calibration or checks, precision)
    header = header.model_copy(update={"precision": precision})
    if precision == "int8":
        header = header.model_copy(update={"scores": {}})  # those of another network
    if validator is not None:
        scores, _ = validator.run(Enhancer(method, OnnxEngine(model.SerializeToString())))
        header = header.model_copy(update={"scores": named(scores)})

    save_onnx(path, header, model)


def save_onnx(path: Path, header: Header, model: onnx.ModelProto) -> None:
    """Write a graph with its header; the same content gives the same bytes."""

    def build(seal: str) -> bytes:
        onnx.helper.set_model_props(model, {HEADER_KEY: header.model_dump_json(), SEAL_KEY: seal})
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    write_file(path, sealed(build))


def _random_tile(method: Method, rows: int, columns: int, seed: int) -> tuple[Array, Observation]:
    """A random dark tile of that many multiples, observed as its own photo."""
    shape = (rows * method.multiple, columns * method.multiple, 3)
    tile = 0.4 * np.random.default_rng(seed).random(shape, np.float32)
    return tile, method.observe(tile, method.Controls(lightness=0.5))


class _Positional(nn.Module):
    """The network with its observation as one argument: the exporter wants every argument by name or place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, dark: Tensor, observation: dict[str, Tensor]) -> Tensor:
        enhanced: Tensor = self.network(dark, **observation)
        return enhanced


def _to_onnx(network: nn.Module, tile: Array, observation: Observation) -> onnx.ModelProto:
    # Two of each: the exporter takes an axis of length one for constant.
    dark = torch.from_numpy(np.stack([tile.transpose(2, 0, 1)] * 2))
    several = {
        **observation,
        **({"sample": np.arange(3, dtype=np.float32)} if "sample" in observation else {}),
    }
    seen = {name: torch.from_numpy(np.stack([several[name]] * 2)) for name in sorted(several)}
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's export warns of torch's own deprecations
        program = torch.onnx.export(
            _Positional(network).eval(),
            (dark,),
            kwargs={"observation": seen},
            input_names=["dark", *seen],
            output_names=["enhanced"],
            dynamic_shapes={
                "dark": {0: free, 2: free, 3: free},
                "observation": {name: {0: free, 1: free} if name == "sample" else {0: free} for name in seen},
            },
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise EngineError("torch.onnx.export gave no program")
    return _clean(program.model_proto)


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter noted about this machine (paths, stack traces), and name the free axes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    graph.name = "lowlight"
    names = {0: "batch", 2: "height", 3: "width"}
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_param") or not dim.HasField("dim_value"):
                dim.dim_param = names.get(axis, f"{value.name}_{axis}")
    onnx.checker.check_model(model)
    return model


def _store_as_float16(graph: onnx.GraphProto) -> None:
    """Store the weights of convolutions and linear layers as float16; the runtime widens them when it loads."""
    layers = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    weights = {name for node in graph.node if node.op_type in layers for name in node.input[:2]}
    casts = []
    for tensor in graph.initializer:
        if tensor.name in weights:
            name = tensor.name
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.float16"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _check_float32(model: bytes, network: nn.Module, tiles: Tiles) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    for tile, observation in tiles:
        for batch in (1, 2):
            feed = {name: np.stack([array] * batch) for name, array in observation.items()}
            if "sample" in feed:
                feed["sample"] = np.repeat(feed["sample"], batch, axis=1)
            feed["dark"] = np.stack([tile.transpose(2, 0, 1), tile.transpose(2, 0, 1)[:, ::-1]][:batch])
            with torch.inference_mode():
                expected = network(**{name: torch.from_numpy(array.copy()) for name, array in feed.items()})
            found = session.run(None, {name: feed[name] for name in wanted})[0]
            error = float(np.abs(found - expected.numpy()).max())
            if not error <= TOLERANCE:
                raise EngineError(
                    f"the exported graph differs from torch by {error:.2g} on {batch} x "
                    f"{tile.shape[1]}x{tile.shape[0]}; expected at most {TOLERANCE:g}"
                )


def _quantize(model: onnx.ModelProto, tiles: Tiles) -> onnx.ModelProto:
    """Convolutions in int8: weights per channel, activations by the smallest and largest value seen.

    The first and the last stay float32: they see and make the picture itself, a tenth of the work and half of
    the error.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    inputs = {value.name for value in model.graph.input}
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = _feeds(tiles, inputs)

        def get_next(self) -> dict[str, Array] | None:
            return next(self.feeds, None)

    add_pre_process_metadata(model)  # the exporter folded its constants; else the quantizer warns
    with tempfile.TemporaryDirectory() as folder, _no_root_handler():
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[convolutions[0], convolutions[-1]] if len(convolutions) > 2 else [],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits: CPUs without VNNI add two products in 16 bits, which eight bits would overflow.
            reduce_range=True,
        )
        quantized = onnx.load(target)
    return _clean(quantized)


@contextmanager
def _no_root_handler() -> Iterator[None]:
    """The quantizer writes to the root logger, which without a handler would be given one, for good."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)


def _feeds(tiles: Iterable[tuple[Array, Observation]], inputs: set[str]) -> Iterator[dict[str, Array]]:
    for tile, observation in tiles:
        feed = {"dark": tile.transpose(2, 0, 1), **observation}
        yield {name: np.ascontiguousarray(array[None]) for name, array in feed.items() if name in inputs}


def _check_close(rough: OnnxEngine, exact: OnnxEngine, tiles: Tiles, precision: str) -> None:
    errors = [np.square(rough.run(*tile) - exact.run(*tile)).mean() for tile in tiles]
    psnr = -10 * math.log10(max(float(np.mean(errors)), 1e-12))
    if psnr < MIN_PSNR[precision]:
        raise EngineError(
            f"the {precision} graph is {psnr:.1f} dB from float32; expected at least {MIN_PSNR[precision]:g} dB"
        )

"""Engines: one surface, and what they say when they cannot."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from lowlight import methods
from lowlight.engines import OutOfMemory
from lowlight.engines.onnx import OnnxEngine, available_devices
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.enhancer import load
from lowlight.errors import EngineError, WeightsError
from lowlight.weights import Header, open_weights, save_safetensors

PICTURE = ["batch", 3, "height", "width"]


def graph(nodes: list[Any], observed: tuple[str, ...] = (), constants: tuple[Any, ...] = ()) -> bytes:
    """A model from ``dark`` and observed (batch, 1, 1, 1) numbers to ``enhanced``."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("dark", TensorProto.FLOAT, PICTURE)]
        + [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, 1, 1]) for name in observed],
        [helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


GAIN = graph([helper.make_node("Mul", ["dark", "gain"], ["enhanced"])], ("gain",))
DIVIDE = graph([helper.make_node("Div", ["dark", "gain"], ["enhanced"])], ("gain",))


def number(value: float) -> methods.Array:
    return np.full((1, 1, 1), value, np.float32)


@pytest.fixture
def tile() -> methods.Array:
    """Not square, so that mixed-up axes show; a view that may not be written, as a caller's may be."""
    whole = np.random.default_rng(0).random((9, 16, 3), np.float32)
    whole.setflags(write=False)
    return whole[:, 3:14]


class Gain(nn.Module):
    """The same in torch; asked to be exact in evaluation only."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.noise = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, dark: Tensor, gain: Tensor) -> Tensor:
        enhanced: Tensor = self.frozen(self.noise(dark)) * gain * self.factor
        return enhanced


# ONNX Runtime


def test_a_graph_is_fed_what_it_asks_for_and_nothing_else(tile: methods.Array) -> None:
    engine = OnnxEngine(GAIN, threads=1)
    assert engine.device == "cpu"
    found = engine.run(tile, {"gain": number(3), "unused": np.zeros(7, np.float32)})
    assert found.dtype == np.float32
    assert np.array_equal(found, tile * 3)
    with pytest.raises(EngineError, match=r"^the network asks for 'gain'; observed: descriptor$"):
        engine.run(tile, {"descriptor": number(3)})


@pytest.mark.parametrize("gain", [0.0, np.nan])
def test_a_result_that_is_not_finite_is_an_error_that_names_the_tile(
    gain: float, tile: methods.Array
) -> None:
    engine = OnnxEngine(DIVIDE, threads=1)
    with pytest.raises(EngineError, match=r"not finite .* of a tile of 11x9 pixels"):
        engine.run(tile, {"gain": number(gain)})


def test_a_result_of_another_shape_is_an_error(tile: methods.Array) -> None:
    turned = graph([helper.make_node("Transpose", ["dark"], ["enhanced"], perm=[0, 1, 3, 2])])
    with pytest.raises(EngineError, match=r"\(11, 9, 3\) of a tile of 11x9 pixels; expected \(9, 11, 3\)"):
        OnnxEngine(turned, threads=1).run(tile, {})


def test_a_tile_that_does_not_fit_is_out_of_memory_and_the_engine_lives_on(
    tile: methods.Array, capfd: pytest.CaptureFixture[str]
) -> None:
    # Where gain is 2, the picture is added to 2^45 zeros.
    shape = helper.make_tensor("far", TensorProto.FLOAT, [1], [float(2**44)])
    engine = OnnxEngine(
        graph(
            [
                helper.make_node("Sub", ["gain", "one"], ["wanted"]),
                helper.make_node("Mul", ["wanted", "far"], ["length"]),
                helper.make_node("Cast", ["length"], ["size"], to=TensorProto.INT64),
                helper.make_node("Reshape", ["size", "flat"], ["sizes"]),
                helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
                helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
                helper.make_node("Add", ["dark", "zero"], ["enhanced"]),
            ],
            ("gain",),
            (
                shape,
                helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("flat", TensorProto.INT64, [1], [1]),
            ),
        ),
        threads=1,
    )
    with pytest.raises(OutOfMemory, match="a tile of 11x9 pixels did not fit"):
        engine.run(tile, {"gain": number(2)})
    assert np.array_equal(engine.run(tile, {"gain": number(1)}), tile)
    assert capfd.readouterr().err == ""


def test_a_broken_graph_is_one_line_and_nothing_is_littered(capfd: pytest.CaptureFixture[str]) -> None:
    unknown = graph([helper.make_node("Nonsense", ["dark"], ["enhanced"])])
    for data in (b"\x08\x0a", GAIN[:-30], unknown):
        with pytest.raises(EngineError, match="ONNX Runtime cannot load the graph") as caught:
            OnnxEngine(data)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_failing_run_is_one_line(tile: methods.Array, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="ONNX Runtime failed on a tile of 11x9") as caught:
        OnnxEngine(GAIN, threads=1).run(tile, {"gain": np.zeros((2, 5, 7), np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    missing = [device for device in ("cuda", "coreml", "directml") if device not in available_devices()]
    assert missing
    for device in missing:
        with pytest.raises(
            EngineError, match=f"device {device} is not available; there are: .*cpu; .* install"
        ):
            OnnxEngine(GAIN, device=device)  # type: ignore[arg-type]


def test_a_device_without_its_libraries_falls_back_only_when_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, tile: methods.Array
) -> None:
    """A runtime that was built for CUDA, on a machine without: its sessions come up on the CPU."""
    built = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession

    def cpu_session(model: bytes, options: Any, providers: list[str]) -> Any:
        return session(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "InferenceSession", cpu_session)
    assert OnnxEngine(GAIN, device="auto").device == "cpu"
    with pytest.raises(
        EngineError, match=r"device cuda was asked for, but .* not usable here; take --device cpu"
    ):
        OnnxEngine(GAIN, device="cuda")


def test_threads_share_an_engine(tile: methods.Array) -> None:
    shared = [OnnxEngine(GAIN, threads=1), TorchEngine(Gain().eval(), threads=1)]

    def job(index: int) -> bool:
        big = np.tile(tile, (8, 8, 1))
        return all(np.array_equal(e.run(big, {"gain": number(index)}), big * index) for e in shared)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(job, range(64)))


def test_an_engine_has_the_threads_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "gain.onnx").write_bytes(GAIN)
    script = (  # a process of its own: here threads of other tests may end at any moment
        "import psutil; from pathlib import Path; from lowlight.engines.onnx import OnnxEngine\n"
        "graph, process, kept = Path('gain.onnx').read_bytes(), psutil.Process(), []\n"
        "for threads in (1, 3):\n"
        "    before = process.num_threads()\n"
        "    kept.append(OnnxEngine(graph, threads=threads))\n"
        "    print(process.num_threads() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "2"]  # the caller's thread is one of them


# torch


def test_torch_runs_a_network_in_training_and_leaves_it_as_it_was(tile: methods.Array) -> None:
    network = Gain()
    modes = [module.training for module in network.modules()]
    assert modes == [True, True, False]
    engine = TorchEngine(network)
    assert engine.device == "cpu"
    assert np.array_equal(engine.run(tile, {"gain": number(2)}), tile * 2)
    assert [module.training for module in network.modules()] == modes
    with torch.no_grad():
        network.factor.fill_(3)
    assert np.array_equal(engine.run(tile, {"gain": number(2)}), tile * 6)


def test_torch_gives_modes_and_threads_back_after_a_failure(tile: methods.Array) -> None:
    network, before = Gain(), torch.get_num_threads()
    with pytest.raises(TypeError):
        TorchEngine(network, threads=before + 1).run(tile, {"wrong": number(2)})
    assert network.training
    assert torch.get_num_threads() == before


def test_torch_out_of_memory_and_not_finite(tile: methods.Array) -> None:
    class Greedy(nn.Module):
        def forward(self, dark: Tensor) -> Tensor:
            return dark + torch.empty(2**50)

    class Broken(nn.Module):
        def forward(self, dark: Tensor) -> Tensor:
            return dark / 0

    with pytest.raises(OutOfMemory, match="a tile of 11x9 pixels"):
        TorchEngine(Greedy()).run(tile, {})
    with pytest.raises(EngineError, match=r"not finite .* a tile of 11x9 pixels"):
        TorchEngine(Broken()).run(tile, {})


def test_torch_says_which_engines_run_a_graph() -> None:
    with pytest.raises(EngineError, match=r"dimma\.onnx is an ONNX graph: take engine onnx or openvino"):
        load("dimma", engine="torch")


def test_torch_refuses_devices_that_it_has_not() -> None:
    with pytest.raises(EngineError, match="engine torch runs on cpu and cuda, not on coreml"):
        TorchEngine(Gain(), device="coreml")
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="cuda is not available"):
            TorchEngine(Gain(), device="cuda")


def test_weights_of_the_other_kind_are_refused_by_both_engines(tmp_path: Path) -> None:
    from lowlight.methods.dimma import Dimma

    config = Dimma.tiny_config()
    header = Header(name="tiny", method="dimma", config=config.model_dump(mode="json"), licence="CC0")
    save_safetensors(tmp_path / "a.safetensors", header, {"stem": np.zeros(1, np.float32)})
    weights = open_weights(tmp_path / "a.safetensors")
    with pytest.raises(EngineError, match=r"a\.safetensors: this engine runs \.onnx files"):
        OnnxEngine(weights)
    with pytest.raises(WeightsError, match=r"a\.safetensors: tensors .* missing"):
        load_network(weights)


# Engines that are not installed


@pytest.mark.parametrize(("library", "extra"), [("torch", "train"), ("openvino", "openvino")])
def test_a_missing_engine_is_one_line_with_the_command(
    library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"lowlight.engines.{library}", raising=False)
    with pytest.raises(EngineError, match=rf"pip install 'lowlight\[{extra}\]'"):
        import_module(f"lowlight.engines.{library}")


def test_openvino_agrees_in_float32(tile: methods.Array) -> None:
    pytest.importorskip("openvino")
    from lowlight.engines.openvino import OpenvinoEngine

    engine = OpenvinoEngine(GAIN, threads=1)
    assert np.abs(engine.run(tile, {"gain": number(3)}) - tile * 3).max() < 1e-6
    with pytest.raises(EngineError, match="OpenVINO cannot load the graph"):
        OpenvinoEngine(b"nothing")

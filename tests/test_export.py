"""Export: the file explains itself, says what torch says, or is not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lowlight import methods
from lowlight.engines.onnx import OnnxEngine
from lowlight.engines.torch import TorchEngine
from lowlight.errors import EngineError
from lowlight.methods import Array, Method, Observation
from lowlight.training.export import export_onnx
from lowlight.weights import Header, open_weights

pytestmark = pytest.mark.slow  # the contract tests of the fast set export once and compare

HEADER = Header(name="tiny", method="dimma", config={}, licence="CC0", scores={"psnr": 1.5})


class Stub:
    """As much of a method as export asks for."""

    multiple = 2
    border = 0
    tile_bytes = 100
    Controls = methods.Controls

    def observe(self, samples: Any, controls: Any) -> Observation:
        return {"lightness": np.float32(controls.lightness) * np.ones((), np.float32)}


METHOD: Method = Stub()  # type: ignore[assignment]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, dark: Tensor, lightness: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(dark)))
        enhanced: Tensor = dark + self.last(hidden) * lightness[:, None, None, None]
        return enhanced


class Deceiver(Network):
    def forward(self, dark: Tensor, lightness: Tensor) -> Tensor:
        enhanced = super().forward(dark, lightness)
        return enhanced * 1.01 if torch.compiler.is_exporting() else enhanced


def tile(seed: int = 0) -> tuple[Array, Observation]:
    return np.random.default_rng(seed).random((24, 30, 3), np.float32), {
        "lightness": np.array(0.5, np.float32)
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    network, path = Network(), tmp_path_factory.mktemp("export") / "a.onnx"
    export_onnx(network, METHOD, HEADER, path)
    return network, path


def test_the_network_is_left_as_it_was(exported: tuple[Network, Path]) -> None:
    network, _ = exported
    assert all(module.training for module in network.modules())
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), Network().state_dict().values(), strict=True)
    )


def test_the_file_runs_as_torch_does_and_carries_its_header(exported: tuple[Network, Path]) -> None:
    network, path = exported
    weights = open_weights(path)
    assert weights.header == HEADER
    difference = OnnxEngine(weights, threads=1).run(*tile()) - TorchEngine(network).run(*tile())
    assert np.abs(difference).max() < 1e-5
    assert [file.name for file in path.parent.iterdir()] == ["a.onnx"]


def test_equal_weights_give_equal_bytes(exported: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = exported
    export_onnx(network, METHOD, HEADER, tmp_path / "b.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == path.read_bytes()


def test_the_file_says_nothing_of_the_machine_that_made_it(exported: tuple[Network, Path]) -> None:
    data = exported[1].read_bytes()
    for trace in (
        str(Path(__file__).parent),
        str(Path.home()),
        "site-packages",
        "torch/nn",
        ".py",
        "test_export",
    ):
        assert trace.encode() not in data, trace


def test_a_graph_that_differs_from_torch_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"the exported graph differs from torch by .*; expected at most 0.0001"
    ):
        export_onnx(Deceiver(), METHOD, HEADER, tmp_path / "a.onnx")
    broken = Network()
    nn.init.constant_(broken.last.bias, torch.nan)
    with pytest.raises(EngineError, match="differs from torch by nan"):
        export_onnx(broken, METHOD, HEADER, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_float16_halves_the_file_and_stays_close(exported: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = exported
    export_onnx(network, METHOD, HEADER, tmp_path / "half.onnx", precision="float16")
    weights = open_weights(tmp_path / "half.onnx")
    assert weights.header.precision == "float16"

    def stored(path: Path) -> int:
        return sum(len(onnx.numpy_helper.to_array(t).tobytes()) for t in onnx.load(path).graph.initializer)

    assert stored(tmp_path / "half.onnx") < 0.6 * stored(path)
    exact, rough = (OnnxEngine(open_weights(p), threads=1).run(*tile()) for p in (path, weights.path))
    assert 1e-6 < np.abs(exact - rough).max() < 1e-3


def test_int8_is_close_where_calibrated_and_refused_where_not(
    exported: tuple[Network, Path], tmp_path: Path
) -> None:
    network, path = exported
    export_onnx(
        network, METHOD, HEADER, tmp_path / "i.onnx", precision="int8", calibration=[tile(1), tile(2)]
    )
    weights = open_weights(tmp_path / "i.onnx")
    assert weights.header.precision == "int8"
    kinds = {node.op_type for node in onnx.load(weights.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    exact, rough = (OnnxEngine(open_weights(p), threads=1).run(*tile()) for p in (path, weights.path))
    assert 0 < np.square(exact - rough).mean() < 1e-4
    # One value that no 8 bits can hold beside the others.
    spiked = (tile(1)[0].copy(), tile(1)[1])
    spiked[0][0, 0] = 1e4
    with pytest.raises(EngineError, match=r"the int8 graph is .* dB from float32; expected at least 35 dB"):
        export_onnx(network, METHOD, HEADER, tmp_path / "j.onnx", precision="int8", calibration=[spiked])
    with pytest.raises(ValueError, match="calibration tiles"):
        export_onnx(network, METHOD, HEADER, tmp_path / "j.onnx", precision="int8")
    assert not (tmp_path / "j.onnx").exists()

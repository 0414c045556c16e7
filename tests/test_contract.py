"""What every method promises. A method gets all of these tests by being registered.

It shows ``tiny_config()``: a network small enough for tests. All parameters are drawn anew, because layers
that start at zero hide mistakes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import lowlight
import tiny as smallest
from lowlight import methods, tiles
from lowlight.engines import Engine
from lowlight.engines.onnx import OnnxEngine
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.enhancer import Enhancer
from lowlight.errors import ControlError, EngineError, WeightsError
from lowlight.methods import Array, Method, Observation
from lowlight.photo import Photo
from lowlight.training.data import Mixture, PairDrawer, Picture
from lowlight.training.export import export_onnx
from lowlight.training.stage import Moment, Stage
from lowlight.weights import Header, load_tensors, open_weights, save_safetensors

SIZES = [(1, 1), (1, 9), (7, 2), (33, 50), (64, 64), (1500, 30), (30, 1500)]
"""Height and width of the contract's photos."""
TOLERANCE = 1e-4
"""Between engines in float32, in a picture of [0, 1]."""


@dataclass(frozen=True)
class Tiny:
    """A method at its smallest, with its weights in a file."""

    method: Method
    network: nn.Module
    header: Header
    tensors: Path

    def observe(self, samples: methods.Samples) -> Observation:
        return self.method.observe(samples, self.method.Controls(lightness=0.4))


@pytest.fixture(scope="module", params=methods.names())
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Tiny:
    found: Any = methods.find(request.param)
    config = found.tiny_config()
    network = methods.room(request.param, "network").Network(config).eval()
    redraw(network)
    header = Header(
        name=f"tiny-{request.param}",
        method=request.param,
        config=config.model_dump(mode="json"),
        licence="CC0",
    )
    folder = tmp_path_factory.mktemp(request.param)
    made = Tiny(found(config, {}), network, header, folder / "tiny.safetensors")
    save_safetensors(made.tensors, header, {k: v.numpy() for k, v in network.state_dict().items()})
    return made


@pytest.fixture(scope="module")
def graph(tiny: Tiny) -> Path:
    """The weights as a graph; what asks for it is slow, for torch's exporter takes ten seconds to start."""
    path = tiny.tensors.with_suffix(".onnx")
    export_onnx(tiny.network, tiny.method, tiny.header, path)
    return path


@pytest.fixture(scope="module")
def engines(tiny: Tiny, graph: Path) -> list[Engine]:
    return [
        OnnxEngine(open_weights(graph), threads=1),
        TorchEngine.from_weights(open_weights(tiny.tensors), device="cpu", threads=1),
    ]


@pytest.fixture(scope="module")
def enhancer(tiny: Tiny) -> Enhancer:
    return lowlight.load(tiny.tensors, engine="torch", threads=1)


def redraw(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2 and parameter.shape[0] == parameter.shape[1]:
                # Around its start: an invertible matrix stays far from a singular one.
                parameter.add_(0.2 * noise / math.sqrt(parameter.shape[0]))
            elif parameter.ndim > 1:
                parameter.copy_(0.5 * noise / math.sqrt(parameter[0].numel()))
            else:  # biases, and scales of norms around one
                parameter.add_(0.1 * noise)


def dark(height: int, width: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """A dark picture with smooth light, edges and noise."""
    rng = np.random.default_rng((seed, height, width))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    smooth = 0.12 * (1 + np.sin(rows / 9 + seed) * np.cos(columns / 13))[..., None] * [1.0, 0.8, 0.6]
    picture = (
        smooth
        + 0.2 * ((rows // 16 + columns // 16) % 5 == 0)[..., None]
        + 0.02 * rng.random((height, width, 3))
    )
    if dtype == np.float32:
        return picture.astype(np.float32)
    return np.rint(picture * np.iinfo(dtype).max).astype(dtype)


def tile_of(tiny: Tiny, samples: NDArray[Any]) -> tuple[Array, Observation]:
    photo = Photo(samples)
    return tiles.mirror(photo.pixels, (0, 0), (0, 0), tiny.method.multiple), tiny.observe(samples)


# Pictures


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_engines_agree(tiny: Tiny, engines: list[Engine], size: tuple[int, int]) -> None:
    tile, observation = tile_of(tiny, dark(*size))
    first, second = (engine.run(tile, observation) for engine in engines)
    assert first.shape == second.shape == tile.shape
    assert first.dtype == second.dtype == np.float32
    assert np.abs(first - second).max() <= TOLERANCE
    assert np.abs(first - tile).max() > 0.01, "the network does nothing: this test would show nothing"


@pytest.mark.parametrize(
    ("size", "dtype"),
    # The longest, which cost the most, in one depth alone: what a depth is read and written by knows no size.
    [
        (size, dtype)
        for size in SIZES
        for dtype in (np.uint8, np.uint16, np.float32)[: 1 if max(size) > 999 else 3]
    ],
)
def test_every_size_and_depth_gives_a_picture_of_the_same(
    enhancer: Enhancer, size: tuple[int, int], dtype: Any
) -> None:
    picture = dark(*size, dtype)
    before = picture.copy()
    result = enhancer(picture, lightness=0.5)
    assert result.shape == picture.shape
    assert result.dtype == picture.dtype
    assert np.array_equal(picture, before), "the caller's picture was changed"


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_photos_are_pictures_too(enhancer: Enhancer, value: int) -> None:
    picture = np.full((20, 31, 3), value, np.uint8)
    for lightness in (0.0, 0.5, 1.0):
        assert enhancer(picture, lightness=lightness).shape == picture.shape


def test_what_is_observed_is_named_finite_float32(tiny: Tiny) -> None:
    for samples in (
        dark(33, 50),
        dark(1, 1, np.uint16),
        dark(5, 7, np.float32),
        np.zeros((4, 4, 3), np.uint8),
    ):
        for name, array in tiny.observe(samples).items():
            assert name.isidentifier()
            assert isinstance(array, np.ndarray)
            assert array.dtype == np.float32
            assert np.isfinite(array).all(), name


def test_depths_of_one_photo_are_observed_alike(tiny: Tiny) -> None:
    eight = dark(33, 50)
    for other in (eight.astype(np.uint16) * 257, eight.astype(np.float32) / 255):
        for name, array in tiny.observe(other).items():
            assert np.allclose(array, tiny.observe(eight)[name], rtol=1e-3, atol=1e-3), name


@pytest.mark.slow
def test_tiled_equals_whole(tiny: Tiny, graph: Path) -> None:
    enhancer = lowlight.load(graph, threads=1)
    picture = Photo(dark(197, 251, np.uint16))
    controls = enhancer.controls(lightness=0.5)
    whole, report = enhancer.enhance_photo(picture, controls)
    assert report.tiles == 1
    least = 1 << 16
    while True:  # the least memory that is enough
        try:
            tiled, report = enhancer.enhance_photo(picture, controls, memory=least)
            break
        except EngineError:
            least += least // 4
    assert (report.tiles > 1) == (tiny.method.halo is not None)
    difference = np.abs(tiled.samples.astype(int) - whole.samples.astype(int))
    assert difference.max() <= 2  # of 65535: rounding


@pytest.mark.slow
def test_batch_equals_single(tiny: Tiny, graph: Path) -> None:
    pairs = [tile_of(tiny, dark(36, 64, seed=seed)) for seed in range(3)]
    feeds = {"dark": np.stack([tile.transpose(2, 0, 1) for tile, _ in pairs])}
    for name in pairs[0][1]:
        feeds[name] = np.stack([observation[name] for _, observation in pairs])
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}

    def by_graph(part: slice) -> Any:
        return session.run(None, {name: feeds[name][part] for name in inputs})[0]

    def by_torch(part: slice) -> Any:
        with torch.inference_mode():
            return tiny.network(
                **{name: torch.from_numpy(array[part]) for name, array in feeds.items()}
            ).numpy()

    for run in (by_graph, by_torch):
        together = run(slice(None))
        alone = np.concatenate([run(slice(index, index + 1)) for index in range(3)])
        assert np.abs(together - alone).max() <= TOLERANCE / 10
        assert np.abs(together[0] - together[1]).max() > 0.01


@pytest.mark.slow
def test_the_graph_takes_what_is_observed(tiny: Tiny, graph: Path) -> None:
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    inputs = {value.name: value.shape for value in session.get_inputs()}
    assert inputs.pop("dark") == ["batch", 3, "height", "width"]
    assert inputs.keys() <= tiny.observe(dark(9, 9)).keys()
    assert [value.name for value in session.get_outputs()] == ["enhanced"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_strength_0_is_the_input(enhancer: Enhancer, dtype: Any) -> None:
    picture = dark(33, 50, dtype)
    assert enhancer(picture, strength=0).tobytes() == picture.tobytes()


def test_strength_blends(enhancer: Enhancer) -> None:
    picture = dark(33, 50, np.float32)
    full, half = (enhancer(picture, strength=strength, lightness=0.5) for strength in (1, 0.5))
    assert np.abs(half - (picture + full) / 2).max() < 1e-6


def test_the_same_photo_and_seed_give_the_same_picture(tiny: Tiny, enhancer: Enhancer) -> None:
    picture = dark(41, 58)
    settings = {"seed": 3} if "seed" in tiny.method.Controls.model_fields else {}
    first = enhancer(picture, lightness=0.5, **settings)
    again = lowlight.load(tiny.tensors, engine="torch", threads=1)(picture, lightness=0.5, **settings)
    assert first.tobytes() == again.tobytes()


# Controls


def test_controls_out_of_range_are_refused_with_their_range(tiny: Tiny, enhancer: Enhancer) -> None:
    checked = 0
    for name, schema in tiny.method.Controls.model_json_schema()["properties"].items():
        for option in schema.get("anyOf", [schema]):
            for bound, beyond in (("minimum", -1), ("maximum", 1)):
                if bound in option:
                    with pytest.raises(ControlError) as caught:
                        enhancer.controls(**{name: option[bound] + beyond})
                    assert f"control {name} = {option[bound] + beyond!r}" in str(caught.value)
                    assert methods.describe_range(tiny.method, name) in str(caught.value)
                    checked += 1
                    enhancer.controls(**{name: option[bound]})
    assert checked >= 4
    with pytest.raises(ControlError, match="has no control 'sharpness'; it has: lightness, strength"):
        enhancer.controls(sharpness=0.5)
    for value in (math.nan, "much", None):
        with pytest.raises(ControlError, match=r"control lightness = .*: expected auto or 0 to 1"):
            enhancer.controls(lightness=value)


def test_every_control_says_what_it_does(tiny: Tiny) -> None:
    for name, field in tiny.method.Controls.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description
        assert not field.is_required(), name


# Weights


def test_weights_are_saved_and_loaded_bit_for_bit(tiny: Tiny) -> None:
    network = load_network(open_weights(tiny.tensors))
    found, expected = network.state_dict(), tiny.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_wrong_weights_are_refused_by_name(tiny: Tiny, tmp_path: Path) -> None:
    weights = open_weights(tiny.tensors)
    whole = load_tensors(weights)
    name = next(name for name, tensor in whole.items() if tensor.ndim > 1)
    rest = {key: tensor for key, tensor in whole.items() if key != name}
    double = {key: tensor.repeat(2, 0) if key == name else tensor for key, tensor in whole.items()}
    wrong: list[tuple[dict[str, Any], str]] = [
        (rest, "missing"),
        ({**rest, f"module.{name}": whole[name]}, "missing"),
        ({**whole, "stranger": np.zeros(1, np.float32)}, "'stranger' unknown"),
        (double, "has shape"),
        ({**whole, name: np.zeros(whole[name].shape, np.int64)}, "is int64"),
    ]
    for number, (tensors, words) in enumerate(wrong):
        path = tmp_path / f"{number}.safetensors"
        save_safetensors(path, weights.header, tensors)
        with pytest.raises(WeightsError) as caught:
            lowlight.load(path, engine="torch")
        assert words in str(caught.value)
        assert path.name in str(caught.value)
        assert "stranger" in words or name in str(caught.value)


def test_a_config_of_another_size_does_not_take_these_tensors(tiny: Tiny, tmp_path: Path) -> None:
    weights = open_weights(tiny.tensors)
    header = weights.header.model_copy(update={"config": {}})
    save_safetensors(tmp_path / "full.safetensors", header, load_tensors(weights))
    with pytest.raises(WeightsError, match=r"full\.safetensors: tensor"):
        load_network(open_weights(tmp_path / "full.safetensors"))


# Precision and training


def test_bf16_is_close_to_float32(tiny: Tiny) -> None:
    tile, observation = tile_of(tiny, dark(64, 96))
    exact, rough = (
        TorchEngine(tiny.network, threads=1, precision=precision).run(tile, observation)
        for precision in ("float32", "bf16")
    )
    error = float(np.square(exact - rough).mean())
    assert 0 < error < 10 ** (-3.0) * float(np.square(exact).mean())  # 30 dB below the picture


def pair(height: int, width: int) -> tuple[Picture, Picture]:
    """A dark photo and what it shows."""
    from lowlight import statistics

    below = dark(height, width)
    above = np.minimum(below.astype(int) * 3, 255).astype(np.uint8)
    made = [
        Picture(name, torch.from_numpy(p), statistics.histograms(p))
        for name, p in (("d", below), ("l", above))
    ]
    return made[0], made[1]


def stage_of(tiny: Tiny, name: str, folder: Path) -> tuple[Stage, Mixture]:
    data = Mixture([(PairDrawer([pair(96, 96)]), 1.0)])
    found = methods.room(tiny.method.name, "training").stages[name]
    torch.manual_seed(0)
    config = smallest.config(tiny.method.name, found)
    return found(config, smallest.settings(found, folder), data, torch.device("cpu")), data


def moment() -> Moment:
    return Moment(0, 100, 64, 2, np.random.default_rng(0), torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_a_step_of_each_player_lowers_its_loss_and_reaches_all_its_parameters(
    tiny: Tiny, tmp_path: Path
) -> None:
    for name in methods.room(tiny.method.name, "training").stages:
        stage, data = stage_of(tiny, name, tmp_path)
        for network in stage.networks.values():
            redraw(network.train())
        players = stage.players()
        batch = stage.batch(data, moment(), torch.device("cpu"))

        def losses(stage: Stage = stage, batch: Any = batch) -> dict[str, torch.Tensor]:
            torch.manual_seed(0)
            return {
                player: sum(terms.values(), torch.zeros(()))
                for player, terms in stage.losses(batch, moment())
            }

        for player, value in losses().items():
            parameters = list(players[player].parameters)
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            indifferent = {id(parameter) for parameter in stage.indifferent()}
            unreached = [
                tuple(p.shape)
                for p, g in zip(parameters, gradients, strict=True)
                if id(p) not in indifferent and (g is None or not g.any())
            ]
            assert unreached == [], f"{name}, {player}: parameters without gradient"
            slope = float(sum(g.square().sum() for g in gradients if g is not None))
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    assert gradient is not None
                    parameter -= 1e-3 * float(value.detach()) / slope * gradient
            after = losses()[player]
            # A step along the gradient that should take a thousandth of the loss away.
            assert 0.5e-3 < float((value - after).detach() / value.detach()) < 2e-3

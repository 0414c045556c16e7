"""LLFlow as users run it: controls, samples, tiles, depth, and the release's front end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fill
from llflow_numbers import numbers, observed, picture, published, tables
from lowlight import estimator, statistics
from lowlight.engines.onnx import OnnxEngine
from lowlight.engines.torch import TorchEngine
from lowlight.enhancer import Enhancer
from lowlight.errors import ControlError, EngineError, WeightsError
from lowlight.methods.llflow import Config, Controls, LLFlow, receptive_field
from lowlight.methods.llflow.network import Network
from lowlight.methods.llflow.training import Flow, lighter_direction
from lowlight.photo import Photo
from lowlight.training.data import Mixture, PairDrawer, Picture
from lowlight.training.export import export_onnx
from lowlight.weights import Header, open_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn() -> Network:
    torch.manual_seed(0)
    network = Network(LLFlow.tiny_config()).eval()
    with torch.no_grad():
        for name, each in network.named_parameters():
            if not name.endswith("mix.weight"):
                each.add_(0.1 * torch.randn_like(each))
        network.encoder.colours.bias.fill_(-1)
    return network


@pytest.fixture(scope="module")
def tiny() -> Enhancer:
    return Enhancer(LLFlow(LLFlow.tiny_config(), {}), TorchEngine(drawn().folded()))


def dark(height: int, width: int) -> np.ndarray:
    return np.rint(255 * fill.photo("cellar", height, width, 0.0, 0.2)).astype(np.uint8)


@pytest.mark.parametrize("name", ["odd", pytest.param("multiple", marks=pytest.mark.slow)])
def test_published_front_end(name: str) -> None:
    expected = numbers("padding")
    samples = expected[f"{name}_dark"]
    frame = LLFlow.released_frame(*samples.shape[:2], Controls())
    assert [*frame.rows, *frame.columns] == expected[f"{name}_pads"].tolist()
    padded = np.pad(samples, (frame.rows, frame.columns, (0, 0)), mode=frame.mode)
    assert np.array_equal(padded, expected[f"{name}_padded"])
    equalised = np.stack(
        [
            table[channel]
            for table, channel in zip(tables(padded)[0].numpy(), padded.transpose(2, 0, 1), strict=True)
        ],
        -1,
    )
    assert np.array_equal(np.rint(255 * equalised), expected[f"{name}_equalized"])
    network = published()
    with torch.no_grad():
        whole = network.folded()(picture(padded), **observed(padded))[0].numpy()
    (top, _), (left, _) = frame.rows, frame.columns
    enhanced = whole[:, top : top + samples.shape[0], left : left + samples.shape[1]]
    np.testing.assert_allclose(enhanced, expected[f"{name}_enhanced"], rtol=0, atol=5e-5)
    enhancer = Enhancer(LLFlow(network.config, {}), TorchEngine(network.folded()))
    found = enhancer(samples, published=True)
    difference = np.abs(found.astype(int) - expected[f"{name}_result"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002
    assert np.abs(enhancer(samples).astype(int) - found).max() > 1, "the front end changes something"


def test_auto_is_the_lightness_that_the_weights_guess_if_they_can(tiny: Enhancer) -> None:
    method = LLFlow(LLFlow.tiny_config(), estimator.constant(0.3))
    guessing = Enhancer(method, tiny.engine)
    picture = dark(40, 56).astype(np.float32) / 255
    assert guessing(picture).mean() == pytest.approx(0.3, abs=0.005)
    assert abs(tiny(picture).mean() - 0.3) > 0.05
    for controls in ({"published": True}, {"brightness": 0.1}, {"lightness": 0.2}):
        assert np.array_equal(guessing(picture, **controls), tiny(picture, **controls))
    light = np.full((8, 8, 3), 204, np.uint8)
    assert method.choose_lightness(light) == pytest.approx(0.8), "nothing is darkened"
    with pytest.raises(WeightsError, match="the estimator of lightness lacks"):
        LLFlow(LLFlow.tiny_config(), {"center": np.zeros(1, np.float32)})


@pytest.mark.parametrize("known", [{}, estimator.constant(0.3)])
def test_training_keeps_the_estimator_that_its_data_give_or_that_it_starts_from(
    known: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowlight.methods.llflow.training.learn_lightness", lambda data: known)
    stage = Flow(LLFlow.tiny_config(), Flow.Settings(), Mixture([(PairDrawer([]), 1.0)]), torch.device("cpu"))
    assert stage.arrays() == known
    stage.inherit({"other": np.zeros(2, np.float32)})
    assert stage.arrays() == known
    stage.inherit(estimator.constant(0.5))
    assert estimator.predict(stage.arrays(), np.zeros(1, np.float32)) == pytest.approx(0.3 if known else 0.5)


def test_brightness_goes_along_the_direction_that_makes_pictures_lighter(tiny: Enhancer) -> None:
    picture = dark(40, 56)
    seen = Picture("dark", torch.from_numpy(picture), statistics.histograms(picture))
    direction = lighter_direction(drawn(), [seen])
    assert np.sqrt(np.square(direction).mean()) == pytest.approx(0.3)
    along = Enhancer(LLFlow(LLFlow.tiny_config(), {"direction": direction}), tiny.engine)
    means = [along(picture, brightness=each).mean() for each in (-0.4, -0.2, 0, 0.2, 0.4)]
    assert (np.diff(means) > 0).all()
    alike = Enhancer(LLFlow(LLFlow.tiny_config(), {"direction": 0.3 * np.ones_like(direction)}), tiny.engine)
    assert (
        means[-1] - means[0] > alike(picture, brightness=0.4).mean() - alike(picture, brightness=-0.4).mean()
    )
    released = {"published": True, "brightness": 0.2}
    assert np.array_equal(along(picture, **released), tiny(picture, **released))
    with pytest.raises(WeightsError, match=r"direction of brightness has shape \(3,\); expected \(48,\)"):
        LLFlow(LLFlow.tiny_config(), {"direction": np.ones(3, np.float32)})


def test_training_measures_the_direction_of_the_networks_that_users_get() -> None:
    picture = dark(40, 56)
    seen = Picture("dark", torch.from_numpy(picture), statistics.histograms(picture))
    data = Mixture([(PairDrawer([(seen, seen)] * 9), 1.0)])
    stage = Flow(LLFlow.tiny_config(), Flow.Settings(), data, torch.device("cpu"))
    network = drawn()
    found = stage.measured({"network": network})["direction"]
    assert np.allclose(found, lighter_direction(network, [seen]), atol=1e-6)
    assert all(each.grad is None for each in network.parameters())


def test_samples_do_not_depend_on_tiles(tiny: Enhancer) -> None:
    """Nearly: with a halo shorter than all that the network looks to, so that tiles are few."""
    tiny = Enhancer(LLFlow(LLFlow.tiny_config().model_copy(update={"halo": 24}), {}), tiny.engine)
    photo = Photo(dark(150, 203))
    controls = tiny.controls(temperature=0.8, samples=2, seed=5)
    whole, report = tiny.enhance_photo(photo, controls)
    assert report.tiles == 1
    tiled, report = tiny.enhance_photo(photo, controls, memory=14_000_000)
    assert report.tiles > 1
    assert np.abs(tiled.samples.astype(int) - whole.samples).max() <= 1


@pytest.mark.parametrize("published", [False, True])
def test_the_memory_that_a_batch_gives_is_enough(tiny: Enhancer, published: bool) -> None:
    """The release mirrors the photo outwards first, and that is what must fit."""
    controls = tiny.controls(published=published)
    photo = Photo(dark(150, 203))
    _, report = tiny.enhance_photo(photo, controls, memory=tiny.memory_for(150, 203, 1, controls))
    assert report.tiles == 1


def test_samples_are_averaged(tiny: Enhancer) -> None:
    picture = dark(40, 56).astype(np.float32) / 255
    one, two, other = (
        tiny(picture, temperature=0.5, samples=count, seed=seed) for count, seed in ((1, 0), (2, 0), (1, 1))
    )
    mean = tiny(picture)
    assert np.abs(one - mean).mean() > 0.001
    assert np.abs(one - other).mean() > 0.001
    assert np.array_equal(one, tiny(picture, temperature=0.5))
    many = tiny(picture, temperature=0.5, samples=16)
    errors = [float(np.square(each - mean).mean()) for each in (one, two, many)]
    assert errors[0] > errors[1] > errors[2]
    assert np.array_equal(mean, tiny(picture, samples=8, seed=3)), "without temperature nothing is drawn"


def test_16_bits_are_seen_between_the_tables_steps(tiny: Enhancer) -> None:
    eight = dark(40, 56)
    exact = tiny(eight.astype(np.uint16) * 257)
    assert np.abs(exact / 257 - tiny(eight)).max() <= 0.51
    between = eight.astype(np.uint16) * 257 + 100
    assert np.abs(tiny(between).astype(int) - exact).max() > 20


def test_the_halo_holds_all_that_the_network_looks_to(tiny: Enhancer) -> None:
    """A pixel that changes moves nothing beyond the halo, and something near it."""
    reach = receptive_field(LLFlow.tiny_config())
    side = 4 * (reach // 2 + 12)
    picture = np.full((side, side, 3), 0.1, np.float32)
    changed = picture.copy()
    middle = side // 2
    changed[middle, middle] = 0.9
    told = tiny.method.observe(picture, tiny.controls())
    difference = np.abs(tiny.engine.run(picture, told) - tiny.engine.run(changed, told)).max(axis=2)
    moved = np.argwhere(difference > 0)
    assert np.abs(moved - middle).max() <= reach
    assert np.abs(moved - middle).max() > reach // 3


def test_published_receptive_fields() -> None:
    assert 200 < receptive_field(Config()) < 300
    assert 1000 < receptive_field(Config(channels=64, blocks=24, stacked=(1, 3, 5, 7), steps=12)) < 1200


@pytest.mark.parametrize(
    ("control", "value", "allowed"),
    [
        ("brightness", 0.5, "-0.4 to 0.4"),
        ("temperature", -0.1, "0 to 1"),
        ("samples", 0, "1 to 64"),
        ("seed", 1_000_000, "0 to 999999"),
    ],
)
def test_controls(tiny: Enhancer, control: str, value: float, allowed: str) -> None:
    with pytest.raises(ControlError, match=f"control {control} = .*: expected {allowed}"):
        tiny.controls(**{control: value})


def test_what_is_not_finite_is_no_picture_and_names_its_layer() -> None:
    network = Network(LLFlow.tiny_config())
    with torch.no_grad():
        network.flow.levels[1].steps[1].norm.bias[0] = float("nan")
    engine = TorchEngine(network.folded())
    layer = r"inverse\.levels\.1\.steps\.0\.unmix"
    with pytest.raises(
        EngineError, match=rf"not finite .* of a tile of 16x16 pixels, first in the layer {layer}; try"
    ):
        engine.run(dark(16, 16).astype(np.float32) / 255, LLFlow.observe_counts(np.ones((3, 256))))


def test_samples_drawn_together_are_those_drawn_alone(tiny: Enhancer) -> None:
    picture = dark(24, 40).astype(np.float32) / 255
    told = tiny.method.observe(picture, tiny.controls(temperature=0.7, samples=3, seed=2))
    together = np.split(tiny.engine.run(picture, told), 3, axis=2)
    for index, each in enumerate(together):
        alone = tiny.engine.run(picture, {**told, "sample": told["sample"][index : index + 1]})
        assert np.abs(each - alone).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 0.01


@pytest.mark.slow
def test_the_graph_draws_samples_together_too(tmp_path: Path) -> None:
    config = LLFlow.tiny_config()
    torch.manual_seed(0)
    network, method = Network(config).eval(), LLFlow(config, {})
    header = Header(name="tiny", method="llflow", config=config.model_dump(mode="json"), licence="CC0")
    export_onnx(network, method, header, tmp_path / "tiny.onnx")
    graph = OnnxEngine(open_weights(tmp_path / "tiny.onnx"), threads=1)
    picture = dark(24, 40).astype(np.float32) / 255
    for samples in (1, 2, 5):
        told = method.observe(picture, method.Controls(temperature=0.7, samples=samples, seed=4))  # type: ignore[call-arg]
        found = graph.run(picture, told)
        assert found.shape == (24, 40, 3 * samples)
        for other in (network, network.folded()):
            assert np.abs(found - TorchEngine(other).run(picture, told)).max() < 1e-4

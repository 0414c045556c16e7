"""Dimma's published network: its input, inside, heads and output against numbers of the published code."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import fill
from dimma_numbers import FIXTURES, tensors
from lowlight import statistics
from lowlight.equalise import apply
from lowlight.equalise import tables as tables_of
from lowlight.methods.dimma import Config, Controls, Dimma, retinex
from lowlight.methods.dimma.network import Network, apply_head, prepare, time_step
from lowlight.methods.dimma.published import rename
from lowlight.methods.dimma.tiled_unet import TiledUNet
from lowlight.nn.lookup import equalise
from lowlight.nn.unet import UNet
from lowlight.weights import Header

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLISHED = Config(body="published", widths=(64, 128, 256, 384), blocks=(2,))
SMALL = Config(body="published", widths=(64, 96, 128, 192), blocks=(2,))
TINY = Config(body="published", widths=(8, 16), blocks=(1,), norm_groups=4, attention_head=8)


@pytest.fixture(scope="module")
def fixture() -> dict[str, np.ndarray]:
    return dict(np.load(FIXTURES / "unet.npz"))


def load(config: Config, weights: str) -> Network:
    """The network with a fixture's weights, all of them and no others."""
    network = Network(config)
    state = tensors(weights, "backbone.")
    network.load_state_dict({rename(f"backbone.{key}"): each for key, each in state.items()})
    return network.eval()


def picture(samples: np.ndarray, count: int = 1) -> Tensor:
    return torch.from_numpy(samples).permute(2, 0, 1)[None].float().div(255).repeat(count, 1, 1, 1)


def observed(
    samples: np.ndarray, source: np.ndarray, target: np.ndarray, *, published: bool
) -> dict[str, Tensor]:
    counts = statistics.histograms(samples)
    rows = [Dimma(TINY, {}).observe_counts(counts, *pair) for pair in zip(source, target, strict=True)]
    stacked = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    return stacked | {"published": torch.full((len(rows),), float(published))}


@dataclass
class Run:
    """One forward pass over the fixture's four lightness pairs and the test protocol's."""

    network: Network
    output: np.ndarray
    seen: dict[str, np.ndarray] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(fixture: dict[str, np.ndarray]) -> Run:
    network = load(PUBLISHED, "weights.json")
    unet = network.backbone
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | list[Tensor]) -> None:
            seen[name] = (output[-1] if isinstance(output, list) else output).numpy()
            seen[f"{name} input"] = inputs[0].numpy()

        hooks.append(module.register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    assert isinstance(unet, UNet)
    keep("raw", unet)
    keep("embedding", unet.time_embedding)
    keep("conv_in", unet.conv_in)
    keep("mid_attention", unet.mid_block.attentions[0])
    keep("mid", unet.mid_block)
    for level in (0, 3):
        keep(f"down{level}", unet.down_blocks[level])
        keep(f"up{level}", unet.up_blocks[level])
    source = np.append(fixture["source_lightness"], fixture["reference_source_lightness"])
    target = np.append(fixture["target_lightness"], fixture["reference_target_lightness"])
    observation = observed(fixture["dark"], source, target, published=True)
    with torch.inference_mode():
        output = network(picture(fixture["dark"], 5), **observation).numpy()
    for hook in hooks:
        hook.remove()
    seen["time"] = time_step(observation["source_lightness"], observation["lightness"], torch.ones(5)).numpy()
    return Run(network, output, seen)


@pytest.mark.slow
def test_published_size(run: Run) -> None:
    assert sum(each.numel() for each in run.network.parameters()) == 40_967_875


@pytest.mark.slow
def test_input(run: Run, fixture: dict[str, np.ndarray]) -> None:
    prepared = run.seen["conv_in input"]
    np.testing.assert_allclose(prepared[0], fixture["image"], rtol=0, atol=1e-6)
    assert np.array_equal(prepared[0, 3:6], fixture["image"][3:6]), "equalised channels are exact"


@pytest.mark.slow
def test_condition(run: Run, fixture: dict[str, np.ndarray]) -> None:
    assert np.array_equal(run.seen["time"][:4], fixture["timestep"])
    np.testing.assert_allclose(run.seen["embedding input"][:4], fixture["sinusoid"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(run.seen["embedding"][:4], fixture["embedding"], rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["conv_in", "down0", "down3", "mid_attention", "mid", "up0", "up3"])
def test_inside(run: Run, fixture: dict[str, np.ndarray], part: str) -> None:
    channels = run.seen[part][0].astype(np.float64)
    np.testing.assert_allclose(channels.mean(axis=(1, 2)), fixture[f"mean_{part}"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(channels.std(axis=(1, 2)), fixture[f"std_{part}"], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_output(run: Run, fixture: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(run.seen["raw"][:4], fixture["raw"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(run.output[:4], fixture["output"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(run.output[4], fixture["output_test_protocol"], rtol=0, atol=5e-6)


@pytest.mark.slow
def test_names_of_today(run: Run, fixture: dict[str, np.ndarray]) -> None:
    prefix = "mid_block.attentions.0."
    attention = tensors("weights_today.json", f"backbone.{prefix}to_")
    attention = {f"{prefix}to_{key}": each for key, each in attention.items()}
    assert len(attention) == 8
    time = torch.from_numpy(fixture["timestep"][:2])
    x = torch.from_numpy(fixture["image"]).repeat(2, 1, 1, 1)
    with torch.inference_mode():
        raw = torch.func.functional_call(run.network.backbone, attention, (x, time))
    np.testing.assert_allclose(raw.numpy(), fixture["today_raw"], rtol=0, atol=2e-5)


def test_small_published_network(fixture: dict[str, np.ndarray]) -> None:
    network = load(SMALL, "weights_small.json")
    assert sum(each.numel() for each in network.parameters()) == 12_139_875
    source, target = fixture["source_lightness"][:2], fixture["target_lightness"][:2]
    observation = observed(fixture["dark"], source, target, published=True)
    raw: list[Tensor] = []
    network.backbone.register_forward_hook(lambda _module, _inputs, output: raw.append(output))
    with torch.inference_mode():
        output = network(picture(fixture["dark"], 2), **observation)
    np.testing.assert_allclose(raw[0].numpy(), fixture["small_raw"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(output.numpy(), fixture["small_output"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("head", ["sig_dim", "dim", "HE", "normal", "retinex", "retinex_tanh"])
def test_heads(head: str) -> None:
    fixture = np.load(FIXTURES / "heads.npz")
    y = torch.from_numpy(fixture["y"])[:, : 4 if head.startswith("retinex") else 3]
    found = apply_head(head, y, torch.from_numpy(fixture["x"]))
    expected = fixture["tanh_retinex" if head == "retinex_tanh" else head]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)
    assert 0 < ((found > 0) & (found < 1)).float().mean() < 1, "some values are clipped, some are not"


@pytest.mark.parametrize("head", ["retinex", "retinex_tanh", "normal"])
def test_network_has_the_channels_of_its_head(head: str) -> None:
    network = Network(TINY.model_copy(update={"head": head}))
    assert network(torch.rand(1, 3, 4, 6), **random_observation(1)).shape == (1, 3, 4, 6)


def random_observation(count: int, *, published: float = 0.0) -> dict[str, Tensor]:
    return {
        "tables": torch.rand(count, 3, 256),
        "source_lightness": torch.rand(count) * 0.1,
        "lightness": 0.3 + torch.rand(count) * 0.3,
        "published": torch.full((count,), published),
    }


def test_paired_input_of_a_whole_photo() -> None:
    fixture = np.load(FIXTURES / "pair_input.npz")
    tables = observed(fixture["dark"], np.zeros(1), np.zeros(1), published=False)["tables"]
    x = prepare(picture(fixture["dark"]), tables)[0].numpy()
    np.testing.assert_allclose(x, fixture["image"], rtol=0, atol=1e-6)
    assert np.array_equal(x[3:6], fixture["image"][3:6])


def test_paired_input_of_a_flipped_crop() -> None:
    fixture = np.load(FIXTURES / "pair_input.npz")
    row, column = int(fixture["crop_row"]), int(fixture["crop_column"])
    dark, light = (
        np.ascontiguousarray(fixture[name][:, ::-1][row : row + 32, column : column + 32])
        for name in ("dark", "light")
    )
    tables = observed(dark, np.zeros(1), np.zeros(1), published=False)["tables"]
    x = prepare(picture(dark), tables)[0].numpy()
    np.testing.assert_allclose(x, fixture["crop_image"], rtol=0, atol=1e-6)
    assert np.array_equal(x[3:6], fixture["crop_image"][3:6])
    assert np.array_equal(picture(light)[0].numpy(), fixture["crop_target"])
    assert retinex.mean_lightness(dark) == pytest.approx(float(fixture["crop_source_lightness"]), abs=1e-6)
    assert retinex.mean_lightness(light) == pytest.approx(float(fixture["crop_target_lightness"]), abs=1e-6)


def test_equalisation_in_torch_equals_numpy_at_any_depth() -> None:
    photo = fill.photo("deep", 24, 40, high=0.6)
    photo[0, :2] = [[0, 0, 0], [1, 1, 1]]
    tables = tables_of(statistics.histograms(photo))
    found = equalise(torch.from_numpy(photo).permute(2, 0, 1)[None], torch.from_numpy(tables)[None])
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), apply(photo, tables), rtol=0, atol=1e-7)


def test_time_is_exact_by_default_and_whole_as_published() -> None:
    source, target = torch.tensor([0.3, 0.1, 0.2]), torch.tensor([0.1995, 0.5996, 0.2])
    np.testing.assert_allclose(
        time_step(source, target, torch.zeros(3)).numpy(), [-100.5, 499.6, 0], atol=1e-3
    )
    assert time_step(source, target, torch.ones(3)).tolist() == [-100, 499, 0]
    network = load_random(TINY)
    x, observation = torch.rand(1, 3, 8, 8) * 0.3, random_observation(1)
    nearby = observation | {"lightness": observation["source_lightness"] + 0.4003}
    exact = observation | {"lightness": observation["source_lightness"] + 0.4005}
    with torch.inference_mode():
        assert not torch.equal(network(x, **nearby), network(x, **exact))
        whole = [network(x, **(each | {"published": torch.ones(1)})) for each in (nearby, exact)]
    assert torch.equal(*whole)


def test_bf16_autocast_is_close() -> None:
    network, x, observation = load_random(TINY), torch.rand(2, 3, 8, 12), random_observation(2)
    with torch.inference_mode():
        expected = network(x, **observation)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x, **observation)
    assert 0 < (found - expected).abs().mean() < 0.01


def load_random(config: Config) -> Network:
    torch.manual_seed(0)
    network = Network(config).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def test_embedding_stays_float32_under_autocast() -> None:
    network = load_random(TINY)
    assert isinstance(network.backbone, UNet)
    time = torch.tensor([400.3])
    with torch.inference_mode():
        expected = network.backbone.embed(time)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(network.backbone.embed(time), expected)


def test_a_batch_equals_its_pictures() -> None:
    network, x, observation = load_random(TINY), torch.rand(3, 3, 8, 12), random_observation(3)
    with torch.inference_mode():
        batch = network(x, **observation)
        for index in range(3):
            one = slice(index, index + 1)
            single = network(x[one], **{name: each[one] for name, each in observation.items()})
            np.testing.assert_allclose(batch[one].numpy(), single.numpy(), rtol=0, atol=1e-6)


def test_cpu_size_is_the_tiled_network() -> None:
    config = Dimma.tiny_config()
    network = Network(config)
    assert isinstance(network.backbone, TiledUNet)
    method = Dimma(config, {})
    samples = (fill.photo("tiled", 16, 24, high=0.2) * 255).astype(np.uint8)
    observation = method.observe(samples, Controls(lightness=0.4))
    with torch.inference_mode():
        batched = {name: torch.from_numpy(each[None]) for name, each in observation.items()}
        assert network(picture(samples), **batched).shape == (1, 3, 16, 24)


def test_observing_a_photo_for_the_published_network() -> None:
    samples = (fill.photo("observe", 20, 30, high=0.2) * 65535).astype(np.uint16)
    observation = Dimma(TINY, {}).observe(samples, Controls(lightness=0.4))
    with torch.inference_mode():
        batched = {name: torch.from_numpy(each[None]) for name, each in observation.items()}
        assert load_random(TINY)(torch.rand(1, 3, 4, 4), **batched).shape == (1, 3, 4, 4)
    assert observation["source_lightness"] == pytest.approx(samples.mean() / 65535, abs=1e-6)
    assert observation["lightness"] == np.float32(0.4)
    assert observation["published"] == 0


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"widths": (16, 32)}, r"blocks: expected 2 numbers, one a level, got \[1, 1, 2\]"),
        ({"widths": (16, 0), "blocks": (1, 1)}, r"widths\.1"),
        ({"widths": (16, 32), "blocks": (1, -1)}, r"blocks\.1"),
        ({"body": "published"}, r"blocks: body published expects one number of at least 1, got \[1, 1, 2\]"),
        ({"body": "published", "blocks": (0,)}, "blocks: body published expects one number"),
        (
            {"body": "published", "blocks": (1,), "attention_head": 5},
            "attention_head: 5 does not divide the 256",
        ),
        ({"body": "published", "blocks": (1,), "norm_groups": 48}, "norm_groups: 48 does not divide the 64"),
        (
            {"body": "published", "blocks": (1,), "norm_groups": 3, "widths": (3, 6)},
            "an even number first, got 3",
        ),
    ],
)
def test_sizes_of_no_network_are_refused(sizes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config(**sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"widths": (1, 3), "blocks": (0, 1), "unshuffle": 1},
        {"body": "published", "widths": (2, 6), "blocks": (1,), "norm_groups": 2, "attention_head": 3},
        {"body": "published", "widths": (8, 12), "blocks": (2,), "norm_groups": 4, "attention_head": 12},
    ],
)
def test_sizes_that_are_not_refused_make_a_network(sizes: dict[str, Any]) -> None:
    Network(Config(**sizes))


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 2])
def test_equals_diffusers(blocks: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, at import
        from diffusers import UNet2DModel

    widths = (8, 16, 24, 32)
    reference = UNet2DModel(
        in_channels=10,
        out_channels=3,
        block_out_channels=widths,
        layers_per_block=blocks,
        down_block_types=("ResnetDownsampleBlock2D",) * 4,
        up_block_types=("ResnetUpsampleBlock2D",) * 4,
        attention_head_dim=16,
        norm_num_groups=4,
    ).double()
    torch.manual_seed(0)
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = UNet(10, 3, widths, blocks=blocks, groups=4, head=16).double()
    ours.load_state_dict(reference.state_dict())
    x, time = torch.rand(2, 10, 16, 24, dtype=torch.float64), torch.tensor([123.25, -40.0])
    with torch.inference_mode():
        expected = reference(x, time).sample
        assert expected.std() > 0.1
        # both take the sine in float32
        np.testing.assert_allclose(ours(x, time).numpy(), expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_exported_graph_gives_the_same_numbers(tmp_path: Path) -> None:
    import onnxruntime

    from lowlight.training.export import export_onnx

    config = Config(body="published", widths=(8, 16, 24), blocks=(1,), norm_groups=4, attention_head=8)
    network = load_random(config)
    path = tmp_path / "dimma.onnx"
    header = Header(name="test", method="dimma", config=config.model_dump(), licence="none")
    export_onnx(network, Dimma(config, {}), header, path)
    session = onnxruntime.InferenceSession(path)
    for count, height, width, published in ((1, 8, 8, 0.0), (3, 40, 24, 1.0), (2, 56, 104, 0.0)):
        dark = torch.from_numpy(np.stack([fill.photo(f"{k}", height, width) for k in range(count)]))
        dark = dark.permute(0, 3, 1, 2).contiguous()
        observation = random_observation(count, published=published)
        with torch.inference_mode():
            expected = network(dark, **observation).numpy()
        feed = {"dark": dark.numpy(), **{name: each.numpy() for name, each in observation.items()}}
        np.testing.assert_allclose(session.run(None, feed)[0], expected, rtol=0, atol=2e-5)

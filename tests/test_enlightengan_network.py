"""EnlightenGAN's generator and import against numbers of the published code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from enlightengan_numbers import listed, numbers, picture, published, write_stream
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.enhancer import Enhancer
from lowlight.errors import WeightsError
from lowlight.importing import import_checkpoint
from lowlight.methods.enlightengan import Config, Controls, EnlightenGAN, receptive_field
from lowlight.methods.enlightengan.network import Network, attention_map, enlarge
from lowlight.methods.enlightengan.published import matches, read
from lowlight.photo import Photo

pytestmark = pytest.mark.usefixtures("one_thread")

Numbers = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def expected() -> Numbers:
    return numbers("generator")


@pytest.fixture(scope="module")
def network() -> Network:
    return published()


def other(network: Network, **changes: Any) -> Network:
    """The same layers under another config."""
    changed = copy.copy(network)
    changed.config = network.config.model_copy(update=changes)
    return changed


def close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)


def enhancer(network: Network) -> Enhancer:
    return Enhancer(EnlightenGAN(network.config, {}), TorchEngine(network, threads=1))


def place(extent: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> dict[str, Tensor]:
    return {"origin": torch.tensor([origin]).float(), "extent": torch.tensor([extent]).float()}


# Numbers of the release


def test_the_published_size(network: Network) -> None:
    assert sum(each.numel() for each in network.parameters()) == 8_636_675
    assert sum(each.numel() for each in network.buffers()) == 5_824
    assert network.config == Config(align_corners=True)


@pytest.mark.parametrize("told", [False, True], ids=["whole", "placed"])
@pytest.mark.parametrize("aligned", [True, False])
def test_generator(network: Network, expected: Numbers, aligned: bool, told: bool) -> None:
    where = place((64, 48)) if told else {}
    with torch.no_grad():
        output, latent = other(network, align_corners=aligned).generate(picture("even"), **where)
    close(output, expected[f"even_output_ac{int(aligned)}"], 5e-6)
    if aligned:
        close(latent[:, :, ::4], expected["even_latent_ac1"], 5e-6)


@pytest.mark.parametrize("aligned", [True, False])
def test_odd_sizes_are_mirrored_as_released(network: Network, expected: Numbers, aligned: bool) -> None:
    changed = other(network, align_corners=aligned)
    frame = EnlightenGAN(changed.config, {}).released_frame(50, 71, Controls())
    assert (frame.rows, frame.columns) == ((7, 7), (4, 5))
    x = picture("odd", height=50, width=71).numpy()
    padded = torch.from_numpy(np.pad(x, ((0, 0), (0, 0), frame.rows, frame.columns), mode=frame.mode))
    bottom: list[Tensor] = []
    hook = changed.downs[-1].register_forward_hook(lambda _layer, _inputs, result: bottom.append(result))
    with torch.no_grad():
        output = changed.generate(padded)[0][:, :, 7:57, 4:75]
    hook.remove()
    close(output if aligned else output[:, :, ::4], expected[f"odd_output_ac{int(aligned)}"], 5e-6)
    close(bottom[0][:, ::8], expected["odd_bottleneck"], 3e-5)


def test_training_mode_has_the_batch_s_statistics(network: Network, expected: Numbers) -> None:
    changed = copy.deepcopy(network).train()
    output, _ = changed.generate(picture("train0", "train1", height=48, width=64))
    close(output[:, :, ::2], expected["train_output"], 3e-5)
    for block in (1, 5):
        for name, found in changed.downs[block - 1].norms[0].named_buffers():
            close(found, expected[f"train_module.bn{block}_1.{name}"], 3e-6)


@pytest.mark.slow
def test_without_attention(expected: Numbers) -> None:
    changed = published(part="generator_noattention")
    assert changed.config == Config(attention=False, align_corners=True)
    with torch.no_grad():
        output, _ = changed.generate(picture("even"))
    close(output[:, :, ::2], expected["noattention_output"], 5e-6)


def test_attention_is_darkness() -> None:
    x = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [1, -1, -1], [0, 0, 0]])[:, :, None, None]
    found = attention_map(x)
    assert found.flatten().tolist() == pytest.approx([1, 0, 0.701, 0.5], abs=1e-6)


@pytest.mark.parametrize("aligned", [True, False])
def test_published_prediction(network: Network, aligned: bool) -> None:
    expected = numbers("predict")
    run = enhancer(other(network, align_corners=aligned))
    found = run(expected["input"], published=True)
    difference = np.abs(found.astype(int) - expected[f"fake_B_ac{int(aligned)}"])
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.001
    plain = run(expected["input"])
    assert np.abs(plain.astype(int) - found).max() >= 1, "the front end changes something"


def test_wide_photos_are_halved_as_released(network: Network, expected: Numbers) -> None:
    run = enhancer(network)
    wide = Photo(fill.photo("egan/wide", 17, 2205, 0.0, 0.5))
    made, report = run.enhance_photo(wide, run.controls(published=True), floats=True)
    assert report.floats is not None
    _, _, rows, columns = expected["wide_output_shape"]
    floats = 2 * torch.from_numpy(report.floats).permute(2, 0, 1)[None, :, :rows, :columns] - 1
    close(floats[..., ::64], expected["wide_output_every_8th_column"], 5e-5)
    assert float(floats.double().mean()) == pytest.approx(float(expected["wide_output_mean"]), abs=1e-6)
    # What the release loses is the row and column before it.
    assert made.samples.shape == (17, 2205, 3)
    assert np.array_equal(made.samples[16], made.samples[15])
    assert np.array_equal(made.samples[:, 2204], made.samples[:, 2203])
    assert np.array_equal(made.samples, np.floor(np.clip(report.floats, 0, 1) * 255) / np.float32(255))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 5)])
def test_photos_too_small_for_the_release_are_mirrored_on(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    run = enhancer(Network(Config(width=2, align_corners=True)).eval())
    picture = np.full((*size, 3), 40, np.uint8)
    assert run(picture, published=True).shape == picture.shape


# Where a tile lies


@pytest.mark.parametrize(("scale", "origin"), [(1, (0, 0)), (1, (4, 8)), (2, (4, 0))])
def test_a_part_is_enlarged_as_in_the_whole(scale: int, origin: tuple[int, int]) -> None:
    """In float64: the shares of neighbours are what interpolation with aligned corners is."""
    whole = torch.rand(2, 3, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(whole, scale_factor=2, mode="bilinear", align_corners=True)
    top, left = (each // (2 * scale) for each in origin)
    part = whole[:, :, top : top + 6, left : left + 7]
    where = {
        name: each.double().expand(2, 2) for name, each in place((18 * scale, 22 * scale), origin).items()
    }
    found = enlarge(part, scale, **where, aligned=True)
    rows, columns = (slice(0 if start == 0 else 1, -1) for start in (top, left))
    inner = expected[:, :, 2 * top : 2 * (top + part.shape[2]), 2 * left : 2 * (left + part.shape[3])]
    assert found.shape == inner.shape
    assert float((found - inner)[:, :, rows, columns].abs().max()) < 1e-12


@pytest.mark.parametrize("aligned", [True, False])
def test_the_halo_holds_all_that_the_network_looks_to(aligned: bool) -> None:
    """Tiles are exact in float64; with corners aligned, because they are told where they lie."""
    config = Config(width=2, levels=3, align_corners=aligned)
    torch.manual_seed(0)
    network = Network(config).double().eval()
    with torch.no_grad():
        for each in network.parameters():
            each.copy_(torch.randn_like(each) * (0.5 if each.ndim > 1 else 0.1) + (each.ndim == 1))
    multiple, halo = 4, -(-receptive_field(3) // 4) * 4
    x = 2 * torch.rand(1, 3, 160, 160, dtype=torch.float64) - 1

    def run(part: Tensor, origin: tuple[int, int]) -> Tensor:
        where = {name: each.double() for name, each in place((160, 160), origin).items()}
        with torch.no_grad():
            return network.generate(part, **where)[0]

    whole = run(x, (0, 0))
    start, end = 80, 80 + 2 * multiple
    part = run(x[:, :, start - halo : end + halo, start - halo :], (start - halo, start - halo))
    core = part[:, :, halo : halo + end - start, halo:]
    largest = float(whole.abs().max())
    assert float((core - whole[:, :, start:end, start:]).abs().max()) < 1e-13 * largest
    lost = run(x[:, :, start - halo : end + halo, start - halo :], (0, 0))[
        :, :, halo : halo + end - start, halo:
    ]
    assert (float((lost - core).abs().max()) > 1e-6 * largest) == aligned


def test_reaches() -> None:
    assert receptive_field(5) == 126, "within the 128 that the release's tiles were measured to need"


# Controls


def test_residual_and_darken() -> None:
    dark = np.clip((picture("even")[0].permute(1, 2, 0).numpy() + 1) / 2, 0, 1)
    torch.manual_seed(0)
    network = Network(Config(width=2)).eval()
    torch.nn.init.normal_(network.last.weight)
    run = enhancer(network)

    def floats(**controls: Any) -> NDArray[np.float32]:
        found = run.enhance_photo(Photo(dark), run.controls(**controls), floats=True)[1].floats
        assert found is not None
        return found

    one, none, two = (floats(residual=value) for value in (1, 0, 2))
    assert np.abs(none - dark).max() < 1e-6
    assert np.abs(two - (2 * one - dark)).max() < 1e-5
    darkened = run.enhance_photo(Photo(dark / 2), run.controls(), floats=True)[1].floats
    assert darkened is not None
    assert np.abs(floats(darken=2) - darkened).max() < 1e-6
    assert np.abs(darkened - one).max() > 0.01


def test_a_lightness_is_reached_by_the_residual() -> None:
    """Of a network that adds a quarter of each pixel's darkness."""
    network = Network(Config(width=2, levels=2)).eval()
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.constant_(network.last.bias, 0.5)
    run = enhancer(network)
    dark = Photo(np.full((40, 56, 3), 0.2, np.float32))
    made, report = run.enhance_photo(dark, run.controls(lightness=0.5))
    assert float(made.samples.mean()) == pytest.approx(0.5, abs=0.003)
    assert report.controls["residual"] == pytest.approx(0.3 / 0.2, abs=0.02)
    assert report.notes == ()
    _, report = run.enhance_photo(dark, run.controls(lightness=0.5, residual=1))
    assert report.controls["residual"] == 1
    assert report.lightness_after == pytest.approx(0.5, abs=0.003)
    _, report = run.enhance_photo(dark, run.controls())
    assert report.lightness_after == pytest.approx(0.4, abs=0.001), (
        "by itself it is as light as the network makes it"
    )


# Import


def zeros(part: str = "generator", **more: tuple[int, ...]) -> Numbers:
    return {name: np.zeros(shape, np.float32) for name, shape in (listed(part) | more).items()}


def test_every_published_name_has_one_here(network: Network) -> None:
    state = zeros()
    found = read(state, {}, {})
    assert found.tensors.keys() == network.state_dict().keys()
    assert {found.published_name(name) for name in found.tensors} == state.keys()
    assert found.published_name("downs.0.stranger.weight") == "downs.0.stranger.weight"
    assert matches(state.keys())
    assert not matches(listed("vgg16").keys())
    assert not matches(listed("discriminator_global").keys())


def small(attention: bool = True) -> Numbers:
    """A checkpoint of a small generator, by published names."""
    config = Config(width=2, attention=attention)
    names = read(zeros("generator" if attention else "generator_noattention"), {}, {}).published_name
    return {
        names(name): fill.tensor(name, list(each.shape), 0.3, float("running_var" in name))
        for name, each in Network(config).state_dict().items()
    }


@pytest.mark.parametrize("attention", [True, False])
def test_a_file_of_the_old_torch_is_imported(attention: bool, tmp_path: Path) -> None:
    state = small(attention)
    write_stream(tmp_path / "200_net_G_A.pth", {f"module.{name}": each for name, each in state.items()})
    weights = import_checkpoint(tmp_path / "200_net_G_A.pth", tmp_path / "out.safetensors")
    assert Config.model_validate(weights.header.config) == Config(
        width=2, attention=attention, align_corners=True
    )
    assert weights.header.method == "enlightengan"
    assert "BSD" in weights.header.licence
    found = load_network(weights).state_dict()
    assert torch.equal(found["ups.3.convs.1.weight"], torch.from_numpy(state["conv9_2.weight"]))
    assert torch.equal(found["downs.4.norms.0.running_var"], torch.from_numpy(state["bn5_1.running_var"]))
    assert torch.equal(found["lifts.0.bias"], torch.from_numpy(state["deconv5.bias"]))
    assert torch.equal(found["last.weight"], torch.from_numpy(state["conv10.weight"]))


def test_counters_of_a_later_torch_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    state = {name: torch.from_numpy(each) for name, each in small().items()}
    counters = {f"bn{block}_1.num_batches_tracked": torch.tensor(7) for block in range(1, 10)}
    torch.save(state | counters, tmp_path / "latest_net_G_A.pth")
    sets = {"align_corners": "false"}
    weights = import_checkpoint(tmp_path / "latest_net_G_A.pth", tmp_path / "out.safetensors", sets=sets)
    assert weights.header.config["align_corners"] is False
    wrong: list[tuple[dict[str, Tensor], str]] = [
        ({**state, "bn9_2.weight": torch.zeros(2)}, "'bn9_2.weight'"),
        ({name: each for name, each in state.items() if name != "deconv5.bias"}, "'deconv5.bias'"),
        ({**state, "bn5_1.running_mean": torch.zeros(3)}, "'bn5_1.running_mean'"),
        ({**state, "conv10.weight": state["conv10.weight"] * torch.nan}, "'conv10.weight'"),
    ]
    for tensors, words in wrong:
        torch.save(tensors, tmp_path / "wrong.pth")
        with pytest.raises(WeightsError, match=rf"wrong\.pth: .*{words}"):
            import_checkpoint(tmp_path / "wrong.pth", tmp_path / "wrong.safetensors")


def test_what_the_shapes_do_not_tell() -> None:
    with pytest.raises(WeightsError, match=r"'conv1_1\.weight' is missing"):
        read({name: each for name, each in zeros().items() if name != "conv1_1.weight"}, {}, {})
    with pytest.raises(WeightsError, match="no such key; there are: align_corners"):
        read(zeros(), {}, {"width": "3"})
    with pytest.raises(WeightsError, match="--set align_corners=perhaps"):
        read(zeros(), {}, {"align_corners": "perhaps"})

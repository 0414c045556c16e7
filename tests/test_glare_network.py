"""GLARE's network, front ends and import against numbers of the published code; of two sizes, the large one slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from glare_numbers import listed, numbers, part, published, tensors
from lowlight import methods
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.enhancer import Enhancer
from lowlight.errors import WeightsError
from lowlight.importing import import_checkpoint
from lowlight.methods.glare import GLARE, PUBLISHED, Config, Controls
from lowlight.methods.glare.network import FLATTEST, Network, Warp
from lowlight.methods.glare.published import matches, read
from lowlight.nn.autoencoder import Downsample, Encoder
from lowlight.nn.deform import DeformConv, deform_conv
from lowlight.nn.quantize import Codebook
from lowlight.photo import Photo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network() -> Network:
    return published()


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """tolerance: of the fixture's README, which a second implementation may exceed three times."""
    np.testing.assert_allclose(found.detach().numpy(), expected.numpy(), rtol=0, atol=3 * tolerance)


def enhancer(network: Network) -> Enhancer:
    return Enhancer(GLARE(network.config, {}), TorchEngine(network.folded(), threads=1))


def observed(batch: int = 1, **controls: Any) -> dict[str, Tensor]:
    """What the network is told of any photo, with a batch axis."""
    found = GLARE(GLARE.tiny_config(), {}).observe(np.zeros((1, 1, 3), np.uint8), Controls(**controls))
    return {name: torch.from_numpy(np.stack([array] * batch)) for name, array in found.items()}


# Parts


def test_quantiser() -> None:
    expected = numbers("quantiser")
    book = Codebook(512, 3)
    book.codes.data = part("quantize.embedding.")["weight"]
    indices = book.nearest(expected["latent"])
    assert torch.equal(indices.flatten(), expected["indices"])
    close(book(expected["latent"]), expected["quantised"], 6e-8)


def test_of_codes_that_are_equally_near_the_first_is_taken() -> None:
    book = Codebook(3000, 3)
    with torch.no_grad():
        book.codes[:] = 9
        book.codes[[7, 20, 1500, 2999]] = torch.tensor([1.0, 0, 0])
    assert book.nearest(torch.zeros(1, 3, 2, 1)).tolist() == [[[7], [7]]]
    with torch.no_grad():
        book.codes[1500] = 0
    assert book.nearest(torch.zeros(1, 3, 1, 1)).item() == 1500


def test_deformable_convolution() -> None:
    expected = numbers("deform")
    given = {
        name: expected[name].clone().requires_grad_() for name in ("x", "offset", "mask", "weight", "bias")
    }
    out = deform_conv(**given)
    close(out, expected["out"], 6e-7)
    (out * expected["upstream"]).sum().backward()
    for name, tensor in given.items():
        assert tensor.grad is not None
        close(tensor.grad, expected[f"grad_{name}"], 4e-6)


def test_a_deformable_convolution_begins_as_half_of_a_plain_one() -> None:
    torch.manual_seed(0)
    layer = DeformConv(4, 6, 2)
    x, guide = torch.randn(2, 2, 4, 5, 7).unbind(1)
    plain = torch.nn.functional.conv2d(x, layer.weight, padding=1)
    close(layer(x, guide), plain.detach() / 2, 1e-6)


def test_blocks(network: Network) -> None:
    expected, decoder = numbers("blocks"), network.decoding.decoder
    close(decoder.mid.attn_1(expected["attention_in"])[:, ::4], expected["attention_out_every_4"], 3.4e-6)
    close(decoder.up[1].block[0](expected["resblock_in"])[:, ::4], expected["resblock_out_every_4"], 3.4e-6)
    down, up = Downsample(32), decoder.up[2].upsample
    assert up is not None
    down.load_state_dict(part("encoder.down.0.downsample."))
    close(down(expected["down_in"])[:, ::2], expected["down_out_every_2"], 3.4e-6)
    close(up(expected["up_in"])[:, ::8], expected["up_out_every_8"], 3.4e-6)


def test_codes_of_a_photo_and_back(network: Network) -> None:
    expected, decoding = numbers("vqgan"), network.decoding
    encoder = Encoder(network.config)
    encoder.load_state_dict(part("encoder."))
    with torch.no_grad():
        code, features = encoder(expected["bright"])
        last = part("quant_conv.")
        latent = torch.nn.functional.conv2d(code, last["weight"], last["bias"])
        codes = decoding.after(decoding.codebook(latent))
        found = decoding.decoder.features(codes)
        picture = decoding.decoder(codes)
    close(code, expected["encoder_out"], 3e-6)
    close(latent, expected["z_nl"], 3e-6)
    assert torch.equal(decoding.codebook.nearest(latent).flatten(), expected["indices"])
    for level in (0, 1):
        close(features[level][:, ::4], expected[f"encoder_feature_{level}_every_4"], 6e-6)
        close(found[level][:, ::4], expected[f"code_feature_{level}_every_4"], 5e-5)
    close(picture, expected["reconstruction"], 1.4e-6)


def test_mixing(network: Network) -> None:
    expected, mixing = numbers("mixup"), network.decoding.mixing
    assert mixing is not None
    for index, mix in enumerate(reversed(mixing.mixes)):
        share = mix.logit.detach().sigmoid()
        close(share, expected[f"share_{index}"], 1e-7)
        close(mix(expected["decoder"], expected["encoder"], torch.ones(1)), expected[f"out_{index}"], 1e-7)
        for fidelity, effective in ((0.0, 0.0), (0.5, share / 2), (4.0, 1.0)):
            found = mix(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([fidelity]))
            assert found.item() == pytest.approx(float(effective), abs=1e-6)


def test_deformable_block(network: Network) -> None:
    expected, mixing = numbers("deform_block"), network.decoding.mixing
    assert mixing is not None
    warp: Any = mixing.warps[1]
    guide = warp.offset(torch.cat([expected["code"], expected["h"]], dim=1))
    close(guide[:, ::4], expected["offset_feature_every_4"], 1.8e-6)
    close(warp.dcn.conv_offset(guide)[:, ::4], expected["conv_offset_out_every_4"], 1.8e-6)
    close(warp.dcn(expected["code"], guide)[:, ::2], expected["out_every_2"], 1.8e-6)
    close(warp(expected["h"], expected["code"])[:, ::2], expected["added_every_2"], 1.8e-6)


@pytest.mark.parametrize("mean", [0.0, 1e-9, -1e-9])
def test_a_flat_warp_is_kept_from_infinity(mean: float) -> None:
    warp = Warp(2, 1)
    torch.nn.init.zeros_(warp.dcn.weight)
    torch.nn.init.constant_(warp.dcn.bias, mean)
    x = torch.rand(1, 2, 3, 3)
    added = warp(x, x) - x
    divisor = -FLATTEST if mean < 0 else FLATTEST
    close(added, torch.full_like(x, mean) * x.mean() / divisor, 1e-6)


# The whole


@pytest.fixture(
    scope="module",
    params=["", pytest.param("published_", marks=pytest.mark.slow)],
    ids=["narrow", "published"],
)
def sized(request: pytest.FixtureRequest, network: Network) -> tuple[str, Network]:
    return request.param, published("weights") if request.param else network


def test_condition(sized: tuple[str, Network]) -> None:
    prefix, network = sized
    expected = numbers(f"{prefix}condition")
    with torch.no_grad():
        condition, mean, features = network.encoder(expected["dark"])
    close(condition, expected["cond_feat"], 1.5e-6 if prefix else 5e-6)
    close(mean, expected["prior_mean"], 3.4e-6 if prefix else 1.1e-5)
    if not prefix:
        for level in (0, 1):
            close(features[level][:, ::4], expected[f"mid_feature_{level}_every_4"], 1.4e-4)


def test_flow(sized: tuple[str, Network]) -> None:
    prefix, network = sized
    expected, tolerance = numbers(f"{prefix}flow"), 2.8e-5 if sized[0] else 1.6e-5
    conditions = [expected["cond_feat"]] * network.config.flows
    mean = expected["prior_mean"]
    with torch.no_grad():
        flow = network.flow(conditions)
        latent, log_det = flow.forward(expected["z_nl"])
        back, log_det_back = flow.inverse(mean)
        folded = network.folded().inverse(conditions, mean[:, None])[:, 0]
        for temperature in ("0p5", "1p0"):
            drawn = mean + float(temperature.replace("p", ".")) * expected["eps"]
            close(flow.inverse(drawn)[0], expected[f"z_temperature_{temperature}"], tolerance)
    close(latent, expected["v"], tolerance)
    close(log_det, expected["logdet"], 1.2e-4)
    for found in (back, folded):
        close(found, expected["z_from_mean"], tolerance)
    close(log_det_back, expected["logdet_from_mean"], 1.2e-4)


def test_steps_alone(network: Network) -> None:
    expected = numbers("flow")
    steps = network.flow.levels[0].steps
    x, condition = expected["z_nl"], expected["cond_feat"]
    with torch.no_grad():
        for layer in (0, 2):
            z, log_det = steps[layer](condition).forward(x)
            close(z, expected[f"layer{layer}_out"], 1.6e-5)
            close(log_det, expected[f"layer{layer}_logdet"], 1e-4)
        injection, coupling = steps[2].injection, steps[2].coupling
        assert injection is not None
        assert coupling is not None
        first, log_det = injection(condition).forward(x)
        z, more = coupling(condition).forward(first)
        back = injection(condition).inverse(coupling(condition).inverse(z)[0])[0]
    close(z, expected["coupling_out"], 1.6e-5)
    close(log_det + more, expected["coupling_logdet"], 1e-4)
    close(back, expected["coupling_back"], 1.6e-5)


def test_whole(sized: tuple[str, Network]) -> None:
    prefix, network = sized
    expected, tolerance = numbers(f"{prefix}whole"), 3.6e-6 if sized[0] else 2.3e-5
    folded = network.folded()
    assert torch.equal(network.decoding.codebook.nearest(expected["z"]).flatten(), expected["indices"])
    with torch.no_grad():
        for name, fidelity in (("out", 1), ("out_mix_0p0", 0), ("out_mix_0p5", 0.5), ("out_mix_2p0", 2)):
            close(folded(expected["dark"], **observed(fidelity=fidelity)), expected[name], tolerance)
        close(network(expected["dark"], **observed()), expected["out"], tolerance)


def test_inside_the_second_decoder(network: Network) -> None:
    expected, mixing = numbers("whole"), network.decoding.mixing
    assert mixing is not None
    seen: dict[str, Tensor] = {}
    hooks = []
    for index, (mix, warp) in enumerate(zip(reversed(mixing.mixes), reversed(mixing.warps), strict=True)):
        for name, layer in ((f"after_mix_{index}", mix), (f"warped_{index}", warp.dcn)):  # type: ignore[union-attr]
            hooks.append(
                layer.register_forward_hook(  # type: ignore[union-attr]
                    lambda _layer, _inputs, result, name=name: seen.update({name: result})
                )
            )
    with torch.no_grad():
        network(expected["dark"], **observed())
    for hook in hooks:
        hook.remove()
    for index in (0, 1):
        # Values to 20; where a point lies far off, a small error of its place is a large one of what is seen there.
        close(seen[f"after_mix_{index}"][:, ::8], expected[f"after_mix_{index}_every_8"], 1.4e-4)
        close(seen[f"warped_{index}"][:, ::8], expected[f"warped_{index}_every_8"], 5e-4)
        ratio = seen[f"after_mix_{index}"].mean() / seen[f"warped_{index}"].mean()
        assert float(ratio) == pytest.approx(float(expected[f"ratio_{index}"]), rel=1e-3)


def test_a_photo_has_its_result_in_any_company(network: Network) -> None:
    """Other than in the release, whose means are those of the batch."""
    expected = numbers("whole")
    dark = (expected["two_log_dark"].exp() - 0.001).clamp(0, 1)
    with torch.no_grad():
        both = network(dark, **observed(2))
        alone = torch.cat([network(each[None], **observed()) for each in dark])
    close(both, alone, 2.3e-5)
    assert float((both - expected["two_out"]).abs().max()) > 0.01


# As released


def test_the_script_for_pairs(sized: tuple[str, Network]) -> None:
    prefix, network = sized
    expected = numbers(f"{prefix}scripts")
    run = enhancer(network)
    low = expected["low"].numpy()
    made, report = run.enhance_photo(Photo(low), run.controls(published=True), floats=True)
    assert report.floats is not None
    floats = report.floats.clip(0, 1)
    close(torch.from_numpy(floats).permute(2, 0, 1)[None], expected["out"], 3.9e-6 if prefix else 9.2e-5)
    assert np.array_equal(made.samples, np.rint(255 * floats))
    # What the script saves has the reference's mean, grey with red and blue swapped.
    mean = float((floats @ np.array([0.114, 0.587, 0.299], np.float32)).mean())
    assert mean == pytest.approx(float(expected["mean_restored"]), abs=1e-5)
    saved = np.rint(255 * np.clip(floats * (float(expected["mean_target"]) / mean), 0, 1))
    differences = np.abs(saved - expected["saved"].numpy())
    assert differences.max() <= 1
    assert (differences > 0).sum() <= 20


def test_the_script_for_unpaired_photos(sized: tuple[str, Network]) -> None:
    prefix, network = sized
    expected = numbers(f"{prefix}scripts")
    run = enhancer(network)
    for number in range(1 if prefix else 2):
        low = expected[f"unpaired{number}_low"].numpy()
        frame = GLARE.released_frame(*low.shape[:2], Controls(script="unpaired"))
        padding = expected[f"unpaired{number}_padding_top_bottom_left_right"]
        assert [*frame.rows, *frame.columns] == padding.tolist()
        found = run(low, published=True, script="unpaired").astype(int)
        differences = np.abs(found - expected[f"unpaired{number}_saved"].numpy())
        assert differences.max() <= 1
        assert (differences > 0).sum() <= 20
    assert np.abs(found - run(low)).max() > 1, "the front end changes something"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 5)])
@pytest.mark.parametrize("script", ["pairs", "unpaired"])
def test_tiny_photos_run_as_released(size: tuple[int, int], script: str) -> None:
    torch.manual_seed(0)
    run = enhancer(Network(GLARE.tiny_config()).eval())
    picture = np.full((*size, 3), 40, np.uint8)
    assert run(picture, published=True, script=script).shape == picture.shape


# Controls


def tiny(**changes: Any) -> Network:
    config = GLARE.tiny_config().model_copy(update=changes)
    torch.manual_seed(0)
    network = Network(config).eval()
    with torch.no_grad():
        for each in network.parameters():
            each.add_(0.3 * torch.randn_like(each) if each.ndim > 2 else 0.05 * torch.randn_like(each))
    return network


def test_a_lightness_is_reached_by_a_gain() -> None:
    run = enhancer(tiny())
    dark = fill.photo("night", 24, 32, 0.0, 0.3)
    for lightness in (0.3, 0.5):
        _, report = run.enhance_photo(Photo(dark), run.controls(lightness=lightness))
        assert report.lightness_after == pytest.approx(lightness, abs=0.01)
        assert report.notes == ()
    made, report = run.enhance_photo(Photo(dark), run.controls(), floats=True)
    assert report.floats is not None
    assert report.controls["lightness"] is None
    assert np.abs(made.samples - report.floats.clip(0, 1)).max() < 1e-4, (
        "by itself it is what the network makes"
    )


def test_samples_are_drawn_by_their_seed_and_averaged() -> None:
    network = tiny(mixing=False)
    folded = network.folded()
    dark = torch.from_numpy(fill.photo("night", 16, 24, 0.0, 0.3)).permute(2, 0, 1)[None]
    with torch.no_grad():
        cold = network(dark, **observed())
        told = observed(temperature=0.8, samples=3, seed=5)
        three = network(dark, **told)
        close(folded(dark, **told), three, 1e-5)
        assert three.shape == (1, 9, 16, 24)
        second = network(dark, **{**told, "sample": told["sample"][:, 1:2]})
        close(second, three[:, 3:6], 1e-5)
        other = network(dark, **observed(temperature=0.8, samples=3, seed=6))
    assert float((three[:, :3] - three[:, 3:6]).abs().max()) > 1e-3
    assert float((three - other).abs().max()) > 1e-3
    assert float((three[:, :3] - cold).abs().max()) > 1e-3
    assert observed(samples=3)["sample"].shape == (1, 1), "without temperature all samples are one"


# Sizes


@pytest.mark.slow
def test_the_published_size_and_the_small_one() -> None:
    network, small = Network(PUBLISHED), Network(Config())

    def count(module: Any) -> int:
        return sum(each.numel() for each in module.parameters())

    decoding = network.decoding
    parts = [count(each) for each in (network.encoder, network.flow, decoding.mixing, decoding.decoder)]
    assert parts == [24_442_583, 2_131_332, 38_701_789, 36_115_715]
    assert count(network) == sum(parts) + 24_576 + 12 == 101_416_007
    assert count(small) == 9_665_975


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"channels": 44}, "groups: 8 does not divide the 44 channels"),
        ({"channels": 6, "groups": 1}, "deform_groups: 4 does not divide the 6 channels"),
        ({"attention": (3,)}, r"attention: expected levels from 0 to 2, got \[3\]"),
    ],
)
def test_sizes_that_make_no_network_are_refused(sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**sizes)


# Import


def zeros(weights: str = "weights_narrow") -> dict[str, NDArray[Any]]:
    """Published tensors that take no memory."""
    return {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in listed(weights).items()
        if not name.startswith("features.")
    }


@pytest.mark.parametrize("weights", ["weights_narrow", pytest.param("weights", marks=pytest.mark.slow)])
def test_every_published_name_has_one_here(weights: str) -> None:
    state = zeros(weights)
    found = read(state, {}, {})
    expected = Network(found.config).state_dict()  # type: ignore[arg-type]
    assert {name: each.shape for name, each in found.tensors.items()} == {
        name: tuple(each.shape) for name, each in expected.items()
    }
    names = {found.published_name(name) for name in found.tensors}
    assert len(names) == len(found.tensors)
    assert names <= state.keys()
    left = state.keys() - names
    training = ("encoder.", "quant_conv.", "conv_semantic.", "vgg_feat_extractor.")
    dead = (
        "flowUpsamplerNet.f.",
        *(f"deformable_decoder.{part}." for part in ("conv_out", "scale", "bias", "enc")),
    )
    assert all(name.startswith(training + dead) for name in left)
    if weights == "weights":
        assert found.config == PUBLISHED
        names = {name for name in state if name.startswith(("RRDB.", "flowUpsamplerNet.", "deformable_"))}
        assert len(names) == 824
    assert "norms in 32 groups: the files do not tell; --set groups=N" in found.notes
    assert found.published_name("decoding.mixing.stranger.weight") == "decoding.mixing.stranger.weight"
    assert matches(state.keys())
    assert methods.room("llflow", "published").matches(state.keys()) is False


def small_state(mixing: bool = True) -> dict[str, NDArray[Any]]:
    """Published tensors of a small network, of both files."""
    config = Config(
        channels=4, multipliers=(1, 2, 2), blocks=1, groups=2, attention=(2,), codes=8, flows=2, plain_steps=1,
        steps=2, hidden=4, condition=5, deform_groups=2, mixing=mixing,
    )  # fmt: skip
    name = read(zeros(), {}, {}).published_name
    assert config.plain_steps + config.steps == 3
    made = {}
    for key, each in Network(config).state_dict().items():
        published = name(key)
        if found := key.startswith("flow."):
            level, step = (int(word) for word in key.split(".")[2:5:2])
            published = f"flowUpsamplerNet.layers.{3 * level + step}.{published.split('.', 3)[3]}"
            assert found
        made[published] = fill.tensor(
            published, list(each.shape), 0.1, "eye" if "invconv" in published else 0.2
        )
    return made


def write(folder: Path, state: dict[str, NDArray[Any]]) -> Path:
    """The two files as the authors' code saves them."""
    folder.mkdir(exist_ok=True)
    first = ("RRDB.", "flowUpsamplerNet.", "deformable_decoder.")
    given = {key: torch.from_numpy(np.array(each)) for key, each in state.items()}
    torch.save({f"module.{k}": v for k, v in given.items() if k.startswith(first)}, folder / "net_G.pth")
    torch.save({k: v for k, v in given.items() if not k.startswith(first)}, folder / "vqgan.pkl")
    return folder


@pytest.mark.parametrize("mixing", [True, False], ids=["third stage", "second stage"])
def test_two_files_become_one(mixing: bool, tmp_path: Path) -> None:
    state = small_state(mixing)
    more = {
        "encoder.conv_in.bias": np.zeros(4, np.float32),
        "conv_semantic.0.bias": np.zeros(2, np.float32),
        "loss.discriminator.main.0.bias": np.zeros(2, np.float32),
        **({"deformable_decoder.enc.0.norm1.bias": np.zeros(4, np.float32)} if mixing else {}),
    }
    source = write(tmp_path / "glare", {**state, **more})
    weights = import_checkpoint(source, tmp_path / "out.safetensors", sets={"groups": "2"})
    config = Config.model_validate(weights.header.config)
    assert (config.mixing, config.multipliers, config.attention) == (mixing, (1, 2, 2), (2,))
    assert (config.flows, config.plain_steps, config.steps) == (2, 1, 2)
    assert "Apache-2.0" in weights.header.licence
    assert any("possibly seen the reference pictures" in note for note in weights.header.notes)
    assert any(
        note.startswith(f"left out: {len(more)} tensors (conv_semantic, ") for note in weights.header.notes
    )
    assert weights.header.recipe["imported"]["sha256"].keys() == {"net_G.pth", "vqgan.pkl"}
    found = load_network(weights).state_dict()
    for name, here in (
        ("RRDB.color_conv.bias", "encoder.mean.bias"),
        ("quantize.embedding.weight", "decoding.codebook.codes"),
        ("decoder.up.0.block.0.nin_shortcut.weight", "decoding.decoder.up.0.block.0.nin_shortcut.weight"),
        ("flowUpsamplerNet.layers.4.affine.fAffine.4.logs", "flow.levels.1.steps.1.coupling.net.logs"),
        *(
            (
                ("deformable_decoder.mix.0.w", "decoding.mixing.mixes.1.logit"),
                ("deformable_decoder.warp.1.dcn.weight", "decoding.mixing.warps.0.dcn.weight"),
                ("deformable_decoder.residual_conv.weight", "decoding.mixing.decoder.conv_out.weight"),
            )
            if mixing
            else ()
        ),
    ):
        assert torch.equal(found[here].flatten(), torch.from_numpy(state[name]).flatten()), name
    picture = np.full((9, 13, 3), 30, np.uint8)
    network: Any = load_network(weights).eval()
    assert enhancer(network)(picture).shape == picture.shape


def test_what_is_missing_or_wrong_is_refused_by_the_files_names(tmp_path: Path) -> None:
    state = small_state()
    changes: list[tuple[dict[str, Any], str, str]] = [
        ({}, "RRDB.color_conv.bias", "tensor 'RRDB.color_conv.bias' missing"),
        ({}, "deformable_decoder.mix.1.w", "'deformable_decoder.mix.1.w' missing"),
        ({}, "flowUpsamplerNet.layers.3.actnorm.logs", "'flowUpsamplerNet.layers.3.actnorm.logs' missing"),
        ({}, "quantize.embedding.weight", "'quantize.embedding.weight' of vqgan.pkl is missing: expected a folder"),
        ({}, "RRDB.color_conv.weight", "'RRDB.color_conv.weight' of net_G.pth is missing: expected a folder"),
        ({"RRDB.stranger": np.ones(1, np.float32)}, "", "'RRDB.stranger' unknown"),
        ({"deformable_decoder.warp.0.offset.bias": np.ones(3, np.float32)}, "", "'deformable_decoder.warp.0.offset.bias' has shape (3,)"),
        ({"decoder.conv_out.bias": np.full(3, np.nan, np.float32)}, "", "'decoder.conv_out.bias' holds NaN"),
    ]  # fmt: skip
    for number, (more, less, words) in enumerate(changes):
        given = {key: each for key, each in {**state, **more}.items() if key != less}
        source = write(tmp_path / f"glare{number}", given)
        with pytest.raises(WeightsError) as caught:
            import_checkpoint(source, tmp_path / "wrong.safetensors", method="glare", sets={"groups": "2"})
        assert words in str(caught.value)
        assert f"glare{number}" in str(caught.value)
    with pytest.raises(
        WeightsError, match="groups: 32 does not divide the 4 channels of a level; --set tells: groups"
    ):
        import_checkpoint(write(tmp_path / "glare", state), tmp_path / "wrong.safetensors")


@pytest.mark.slow
def test_codes_and_back_of_the_published_size() -> None:
    """In float64: how convolutions round in float32 depends on the processor, and takes all of the tolerance."""
    expected = numbers("published_vqgan")
    network = published("weights").double()
    encoder = Encoder(network.config)
    encoder.load_state_dict(part("encoder.", "weights"))
    last = {name: each.double() for name, each in part("quant_conv.", "weights").items()}
    decoding = network.decoding
    with torch.no_grad():
        code, _ = encoder.double()(expected["bright"].double())
        latent = torch.nn.functional.conv2d(code, last["weight"], last["bias"])
        close(latent, expected["z_nl"], 3e-6)
        assert torch.equal(decoding.codebook.nearest(latent).flatten(), expected["indices"])
        picture = decoding.decoder(decoding.after(decoding.codebook(latent)))
        close(picture, expected["reconstruction"], 4e-7)
    tensors.cache_clear()

"""GLARE's losses, stages and steps against numbers of the published code, and what is ours of its training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fill
from glare_numbers import names, numbers, part, published, tensors, vgg_tensors
from lowlight import statistics
from lowlight.errors import RecipeError, WeightsError
from lowlight.evaluation.metrics import psnr
from lowlight.importing import import_checkpoint
from lowlight.methods.glare import CODEBOOK, PUBLISHED, CodebookConfig, Config
from lowlight.methods.glare.network import Codec, Network
from lowlight.methods.glare.published import read, read_codebook, rename, unname
from lowlight.methods.glare.training import (
    PERCEPTUAL,
    LearnCodebook,
    LearnFlow,
    LearnMixing,
    Perceptual,
    PictureSettings,
    quantised,
    resized_batch,
    similarity_of_scales,
)
from lowlight.nn.features import VGG
from lowlight.nn.flow import bits_per_position, log_prob
from lowlight.nn.quantize import Codebook
from lowlight.nn.structure import similarity
from lowlight.training.checkpoint import read_network
from lowlight.training.data import Batch, Mixture, Pair, PairDrawer, Picture
from lowlight.training.loop import _optimizer
from lowlight.training.recipe import Validation, read_recipe, stage_settings
from lowlight.training.released import Released
from lowlight.training.stage import Moment, Optimizer, Stage
from lowlight.training.validate import Validator

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[1] / "recipes"
NO_PHOTOS = Mixture([(PairDrawer([]), 1.0)])
CODES = re.compile(r"(encoder|quant_conv|quantize|post_quant_conv|decoder)\.")
"""Tensors of vqgan.pkl that the codebook is."""


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """tolerance: of the fixture's README, which a second implementation may exceed three times."""
    np.testing.assert_allclose(found.detach().numpy(), expected.numpy(), rtol=0, atol=3 * tolerance)


def picture(name: str, height: int, width: int, high: float = 1.0) -> Tensor:
    """A picture of the fixture, (1, 3, height, width)."""
    return torch.from_numpy(fill.photo(f"glare/a/{name}", height, width, 0, high)).permute(2, 0, 1)[None]


def batch_of(count: int) -> Batch:
    """The photos that the recorded steps learn from, in float64."""
    light, dark = (
        torch.cat([picture(f"train/{index}", 64, 64, high) for index in range(count)]).double()
        for high in (1.0, 0.15)
    )
    nothing = np.zeros((count, 3, 256))
    return Batch(dark, light, nothing, nothing, ["made up"] * count)


def moment(seed: int = 0, **changes: Any) -> Moment:
    values = {"step": 0, "total": 100, "crop": 64, "count": 2, **changes}
    return Moment(rng=np.random.default_rng(seed), generator=torch.Generator().manual_seed(seed), **values)


def photos(count: int, height: int = 48, width: int = 60) -> list[Pair]:
    rng = np.random.default_rng(1)
    found = []
    for index in range(count):
        pixels = [rng.integers(0, high, (height, width, 3), np.uint8) for high in (60, 256)]
        dark, light = (
            Picture(f"{side}{index}", torch.from_numpy(each), statistics.histograms(each))
            for side, each in zip(("d", "l"), pixels, strict=True)
        )
        found.append((dark, light))
    return found


# Losses


def test_the_codebooks_loss_and_the_way_of_its_gradients() -> None:
    expected = numbers("quantiser")
    book = Codebook(512, 3)
    book.codes.data = part("quantize.embedding.")["weight"].clone()
    latent = expected["latent"].requires_grad_()
    codes, loss, indices = quantised(book, latent, commitment=0.25)
    (loss + (codes * expected["upstream"]).sum()).backward()
    assert torch.equal(indices.flatten(), expected["indices"])
    assert latent.grad is not None
    assert book.codes.grad is not None
    for found, name in (
        (codes, "quantised"),
        (loss, "loss"),
        (latent.grad, "grad_latent"),
        (book.codes.grad, "grad_codebook"),
    ):
        close(found, expected[name], 6e-8)


def test_similarity_of_scales() -> None:
    expected = numbers("losses")
    a, b = picture("loss/a", 48, 64).double().requires_grad_(), picture("loss/b", 48, 64).double()
    alike, contrast = similarity(a, b)
    close(alike, expected["ssim_full_scale"][None], 8e-7)
    close(contrast, expected["contrast_full_scale"][None], 8e-7)
    found = similarity_of_scales(a, b)
    found.backward()
    assert a.grad is not None
    close(found, expected["msssim_normalised"], 8e-7)
    close(a.grad[..., ::4, ::4], expected["grad_msssim_every_4"], 1e-8)
    assert float(similarity_of_scales(b, b)) == pytest.approx(1)


@pytest.fixture
def vgg(monkeypatch: pytest.MonkeyPatch) -> VGG:
    """VGG-16 of the fixture's numbers, which stages then learn with."""
    net = VGG(vgg_tensors(), seen_as="imagenet", layers=PERCEPTUAL, centred=False)

    def load(depth: int, _file: Path | None, layers: Any, _device: torch.device, *, centred: bool) -> VGG:
        assert (depth, tuple(layers), centred) == (16, PERCEPTUAL, False)
        return net

    monkeypatch.setattr("lowlight.methods.glare.training.load_vgg", load)
    return net


def test_perceptual_error(vgg: VGG) -> None:
    expected = numbers("losses")
    a, b = picture("loss/a", 48, 64).requires_grad_(), picture("loss/b", 48, 64)
    for layer, found in zip(PERCEPTUAL, vgg(a.detach()), strict=True):
        assert float(found.mean()) == pytest.approx(float(expected[f"{layer}_mean"]), rel=1e-5)
    terms = Perceptual(PictureSettings(perceptual=1, ssim=0), CPU).terms(a, b)
    terms["perceptual"].backward()
    assert terms.keys() == {"perceptual"}
    assert a.grad is not None
    close(terms["perceptual"], expected["perceptual"], 4e-9)
    close(a.grad[..., ::4, ::4], expected["grad_perceptual_every_4"], 1e-8)


def test_without_weights_there_is_no_term_and_with_them_no_training_without_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    settings = LearnCodebook.Settings(perceptual=0, vgg19_file=tmp_path / "nowhere.pth")
    with pytest.raises(
        WeightsError, match=r"nowhere\.pth: no such file; expected vgg19-dcbb9e9d\.pth \(575 MB"
    ):
        LearnCodebook(CodebookConfig(channels=8, groups=1), settings, NO_PHOTOS, CPU)
    with pytest.raises(
        WeightsError, match=r"nowhere\.pth: no such file; expected vgg16-397923af\.pth \(553 MB"
    ):
        Perceptual(PictureSettings(vgg16_file=tmp_path / "nowhere.pth"), CPU)


# Whole steps, in float64: in float32 rounding decides what Adam does with a gradient near zero


def published_stage(kind: type[LearnFlow | LearnMixing], weights: str, **settings: Any) -> Any:
    """A stage with the weights of the fixture, in float64."""
    imported = read(tensors(weights), {}, {})
    mixing = kind is LearnMixing
    config = imported.config.model_copy(update={"mixing": mixing})
    stage = kind(config, kind.Settings(released_batches=True, **settings), NO_PHOTOS, CPU)
    state = {
        name: torch.from_numpy(array.copy())
        for name, array in imported.tensors.items()
        if mixing or not name.startswith("decoding.mixing.")
    }
    stage.network.load_state_dict(state)
    if isinstance(stage, LearnFlow):
        codec = read_codebook(
            {name: each for name, each in tensors(weights).items() if CODES.match(name)}, {}
        )
        stage.codec.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in codec.tensors.items()})
    for network in stage.networks.values():
        network.double().train()
    return stage


def check_step(
    stage: Stage, batch: Batch, file: str, share: float, limits: Sequence[float], stored: float
) -> None:
    """The first optimizer step against the recorded one.

    limits: of the errors of gradients and of changes, each in norm and probe, beside the norm, as the fixture's README
    has them for float32 against float64; share: of the tensors, from the best, that stay within. stored: limit of the error of gradients that the file has in full.
    """
    expected, listed = numbers(file), names(file)
    player = stage.players()["network"]
    optimizer = _optimizer(player)
    rate = player.optimizer.rate * player.schedule.factor(0, 1)
    assert rate == pytest.approx(float(expected["lr"]), rel=1e-6)
    for group in optimizer.param_groups:
        group["lr"] = rate
    ((_, terms),) = stage.losses(batch, moment())
    sum(terms.values(), torch.zeros(())).backward()
    network = stage.networks["network"]
    ours = {unname(name, network.config): each for name, each in network.named_parameters()}  # type: ignore[arg-type]
    trained = {id(each) for each in player.parameters}
    assert {name for name, each in ours.items() if id(each) in trained} == set(listed)
    before = {name: ours[name].detach().clone() for name in listed}
    optimizer.step()
    errors = []
    for index, name in enumerate(listed):
        gradient = ours[name].grad
        assert gradient is not None
        change = ours[name].detach() - before[name]
        if expected["exactly_zero"][index]:
            assert float(gradient.norm()) < 1e-12, name
            continue
        probe = torch.from_numpy(fill.unit(f"probe/{name}", (gradient.numel(),))).double()
        row = []
        for kind, value in (("grad", gradient), ("step", change)):
            norm = float(expected[f"{kind}_norm"][index])
            found = float((value.flatten() * probe).sum())
            row += [
                abs(float(value.norm()) - norm) / norm,
                abs(found - float(expected[f"{kind}_probe"][index])) / norm,
            ]
        errors.append(row)
        if f"grad/{name}" in expected:
            wanted = expected[f"grad/{name}"].reshape(gradient.shape).double()
            assert float((gradient - wanted).norm() / wanted.norm()) < stored, name
            torch.testing.assert_close(
                before[name], expected[f"before/{name}"].reshape(gradient.shape).double(), rtol=0, atol=0
            )
    assert all(np.quantile(errors, share, axis=0) < 1.2 * np.array(limits))


@pytest.fixture(params=["", pytest.param("published_", marks=pytest.mark.slow)], ids=["narrow", "published"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Of the fixture's files: of the size for tests, or the published one."""
    found: str = request.param
    return found


def weights_of(prefix: str) -> str:
    return "weights" if prefix else "weights_narrow"


RELEASED = {"schedule": Released(asked=1000, warmup=10)}


def test_second_stage(prefix: str) -> None:
    expected, batch = numbers(f"{prefix}stage2"), batch_of(2)
    stage = published_stage(LearnFlow, weights_of(prefix), reference_share=0, **RELEASED)
    with torch.no_grad():
        latent = stage.codec.latent(batch.light)
        condition, mean, _ = stage.network.encoder(batch.dark)
        v, log_det = stage.network.flow([condition] * 2).forward(latent)
        each = bits_per_position(log_prob(v, mean, log_det), latent)
    for found, name, tolerance in (
        (latent, "z_nl", 3e-6),
        (v, "v", 2.8e-5),
        (log_det, "logdet_each", 5e-4),
        (each, "nll_each", 9.3e-6),
    ):
        np.testing.assert_allclose(found.numpy(), expected[name].numpy(), rtol=0, atol=3 * tolerance)
    for share, name in ((1.0, "loss_gt"), (0.0, "loss_prior")):
        stage.settings = stage.settings.model_copy(update={"reference_share": share})
        with torch.no_grad():
            ((player, terms),) = stage.losses(batch, moment())
        assert (player, terms.keys()) == ("network", {"nll"})
        assert terms["nll"].item() == pytest.approx(float(expected[name]), abs=3 * 7.5e-6)
    if prefix:
        check_step(stage, batch, "published_stage2", 0.99, (1.7e-4, 2.3e-6, 6e-4, 1e-3), 4e-6)
    else:
        check_step(stage, batch, "stage2", 1, (3e-6, 4e-6, 6e-4, 1.5e-3), 4e-6)
    plain, decayed = _optimizer(stage.players()["network"]).param_groups
    rows = expected["weight_decay_groups"].tolist()
    for group, (count, decay, beta1, beta2, epsilon) in zip((plain, decayed), rows, strict=True):
        assert len(group["params"]) <= count  # the release has dead ones too
        assert group["weight_decay"] == pytest.approx(decay)
        assert (*group["betas"], group["eps"]) == pytest.approx((beta1, beta2, epsilon))
    assert {id(each) for each in decayed["params"]} == {
        id(each) for each in stage.network.encoder.parameters()
    }


def test_the_release_starts_the_flow_from_data() -> None:
    expected = numbers("flow_init")
    network = published()
    flow = network.flow.train()
    for name, each in flow.named_parameters():
        if "norm" in name:
            nn.init.zeros_(each)
    flow([expected["cond_feat"]] * 2).forward(expected["z_nl"])
    names = {rename(f"flowUpsamplerNet.{key}", network.config): key for key in expected if "." in key}
    found = dict(flow.named_parameters())
    assert {f"flow.{name}" for name in found if "norm" in name} == names.keys()
    for name, key in names.items():
        close(found[name.removeprefix("flow.")], expected[key].flatten(), 3e-6)


def test_third_stage(prefix: str, vgg: VGG) -> None:
    expected, batch = numbers(f"{prefix}stage3"), batch_of(1)
    vgg.double()
    stage = published_stage(LearnMixing, weights_of(prefix), **RELEASED)
    ((player, terms),) = stage.losses(batch, moment())
    assert (player, terms.keys()) == ("network", {"l1", "perceptual", "ssim"})
    for name, term in terms.items():
        assert term.item() == pytest.approx(float(expected[f"{name}_term"]), abs=6e-7), name
    with torch.no_grad():
        z, features, codes = stage.network.look_up(batch.dark)
        picture = stage.mixing(z, features, codes, torch.ones(1, dtype=z.dtype))
    close(picture[..., ::4, ::4], expected["reconstruction_every_4"], 2.3e-5)
    if prefix:
        check_step(stage, batch, "published_stage3", 0.5, (9e-5, 4e-4, 2e-4, 1.5e-3), 1.3e-2)
    else:
        check_step(stage, batch, "stage3", 1, (4e-3, 1.3e-2, 3e-3, 0.19), 1.3e-2)


@pytest.mark.slow
def test_third_stage_with_the_batchs_means(vgg: VGG) -> None:
    expected, batch = numbers("stage3_batch2"), batch_of(2)
    vgg.double()
    stage = published_stage(LearnMixing, "weights_narrow")
    ((_, terms),) = stage.losses(batch, moment())
    for name, term in terms.items():
        assert term.item() == pytest.approx(float(expected[f"{name}_term"]), abs=6e-7), name
    assert not Network(stage.config).decoding.mixing.warps[0].over_batch, "users get a photo's own means"  # type: ignore[union-attr]


# Recipes


def test_the_published_recipes_are_the_release_to_the_letter() -> None:
    rates = numbers("schedule")
    for name, kind, rate, decay, crop, count, steps, rows in (
        ("flow", LearnFlow, 5e-4, 1e-5, 320, 4, 80_000, "stage2"),
        ("mixing", LearnMixing, 5e-5, 0.0, 256, 2, 40_000, "stage3"),
    ):
        recipe = read_recipe(RECIPES / f"glare-{name}-published.yaml")
        stage, config, settings = stage_settings(recipe, "")
        assert stage is kind
        assert config == PUBLISHED.model_copy(update={"mixing": name == "mixing"})
        assert settings == kind.Settings(
            released_batches=True,
            optimizer=Optimizer(kind="adam", rate=rate, betas=(0.9, 0.999), weight_decay=decay, epsilon=1e-8),
            schedule=Released(asked=steps, warmup=10, milestones=(0.5, 0.75, 0.9, 0.95), decay=0.5),
        )
        assert (recipe.steps, recipe.seed, recipe.data.jitter) == (steps, 10, None)
        assert [(each.crop, each.count) for each in recipe.batches] == [(crop, count)]
        assert (recipe.average, recipe.clip) == (None, None)
        for iteration, expected in rates[f"{rows}_iteration_and_lr_from_there"].tolist():
            if iteration:
                found = rate * settings.schedule.factor(int(iteration) - 1, steps)
                assert found == pytest.approx(expected, rel=1e-9), iteration
    chosen = LearnMixing.Settings()
    assert (chosen.l1, chosen.perceptual, chosen.ssim) == (1, 0.01, 0.2)


def test_the_codebooks_losses_are_weighted_as_in_the_paper() -> None:
    chosen = stage_settings(read_recipe(RECIPES / "glare-codebook-gpu.yaml"), "")[2]
    weights = ("l1", "perceptual", "ssim", "adversarial", "codebook", "semantic", "commitment")
    assert [getattr(chosen, name) for name in weights] == [1, 0.01, 0.2, 0.0005, 1, 0.1, 0.25]


def test_the_recipes_of_one_size_fit_together() -> None:
    for recipes in (("codebook", "flow", "mixing"), ("codebook-gpu", "flow-published", "mixing-published")):
        first, *others = (
            stage_settings(read_recipe(RECIPES / f"glare-{name}.yaml"), "")[1] for name in recipes
        )
        for each in others:
            assert CodebookConfig(**{key: getattr(each, key) for key in CodebookConfig.model_fields}) == first
        assert others[0].model_copy(update={"mixing": True}) == others[1]


# Ours


def test_crops_of_the_release_are_resized_alike_and_mirrored_at_most() -> None:
    (pair,) = photos(1, 400, 500)
    seen = set()
    for seed in range(12):
        now = moment(seed, crop=320)
        batch = resized_batch([pair], now, CPU)
        assert batch.dark.shape == batch.light.shape == (1, 3, 320, 320)
        assert torch.equal((255 * batch.dark).round() / 255, batch.dark), "whole levels"
        assert not torch.equal((255 * batch.light).round() / 255, batch.light)
        scale = int(np.random.default_rng(seed).integers(320, 401))
        seen.add(scale)
        if scale == 400:
            raise AssertionError("choose other seeds: this one resizes nothing")
    assert len(seen) > 6
    plain = Picture("p", pair[1].pixels.clone(), pair[1].counts)
    batch = resized_batch([(plain, plain)], moment(3, crop=320), CPU)
    assert float((batch.dark - batch.light.clamp(0, 1)).abs().max()) <= 0.5001 / 255, (
        "the same window of both"
    )
    with pytest.raises(RecipeError, match=r"a crop of 390 pixels does not fit into d0 at \d+x\d+"):
        resized_batch([pair], moment(0, crop=390), CPU)


def test_codes_that_are_not_used_become_latents_at_hand() -> None:
    settings = LearnCodebook.Settings(perceptual=0, semantic=0, adversarial=0, renew_after=3)
    config = CodebookConfig(channels=4, multipliers=(1, 1), blocks=1, groups=1, codes=5)
    stage = LearnCodebook(config, settings, NO_PHOTOS, CPU)
    book, z = stage.codec.codebook, torch.randn(1, 3, 4, 4)
    stage.renew(z, moment())
    latents = z[0].flatten(1).T
    assert all((latents == code).all(dim=1).any() for code in book.codes), "all, in the first step"
    kept = book.codes.detach().clone()
    for _ in range(3):
        stage.usage.count(torch.tensor([[0, 3]]))
    assert stage.usage.idle.tolist() == [0, 3, 3, 0, 3]
    stage.renew(10 + z, moment())
    assert [bool((a == b).all()) for a, b in zip(book.codes, kept, strict=True)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert stage.usage.idle.tolist() == [0] * 5
    never = LearnCodebook(config, settings.model_copy(update={"renew_after": None}), NO_PHOTOS, CPU)
    never.renew(z, moment())
    assert float(never.codec.codebook.codes.detach().abs().max()) <= 1 / 5


def test_the_critic_comes_later() -> None:
    settings = LearnCodebook.tiny_settings().model_copy(update={"adversarial_from": 0.5})
    stage = LearnCodebook(CodebookConfig(channels=4, groups=1, codes=6), settings, NO_PHOTOS, CPU)
    light = torch.rand(2, 3, 32, 32)
    batch = Batch(light, light, np.zeros((2, 3, 256)), np.zeros((2, 3, 256)), ["a", "b"])
    players = [
        [(name, set(terms)) for name, terms in stage.losses(batch, moment(step=step, crop=32))]
        for step in (49, 50)
    ]
    assert [name for name, _ in players[0]] == ["codec"]
    assert [name for name, _ in players[1]] == ["codec", "critic"]
    assert players[1][0][1] == players[0][0][1] | {"adversarial"}
    with pytest.raises(RecipeError, match="a multiple of 8 pixels, got 36"):
        stage.check_crop(36)
    with pytest.raises(RecipeError, match="at least 16 pixels, got 8"):
        stage.check_crop(8)


def test_until_there_are_codes_the_decoder_draws_from_the_latent() -> None:
    settings = LearnCodebook.tiny_settings().model_copy(
        update={"codes_from": 0.5, "adversarial": 0, "ssim": 0}
    )
    stage = LearnCodebook(CodebookConfig(channels=4, groups=1, codes=6), settings, NO_PHOTOS, CPU)
    light = torch.rand(2, 3, 32, 32)
    batch = Batch(light, light, np.zeros((2, 3, 256)), np.zeros((2, 3, 256)), ["a", "b"])
    before, after = (dict(next(stage.losses(batch, moment(step=step, crop=32)))[1]) for step in (49, 50))
    assert before.keys() == {"l1"}
    assert after.keys() == {"l1", "codebook"}
    with torch.no_grad():
        latent = stage.codec.latent(light)
        assert before["l1"].item() == pytest.approx((stage.codec.decode(latent) - light).abs().mean().item())
        assert after["l1"].item() == pytest.approx((stage.codec(light) - light).abs().mean().item())
    latents = latent.permute(0, 2, 3, 1).flatten(0, 2)
    assert all((latents == code).all(dim=1).any() for code in stage.codec.codebook.codes)


def test_what_the_codebook_is_judged_by_and_shows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CodebookConfig(channels=4, multipliers=(1, 1), blocks=1, groups=1, codes=4)
    stage = LearnCodebook(config, LearnCodebook.tiny_settings(), NO_PHOTOS, CPU)
    with torch.no_grad():
        stage.codec.before.weight.zero_()
        stage.codec.before.bias.zero_()  # type: ignore[union-attr]
        stage.codec.codebook.codes[:] = torch.arange(1.0, 5)[:, None]
    for folder, value in (("dark", 0), ("light", 90)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((17, 26, 3), value, np.uint8)).save(tmp_path / folder / "a.png")
    sets = {"set": {"pairs": {"dark": "dark", "light": "light"}}}
    validator = Validator(Validation.model_validate({"sets": sets}), tmp_path)
    scores, score = validator.judge(stage, stage.networks, tmp_path / "samples" / "7")
    measures = scores["set"][CODEBOOK]
    assert (measures["used"], measures["perplexity"]) == (0.25, pytest.approx(1))
    assert score == measures["psnr"]
    shown = np.asarray(Image.open(tmp_path / "samples" / "7-set.png"))
    assert shown.shape == (16, 48, 3)  # cut to multiples of 4
    light, drawn = np.split(shown, 2, axis=1)
    assert (light == 90).all()
    assert psnr(drawn, light) == pytest.approx(score)


def test_the_flow_begins_with_the_codebooks_decoder_and_refuses_another_size() -> None:
    config = Config(channels=8, groups=4, codes=6, steps=1, hidden=4, condition=4, mixing=False)
    stage = LearnFlow(config, LearnFlow.Settings(), NO_PHOTOS, CPU)
    told = CodebookConfig(channels=8, groups=4, codes=6)
    stage.adopt("codebook", stage.codec.state_dict(), told.model_dump(mode="json"))
    stage.begin()
    decoding = stage.network.decoding
    assert torch.equal(decoding.codebook.codes, stage.codec.codebook.codes)
    code = torch.randn(1, 3, 4, 4)
    assert torch.equal(decoding.decoder(decoding.after(code)), stage.codec.decode(code))
    assert not any(each.requires_grad for each in decoding.parameters())
    others = told.model_copy(update={"groups": 2}).model_dump(mode="json")
    with pytest.raises(RecipeError, match="groups is 2 there and 4 in the recipe's config"):
        stage.adopt("codebook", stage.codec.state_dict(), others)
    with pytest.raises(RecipeError, match="expected what stage codebook learns"):
        stage.adopt("codebook", stage.network.state_dict(), config.model_dump(mode="json"))
    with pytest.raises(RecipeError, match=r"config\.mixing: expected false"):
        LearnFlow(config.model_copy(update={"mixing": True}), LearnFlow.Settings(), NO_PHOTOS, CPU)
    with pytest.raises(RecipeError, match=r"config\.mixing: expected true"):
        LearnMixing(config, LearnMixing.Settings(perceptual=0), NO_PHOTOS, CPU)


def test_the_last_stage_changes_the_second_decoder_alone() -> None:
    config = Config(channels=8, groups=4, codes=6, steps=1, hidden=4, condition=4)
    stage = LearnMixing(config, LearnMixing.Settings(perceptual=0), NO_PHOTOS, CPU)
    before = Network(config.model_copy(update={"mixing": False})).state_dict()
    adopted = stage.adopt(
        "network", before, config.model_copy(update={"mixing": False}).model_dump(mode="json")
    )
    stage.network.load_state_dict(adopted)
    with pytest.raises(RecipeError, match="expected what stage flow or mixing learns"):
        stage.adopt("network", Codec(config).state_dict(), config.model_dump(mode="json"))
    trained = {id(each) for each in stage.players()["network"].parameters}
    for name, each in stage.network.named_parameters():
        assert (id(each) in trained) == each.requires_grad == name.startswith("decoding.mixing."), name
        if name in before:
            assert torch.equal(each, before[name])


# Import


def test_the_authors_codebook_alone_becomes_what_the_flow_goes_on_from(tmp_path: Path) -> None:
    state = {
        name: torch.from_numpy(array.copy())
        for name, array in tensors().items()
        if CODES.match(name) or name.startswith("conv_semantic.")
    }
    torch.save(state, tmp_path / "vqgan.pkl")
    found = import_checkpoint(tmp_path / "vqgan.pkl", tmp_path / "codebook.safetensors")
    assert (found.header.part, found.header.config["groups"]) == (CODEBOOK, 32)
    codec = Codec(CodebookConfig(**found.header.config))
    kept, told = read_network(tmp_path / "codebook.safetensors", "codebook")
    assert told == found.header.config
    codec.load_state_dict(kept)
    expected = numbers("vqgan")
    with torch.no_grad():
        close(codec.latent(expected["bright"]), expected["z_nl"], 3e-6)
        close(codec(expected["bright"]), expected["reconstruction"], 1.4e-6)
    del state["quant_conv.bias"]
    torch.save(state, tmp_path / "less.pkl")
    with pytest.raises(WeightsError, match=r"tensor 'quant_conv\.bias' missing"):
        import_checkpoint(tmp_path / "less.pkl", tmp_path / "less.safetensors")

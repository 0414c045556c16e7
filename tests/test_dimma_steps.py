"""Dimma's paired stage: the release's own step, and what a recipe may choose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fill
from dimma_numbers import FIXTURES, tensors
from lowlight import estimator, statistics
from lowlight.errors import UseError, WeightsError
from lowlight.evaluation import metrics
from lowlight.evaluation.metrics import _ssim
from lowlight.gain import apply_gain
from lowlight.methods.dimma import Config, Dimma
from lowlight.methods.dimma.network import Network
from lowlight.methods.dimma.published import rename
from lowlight.methods.dimma.training import Losses, Paired
from lowlight.nn import lpips_files, perceptual, structure
from lowlight.nn.gained import gained
from lowlight.training.data import Batch, Mixture, PairDrawer, Picture
from lowlight.training.stage import Moment, Optimizer, Schedule
from lowlight.weights import Header, save_safetensors

pytestmark = pytest.mark.usefixtures("one_thread", "few_draws")

CPU = torch.device("cpu")
PUBLISHED = Config(body="published", widths=(64, 128, 256, 384), blocks=(2,))
TINY = {
    "tiled": Dimma.tiny_config(),
    "published": Config(body="published", widths=(8, 16), blocks=(1,), norm_groups=4, attention_head=8),
}


def moment(seed: int = 0) -> Moment:
    return Moment(0, 10, 32, 2, np.random.default_rng(seed), torch.Generator().manual_seed(seed))


def pairs() -> list[tuple[Picture, Picture]]:
    """Three made-up pairs, 48 pixels high."""
    found = []
    for index in range(3):
        light = (fill.photo(f"light {index}", 48, 56, high=0.9) * 255).astype(np.uint8)
        dark = (light * (0.1 + 0.05 * index)).astype(np.uint8)
        found.append(
            tuple(
                Picture(f"{name} {index}", torch.from_numpy(each), statistics.histograms(each))
                for name, each in (("dark", dark), ("light", light))
            )
        )
    return found


def mixture() -> Mixture:
    return Mixture([(PairDrawer(pairs()), 1.0)])


def batch(count: int = 2, crop: int = 32) -> Batch:
    return mixture().batch(np.random.default_rng(1), count, crop, CPU)


def stage(body: str, **settings: object) -> Paired:
    torch.manual_seed(0)
    return Paired(TINY[body], Paired.Settings(**settings), mixture(), CPU)  # type: ignore[arg-type]


def terms(found: Paired, of: Batch, when: Moment | None = None) -> dict[str, Tensor]:
    [(player, losses)] = found.losses(of, when or moment())
    assert player == "network"
    return losses


def predict(found: Paired, of: Batch) -> Tensor:
    with torch.no_grad():
        predicted: Tensor = found.networks["network"](of.dark, **found.observe(of))
    return predicted


@pytest.fixture
def random_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    state = tensors("weights.json", "ssim_loss.")
    monkeypatch.setattr(perceptual, "load", lambda *_args, **_named: perceptual.Perceptual(state))


# Terms

NONE = {"mse": 0, "lpips": 0}


def as_light(predicted: Tensor, light: Tensor) -> np.ndarray:
    """A prediction with the gain that gives it, clipped, the mean of a light photo: by halving."""
    values, wanted = predicted.detach().numpy(), light.double().mean().item()
    low, high = 0.05, 20.0
    for _ in range(60):
        gain = (low * high) ** 0.5
        low, high = (gain, high) if apply_gain(values.clip(0, 1), gain).mean() < wanted else (low, gain)
    return apply_gain(values, gain)


@pytest.mark.parametrize("body", ["tiled", "published"])
def test_each_term_is_its_formula(body: str) -> None:
    found = stage(
        body,
        losses={"mse": 2, "lpips": 0, "l1": 3, "gained": 1, "psnr": 0.5, "ssim": 0.2, "structure": 0.1},
    )
    of = batch()
    predicted, light = predict(found, of).double(), of.light.double()
    gained = torch.stack([torch.from_numpy(as_light(*pair)) for pair in zip(predicted, light, strict=True)])
    squares = ((gained - light) ** 2).mean(dim=(1, 2, 3))
    expected = {
        "mse": 2 * ((predicted - light) ** 2).mean(),
        "l1": 3 * (predicted - light).abs().mean(),
        "gained": (gained - light).abs().mean(),
        "psnr": 0.5 * (squares + 1e-5).log().mean(),
        "ssim": 0.2 * (1 - structure.ssim(predicted, light).mean()),
        "structure": 0.1 * structure.structure(predicted, light).mean(),
    }
    given = terms(found, of)
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert given[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_detail_is_apart_from_colour(tmp_path: Path) -> None:
    """Colours of the prediction neither count as detail nor are taught; those of other weights are kept."""
    config = TINY["tiled"]
    torch.manual_seed(1)
    kept = Network(config)
    header = Header(name="kept", method="dimma", config=config.model_dump(mode="json"), licence="CC0")
    values = {name: tensor.numpy() for name, tensor in kept.state_dict().items()}
    save_safetensors(tmp_path / "kept.safetensors", header, values)
    losses = {**NONE, "detail": 0.5, "colour": 30}
    found, of = stage("tiled", losses=losses, colour_of=tmp_path / "kept.safetensors"), batch()
    predicted, light = predict(found, of), of.light
    with torch.no_grad():
        old = kept(of.dark, **found.observe(of))

    def means(picture: Tensor) -> Tensor:
        """By the definition: each pixel's square of 25 pixels, in the mirrored picture."""
        padded = nn.functional.pad(picture, [12] * 4, mode="reflect")
        return padded.unfold(2, 25, 1).unfold(3, 25, 1).mean(dim=(4, 5))

    mixed = predicted - means(predicted) + means(light)
    squares = ((mixed - light) ** 2).mean(dim=(1, 2, 3))
    given = terms(found, of)
    assert given.keys() == {"detail", "colour"}
    detail = (squares + 1e-5).log().mean() + 10 * (1 - structure.ssim(mixed, light).mean())
    assert given["detail"].item() == pytest.approx(0.5 * detail.item(), rel=1e-4)
    colour = ((means(predicted) - means(old)) ** 2).mean()
    assert given["colour"].item() == pytest.approx(30 * colour.item(), rel=1e-4)
    cast = torch.tensor([0.2, -0.1, 0.0]).view(3, 1, 1)
    one, other = (found._terms(each, light, moment())["detail"].item() for each in (light, light + cast))
    assert other == pytest.approx(one, abs=1e-4)
    own = {id(each) for each in found.networks["network"].parameters()}
    assert {id(each) for each in found.players()["network"].parameters} == own, "the others stay as they are"
    with pytest.raises(UseError, match="expected the weights whose colours are kept, in colour_of"):
        stage("tiled", losses=losses)


def test_gained_forgives_a_wrong_exposure_only() -> None:
    found = stage("tiled", losses={**NONE, "gained": 1})
    light = batch().light

    def error(gains: list[float]) -> float:
        gain = torch.tensor(gains).view(3, 1, 1)
        return found._terms(gain * light / (1 + (gain - 1) * light), light, moment())["gained"].item()

    assert error([0.4] * 3) < 1e-6
    assert error([2.0] * 3) < 1e-6
    assert error([0.4, 0.6, 0.4]) > 0.01


def test_the_gradient_after_the_gain_is_that_of_the_exact_one() -> None:
    light = torch.from_numpy(fill.photo("l", 8, 8)).permute(2, 0, 1)[None]
    predicted = (1.15 * torch.from_numpy(fill.photo("p", 8, 8)).permute(2, 0, 1)[None]).requires_grad_()
    assert predicted.max() > 1, "else what lies above white would not be looked at"
    weights = torch.from_numpy(fill.photo("w", 8, 8)).permute(2, 0, 1)[None]
    (gained(predicted, light) * weights).sum().backward()
    assert predicted.grad is not None
    values, small = predicted.detach().double()[0], 1e-4
    for place in [(0, 0, 0), (1, 3, 5), np.unravel_index(int(values.argmax()), values.shape)]:
        change = torch.zeros_like(values)
        change[place] = small
        ends = [
            (as_light(each, light[0]) * weights[0].numpy()).sum()
            for each in (values - change, values + change)
        ]
        assert predicted.grad[0][place].item() == pytest.approx((ends[1] - ends[0]) / (2 * small), rel=1e-3)


def test_black_prediction_has_a_finite_gradient() -> None:
    found = stage("tiled", losses={"mse": 1, "lpips": 0, "gained": 1, "ssim": 1, "structure": 1})
    black = torch.zeros(2, 3, 32, 32, requires_grad=True)
    torch.stack(list(found._terms(black, batch().light, moment()).values())).sum().backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


def test_ssim_equals_the_measure() -> None:
    a, b = (fill.photo(name, 40, 52) for name in "ab")
    b = (0.7 * a + 0.3 * b).astype(np.float32)
    x, y = (torch.from_numpy(each).permute(2, 0, 1)[None] for each in (a, b))
    assert structure.ssim(x, y).item() == pytest.approx(metrics.ssim(a * 255, b * 255), abs=1e-5)
    assert structure.ssim(x, x).item() == pytest.approx(1, abs=1e-6)
    assert structure.structure(x, x).item() == pytest.approx(0, abs=1e-6)
    assert structure.structure(x, y).item() > 0.05


def test_scales_of_the_multiscale_ssim() -> None:
    x, y = torch.rand(1, 3, 48, 48), torch.rand(1, 3, 48, 48)
    halves = [nn.functional.avg_pool2d(each, 2) for each in (x, y)]
    quarters = [nn.functional.avg_pool2d(each, 2) for each in halves]
    each = [structure.ssim(*pair).item() for pair in ((x, y), halves, quarters)]
    assert structure.multiscale_ssim(x, y).item() == pytest.approx(np.mean(each), abs=1e-6)
    small = x[..., :20, :20], y[..., :20, :20]
    assert structure.multiscale_ssim(*small).item() == structure.ssim(*small).item()
    with pytest.raises(ValueError, match="sides of at least 11 pixels, got 10"):
        structure.ssim(x[..., :10, :10], y[..., :10, :10])


# The stage


def test_steps_lower_the_loss_of_the_published_body() -> None:
    found, of = stage("published", losses={"mse": 1, "lpips": 0, "structure": 0.1}), batch()
    parameters = found.players()["network"].parameters
    assert sum(each.numel() for each in parameters) == sum(
        each.numel() for each in found.networks["network"].parameters()
    )
    seen = []
    for _ in range(5):
        loss = torch.stack(list(terms(found, of).values())).sum()
        with torch.no_grad():
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter -= 0.1 * slope
        seen.append(loss.item())
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 0.97 * seen[0]


def test_release_is_the_default() -> None:
    settings = Paired.Settings()
    assert settings.losses == Losses(mse=1, lpips=0.1)
    assert settings.optimizer == Optimizer(kind="adam", rate=1e-5, betas=(0.9, 0.99), weight_decay=0)
    assert settings.schedule.shape == "cosine"
    assert settings.faults == ()


@pytest.mark.parametrize(("total", "rate"), [(5000, "1e-5"), (2000, "1e-7")])
def test_schedule_of_the_release(total: int, rate: str) -> None:
    rows = np.load(FIXTURES / "steps.npz")[f"schedule_{total}_from_{rate}"]
    for step, expected in rows:
        assert float(rate) * Schedule().factor(int(step), total) == pytest.approx(
            expected, rel=1e-6, abs=1e-18
        )


def test_observes_whole_photos_unless_told_otherwise() -> None:
    of = batch()
    whole, cropped = (
        stage("published", losses=NONE | {"l1": 1}),
        stage("published", losses=NONE | {"l1": 1}, faults=["crop_observation"]),
    )
    for index in range(2):
        photo = {name: each[index].numpy() for name, each in whole.observe(of).items()}
        expected = whole.method.observe_counts(
            of.dark_counts[index], photo["source_lightness"], photo["lightness"]
        )
        assert np.array_equal(photo["tables"], expected["tables"])
        means = [statistics.histogram_means(each[index]).mean() for each in (of.dark_counts, of.light_counts)]
        assert [photo["source_lightness"], photo["lightness"]] == pytest.approx(means, abs=1e-7)
        crop = {name: each[index].numpy() for name, each in cropped.observe(of).items()}
        assert crop["source_lightness"] == pytest.approx(of.dark[index].mean().item(), abs=1e-6)
        assert crop["lightness"] == pytest.approx(of.light[index].mean().item(), abs=1e-6)
        assert not np.array_equal(crop["tables"], photo["tables"])


def test_whole_steps() -> None:
    steps = [
        stage("published", losses=NONE | {"l1": 1}, faults=faults).observe(batch())["published"].tolist()
        for faults in ([], ["whole_steps"])
    ]
    assert steps == [[0, 0], [1, 1]]


def test_of_few_pairs_automatic_lightness_is_a_constant() -> None:
    arrays = stage("tiled", losses=NONE | {"l1": 1}).arrays()
    assert estimator.predict(arrays, np.zeros(1, np.float32)) == pytest.approx(0.455)


@pytest.mark.slow
def test_lpips_is_frozen(random_lpips: None) -> None:
    found, of = stage("tiled", losses={"mse": 1, "lpips": 0.1}), batch()
    assert found.perceptual is not None
    given = terms(found, of)
    expected = found.perceptual(predict(found, of), of.light).mean()
    assert given["lpips"].item() == pytest.approx(0.1 * expected.item(), rel=1e-5)
    torch.stack(list(given.values())).sum().backward()
    assert all(each.grad is None for each in found.perceptual.parameters())
    assert found.networks.keys() == {"network"}
    assert len(found.players()["network"].parameters) == len(list(found.networks["network"].parameters()))


@pytest.mark.slow
def test_trained_lpips_of_the_release(random_lpips: None) -> None:
    found, of = stage("tiled", losses={"mse": 1, "lpips": 0.1}, faults=["trained_lpips"]), batch()
    trained = found.networks["lpips"]
    assert sum(each.numel() for each in trained.parameters()) == 1472
    players = {id(each) for each in found.players()["network"].parameters}
    assert {id(each) for each in trained.parameters()} <= players
    draws = [terms(found, of, moment(seed))["lpips"] for seed in (1, 1, 2)]
    assert draws[0].item() == draws[1].item() != draws[2].item()
    draws[0].backward()
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in trained.parameters())
    assert found.perceptual is not None
    assert all(each.grad is None for each in found.perceptual.features.parameters())


def test_no_trunk_no_training_unless_the_recipe_chooses_structure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trunk = lpips_files.TRUNKS["vgg"]
    nowhere = replace(trunk.file, url=(tmp_path / "nowhere").as_uri())
    monkeypatch.setitem(lpips_files.TRUNKS, "vgg", replace(trunk, file=nowhere))
    with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth \(553 MB.*cache.*hub"):
        stage("tiled")
    assert terms(stage("tiled", losses={"lpips": 0, "structure": 0.1}), batch()).keys() == {
        "mse",
        "structure",
    }


# The release's own numbers


def test_validation_of_the_release() -> None:
    """Its PSNR is pooled over the set; its SSIM takes the range of a batch, here of two pictures."""
    steps = np.load(FIXTURES / "steps.npz")
    psnr, ssim = metrics.METRICS["psnr_dimma_val"], metrics.METRICS["ssim_dimma_val"]
    assert psnr.pool is not None
    whole, similarities = psnr.pool(), []
    for index, name in enumerate(("unsupervised", "finetune")):
        made, wanted = (steps[f"{name}/{key}"].transpose(0, 2, 3, 1) for key in ("prediction", "target"))
        part = psnr.pool()
        for pair in zip(made, wanted, strict=True):
            for pool in (whole, part):
                pool.add(*(metrics.Picture.of_raw(each) for each in pair))
        assert part.value() == pytest.approx(steps["validation_psnr_per_batch"][index], abs=1e-5)
        spans = [np.ptp(each) for each in (made, wanted)]
        alone = [
            _ssim.similarity(*pair, _ssim._clipped, _ssim.GAUSSIAN, float(max(spans)))[0]
            for pair in zip(made, wanted, strict=True)
        ]
        assert np.mean(alone) == pytest.approx(steps["validation_ssim_per_batch"][index], abs=1e-5)
        similarities += alone
        if name == "unsupervised":  # where each picture has the batch's range
            own = [ssim(*map(metrics.Picture.of_raw, pair)) for pair in zip(made, wanted, strict=True)]
            assert own == pytest.approx(alone)
    assert whole.value() == pytest.approx(float(steps["validation_psnr"]), abs=1e-5)
    assert np.mean(similarities) == pytest.approx(float(steps["validation_ssim"]), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "unsupervised"])
def test_step_of_the_release(name: str, random_lpips: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = np.load(FIXTURES / "steps.npz")
    part = {key.removeprefix(f"{name}/"): fixture[key] for key in fixture if key.startswith(f"{name}/")}
    settings = Paired.Settings(
        losses=Losses(mse=1, lpips=float(part["weight"])),
        optimizer=Optimizer(kind="adam", rate=float(part["learning_rate"]), betas=(0.9, 0.99)),
        faults=("crop_observation", "whole_steps"),
    )
    found = Paired(PUBLISHED, settings, mixture(), CPU)
    network = found.networks["network"]
    state = tensors("weights.json", "backbone.")
    network.load_state_dict({rename(f"backbone.{key}"): each for key, each in state.items()})
    # In float64: how convolutions round in float32 depends on the processor, and takes half of the tolerances.
    network.double()
    assert found.perceptual is not None
    found.perceptual.double()
    unused = np.zeros((2, 3, 256))
    of = Batch(
        torch.from_numpy(part["image"][:, :3]).double(),
        torch.from_numpy(part["target"]).double(),
        unused,
        unused,
        ["a", "b"],
    )
    if name == "unsupervised":
        # There the network got unquantised illumination, and lightness of red alone.
        image = torch.from_numpy(part["image"]).double()
        monkeypatch.setattr("lowlight.methods.dimma.network.prepare", lambda dark, tables: image)
        told = {key: torch.from_numpy(part[f"{key}_lightness"]) for key in ("source", "target")}
        observed = {"source_lightness": told["source"], "lightness": told["target"]}
        observe = found.observe
        monkeypatch.setattr(found, "observe", lambda batch: {**observe(batch), **observed})
    single = found.observe
    monkeypatch.setattr(
        found, "observe", lambda batch: {key: each.double() for key, each in single(batch).items()}
    )
    observation = found.observe(of)
    np.testing.assert_allclose(observation["source_lightness"], part["source_lightness"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(observation["lightness"], part["target_lightness"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(predict(found, of), part["prediction"], rtol=0, atol=1e-5)

    chosen = found.players()["network"]
    optimizer = torch.optim.Adam(chosen.parameters, chosen.optimizer.rate, chosen.optimizer.betas)
    layers = found.perceptual.layers(*(torch.from_numpy(part[key]) for key in ("prediction", "target")))
    np.testing.assert_allclose(layers.detach(), part["perceptual_layers"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(layers.detach().sum(dim=0), part["perceptual"], rtol=0, atol=1e-6)
    linear = list(found.perceptual.linear.requires_grad_().parameters())
    losses = terms(found, of)
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()
    assert losses["mse"].item() == pytest.approx(float(part["mse"]), abs=1e-6)
    expected = float(part["weight"]) * float(part["perceptual"].mean())
    assert losses["lpips"].item() == pytest.approx(expected, abs=1e-6)
    assert loss.item() == pytest.approx(float(part["loss"]), abs=1e-6)

    # What the release trains by mistake.
    slopes = [float(each.grad.norm()) for each in linear if each.grad is not None]
    np.testing.assert_allclose(slopes, part["lin_gradient_norms"], rtol=1e-3)
    parameters = dict(network.named_parameters())
    zero = "mid_block.attentions.0.key.bias"  # adds the same to every score of a query
    names = [str(name) for name in fixture["parameter_names"]]
    assert len(names) == len(parameters) == 330
    for name, norm in zip(names, part["gradient_norms"], strict=True):
        if name != zero:
            gradient = parameters[rename(f"backbone.{name}")].grad
            assert gradient is not None
            assert gradient.norm().item() == pytest.approx(float(norm), rel=1e-3), name
    compared = [key.removeprefix("grad/") for key in part if key.startswith("grad/")]
    assert len(compared) == 10
    for name in compared:
        gradient, largest = parameters[rename(f"backbone.{name}")].grad, np.abs(part[f"grad/{name}"]).max()
        np.testing.assert_allclose(gradient, part[f"grad/{name}"], rtol=0, atol=1e-4 * largest, err_msg=name)
    optimizer.step()
    for name in compared:
        after = parameters[rename(f"backbone.{name}")].detach()
        np.testing.assert_allclose(after, part[f"after/{name}"], rtol=0, atol=3e-7, err_msg=name)
    with torch.no_grad():
        after_loss = torch.stack(list(terms(found, of).values())).sum()
    assert after_loss.item() == pytest.approx(float(part["loss_after"]), abs=3e-6)

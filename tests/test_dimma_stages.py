"""Dimma's stages around the dimmer: the release's own steps, dimmed batches, what weights hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fill
import tiny
import toy_run
from dimma_numbers import FIXTURES, tensors
from lowlight import estimator, statistics
from lowlight.errors import RecipeError, WeightsError
from lowlight.methods.dimma import Dimma, calibration
from lowlight.methods.dimma.dimmer import DimmerConfig, load_dimmer
from lowlight.methods.dimma.training import Dimmed, DimmerStage, Paired
from lowlight.methods.dimma.training.dimmed import SAMPLE
from lowlight.methods.dimma.training.dimmer import DimmerNetwork, pair_inputs
from lowlight.training.data import Data, Jitter, Mixture, PairDrawer, Picture
from lowlight.training.loop import fit
from lowlight.training.recipe import Recipe
from lowlight.training.stage import Moment
from lowlight.weights import open_weights

pytestmark = pytest.mark.usefixtures("one_thread", "few_draws")

CPU = torch.device("cpu")


def picture(name: str, pixels: np.ndarray) -> Picture:
    return Picture(name, torch.from_numpy(pixels), statistics.histograms(pixels))


def moment(crop: int = 32, count: int = 4, seed: int = 0) -> Moment:
    return Moment(0, 10, crop, count, np.random.default_rng(seed), torch.Generator())


def light(name: str = "light") -> Picture:
    return picture(name, (fill.photo(name, 64, 80, low=0.1) * 255).astype(np.uint8))


# The dimmer's network


def planes(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("name", ["fill", "3shot", "480shot"])
def test_likelihood_as_released(name: str) -> None:
    fixture = np.load(FIXTURES / "mdn.npz")
    network = DimmerNetwork(DimmerConfig())
    stored = np.load(FIXTURES / f"dimmer_{name}.npz") if name != "fill" else None
    network.load_state_dict(
        tensors("weights_mdn.json", "")
        if stored is None
        else {key: torch.from_numpy(stored[key]) for key in DimmerConfig().shapes()}
    )
    loss = network(torch.from_numpy(fixture["x"]), torch.from_numpy(fixture["y"])).mean()
    assert loss.item() == pytest.approx(float(fixture[f"{name}_loss"]), abs=2e-6)


def test_error_of_the_rival_as_released() -> None:
    fixture = np.load(FIXTURES / "mdn.npz")
    network = DimmerNetwork(DimmerConfig(kind="deterministic"))
    network.load_state_dict(tensors("weights_dcnn.json", ""))
    loss = network(torch.from_numpy(fixture["x"]), torch.from_numpy(fixture["y"])).mean()
    assert loss.item() == pytest.approx(float(fixture["deterministic_loss"]), abs=2e-6)


def test_narrow_mixtures_have_a_finite_gradient() -> None:
    network = DimmerNetwork(DimmerConfig())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "sigma" in name and name.endswith("bias"):
                parameter.fill_(-200)
    network(torch.rand(1, 5, 4, 4), torch.rand(1, 3, 4, 4)).mean().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in network.parameters())


@pytest.mark.slow
def test_training_of_the_release() -> None:
    """Three epochs of its script: inputs, losses, gradient, weights after one and six steps."""
    fixture = np.load(FIXTURES / "calibration.npz")
    inputs, wanted = pair_inputs(planes(fixture["dark"]), planes(fixture["light"]))
    np.testing.assert_allclose(inputs, fixture["mdn_x"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(wanted, fixture["mdn_y"], rtol=0, atol=1e-7)
    network = DimmerNetwork(DimmerConfig())
    network.load_state_dict(tensors("weights_mdn.json", ""))
    settings = DimmerStage.Settings().optimizer
    optimizer = torch.optim.Adam(network.parameters(), settings.rate, settings.betas)
    for step, index in enumerate([1, 0, 1, 0, 1, 0]):
        optimizer.zero_grad()
        loss = network(inputs[index : index + 1], wanted[index : index + 1]).mean()
        loss.backward()
        assert loss.item() == pytest.approx(float(fixture["mdn_losses"][step]), abs=1e-5)
        if step == 0:
            for name, parameter in network.named_parameters():
                expected = fixture[f"grad1/{name}"]
                assert parameter.grad is not None
                np.testing.assert_allclose(
                    parameter.grad, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
                )
        optimizer.step()
        if step in (0, 5):
            for name, parameter in network.named_parameters():
                expected, within = fixture[f"step{step + 1}/{name}"], 2e-6 if step == 0 else 1e-5
                np.testing.assert_allclose(parameter.detach(), expected, rtol=0, atol=within, err_msg=name)


# The stage of the dimmer


def camera_pairs() -> list[tuple[Picture, Picture]]:
    """A camera that leaves a quarter of the light, and less of blue."""
    lit = [light(name) for name in "ab"]
    share = np.array([0.28, 0.25, 0.2])
    return [
        (picture(f"dark {each.name}", (each.pixels.numpy() * share).astype(np.uint8)), each) for each in lit
    ]


def test_statistics_are_those_of_the_real_pairs() -> None:
    pairs = camera_pairs()
    made = PairDrawer([(light("c"), light("c"))], made=True)
    data = Mixture([(PairDrawer(pairs), 1.0), (made, 5.0)], Jitter(share=1))
    stage = DimmerStage(DimmerConfig(), DimmerStage.Settings(), data, CPU)
    both = [(dark.pixels.numpy(), above.pixels.numpy()) for dark, above in pairs]
    expected = [*calibration.calibrate(both), calibration.measure_noise(both)]
    for name, values in zip(("mean", "std", "noise"), expected, strict=True):
        np.testing.assert_allclose(stage.arrays()[name], values, atol=1e-7)
    released = DimmerStage(DimmerConfig(noise="released"), DimmerStage.Settings(), data, CPU)
    assert released.arrays().keys() == {"mean", "std"}
    batch = stage.batch(data, moment(count=12), CPU)
    assert {name.split(" -> ")[0] for name in batch.names} == {"dark a", "dark b"}
    ratio = (batch.dark.mean(dim=(0, 2, 3)) / batch.light.mean(dim=(0, 2, 3))).numpy()
    np.testing.assert_allclose(ratio, [0.28, 0.25, 0.2], atol=0.02)
    faulty = DimmerStage(DimmerConfig(), DimmerStage.Settings(faults=("zero_edges",)), data, CPU).arrays()
    assert faulty["mean"][255] < 0.7 * stage.arrays()["mean"][255]
    with pytest.raises(RecipeError, match="learned from real pairs, and there are none"):
        DimmerStage(DimmerConfig(), DimmerStage.Settings(), Mixture([(made, 1.0)]), CPU)


def recipe(root: Path, **changes: Any) -> Recipe:
    values = toy_run.recipe(root, method="dimma", average=None, **changes)
    values["validation"]["sets"]["held"]["score"] = {"reference": 1.0}
    return Recipe.model_validate(values)


def test_a_camera_is_learned_and_its_file_dims(tmp_path: Path) -> None:
    toy_run.write_photos(tmp_path)
    sizes = {"hidden": 8, "components": 2}
    found = recipe(tmp_path, name="camera", stage="dimmer", config=sizes, steps=60, clip=None)
    outcome = fit(found, tmp_path / "run")
    opened = open_weights(tmp_path / "run" / "best.safetensors")
    assert opened.header.part == "dimmer"
    assert outcome.score == pytest.approx(-opened.header.scores["held.dimmer.loss"], abs=1e-4)
    assert not (tmp_path / "run" / "samples").exists()
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert log.count('"validation": {"held": {"dimmer": {"loss": ') == 6
    dimmer = load_dimmer(tmp_path / "run" / "last.safetensors")
    pixels = np.asarray(light().pixels)
    assert dimmer.dim(pixels).mean() == pytest.approx(0.2 * pixels.mean(), rel=0.1)
    # NumPy's network is the one that was trained.
    network = DimmerNetwork(dimmer.config)
    network.load_state_dict({name: torch.from_numpy(each) for name, each in dimmer.tensors.items()})
    inputs = torch.rand(1, 5, 6, 7)
    means, deviations, weights = (
        torch.from_numpy(each) for each in dimmer.mixture(inputs[0].flatten(1).numpy())
    )
    wanted = torch.rand(1, 3, 6, 7)
    z = (wanted[0].flatten(1)[:, None] - means) / deviations
    expected = -(weights * torch.exp(-(z**2) / 2) / deviations).sum(dim=1).log().sum(dim=0)
    np.testing.assert_allclose(network(inputs, wanted).detach().flatten(), expected, rtol=1e-4, atol=1e-4)


# The stage of dimmed photos


def dimmed(tmp_path: Path, data: Mixture, **settings: Any) -> Dimmed:
    chosen = {**tiny.settings(Dimmed, tmp_path).model_dump(), "noise": {"share": 0.0}, **settings}
    return Dimmed(Dimma.tiny_config(), Dimmed.Settings.model_validate(chosen), data, CPU)


def photos(jitter: Jitter | None = None) -> Mixture:
    return Mixture([(PairDrawer([(each, each) for each in map(light, "ab")], made=True), 1.0)], jitter)


def test_photos_are_dimmed_anew_and_observed_whole(tmp_path: Path) -> None:
    data = photos()
    stage = dimmed(tmp_path, data, factor=(1.0, 1.0))
    of = stage.batch(data, moment(), CPU)
    again = stage.batch(data, moment(seed=1), CPU)
    assert all(name.endswith(("(dimmed) -> a", "(dimmed) -> b")) for name in of.names)
    assert not torch.equal(of.dark, again.dark)
    assert (of.dark.mean() / of.light.mean()).item() == pytest.approx(0.2, rel=0.1)
    assert np.array_equal(of.dark_counts.sum(axis=2), np.full((4, 3), SAMPLE))
    for name, counts, dark in zip(of.names, of.light_counts, of.dark_counts, strict=True):
        whole = light(name[-1]).counts
        means = statistics.histogram_means(whole)
        np.testing.assert_allclose(statistics.histogram_means(counts), means, atol=0.01)
        np.testing.assert_allclose(statistics.histogram_means(dark), 0.2 * means, atol=0.02)
    # A window of the light photo, in one of eight positions, in no other value.
    window = (of.light[0] * 255).round().byte().permute(1, 2, 0).numpy()
    source = np.asarray(light(of.names[0][-1]).pixels)
    turned = [np.rot90(each, turns) for each in (window, window[::-1]) for turns in range(4)]
    views = np.lib.stride_tricks.sliding_window_view(source, (32, 32, 3))[:, :, 0]
    assert any((views == each).all(axis=(2, 3, 4)).any() for each in turned)


def test_real_pairs_stay_what_they_are(tmp_path: Path) -> None:
    data = Mixture([(PairDrawer(camera_pairs()), 1.0)])
    of = dimmed(tmp_path, data).batch(data, moment(), CPU)
    plain = data.batch(np.random.default_rng(5), 1, 32, CPU)
    assert {name.split(" -> ")[0] for name in (*of.names, *plain.names)} <= {"dark a", "dark b"}
    assert of.dark_counts.sum() == 4 * 3 * 64 * 80


def test_factors_are_drawn_from_their_range(tmp_path: Path) -> None:
    data = photos()
    of = dimmed(tmp_path, data, factor=(0.3, 2.0)).batch(data, moment(count=40), CPU)
    shares = (of.dark.mean(dim=(1, 2, 3)) / of.light.mean(dim=(1, 2, 3))).numpy() / 0.2
    assert 0.25 < shares.min() < 0.6
    assert 1.6 < shares.max() < 2.2


def test_noise_lies_under_the_darkness_and_not_in_the_target(tmp_path: Path) -> None:
    data = photos()
    noise = {"share": 1.0, "shift": (0.05, 0.05), "intensity": (0.5, 0.5)}
    settings = {"temperature": 0.0, "factor": (1.0, 1.0)}
    calm, noisy, faulty = (
        dimmed(tmp_path, data, **settings, **changes).batch(data, moment(seed=3), CPU)
        for changes in ({}, {"noise": noise}, {"noise": noise, "faults": ("noisy_target",)})
    )
    levels = set(np.unique(np.concatenate([each.pixels.numpy().ravel() for each in map(light, "ab")])))
    assert set(np.unique((noisy.light * 255).round().byte().numpy())) <= levels

    def roughness(pictures: Tensor) -> float:
        return float((pictures[..., 1:] - pictures[..., :-1]).abs().mean() / pictures.mean())

    assert roughness(noisy.dark) > 1.05 * roughness(calm.dark)
    assert roughness(faulty.light) > 1.1 * roughness(noisy.light)


def test_values_above_white_wrap_on_demand_only(tmp_path: Path) -> None:
    data = photos()
    bright = tiny.dimmer()
    bright.arrays["mean"][:] = 1
    mended, released = (
        dimmed(tmp_path, data, factor=(2.0, 2.0), faults=faults) for faults in ((), ("wrap",))
    )
    for stage in (mended, released):
        stage.dimmer = bright
    whole, wrapped = (stage.batch(data, moment(count=8), CPU) for stage in (mended, released))
    assert torch.equal(whole.light, wrapped.light)
    changed = whole.dark != wrapped.dark
    assert changed.any()
    assert (whole.dark[changed] == 1).all()
    assert wrapped.dark[changed].max() < 0.5


def test_jitter_is_that_of_the_data(tmp_path: Path) -> None:
    darker = photos(Jitter(share=1, dark=(-1, -1), light=(0, 0), cast=0))
    stage = dimmed(tmp_path, photos(), factor=(1.0, 1.0))
    of = stage.batch(darker, moment(), CPU)
    assert (of.dark.mean() / of.light.mean()).item() == pytest.approx(0.2 * np.exp(-1), rel=0.15)


def test_a_missing_dimmer_is_named(tmp_path: Path) -> None:
    settings = tiny.settings(Dimmed, tmp_path).model_copy(
        update={"dimmer": str(tmp_path / "none.safetensors")}
    )
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        Dimmed(Dimma.tiny_config(), settings, photos(), CPU)


def test_the_dimmer_s_place_stays_private(tmp_path: Path) -> None:
    toy_run.write_photos(tmp_path)
    settings = tiny.settings(Dimmed, tmp_path).model_dump()
    config = Dimma.tiny_config().model_dump()
    source = {"kind": "photos", "folder": "high", "exclude": ["4", "5"]}
    found = recipe(
        tmp_path,
        stage="dimmed",
        config=config,
        settings=settings,
        steps=1,
        data={"root": str(tmp_path), "sources": [source]},
    )
    fit(found, tmp_path / "run")
    header = open_weights(tmp_path / "run" / "last.safetensors").header
    assert header.recipe["settings"]["dimmer"] == "dimmer.safetensors"
    assert str(tmp_path) not in header.model_dump_json()


# What weights hand on


def test_few_pairs_keep_what_the_start_knows(tmp_path: Path) -> None:
    data = Mixture([(PairDrawer(camera_pairs()), 1.0)])
    stage = Paired(Dimma.tiny_config(), Paired.tiny_settings(), data, CPU)
    own = {name: array.copy() for name, array in stage.arrays().items()}
    known = {**estimator.constant(0.3), "descriptor_low": own["descriptor_low"] - 1}
    known["descriptor_high"] = own["descriptor_high"] - 1
    stage.inherit(known)
    assert stage.arrays().keys() == known.keys()
    assert all(np.array_equal(stage.arrays()[name], array) for name, array in known.items())
    assert np.array_equal(stage.method.range[1], own["descriptor_high"] - 1)
    # With the first step the range holds both.
    next(stage.losses(stage.batch(data, moment(), CPU), moment()))
    assert stage.arrays()["offset"] == pytest.approx(0.3)
    assert np.array_equal(stage.arrays()["descriptor_low"], own["descriptor_low"] - 1)
    assert np.array_equal(stage.arrays()["descriptor_high"], own["descriptor_high"])
    assert np.array_equal(stage.method.range[0], own["descriptor_low"] - 1)
    before = dict(stage.arrays())
    stage.inherit(before)
    next(stage.losses(stage.batch(data, moment(), CPU), moment()))
    assert all(np.array_equal(stage.arrays()[name], array) for name, array in before.items())


@pytest.mark.slow
def test_a_run_validated_at_its_start_is_never_worse_and_resumes_with_what_it_inherited(
    tmp_path: Path,
) -> None:
    toy_run.write_photos(tmp_path)
    common = {"stage": "paired", "config": Dimma.tiny_config().model_dump()}
    settings = {"losses": {"lpips": 0}, "optimizer": {"rate": 3e-3}}
    first = recipe(tmp_path, **common, settings=settings, steps=100)
    fit(first, tmp_path / "first")
    start = tmp_path / "first" / "last.safetensors"
    # A ruined network gives a flat picture at best, which is 14 dB with the reference's mean.
    assert open_weights(start).header.scores["held.reference.psnr"] > 16
    ruinous = {"losses": {"lpips": 0}, "optimizer": {"rate": 0.05}}
    second = recipe(tmp_path, **common, settings=ruinous, steps=4, start={"network": str(start)})
    values = second.model_dump()
    values["data"]["sources"][0]["names"] = ["0"]
    values["validation"] |= {"at_start": True, "every": 2}
    second = Recipe.model_validate(values)
    outcome = fit(second, tmp_path / "second")
    scores = [
        open_weights(tmp_path / "second" / f"{name}.safetensors").header.scores for name in ("best", "last")
    ]
    assert outcome.score == pytest.approx(scores[0]["held.reference.psnr"], abs=1e-4)
    assert scores[1]["held.reference.psnr"] < scores[0]["held.reference.psnr"]
    before = open_weights(start).header.scores
    assert scores[0] == before, "no step was better: these are the weights that it started from"
    asked = iter([True])
    fit(second, tmp_path / "parts", stop=lambda: next(asked))
    start.unlink()  # what a run inherited lies in its checkpoint
    fit(second, tmp_path / "parts", resume=tmp_path / "parts" / "checkpoint.safetensors")
    whole, parts = (open_weights(tmp_path / run / "last.safetensors") for run in ("second", "parts"))
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, parts.arrays[name])


def test_names_may_stand_in_the_recipe() -> None:
    data = Data.model_validate(
        {"sources": [{"kind": "pairs", "dark": "d", "light": "l", "names": [2, 5, 6]}]}
    )
    assert data.sources[0].names == ("2", "5", "6")  # type: ignore[union-attr]

"""LLFlow's network, import and training steps against numbers of the published code."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from llflow_numbers import FIXTURES, numbers, observed, parameter, picture, published, tables
from lowlight import equalise, statistics
from lowlight.errors import RecipeError, WeightsError
from lowlight.methods.llflow import Config, LLFlow
from lowlight.methods.llflow.network import Network, colour_map, prepare
from lowlight.methods.llflow.published import UNUSED, matches, read, rename
from lowlight.methods.llflow.training import Flow, absolute_error
from lowlight.nn.flow import ActNorm, Chain, Map, bits_per_position, log_prob
from lowlight.training.data import Batch, Mixture, PairDrawer, Picture
from lowlight.training.recipe import read_recipe, stage_settings
from lowlight.training.released import Released
from lowlight.training.stage import Moment, Optimizer

NO_PHOTOS = Mixture([(PairDrawer([]), 1.0)])

pytestmark = pytest.mark.usefixtures("one_thread")

Numbers = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def photos() -> Numbers:
    return numbers("input")


@pytest.fixture(scope="module")
def network() -> Network:
    return published()


def encode(network: Network, dark: NDArray[np.uint8]) -> tuple[Map, Tensor]:
    """The flow given a photo, and the prior's mean."""
    flow, colours = network.encode(picture(dark), tables(dark))
    return flow, network.mean(colours)


def bits(z: Tensor, mean: Tensor, log_det: Tensor, x: Tensor) -> Tensor:
    return bits_per_position(log_prob(z, mean, log_det), x)


def close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(
        found.detach().numpy().reshape(expected.shape), expected, rtol=0, atol=tolerance
    )


def relatively_close(found: Tensor | None, expected: NDArray[Any], tolerance: float) -> None:
    assert found is not None
    close(found, expected, tolerance * float(np.abs(expected).max()))


# Sizes


def listed(weights: str = "weights") -> dict[str, NDArray[Any]]:
    """A published checkpoint's names and shapes; its values are zeros."""
    rows = json.loads((FIXTURES / f"{weights}.json").read_text())
    return {key: np.zeros(shape, np.float32) for key, shape, *_ in rows}


@pytest.mark.parametrize(("weights", "parameters"), [("weights", 4_967_635), ("weights_full", 37_677_395)])
def test_published_sizes(weights: str, parameters: int) -> None:
    imported = read(listed(weights), {}, {})
    assert sum(each.size for each in imported.tensors.values()) == parameters


# Forward and inverse


@pytest.mark.parametrize("index", range(4))
def test_equalised_channels(photos: Numbers, index: int) -> None:
    samples = photos[f"equalize_{index}_in"]
    found = equalise.tables(statistics.histograms(np.stack([samples] * 3, axis=-1)))[0][samples]
    assert np.array_equal(np.rint(found * 255), photos[f"equalize_{index}_out"])


def test_input(photos: Numbers) -> None:
    prepared = prepare(picture(photos["dark"]), tables(photos["dark"]))[0]
    close(prepared, photos["encoder_input"], 1e-6)
    close(prepared[:6], photos["network_input"], 1e-6)
    close((prepared[3:6] * 255).round().permute(1, 2, 0), photos["equalized"], 0)


def test_encoder(network: Network, photos: Numbers) -> None:
    expected = numbers("encoder")
    with torch.no_grad():
        encoded = network.encoder(picture(photos["dark"]), tables(photos["dark"]))
    close(encoded.colours, expected["color_map"], 1e-5)
    for condition, name in zip(encoded.conditions, ("fea_up2", "fea_up1", "fea_up0"), strict=True):
        close(condition, expected[name], 1e-5)
    close(encoded.conditions[0][:, 32:], expected["block_1"], 1e-5)


def test_forward(network: Network, photos: Numbers) -> None:
    expected = numbers("forward")
    light = picture(photos["reference"])
    with torch.no_grad():
        flow, mean = encode(network, photos["dark"])
        z, log_det = flow.forward(light)
        means = {"encoder": mean, "reference": network.mean(colour_map(light))}
    close(z, expected["z"], 1e-4)
    close(log_det, expected["log_det"], 0.02)
    for name, each in means.items():
        close(each, expected[f"mean_{name}"], 1e-5)
        close(bits(z, each, log_det, light), expected[f"nll_{name}_mean"], 1e-5)


def test_every_layer(network: Network, photos: Numbers) -> None:
    expected = numbers("forward")
    x, found, log_det = picture(photos["reference"]), [], torch.zeros(1)
    with torch.no_grad():
        flow, _ = encode(network, photos["dark"])
        assert isinstance(flow, Chain)
        for level in flow.maps:
            assert isinstance(level, Chain)
            for layer in level.maps:
                x, added = layer.forward(x)
                log_det = log_det + added
                found.append((x, log_det))
    close(torch.cat([each for _, each in found]), expected["log_det_after_layer"], 0.02)
    for index, name in ((3, "step_3"), (6, "level_1"), (13, "level_2")):
        close(found[index][0], expected[name], 1e-4)


def test_the_noise_of_the_release(network: Network, photos: Numbers) -> None:
    expected = numbers("forward")
    light = picture(photos["reference"]) + torch.from_numpy(expected["noise"]) / 32
    with torch.no_grad():
        flow, mean = encode(network, photos["dark"])
        z, log_det = flow.forward(light)
    close(z, expected["z_noise"], 1e-4)
    log_det = log_det - math.log(32) * 48 * 64
    close(log_det, expected["log_det_noise"], 0.02)
    close(bits(z, mean, log_det, light), expected["nll_noise"], 1e-5)


def test_inverse(network: Network, photos: Numbers) -> None:
    expected = numbers("inverse")
    noise = torch.from_numpy(expected["latent_noise"])
    with torch.no_grad():
        flow, mean = encode(network, photos["dark"])
        enhanced, log_det = flow.inverse(mean)
        close(enhanced, expected["enhanced"], 5e-5)
        close(log_det, expected["enhanced_log_det"], 0.02)
        samples = [flow.inverse(mean + 0.5 * each)[0] for each in noise]
        for index, sample in enumerate(samples):
            close(sample, expected[f"sample_{index}"], 5e-5)
        close(torch.stack(samples).mean(0), expected["sample_mean"], 5e-5)
        for shift in ("-0.4", "-0.2", "+0.2", "+0.4"):
            close(flow.inverse(mean + float(shift))[0], expected[f"shift_{shift}"], 5e-5)
        light = picture(photos["reference"])
        back = flow.inverse(flow.forward(light)[0])[0]
    close(back, expected["round_trip"], 5e-5)
    close(back, light.numpy(), 5e-5)


def test_brightness_is_the_shift(network: Network, photos: Numbers) -> None:
    with torch.no_grad():
        found = network(picture(photos["dark"]), **observed(photos["dark"], brightness=0.4))
    close(found, numbers("inverse")["shift_+0.4"], 5e-5)


def test_the_network_that_users_run_is_the_same(network: Network, photos: Numbers) -> None:
    told = observed(photos["dark"], brightness=-0.2, temperature=0.3, seed=7)
    with torch.no_grad():
        found = network.folded()(picture(photos["dark"]), **told)
        expected = network(picture(photos["dark"]), **told)
    close(found, expected.numpy(), 2e-5)


def test_folding_draws_no_weights(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing tensors that are none makes torch import its compiler: seconds at every start."""

    def draw(*_args: object) -> None:
        raise AssertionError("weights are drawn")

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", draw)
    network.folded()


@pytest.mark.slow
def test_round_trip_in_float64(photos: Numbers) -> None:
    network = published().double()
    light = picture(photos["reference"]).double()
    with torch.no_grad():
        flow, _ = network.encode(picture(photos["dark"]).double(), tables(photos["dark"]).double())
        back = flow.inverse(flow.forward(light)[0])[0]
    assert float((back - light).abs().max()) < 1e-12


@pytest.mark.slow
def test_the_full_network() -> None:
    expected = numbers("full")
    network = published("weights_full.json")
    light = picture(expected["reference"])
    with torch.no_grad():
        encoded = network.encoder(picture(expected["dark"]), tables(expected["dark"]))
        close(encoded.colours, expected["color_map"], 1e-5)
        close(encoded.conditions[2], expected["fea_up0"], 1e-5)
        flow, mean = encode(network, expected["dark"])
        z, log_det = flow.forward(light)
        close(z, expected["z"], 5e-4)
        close(log_det, expected["log_det"], 0.05)
        close(bits(z, mean, log_det, light), expected["nll_encoder_mean"], 1e-3)
        close(flow.inverse(mean)[0], expected["enhanced"], 2e-4)


# Training


def test_norms_start_from_data() -> None:
    expected = numbers("actnorm")
    network = published()
    for module in network.modules():
        if isinstance(module, ActNorm):
            for each in module.parameters():
                torch.nn.init.zeros_(each)
    light = picture(expected["reference"])
    flow, mean = encode(network.train(), expected["dark"])
    z, log_det = flow.forward(light)
    keys = [key for key in expected if ".actnorm." in key]
    assert len(keys) == 132
    for key in keys:
        close(parameter(network, key), expected[key], 1e-5)
    close(z, expected["z"], 1e-4)
    close(log_det, expected["log_det"], 0.02)
    close(bits(z, mean, log_det, light), expected["nll"], 1e-5)


@pytest.mark.slow
def test_gradients_of_the_likelihood(network: Network, photos: Numbers) -> None:
    expected = numbers("gradients")

    def score(candidate: Tensor) -> tuple[Tensor, Tensor]:
        """NLL and its gradient in the candidate."""
        candidate = candidate.requires_grad_()
        flow, mean = encode(network, photos["dark"])
        z, log_det = flow.forward(candidate)
        nll = bits(z, mean, log_det, candidate)
        network.zero_grad()
        nll.backward()  # type: ignore[no-untyped-call]
        assert candidate.grad is not None
        return nll, candidate.grad[0]

    nll, gradient = score(picture(photos["reference"]))
    close(nll, expected["nll"], 1e-5)
    relatively_close(gradient, expected["photo"], 2e-5)
    relatively_close(gradient.square().sum(0), expected["activation"], 2e-5)
    for key in expected:
        if key.endswith((".weight", ".bias", ".logs")) and not key.startswith("l1/"):
            relatively_close(parameter(network, key).grad, expected[key], 2e-5)
    nll, gradient = score(picture(expected["stitched"]))
    close(nll, expected["stitched_nll"], 1e-5)
    relatively_close(gradient.square().sum(0), expected["stitched_activation"], 2e-5)


def test_the_likelihood_of_degraded_photos(network: Network, photos: Numbers) -> None:
    expected = numbers("gradients")
    with torch.no_grad():
        flow, mean = encode(network, photos["dark"])
        for degraded, wanted in zip(expected["degraded"], expected["degraded_nll"], strict=True):
            candidate = torch.from_numpy(degraded).permute(2, 0, 1)[None] / 255
            z, log_det = flow.forward(candidate)
            close(bits(z, mean, log_det, candidate), wanted, 1e-5)


def test_gradients_through_the_inverse(network: Network, photos: Numbers) -> None:
    expected = numbers("gradients")
    flow, mean = encode(network, photos["dark"])
    loss = absolute_error(flow.inverse(mean)[0], picture(photos["reference"]))
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    close(loss, expected["l1_loss"], 1e-5)
    for key in expected:
        if key.startswith("l1/"):
            relatively_close(parameter(network, key.removeprefix("l1/")).grad, expected[key], 2e-5)


def test_what_is_not_finite_counts_as_right() -> None:
    picture = torch.tensor([[0.5, math.nan], [math.inf, 2.0]], requires_grad=True)
    loss = absolute_error(picture, torch.full((2, 2), 0.25))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx((0.25 + 0.75) / 4)
    assert picture.grad is not None
    assert picture.grad.isfinite().all()


@pytest.mark.slow
def test_recorded_steps() -> None:
    expected = numbers("training")
    settings = Flow.Settings(
        skip_first=True, optimizer=Optimizer(kind="adam", rate=5e-4), schedule=Released(asked=45_000)
    )
    stage = Flow(Config(), settings, NO_PHOTOS, torch.device("cpu"))
    stage.network.load_state_dict(published().state_dict())
    stage.network.train()
    dark, light = expected["dark"], expected["reference"]
    counts = [np.stack([statistics.histograms(each) for each in side]) for side in (dark, light)]
    batch = Batch(picture(dark), picture(light), counts[0], counts[1], ["harbour", "library"])
    # The recorded draws chose the encoder's colour map, then the reference's.
    generator = next(
        torch.Generator().manual_seed(seed)
        for seed in range(100)
        if [float(each) > 0.2 for each in torch.rand(2, generator=torch.Generator().manual_seed(seed))]
        == [True, False]
    )
    (player,) = stage.players().values()
    optimizer = torch.optim.Adam(player.parameters, lr=player.optimizer.rate, betas=player.optimizer.betas)
    before = {key: each.detach().clone() for key, each in stage.network.named_parameters()}
    for step in range(3):
        found = list(stage.losses(batch, Moment(step, 43_590, 40, 2, np.random.default_rng(0), generator)))
        if step == 0:
            assert found == [], "the release makes no update in its first iteration"
            continue
        rate = player.optimizer.rate * player.schedule.factor(step, 43_590)
        assert rate == pytest.approx(expected["learning_rate"][step - 1], abs=1e-12)
        loss = found[0][1]["nll"]
        close(loss, expected["loss"][step - 1], 1e-5)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for key in expected:
            if key.endswith(f"/step_{step}"):
                close(parameter(stage.network, key.split("/")[0]), expected[key], 3e-5)
    for key, change in zip(expected["all_keys"], expected["sum_abs_change"], strict=True):
        if UNUSED.fullmatch(key):
            assert change == 0
            continue
        name = rename(key, 4)
        moved = float((stage.network.get_parameter(name).detach() - before[name]).abs().sum())
        assert moved == pytest.approx(change, rel=3e-3), key


def test_a_loss_that_is_not_finite_names_its_layer() -> None:
    """The loop adds step and photos, and leaves the step out or stops."""
    stage = Flow(LLFlow.tiny_config(), Flow.Settings(), NO_PHOTOS, torch.device("cpu"))
    with torch.no_grad():
        stage.network.flow.levels[0].steps[1].mix.weight[0, 0] = math.nan
    photo = torch.rand(1, 3, 16, 16)
    batch = Batch(photo, photo, np.ones((1, 3, 256)), np.ones((1, 3, 256)), ["harbour"])
    moment = Moment(1, 10, 16, 1, np.random.default_rng(0), torch.Generator().manual_seed(0))
    ((_, terms),) = stage.losses(batch, moment)
    assert list(terms) == ["nll (level 1, step 2, mix)"]
    assert terms.popitem()[1].isnan()


def pairs_of(count: int) -> list[tuple[Picture, Picture]]:
    """Their red is the number, their green the column."""
    found = []
    for index in range(count):
        samples = np.zeros((16, 16, 3), np.uint8)
        samples[..., 0], samples[..., 1] = index, np.arange(16)
        seen = Picture(f"{index}", torch.from_numpy(samples), statistics.histograms(samples))
        found.append((seen, seen))
    return found


def test_released_batches_are_epochs_without_turns() -> None:
    torch.manual_seed(3)
    data = Mixture([(PairDrawer(pairs_of(7)), 1.0)])
    stage = Flow(LLFlow.tiny_config(), Flow.Settings(released_batches=True), data, torch.device("cpu"))

    def batch(step: int) -> Batch:
        moment = Moment(step, 100, 16, 3, np.random.default_rng(step), torch.Generator())
        return stage.batch(data, moment, torch.device("cpu"))

    epochs = [batch(step).names + batch(step + 1).names for step in range(0, 60, 2)]
    assert all(len(set(epoch)) == 6 for epoch in epochs), "none twice in an epoch, whose seventh is left out"
    assert {name for epoch in epochs for name in epoch} == set("0123456")
    assert len({tuple(epoch) for epoch in epochs}) > 25
    assert batch(9).names == batch(9).names, "a run that goes on has the same"
    columns = [(255 * each[1]).round().int() for step in range(20) for each in batch(step).dark]
    assert {tuple(each[row].tolist()) for each in columns for row in (0, 9)} == {
        tuple(range(16)),
        tuple(range(15, -1, -1)),
    }


def test_released_batches_need_pairs_enough() -> None:
    few, made = PairDrawer(pairs_of(2)), PairDrawer(pairs_of(2), made=True)
    settings = Flow.Settings(released_batches=True)
    data = Mixture([(few, 1.0)])
    stage = Flow(LLFlow.tiny_config(), settings, data, torch.device("cpu"))
    moment = Moment(0, 1, 16, 3, np.random.default_rng(0), torch.Generator())
    with pytest.raises(RecipeError, match="expected 3 pairs or more, for a batch, got 2"):
        stage.batch(data, moment, torch.device("cpu"))
    with pytest.raises(RecipeError, match="released_batches: expected sources of kind pairs alone"):
        Flow(LLFlow.tiny_config(), settings, Mixture([(few, 1.0), (made, 1.0)]), torch.device("cpu"))


PUBLISHED = Path(__file__).parents[1] / "recipes" / "llflow-published.yaml"


def published_variants() -> dict[str, list[str]]:
    """The changes that the recipe's comment tells, by the release's names of its settings."""
    words = " ".join(line[2:] for line in PUBLISHED.read_text().splitlines() if line.startswith("#"))
    large = re.search(r"\(LOL-pc\): (config=\{.*?\}), (steps=\d+), (settings\.schedule=\{.*?\})", words)
    second = re.search(
        r"LOLv2-pc: the same network, (steps=\d+), (settings\.schedule=\{.*?\}), (settings\.reference_share=\d\.\d)",
        words,
    )
    assert large is not None
    assert second is not None
    return {"LOL_smallNet": [], "LOL-pc": [*large.groups()], "LOLv2-pc": [large[1], *second.groups()]}


@pytest.mark.parametrize(
    ("name", "asked", "run", "warmup", "share"),
    [
        ("LOL_smallNet", 45_000, 43_590, 0, 0.2),
        ("LOL-pc", 40_000, 38_760, 3000, 0.2),
        ("LOLv2-pc", 40_000, 39_699, 200, 0.5),
    ],
)
def test_the_published_recipe_is_the_release_to_the_letter(
    name: str, asked: int, run: int, warmup: int, share: float
) -> None:
    recipe = read_recipe(PUBLISHED, published_variants()[name])
    stage, config, settings = stage_settings(recipe, "")
    assert stage is Flow
    small = name == "LOL_smallNet"
    assert config == (Config() if small else Config(channels=64, blocks=24, stacked=(1, 3, 5, 7), steps=12))
    wanted = Flow.Settings(
        nll=1,
        reference_share=share,
        skip_first=True,
        released_batches=True,
        optimizer=Optimizer(kind="adam", rate=5e-4, betas=(0.9, 0.999), weight_decay=0, epsilon=1e-8),
        schedule=Released(asked=asked, warmup=warmup, milestones=(0.5, 0.75, 0.9, 0.95), decay=0.5),
    )
    assert settings == wanted
    assert (recipe.steps, recipe.seed, recipe.data.jitter) == (run, 10, None)
    assert [(each.crop, each.count) for each in recipe.batches] == [(160, 16)]
    assert (recipe.average, recipe.clip, recipe.non_finite) == (None, None, "skip")
    expected = numbers("learning_rate")
    for iteration, rate in zip(
        expected[f"{name}_iterations"], expected[f"{name}_learning_rates"], strict=True
    ):
        found = settings.optimizer.rate * settings.schedule.factor(int(iteration) - 1, recipe.steps)
        assert found == pytest.approx(rate, abs=1e-12)


# Import


def test_sizes_come_from_shapes() -> None:
    small, full = (read(listed(weights), {}, {}) for weights in ("weights", "weights_full"))
    assert small.config == Config()
    assert full.config == Config(channels=64, blocks=24, stacked=(1, 3, 5, 7), steps=12)


@pytest.mark.parametrize("weights", ["weights", "weights_full"])
def test_published_names_come_back(weights: str) -> None:
    state = listed(weights)
    found = read(state, {}, {})
    back = {found.published_name(name) for name in found.tensors}
    assert back == {name for name in state if UNUSED.fullmatch(name) is None}
    assert found.published_name("encoder.stranger.weight") == "encoder.stranger.weight"


def test_unused_tensors_are_left_out_and_nothing_else() -> None:
    state = {**listed(), "RRDB.stranger.weight": np.zeros(1, np.float32)}
    found = read(state, {}, {}).tensors.keys()
    wanted = Network(Config()).state_dict().keys()
    assert found - wanted == {"RRDB.stranger.weight"}
    assert wanted <= found
    assert len(state) - len(found) == sum(UNUSED.fullmatch(key) is not None for key in state) == 10


def test_an_imported_network_counts_as_started() -> None:
    network = published().train()
    before = {key: each.clone() for key, each in network.state_dict().items()}
    photo = fill.photo("attic", 16, 16)
    network.encode(torch.from_numpy(photo).permute(2, 0, 1)[None], torch.rand(1, 3, 256))[0].forward(
        torch.rand(1, 3, 16, 16)
    )
    assert all(torch.equal(before[key], each) for key, each in network.state_dict().items())


def test_stacked_blocks_can_be_told() -> None:
    assert read(listed(), {}, {"stacked": "2"}).config == Config(stacked=(2,))
    full = listed("weights_full")
    assert read(full, {}, {"stacked": "0,2,4,23"}).config.model_dump()["stacked"] == (0, 2, 4, 23)
    for value, words in (
        ("9", "stacked"),
        ("1,1", r"stacked: expected each block once, got \[1, 1\]; --set tells: stacked"),
        ("1,2", "hold 1 blocks, not 2"),
        ("x", "--set stacked"),
    ):
        with pytest.raises(WeightsError, match=words):
            read(listed(), {}, {"stacked": value})
    with pytest.raises(WeightsError, match="no such key; there are: stacked"):
        read(listed(), {}, {"steps": "4"})


def test_checkpoints_are_recognised_by_their_names() -> None:
    assert matches(listed().keys())
    assert not matches({"backbone.conv_in.weight"})
    state = listed()
    del state["RRDB.conv_first.weight"]
    with pytest.raises(WeightsError, match=r"'RRDB\.conv_first\.weight' is missing"):
        read(state, {}, {})

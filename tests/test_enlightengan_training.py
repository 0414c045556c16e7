"""EnlightenGAN's critics, losses, steps and data against numbers of the published code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import fill
import lowlight
from enlightengan_numbers import numbers, picture, published, tensors
from lowlight import statistics
from lowlight.errors import RecipeError, WeightsError
from lowlight.methods.enlightengan import Config, EnlightenGAN
from lowlight.methods.enlightengan.critic import Critic
from lowlight.methods.enlightengan.network import attention_map
from lowlight.methods.enlightengan.published import unname
from lowlight.methods.enlightengan.training import (
    Crops,
    Draws,
    Features,
    Released,
    Unpaired,
    epoch_batch,
    from_target,
    make_crops,
    plain,
    relative,
    relative_of_generator,
)
from lowlight.nn.features import CAFFE_MEAN, VGG
from lowlight.training.checkpoint import Checkpoint
from lowlight.training.data import Mixture, Pair, Picture, UnpairedDrawer
from lowlight.training.loop import fit
from lowlight.training.recipe import Recipe, read_recipe, stage_settings
from lowlight.training.stage import Moment, Optimizer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
NO_PHOTOS = Mixture([(UnpairedDrawer([], []), 1.0)])


class TinyFeatures(nn.Module):
    """The fixture's stand-in for VGG-16."""

    def __init__(self, mean: tuple[float, ...] = (0, 0, 0)) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.load_state_dict(tensors("tiny"))
        self.requires_grad_(False)
        self.mean = mean

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = 255 * picture.flip(1) - torch.tensor(self.mean, dtype=picture.dtype)[:, None, None]
        return [F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2)))]


def critic(part: str) -> Critic:
    made = Critic({"global": 5, "local": 4}[part], 64)
    made.load_state_dict(tensors(f"discriminator_{part}"))
    return made


def stage_with(vgg: nn.Module, *, full: bool = False, **features: Any) -> Unpaired:
    """A stage of the published settings whose features are these; full: of the published sizes."""
    config, width = (Config(align_corners=True), 64) if full else (EnlightenGAN.tiny_config(), 2)
    settings = Unpaired.Settings(features=Features(weight=0), critic_width=width)
    stage = Unpaired(config, settings, NO_PHOTOS, CPU)
    stage.settings = settings.model_copy(update={"features": Features(**features)})
    stage.vgg = vgg
    return stage


def close(found: Tensor, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)


def batch_of(name: str, height: int, width: int, low: float, high: float) -> Tensor:
    return picture(f"{name}0", f"{name}1", height=height, width=width, low=low, high=high)


# Critics and losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "parameters", "side"), [("global", 11_154_369, 320), ("local", 6_959_553, 32)]
)
def test_critics(part: str, parameters: int, side: int) -> None:
    """In float64: float32's rounding, which is the processor's, takes the whole tolerance by itself."""
    expected, made = numbers("discriminators"), critic(part).double()
    assert sum(each.numel() for each in made.parameters()) == parameters
    name, size = ("d", (64, 80)) if part == "global" else ("p", (32, 32))
    with torch.no_grad():
        close(made(batch_of(f"{name}real", *size, 0.2, 1).double()), expected[f"{part}_real"], 2e-6)
        close(made(batch_of(f"{name}fake", *size, 0, 0.8).double()), expected[f"{part}_fake"], 2e-6)
        assert (
            list(made(torch.zeros(1, 3, side, side).double()).shape)
            == expected[f"{part}_shape_{side}"].tolist()
        )


def test_what_critics_say() -> None:
    maps, losses = numbers("discriminators"), numbers("losses")
    whole, patch = (
        [torch.from_numpy(maps[f"{part}_{name}"]) for name in ("real", "fake")]
        for part in ("global", "local")
    )
    for name, value in (
        ("D_global", relative(*whole)),
        ("G_global", relative_of_generator(*whole)),
        ("D_local_one_patch", plain(*patch)),
        ("D_local_one_patch_relativistic", relative(*patch)),
        ("G_local_one_patch", from_target(patch[1], 1)),
    ):
        close(value, losses[name], 1e-6)


SFP = [
    # name, settings
    ("", {}),
    ("_no_instance_norm", {"standardised": False}),
    ("_mean_subtracted", {"subtract_mean": True}),
    ("_pool4", {"pool_4": True}),
    ("_relu5_3", {"layer": "relu5_3"}),
    ("_pool4_mean", {"pool_4": True, "subtract_mean": True}),
]


@pytest.mark.parametrize(("name", "changes"), SFP[:3])
def test_what_is_preserved_by_tiny_features(name: str, changes: dict[str, Any]) -> None:
    made, dark = (batch_of(each, 64, 64, 0, high) for each, high in (("sfpout", 0.9), ("sfpin", 0.4)))
    stage = stage_with(TinyFeatures(CAFFE_MEAN if "subtract_mean" in changes else (0, 0, 0)), **changes)
    close(stage.distance(made, dark), numbers("losses")[f"SFP_tiny{name}"], 1e-6)


@pytest.mark.slow
def test_what_is_preserved_by_vgg() -> None:
    expected, state = numbers("losses"), tensors("vgg16")
    made, dark = (batch_of(each, 64, 64, 0, high) for each, high in (("sfpout", 0.9), ("sfpin", 0.4)))
    for name, changes in SFP:
        chosen = Features(**changes)
        vgg = VGG(
            state,
            seen_as="caffe",
            layers=[chosen.layer],
            centred=chosen.subtract_mean,
            pool_4=chosen.pool_4,
        )
        with torch.no_grad():
            close(stage_with(vgg, **changes).distance(made, dark), expected[f"SFP_vgg16{name}"], 1e-6)
            if not name:
                (features,) = vgg((dark[:1] + 1) / 2)
                assert sum(each.numel() for each in vgg.parameters()) == 9_995_072
                close(features[:, ::8], expected["vgg16_relu5_1_features"], 3e-5)


# Whole steps, in float64


@pytest.mark.slow
@pytest.mark.parametrize(("name", "iterations"), [("tiny", 2), ("vgg16", 1)])
def test_recorded_steps(name: str, iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, order = numbers(f"step_{name}"), numbers("step_tiny")
    vgg: nn.Module = TinyFeatures()
    if name == "vgg16":
        vgg = VGG(tensors("vgg16"), seen_as="caffe", centred=False, pool_4=False)
    stage = stage_with(vgg.double(), full=True)
    stage.generator.load_state_dict(published().state_dict())
    for part in ("global", "local"):
        stage.networks[part].load_state_dict(critic(part).state_dict())
    for network in stage.networks.values():
        network.double().train()
    players = stage.players()
    optimizers = {
        name: torch.optim.Adam(player.parameters, lr=player.optimizer.rate, betas=player.optimizer.betas)
        for name, player in players.items()
    }
    moment = Moment(0, 1, 64, 2, np.random.default_rng(0), torch.Generator())
    letters = {"generator": "G", "global": "D_A", "local": "D_P"}
    for iteration in range(iterations):
        offsets = [(int(top), int(left)) for top, left in expected[f"it{iteration}_offsets_hw"]]
        monkeypatch.setattr(stage, "places", lambda _moment, _side, offsets=offsets: offsets)
        dark = (batch_of(f"stepA{iteration}.", 64, 64, 0, 0.6).double() + 1) / 2
        light = (batch_of(f"stepB{iteration}.", 64, 64, 0.1, 1).double() + 1) / 2
        divisors = torch.tensor([2.73, 1.0], dtype=torch.float64)[:, None, None, None]
        none = np.zeros((2, 3, 256))
        sums: dict[str, dict[str, float]] = {}
        for player, terms in stage.losses(Crops(dark, light, none, none, [], dark / divisors), moment):
            optimizers[player].zero_grad()
            total = torch.stack(list(terms.values())).sum()
            total.backward(inputs=list(players[player].parameters))  # type: ignore[no-untyped-call]
            sums[player] = {name: float(each.detach()) for name, each in terms.items()}
            if iteration == 0:
                check_gradients(stage.networks[player], letters[player], expected, order)
            optimizers[player].step()
        made = sums["generator"]
        for loss, value in (
            ("G_A", made["global"] + made["local"]),
            ("vgg", made["features"] + made["patch_features"]),
            ("G", sum(made.values())),
            ("D_A", sums["global"]["critic"]),
            ("D_P", sums["local"]["critic"]),
        ):
            assert value == pytest.approx(float(expected[f"it{iteration}_loss_{loss}"]), abs=1e-9), loss
    stage.generator.eval()
    with torch.no_grad():
        output, _ = stage.generator.generate(picture("even").double())
        close(output[:, :, ::4], expected["after_output"], 1e-6)
        for part, size in (("global", (64, 80)), ("local", (32, 32))):
            given = batch_of("dfake" if part == "global" else "pfake", *size, 0, 0.8).double()
            close(stage.networks[part](given), expected[f"after_{part}_fake"], 1e-6)
    norms = stage.generator.downs[0].norms[0], stage.generator.downs[4].norms[0]
    close(norms[0].running_mean, expected["after_module.bn1_1.running_mean"], 1e-6)
    close(norms[1].running_var, expected["after_module.bn5_1.running_var"], 1e-6)


def check_gradients(
    network: nn.Module, letter: str, expected: dict[str, NDArray[Any]], order: dict[str, NDArray[Any]]
) -> None:
    gradients = {
        f"module.{unname(name, 5) if letter == 'G' else name}": each.grad
        for name, each in network.named_parameters()
    }
    names = [str(name) for name in order[f"names_{letter}"]]
    assert sorted(names) == sorted(gradients)
    for name, norm, probe in zip(
        names, expected[f"it0_grad_norm_{letter}"], expected[f"it0_grad_probe_{letter}"], strict=True
    ):
        gradient = gradients[name]
        assert gradient is not None
        assert float(gradient.norm()) == pytest.approx(norm, abs=1e-6), name
        direction = torch.from_numpy(fill.unit(f"probe/{name}", tuple(gradient.shape))).double()
        assert float((gradient * direction).sum()) == pytest.approx(probe, abs=1e-6), name
    first = gradients[names[0]]
    assert first is not None
    close(first, expected[f"it0_grad_first_{letter}"], 1e-6)


def test_the_patches_lie_where_the_release_draws_them() -> None:
    stage = stage_with(TinyFeatures())

    def places(side: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng(side)
        found: list[tuple[int, int]] = []
        for _ in range(40):
            found += stage.places(Moment(0, 1, side, 2, rng, torch.Generator()), side)
        return found

    assert len(places(64)) == 240
    assert {top for top, _ in places(35)} == {left for _, left in places(35)} == {0, 1, 2}
    rng = np.random.default_rng(7)
    left, top = rng.integers(32), rng.integers(32)
    moment = Moment(0, 1, 64, 2, np.random.default_rng(7), torch.Generator())
    assert stage.places(moment, 64)[0] == (top, left), "the column is drawn before the row"
    with pytest.raises(RecipeError, match="at least 33 pixels for patches of 32, got 32"):
        stage.check_crop(32)


# Data


def photo(name: str, samples: NDArray[np.uint8]) -> Picture:
    return Picture(name, torch.from_numpy(samples), statistics.histograms(samples))


def test_items_of_the_release() -> None:
    expected = numbers("data")

    def made(name: str, low: float, high: float) -> Picture:
        samples = np.round(255 * fill.photo(f"egan/{name}", 72, 96, low, high)).astype(np.uint8)
        return photo(name, samples)

    darks = [made(f"dataA{index}", 0, 0.4) for index in range(2)]
    lights = [made(f"dataB{index}", 0.2, 1) for index in range(3)]
    crop = int(expected["crop"])
    pairs: list[Pair] = []
    drawn: list[Draws] = []
    for item in range(4):
        told = {name.removeprefix(f"{item}_"): each for name, each in expected.items()}
        index = int(told["index"])
        pairs.append((darks[index % 2], lights[index % 3]))
        corners = [(int(told[f"crop_{side}"][0]), int(told[f"crop_{side}"][1])) for side in "AB"]
        drawn.append(
            Draws(
                corners[0],
                bool(told["mirror_A"]),
                corners[1],
                bool(told["mirror_B"]),
                bool(told["flip_horizontal"]),
                bool(told["flip_vertical"]),
                int(told["times"]) if told["darken"] else None,
            )
        )
    batch = make_crops(pairs, drawn, crop, CPU)
    found = [2 * each - 1 for each in (batch.dark, batch.light, batch.darkened)]
    found.append(attention_map(found[2]))
    for item in range(4):
        for name, values in zip(("A", "B", "input_img", "A_gray"), found, strict=True):
            close(values[item, :, ::4, ::4], expected[f"{item}_{name}"], 1e-6)
        sums = [float(values[item].double().sum()) for values in found]
        assert sums == pytest.approx(expected[f"{item}_sums"].tolist(), abs=2e-2)


def many(count: int, side: int = 40) -> list[Picture]:
    return [photo(str(index), np.full((side, side + 8, 3), index, np.uint8)) for index in range(count)]


def test_an_epoch_has_each_photo_of_the_larger_folder_once_with_a_partner_for_good() -> None:
    darks, lights = many(3), many(7)

    def epoch(first: int) -> list[list[tuple[str, str]]]:
        batches = [epoch_batch(darks, lights, 3, first + step, 5) for step in range(3)]
        return [[(below.name, above.name) for below, above in each] for each in batches]

    fixed = {(str(index % 3), str(index)) for index in range(7)}
    orders = []
    for first in (0, 3, 6):
        batches = epoch(first)
        assert [len(each) for each in batches] == [3, 3, 1]
        orders.append([pair for each in batches for pair in each])
        assert set(orders[-1]) == fixed
    assert orders[0] != orders[1] != orders[2]
    assert epoch(3) == epoch(3), "a run that goes on has the same"


def test_crops_are_windows_of_both_photos_each_its_own() -> None:
    ramp = np.arange(48 * 64 * 3, dtype=np.int64).reshape(48, 64, 3) % 251
    data = Mixture([(UnpairedDrawer([photo("d", ramp.astype(np.uint8))], many(3)), 1.0)])
    stage = stage_with(TinyFeatures())
    rng = np.random.default_rng(0)
    darkened = 0
    for _ in range(20):
        batch = stage.batch(data, Moment(0, 1, 32, 4, rng, torch.Generator()), CPU)
        assert batch.dark.shape == batch.light.shape == batch.darkened.shape == (4, 3, 32, 32)
        shares = batch.dark / batch.darkened.clamp(min=1e-6)
        for each, share in zip(batch.dark, shares, strict=True):
            times = float(share[each > 0.1].median())
            assert times == pytest.approx(1) or 1.99 < times < 4.01
            darkened += times > 1.5
        assert len(batch.names) == 4
    assert 25 < darkened < 55, "a half of 80"


def test_halved_crops_are_windows_of_twice_their_side_reduced() -> None:
    ramp = np.arange(48 * 64, dtype=np.int64).reshape(48, 64, 1).repeat(3, axis=2) // 16
    data = Mixture([(UnpairedDrawer([photo("d", ramp.astype(np.uint8))], many(3)), 1.0)])
    stage = stage_with(TinyFeatures())
    reduced = []
    for share in (0.0, 0.5, 1.0):
        stage.settings = stage.settings.model_copy(update={"halved": share, "darkened": 0})
        rng = np.random.default_rng(0)
        for _ in range(40):
            batch = stage.batch(data, Moment(0, 1, 16, 2, rng, torch.Generator()), CPU)
            assert batch.dark.shape == batch.light.shape == (2, 3, 16, 16)
            # A row of the photo is 4 steps below the one before.
            rows = (255 * batch.dark).mean(dim=(1, 3)).diff(dim=1).abs()
            assert torch.allclose(rows, rows[0, 0].round().expand_as(rows), atol=1e-3)
            reduced.append(float(rows[0, 0]) > 6)
    assert not any(reduced[:40])
    assert 10 < sum(reduced[40:80]) < 30
    assert all(reduced[80:])
    with pytest.raises(RecipeError, match=r"twice the crop, 80 pixels, .* d \(64x48\)"):
        stage.batch(data, Moment(0, 1, 40, 2, rng, torch.Generator()), CPU)


# Settings


def test_what_is_ours_is_asked_of_the_generator_alone() -> None:
    stage = stage_with(TinyFeatures(), weight=0)
    stage.settings = stage.settings.model_copy(update={"smooth": 2.0, "lightness": 3.0, "patches": 0})
    stage.generator.eval().last.weight.data.zero_()
    stage.generator.last.bias.data.zero_()  # the result is the dark photo itself
    dark, light = torch.full((2, 3, 32, 32), 0.1), torch.full((2, 3, 32, 32), 0.5)
    dark[1], light[0] = 0.2, 0.3
    none = np.zeros((2, 3, 256))
    moment = Moment(0, 1, 32, 2, np.random.default_rng(0), torch.Generator())
    found = dict(stage.losses(Crops(dark, light, none, none, [], dark), moment))
    assert found["generator"].keys() == {"global", "smooth", "lightness"}
    assert found["generator"]["smooth"].item() == pytest.approx(0, abs=1e-5)
    assert found["generator"]["lightness"].item() == pytest.approx(3 * (0.3**2 + 0.2**2) / 2, abs=1e-5)


def test_the_schedule_of_the_release() -> None:
    schedule = Released(epochs=200)
    rates = {epoch: 1e-4 * schedule.factor(32 * (epoch - 1), 6400) for epoch in range(1, 201)}
    assert all(rates[epoch] == 1e-4 for epoch in range(1, 102))
    for epoch in range(102, 201):
        assert rates[epoch] == pytest.approx(1e-4 - 1e-6 * (epoch - 101), abs=1e-12)
    assert schedule.factor(32 * 200 - 1, 6400) == pytest.approx(0.01)


def test_the_published_recipe_is_the_release_to_the_letter() -> None:
    recipe = read_recipe(Path(__file__).parents[1] / "recipes" / "enlightengan-published.yaml")
    stage, config, settings = stage_settings(recipe, "")
    assert stage is Unpaired
    assert config == Config(width=32, levels=5, attention=True, align_corners=True)
    assert settings == Unpaired.Settings(
        adversarial=1,
        features=Features(
            kind="vgg",
            weight=1,
            input="caffe",
            layer="relu5_1",
            standardised=True,
            subtract_mean=False,
            pool_4=False,
        ),
        patches=6,
        patch=32,
        critic_width=64,
        global_layers=5,
        local_layers=4,
        darkened=0.5,
        released_batches=True,
        optimizer=Optimizer(kind="adam", rate=1e-4, betas=(0.5, 0.999), weight_decay=0, epsilon=1e-8),
        schedule=Released(epochs=200, falling=100),
    )
    assert [(each.crop, each.count) for each in recipe.batches] == [(320, 32)]
    assert recipe.steps == 200 * -(-1016 // 32) == 6400
    assert (recipe.average, recipe.clip, recipe.precision, recipe.data.jitter) == (
        None,
        None,
        "float32",
        None,
    )
    assert recipe.save_every == 5 * 32
    ours = read_recipe(Path(__file__).parents[1] / "recipes" / "enlightengan.yaml")
    assert not isinstance(stage_settings(ours, "")[2].schedule, Released)


def test_without_patches_there_is_no_local_critic() -> None:
    settings = Unpaired.tiny_settings().model_copy(update={"patches": 0})
    stage = Unpaired(EnlightenGAN.tiny_config(), settings, NO_PHOTOS, CPU)
    assert stage.players().keys() == stage.networks.keys() == {"generator", "global"}
    batch = make_crops(
        [(many(9)[8], many(9)[7])], [Draws((0, 0), False, (0, 0), False, False, False, None)], 32, CPU
    )
    moment = Moment(0, 1, 32, 1, np.random.default_rng(0), torch.Generator())
    found = dict(stage.losses(batch, moment))
    assert found.keys() == {"generator", "global"}
    assert found["generator"].keys() == {"global", "features"}


def test_what_cannot_be_trained_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    tiny = Unpaired.tiny_settings()
    mixed = Mixture([(UnpairedDrawer([], []), 1.0), (UnpairedDrawer([], []), 1.0)])
    cases: list[tuple[dict[str, Any], Mixture, str]] = [
        ({"released_batches": True}, mixed, "released_batches: expected one source, of kind unpaired"),
        ({"patch": 8}, NO_PHOTOS, "settings.patch: .* at least 11, got 8"),
        ({"adversarial": 0, "features": Features(weight=0)}, NO_PHOTOS, "nothing is learned"),
    ]
    for changes, data, said in cases:
        with pytest.raises(RecipeError, match=said):
            Unpaired(EnlightenGAN.tiny_config(), tiny.model_copy(update=changes), data, CPU)
    vgg = tiny.model_copy(update={"features": Features()})
    with pytest.raises(WeightsError) as caught:
        Unpaired(EnlightenGAN.tiny_config(), vgg, NO_PHOTOS, CPU)
    text = str(caught.value)
    assert "vgg16.weight (58.9 MB" in text
    assert str(tmp_path / "cache") in text
    assert str(tmp_path / "torch") in text
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize("released", [True, False])
def test_two_folders_train_and_go_on_bit_for_bit(released: bool, tmp_path: Path) -> None:
    """Of 3 dark and 5 bright photos of several sizes, in epochs of 2, 2 and 1 or drawn at random."""
    rng = np.random.default_rng(0)
    for folder, count, light in (("dark", 3, 60), ("bright", 5, 256)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            samples = rng.integers(0, light, (40 + 4 * index, 48, 3), np.uint8)
            Image.fromarray(samples).save(tmp_path / folder / f"{index}.png")
    settings = Unpaired.tiny_settings().model_copy(update={"released_batches": released})
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "method": "enlightengan",
            "stage": "unpaired",
            "config": EnlightenGAN.tiny_config().model_dump(),
            "settings": {**settings.model_dump(), "schedule": {"epochs": 2, "falling": 1}},
            "data": {
                "root": str(tmp_path),
                "sources": [{"kind": "unpaired", "dark": "dark", "light": "bright"}],
            },
            "steps": 6,
            "batches": [{"crop": 32, "count": 2}],
            "average": None,
            "clip": None,
            "device": "cpu",
        }
    )
    fit(recipe, tmp_path / "whole")
    for stop_after in (2, 3):
        parts = tmp_path / f"parts-{stop_after}"
        asked = iter([False] * (stop_after - 1) + [True])
        fit(recipe, parts, stop=lambda asked=asked: next(asked))  # type: ignore[misc]
        fit(recipe, parts, resume=parts / "checkpoint.safetensors")
        one, two = (Checkpoint.read(run / "checkpoint.safetensors") for run in (tmp_path / "whole", parts))
        assert one.tensors.keys() == two.tensors.keys()
        for name, tensor in one.tensors.items():
            assert torch.equal(tensor, two.tensors[name]), name
    enhancer = lowlight.load(tmp_path / "whole" / "last.safetensors", threads=1)
    samples = rng.integers(0, 60, (33, 50, 3), np.uint8)
    assert enhancer(samples).shape == samples.shape

"""How likely photos are, given a dark one: published numbers, units, noise, and the command."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lowlight as package
import tiny_density
from llflow_numbers import numbers, published
from lowlight import places
from lowlight.errors import EngineError, PhotoError, UseError
from lowlight.likelihoods import RANGES, Given, Judge, likelihood, paint
from lowlight.methods.llflow import LLFlow
from pictures import smooth

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def judge() -> Judge:
    network = published()
    return Judge(LLFlow(network.config, {}), network, dequantised=True)


# Numbers of the published code


def test_published_likelihoods_and_gradients(judge: Judge) -> None:
    photos, expected = numbers("input"), numbers("gradients")
    given = judge.given(photos["dark"])
    light = photos["reference"] / np.float32(255)
    stitched = expected["stitched"] / np.float32(255)
    assert given.bits_per_position(light) == pytest.approx(expected["nll"].item(), abs=1e-5)
    assert given.bits_per_position(stitched) == pytest.approx(expected["stitched_nll"].item(), abs=1e-5)
    for picture, nll in zip(expected["degraded"], expected["degraded_nll"], strict=True):
        degraded = (picture / 255).astype(np.float32)
        assert given.bits_per_position(degraded) == pytest.approx(float(nll), abs=1e-5)
    gradient = expected["photo"].transpose(1, 2, 0)
    limit = 2e-5 * np.abs(gradient).max()
    np.testing.assert_allclose(given.gradient(light), gradient, rtol=0, atol=limit)
    for picture, name in ((light, "activation"), (stitched, "stitched_activation")):
        activation = expected[name]
        found = np.square(given.map("slopes", picture))
        np.testing.assert_allclose(found, activation, rtol=0, atol=2e-5 * activation.max())


# Units


def test_bits_per_dimension_are_those_of_the_density(judge: Judge) -> None:
    """Each draw by hand, and seeds that matter a little."""
    photos = numbers("input")
    given = judge.given(photos["dark"])
    noise = np.random.default_rng(3).random(photos["reference"].shape, np.float32)
    density = given.bits_per_position((photos["reference"] + noise) / np.float32(256))
    assert given.bits_per_dimension(photos["reference"], 1, 3) == pytest.approx(density / 3 + 8, abs=1e-5)
    assert given.bits_per_dimension(photos["reference"], 1, 4) != pytest.approx(density / 3 + 8, abs=1e-5)


def test_sides_that_are_no_multiples_are_mirrored(judge: Judge) -> None:
    light = numbers("input")["reference"][:21, :34] / np.float32(255)
    mirrored = np.pad(light, ((0, 3), (0, 6), (0, 0)), mode="symmetric")
    # Constant, so that it is equalised alike.
    small, whole = (judge.given(np.full(each.shape, 20, np.uint8)) for each in (light, mirrored))
    assert small.bits_per_position(light) == whole.bits_per_position(mirrored)
    for kind in RANGES:
        np.testing.assert_array_equal(small.map(kind, light, 2), whole.map(kind, mirrored, 2)[:21, :34])


# Where


def test_bits_of_places_are_those_of_the_picture(judge: Judge) -> None:
    """Their mean, mirrored pixels included, is the published number; a change costs where it is."""
    light = numbers("input")["reference"] / np.float32(255)
    given = judge.given(numbers("input")["dark"])
    bits = given.bits(light)
    assert bits.shape == light.shape[:2]
    assert bits.mean() == pytest.approx(numbers("gradients")["nll"].item(), abs=1e-4)
    assert bits.std() > 1


@pytest.mark.slow
def test_surprise_is_beyond_what_the_density_draws(judge: Judge) -> None:
    given = judge.given(numbers("input")["dark"])
    light = numbers("input")["reference"] / np.float32(255)
    generator = torch.Generator().manual_seed(3)
    drawn = [given.density.draw(generator)[0].permute(1, 2, 0).numpy().clip(0, 1) for _ in range(3)]
    expected = np.median([given.bits(each) for each in drawn], axis=0)
    found, other = (given.map("surprise", light, 3, seed) for seed in (3, 4))
    np.testing.assert_allclose(found, given.bits(light) - expected, atol=1e-4)
    assert not np.allclose(found, other, atol=0.1)


def test_colours_off_are_told_from_lightness_and_from_noise(judge: Judge) -> None:
    """The likeliest picture is clipped, as all are."""
    given = judge.given(numbers("input")["dark"])
    likeliest = given.density.likeliest()[0].permute(1, 2, 0).numpy()
    assert np.abs(likeliest).max() > 1
    right = likeliest.clip(0, 1)
    assert given.map("colours", right).max() == pytest.approx(0, abs=1e-3)
    assert given.map("colours", right + np.float32(0.1)).max() == pytest.approx(0, abs=1e-3)
    tinted = right + np.array([30, 0, -30], np.float32) / 255
    assert given.map("colours", tinted) == pytest.approx(30 * np.sqrt(2), abs=1e-2)
    spot = right.copy()
    spot[20, 30, 0] += 81 / 255  # averaged over 81 pixels; red alone is two thirds of a colour
    off = given.map("colours", spot)
    assert off[16:25, 26:35] == pytest.approx(np.sqrt(2 / 3), abs=1e-2)
    assert off[15].max() == pytest.approx(0, abs=1e-3)


class Toy:
    """All numbers are Gaussian around a half, 1/16 wide. The second and third picture drawn have blown up."""

    WIDTH = 1 / 16

    def __init__(self) -> None:
        self.drawn = 0

    def log_likelihood(self, picture: torch.Tensor) -> torch.Tensor:
        gaussian = torch.distributions.Normal(0.5, self.WIDTH)
        return gaussian.log_prob(picture).sum(dim=1).mean(dim=(1, 2), keepdim=True).expand(-1, 16, 24)

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        picture = 0.5 + self.WIDTH * torch.randn(1, 3, 16, 24, generator=generator)
        self.drawn += 1
        if self.drawn in (2, 3):
            picture[:] = 1e30 if self.drawn == 2 else torch.nan
        return picture

    def likeliest(self) -> torch.Tensor:
        return torch.full((1, 3, 16, 24), 0.5)


def test_what_is_expected_is_the_entropy_and_outlives_a_drawing_that_blew_up() -> None:
    given = Given(Toy(), (16, 24, 3), 8)
    entropy = 1.5 * np.log2(2 * np.pi * np.e * Toy.WIDTH**2)
    assert given.expected(5).mean() == pytest.approx(entropy, abs=0.15)
    # Flat is too likely, by what the noise costs; twice the noise is unlikely.
    flat = np.full((16, 24, 3), 0.5, np.float32)
    noisy = flat + 2 * Toy.WIDTH * np.random.default_rng(0).standard_normal(flat.shape, np.float32)
    assert given.map("surprise", flat, 5).mean() == pytest.approx(-1.5 * np.log2(np.e), abs=0.15)
    assert given.map("surprise", noisy, 5).mean() == pytest.approx(4.5 * np.log2(np.e), abs=0.6)


def test_maps_have_one_scale_for_all_photos() -> None:
    red, blue, purple, white = [178, 24, 43], [33, 102, 172], [84, 39, 136], [255] * 3
    surprise = np.array([[0, 8, 99], [4, -8, -1e9]], np.float32)
    assert paint("surprise", surprise).tolist() == [[white, red, red], [[216, 140, 149], blue, blue]]
    colours = np.array([[0, 48], [24, 300]], np.float32)
    assert paint("colours", colours).tolist() == [[white, purple], [[170, 147, 196], purple]]


def test_slopes_are_ranked() -> None:
    slopes = np.array([[0.0, 5e6], [3e-9, 1.0]], np.float32)
    assert paint("slopes", slopes)[..., 1].tolist() == [[64, 255], [128, 191]]
    assert paint("slopes", np.ones((2, 3), np.float32)).tolist() == [[[255] * 3] * 3] * 2


# What is measured


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks" / "likelihood.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_measured_tables_stand_on_the_page(benchmark: ModuleType) -> None:
    page = benchmark.PAGE.read_text()
    measured = json.loads(benchmark.RESULTS.read_text())
    assert benchmark.fill(page, measured) == page
    assert f"| reference | {measured['candidates']['lol']['reference']['bits']:.1f} |" in page


def test_shares_of_pairs(benchmark: ModuleType) -> None:
    values = np.array([[5, 1], [3, 3]], np.float32)
    inside = np.array([[True, False], [True, False]])
    # Of four pairs 5 is higher than both, 3 than one and like the other.
    assert benchmark.share_higher(values, inside) == 3.5 / 4


# What cannot be


def test_sizes_must_agree(judge: Judge) -> None:
    given = judge.given(np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(PhotoError, match="16x24 pixels, and the dark photo has 24x16"):
        given.bits_per_position(np.zeros((24, 16, 3), np.float32))


def test_photos_that_are_too_large_are_told_what_fits(judge: Judge) -> None:
    small = Judge(judge.method, judge.network, dequantised=True, memory=10_000_000)
    with pytest.raises(
        EngineError, match=r"600x400 pixels need about 390 MB.* reduce both .* to about 96x64"
    ):
        small.given(np.zeros((400, 600, 3), np.uint8))
    with pytest.raises(EngineError, match="need about 780 MB"):
        small.given(np.zeros((400, 600, 3), np.uint8), slopes=True)


def test_what_is_not_finite_is_named(judge: Judge) -> None:
    given = judge.given(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(EngineError, match="not finite: level 1, step 1, norm"):
        given.bits_per_position(np.full((8, 8, 3), 3e38, np.float32))


def test_a_method_without_is_refused() -> None:
    from lowlight.methods.dimma import Config, Dimma

    with pytest.raises(UseError, match="method dimma gives no likelihoods"):
        Judge(Dimma(Config(), {}), torch.nn.Identity(), dequantised=False)


# Users


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_density.write(tmp_path / "tiny.safetensors")
    light = smooth(21, 34)
    Image.fromarray(light // 8).save("low.png")
    Image.fromarray(light).save("good.png")
    noisy = np.random.default_rng(0).integers(0, 256, light.shape, np.uint8)
    Image.fromarray(noisy).save("noisy.png")
    Image.fromarray(light[:8]).save("cut.png")
    return tmp_path


def test_python_takes_what_enhance_takes(place: Path) -> None:
    array = np.asarray(Image.open("good.png"))
    arguments: dict[str, Any] = {"model": "tiny.safetensors", "draws": 2}
    by_path, by_array, by_image, by_bytes, deep = likelihood(
        "low.png",
        "good.png",
        array,
        Image.open("good.png"),
        Path("good.png").read_bytes(),
        array.astype(np.uint16) * 257,
        **arguments,
    )
    assert by_path == by_array == by_image == by_bytes
    assert deep.bits_per_position == pytest.approx(by_path.bits_per_position, abs=1e-4)
    assert deep.bits_per_dimension == by_path.bits_per_dimension
    assert package.likelihood is likelihood
    again, other = (package.likelihood("low.png", array, seed=seed, **arguments)[0] for seed in (0, 1))
    assert again == by_path
    assert other.bits_per_dimension != by_path.bits_per_dimension
    with pytest.raises(PhotoError, match="an 8-bit PIL image or a NumPy array, got int"):
        likelihood("low.png", 5, **arguments)


def test_noise_is_less_likely_where_the_command_says_so(place: Path, lowlight: Run) -> None:
    status, out, err = lowlight(
        "likelihood",
        "low.png",
        "good.png",
        "noisy.png",
        "--model",
        "tiny.safetensors",
        "--map",
        "maps",
        "--json",
    )
    assert (status, err) == (0, "")
    told = json.loads(out)
    good, noisy = told["candidates"]
    assert told["prior_mean"] == "encoder"
    assert good["bits_per_position"] < noisy["bits_per_position"]
    assert good["bits_per_dimension"] < noisy["bits_per_dimension"]
    assert told["ranges"] == {"surprise": [-8, 8], "colours": [0, 48]}
    [found] = likelihood("low.png", "noisy.png", model="tiny.safetensors", maps=["surprise", "colours"])
    for kind in ("surprise", "colours"):
        with Image.open(noisy["maps"][kind]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (34, 21))
            assert np.array_equal(np.asarray(picture), paint(kind, found.maps[kind]))  # type: ignore[arg-type]
        assert noisy[kind] == pytest.approx(float(found.maps[kind].mean()))  # type: ignore[index]
    assert noisy["surprise"] > 8


def test_the_map_of_the_paper_goes_by_its_name(place: Path, lowlight: Run) -> None:
    arguments = ("likelihood", "low.png", "noisy.png", "--model", "tiny.safetensors")
    status, out, err = lowlight(*arguments, "--json", "--map", "maps", "--map-kind", "slopes")
    assert (status, err) == (0, "")
    told = json.loads(out)
    [noisy] = told["candidates"]
    assert told["ranges"] == {"slopes": None}
    assert noisy["maps"] == {"slopes": str(Path("maps/noisy.slopes.png"))}
    assert not {"surprise", "colours", "slopes"} & set(noisy)
    [found] = likelihood("low.png", "noisy.png", model="tiny.safetensors", maps=["slopes"])
    with Image.open(noisy["maps"]["slopes"]) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), paint("slopes", found.maps["slopes"])[..., 0])
    status, _, err = lowlight(*arguments, "--map-kind", "slopes")
    assert (status, err) == (2, "lowlight: --map-kind needs --map DIR, where maps are written\n")
    with pytest.raises(UseError, match="expected some of surprise, colours, slopes, got heat"):
        likelihood("low.png", "noisy.png", model="tiny.safetensors", maps=["heat"])  # type: ignore[list-item]


def test_a_table_with_maps_says_their_scales(place: Path, lowlight: Run) -> None:
    status, out, err = lowlight(
        "likelihood", "low.png", "good.png", "--model", "tiny.safetensors", "--map", "maps"
    )
    assert status == 0
    assert out.splitlines()[0].split()[-2:] == ["surprise", "colours"]
    assert "maps/*.surprise.png: bits a position beyond" in err
    assert "compare only candidates of one dark photo that are equally sharp" in err
    assert "-8 blue, too likely, to 8 red, too unlikely\n" in err
    assert "0 white to 48 purple\n" in err


def test_the_table_and_what_it_leaves_out(place: Path, lowlight: Run) -> None:
    tiny_density.write(Path("plain.safetensors"), noise=None)
    status, out, err = lowlight(
        "likelihood", "low.png", "good.png", "cut.png", "gone.png", "--model", "plain.safetensors"
    )
    assert status == 1
    assert out.splitlines()[0].split() == ["candidate", "bits", "per", "position"]
    assert len(out.splitlines()) == 2
    assert "cut.png: 34x8 pixels, and the dark photo has 34x21" in err
    assert "gone.png" in err
    assert "No bits per dimension: the model was trained without noise" in err


def test_maps_replace_nothing(place: Path, lowlight: Run) -> None:
    arguments = ("likelihood", "low.png", "good.png", "--model", "tiny.safetensors", "--map", ".")
    assert lowlight(*arguments)[0] == 0
    status, _, err = lowlight(*arguments)
    assert status == 2
    assert "good.surprise.png exists; --overwrite replaces it" in err
    assert lowlight(*arguments, "--overwrite")[0] == 0
    status, _, err = lowlight(*arguments, "sub/good.png")
    assert status == 2
    assert "two candidates have one name" in err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ([], "no weights with a likelihood are called 'llflow-torch': train recipes/llflow.yaml or import"),
        (["--model", "nobody"], "no model is called 'nobody'"),
        (["--model", "dimma"], "method dimma gives no likelihoods"),
    ],
)
def test_models_without_likelihoods_are_wrong_use(
    place: Path, lowlight: Run, monkeypatch: pytest.MonkeyPatch, model: list[str], said: str
) -> None:
    shipped = {"dimma": places.find("dimma")}
    monkeypatch.setattr(places, "candidates", lambda: shipped)
    status, out, err = lowlight("likelihood", "low.png", "good.png", *model)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_without_torch_one_line_says_so(place: Path, lowlight: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lowlight.likelihoods", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    status, out, err = lowlight("likelihood", "low.png", "good.png")
    assert (status, out) == (1, "")
    assert err == "lowlight: likelihoods need torch, which is not installed: pip install 'lowlight[train]'\n"

"""The way of a photo through a method: lightness, strength, tiles, memory, kinds of pictures."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import Field

import lowlight
from lowlight import methods, tiles
from lowlight.engines import OutOfMemory
from lowlight.enhancer import SPREAD_WHITE, Enhancer
from lowlight.errors import ControlError, EngineError, LowlightError, PhotoError, UseError
from lowlight.gain import BOUNDS, apply_gain, slope
from lowlight.methods import Array, Controls, Observation, Samples
from lowlight.photo import Photo, read_photo


class Blur:
    """A stand-in method whose exact halo is 5 pixels."""

    name: ClassVar[str] = "blur"
    title: ClassVar[str] = "Blur"
    Controls: ClassVar[type[Controls]] = Controls
    Config: ClassVar[type[methods.Config]] = methods.Config
    halo: int | None = 5
    multiple = 4
    border = 0
    tile_bytes = 100

    def __init__(self, config: Any = None, arrays: Mapping[str, Array] | None = None) -> None:
        pass

    def observe(self, samples: Samples, controls: Controls) -> Observation:
        mean = np.array(samples.mean(dtype=np.float64) / np.iinfo(samples.dtype).max, np.float32)
        lightness = 0.4 if controls.lightness == "auto" else controls.lightness
        return {"mean": mean, "lightness": np.array(lightness, np.float32)}


class BlurEngine:
    """Means of 11x11 pixels, zero outside, after twice the gain; refuses tiles above ``limit`` pixels."""

    device = "cpu"

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.shapes: list[tuple[int, ...]] = []

    def run(self, tile: Array, observation: Observation) -> Array:
        self.shapes.append(tile.shape)
        if tile.shape[0] * tile.shape[1] > self.limit:
            raise OutOfMemory
        padded = np.pad(tile.astype(np.float64), ((5, 5), (5, 5), (0, 0)))
        total = sum(
            padded[dy : dy + tile.shape[0], dx : dx + tile.shape[1]] for dy in range(11) for dx in range(11)
        )
        return np.asarray(total / 121 * (2 + observation["mean"]), np.float32)


def dark_photo(height: int, width: int, dtype: type = np.uint8, seed: int = 0) -> Photo:
    samples = np.random.default_rng(seed).random((height, width, 3)) * 0.3 * np.iinfo(dtype).max
    return Photo(samples.astype(dtype))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70), width=st.integers(1, 70), halo=st.integers(0, 20),
    multiple=st.sampled_from([1, 4, 16]), pixels=st.integers(1, 5_000),
)  # fmt: skip
def test_tiles_cover_each_pixel_once_and_keep_the_grid(
    height: int, width: int, halo: int, multiple: int, pixels: int
) -> None:
    seen = np.zeros((height, width), int)
    for window in tiles.plan(height, width, halo, multiple, pixels):
        seen[window.top : window.top + window.height, window.left : window.left + window.width] += 1
        assert window.outer_top % multiple == window.outer_left % multiple == 0
        bottom, right = window.outer_top + window.outer_height, window.outer_left + window.outer_width
        assert bottom == height or bottom % multiple == 0
        assert right == width or right % multiple == 0
        assert window.top - window.outer_top >= min(halo, window.top)
        assert bottom - (window.top + window.height) >= min(halo, height - window.top - window.height)
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (1, 1), (3, 200), (150, 5)])
def test_tiled_equals_untiled(size: tuple[int, int]) -> None:
    photo = dark_photo(*size, np.uint16)
    held = size[0] * size[1] * 12
    whole, _ = Enhancer(Blur(), BlurEngine()).enhance_photo(photo)
    engine = BlurEngine()
    tiled, report = Enhancer(Blur(), engine).enhance_photo(photo, memory=held + 32 * 32 * Blur.tile_bytes)
    assert report.tiles == len(engine.shapes)
    assert report.tiles > 1 or size == (1, 1) or size[0] * size[1] <= 32 * 32
    assert np.array_equal(whole.samples, tiled.samples)


def test_a_tile_that_does_not_fit_is_halved_and_the_result_is_the_same() -> None:
    photo = dark_photo(120, 200)
    whole, _ = Enhancer(Blur(), BlurEngine()).enhance_photo(photo)
    engine = BlurEngine(limit=64 * 64)
    halved, report = Enhancer(Blur(), engine).enhance_photo(photo)
    assert np.array_equal(whole.samples, halved.samples)
    assert report.tiles < len(engine.shapes)


def test_a_tile_that_cannot_be_halved_is_an_error() -> None:
    with pytest.raises(EngineError, match="does not fit in memory"):
        Enhancer(Blur(), BlurEngine(limit=10)).enhance_photo(dark_photo(50, 50))


def test_too_little_memory_says_how_much_is_needed() -> None:
    with pytest.raises(EngineError, match=r"200x120 pixels need at least \d+ MB, and 0 MB are allowed"):
        Enhancer(Blur(), BlurEngine()).enhance_photo(dark_photo(120, 200), memory=1000)


@pytest.mark.parametrize("lightness", [0.1, 0.3, 0.5])
def test_the_result_has_the_lightness_asked_for(lightness: float) -> None:
    enhancer = Enhancer(Blur(), BlurEngine())
    result, report = enhancer.enhance_photo(dark_photo(80, 90), enhancer.controls(lightness=lightness))
    assert result.samples.mean() / 255 == pytest.approx(lightness, abs=0.002)
    assert report.lightness_after == pytest.approx(result.samples.mean() / 255, abs=1e-9)
    assert report.controls["lightness"] == lightness
    assert not report.notes


class ShiftControls(Controls):
    brightness: float = Field(0.0, ge=-0.4, le=0.4)


class Shift(Blur):
    """A stand-in method that is not told a lightness, but can be shifted."""

    Controls: ClassVar[type[Controls]] = ShiftControls
    lightens: ClassVar[str] = "brightness"

    def observe(self, samples: Samples, controls: Controls) -> Observation:
        assert isinstance(controls, ShiftControls)
        return {"brightness": np.array(controls.brightness, np.float32)}


class ShiftEngine(BlurEngine):
    """Twice the tile and the shift times ``steep``."""

    steep = 0.5

    def run(self, tile: Array, observation: Observation) -> Array:
        self.shapes.append(tile.shape)
        return np.asarray(2 * tile + self.steep * observation["brightness"], np.float32)


def test_a_control_is_searched_for_the_lightness_on_a_reduced_copy() -> None:
    engine = ShiftEngine()
    enhancer = Enhancer(Shift(), engine)
    photo = dark_photo(300, 420)  # mean 0.15, so 0.3 without a shift
    result, report = enhancer.enhance_photo(photo, enhancer.controls(lightness=0.4))
    assert result.samples.mean() / 255 == pytest.approx(0.4, abs=0.002)
    assert report.controls["brightness"] == pytest.approx(0.2, abs=0.02)
    assert report.notes == ()
    *trials, last = engine.shapes
    assert last == (300, 420, 3)
    assert 2 <= len(trials) <= 4
    assert set(trials) == {(128, 180, 3)}
    shifted = 2 * (photo.samples / 255) + 0.5 * report.controls["brightness"]
    assert np.abs(result.samples / 255 - shifted).max() < 0.01, "hardly any gain is left"
    wide = Photo(photo.samples.astype(np.uint16) * 257)
    _, of_wide = enhancer.enhance_photo(wide, enhancer.controls(lightness=0.4))
    assert of_wide.controls["brightness"] == report.controls["brightness"]


class NoiseEngine(ShiftEngine):
    """Lighter where there is noise, as networks are whose photos have some."""

    def run(self, tile: Array, observation: Observation) -> Array:
        return np.asarray(4 * tile * tile + self.steep * observation["brightness"], np.float32)


def test_the_reduced_copy_is_as_noisy_as_the_photo() -> None:
    photo = Photo(np.random.default_rng(0).integers(0, 128, (300, 420, 3), np.uint8))
    enhancer = Enhancer(Shift(), NoiseEngine())
    result, report = enhancer.enhance_photo(photo, enhancer.controls(lightness=0.45))
    assert result.samples.mean() / 255 == pytest.approx(0.45, abs=0.002)
    shifted = 4 * np.square(photo.samples / 255) + 0.5 * report.controls["brightness"]
    assert shifted.clip(0, 1).mean() == pytest.approx(0.45, abs=0.01), "hardly any gain is left"


@pytest.mark.parametrize("given", [{}, {"lightness": "auto"}, {"lightness": 0.4, "brightness": 0.0}])
def test_nothing_is_searched_unasked(given: dict[str, Any]) -> None:
    engine = ShiftEngine()
    enhancer = Enhancer(Shift(), engine)
    _, report = enhancer.enhance_photo(dark_photo(300, 420), enhancer.controls(**given))
    assert len(engine.shapes) == 1
    assert report.controls["brightness"] == 0
    if given.get("lightness") == 0.4:
        assert report.lightness_after == pytest.approx(0.4, abs=0.002)


def test_a_lightness_beyond_the_controls_bounds_is_told_and_reached_by_a_gain() -> None:
    enhancer = Enhancer(Shift(), ShiftEngine())
    result, report = enhancer.enhance_photo(dark_photo(40, 50), enhancer.controls(lightness=0.7))
    assert result.samples.mean() / 255 == pytest.approx(0.7, abs=0.002)
    assert report.controls["brightness"] == 0.4
    assert report.notes == (
        "lightness 0.70 is beyond what brightness reaches here, 0.50 at 0.4; a gain of 2.66 follows",
    )


def test_a_control_that_moves_the_mean_the_wrong_way_is_told() -> None:
    engine = ShiftEngine()
    engine.steep = -0.5
    enhancer = Enhancer(Shift(), engine)
    _, report = enhancer.enhance_photo(dark_photo(40, 50), enhancer.controls(lightness=0.4))
    assert report.lightness_after == pytest.approx(0.4, abs=0.002)
    assert report.controls["brightness"] == 0
    assert report.notes[0].startswith("brightness does not move the mean of this photo steadily: 0.30 at 0")


@pytest.mark.parametrize(
    ("chosen", "given", "mean", "brightness"),
    [
        (0.4, {}, 0.4, 0.0),  # by a gain: nobody asked for it, so nothing is searched
        (None, {}, 0.3, 0.0),
        (0.4, {"brightness": 0.1}, 0.35, 0.1),
        (0.4, {"lightness": 0.45}, 0.45, 0.3),
    ],
)
def test_a_method_may_choose_what_auto_stands_for(
    chosen: float | None, given: dict[str, Any], mean: float, brightness: float
) -> None:
    class Choosing(Shift):
        def choose_lightness(self, samples: Samples) -> float | None:
            assert samples.shape == (40, 50, 3)
            return chosen

    enhancer = Enhancer(Choosing(), ShiftEngine())
    result, report = enhancer.enhance_photo(dark_photo(40, 50), enhancer.controls(**given))
    assert result.samples.mean() / 255 == pytest.approx(mean, abs=0.006)
    assert report.controls["brightness"] == pytest.approx(brightness, abs=0.02)
    used = None if chosen is None or "brightness" in given else given.get("lightness", chosen)
    assert report.controls["lightness"] == used
    assert report.notes == ()


class DrawControls(Controls):
    temperature: float = Field(0.0, ge=0, le=1)
    samples: int = Field(1, ge=1, le=64)


class Draw(Blur):
    """A stand-in method whose results are drawn."""

    Controls: ClassVar[type[Controls]] = DrawControls
    sample_bytes = 50

    def observe(self, samples: Samples, controls: Controls) -> Observation:
        assert isinstance(controls, DrawControls)
        count = controls.samples if controls.temperature else 1
        return {"sample": np.arange(count, dtype=np.float32)}


class DrawEngine(BlurEngine):
    """Sample k is k hundredths lighter on the right half of the photo's 40 columns than on the left."""

    def run(self, tile: Array, observation: Observation) -> Array:
        self.shapes.append((*tile.shape, len(observation["sample"])))
        right = (np.arange(tile.shape[1]) >= 20)[:, None]
        return np.concatenate([tile + 0.01 * k * right for k in observation["sample"]], axis=2).astype(
            np.float32
        )


def test_samples_are_drawn_together_as_far_as_memory_goes() -> None:
    photo = dark_photo(32, 40, np.uint16)
    results = []
    for extra, chunks in ((0, [1] * 5), (2 * 50, [3, 2]), (10**4, [5])):
        engine = DrawEngine()
        enhancer = Enhancer(Draw(), engine)
        held = photo.samples.size * 4
        memory = held + 32 * 40 * (Draw.tile_bytes + extra)
        controls = enhancer.controls(temperature=1, samples=5)
        result, report = enhancer.enhance_photo(photo, controls, memory=memory, spread=True)
        assert [shape[-1] for shape in engine.shapes] == chunks
        assert report.spread is not None
        results.append((result.samples, report.spread.samples))
    assert all(np.array_equal(each, results[0][0]) for each, _ in results)
    assert all(np.array_equal(each, results[0][1]) for _, each in results)
    result, spread = (each.astype(np.float64) / 65535 for each in results[0])
    before = photo.samples / 65535
    assert np.abs(result[:, :20] - before[:, :20]).max() < 2e-5
    assert np.abs(result[:, 20:] - before[:, 20:] - 0.02).max() < 2e-5  # the mean of 0 to 4 hundredths
    assert spread[:, :20].max() == 0
    expected = np.std([0.00, 0.01, 0.02, 0.03, 0.04], ddof=1) / SPREAD_WHITE
    assert np.abs(spread[:, 20:] - expected).max() < 2e-4
    assert enhancer.memory_for(32, 40, 2, controls) == held + 32 * 40 * (Draw.tile_bytes + 4 * 50)


def test_a_spread_goes_with_gain_and_strength() -> None:
    enhancer = Enhancer(Draw(), DrawEngine())
    photo = dark_photo(32, 40, np.uint16)

    def drawn(**values: Any) -> tuple[Array, Array]:
        controls = enhancer.controls(temperature=1, samples=4, **values)
        result, report = enhancer.enhance_photo(photo, controls, spread=True)
        assert report.spread is not None
        return result.samples / np.float32(65535), report.spread.samples / np.float32(65535)

    plain, spread = drawn()
    np.testing.assert_allclose(drawn(strength=0.5)[1], spread / 2, atol=2e-5)
    lighter, grown = drawn(lightness=2 * float(plain.mean()))
    place = np.unravel_index(plain.argmax(), plain.shape)
    gain = float(lighter[place] * (1 - plain[place]) / (plain[place] * (1 - lighter[place])))
    assert gain > 2
    np.testing.assert_allclose(lighter, apply_gain(plain, gain), atol=1e-4)
    np.testing.assert_allclose(grown[..., 0], spread[..., 0] * slope(plain, gain).mean(axis=2), atol=2e-4)
    assert drawn(strength=0)[1].max() == 0


def test_floats_are_the_result_before_it_was_clipped() -> None:
    lighter = dark_photo(97, 131, np.uint16).samples * np.linspace(0, 3.3, 131)[:, None]
    photo = Photo(lighter.astype(np.uint16))
    enhancer = Enhancer(Blur(), BlurEngine())
    memory = 97 * 131 * 12 + 32 * 32 * Blur.tile_bytes
    found = {}
    for strength in (1.0, 0.5):
        controls = Controls(lightness=0.9, strength=strength)
        result, report = enhancer.enhance_photo(photo, controls, floats=True)
        _, tiled = enhancer.enhance_photo(photo, controls, floats=True, memory=memory)
        assert report.floats is not None
        assert tiled.tiles > 1
        np.testing.assert_array_equal(report.floats, tiled.floats)
        found[strength] = report.floats
        if strength == 1:
            assert report.floats.max() > 1, "else this would show nothing"
            clipped = np.clip(report.floats, 0, 1)
            np.testing.assert_allclose(clipped, result.samples / 65535, rtol=0, atol=BOUNDS[1] / 65535)
    before = photo.samples / np.float32(65535)
    np.testing.assert_allclose(found[0.5], (before + found[1.0]) / 2, rtol=0, atol=1e-6)
    assert enhancer.enhance_photo(photo)[1].floats is None


def test_floats_of_no_strength_are_the_photo_and_of_a_grey_one_are_grey() -> None:
    photo = dark_photo(20, 30)
    enhancer = Enhancer(Blur(), BlurEngine())
    floats = enhancer.enhance_photo(photo, Controls(strength=0.0), floats=True)[1].floats
    assert floats is not None
    np.testing.assert_array_equal(floats, photo.samples / np.float32(255))
    grey = Photo(photo.samples, grey=True)
    floats = enhancer.enhance_photo(grey, floats=True)[1].floats
    assert floats is not None
    assert (np.ptp(floats, axis=2) == 0).all()


@pytest.mark.parametrize("values", [{}, {"samples": 4}, {"temperature": 1}])
def test_one_sample_has_no_spread(values: dict[str, Any]) -> None:
    enhancer = Enhancer(Draw(), DrawEngine())
    with pytest.raises(ControlError, match="needs several samples, and blur draws one here: set samples to"):
        enhancer.enhance_photo(dark_photo(8, 8), enhancer.controls(**values), spread=True)
    with pytest.raises(ControlError, match=r"draws one here$"):
        Enhancer(Blur(), BlurEngine()).check_spread(Controls())


def test_a_lightness_out_of_reach_is_told() -> None:
    enhancer = Enhancer(Blur(), BlurEngine())
    black = Photo(np.zeros((8, 8, 3), np.uint8))
    result, report = enhancer.enhance_photo(black, enhancer.controls(lightness=0.5))
    assert not result.samples.any()
    assert report.notes == ("lightness 0.50 cannot be reached; the result has 0.00",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_blends_and_zero_is_the_input(dtype: type) -> None:
    enhancer = Enhancer(Blur(), BlurEngine())
    photo = dark_photo(40, 50, dtype)
    full = enhancer.enhance_photo(photo)[0].samples.astype(float)
    half = enhancer.enhance_photo(photo, enhancer.controls(strength=0.5))[0].samples
    assert np.abs(half - (photo.samples + full) / 2).max() <= 1
    none, report = enhancer.enhance_photo(photo, enhancer.controls(strength=0))
    assert np.array_equal(none.samples, photo.samples)
    assert report.tiles == 0


def test_controls_out_of_range_name_their_range() -> None:
    enhancer = Enhancer(Blur(), BlurEngine())
    with pytest.raises(ControlError, match=r"control lightness = 1.5: expected auto or 0 to 1"):
        enhancer.controls(lightness=1.5)
    with pytest.raises(ControlError, match="blur has no control 'gamma'; it has: lightness, strength"):
        enhancer.controls(gamma=2)


def test_a_truth_value_is_no_lightness() -> None:
    with pytest.raises(ControlError, match="control lightness = True: expected auto or 0 to 1"):
        Enhancer(Blur(), BlurEngine()).controls(lightness=True)


def test_a_path_s_result_goes_where_output_says(tmp_path: Path) -> None:
    dark = tmp_path / "dark.png"
    Image.fromarray(dark_photo(20, 30).samples).save(dark)
    light = lowlight.enhance(dark, output=tmp_path / "new" / "light.jpg", lightness=0.4)
    assert light == tmp_path / "new" / "light.jpg"
    assert read_photo(light).format == "jpeg"
    lowlight.enhance(dark, output=light, lightness=0.2)  # its own result is replaced
    assert read_photo(light).pixels.mean() == pytest.approx(0.2, abs=0.02)
    assert (
        lowlight.enhance(str(dark), output=str(tmp_path / "folder") + "/") == tmp_path / "folder" / "dark.png"
    )
    assert lowlight.enhance(dark, output=tmp_path / "new") == tmp_path / "new" / "dark.png"


def test_output_never_costs_a_photo(tmp_path: Path) -> None:
    dark, other = tmp_path / "dark.png", tmp_path / "other.png"
    for path in (dark, other):
        Image.fromarray(dark_photo(20, 30).samples).save(path)
    before = dark.read_bytes()
    (tmp_path / "link.png").symlink_to(dark)
    (tmp_path / "text.png").write_text("dear")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    for output, said in (
        (dark, "would overwrite the input"),
        (tmp_path, "would overwrite the input"),
        (tmp_path / "link.png", "would overwrite the input"),
        (other, "exists and was not made by lowlight"),
        (tmp_path / "text.png", r"text\.png exists and was not made by lowlight"),
        (tmp_path / "nowhere.png", r"nowhere\.png exists and was not made by lowlight"),
        (other / "inside.png", "can't be written"),
        (tmp_path / "light.gif", "cannot write .gif files"),
        ("", "a name is empty"),
    ):
        with pytest.raises(LowlightError, match=said):
            lowlight.enhance(dark, output=output)
    assert (dark.read_bytes(), other.read_bytes()) == (before, before)
    with pytest.raises(UseError, match="output goes with a path"):
        lowlight.enhance(dark_photo(4, 4).samples, output="a.png")


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "xyz"},
        {"device": "xyz"},
        {"precision": "half"},
        {"threads": 0},
        {"threads": "2"},
        {"memory": "2GB"},
    ],
)
def test_values_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UseError, match=f"{next(iter(wrong))} = .*: expected"):
        lowlight.load("dimma", **wrong)


def test_grey_stays_grey_and_alpha_stays() -> None:
    enhancer = lowlight.load("dimma", threads=1)
    grey = (np.random.default_rng(0).random((20, 30)) * 60).astype(np.uint8)
    assert enhancer(grey).shape == (20, 30)
    alpha = np.dstack([grey, grey, grey, 255 - grey])
    assert np.array_equal(enhancer(alpha)[..., 3], 255 - grey)


def test_every_kind_of_picture_comes_back_as_it_came(tmp_path: Path) -> None:
    enhancer = lowlight.load("dimma", threads=1)
    array = dark_photo(33, 47).samples
    expected = enhancer(array, lightness=0.4)
    assert expected.dtype == np.uint8
    image = enhancer(Image.fromarray(array), lightness=0.4)
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), expected)
    path = tmp_path / "dark.png"
    Image.fromarray(array).save(path)
    result = enhancer(path, lightness=0.4)
    assert result == tmp_path / "dark.enhanced.png"
    assert np.array_equal(np.asarray(Image.open(result)), expected)
    data = enhancer(path.read_bytes(), lightness=0.4)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)
    floats = enhancer((array / 255).astype(np.float64), lightness=0.4)
    assert floats.dtype == np.float64
    fine = np.random.default_rng(0).random((5, 6, 4))
    assert np.array_equal(enhancer(fine, strength=0), fine), "all digits of the input, which float32 has not"
    assert np.array_equal(enhancer(fine)[..., 3], fine[..., 3])
    assert np.abs(floats * 255 - expected).max() <= 0.51
    assert enhancer(array.astype(np.uint16) * 257, lightness=0.4).dtype == np.uint16


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (np.zeros((4, 4, 2), np.uint8), "expected an array"),
        (np.zeros((0, 4, 3), np.uint8), "expected an array"),
        (np.zeros((4, 4, 3), np.int64), "expected uint8, uint16 or float"),
        (np.full((4, 4, 3), 20.0), r"must lie in \[0, 1\], and this one has 20 to 20: divide"),
        (np.full((4, 4, 3), -1e-6), r"must lie in \[0, 1\], and this one has -1e-06 to -1e-06: clip"),
        (np.full((4, 4, 3), np.nan), r"must lie in \[0, 1\], and this one holds NaN"),
        (42, "expected a path, PIL image, NumPy array or bytes, got int"),
        (Image.new("I;16", (4, 4)), "lose depth"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, text: str) -> None:
    with pytest.raises(PhotoError, match=text):
        Enhancer(Blur(), BlurEngine())(picture)


@pytest.mark.parametrize(
    ("picture", "controls", "text"),
    [
        (
            np.zeros((4, 4, 3), np.uint8),
            None,
            r"expected a Photo, got ndarray; arrays go into enhancer\(array\)",
        ),
        (dark_photo(8, 8), {"lightness": 0.4}, r"expected enhancer.controls\(lightness=0.4\), say, got dict"),
    ],
    ids=["array", "dict"],
)
def test_enhance_photo_takes_a_photo_and_controls(picture: Any, controls: Any, text: str) -> None:
    with pytest.raises(LowlightError, match=text):
        Enhancer(Blur(), BlurEngine()).enhance_photo(picture, controls)


def test_threads_with_other_controls_do_not_mix() -> None:
    enhancer = lowlight.load("dimma", threads=1)
    photos = [dark_photo(64, 64, seed=seed).samples for seed in range(4)]
    wanted = [0.2, 0.35, 0.5, 0.65]
    expected = [enhancer(p, lightness=w) for p, w in zip(photos, wanted, strict=True)]
    found: list[Any] = [None] * 4

    def work(index: int) -> None:
        found[index] = enhancer(photos[index], lightness=wanted[index])

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_bright_photo_is_not_darkened() -> None:
    enhancer = lowlight.load("dimma", threads=1)
    ramp = np.linspace(0.3, 0.95, 96)[None, :, None] * np.ones((64, 1, 3))
    photo = Photo((ramp * 255).astype(np.uint8))
    result, report = enhancer.enhance_photo(photo)
    assert report.lightness_after == pytest.approx(report.lightness_before, abs=0.01)
    assert np.abs(result.samples.astype(int) - photo.samples).mean() < 8

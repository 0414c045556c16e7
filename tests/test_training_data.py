"""Training data: what pairs up, what is refused, and that crops and histograms tell the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lowlight import statistics
from lowlight.errors import RecipeError
from lowlight.training.darken import Darkening, darken
from lowlight.training.data import Data, Exposures, Jitter, Mixture, Pairs, Photos, Unpaired, pair_files

CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


def photo(seed: int, height: int = 24, width: int = 32, scale: float = 1.0) -> Pixels:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (height, width, 3)) * scale).astype(np.uint8)


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def read(
    root: Path, *sources: Pairs | Exposures | Photos | Unpaired, jitter: Jitter | None = None
) -> Mixture:
    data = Data(root=root, sources=sources, jitter=jitter)
    return Mixture.read(data, np.random.default_rng(0), CPU)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(3):
        save(tmp_path / "low" / f"{index}.png", photo(index, scale=0.2))
        save(tmp_path / "high" / f"{index}.png", photo(index))
    return tmp_path


PAIRS = Pairs(dark=Path("low"), light=Path("high"))


def test_pairs_go_by_stem_whatever_the_suffix(root: Path) -> None:
    (root / "high" / "1.png").rename(root / "high" / "1.PNG")
    (root / "high" / "notes.txt").write_text("no photo")
    found = pair_files(PAIRS, root)
    assert [(name, dark.name, light.name) for name, dark, light in found] == [
        ("0", "0.png", "0.png"),
        ("1", "1.png", "1.PNG"),
        ("2", "2.png", "2.png"),
    ]


def test_a_list_of_names_and_exclusions_choose(root: Path) -> None:
    (root / "names.txt").write_text("2\n0\n")
    (root / "high" / "1.png").unlink()
    listed = PAIRS.model_copy(update={"names": Path("names.txt")})
    assert [name for name, _, _ in pair_files(listed, root)] == ["2", "0"]
    kept = Pairs.model_validate({"dark": "low", "light": "high", "exclude": [1]})
    assert [name for name, _, _ in pair_files(kept, root)] == ["0", "2"]


def test_names_hold_blanks_and_one_stands_on_a_line(root: Path) -> None:
    for folder in ("low", "high"):
        (root / folder / "1.png").rename(root / folder / "by the sea.png")
    (root / "names.txt").write_bytes(b"\xef\xbb\xbfby the sea\r\n\r\n0 \r\n")
    listed = PAIRS.model_copy(update={"names": Path("names.txt")})
    assert [name for name, _, _ in pair_files(listed, root)] == ["by the sea", "0"]


def test_a_missing_root_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.root: \S+nowhere: expected a folder"):
        read(tmp_path / "nowhere", PAIRS)


def _without_partner(root: Path) -> None:
    (root / "high" / "1.png").unlink()


def _extra_light(root: Path) -> None:
    save(root / "high" / "7.png", photo(7))


def _two_of_a_stem(root: Path) -> None:
    save(root / "low" / "1.bmp", photo(1))


def _other_size(root: Path) -> None:
    save(root / "high" / "1.png", photo(1, 32, 24))


def _no_photo(root: Path) -> None:
    (root / "low" / "1.png").write_bytes((root / "low" / "1.png").read_bytes()[:200])


def _sixteen_bit(root: Path) -> None:
    Image.fromarray(np.full((24, 32), 1000, np.uint16)).save(root / "low" / "1.png")


def _empty(root: Path) -> None:
    for path in (root / "low").iterdir():
        path.unlink()


def _no_folder(root: Path) -> None:
    (root / "low").rename(root / "dark")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_partner, "high: no photo for 1"),
        (_extra_light, "low: no photo for 7"),
        (_two_of_a_stem, "1.bmp and 1.png have one stem"),
        (_other_size, "a pair has one size, these have 32x24 and 24x32"),
        (_no_photo, "1.png: expected a photo"),
        (_sixteen_bit, "1.png: expected 8 bits"),
        (_empty, "low: no photos"),
        (_no_folder, "low: expected a folder"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(
    root: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(root)
    with pytest.raises(RecipeError, match=said):
        read(root, PAIRS)


def test_unpaired_photos_meet_any_other_of_any_size(root: Path) -> None:
    save(root / "high" / "7.png", photo(7, 40, 20))
    (root / "names.txt").write_text("2\n0\n")
    source = Unpaired(dark=Path("low"), light=Path("high"), names=Path("names.txt"), exclude=("1",))
    data = read(root, source)
    rng = np.random.default_rng(0)
    met = {(below.name, above.name) for below, above in (data.draw(rng, apart=True) for _ in range(100))}
    assert met == {(f"low/{dark}.png", f"high/{light}.png") for dark in (0, 2) for light in (0, 2, 7)}
    assert list(data.exposures()) == []
    assert {picture.name for picture in data.pictures()} == {name for pair in met for name in pair}
    with pytest.raises(RecipeError, match="learns from pairs, and kind unpaired has none"):
        data.batch(rng, 2, 8, CPU)
    for wrong, said in (
        ({"names": ("2", "9")}, "low: no photo for 9"),
        ({"names": ()}, "low: expected names of photos to train on, found none"),
    ):
        with pytest.raises(RecipeError, match=said):
            read(root, Unpaired(dark=Path("low"), light=Path("high"), **wrong))


@pytest.mark.parametrize("turns", [True, False])
def test_a_crop_is_one_window_of_both_photos_in_one_of_its_positions(tmp_path: Path, turns: bool) -> None:
    rows, columns = np.mgrid[0:40, 0:50]
    places = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
    save(tmp_path / "low" / "a.png", places)
    save(tmp_path / "high" / "a.png", places + np.uint8(100))
    mixture = read(tmp_path, PAIRS)
    batch = mixture.batch(np.random.default_rng(0), 64, 16, CPU, turns=turns)
    assert batch.dark.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((batch.light * 255).round(), (batch.dark * 255).round() + 100)
    seen = set()
    for crop in (batch.dark * 255).round().int():
        corners = crop[:2, [0, 0, -1], [0, -1, 0]].T  # three corners: (row, column) in the photo
        right, down = (corners[1] - corners[0]).tolist(), (corners[2] - corners[0]).tolist()
        assert sorted(map(abs, right + down)) == [0, 0, 15, 15]
        seen.add((*right, *down))
    assert len(seen) == 8 if turns else seen == {(0, 15, 15, 0), (0, -15, 15, 0)}


def test_histograms_are_those_of_the_jittered_photo(root: Path) -> None:
    """With crops as large as square photos, every crop is its whole photo."""
    save(root / "low" / "0.png", photo(0, 32, 32, 0.3))
    save(root / "high" / "0.png", photo(1, 32, 32))
    (root / "names.txt").write_text("0")
    jitter = Jitter(share=1.0, cast=0.2)
    mixture = read(root, PAIRS.model_copy(update={"names": Path("names.txt")}), jitter=jitter)
    batch = mixture.batch(np.random.default_rng(0), 8, 32, CPU)
    for pictures, counts in ((batch.dark, batch.dark_counts), (batch.light, batch.light_counts)):
        samples = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for sample, count in zip(samples, counts, strict=True):
            np.testing.assert_array_equal(statistics.histograms(sample), count)
    means = batch.dark.mean(dim=(1, 2, 3))
    assert means.max() / means.min() > 1.3
    gains = batch.light.mean(dim=(1, 2, 3)) / mixture.batch(np.random.default_rng(0), 1, 32, CPU).light.mean()
    assert gains.max() / gains.min() > 1.1


def test_coloured_light_falls_on_both_photos_alike(root: Path) -> None:
    mixture = read(root, PAIRS, jitter=Jitter(share=0.0, coloured=1.0))
    white = read(root, PAIRS)
    batch = mixture.batch(np.random.default_rng(0), 32, 8, CPU)
    original = {picture.name: statistics.histogram_means(picture.counts) for picture in white.pictures()}
    strongest = 1.0
    for name, dark, light in zip(batch.names, batch.dark_counts, batch.light_counts, strict=True):
        of_dark, of_light = (original[each] for each in name.split(" -> "))
        gains = statistics.histogram_means(light) / of_light
        assert gains.max() == pytest.approx(1.0, abs=0.01)
        assert statistics.histogram_means(dark) / of_dark == pytest.approx(gains, abs=0.05)
        strongest = min(strongest, float(gains.min()))
    assert strongest < 0.4


def test_windows_take_the_histograms_of_their_whole_photos(root: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 99, (2, 3, 3, 256)).astype(np.uint32)
    np.savez(root / "h.npz", name=np.array(["0", "1", "2"]), low=counts[0], high=counts[1])
    mixture = read(root, PAIRS.model_copy(update={"histograms": Path("h.npz")}))
    batch = mixture.batch(np.random.default_rng(0), 16, 8, CPU)
    for name, dark, light in zip(batch.names, batch.dark_counts, batch.light_counts, strict=True):
        index = int(Path(name.split(" -> ")[0]).stem)
        np.testing.assert_array_equal(dark, counts[0, index])
        np.testing.assert_array_equal(light, counts[1, index])


def test_histograms_must_cover_every_pair(root: Path) -> None:
    counts = np.ones((2, 3, 256), np.uint32)
    np.savez(root / "h.npz", name=np.array(["0", "2"]), low=counts, high=counts)
    with pytest.raises(RecipeError, match="no histograms for 1"):
        read(root, PAIRS.model_copy(update={"histograms": Path("h.npz")}))


def test_exposures_pair_darker_with_lighter(tmp_path: Path) -> None:
    base = np.full((20, 20, 3), 250, np.uint8)
    for name, share in (("c", 0.1), ("a", 0.45), ("b", 0.9)):
        save(tmp_path / "scenes" / "one" / f"{name}.png", (base * share).astype(np.uint8))
    mixture = read(tmp_path, Exposures(folder=Path("scenes"), middle=0.5, same=0.1))
    batch = mixture.batch(np.random.default_rng(0), 400, 8, CPU)
    found = [tuple(Path(part).stem for part in name.split(" -> ")) for name in batch.names]
    shares = {pair: found.count(pair) / 400 for pair in set(found)}
    assert shares.keys() == {("c", "a"), ("c", "b"), ("a", "b"), ("a",), ("c",)}
    assert abs(shares["c",] + shares["a",] - 0.1) < 0.05
    # Half by the middle exposure, the other half by chance: of three pairs one goes to the middle.
    assert abs(shares["c", "a"] - 0.9 * (0.5 + 0.5 / 3)) < 0.08
    assert (batch.dark.mean(dim=(1, 2, 3)) <= batch.light.mean(dim=(1, 2, 3))).all()


@pytest.mark.parametrize("sizes", [[(20, 20)], [(20, 20), (20, 24)]])
def test_a_scene_has_several_exposures_of_one_size(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    for index, size in enumerate(sizes):
        save(tmp_path / "scenes" / "one" / f"{index}.png", photo(index, *size))
    with pytest.raises(RecipeError, match="one: expected at least two exposures of one size"):
        read(tmp_path, Exposures(folder=Path("scenes")))


def test_sources_are_drawn_by_weight(root: Path) -> None:
    save(root / "normal" / "n.png", photo(9))
    mixture = read(root, PAIRS.model_copy(update={"weight": 3.0}), Photos(folder=Path("normal"), weight=1.0))
    names = mixture.batch(np.random.default_rng(0), 400, 8, CPU).names
    assert abs(names.count("normal/n.png") / 400 - 0.25) < 0.07


def test_equal_generators_give_equal_batches(root: Path) -> None:
    save(root / "normal" / "n.png", photo(9))
    sources = PAIRS, Photos(folder=Path("normal"), darken=Darkening())
    first, second = (read(root, *sources, jitter=Jitter()) for _ in range(2))
    assert first.digest() == second.digest()
    a, b = (each.batch(np.random.default_rng(5), 6, 16, CPU) for each in (first, second))
    assert a.names == b.names
    assert torch.equal(a.dark, b.dark)
    assert torch.equal(a.light, b.light)
    np.testing.assert_array_equal(a.dark_counts, b.dark_counts)


def test_the_digest_knows_every_pixel(root: Path) -> None:
    before = read(root, PAIRS).digest()
    changed = photo(1)
    changed[3, 3, 1] ^= 1
    save(root / "high" / "1.png", changed)
    assert read(root, PAIRS).digest() != before


def test_dark_twins_are_darker_by_the_exposure_drawn() -> None:
    """Linear light scales by the exposure; noise, cast and tone switched off."""
    plain = Darkening(
        exposure=(0.1, 0.1),
        cast=0,
        shot=(1e-12, 1e-12),
        read=(1e-9, 1e-9),
        tone=0,
        black=0,
        correlation=(0, 0),
    )
    light = np.full((64, 64, 3), 200, np.uint8)
    dark = darken(light, plain, np.random.default_rng(0))
    linear = ((200 / 255 + 0.055) / 1.055) ** 2.4 * 0.1
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert abs(dark.mean() - expected) < 0.05
    assert len(np.unique(dark)) == 2


def test_dark_twins_have_the_noise_asked_for() -> None:
    noisy = Darkening(
        exposure=(0.05, 0.05), cast=0, shot=(1e-12, 1e-12), read=(0.003, 0.003), tone=0, black=0
    )
    light = np.full((128, 128, 3), 200, np.uint8)
    dark = darken(light, noisy, np.random.default_rng(0)) / 255
    linear = np.where(dark <= 0.04045, dark / 12.92, ((dark + 0.055) / 1.055) ** 2.4)
    assert abs(linear.std() - 0.003) < 0.0003


def test_grain_makes_noise_alike_over_its_size() -> None:
    """Neighbours' noise: apart at grain 1, nearly one at grain 4; its strength stays."""

    def noise(grain: float) -> NDArray[np.float64]:
        ranges = Darkening(
            exposure=(0.2, 0.2),
            cast=0,
            shot=(1e-12, 1e-12),
            read=(0.003, 0.003),
            tone=0,
            black=0,
            correlation=(0, 0),
            grain=(grain, grain),
        )
        dark = darken(np.full((96, 160, 3), 200, np.uint8), ranges, np.random.default_rng(0))
        return dark - dark.mean()

    fine, coarse = noise(1), noise(4)
    assert abs((fine[1:] * fine[:-1]).mean() / fine.var()) < 0.03
    assert (coarse[1:] * coarse[:-1]).mean() / coarse.var() > 0.8
    assert (coarse[:, 1:] * coarse[:, :-1]).mean() / coarse.var() > 0.8
    assert coarse.std() == pytest.approx(fine.std(), rel=0.1)


def test_compressed_twins_are_what_jpeg_leaves() -> None:
    """A JPEG of low quality keeps few of a block's frequencies."""
    light = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    plain, compressed = (
        darken(light, Darkening(compressed=share, quality=(50, 50)), np.random.default_rng(0))
        for share in (0.0, 1.0)
    )
    assert compressed.shape == plain.shape

    def strength(rgb: NDArray[np.uint8]) -> float:
        """Root mean square of the blocks' values, apart from their own means."""
        grey = rgb.mean(axis=2).reshape(8, 8, 8, 8)
        return float((grey - grey.mean(axis=(1, 3), keepdims=True)).std())

    assert strength(compressed) < 0.6 * strength(plain)
    assert abs(compressed.mean() - plain.mean()) < 1


def test_coloured_light_may_fall_on_a_part(root: Path) -> None:
    """Then the histogram counts both lights by their shares, and the window lies in one of them."""
    save(root / "low" / "0.png", np.full((32, 32, 3), 40, np.uint8))
    save(root / "high" / "0.png", np.full((32, 32, 3), 200, np.uint8))
    (root / "names.txt").write_text("0")
    pairs = PAIRS.model_copy(update={"names": Path("names.txt")})
    mixture = read(root, pairs, jitter=Jitter(share=0.0, coloured=1.0, partly=1.0))
    batch = mixture.batch(np.random.default_rng(0), 64, 8, CPU)
    white = 0
    for picture, counts in zip(batch.light, batch.light_counts, strict=True):
        weakest = int(statistics.histogram_means(counts).argmin())
        coloured, outside = np.flatnonzero(counts[weakest])
        here = int((picture[weakest, 0, 0] * 255).round())
        assert outside == 200
        assert here in (coloured, outside)
        white += here == outside
    assert 16 < white < 48

"""Pairs of one's own camera: what is wrong with them is said in a line each, and the rest is aligned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camera import night, place, write_pairs
from lowlight.errors import PhotoError, UseError
from lowlight.training import camera_pairs
from lowlight.training.camera_pairs import Check, check_pair, check_pairs, find_pairs, usable


def checked(folder: Path, dark: np.ndarray, light: np.ndarray) -> Check:
    files = [folder / f"{name}.png" for name in ("dark", "light")]
    for file, picture in zip(files, (dark, light), strict=True):
        Image.fromarray(picture).save(file, compress_level=1)
    return check_pair("a", *files)


@pytest.mark.parametrize("names", [("dark", "light"), ("low", "high")])
def test_pairs_are_found_by_name_in_natural_order(tmp_path: Path, names: tuple[str, str]) -> None:
    write_pairs(tmp_path, 3, names)
    (tmp_path / names[0] / "2.png").rename(tmp_path / names[0] / "10.png")
    (tmp_path / names[1] / "2.png").rename(tmp_path / names[1] / "10.png")
    assert [name for name, _, _ in find_pairs(tmp_path)] == ["0", "1", "10"]


def test_good_pairs_pass_and_show_their_lightness(tmp_path: Path) -> None:
    checks = check_pairs(find_pairs(write_pairs(tmp_path, 3)))
    assert [check.problem for check in checks] == ["", "", ""]
    pairs = usable(checks)
    assert [pair.name for pair in pairs] == ["0", "1", "2"]
    assert np.array_equal(pairs[1].light, place(1))
    assert np.array_equal(pairs[1].dark, night(place(1), seed=1))
    assert checks[0].line().startswith("0: 200x180, lightness 0.0")


@pytest.mark.parametrize(
    ("count", "said"), [(2, "2 pairs; expected 3 to 8: take more"), (9, "lowlight train")]
)
def test_too_few_and_too_many_are_refused(tmp_path: Path, count: int, said: str) -> None:
    with pytest.raises(UseError, match=said):
        find_pairs(write_pairs(tmp_path, count))


def test_folders_and_partners_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="expected two folders in it, dark and light"):
        find_pairs(tmp_path)
    write_pairs(tmp_path, 4)
    (tmp_path / "light" / "3.png").unlink()
    with pytest.raises(UseError, match=r"light: no photo for 3"):
        find_pairs(tmp_path)


def test_a_small_shift_is_aligned_with_a_word(tmp_path: Path) -> None:
    whole = place(1, 240, 260)
    check = checked(tmp_path, night(whole[20:220, 20:240]), whole[18:218, 23:243])
    assert check.pair is not None
    assert check.pair.notes == (
        "the two were 3 pixels sideways and 2 up or down apart and are aligned by cropping",
    )
    assert check.pair.dark.shape == (198, 217, 3)
    assert np.array_equal(check.pair.light, whole[20:218, 23:240])
    assert np.array_equal(check.pair.dark, night(whole[20:220, 20:240])[:198, 3:])


def moved() -> tuple[np.ndarray, np.ndarray]:
    whole = place(1, 240, 260)
    return night(whole[20:220, 20:240]), whole[20:220, 0:220]


def turned() -> tuple[np.ndarray, np.ndarray]:
    whole = place(7, 400, 500)
    other = np.asarray(Image.fromarray(whole).rotate(1.5, Image.Resampling.BICUBIC))
    return night(whole)[40:360, 40:460], other[40:360, 40:460]


def clipped(share: float) -> tuple[np.ndarray, np.ndarray]:
    light = place(1)
    light[: int(share * len(light))] = 255
    return night(light), light


PROBLEMS = {
    "another scene": (night(place(1)), place(2), "do not show the same"),
    "moved": (*moved(), "moved between the two by 20 pixels sideways and 0 up or down; use a tripod"),
    "turned": (*turned(), "turned or zoomed"),
    "swapped": (place(1), night(place(1)), "are the folders swapped"),
    "not darker": ((place(1) * 0.9).astype(np.uint8), place(1), "hardly darker"),
    "both dark": (night(place(1), 0.02), night(place(1), 0.2), "the light photo is dark"),
    "no signal": (np.where(place(1) > 215, 1, 0).astype(np.uint8), place(1), "holds no signal"),
    "only noise": (
        np.random.default_rng(0).integers(0, 12, (180, 200, 3), np.uint8),
        place(1),
        "no signal in the dark one",
    ),
    "clipped": (*clipped(0.4), "clipped to white; expose it less"),
    "sizes": (night(place(1))[:-1], place(1), "sizes differ: dark 200x179, light 200x180"),
    "depths": (night(place(1))[..., 0].astype(np.uint16) * 257, place(1)[..., 0], "depths differ"),
    "small": (night(place(1))[:100], place(1)[:100], "expected at least 160 a side"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_cannot_be_learned_from_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    dark, light, said = PROBLEMS[name]
    check = checked(tmp_path, dark, light)
    assert check.pair is None
    assert said in check.problem
    assert check.line() == f"a: not usable: {check.problem}"
    assert "\n" not in check.line()


def test_some_clipping_is_a_word(tmp_path: Path) -> None:
    check = checked(tmp_path, *clipped(0.1))
    assert check.pair is not None
    assert check.pair.notes == ("10% of the light photo is clipped to white; less exposure would teach more",)


def test_a_broken_photo_is_named_and_the_other_pairs_are_looked_at(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    (tmp_path / "dark" / "1.png").write_bytes(b"no photo")
    checks = check_pairs(find_pairs(tmp_path))
    assert [check.pair is None for check in checks] == [False, True, False]
    assert "1.png" in checks[1].problem
    with pytest.raises(PhotoError, match=r"1 of 3 pairs are not usable \(1\)"):
        usable(checks)


def test_sixteen_bits_are_rounded_with_a_word(tmp_path: Path) -> None:
    grey = place(1)[..., 0].astype(np.uint16) * 257
    check = checked(tmp_path, grey // 8, grey)
    assert check.pair is not None
    assert check.pair.notes == ("rounded to 8 bits",)
    assert np.array_equal(check.pair.light[..., 1], place(1)[..., 0])


def test_the_same_scene_twice_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    Image.fromarray(place(0)).save(tmp_path / "light" / "2.png")
    Image.fromarray(night(place(0), 0.2, seed=9)).save(tmp_path / "dark" / "2.png")
    checks = check_pairs(find_pairs(tmp_path))
    assert [check.pair.notes if check.pair else None for check in checks] == [
        (),
        (),
        ("shows the same scene as 0; another scene would teach more",),
    ]


def test_of_large_photos_the_middle_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_pairs, "MOST_PIXELS", 30_000)
    check = checked(tmp_path, night(place(1)), place(1))
    assert check.pair is not None
    height, width = check.pair.dark.shape[:2]
    assert 29_000 < height * width <= 30_000
    top, left = (180 - height) // 2, (200 - width) // 2
    assert np.array_equal(check.pair.light, place(1)[top : top + height, left : left + width])

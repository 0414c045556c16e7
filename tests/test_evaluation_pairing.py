"""Pairing by name, and what is refused before anything is measured."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pictures
from lowlight.errors import UseError
from lowlight.evaluation.pairing import check_alike, pair


def save(path: Path, array: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures.noise(8, 8) if array is None else array).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("2", "10", "sub/1"):
        save(tmp_path / "low" / f"{name}.png")
        save(tmp_path / "high" / f"{name}.bmp")
    return tmp_path


def found(root: Path, **patterns: str) -> list[str]:
    return [case.name for case in pair({"low": root / "low", "reference": root / "high"}, patterns)]  # type: ignore[arg-type]


def test_photos_pair_by_stem_in_natural_order(root: Path) -> None:
    save(root / "low" / ".hidden.png")
    (root / "high" / "notes.txt").write_text("no photo")
    assert found(root) == ["2", "10", "sub/1"]


def test_a_pattern_says_what_partners_share(tmp_path: Path) -> None:
    for number in ("00690", "00691"):
        save(tmp_path / "low" / f"low{number}.png")
        save(tmp_path / "high" / f"normal{number}.png")
    with pytest.raises(UseError, match="low: no photo for normal00690, normal00691"):
        found(tmp_path)
    assert found(tmp_path, low="low*", reference="normal*") == ["00690", "00691"]
    with pytest.raises(UseError, match="low: low00690, low00691: no name of the pattern 'dark"):
        found(tmp_path, low="dark*", reference="normal*")
    with pytest.raises(UseError, match="expected a name with one"):
        found(tmp_path, low="low")


def test_everything_that_is_missing_is_listed(root: Path) -> None:
    (root / "high" / "2.bmp").unlink()
    (root / "high" / "sub" / "1.bmp").unlink()
    with pytest.raises(UseError, match=r"high: no photo for 2, sub/1$"):
        found(root)
    for index in range(30):
        save(root / "low" / f"more{index}.png")
    with pytest.raises(UseError, match=r"more18, and 12 more$"):
        found(root)


def test_one_extra_and_one_missing_never_shift_the_pairs(root: Path) -> None:
    (root / "high" / "2.bmp").rename(root / "high" / "3.bmp")
    with pytest.raises(UseError, match=r"low: no photo for 3; \S+high: no photo for 2$"):
        found(root)


def test_two_photos_of_one_stem_are_refused(root: Path) -> None:
    save(root / "low" / "2.jpg")
    with pytest.raises(UseError, match=r"2\.jpg and 2\.png have one stem"):
        found(root)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (pictures.noise(8, 9), "2: sizes differ: low 8x8, reference 9x8"),
        (pictures.noise(8, 8, channels=1), "2: colours differ: low colour, reference grey"),
        (pictures.noise(8, 8, channels=1, dtype=np.uint16), "2: depths differ: low 8 bit, reference 16 bit"),
        (pictures.noise(8, 8, channels=4), "2: reference with an alpha channel"),
    ],
)
def test_photos_that_differ_in_kind_are_an_error(root: Path, other: np.ndarray, said: str) -> None:
    (root / "high" / "2.bmp").unlink()
    save(root / "high" / "2.png", other)
    with pytest.raises(UseError, match=said):
        check_alike(pair({"low": root / "low", "reference": root / "high"}))


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(root: Path) -> None:
    (root / "low" / "10.png").write_bytes(b"no photo")
    kept, broken = check_alike(pair({"low": root / "low", "reference": root / "high"}))
    assert [case.name for case in kept] == ["2", "sub/1"]
    assert list(broken) == ["10"]
    assert "10.png" in broken["10"]


def test_an_empty_folder_says_so(root: Path) -> None:
    (root / "none").mkdir()
    with pytest.raises(UseError, match="none: no photos; expected files ending in"):
        pair({"low": root / "none"})
    with pytest.raises(UseError, match="nowhere: expected a folder of photos"):
        pair({"low": root / "nowhere"})

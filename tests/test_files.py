"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lowlight.errors import LowlightError
from lowlight.files import replacing, write_file


def test_folders_are_made_and_what_stood_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    for data in (b"one", b"two"):
        write_file(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_a_name_of_255_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".csv")
    write_file(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LowlightError, match=r"a\.json: cannot be written: no space left on device"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, SystemExit])
def test_a_block_that_does_not_end_well_leaves_nothing(failure: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(failure), replacing(tmp_path / "a"):
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_permissions(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", 0o640) as file:
        file.write(b"x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(LowlightError, match=r"a\.safetensors: cannot be written"):
        write_file(tmp_path / "cache" / "a.safetensors", b"x")

"""Files are written whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lowlight.errors import LowlightError, UseError
from lowlight.files import claimed, replacing, write_file


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


KILLED = """
import os, signal, sys
from pathlib import Path
from lowlight.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(bytes(1 << 20))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="the system has no files without a name")
def test_a_process_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a"]).returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lacking", ["files without a name", "names for them"])
def test_where_nameless_files_are_of_no_use_a_temporary_name_serves(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacking == "names for them":

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    else:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    for data in (b"one", b"two"):
        with replacing(tmp_path / "a", 0o604) as file:
            file.write(data)
        assert (tmp_path / "a").read_bytes() == data
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o604
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_permissions(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", 0o640) as file:
        file.write(b"x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(LowlightError, match=r"a\.safetensors: cannot be written"):
        write_file(tmp_path / "cache" / "a.safetensors", b"x")


HOLD = """
import sys, time
from pathlib import Path
from lowlight.files import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be claimed there")
def test_a_folder_is_claimed_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UseError, match=r"run: another process works in this folder"), claimed(folder):
            pass
        other.send_signal(signal.SIGKILL)
    for _ in range(2):
        with claimed(folder), claimed(tmp_path / "b"):
            pass
    assert list(folder.iterdir()) == []


def test_a_folder_to_claim_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with (
        pytest.raises(LowlightError, match=r"run: cannot be written: file exists"),
        claimed(tmp_path / "run"),
    ):
        pass

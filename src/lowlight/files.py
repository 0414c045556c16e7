"""Files are written whole or not at all: a temporary name in the same folder, synced, renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lowlight.errors import LowlightError, UseError, reason, shown

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no lock of a folder that a killed process lets go
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(target: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """An empty file that takes the target's name when the block ends well, and is gone when it does not.

    mode: permissions of the new file; default: those of any new file. Raises OSError.
    """
    temporary = target.parent / f".lowlight-{secrets.token_hex(8)}.part"
    nameless = _open_nameless(target.parent)
    try:
        with nameless or temporary.open("xb") as file:
            if mode is not None:
                os.chmod(file.fileno() if nameless else temporary, mode)  # noqa: PTH101 - it may have no name
            yield file
            file.flush()
            os.fsync(file.fileno())
            if nameless:
                _give_name(file, temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


_OPEN_FILES = "/proc/self/fd"


def _open_nameless(folder: Path) -> BinaryIO | None:
    """A new file without a name, gone with the process however that ends; None where there is no such thing."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path(_OPEN_FILES).is_dir():
        return None
    try:
        return os.fdopen(os.open(folder, flag | os.O_RDWR, 0o666), "w+b")
    except OSError:  # not on this file system; or a reason that the usual way meets too
        return None


def _give_name(file: BinaryIO, name: Path) -> None:
    try:
        # os.link asks the system to follow this link only where it is given a folder to start from.
        os.link(f"{_OPEN_FILES}/{file.fileno()}", name, src_dir_fd=file.fileno())
    except OSError:  # some file systems make such files and cannot name them
        with name.open("xb") as copy:
            name.chmod(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write to an open file that may lack a buffer: such a one takes a part at a time. Raises OSError."""
    rest = memoryview(data)
    while rest:
        taken = file.write(rest)
        if not taken:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        rest = rest[taken:]


def _sync_folder(folder: Path) -> None:
    # Windows has no such thing, and some network file systems refuse.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, its folders too. Raises LowlightError naming it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise LowlightError(f"{shown(path)}: cannot be written: {reason(error)}") from None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other processes that claim it out of it; the system frees it when the process ends.

    Raises UseError when another one has it, LowlightError when it cannot be made. Windows and some network file
    systems know no such claim: there nobody is kept out.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LowlightError(f"{shown(folder)}: cannot be written: {reason(error)}") from None
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UseError(
            f"{shown(folder)}: another process works in this folder; wait for its end or choose another folder"
        ) from None
    except OSError:  # no such claims here
        pass
    try:
        yield
    finally:
        os.close(descriptor)

"""What can go wrong, said in one line each: what was expected, what came, what to do."""

from __future__ import annotations

import os
from pathlib import Path


def shown(name: object) -> str:
    """A name on one line of text: control characters and bytes that are not UTF-8 as escapes."""
    text = os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def reason(error: OSError) -> str:
    """What the system says, without number and name."""
    return (error.strerror or str(error) or type(error).__name__).lower()


class LowlightError(Exception):
    """Base of every error that a user can cause or mend; its text is one line without a traceback."""


class PhotoError(LowlightError):
    """A file is no photo that can be read or written here."""


class naming:  # noqa: N801 - read as a statement
    """Errors of a photo that leave the block become PhotoErrors that begin with the photo's name.

    A class: from Python 3.12 on, a generator that turns an error into another one ties both into a cycle that
    keeps all frames below, with pixels and open files, until the next full garbage collection.
    """

    def __init__(self, photo: object, done: str) -> None:
        """photo: a path or an open file. done: what was done to it, ``read`` or ``written``."""
        self._name = shown(photo if isinstance(photo, (Path, str)) else getattr(photo, "name", "photo"))
        self._done = done

    def __enter__(self) -> object:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, PhotoError):
            raise PhotoError(f"{self._name}: {error}") from error
        if isinstance(error, OSError):
            raise PhotoError(f"{self._name}: can't be {self._done}: {error.strerror or error}") from error
        if isinstance(error, MemoryError):
            raise PhotoError(
                f"{self._name}: can't be {self._done}: too large for the memory that is free"
            ) from error


class WeightsError(LowlightError):
    """A weights file is missing, broken, or not what its header says."""


class UseError(LowlightError):
    """A command was asked for what cannot be done as asked: names that collide, a value that says nothing."""


class ControlError(LowlightError):
    """A control is unknown or out of its range."""


class EngineError(LowlightError):
    """An engine or device is not at hand, or gave a result that is no picture."""


class RecipeError(LowlightError):
    """A training recipe or its data is not usable as written."""

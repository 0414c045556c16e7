"""Options that several commands share, and checks of them before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lowlight.errors import UseError, shown

# Typer reads these when the command is asked for, and the modules that define them would bring NumPy along.
Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
Engine = Literal["auto", "onnx", "torch", "openvino"]
Precision = Literal["float32", "bf16"]


def output_option(metavar: str, text: str) -> Any:
    """``-o``, spelled alike in all commands."""
    return typer.Option("--output", "-o", metavar=metavar, help=text)


_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def parse_size(text: str) -> int:
    """Bytes of ``2GB``, ``500M``, ``1.5GiB``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)B?", text.strip().upper())
    if match is None or (size := int(float(match[1]) * _UNITS[match[2]])) < 1:
        raise typer.BadParameter(f"{text!r}: expected a size with its unit, say 500MB or 2GB")
    return size


Memory = Annotated[
    int | None,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Memory for photos in work, as 2GB. Default: half of what is free.",
    ),
]


def parse_named(given: Iterable[str], option: str) -> dict[str, str]:
    """The values of an option that is given as ``NAME=VALUE``, each name once. Raises UseError."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UseError(f"{option} {text!r}: expected NAME=VALUE")
        if name in values:
            raise UseError(f"{option} {text!r}: {name} is given twice")
        values[name] = value
    return values


def check_target(path: Path, suffix: str, *, overwrite: bool, more: str = "") -> None:
    """Raise UseError before the work for a file to write that is of another kind, or there already.

    more: what makes files of other kinds.
    """
    if path.suffix != suffix:
        raise UseError(f"{shown(path)}: expected a name that ends in {suffix}{more}")
    if path.exists() and not overwrite:
        raise UseError(f"{shown(path)} exists; --overwrite replaces it")

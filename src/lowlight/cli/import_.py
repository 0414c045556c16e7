"""`lowlight import`: a published checkpoint to a weights file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def import_(
    official: Annotated[
        Path,
        typer.Argument(
            metavar="OFFICIAL", help="The authors' checkpoint, or a folder with it.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .safetensors file to write.", show_default=False)
    ],
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take it as of this method. Default: recognised.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of the config, what the file does not tell."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn the authors' checkpoint into a weights file, without executing it. Needs lowlight[train]."""
    from lowlight import methods
    from lowlight.errors import UseError, shown

    if out.suffix != ".safetensors":
        raise UseError(
            f"{shown(out)}: expected a name that ends in .safetensors; `lowlight export` makes .onnx"
        )
    if out.exists() and not overwrite:
        raise UseError(f"{shown(out)} exists; --overwrite replaces it")
    if method is not None and method not in methods.names():
        raise UseError(f"no method is called {method!r}; there are: {', '.join(methods.names())}")
    sets: dict[str, str] = {}
    for text in setting or []:
        key, equals, value = text.partition("=")
        if not (key and equals) or key in sets:
            raise UseError(f"--set {shown(text)}: expected KEY=VALUE, each key once")
        sets[key] = value
    from lowlight.importing import import_checkpoint

    try:
        weights = import_checkpoint(official, out, method=method, sets=sets)
    except ModuleNotFoundError as error:
        raise UseError(f"import needs {error.name}: pip install 'lowlight[train]'") from None
    header = weights.header
    for line in (
        f"{header.method}{' ' * bool(header.part)}{header.part}, licence: {header.licence}",
        *header.notes,
    ):
        print(shown(line), file=sys.stderr)
    print(shown(out))

"""`lowlight import`: a published checkpoint to a weights file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._options import check_target, output_option, parse_named


def import_(
    official: Annotated[
        Path,
        typer.Argument(
            metavar="OFFICIAL", help="The authors' checkpoint, or a folder with it.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        output_option("FILE", "The .safetensors file to write."),
    ],
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take it as of this method. Default: recognised.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Of the config, what the file does not tell."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn the authors' checkpoint into a weights file, without executing it. Needs lowlight[train]."""
    from lowlight import methods
    from lowlight.errors import UseError, shown

    check_target(output, ".safetensors", overwrite=overwrite, more="; `lowlight export` makes .onnx")
    if method is not None and method not in methods.names():
        raise UseError(f"no method is called {method!r}; there are: {', '.join(methods.names())}")
    sets = parse_named(setting or [], "--set")
    from lowlight.importing import import_checkpoint

    try:
        weights = import_checkpoint(official, output, method=method, sets=sets)
    except ModuleNotFoundError as error:
        raise UseError(f"import needs {error.name}: pip install 'lowlight[train]'") from None
    header = weights.header
    for line in (
        f"{header.method}{' ' * bool(header.part)}{header.part}, licence: {header.licence}",
        *header.notes,
    ):
        print(shown(line), file=sys.stderr)
    print(shown(output))

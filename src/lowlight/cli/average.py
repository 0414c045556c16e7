"""`lowlight average`: the mean of trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._options import check_target, output_option


def average(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE FILE...",
            help=".safetensors files; one named twice counts twice.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        output_option("FILE", "The .safetensors file to write."),
    ],
    validate: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="Score it by this recipe's validation.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the recipe's photos.")] = None,
    name: Annotated[str | None, typer.Option(help="What users will call the model.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Average networks trained from one start, which often beats each. Needs lowlight[train]."""
    from lowlight.errors import UseError, WeightsError, shown

    if len(files) < 2:
        raise UseError("expected at least two files: one has no mean")
    check_target(output, ".safetensors", overwrite=overwrite)
    for file in files:
        if not file.exists():
            raise WeightsError(f"{shown(file)}: no such file")
    if root is not None and validate is None:
        raise UseError("--root goes with --validate")
    try:
        from lowlight.training import average as averaging
        from lowlight.training.validate import validator_of
    except ModuleNotFoundError as error:
        raise UseError(f"average needs {error.name}: pip install 'lowlight[train]'") from None
    from lowlight.weights import save_safetensors

    header, tensors = averaging.average(files)
    if name is not None:
        header = header.model_copy(update={"name": name})
    if validate is not None:
        header = averaging.validated(header, tensors, validator_of(validate, root))
        for score, value in header.scores.items():
            print(f"{score}: {value}")
    save_safetensors(output, header, tensors)
    print(output)

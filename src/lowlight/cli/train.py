"""`lowlight train`: one training stage, as its recipe says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._interrupts import interruptible
from lowlight.cli._options import output_option


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes: data.root=photos steps=100."),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("DIR", "Folder of the run. Default: runs/ and the recipe's file name."),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Save and leave after this wall time.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    resume_from: Annotated[Path | None, typer.Option(help="Go on from this checkpoint.")] = None,
) -> None:
    """Train one stage of a method, as its recipe says. Needs lowlight[train]."""
    from lowlight.errors import LowlightError, UseError, shown

    # Before torch is loaded: that takes longer than saying what is wrong.
    for text in overrides or []:
        if "=" not in text:
            raise typer.BadParameter(f"{text!r}: expected KEY=VALUE", param_hint="KEY=VALUE")
    if not recipe.exists():
        raise LowlightError(f"{shown(recipe)}: no such file")
    try:
        from lowlight.training.checkpoint import TrainingError
        from lowlight.training.loop import fit
        from lowlight.training.recipe import read_recipe
    except ModuleNotFoundError as error:
        raise UseError(f"training needs {error.name}: pip install 'lowlight[train]'") from None
    checked = read_recipe(recipe, overrides or [])
    print("reading the photos", file=sys.stderr, flush=True)
    folder = output or Path("runs") / recipe.stem
    checkpoint = resume_from or (folder / "checkpoint.safetensors" if resume else None)
    with interruptible("stopping after this step; again to stop at once") as interrupted:
        try:
            outcome = fit(
                checked, folder, resume=checkpoint, max_minutes=max_minutes, stop=interrupted.stop.is_set
            )
        except OSError as error:
            raise TrainingError(f"{error.filename or folder}: {error.strerror}") from None
    print(folder / ("best.safetensors" if outcome.score is not None else "last.safetensors"))
    raise typer.Exit(interrupted.status)

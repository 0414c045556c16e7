"""`lowlight study`: an experiment, as the papers did it or our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._options import output_option


def study(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: list them.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings; `lowlight study NAME --help` lists those of a study."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("DIR", "Folder for table, JSON and pictures. Default: studies/NAME."),
    ] = None,
) -> None:
    """Run one of the papers' experiments, or list them. Some need lowlight[train].

    Exit status: 0 all measured, 1 some photos, or metrics asked for by name, could not be, 2 wrong use.
    """
    from lowlight import studies
    from lowlight.cli._tables import print_table
    from lowlight.errors import UseError

    if name is None:
        found = [(each, studies.find(each)) for each in studies.names()]
        print_table(
            ("study", "what it shows", "source"), [(each, kind.title, kind.source) for each, kind in found]
        )
        return
    try:
        settings = studies.check(name, changes or [])
        folder = output or Path("studies") / name
        findings = studies.run(name, settings, folder, lambda line: print(line, file=sys.stderr, flush=True))
    except ModuleNotFoundError as error:
        raise UseError(f"study {name} needs {error.name}: pip install 'lowlight[train]'") from None
    print_table(
        findings.table.columns, [[studies.cell(value) for value in row] for row in findings.table.rows]
    )
    for note in findings.notes:
        print(note)
    print(folder / f"{name}.md")
    if findings.incomplete:
        raise typer.Exit(1)


def help_of(words: list[str]) -> dict[str, list[tuple[str, str]]]:
    """A section of help: what can be set in the study that the words name."""
    from lowlight import studies

    name = next((word for word in words if word in studies.names()), None)
    return {} if name is None else {f"Settings of {name}": studies.settings_of(name)}

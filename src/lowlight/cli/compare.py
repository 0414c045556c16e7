"""``lowlight compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._options import check_target
from lowlight.cli._tables import print_numbers, print_published
from lowlight.errors import UseError, shown


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="Report folders of `lowlight evaluate -o`; the first is the base."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="An .html page: the table and a sheet of pictures."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Photos on the sheet, those that differ most first.")
    ] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of the table.")] = False,
) -> None:
    """Compare results on the same photos, with paired bootstrap intervals."""
    from lowlight.evaluation import comparing, report
    from lowlight.evaluation.scoring import versions
    from lowlight.files import write_file

    if len(results) < 2:
        raise UseError("expected at least two results to compare")
    if output is not None:
        check_target(output, ".html", overwrite=overwrite)
    found = comparing.compare(results, seed)
    if output is not None:
        write_file(output, comparing.to_html(found, pictures).encode("utf-8", "backslashreplace"))
    if as_json:
        differences = {
            column: {name: asdict(each) for name, each in by_name.items()}
            for column, by_name in found.differences.items()
        }
        means = {
            name: {column.name: column.mean for column in each.columns}
            for name, each in found.reports.items()
        }
        told = {
            "base": found.base,
            "results": {name: str(folder) for name, folder in found.places.items()},
            "interval": {
                "level": comparing.LEVEL,
                "resamples": comparing.RESAMPLES,
                "of": "photos",
                "seed": found.seed,
            },
            "made": versions(),
        }
        print(
            json.dumps({**told, "means": means, "differences": differences, "notes": found.notes}, indent=1)
        )
        return
    print(shown(comparing.heading(found)))
    for note in found.notes:
        print(shown(f"note: {note}"))
    print()
    print_numbers(*comparing.table(found))
    print(shown(comparing.intervals(found)))
    print_published(*report.published(found.reports))
    if output is not None:
        print(output)

"""``lowlight compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lowlight.cli._options import output_option
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
        output_option(
            "DIR", "Folder for the comparison: JSON, CSV, Markdown, HTML with a sheet of pictures."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Photos on the sheet, those that differ most first.")
    ] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a comparison that is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of the table.")] = False,
) -> None:
    """Compare results on the same photos, with paired bootstrap intervals.

    Exit status: 0 all compared, 1 some photos are not in all results and are left out, 2 wrong use.
    """
    from lowlight.evaluation import comparing, comparison_report, report

    if len(results) < 2:
        raise UseError("expected at least two results to compare")
    if output is not None:
        report.claim(output, overwrite=overwrite)
    found = comparing.compare(results, seed)
    if output is not None:
        comparison_report.write_comparison(found, output, pictures=pictures)
    if as_json:
        print(comparison_report.to_json(found), end="")
    else:
        for line in (comparing.heading(found), *comparison_report.notes(found)):
            print(shown(line))
        print()
        print_numbers(*comparison_report.table(found))
        print(shown(comparing.intervals(found)))
        print_published(*report.published(found.reports))
        if output is not None:
            print(output / comparison_report.PAGE)
    if found.left_out:
        raise typer.Exit(1)

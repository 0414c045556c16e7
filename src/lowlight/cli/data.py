"""``lowlight data``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lowlight.cli._tables import print_table
from lowlight.errors import UseError, shown


def data(
    action: Annotated[
        Literal["list", "check"],
        typer.Argument(metavar="list|check", help="List the sets, or check a folder."),
    ],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A set's name.")] = None,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where the set lies.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this part of the set.")] = None,
    scenes: Annotated[
        bool,
        typer.Option("--scenes", help="Read all photos: are test photos or their scenes in another part?"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of lines.")] = False,
) -> None:
    """List benchmark sets, or check a folder that holds one.

    Exit status of check: 0 all as it should be, 1 something is missing or wrong, 2 wrong use.
    """
    from lowlight.evaluation import benchmarks

    if action == "list":
        if folder is not None:
            raise UseError(
                "`lowlight data list` takes no folder; to check one: `lowlight data check NAME DIR`"
            )
        found = list(benchmarks.BENCHMARKS.values()) if name is None else [benchmarks.find_benchmark(name)]
        described = [benchmarks.describe(each) for each in found]
        if as_json:
            print(json.dumps(described if name is None else described[0], indent=2))
        elif name is None:
            print_table(("set", "content", "terms"), [(each.name, each.title, each.terms) for each in found])
        else:
            _print_set(described[0])
        return
    if name is None or folder is None:
        raise UseError("expected a set and its folder: lowlight data check NAME DIR")
    parts = benchmarks.check(benchmarks.find_benchmark(name), folder, split, scenes=scenes)
    if as_json:
        print(json.dumps([asdict(part) for part in parts], indent=2))
    else:
        for part in parts:
            of = "" if part.expected is None else f" of {part.expected}"
            verdict = "wrong"
            if not part.problems:
                verdict = f"as it should be by {', '.join(part.checks)}" if part.checks else "not checked"
            unknown = "" if "names" in part.checks else "; names are not known, only counted"
            print(f"{name} {part.part}: {part.found}{of}, {verdict}{unknown}")
            for line in part.problems:
                print(f"  wrong: {shown(line)}")
            for line in part.notes:
                print(f"  known: {shown(line)}")
    if any(part.problems for part in parts):
        raise typer.Exit(1)


def _print_set(described: Mapping[str, Any]) -> None:
    """A set: a line for each property that says something, and for each part what is where."""
    for key in ("title", "source", "terms", "note", "unusable"):
        if described[key]:
            print(f"{key}: {described[key]}" if key != "title" else described[key])
    for part in described["parts"]:
        places = [each for each in (part["low"], part["reference"]) if each]
        folders = "in one folder" if places == ["."] else " with ".join(places)
        names = ", ".join(f"{role} {pattern}" for role, pattern in part["names"].items())
        print(
            f"{part['part']}: {'count not stated' if part['count'] is None else part['count']}, {folders}"
            + "".join(f", {each}" for each in (names, part["size"]) if each)
        )
        for line in part["faults"]:
            print(f"  known: {line}")

"""``lowlight info``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lowlight.cli._tables import print_described
from lowlight.errors import LowlightError, PhotoError, reason, shown


def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Photos, weights files, or names of models.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON in place of lines; a list for several files.")
    ] = False,
) -> None:
    """Tell what photos and weights files are.

    Photos are read to their end: `lightness` is the mean of all values, and damage is told. Exit status: 0
    all whole, 1 some are not, 2 wrong use.
    """
    records: list[dict[str, Any]] = []
    failed = False
    for file in files:
        described, errors = _describe(file)
        failed = failed or bool(errors)
        if described:
            records.append({"file": file, **described})
            if not as_json:
                print_described(file, described | _readable(described))
        for error in errors:
            print(f"lowlight: {shown(str(error))}", file=sys.stderr)
    if as_json and records:
        print(json.dumps(records if len(files) > 1 else records[0], indent=2))
    if failed:
        raise typer.Exit(1)


def _readable(described: dict[str, Any]) -> dict[str, Any]:
    """What is told to people in other words than to programs."""
    changed: dict[str, Any] = {}
    if "recipe" in described:
        changed["recipe"] = _short(described["recipe"])
    if (turned := described.get("orientation", 1)) != 1:
        sides = described["width"], described["height"]
        width, height = sides[::-1] if turned >= 5 else sides
        changed["orientation"] = (
            f"{turned}: stored as {width} x {height}; the size above is the upright photo's"
        )
    return changed


def _short(recipe: dict[str, Any]) -> dict[str, Any]:
    """A mean's recipes, equal ones once with their count, and of each but the first only what differs from it."""
    whole = recipe.get("mean of")
    if not whole:
        return recipe
    first, *others = (each for index, each in enumerate(whole) if each not in whole[:index])
    changed = [{f"{whole.count(each)} x, as the first but": _changes(first, each)} for each in others]
    return recipe | {"mean of": [{f"{whole.count(first)} x": first}, *changed]}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What ``new`` has otherwise; null: it has not."""
    changes: dict[str, Any] = {}
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before != after:
            if isinstance(before, dict) and isinstance(after, dict):
                changes[key] = _changes(before, after)
            else:
                changes[key] = after
    return changes


def _describe(file: str) -> tuple[dict[str, Any], list[LowlightError]]:
    """What is known of a file, and what is wrong with it."""
    described: dict[str, Any] = {}
    try:
        path = Path(file)
        if path.suffix in (".onnx", ".safetensors") or not path.exists():
            from lowlight.cli.models import describe_weights
            from lowlight.places import candidates
            from lowlight.weights import open_weights

            if not path.exists() and file not in candidates():
                raise PhotoError(f"{file}: no such file; models by name: {', '.join(candidates()) or 'none'}")
            return {"is": "weights", **describe_weights(open_weights(file))}, []
        from lowlight import statistics
        from lowlight.photo import DAMAGED, describe_photo, read_photo

        described = {"is": "photo", **describe_photo(path), "lightness": None}
        photo = read_photo(path)
        described |= {"lightness": round(statistics.mean(photo.samples), 4), "notes": list(photo.notes)}
        if DAMAGED in photo.notes:
            return described, [PhotoError(f"{file}: {DAMAGED}")]
    except LowlightError as error:
        return described, [error]
    except OSError as error:
        return described, [PhotoError(f"{file}: {reason(error)}")]
    return described, []

"""``lowlight models``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowlight.cli._tables import print_table
from lowlight.errors import shown

if TYPE_CHECKING:
    from lowlight.weights import Weights


def models(
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False,
) -> None:
    """List the weights at hand: shipped, in ./models, and cached."""
    from lowlight.weights import available

    described = [describe_weights(weights) for weights in available()]
    if as_json:
        print(json.dumps(described, indent=2))
        return
    columns = ("name", "method", "precision", "licence", "data", "scores", "sha256", "path")
    print_table(columns, [[_cell(column, each[column]) for column in columns] for each in described])


def describe_weights(weights: Weights) -> dict[str, Any]:
    """What a weights file says of itself, and its hash."""
    header = weights.header
    return {
        "name": header.name,
        "method": header.method,
        "precision": header.precision,
        "licence": header.licence,
        "data": header.data,
        "scores": header.scores,
        "notes": header.notes,
        "config": header.config,
        "recipe": header.recipe,
        "kind": weights.kind,
        "sha256": weights.sha256,
        "path": str(weights.path),
    }


def _cell(column: str, value: Any) -> str:
    if column == "sha256":
        return str(value)[:12]
    if column == "data":
        return "; ".join(value)
    if column == "scores":
        return ", ".join(f"{name} {score:g}" for name, score in value.items())
    return shown(value)

"""``lowlight models``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowlight.cli._tables import print_described
from lowlight.places import DEFAULT

if TYPE_CHECKING:
    from lowlight.weights import Weights

_SHORT = ("method", "part", "precision", "licence", "data", "scores", "notes", "sha256", "path")


def models(
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of lines.")] = False,
) -> None:
    """List the weights at hand: shipped, in ./models, and cached."""
    from lowlight.weights import available

    described = [describe_weights(weights) for weights in available()]
    described.sort(key=lambda each: each["name"] != DEFAULT)
    if as_json:
        print(json.dumps(described, indent=2))
        return
    for each in described:
        default = " (the default)" if each["name"] == DEFAULT else ""
        print_described(each["name"] + default, {name: each[name] for name in _SHORT})


def describe_weights(weights: Weights) -> dict[str, Any]:
    """What a weights file says of itself, and its hash."""
    header = weights.header
    return {
        "name": weights.path.stem,
        "method": header.method,
        "part": header.part,
        "precision": header.precision,
        "licence": header.licence,
        "data": header.data,
        "scores": header.scores,
        "notes": header.notes,
        "noise_levels": header.noise_levels,
        "config": header.config,
        "recipe": header.recipe,
        "kind": weights.kind,
        "sha256": weights.sha256,
        "path": str(weights.path),
    }

"""``lowlight info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lowlight.errors import shown


def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A photo, a weights file, or a model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of lines.")] = False,
) -> None:
    """Tell what a photo or a weights file is."""
    described = _describe(file)
    if as_json:
        print(json.dumps({"file": file, **described}, indent=2))
        return
    print(shown(file))
    for name, value in described.items():
        if value not in (None, [], {}, ""):
            print(f"  {name}: {_text(value)}")


def _describe(file: str) -> dict[str, Any]:
    path = Path(file)
    if path.suffix in (".onnx", ".safetensors") or not path.exists():
        from lowlight.cli.models import describe_weights
        from lowlight.weights import open_weights

        return {"is": "weights", **describe_weights(open_weights(file))}
    from lowlight.photo import describe_photo

    return {"is": "photo", **describe_photo(path)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_text(part) for part in value)
    return shown(str(value))

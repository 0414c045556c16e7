"""``lowlight info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lowlight.cli._tables import print_described


def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A photo, a weights file, or a model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of lines.")] = False,
) -> None:
    """Tell what a photo or a weights file is."""
    described = _describe(file)
    if as_json:
        print(json.dumps({"file": file, **described}, indent=2))
        return
    print_described(file, described)


def _describe(file: str) -> dict[str, Any]:
    path = Path(file)
    if path.suffix in (".onnx", ".safetensors") or not path.exists():
        from lowlight.cli.models import describe_weights
        from lowlight.errors import PhotoError
        from lowlight.places import candidates
        from lowlight.weights import open_weights

        if not path.exists() and file not in candidates():
            raise PhotoError(f"{file}: no such file; models by name: {', '.join(candidates()) or 'none'}")

        return {"is": "weights", **describe_weights(open_weights(file))}
    from lowlight.photo import describe_photo

    return {"is": "photo", **describe_photo(path)}

"""`lowlight adapt`: a few pairs of one's own camera become a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowlight.cli._interrupts import interruptible
from lowlight.cli._options import check_target, output_option
from lowlight.errors import UseError, shown

if TYPE_CHECKING:
    from lowlight.training.camera_pairs import CameraPair

START = "dimma-torch"
"""The shipped weights in the form that can be trained on."""


def adapt(
    pairs: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Two folders, dark and light: 3 to 8 photos each, equal names.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        output_option("MODEL.onnx", "The model to write."),
    ],
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Good photos in ordinary light, of anything; a hundred helps."),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="FILE", help="Weights to start from, .safetensors.")
    ] = START,
    minutes: Annotated[float, typer.Option(min=3, help="Wall time, at most.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    json_line: Annotated[bool, typer.Option("--json", help="The result as one line of JSON.")] = False,
) -> None:
    """Make a model for your camera from 3 to 8 pairs of photos. Needs lowlight[train]."""
    check_target(output, ".onnx", overwrite=overwrite)
    if photos is not None and not photos.is_dir():
        raise UseError(f"--photos {shown(photos)}: expected a folder of photos")
    from lowlight.machine import cores

    weights = _weights(start)
    checked = _check(pairs)
    try:
        from lowlight.methods.dimma.training.adapt import Order, Stopped
        from lowlight.methods.dimma.training.adapt import adapt as make
    except ModuleNotFoundError as error:
        raise UseError(f"adapting needs {error.name}: pip install 'lowlight[train]'") from None
    order = Order(checked, output, weights, photos, minutes=minutes, seed=seed, threads=cores())
    with interruptible("stopping after this step; again to stop at once") as interrupted:
        try:
            result = make(order, say=_say, stop=interrupted.stop.is_set)
        except Stopped as stopped:
            _say(str(stopped))
            raise typer.Exit(interrupted.status) from None
    if json_line:
        found = {
            "output": str(output),
            "sheet": str(result.sheet),
            "left_out": result.held,
            "steps": result.steps,
        }
        found |= {"before": result.before, "after": result.after, "kept_old": result.kept_old}
        print(json.dumps({**found, "seconds": result.seconds}))
        return
    print(shown(output))
    print(shown(result.sheet))


def _say(line: str) -> None:
    print(shown(line), file=sys.stderr, flush=True)


def _weights(name: str) -> Path:
    """The file to start from; tells where it comes from when the default is not there."""
    from lowlight import places
    from lowlight.weights import open_trainable

    if name == START and START not in places.candidates() and not Path(name).exists():
        raise UseError(
            f"no weights {START}: the package holds graphs only, which run but cannot be trained on; put "
            f"models/{START}.safetensors of lowlight's source into ./models or {places.cache_folder()}, "
            "or name other weights by --from FILE"
        )
    return open_trainable(name, method="dimma").path


def _check(folder: Path) -> list[CameraPair]:
    """The pairs, after a line about each."""
    from lowlight.training import camera_pairs

    checks = camera_pairs.check_pairs(camera_pairs.find_pairs(folder))
    for check in checks:
        _say(check.line())
    return camera_pairs.usable(checks)

"""`lowlight export`: trained weights to the ONNX file that users run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowlight.cli._options import check_target, output_option

if TYPE_CHECKING:
    from lowlight.methods import Array, Method, Observation

TILE = 384
"""Side of the windows of photos that int8 is calibrated on, pixels."""


def export(
    weights: Annotated[
        Path, typer.Argument(help="A .safetensors file of a training run.", show_default=False)
    ],
    output: Annotated[
        Path,
        output_option("FILE", "The .onnx file to write."),
    ],
    precision: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="float16 halves the file and computes in float32; int8 computes in int8."),
    ] = "float32",
    calibrate: Annotated[
        Path | None, typer.Option(help="For int8: a folder of dark photos that the network was trained on.")
    ] = None,
    photos: Annotated[int, typer.Option(min=1, help="Photos of that folder to use, spread evenly.")] = 24,
    validate: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE", help="Score the graph by this recipe's validation; int8 has no scores else."
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the recipe's photos.")] = None,
    name: Annotated[str | None, typer.Option(help="What users will call the model.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn trained weights into the ONNX file that users run. Needs lowlight[train]."""
    from lowlight.errors import UseError, WeightsError, shown

    check_target(output, ".onnx", overwrite=overwrite)
    if not weights.exists():
        raise WeightsError(f"{shown(weights)}: no such file")
    if (precision == "int8") != (calibrate is not None):
        raise UseError("--calibrate goes with --precision int8, and int8 needs it")
    if root is not None and validate is None:
        raise UseError("--root goes with --validate")
    try:
        from lowlight.engines.torch import load_network
        from lowlight.training.export import export_onnx
        from lowlight.training.validate import validator_of
    except ModuleNotFoundError as error:
        raise UseError(f"export needs {error.name}: pip install 'lowlight[train]'") from None
    from lowlight import methods
    from lowlight.weights import open_weights

    opened = open_weights(weights, part="")
    method = methods.create(opened.header.method, opened.header.config, opened.arrays)
    header = opened.header if name is None else opened.header.model_copy(update={"name": name})
    tiles = [] if calibrate is None else calibration_tiles(method, calibrate, photos)
    validator = None
    if validate is not None:
        validator = validator_of(validate, root)
        print(f"exporting, then validating on {len(validator)} photos", file=sys.stderr, flush=True)
    export_onnx(
        load_network(opened),
        method,
        header,
        output,
        precision=precision,
        calibration=tiles,
        validator=validator,
    )
    print(output)


def calibration_tiles(method: Method, folder: Path, count: int) -> list[tuple[Array, Observation]]:
    """Windows from the middle of some of a folder's photos, observed as users' photos are."""
    from lowlight.errors import PhotoError
    from lowlight.photo import read_photo

    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".webp", ".jpg", ".png"))
    if not files:
        raise PhotoError(f"{folder}: no photos to calibrate on; expected .jpg, .png or .webp")
    tiles = []
    for path in files[:: max(1, len(files) // count)][:count]:
        photo = read_photo(path)
        height, width = (
            min(TILE, side) // method.multiple * method.multiple for side in (photo.height, photo.width)
        )
        window = photo.window((photo.height - height) // 2, (photo.width - width) // 2, height, width)
        tiles.append((window, method.observe(photo.samples, method.Controls())))
    return tiles

"""`lowlight likelihood`: how likely photos are as the normally lit version of a dark one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lowlight import places
from lowlight.cli._options import Memory

MapKind = Literal["surprise", "slopes"]


def likelihood(
    low: Annotated[Path, typer.Argument(metavar="LOW", help="The dark photo.", show_default=False)],
    candidates: Annotated[
        list[Path],
        typer.Argument(
            metavar="CANDIDATE...", help="Results of any method, of its size.", show_default=False
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Tensors of a method that is a density.")
    ] = places.DENSITY,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="DIR", help="Also write CANDIDATE.map.png: where it is not believable."
        ),
    ] = None,
    kind: Annotated[
        MapKind,
        typer.Option(
            "--map-kind",
            help="surprise: bits beyond what is expected there, red more, blue less; slopes: the paper's, by rank.",
        ),
    ] = "surprise",
    draws: Annotated[
        int, typer.Option(min=1, help="Of noise, for bits per dimension; of pictures, for what is expected.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    memory: Memory = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace maps that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of the table.")] = False,
) -> None:
    """Tell how likely photos are, given the dark one; less is more likely. Needs lowlight[train].

    Exit status: 0 all judged, 1 some could not be, 2 wrong use.
    """
    from lowlight.cli._tables import print_table
    from lowlight.errors import LowlightError, UseError, WeightsError, shown
    from lowlight.photo import Photo, read_photo, write_photo

    targets = [None if maps is None else maps / f"{each.stem}.map.png" for each in candidates]
    if maps is not None and len(set(targets)) < len(targets):
        raise UseError("two candidates have one name, and so would their maps: rename one")
    for target in targets:
        if target is not None and target.exists() and not overwrite:
            raise UseError(f"{shown(target)} exists; --overwrite replaces it")

    from lowlight.likelihoods import SURPRISE, Judge, activation_map, surprise_map

    try:
        judge = Judge.load(model, memory)
    except WeightsError as error:
        raise UseError(str(error)) from error
    slopes, surprise = (maps is not None and kind == each for each in ("slopes", "surprise"))
    given = judge.given(read_photo(low).samples, slopes=slopes)
    records = []
    for candidate, target in zip(candidates, targets, strict=True):
        try:
            samples = read_photo(candidate).samples
            found = judge.likelihood(given, samples, draws=draws, seed=seed, slopes=slopes, surprise=surprise)
            record = {
                "candidate": str(candidate),
                "bits_per_position": found.bits_per_position,
                "bits_per_dimension": found.bits_per_dimension,
            }
            if target is not None:
                if found.surprise is not None:
                    record["surprise"] = float(found.surprise.mean())
                    picture = Photo(surprise_map(found.surprise))
                elif found.slopes is not None:
                    picture = Photo(activation_map(found.slopes)[..., None].repeat(3, axis=2), grey=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_photo(picture, target)
                record["map"] = str(target)
        except LowlightError as error:
            print(f"lowlight: {shown(f'{candidate}: {error}')}", file=sys.stderr)
            continue
        records.append(record)
    if as_json:
        settings = {"low": str(low), "model": model, "prior_mean": "encoder", "draws": draws, "seed": seed}
        settings |= {
            "map": kind if maps is not None else None,
            "range": [-SURPRISE, SURPRISE] if surprise else None,
        }
        print(json.dumps({**settings, "dequantised": judge.dequantised, "candidates": records}, indent=1))
    elif records:
        columns = ("candidate", "bits_per_position", "bits_per_dimension", "surprise", "map")
        shown_columns = [name for name in columns if records[0].get(name) is not None]
        rows = [
            [
                f"{each[name]:.4f}" if isinstance(each[name], float) else shown(each[name])
                for name in shown_columns
            ]
            for each in records
        ]
        print_table([name.replace("_", " ") for name in shown_columns], rows)
        print(
            "Less is more likely. The prior's mean is the encoder's colour map of the dark photo.",
            file=sys.stderr,
        )
        if surprise:
            print(
                "Surprise: bits a position beyond those of pictures that the model draws itself. Maps: white as "
                f"expected, red too unlikely, blue too likely, full from {SURPRISE:g} bits on.",
                file=sys.stderr,
            )
        if not judge.dequantised:
            print(
                "No bits per dimension: the model was trained without noise on the references.",
                file=sys.stderr,
            )
    if len(records) < len(candidates):
        raise typer.Exit(1)

"""`lowlight likelihood`: how likely photos are as the normally lit version of a dark one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lowlight import places
from lowlight.cli._options import Memory

MapKind = Literal["surprise", "colours", "slopes"]
DEFAULT: tuple[MapKind, ...] = ("surprise", "colours")
LEGENDS: dict[MapKind, str] = {
    "surprise": "bits a position beyond those of pictures that the model draws itself, {0[0]:g} blue, too likely, "
    "to {0[1]:g} red, too unlikely",
    "colours": "levels by which the colour is off that of the likeliest picture, {0[0]:g} white to {0[1]:g} purple",
    "slopes": "the published map, by rank: what the likelihood changes most with is bright",
}


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
            "--map", metavar="DIR", help="Also write CANDIDATE.KIND.png: where it is not believable."
        ),
    ] = None,
    only: Annotated[
        MapKind | None,
        typer.Option(
            "--map-kind",
            help="surprise: bits beyond what is expected there, red more, blue less; colours: how far off; "
            "slopes: the paper's. Default: the first two.",
            show_default=False,
        ),
    ] = None,
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
    from lowlight.errors import LowlightError, PhotoError, UseError, WeightsError, shown
    from lowlight.photo import Photo, read_photo, write_photo

    if only and maps is None:
        raise UseError("--map-kind needs --map DIR, where maps are written")
    chosen = () if maps is None else (only,) if only else DEFAULT
    if maps is not None and len({each.stem for each in candidates}) < len(candidates):
        raise UseError("two candidates have one name, and so would their maps: rename one")
    targets = [
        {kind: maps / f"{each.stem}.{kind}.png" for kind in chosen} if maps is not None else {}
        for each in candidates
    ]
    for target in (path for each in targets for path in each.values()):
        if target.exists() and not overwrite:
            raise UseError(f"{shown(target)} exists; --overwrite replaces it")

    from lowlight.likelihoods import RANGES, Judge, paint

    try:
        judge = Judge.load(model, memory)
    except WeightsError as error:
        raise UseError(str(error)) from error
    given = judge.given(read_photo(low).samples, slopes="slopes" in chosen)
    records: list[dict[str, Any]] = []
    for candidate, paths in zip(candidates, targets, strict=True):
        try:
            samples = read_photo(candidate).samples
            try:
                found = judge.likelihood(given, samples, draws=draws, seed=seed, maps=chosen)
            except LowlightError as error:  # those of reading and writing begin with the file's name already
                raise PhotoError(f"{candidate}: {error}") from error
            for kind, path in paths.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_photo(Photo(paint(kind, found.maps[kind]), grey=kind == "slopes"), path)
        except LowlightError as error:
            print(f"lowlight: {shown(error)}", file=sys.stderr)
            continue
        means: dict[str, float] = {kind: float(found.maps[kind].mean()) for kind in chosen if RANGES[kind]}
        records.append(
            {
                "candidate": str(candidate),
                "bits_per_position": found.bits_per_position,
                "bits_per_dimension": found.bits_per_dimension,
                **means,
                "maps": {kind: str(path) for kind, path in paths.items()},
            }
        )
    if as_json:
        settings = {"low": str(low), "model": model, "prior_mean": "encoder", "draws": draws, "seed": seed}
        ranges = {kind: RANGES[kind] for kind in chosen}
        told = {**settings, "dequantised": judge.dequantised, "ranges": ranges, "candidates": records}
        print(json.dumps(told, indent=1))
    elif records:
        columns = ("candidate", "bits_per_position", "bits_per_dimension", "surprise", "colours")
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
            "Less is more likely, and smooth is likely: compare only candidates of one dark photo that are equally "
            "sharp. The prior's mean is the encoder's colour map of the dark photo.",
            file=sys.stderr,
        )
        for kind in chosen:
            print(f"{shown(maps)}/*.{kind}.png: {LEGENDS[kind].format(RANGES[kind])}", file=sys.stderr)
        if not judge.dequantised:
            print(
                "No bits per dimension: the model was trained without noise on the references.",
                file=sys.stderr,
            )
    if len(records) < len(candidates):
        raise typer.Exit(1)

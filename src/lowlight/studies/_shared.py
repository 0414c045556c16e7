"""What studies share: pairs of photos, what models have met, trainings from a recipe, sheets of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import studies
from lowlight.errors import PhotoError, RecipeError, reason
from lowlight.evaluation.pairing import Case, Role, natural, pair, photos_in
from lowlight.methods import Samples
from lowlight.photo import read_photo
from lowlight.statistics import to_8_bits

if TYPE_CHECKING:
    from lowlight.evaluation import scoring
    from lowlight.training.recipe import Recipe

SHEET_HEIGHT = 160
"""Of one picture of a sheet, pixels."""


class Pairs(studies.Settings):
    """Dark photos and their references."""

    low: Path
    """Folder of dark photos."""
    reference: Path
    """Folder of references of the same names."""
    names: Path | None = None
    """A file with a name a line: only these."""
    photos: int | None = Field(None, ge=1)
    """At most, spread evenly; default: all."""


def met(model: str | Path, cases: Sequence[Case]) -> list[str]:
    """What is known of a model having met these photos, as ``lowlight evaluate`` says it."""
    from lowlight.evaluation.plan import look_for_leaks
    from lowlight.weights import open_weights

    weights = open_weights(model)
    return [
        f"{weights.path.stem}: training photos: {line}."
        for line in look_for_leaks(cases, weights, help_="").lines
    ]


def measure(
    network: scoring.Network,
    cases: Sequence[Case],
    columns: Mapping[str, Sequence[str]],
    notes: list[str],
) -> dict[str, list[float]]:
    """Values of all photos by column, ``raw.psnr``; why a column is empty goes to the notes.

    columns: protocol to metrics. Raises PhotoError for a photo that can't be read or enhanced.
    """
    from lowlight.evaluation import scoring

    scores = scoring.score(network, cases, columns)
    for name, why in scores.failed.items():
        raise PhotoError(f"{name}: {why}")
    notes += [f"{each.metric}: {each.missing}" for each in scores.columns if each.missing]
    return {
        each.name: [value for row in scores.rows if (value := row.values[each.name]) is not None]
        for each in scores.columns
    }


@dataclass(frozen=True)
class Scene:
    """Samples of one size."""

    name: str
    low: Samples
    reference: Samples
    result: Samples
    """The reference where there are no results."""


def cases_of(chosen: Pairs, results: Path | None = None) -> list[Case]:
    """The files of photos by their names. results: a folder of results, which choose the photos where no names do.

    Raises UseError and PhotoError.
    """
    wanted: list[str] = []
    if chosen.names is not None:
        try:
            wanted = chosen.names.read_text(encoding="utf-8").split()
        except OSError as error:
            raise PhotoError(f"{chosen.names}: expected a list of names: {reason(error)}") from None
    folders: dict[Role, Path] = {"low": chosen.low, "reference": chosen.reference}
    if results is not None:
        folders["result"] = results
        wanted = wanted or sorted(photos_in(results, deep=True), key=natural)
    return spread(pair(folders, names=wanted), chosen.photos)


def read_scenes(chosen: Pairs, results: Path | None = None) -> Iterator[Scene]:
    """Photos by their names. results: see ``cases_of``. Raises UseError and PhotoError."""
    for case in cases_of(chosen, results):
        found = {role: read_photo(path).samples for role, path in case.files().items()}
        if len({samples.shape for samples in found.values()}) > 1:
            raise PhotoError(f"{case.name}: expected {', '.join(found)} of one size")
        yield Scene(case.name, found["low"], found["reference"], found.get("result", found["reference"]))


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """At most that many, spread evenly."""
    if count is None or count >= len(items):
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def noise(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> NDArray[np.float64]:
    """Gaussian noise whose mean is exactly 0 and whose mean absolute value is exactly ``size``."""
    drawn = rng.normal(size=shape)
    drawn -= drawn.mean()
    return np.asarray(drawn * (size / np.abs(drawn).mean()))


def sheet(*rows: Sequence[Samples], titles: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Pictures in rows. titles: of the columns, above the first row."""
    from lowlight.sheet import draw

    words = [*titles, *[""] * max(map(len, rows))]
    return draw(
        [
            [("" if number else word, to_8_bits(samples)) for word, samples in zip(words, row, strict=False)]
            for number, row in enumerate(rows)
        ],
        SHEET_HEIGHT,
    )


class Training(studies.Settings):
    """A recipe to train by, once a row of the table."""

    recipe: Path
    """File of the recipe that all trainings share."""
    changes: tuple[str, ...] = ()
    """Of the recipe, as ``key=value``."""


class Compared(Training):
    """A recipe whose trainings a paper's table compares."""

    metrics: tuple[str, ...] = ("lpips_alex",)
    """Besides PSNR and SSIM, as ``lowlight evaluate`` names them."""


_PROTOCOLS = {"reference": "reference_lightness", "auto": "raw"}
"""Protocols by how a validation gives the lightness."""


def train(chosen: Training, changes: Sequence[str], out: Path, say: studies.Say) -> dict[str, float]:
    """Train into a folder, or go on with what is there: scores of the weights that validation chose.

    They are named by protocol and metric as everywhere, with the set's name before where there are several.
    """
    from lowlight.training.loop import fit
    from lowlight.training.recipe import read_recipe

    recipe = read_recipe(chosen.recipe, [*chosen.changes, *changes])
    if recipe.validation is None:
        raise RecipeError(f"{chosen.recipe}: validation is missing; without it there is no score")
    checkpoint = out / "checkpoint.safetensors"
    say(f"{out.name}: {out}")
    fit(recipe, out, resume=checkpoint if checkpoint.exists() else None)
    return _best(out / "log.jsonl")


def _best(log: Path) -> dict[str, float]:
    """Scores of the best validation of a run."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    best = [entry for entry in entries if entry.get("best")][-1]["validation"]
    return {
        f"{name} " * (len(best) > 1) + f"{_PROTOCOLS.get(given, given)}.{metric}": value
        for name, modes in best.items()
        for given, values in modes.items()
        for metric, value in values.items()
    }


def compare(
    chosen: Compared,
    first: str,
    trainings: Mapping[str, tuple[str, Sequence[str]]],
    out: Path,
    say: studies.Say,
) -> studies.Findings:
    """Train, and a row a training with its scores and what the other metrics tell with the reference's lightness.

    first: what the column of the rows' titles is called. trainings: the folder in ``out`` of each, and what it
    changes of the recipe.
    """
    from lowlight import enhancer
    from lowlight.evaluation import plan, scoring
    from lowlight.training.recipe import read_recipe

    rows: dict[str, dict[str, float | None]] = {
        title: {**train(chosen, changes, out / name, say)} for title, (name, changes) in trainings.items()
    }
    if not chosen.metrics:
        return findings(chosen, first, rows)
    columns = plan.choose_columns(
        ",".join(chosen.metrics),
        "reference_lightness",
        None,
        model=True,
        roles=frozenset({"low", "reference"}),
        constant=False,
    )
    recipe = read_recipe(chosen.recipe, chosen.changes)
    sets = _validated(recipe)
    notes: list[str] = []
    for title, (folder, _) in trainings.items():
        for name, cases in sets.items():
            model = enhancer.load(out / folder / "best.safetensors", threads=recipe.threads)
            found = measure(scoring.Network(model), cases, columns, notes)
            rows[title] |= {
                f"{name} " * (len(sets) > 1) + column: float(np.mean(values)) if values else None
                for column, values in found.items()
            }
    told = findings(chosen, first, rows)
    missing = any(cell is None for row in rows.values() for cell in row.values())
    return replace(
        told,
        notes=[*told.notes, *dict.fromkeys(notes)],
        incomplete=missing and "metrics" in chosen.model_fields_set,
    )


def _validated(recipe: Recipe) -> dict[str, list[Case]]:
    """The photos that a recipe's validation looks at, by set."""
    from lowlight.training.validate import files_of

    sets = {} if recipe.validation is None else recipe.validation.sets
    return {
        name: [Case(title, None, dark, light) for title, dark, light in files_of(each, recipe.data.root)]
        for name, each in sets.items()
    }


def findings(
    chosen: Training, first: str, scores: Mapping[str, Mapping[str, float | None]]
) -> studies.Findings:
    """A row a training with its scores. first: what the column of the rows' titles is called."""
    from lowlight.training.recipe import read_recipe

    recipe = read_recipe(chosen.recipe, chosen.changes)
    columns = (first, *next(iter(scores.values())))
    return studies.Findings(
        studies.Table(columns, [(title, *found.values()) for title, found in scores.items()]),
        ["The scores are those of the validation that chose the weights: read differences, not heights."],
        photos={name: len(cases) for name, cases in _validated(recipe).items()},
        recipe=recipe.model_dump(mode="json"),
    )

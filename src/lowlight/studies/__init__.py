"""The papers' experiments and studies across methods, one file each; ``lowlight study NAME`` runs one.

A study is given checked settings and gives back a table, sentences and pictures; how they are written and
printed is the same for all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from lowlight import markdown
from lowlight.errors import RecipeError, UseError
from lowlight.files import write_file
from lowlight.photo import Photo, write_photo
from lowlight.values import override, validate

Cell = str | float | int | None
Say = Callable[[str], None]
"""Takes a line for the person who waits."""


class Settings(BaseModel):
    """What a user may set, as ``key=value``. The texts below the keys are what the command's help says of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Table:
    """Rows of equal length under named columns. None: not measured."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Findings:
    """What a study found."""

    table: Table
    notes: Sequence[str] = ()
    """Sentences: what the figures mean, what they must not be compared with."""
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """By file name without suffix: (height, width, 3)."""
    photos: Mapping[str, int] = field(default_factory=dict)
    """How many were measured, by set."""
    recipe: Mapping[str, Any] | None = None
    """What trainings share, whole; None: nothing was trained, or the settings say all of it."""
    incomplete: bool = False
    """Photos, or metrics asked for by name, could not be measured; the notes say which."""


class Study(Protocol):
    """One experiment."""

    title: ClassVar[str]
    source: ClassVar[str]
    """Paper and table or figure; empty: our own."""
    published: ClassVar[Table | None]
    """The published figures, printed beside; never measured here."""
    Settings: ClassVar[type[Settings]]

    def run(self, settings: Any, folder: Path, say: Say) -> Findings:
        """folder: where it may leave files of its own, such as trained weights."""
        ...


_STUDIES = {
    "few-shot": "lowlight.studies.few_shot:FewShot",
    "noise": "lowlight.studies.noise:Noise",
    "cross-dataset": "lowlight.studies.cross_dataset:CrossDataset",
    "lightness": "lowlight.studies.lightness:LightnessControl",
    "cost": "lowlight.studies.cost:Cost",
    "seeds": "lowlight.studies.seeds:Seeds",
    "degradations": "lowlight.studies.degradations:Degradations",
    "against-l1": "lowlight.studies.against_l1:AgainstL1",
    "brightness": "lowlight.studies.brightness:Brightness",
    "activation": "lowlight.studies.activation:Activation",
    "objectives": "lowlight.studies.objectives:Objectives",
    "prior": "lowlight.studies.prior:Prior",
    "colour-maps": "lowlight.studies.colour_maps:ColourMaps",
    "stages": "lowlight.studies.stages:Stages",
    "features": "lowlight.studies.features:Features",
}


def names() -> list[str]:
    """Names of all studies."""
    return list(_STUDIES)


def find(name: str) -> type[Study]:
    """The study of that name. Raises UseError."""
    if name not in _STUDIES:
        raise UseError(f"no study is called {name!r}; there are: {', '.join(names())}")
    module, attribute = _STUDIES[name].split(":")
    found: type[Study] = getattr(import_module(module), attribute)
    return found


def check(name: str, changes: Sequence[str]) -> Settings:
    """Settings of a study from ``key=value`` texts. Raises UseError and RecipeError, naming the key."""
    values: dict[str, Any] = {}
    for change in changes:
        override(values, change)
    model = find(name).Settings
    missing = [key for key, field in model.model_fields.items() if field.is_required() and key not in values]
    if missing and not values.keys() - model.model_fields.keys():
        settings = ", ".join(_with_default(key, field) for key, field in model.model_fields.items())
        raise RecipeError(f"study {name}: missing: {', '.join(missing)}; its settings: {settings}")
    return validate(model, values, f"study {name}")


def settings_of(name: str) -> list[tuple[str, str]]:
    """What can be set in a study, with defaults, and what each is."""
    fields = find(name).Settings.model_fields
    return [
        (_with_default(key, field), " ".join((field.description or "").replace("``", "`").split()))
        for key, field in fields.items()
    ]


def _with_default(key: str, setting: FieldInfo) -> str:
    """A setting as it may be written; what is long is left out."""
    if setting.is_required():
        return f"{key} (required)"
    value = to_jsonable_python(setting.default)
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"{key}={text if len(text) < 60 else '...'}"


def run(name: str, settings: Settings, folder: Path, say: Say) -> Findings:
    """Run a study and write ``NAME.json``, ``NAME.md`` and its pictures into a folder."""
    from lowlight.evaluation.scoring import versions

    study = find(name)
    folder.mkdir(parents=True, exist_ok=True)
    findings = study().run(settings, folder, say)
    for title, picture in findings.pictures.items():
        write_photo(Photo(picture), folder / f"{title}.png")
    made = versions()
    write_file(folder / f"{name}.md", report(study, settings, findings, made).encode())
    record = {
        "study": name,
        "title": study.title,
        "source": study.source,
        "settings": settings.model_dump(mode="json"),
        "weights": _weights(settings),
        "recipe": findings.recipe,
        "photos": dict(findings.photos),
        "table": _plain(findings.table),
        "published": None if study.published is None else _plain(study.published),
        "notes": list(findings.notes),
        "incomplete": findings.incomplete,
        "pictures": [f"{title}.png" for title in findings.pictures],
        "made": made,
    }
    write_file(folder / f"{name}.json", json.dumps(record, indent=2, allow_nan=False).encode())
    return findings


def _weights(settings: Settings) -> dict[str, str]:
    """SHA-256 of the weights that a study's ``model``, ``models`` or ``start`` name."""
    from lowlight.weights import open_weights

    named = [getattr(settings, key, None) for key in ("model", "start")]
    named += getattr(settings, "models", ())
    return {name: open_weights(name).sha256 for name in named if name is not None}


def report(study: type[Study], settings: Settings, findings: Findings, made: Mapping[str, str]) -> str:
    """A report of one page."""
    parts = [f"# {study.title}\n"]
    if study.source:
        parts.append(f"After {study.source}.\n")
    chosen = ", ".join(f"`{key}={value}`" for key, value in settings.model_dump(mode="json").items())
    parts.append(f"Settings: {chosen}.\n" if chosen else "")
    parts.append(_markdown_table(findings.table))
    if study.published is not None:
        parts.append("Published, not measured here:\n")
        parts.append(_markdown_table(study.published))
    parts += [f"{note}\n" for note in findings.notes]
    if findings.photos:
        parts.append(f"Photos: {', '.join(f'{name} {count}' for name, count in findings.photos.items())}.\n")
    parts += [f"![{title}]({title}.png)\n" for title in findings.pictures]
    parts.append(f"Made with {', '.join(f'{name} {version}' for name, version in made.items())}.\n")
    return "\n".join(part for part in parts if part)


def cell(value: Cell) -> str:
    """A value as tables show it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _markdown_table(table: Table) -> str:
    return markdown.table(table.columns, [[cell(value) for value in row] for row in table.rows]) + "\n"


def _plain(table: Table) -> dict[str, Any]:
    """For JSON, which has no infinity and no NaN."""
    rows = [
        [str(value) if isinstance(value, float) and not math.isfinite(value) else value for value in row]
        for row in table.rows
    ]
    return {"columns": list(table.columns), "rows": rows}

"""A few pairs of a camera alone, or beside ordinary photos that are made as dark as that camera would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from lowlight import enhancer, places, studies
from lowlight.engines import Precision
from lowlight.evaluation import plan, scoring
from lowlight.evaluation.pairing import Case
from lowlight.files import write_file
from lowlight.studies._shared import Pairs, cases_of, measure, met
from lowlight.weights import Weights, open_weights

ALONE, DETERMINISTIC, MIXTURE, TUNED = (
    "pairs only",
    "deterministic dimming",
    "mixture dimming",
    "mixture dimming, fine-tuned",
)
LISTS = (
    ("2", "5", "6", "9", "10", "12", "13", "14"),
    ("17", "18", "21", "24", "25", "26", "27", "28"),
    ("36", "38", "39", "40", "42", "43", "44", "46"),
    ("50", "51", "52", "53", "54", "56", "57", "58"),
    ("61", "62", "63", "64", "67", "68", "69", "70"),
)
"""The published ones: the first 3, 5 and 8 pairs of LOL of each."""
CHOOSING = ("45", "99", "265", "544", "732")
"""The authors' validation pairs."""
PROTOCOL = "reference_lightness"

Values = dict[str, list[float]]
"""Metric to its values, photo by photo."""


class FewShot:
    """Four trainings a list of pairs, from nothing or from given weights; a run that was interrupted goes on."""

    title: ClassVar[str] = "A network from 3, 5 and 8 pairs, with and without dimmed photos"
    source: ClassVar[str] = (
        "Dimma (arXiv 2310.09633), table 3, on LOL's test photos with the reference's lightness"
    )
    published: ClassVar[studies.Table | None] = studies.Table(
        ("training", "pairs", "PSNR", "deviation", "SSIM", "deviation", "LPIPS", "deviation"),
        (
            (ALONE, 3, 21.05, 4.16, 0.81, 0.09, 0.27, 0.09),
            (ALONE, 5, 21.62, 4.19, 0.82, 0.09, 0.25, 0.09),
            (ALONE, 8, 22.18, 4.40, 0.83, 0.09, 0.23, 0.08),
            (DETERMINISTIC, 3, 22.93, 2.31, 0.78, 0.06, 0.32, 0.08),
            (DETERMINISTIC, 5, 24.07, 2.41, 0.78, 0.06, 0.31, 0.08),
            (DETERMINISTIC, 8, 24.26, 2.40, 0.79, 0.06, 0.30, 0.08),
            (MIXTURE, 3, 23.24, 2.25, 0.78, 0.06, 0.31, 0.08),
            (MIXTURE, 5, 23.83, 2.26, 0.79, 0.06, 0.30, 0.08),
            (MIXTURE, 8, 24.47, 2.22, 0.79, 0.05, 0.29, 0.07),
            (TUNED, 3, 23.54, 2.79, 0.83, 0.06, 0.26, 0.07),
            (TUNED, 5, 24.50, 2.53, 0.84, 0.06, 0.25, 0.06),
            (TUNED, 8, 24.70, 2.59, 0.86, 0.06, 0.23, 0.06),
        ),
    )

    class Settings(studies.Settings):
        model_config = ConfigDict(coerce_numbers_to_str=True)

        data: Path
        """What the folders and files below start from."""
        low: Path = Path("lol/low")
        """Folder of dark photos."""
        reference: Path = Path("lol/high")
        """Folder of references of the same names."""
        photos: Path = Path("unpaired/normal")
        """Ordinary photos, to be dimmed."""
        judged: Path = Path("lol/val.txt")
        """Names of the pairs that are measured in the end, one a line."""
        choosing: tuple[str, ...] = Field(CHOOSING, min_length=1)
        """Pairs that choose among the weights of a run, before and while it fine-tunes too."""
        lists: tuple[tuple[str, ...], ...] = Field(LISTS, min_length=1)
        """Names of pairs; an experiment takes the first ones."""
        shots: tuple[int, ...] = Field((3,), min_length=1)
        """How many; published: 3, 5, 8."""
        start: str | None = None
        """Name or .safetensors file of weights that the network starts from; default: nothing."""
        config: dict[str, Any] = Field({})
        """Of the network where it starts from nothing."""
        dimmer_steps: int = Field(600, ge=1)
        """Of each dimmer."""
        steps: int = Field(1000, ge=1)
        """Of the network on dimmed photos."""
        tuning_steps: int = Field(300, ge=1)
        """Of fine-tuning. With pairs only the network gets the steps of both."""
        rate: float = Field(1e-3, gt=0)
        """Of learning; from ``start``, 2e-4 serves better."""
        tuning_rate: float = Field(1e-4, gt=0)
        """Of learning while it fine-tunes."""
        crop: int = Field(96, ge=1)
        """Side of the crops, pixels."""
        count: int = Field(8, ge=1)
        """Crops a step."""
        precision: Precision = "bf16"
        """Of the trainings: ``float32`` or ``bf16``."""
        threads: int = Field(1, ge=1)
        """Of the CPU."""
        seed: int = Field(0, ge=0)
        """Of the trainings."""
        metrics: tuple[str, ...] = Field(("psnr", "ssim_grey", "lpips_alex"), min_length=1)
        """As ``lowlight evaluate`` names them."""

        @model_validator(mode="after")
        def _lists_are_long_enough(self) -> FewShot.Settings:
            if max(self.shots) > min(map(len, self.lists)):
                raise ValueError(
                    f"shots: {max(self.shots)} pairs, but a list has {min(map(len, self.lists))}"
                )
            return self

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a training and number of pairs; under protocol ``reference_lightness``."""
        columns = plan.choose_columns(
            ",".join(settings.metrics),
            PROTOCOL,
            None,
            model=True,
            roles=frozenset({"low", "reference"}),
            constant=False,
        )
        low, reference, judged = (
            settings.data / each for each in (settings.low, settings.reference, settings.judged)
        )
        cases = cases_of(Pairs(low=low, reference=reference, names=judged, photos=None))
        start = None if settings.start is None else open_weights(places.find(settings.start))
        found: dict[tuple[str, int], list[Values]] = {}
        notes: list[str] = []
        if start is not None:
            notes += met(start.path, cases)
        for shots in settings.shots:
            for chosen in settings.lists:
                names = chosen[:shots]
                experiment = _Experiment(settings, names, start, folder.resolve() / "-".join(names), say)
                measured = experiment.result(cases, columns)
                notes += measured["notes"]
                for training, values in measured["values"].items():
                    found.setdefault((training, shots), []).append(values)
        rows = []
        for training in (ALONE, DETERMINISTIC, MIXTURE, TUNED):
            for shots in settings.shots:
                cells = [
                    cell
                    for metric in settings.metrics
                    for cell in _spread([values.get(metric, []) for values in found[training, shots]])
                ]
                rows.append((training, shots, len(settings.lists), *cells))
        header = ["training", "pairs", "lists"]
        for metric in settings.metrics:
            header += [f"{PROTOCOL}.{metric}", "over lists", "over photos"]
        notes += [
            f"{len(cases)} photos, each with the mean lightness of its reference given and met exactly.",
            "over lists: deviation of the lists' means. over photos: deviation over the photos of all lists.",
            "The dimmers have the noise of the paper, not that of the pairs.",
            "The published deviations are over photos; its SSIM is of grey; which LPIPS is not said.",
            "Published on 15 photos, 14 of whose scenes are in LOL's training part: heights do not compare.",
        ]
        missing = any(cell is None for row in rows for cell in row[3::3])
        return studies.Findings(
            studies.Table(tuple(header), rows),
            list(dict.fromkeys(notes)),
            photos={"judged": len(cases)},
            incomplete=missing and "metrics" in settings.model_fields_set,
        )


def _spread(lists: Sequence[Sequence[float]]) -> tuple[studies.Cell, studies.Cell, studies.Cell]:
    """Mean of the lists' means, its deviation over lists, and the deviation over all photos."""
    if not all(lists):
        return None, None, None
    means = [float(np.mean(values)) for values in lists]
    photos = np.concatenate([np.asarray(values) for values in lists])
    return (
        float(np.mean(means)),
        float(np.std(means, ddof=1)) if len(means) > 1 else None,
        float(np.std(photos, ddof=1)) if len(photos) > 1 else None,
    )


class _Experiment:
    """The trainings of one list of pairs, and what they score."""

    def __init__(
        self,
        settings: FewShot.Settings,
        names: Sequence[str],
        start: Weights | None,
        folder: Path,
        say: studies.Say,
    ) -> None:
        self.settings = settings
        self.names = names
        self.start = start
        self.folder = folder
        self.say = say

    def result(self, cases: Sequence[Case], columns: scoring.Columns) -> dict[str, Any]:
        """``values`` by training and metric, and ``notes``; as they lie in the folder where all was done before."""
        place = self.folder / "scores.json"
        kept = self.settings.model_dump(mode="json", exclude={"data", "lists", "shots", "threads"})
        identity = {**kept, "start": "" if self.start is None else self.start.sha256}
        if place.exists():
            before: dict[str, Any] = json.loads(place.read_bytes())
            if before.pop("settings") == identity:
                return before
        found: dict[str, Any] = {"values": {}, "notes": []}
        for training, path in self.train().items():
            self.say(f"{self.folder.name}: measuring {training}")
            found["values"][training] = self.measure(path, cases, columns, found["notes"])
        write_file(place, json.dumps({"settings": identity, **found}, indent=1).encode())
        return found

    def measure(
        self, path: Path, cases: Sequence[Case], columns: scoring.Columns, notes: list[str]
    ) -> Values:
        """Values of all photos; what is missing or has been met before goes to the notes."""
        network = scoring.Network(enhancer.load(path, threads=self.settings.threads))
        found = measure(network, cases, columns, notes)
        guard = plan.look_for_leaks(cases, open_weights(path))
        if guard.leaks:
            notes += [f"{self.folder.name}: {line}." for line in guard.lines]
        return {metric: found[f"{PROTOCOL}.{metric}"] for metric in columns[PROTOCOL]}

    def train(self) -> dict[str, Path]:
        """The chosen weights of each training."""
        settings, pairs = self.settings, self._pairs(self.names)
        photos = {"kind": "photos", "folder": str(settings.photos)}
        begin = None if self.start is None else self.start.path.resolve()
        both = settings.steps + settings.tuning_steps
        found = {ALONE: self._network("pairs", "paired", pairs, both, settings.rate, begin)}
        for training, kind in ((DETERMINISTIC, "deterministic"), (MIXTURE, "mixture")):
            dimmer = {"dimmer": str(self._dimmer(kind))}
            found[training] = self._network(
                kind, "dimmed", photos, settings.steps, settings.rate, begin, dimmer
            )
        found[TUNED] = self._network(
            "tuned", "paired", pairs, settings.tuning_steps, settings.tuning_rate, found[MIXTURE]
        )
        return found

    def _pairs(self, names: Sequence[str]) -> dict[str, Any]:
        dark, light = str(self.settings.low), str(self.settings.reference)
        return {"kind": "pairs", "dark": dark, "light": light, "names": list(names)}

    def _dimmer(self, kind: str) -> Path:
        settings = self.settings
        return self._fit(
            f"{kind}-dimmer",
            {
                "stage": "dimmer",
                "config": {"kind": kind, "noise": "released"},  # as in the paper
                "settings": {"optimizer": {"kind": "adam", "rate": 3e-3}, "schedule": {"shape": "cosine"}},
                "data": self._data(self._pairs(self.names)),
                "batches": [{"crop": settings.crop, "count": 1}],
                "steps": settings.dimmer_steps,
                "average": None,
                "clip": None,
            },
        )

    def _network(
        self,
        name: str,
        stage: str,
        source: Mapping[str, Any],
        steps: int,
        rate: float,
        start: Path | None,
        more: Mapping[str, Any] | None = None,
    ) -> Path:
        settings = self.settings
        optimizer = {"kind": "adamw", "rate": rate, "betas": [0.9, 0.99], "weight_decay": 1e-4}
        return self._fit(
            name,
            {
                "stage": stage,
                "config": settings.config if self.start is None else self.start.header.config,
                "start": {} if start is None else {"network": start},
                "settings": {
                    "losses": {"mse": 0, "lpips": 0, "psnr": 0.05, "ssim": 0.5},
                    "optimizer": optimizer,
                    "schedule": {"shape": "cosine", "warmup": min(20, steps // 10)},
                    **(more or {}),
                },
                "data": self._data(source),
                "batches": [{"crop": settings.crop, "count": settings.count}],
                "steps": steps,
                "precision": settings.precision,
                "average": 0.99,
                "validation": {
                    "every": max(1, steps // 10),
                    "at_start": start is not None,
                    "samples": 0,
                    "sets": {"choosing": {"pairs": self._pairs(settings.choosing)}},
                },
            },
        )

    def _data(self, source: Mapping[str, Any]) -> dict[str, Any]:
        return {"root": self.settings.data, "jitter": None, "sources": [source]}

    def _fit(self, name: str, values: Mapping[str, Any]) -> Path:
        """Train, or go on: the best weights, or without validation the last ones."""
        from lowlight.training.loop import fit
        from lowlight.training.recipe import Recipe

        out = self.folder / name
        recipe = Recipe.model_validate(
            {
                "name": name,
                "method": "dimma",
                "seed": self.settings.seed,
                "threads": self.settings.threads,
                "save_every": 100,
                "licence": "that of the photos",
                **values,
            }
        )
        checkpoint = out / "checkpoint.safetensors"
        self.say(f"{self.folder.name}: {name}, {recipe.steps} steps")
        fit(recipe, out, resume=checkpoint if checkpoint.exists() else None)
        return out / ("last.safetensors" if recipe.validation is None else "best.safetensors")

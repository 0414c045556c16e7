"""Models on sets that they were not made for, with what is known of photos that they have met before."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lowlight import enhancer, places, studies
from lowlight.errors import PhotoError, UseError
from lowlight.evaluation import benchmarks, pairing, plan, scoring
from lowlight.evaluation.benchmarks import Benchmark
from lowlight.evaluation.pairing import Case, listed
from lowlight.evaluation.protocols import PROTOCOLS
from lowlight.studies._shared import Pairs, cases_of, spread
from lowlight.weights import open_weights

SHARED = (
    "LOL-v1, LOL-v2 real and VE-LOL's real part are splits of the same shots. The published table is of weights "
    "trained on LOL and measured on VE-LOL: it is no test on other data."
)


class CrossDataset:
    """Every model on every set, measured as ``lowlight evaluate`` does."""

    title: ClassVar[str] = "Models on sets that they were not trained on"
    source: ClassVar[str] = (
        "LLFlow (arXiv 2109.05923), table 2: trained on LOL, measured on VE-LOL, its own row under gtmean_llflow"
    )
    published: ClassVar[studies.Table | None] = studies.Table(
        ("method", "trained on", "measured on", "PSNR", "SSIM", "LPIPS"),
        (
            ("Zero-DCE", "LOL", "VE-LOL", 21.12, 0.7705, 0.2480),
            ("EnlightenGAN", "LOL", "VE-LOL", 20.43, 0.7921, 0.2416),
            ("KinD++", "LOL", "VE-LOL", 17.63, 0.7994, 0.2257),
            ("LLFlow", "LOL", "VE-LOL", 23.85, 0.8986, 0.1456),
        ),
    )

    class Settings(studies.Settings):
        on: dict[str, Path | Pairs] = Field(min_length=1)
        """By name: the folder of a benchmark set (``lol-v2-real``, with a part ``ve-lol/test-real``), or under
        any name the folders of pairs, ``{low: DIR, reference: DIR}``."""
        models: tuple[str, ...] = Field((places.DEFAULT,), min_length=1)
        """Names or weights files."""
        protocols: tuple[str, ...] = Field(("raw", "gtmean_llflow"), min_length=1)
        """As ``lowlight evaluate`` names them."""
        metrics: tuple[str, ...] = Field(("psnr", "ssim", "ssim_llflow", "lpips_alex"), min_length=1)
        """Under each protocol. A set without references gets those that need none, as ``niqe``; without any it is
        refused."""
        trained_on: dict[str, Path] = Field({})
        """By model: a folder of photos that it was trained on, where its weights hold no marks of them."""
        photos: int | None = Field(None, ge=1)
        """Of each set at most, spread evenly; default: all."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a model and set; columns are named by protocol and metric."""
        columns = plan.choose_columns(
            ",".join(settings.metrics),
            ",".join(settings.protocols),
            None,
            model=True,
            roles=frozenset({"low", "reference"}),
            constant=False,
        )
        names = [f"{protocol}.{metric}" for protocol, metrics in columns.items() for metric in metrics]
        sets = {name: _read(name, place, settings.photos) for name, place in settings.on.items()}
        notes = [f"{name}: {PROTOCOLS[name].words}." for name in columns]
        notes += dict.fromkeys(fault for _, _, faults, _ in sets.values() for fault in faults)
        measured = {name: _measurable(columns, cases[0]) for name, (cases, *_) in sets.items()}
        for name, of_set in measured.items():
            if not any(of_set.values()):
                asked = ", ".join(dict.fromkeys(metric for each in columns.values() for metric in each))
                raise UseError(
                    f"{name} has no references, which {asked} under {', '.join(columns)} need; "
                    "add metrics that need none (niqe) under protocol raw, or leave the set out"
                )
            had = [f"{protocol}.{metric}" for protocol, metrics in of_set.items() for metric in metrics]
            if without := [column for column in names if column not in had]:
                notes.append(f"{name} has no references: {listed(without)} need them.")
        rows = []
        incomplete = any(broken for _, _, _, broken in sets.values())
        for model in settings.models:
            weights = open_weights(places.find(model))
            system = scoring.Network(enhancer.load(model))
            if weights.header.data:
                notes.append(f"{model} was trained on: {'; '.join(weights.header.data)}.")
            for name, (cases, benchmark, _, _) in sets.items():
                say(f"{model} on {name}, {len(cases)} photos")
                folders = [settings.trained_on[model]] if model in settings.trained_on else []
                guard = plan.look_for_leaks(
                    cases, weights, folders, benchmark, help_="; trained_on={MODEL: DIR} looks"
                )
                notes += [f"{model} on {name}: {line}." for line in guard.lines]
                scores = scoring.score(system, cases, measured[name])
                notes += [f"{model} on {name}: {photo}: {why}" for photo, why in scores.failed.items()]
                notes += [f"{model} on {name}: {warning}" for warning in scores.warnings]
                notes += [f"{each.metric}: {each.missing}" for each in scores.columns if each.missing]
                incomplete |= bool(scores.failed) or (
                    "metrics" in settings.model_fields_set and any(each.missing for each in scores.columns)
                )
                found = {each.name: each.mean for each in scores.columns}
                met = [_met(guard, of) for of in ("trained", "chosen")]
                rows.append((model, name, len(scores.rows), *(found.get(column) for column in names), *met))
        header = ("model", "measured on", "photos", *names, "seen in training", "seen in choosing")
        photos = {name: len(cases) for name, (cases, *_) in sets.items()}
        return studies.Findings(
            studies.Table(header, rows),
            [*dict.fromkeys(notes), SHARED],
            photos=photos,
            incomplete=incomplete,
        )


def _read(
    name: str, place: Path | Pairs, photos: int | None
) -> tuple[list[Case], Benchmark | None, list[str], bool]:
    """Cases of a set, spread evenly, its known faults, and whether photos of it can't be read. Raises UseError and PhotoError."""
    benchmark: Benchmark | None = None
    faults: list[str] = []
    if isinstance(place, Pairs):
        cases = cases_of(place)
    else:
        called, _, split = name.partition("/")
        benchmark = benchmarks.find_benchmark(called)
        cases, faults = benchmarks.cases(benchmark, split or None, place)
    cases, broken = pairing.check_alike(spread(cases, photos))
    if not cases:
        raise PhotoError(f"{name}: no photo of it can be read: {next(iter(broken.values()))}")
    faults += [f"{name}: {photo}: {why}" for photo, why in broken.items()]
    return cases, benchmark, faults, bool(broken)


def _measurable(columns: scoring.Columns, case: Case) -> dict[str, tuple[str, ...]]:
    """Of the columns those that the set's files allow."""
    roles = frozenset(case.files())
    return {
        protocol: tuple(metric for metric in metrics if not plan.lacks(metric, roles))
        for protocol, metrics in columns.items()
        if not plan.why_not(protocol, model=True, roles=roles, constant=False)
    }


def _met(guard: scoring.Guard, of: str) -> studies.Cell:
    """Photos of the set that the weights have met, themselves or their scenes."""
    return sum(leak.of == of for leak in guard.leaks) if guard.known else "unknown"

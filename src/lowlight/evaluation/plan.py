"""What `lowlight evaluate` will measure: which photos, in which columns, with which warnings. Nothing is scored here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lowlight.errors import UseError, shown
from lowlight.evaluation import benchmarks, guards, pairing, protocols, scoring
from lowlight.evaluation.benchmarks import Benchmark
from lowlight.evaluation.metrics import METRICS
from lowlight.evaluation.pairing import ROLES, Case, Role
from lowlight.weights import Weights


def read_patterns(given: Sequence[str]) -> dict[Role, str]:
    """``low=low*`` by folder. Raises UseError."""
    found: dict[Role, str] = {}
    for text in given:
        folder, equals, name = text.partition("=")
        role = next((role for role in ROLES if role == folder), None)
        if not equals or role is None:
            raise UseError(
                f"--pattern {text!r}: expected FOLDER=NAME with FOLDER {', '.join(ROLES)}: low=low*"
            )
        found[role] = name
    return found


@dataclass(frozen=True)
class Photos:
    """What will be measured on."""

    cases: list[Case]
    data: scoring.Data
    benchmark: Benchmark | None = None
    faults: Sequence[str] = ()
    """Of the set, one sentence each."""


def photos_in(folders: Mapping[Role, Path], patterns: Mapping[Role, str]) -> Photos:
    """The photos of folders that the user names. Raises UseError for what has no partner."""
    if unknown := patterns.keys() - folders.keys():
        raise UseError(f"--pattern {', '.join(sorted(unknown))}: no such folder was given")
    named = {role: str(folder) for role, folder in folders.items()}
    return Photos(pairing.pair(folders, patterns), scoring.Data(folders=named))


def photos_of_set(
    name: str, folder: Path, split: str | None, finished: Path | None, patterns: Mapping[Role, str]
) -> Photos:
    """The photos of a set, with the results of a folder where there is one, and the set's known faults.

    Results bear the names of the dark photos, as every program writes them, or of what partners share; other
    names need a pattern. Raises UseError for what is missing or too much.
    """
    benchmark = benchmarks.find_benchmark(name)
    if unknown := patterns.keys() - {"result"}:
        raise UseError(f"--pattern {', '.join(sorted(unknown))}: the set knows the names of its photos")
    split = split or benchmark.default_split
    cases, faults = benchmarks.cases(benchmark, split, folder)
    if finished is not None:
        cases = _with_results(cases, benchmark, finished, patterns)
    other = benchmarks.departure(benchmark, folder, split)
    data = scoring.Data(
        set=name,
        split=split,
        as_published=not other,
        names_checked=not other and all(part.names for part in benchmark.parts_of(split)),
        folders={} if finished is None else {"result": str(finished)},
    )
    return Photos(cases, data, benchmark, [*faults, *([other] if other else [])])


def _with_results(
    cases: Sequence[Case], benchmark: Benchmark, finished: Path, patterns: Mapping[Role, str]
) -> list[Case]:
    results = pairing.photos_in(finished, deep=True)
    if "result" in patterns:
        results = pairing.strip_pattern(results, patterns["result"], finished)
        keys = [case.name for case in cases]
    else:
        keys = [_name_of_result(case, results) for case in cases]
    pairing.refuse_missing(keys, [(finished, results)])
    if extra := sorted(results.keys() - set(keys), key=pairing.natural):
        raise UseError(f"{shown(finished)}: not of {benchmark.name}: {pairing.listed(extra)}")
    return [replace(case, result=results[key]) for case, key in zip(cases, keys, strict=True)]


def _name_of_result(case: Case, results: Mapping[str, Path]) -> str:
    if case.name in results or case.low is None:
        return case.name
    place, slash, _ = case.name.rpartition("/")
    return place + slash + case.low.stem


def default_columns(*, model: bool, reference: bool, constant: bool) -> dict[str, tuple[str, ...]]:
    """Protocol to metrics where nobody chooses."""
    if not reference:
        return {"raw": tuple(name for name in scoring.RAW_METRICS if METRICS[name].compares == "")}
    names = ["raw", *protocols.GT_MEANS]
    names += ["reference_lightness"] if model else []
    names += ["constant"] if constant else []
    return {name: scoring.RAW_METRICS if name == "raw" else protocols.DEFAULT_METRICS for name in names}


def choose_columns(
    metrics: str | None,
    protocol: str | None,
    preset: protocols.Preset | None,
    *,
    model: bool,
    roles: frozenset[Role],
    constant: bool,
) -> dict[str, tuple[str, ...]]:
    """Protocol to metrics as asked: names with commas between, ``all`` that can be measured, or a preset.

    Raises UseError for names that do not exist and for what the photos given do not allow.
    """
    if preset is not None:
        if metrics or protocol:
            raise UseError("--preset says which metrics and protocols; leave out --metrics and --protocol")
        columns = dict(preset.columns)
    else:
        columns = default_columns(model=model, reference="reference" in roles, constant=constant)
        if protocol is not None:
            names = protocol.split(",")
            if protocol == "all":
                names = [
                    name
                    for name in protocols.PROTOCOLS
                    if not why_not(name, model=model, roles=roles, constant=constant)
                ]
            raw = columns["raw"]
            columns = {name: raw if name == "raw" else protocols.DEFAULT_METRICS for name in names}
        if metrics is not None:
            chosen = tuple(metrics.split(","))
            if metrics == "all":
                chosen = tuple(name for name in METRICS if not lacks(name, roles))
            columns = dict.fromkeys(columns, chosen)
            if (
                any(name.startswith("psnr") for name in chosen)
                and protocols.BESIDE_PSNR not in chosen
                and "raw" in columns
            ):
                columns["raw"] = (*chosen, protocols.BESIDE_PSNR)
    for name, found in columns.items():
        if name not in protocols.PROTOCOLS:
            raise UseError(f"no protocol is called {name!r}; there are: {', '.join(protocols.PROTOCOLS)}")
        if why := why_not(name, model=model, roles=roles, constant=constant):
            raise UseError(f"protocol {name} {why}")
        for metric in found:
            if metric not in METRICS:
                raise UseError(f"no metric is called {metric!r}; there are: {', '.join(METRICS)}")
            if why := lacks(metric, roles):
                raise UseError(f"metric {metric} {why}")
    return columns


def find_preset(name: str) -> protocols.Preset:
    """A preset by name. Raises UseError naming those that exist."""
    if name not in protocols.PRESETS:
        raise UseError(f"no preset is called {name!r}; there are: {', '.join(protocols.PRESETS)}")
    return protocols.PRESETS[name]


def lacks(metric: str, roles: frozenset[Role]) -> str:
    """Why a metric can't be measured on these files; empty: it can."""
    wanted = METRICS[metric].compares
    if wanted == "reference" and "reference" not in roles:
        return "needs references: give --reference"
    return "needs the dark photos: give --low" if wanted == "input" and "low" not in roles else ""


def why_not(protocol: str, *, model: bool, roles: frozenset[Role], constant: bool) -> str:
    """Why a protocol can't be followed; empty: it can."""
    chosen = protocols.PROTOCOLS[protocol]
    if chosen.needs_reference and "reference" not in roles:
        return "needs references: give --reference"
    if chosen.run.startswith("reference") and not model:
        return "tells a model the lightness; finished pictures can't be told"
    return "needs --constant, or --train to choose it" if chosen.run == "constant" and not constant else ""


LOSSY = frozenset((".jpg", ".jpeg", ".webp", ".avif"))
"""Suffixes of results that are seldom what their program computed."""


def warnings_of(
    preset: protocols.Preset | None,
    faults: Sequence[str],
    cases: Sequence[Case],
    columns: scoring.Columns,
    *,
    model: bool,
) -> list[str]:
    """What to know of the numbers before they are there."""
    found = list(faults)
    if preset is not None:
        found += [f"preset {preset.name} repeats what the release prints, slips included", *preset.says]
    names = [name for name in columns if protocols.PROTOCOLS[name].of_unclipped]
    if names and not model:
        found.append(
            f"{', '.join(names)}: the release takes the mean of unclipped floats, and files hold clipped ones: "
            "where much clips, the gain is another; a model is measured as the release does"
        )
    if any(pairing.depth_of(path) != "8 bit" for case in cases for path in case.files().values()):
        found.append("photos of more than 8 bits: metrics on samples see them rounded to 8")
    results = [case.result for case in cases if case.result is not None]
    if lossy := sum(path.suffix.lower() in LOSSY for path in results):
        found.append(
            f"{lossy} of {len(results)} results may be compressed with loss (JPEG, WebP, AVIF), and that is measured too"
        )
    return found


# Guards


def look_for_leaks(
    cases: Sequence[Case],
    weights: Weights | None,
    trained_on: Sequence[Path] = (),
    benchmark: Benchmark | None = None,
    *,
    help_: str = "; --trained-on DIR looks",
) -> scoring.Guard:
    """Compare the photos with the marks of the weights and of folders of training photos.

    help_: what a user may do where there are no marks.
    """
    known = {} if weights is None else guards.read_seen(weights.header.seen, weights.path)
    for folder in trained_on:
        marks = [mark for _, mark in benchmarks.mark_files(pairing.photos_in(folder, deep=True))]
        known["trained"] = [*known.get("trained", []), *marks]
    why = "the weights hold no marks of their training photos (imported or older)"
    if weights is None:
        why = "pictures say nothing of training"
    unknown = f"whether these photos were trained on is unknown: {why}{help_}"
    guard = scoring.look_for_leaks(cases, known, unknown)
    said = [] if weights is None or benchmark is None else benchmark.shared_with(weights.header.data)
    return guard.model_copy(update={"lines": [*guard.lines, *said]})


def fit_constant(system: scoring.Judged, low: Path, reference: Path, judged: Sequence[Case]) -> float:
    """The best constant on training pairs. Raises UseError when photos or scenes of them are judged."""
    pairs, _ = pairing.check_alike(pairing.pair({"low": low, "reference": reference}))
    trained, asked = (
        dict(
            benchmarks.mark_files({case.name: case.reference for case in group if case.reference is not None})
        )
        for group in (pairs, judged)
    )
    leaks = guards.find_leaks(
        {"trained": list(trained.values())}, {name: [mark] for name, mark in asked.items()}
    )
    if leaks:
        names = pairing.listed([leak.name for leak in leaks])
        raise UseError(f"--train: photos or scenes that are judged are among the training pairs: {names}")
    return scoring.choose_constant(system, pairs)

"""``lowlight evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lowlight.errors import EngineError, LowlightError, UseError, WeightsError, shown

if TYPE_CHECKING:
    from lowlight.evaluation.benchmarks import Benchmark
    from lowlight.evaluation.pairing import Case, Role
    from lowlight.evaluation.scoring import Finished, Guard, Network, Report, System
    from lowlight.weights import Weights

Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
Engine = Literal["auto", "onnx", "torch", "openvino"]
Precision = Literal["float32", "bf16"]


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DIR", help="A model's name or weights file, or a folder of finished pictures."
        ),
    ],
    low: Annotated[
        Path | None,
        typer.Option("--low", "--input", metavar="DIR", help="The dark photos; a model needs them, LOE too."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What results should look like. Without: metrics that need none."),
    ] = None,
    benchmark: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            "--set",
            metavar="NAME DIR",
            help="A benchmark set in place of the two; `lowlight data list` lists them.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the set. Default: test.")] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER=NAME",
            help="What names look like around what partners share: low=low* with reference=normal*. "
            "FOLDER is low, reference or result.",
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="In place of the default ones; or `all`.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="In place of the default ones; or `all`.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What one release prints, slips included: paper-llflow, ..."),
    ] = None,
    constant: Annotated[
        float | None,
        typer.Option(help="Of protocol constant: the lightness for a model, the gain for finished pictures."),
    ] = None,
    train: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="DIR DIR",
            help="Choose the constant on these training pairs: dark photos (or finished pictures), references.",
        ),
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Photos that the system was trained on, to look for leaks."),
    ] = None,
    rounding: Annotated[
        Literal["round", "truncate"] | None,
        typer.Option(help="How a model's result becomes 8 bits. Default: round."),
    ] = None,
    control: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A control of the model; lightness is one.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="As in `lowlight enhance`.")] = "float32",
    fast: Annotated[bool, typer.Option("--fast", help="The model's 8-bit twin.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="REPORTDIR",
            help="Folder for the report: JSON, CSV, Markdown, HTML, results.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
    pictures: Annotated[int, typer.Option(min=0, help="Photos on the HTML page, worst first.")] = 24,
    as_json: Annotated[
        bool, typer.Option("--json", help="The whole report as JSON in place of the table.")
    ] = False,
) -> None:
    """Measure a model or a folder of pictures: metrics by exact variant, under named protocols.

    Exit status: 0 all photos measured, 1 some could not be, 2 wrong use.
    """
    from lowlight.evaluation import benchmarks, protocols, report, scoring

    is_model = _is_model(what)
    chosen = benchmarks.find_benchmark(benchmark[0]) if benchmark else None
    if chosen and (low or reference):
        raise UseError("--set names the photos; leave out --low and --reference")
    if is_model and not (chosen or low):
        raise UseError("a model needs dark photos: give --low or --set")
    if preset and (metrics or protocol):
        raise UseError("--preset says which metrics and protocols; leave out --metrics and --protocol")
    if not is_model and (control or rounding or fast):
        raise UseError(
            "--control, --rounding and --fast are for models; finished pictures are measured as they are"
        )
    if output is not None:
        report.claim(output, overwrite=overwrite)

    cases, faults = _cases(what, is_model, low, reference, chosen, benchmark, split, pattern or [])
    if not is_model:  # a typing error would be a silent comparison of the dark photos
        cases = [case for case in cases if case.result is not None]
    roles = set(cases[0].files())
    recipe = None
    if preset is not None:
        if preset not in protocols.PRESETS:
            raise UseError(f"no preset is called {preset!r}; there are: {', '.join(protocols.PRESETS)}")
        recipe = protocols.PRESETS[preset]
    fixed = constant is not None or train is not None
    columns = dict(recipe.columns) if recipe else _columns(metrics, protocol, is_model, roles, fixed)
    scoring.check_columns(columns, model=is_model, roles=roles, constant=fixed)
    if constant is not None and train is not None:
        raise UseError("--constant gives what --train would choose; leave one out")
    from lowlight.evaluation.pairing import check_alike

    whole, broken = check_alike(cases)

    saving = rounding or (recipe.rounding if recipe else "round")
    system, description, weights = _system(
        what, is_model, saving, control or [], device, engine, precision, fast
    )
    guard = _guard(whole, weights, trained_on or [], is_model)
    warnings = [*faults, *(recipe.says if recipe else ())]
    if recipe:
        warnings.insert(0, f"preset {recipe.name} repeats what the release prints, slips included")
    if "16 bit" in _depths(whole):
        warnings.append("16-bit photos: metrics on samples see them rounded to 8 bits")
    for line in guard.lines + warnings:
        print(f"lowlight: {shown(line)}", file=sys.stderr)
    if train is not None:
        constant = _choose(system, train, whole, is_model)
    if constant is not None and "constant" in columns:
        warnings.append(f"constant {'lightness' if is_model else 'gain'}: {constant:g}")

    with _progress(len(whole)) as advance:
        scores = scoring.score(
            system,
            whole,
            columns,
            constant=constant,
            keep=_keeper(output if is_model else None),
            progress=advance,
        )
    scores.failed = {**broken, **scores.failed}
    for name, reason in scores.failed.items():
        print(f"lowlight: {shown(f'{name}: {reason}')}", file=sys.stderr)
    if not scores.rows:
        raise LowlightError("no photo could be measured")
    options = {
        "columns": {name: list(found) for name, found in columns.items()},
        "preset": preset,
        "constant": constant if "constant" in columns else None,
        "patterns": pattern or [],
    }
    folders = {"low": low, "reference": reference, "result": None if is_model else Path(what)}
    data = scoring.Data(
        set=chosen.name if chosen else "",
        split=_split(chosen, split) if chosen else "",
        folders={role: str(path) for role, path in folders.items() if path is not None},
    )
    found = scoring.make_report(description, data, options, guard, warnings, scores)
    if output is not None:
        report.write_report(found, output, pictures=pictures)
    _print(found, as_json, output)
    if found.failed:
        raise typer.Exit(1)


def _is_model(what: str) -> bool:
    """Whether MODEL|DIR names a model; a name that is both is refused."""
    from lowlight.places import candidates

    folder = Path(what).is_dir()
    if folder and what in candidates():
        raise UseError(f"{what} is a model and a folder; for the folder write ./{what}")
    return not folder


def _patterns(given: list[str]) -> dict[Role, str]:
    from lowlight.evaluation.pairing import ROLES

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


def _cases(
    what: str,
    is_model: bool,
    low: Path | None,
    reference: Path | None,
    chosen: Benchmark | None,
    benchmark: tuple[str, Path] | None,
    split: str | None,
    pattern: list[str],
) -> tuple[list[Case], list[str]]:
    """The photos to measure and the known faults of their set."""
    from dataclasses import replace

    from lowlight.evaluation import benchmarks, pairing

    patterns = _patterns(pattern)
    if chosen is not None and benchmark is not None:
        cases, faults = benchmarks.cases(chosen, split, benchmark[1])
        if is_model:
            return cases, faults
        # Results bear the names of the dark photos, as every program writes them, or those that --pattern says.
        results = pairing.photos_in(Path(what), deep=True)
        if "result" in patterns:
            results = pairing.strip_pattern(results, patterns["result"], Path(what))
            keys = [case.name for case in cases]
        else:
            keys = [_stem_like(case, results) for case in cases]
        pairing.refuse_missing(keys, [(Path(what), results)])
        if extra := sorted(results.keys() - set(keys), key=pairing.natural):
            raise UseError(f"{shown(what)}: not of {chosen.name}: {pairing.listed(extra)}")
        paired = zip(cases, keys, strict=True)
        return [replace(case, result=results[key]) for case, key in paired], faults
    given: dict[Role, Path | None] = {
        "result": None if is_model else Path(what),
        "low": low,
        "reference": reference,
    }
    folders = {role: folder for role, folder in given.items() if folder is not None}
    if unknown := patterns.keys() - folders.keys():
        raise UseError(f"--pattern {', '.join(sorted(unknown))}: no such folder was given")
    return pairing.pair(folders, patterns), []


def _stem_like(case: Case, results: dict[str, Path]) -> str:
    """How a folder of results calls a case of a set: as its dark photo, or by what partners share."""
    stem = case.low.stem if case.low is not None else case.name
    place = case.name.rpartition("/")[0]
    for name in (case.name, f"{place}/{stem}" if place else stem):
        if name in results:
            return name
    return f"{place}/{stem}" if place else stem


def _split(chosen: Benchmark, split: str | None) -> str:
    """What the parts that were taken are called together."""
    if split is not None:
        return split
    return chosen.choose(None)[0].name.split("-")[0]


def _columns(
    metrics: str | None, protocol: str | None, is_model: bool, roles: set[Role], constant: bool
) -> dict[str, tuple[str, ...]]:
    from lowlight.evaluation import protocols, scoring
    from lowlight.evaluation.metrics import METRICS

    columns = scoring.default_columns(model=is_model, reference="reference" in roles)
    if constant and "reference" in roles:
        columns["constant"] = protocols.DEFAULT_METRICS
    if protocol == "all":
        taken = [
            name
            for name, each in protocols.PROTOCOLS.items()
            if not (each.needs_reference and "reference" not in roles)
            and not (each.run == "constant" and not constant)
            and not (each.run.startswith("reference") and not is_model)
        ]
        columns = {name: columns.get(name, protocols.DEFAULT_METRICS) for name in taken}
    elif protocol is not None:
        names = protocol.split(",")
        protocols.find_protocols(names)
        raw = columns["raw"]
        columns = {name: raw if name == "raw" else protocols.DEFAULT_METRICS for name in names}
    if metrics == "all":
        needs = {"reference": "reference", "input": "low", "": ""}
        fitting = tuple(name for name, each in METRICS.items() if needs[each.compares] in (*roles, ""))
        columns = dict.fromkeys(columns, fitting)
    elif metrics is not None:
        columns = dict.fromkeys(columns, tuple(metrics.split(",")))
    return columns


def _system(
    what: str,
    is_model: bool,
    rounding: Literal["round", "truncate"],
    control: list[str],
    device: Device,
    engine: Engine,
    precision: Precision,
    fast: bool,
) -> tuple[Network | Finished, System, Weights | None]:
    from lowlight.evaluation.scoring import Finished, Network, System

    if not is_model:
        saved = "files as saved, compared in 8 bits; how their program rounded is not known"
        return Finished(), System(kind="folder", name=what, saved=saved), None
    from lowlight import places
    from lowlight.enhancer import load
    from lowlight.weights import open_weights

    values: dict[str, Any] = {}
    for text in control:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UseError(f"--control {text!r}: expected NAME=VALUE")
        values[name] = value
    try:
        network = places.find(places.fast(what) if fast else what)
        weights = open_weights(network)
        enhancer = load(network, engine=engine, device=device, precision=precision)
    except (WeightsError, EngineError) as error:
        raise UseError(str(error)) from error
    enhancer.controls(**values)
    words = {"round": "rounded to 8 bits as users get it", "truncate": "truncated to 8 bits"}
    description = System(
        kind="model",
        name=weights.path.stem,
        sha256=weights.sha256,
        options={"controls": values, "engine": engine, "device": device, "precision": precision},
        data=weights.header.data,
        saved=f"{words[rounding]}; floats are known to 16 bits and clipped, as lowlight gives no other",
    )
    return Network(enhancer, values, rounding), description, weights


def _guard(cases: list[Case], weights: Weights | None, trained_on: list[Path], is_model: bool) -> Guard:
    from lowlight.evaluation import benchmarks, guards, pairing, scoring

    known = {} if weights is None else guards.read_seen(weights.header.seen, weights.path)
    for folder in trained_on:
        marks = [mark for _, mark in benchmarks.mark_files(pairing.photos_in(folder, deep=True))]
        known["trained"] = [*known.get("trained", []), *marks]
    why = "the weights hold no marks of their training photos (imported or older)"
    if not is_model:
        why = "pictures say nothing of training"
    unknown = f"whether these photos were trained on is unknown: {why}; --trained-on DIR looks"
    return scoring.look_for_leaks(cases, known, unknown)


def _depths(cases: list[Case]) -> set[str]:
    from lowlight.photo import describe_photo

    return {describe_photo(path)["depth"] for case in cases for path in case.files().values()}


def _choose(
    system: Network | Finished, train: tuple[Path, Path], judged: list[Case], is_model: bool
) -> float:
    """The best constant on training pairs, none of which may be among those that are judged."""
    from lowlight.evaluation import guards, pairing, scoring

    pairs, _ = pairing.check_alike(pairing.pair({"low": train[0], "reference": train[1]}))
    marks: dict[str, list[bytes]] = {}
    for group in (pairs, judged):
        from lowlight.evaluation import benchmarks

        photos = {case.name: case.reference for case in group if case.reference is not None}
        marks_of = dict(benchmarks.mark_files(photos))
        if group is pairs:
            known = list(marks_of.values())
        else:
            marks = {name: [mark] for name, mark in marks_of.items()}
    if leaks := guards.find_leaks({"trained": known}, marks):
        names = pairing.listed([leak.name for leak in leaks])
        raise UseError(f"--train: photos or scenes that are judged are among the training pairs: {names}")
    return scoring.choose_constant(system, pairs)


def _keeper(output: Path | None) -> Callable[[str, Any], None]:
    """Writes a model's results into the report's folder."""
    from lowlight.evaluation.report import RESULTS
    from lowlight.photo import Photo, write_photo

    def keep(name: str, picture: Any) -> None:
        if output is not None:
            target = output / RESULTS / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_photo(Photo(picture.samples), target)

    return keep


@contextmanager
def _progress(photos: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=photos)
        yield lambda: bar.advance(task)


def _print(found: Report, as_json: bool, output: Path | None) -> None:
    from lowlight.cli._tables import print_table
    from lowlight.evaluation import report

    if as_json:
        print(report.to_json(found), end="")
        return
    for line in report.head(found):
        print(shown(line))
    print()
    print_table(*report.table(found))
    print()
    for line in report.tail(found):
        print(shown(line))
    header, rows, last = report.published({found.system.name: found})
    if last:
        print("\npublished, same data, protocol and metric variant:")
        if rows:
            print_table(header, rows)
        print(last)
    if output is not None:
        print(f"{output / 'report.html'}")

"""``lowlight evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowlight.cli._options import Device, Engine, Precision, parse_named
from lowlight.errors import EngineError, LowlightError, UseError, WeightsError, shown

if TYPE_CHECKING:
    from lowlight.enhancer import Enhancer
    from lowlight.evaluation.pairing import Role
    from lowlight.evaluation.scoring import Judged, Report
    from lowlight.weights import Weights


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
    from lowlight.evaluation import pairing, plan, report, scoring
    from lowlight.evaluation.benchmarks import departure, find_benchmark

    is_model = _is_model(what)
    chosen = find_benchmark(benchmark[0]) if benchmark else None
    if chosen and (low or reference):
        raise UseError("--set names the photos; leave out --low and --reference")
    if is_model and not (chosen or low):
        raise UseError("a model needs dark photos: give --low or --set")
    if not is_model and (control or rounding or fast):
        raise UseError(
            "--control, --rounding and --fast are for models; finished pictures are measured as they are"
        )
    if constant is not None and train is not None:
        raise UseError("--constant gives what --train would choose; leave one out")
    if output is not None:
        report.claim(output, overwrite=overwrite)

    patterns = plan.read_patterns(pattern or [])
    finished = None if is_model else Path(what)
    given: dict[Role, Path | None] = {"result": finished, "low": low, "reference": reference}
    folders = {role: folder for role, folder in given.items() if folder is not None}
    faults: list[str] = []
    other = ""
    if chosen and benchmark:
        cases, faults = plan.cases_of_set(chosen, split, benchmark[1], finished, patterns)
        split = split or chosen.default_split
        other = departure(chosen, benchmark[1], split)
        faults += [other] if other else []
    else:
        cases = plan.cases_in(folders, patterns)
    recipe = None if preset is None else plan.find_preset(preset)
    columns = plan.choose_columns(
        metrics,
        protocol,
        preset,
        model=is_model,
        roles=frozenset(cases[0].files()),
        constant=constant is not None or train is not None,
    )
    cases, broken = pairing.check_alike(cases)

    system: Judged = scoring.Finished()
    description, weights = scoring.described_folder(what), None
    if is_model:
        saving = rounding or (recipe.rounding if recipe else "round")
        weights, enhancer = _load(what, engine, device, precision, fast)
        system = scoring.Network(enhancer, parse_named(control or [], "--control"), saving)
        enhancer.controls(**system.controls)
        description = scoring.described_model(
            system, weights, engine=engine, device=device, precision=precision
        )
    guard = plan.look_for_leaks(cases, weights, trained_on or [], chosen)
    warnings = plan.warnings_of(recipe, faults, cases)
    _say(*guard.lines, *warnings)
    if train is not None:
        constant = plan.fit_constant(system, *train, cases)
    if constant is not None and "constant" in columns:
        warnings.append(f"constant {'lightness' if is_model else 'gain'}: {constant:g}")

    keep = None if output is None or not is_model else report.keeper(output)
    with _progress(len(cases)) as advance:
        scores = scoring.score(system, cases, columns, constant=constant, keep=keep, progress=advance)
    if metrics is None and preset is None:  # nobody asked for what can't be measured here
        scores = scoring.without_missing(scores)
    scores.failed = {**broken, **scores.failed}
    _say(*(f"{name}: {why}" for name, why in scores.failed.items()))
    if not scores.rows:
        raise LowlightError("no photo could be measured")
    data = scoring.Data(
        set=chosen.name if chosen else "",
        split=split or "",
        as_published=chosen is not None and not other,
        folders={role: str(folder) for role, folder in folders.items()},
    )
    options = {
        "columns": {name: list(found) for name, found in columns.items()},
        "preset": preset,
        "constant": constant if "constant" in columns else None,
        "patterns": patterns,
    }
    found = scoring.make_report(description, data, options, guard, warnings, scores)
    if output is not None:
        report.write_report(found, output, pictures=pictures)
    _print(found, as_json, output)
    if found.failed:
        raise typer.Exit(1)


def _is_model(what: str) -> bool:
    """Whether MODEL|DIR names a model; a name that is both, or neither, is refused."""
    from lowlight import places
    from lowlight.weights import open_weights

    if Path(what).is_dir():
        if what in places.candidates():
            raise UseError(f"{what} is a model and a folder; for the folder write ./{what}")
        return False
    try:
        if what not in places.candidates():
            open_weights(what)
    except WeightsError as error:
        raise UseError(f"{what}: no such folder of pictures; {error}") from None
    return True


def _load(
    what: str, engine: Engine, device: Device, precision: Precision, fast: bool
) -> tuple[Weights, Enhancer]:
    from lowlight import places
    from lowlight.enhancer import load
    from lowlight.weights import open_weights

    try:
        network = places.find(places.fast(what) if fast else what)
        return open_weights(network), load(network, engine=engine, device=device, precision=precision)
    except (WeightsError, EngineError) as error:
        raise UseError(str(error)) from error


def _say(*lines: str) -> None:
    for line in lines:
        print(f"lowlight: {shown(line)}", file=sys.stderr)


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
    from lowlight.cli._tables import print_published, print_table
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
    print_published(*report.published({found.system.name: found}))
    if output is not None:
        print(f"{output / 'report.html'}")

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
    from lowlight.evaluation.pairing import Role
    from lowlight.evaluation.plan import Photos
    from lowlight.evaluation.scoring import Judged, Network, Report
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

    Exit status: 0 all measured, 1 some photos, or metrics asked for by name, could not be, 2 wrong use.
    """
    from lowlight.evaluation import pairing, plan, report, scoring

    if constant is not None and train is not None:
        raise UseError("--constant gives what --train would choose; leave one out")
    if output is not None:
        report.claim(output, overwrite=overwrite)
    is_model = _is_model(what)
    patterns = plan.read_patterns(pattern or [])
    photos = _find_photos(None if is_model else Path(what), low, reference, benchmark, split, patterns)
    recipe = None if preset is None else plan.find_preset(preset)
    columns = plan.choose_columns(
        metrics,
        protocol,
        recipe,
        model=is_model,
        roles=frozenset(photos.cases[0].files()),
        constant=constant is not None or train is not None,
    )
    if "constant" not in columns and (constant is not None or train is not None):
        raise UseError(
            "--constant and --train are of protocol constant, which --protocol or --preset leaves out"
        )
    cases, broken = pairing.check_alike(photos.cases)

    system: Judged = scoring.Finished()
    description, weights = scoring.described_folder(what), None
    if is_model:
        saving = rounding or (recipe.rounding if recipe else "round")
        weights, network = _load(what, engine, device, precision, fast, control or [], saving)
        system = network
        description = scoring.described_model(
            network, weights, engine=engine, device=device, precision=precision
        )
    elif control or rounding or fast:
        raise UseError(
            "--control, --rounding and --fast are for models; finished pictures are measured as they are"
        )

    guard = plan.look_for_leaks(cases, weights, trained_on or [], photos.benchmark)
    warnings = plan.warnings_of(recipe, photos.faults, cases, columns, model=is_model)
    if train is not None:
        constant = plan.fit_constant(system, *train, cases)
    if constant is not None:
        warnings.append(f"constant {'lightness' if is_model else 'gain'}: {constant:g}")
    if as_json:
        _say(*guard.lines, *warnings)
    else:  # before the first score, and only here
        _print(*report.opening(description, photos.data, len(cases), guard, warnings))
    with _progress(len(cases)) as advance:
        scores = scoring.score(
            system,
            cases,
            columns,
            constant=constant,
            device=device,
            keep=report.keeper(output) if is_model and output is not None else None,
            progress=advance,
        )
    scores.failed = {**broken, **scores.failed}
    _say(*(f"{name}: {why}" for name, why in scores.failed.items()))
    if not scores.rows:
        raise LowlightError("no photo could be measured")

    if metrics is None and preset is None:  # nobody asked for what can't be measured here
        scores = scoring.without_missing(scores)
    options = {
        "columns": {name: list(found) for name, found in columns.items()},
        "preset": preset,
        "constant": constant,
        "trained_on": [str(folder) for folder in trained_on or []],
        "train": None if train is None else [str(folder) for folder in train],
        "patterns": patterns,
    }
    found = scoring.make_report(description, photos.data, options, guard, warnings, scores)
    if output is not None:
        report.write_report(found, output, pictures=pictures)
    if as_json:
        print(report.to_json(found), end="")
    else:
        _print(*(f"note: {warning}" for warning in found.warnings[len(warnings) :]))
        _print_numbers(found, output)
    if found.failed or (metrics is not None and any(column.missing for column in found.columns)):
        raise typer.Exit(1)


def _find_photos(
    finished: Path | None,
    low: Path | None,
    reference: Path | None,
    benchmark: tuple[str, Path] | None,
    split: str | None,
    patterns: dict[Role, str],
) -> Photos:
    """The photos that the options name; finished: the folder that is judged, None for a model."""
    from lowlight.evaluation import plan

    if benchmark and (low or reference):
        raise UseError("--set names the photos; leave out --low and --reference")
    if split and not benchmark:
        raise UseError("--split is a part of a --set; a folder is measured whole")
    if benchmark:
        return plan.photos_of_set(*benchmark, split, finished, patterns)
    if finished is None and low is None:
        raise UseError("a model needs dark photos: give --low or --set")
    given: dict[Role, Path | None] = {"result": finished, "low": low, "reference": reference}
    return plan.photos_in({role: folder for role, folder in given.items() if folder is not None}, patterns)


def _is_model(what: str) -> bool:
    """Whether MODEL|DIR names a model; a name that is both, or neither, is refused."""
    from lowlight import places
    from lowlight.weights import open_weights

    if Path(what).is_dir():
        if file := places.candidates().get(what):
            raise UseError(
                f"{what} is a model and a folder here: write ./{what} for the folder, {shown(file)} for the model"
            )
        return False
    try:
        if what not in places.candidates():
            open_weights(what)
    except WeightsError as error:
        raise UseError(f"{what}: no such folder of pictures; {error}") from None
    return True


def _load(
    what: str,
    engine: Engine,
    device: Device,
    precision: Precision,
    fast: bool,
    control: list[str],
    rounding: Literal["round", "truncate"],
) -> tuple[Weights, Network]:
    from lowlight import places
    from lowlight.enhancer import load
    from lowlight.evaluation.scoring import Network
    from lowlight.weights import open_weights

    try:
        weights = open_weights(places.find(places.fast(what) if fast else what))
        enhancer = load(weights.path, engine=engine, device=device, precision=precision)
    except (WeightsError, EngineError) as error:
        raise UseError(str(error)) from error
    system = Network(enhancer, parse_named(control, "--control"), rounding)
    enhancer.controls(**system.controls)
    return weights, system


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


def _print(*lines: str) -> None:
    for line in lines:
        print(shown(line), flush=True)


def _print_numbers(found: Report, output: Path | None) -> None:
    from lowlight.cli._tables import print_numbers, print_published
    from lowlight.evaluation import report

    print()
    print_numbers(*report.table(found))
    print()
    _print(*report.tail(found))
    print_published(*report.published({found.system.name: found}))
    if output is not None:
        print(f"{output / 'report.html'}")

"""``lowlight enhance``."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO

import typer

from lowlight import places
from lowlight.batch import Outcome
from lowlight.errors import EngineError, UseError, WeightsError, shown
from lowlight.plan import make_plan

if TYPE_CHECKING:
    from lowlight.batch import Settings
    from lowlight.enhancer import Enhancer
    from lowlight.plan import Plan

# Typer reads these when the command is asked for, and the modules that define them would bring NumPy along.
Device = Literal["auto", "cpu", "cuda", "coreml", "directml"]
Engine = Literal["onnx", "torch", "openvino"]
Precision = Literal["float32", "bf16"]
Format = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]
Strip = Literal["gps", "all"]

_COMMON = {"lightness": "auto or 0 to 1", "strength": "0 to 1"}
"""Ranges of the controls that every method has, so that a wrong value is refused without loading a method."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def enhance(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...", help="Photos, folders (with all below them), patterns, or - for standard input."
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file for one photo, - for standard output, or a folder that gets the same tree. "
            "Default: beside each photo, as photo.enhanced.jpg.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The weights; `lowlight models` lists them.")
    ] = places.DEFAULT,
    lightness: Annotated[
        str | None,
        typer.Option(metavar="auto|0..1", help="Mean of the result's values. Default: auto, from the photo."),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(metavar="0..1", help="Share of the result in the picture; 0: the input. Default: 1."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Another control of the method; `lowlight methods` lists them."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = "onnx",
    precision: Annotated[
        Precision, typer.Option(help="bf16: engines torch and openvino, twice as fast where the CPU has it.")
    ] = "float32",
    fast: Annotated[bool, typer.Option("--fast", help="The model's 8-bit twin: faster, nearly the same.")] = (
        False
    ),
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Memory for photos in work, as 2GB. Default: half of what is free."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Photos computed at a time. Default: one a core, or one on a GPU."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results made from other photos, weights or controls.")
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Format of the results. Default: each photo's own.")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 95,
    strip: Annotated[
        Strip | None, typer.Option(help="Leave the place (gps) or all metadata out of the results.")
    ] = None,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Photos of more pixels are refused unread.")
    ] = 250_000_000,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One line of JSON a photo on standard output.")
    ] = False,
) -> None:
    """Make dark photos light: files, folders, globs, or - for standard input.

    Photos whose result is there already, made from the same photo by the same weights and controls, are
    skipped. Exit status: 0 all done, 1 some failed, 2 wrong use, 130 or 143 interrupted.
    """
    size = None if memory is None else _parse_size(memory)
    values = _parse_controls(lightness, strength, control or [])

    plan = make_plan(inputs, output, wanted=format)
    to_stdout = any(job.target is None for job in plan.jobs)
    if to_stdout and json_lines:
        raise typer.BadParameter("standard output takes the photo or JSON, not both", param_hint="--json")
    if to_stdout and sys.stdout.isatty():
        raise typer.BadParameter("standard output is a terminal; give -o FILE", param_hint="OUT")
    if any(job.source is None for job in plan.jobs) and sys.stdin.isatty():
        raise typer.BadParameter("standard input is a terminal; pipe a photo in", param_hint="IN")

    try:
        # Before NumPy and the network are loaded: that takes longer than saying that a name is wrong.
        network = places.find(places.fast(model) if fast else model)
        if control:
            _check_controls(network, values)
        if not plan.jobs:
            _Run(plan, json_lines, to_stdout).end()

        from lowlight.batch import Settings, cores
        from lowlight.enhancer import load

        at_once = min(jobs or cores(), max(1, len(plan.jobs)))
        threads = max(1, cores() // at_once)
        enhancer = load(
            network,
            engine=engine,
            device=device,
            threads=threads,
            precision=precision,
            alone=len(plan.jobs) == 1,
        )
    except (WeightsError, EngineError) as error:
        raise UseError(str(error)) from error
    if jobs is None and enhancer.engine.device != "cpu":
        at_once = 1
    settings = Settings(
        controls=enhancer.controls(**values),
        quality=quality,
        strip=strip,
        max_pixels=max_pixels,
        overwrite=overwrite,
        memory=size,
        at_once=at_once,
    )
    _Run(plan, json_lines, to_stdout).do(enhancer, settings)


def _parse_size(text: str) -> int:
    """Bytes of ``2GB``, ``500M``, ``1.5GiB``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[KMG]I?)B?", text.strip().upper())
    if match is None or (size := int(float(match[1]) * _UNITS[match[2]])) < 1:
        raise typer.BadParameter(f"{text!r}: expected a size, say 500MB or 2GB", param_hint="--memory")
    return size


def _parse_controls(lightness: str | None, strength: str | None, control: list[str]) -> dict[str, Any]:
    """Names and values as written; those of every method are checked, the others need the method's module."""
    values: dict[str, Any] = {}
    for name, given in (("lightness", lightness), ("strength", strength)):
        if given is not None:
            if not _fits(name, given):
                raise typer.BadParameter(f"{given!r}: expected {_COMMON[name]}", param_hint=f"--{name}")
            values[name] = given
    for text in control:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r}: expected NAME=VALUE", param_hint="--control")
        if name in values:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--control")
        if name in _COMMON and not _fits(name, value):
            raise typer.BadParameter(f"{name} = {value!r}: expected {_COMMON[name]}", param_hint="--control")
        values[name] = value
    return values


def _fits(name: str, value: str) -> bool:
    """Whether a control that every method has takes this value."""
    if (name, value) == ("lightness", "auto"):
        return True
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def _check_controls(model: Path, values: dict[str, Any]) -> None:
    from lowlight import methods, weights

    methods.parse_controls(methods.find(weights.open_weights(model).header.method), values)


class _Run:
    """Tells what becomes of the photos, first of those that can't be had, and ends with the exit status."""

    def __init__(self, plan: Plan, json_lines: bool, to_stdout: bool) -> None:
        self.plan = plan
        self.json_lines = json_lines
        self.to_stdout = to_stdout
        self.total = len(plan.jobs) + len(plan.failures)
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self.failures: list[Outcome] = []
        self.above: Callable[[str], None] | None = None
        """Prints a line above the bar, while there is one."""
        self._say(*plan.notes)
        for path, reason in plan.failures:
            self._tell(Outcome(str(path), None, "failed", reason))

    def do(self, enhancer: Enhancer, settings: Settings) -> None:
        from lowlight.batch import run

        jobs = self.plan.jobs
        with (
            _bar(len(jobs)) as (advance, self.above),
            _interruptible() as interrupted,
            closing(run(jobs, enhancer, settings, stop=interrupted.stop, advance=advance)) as outcomes,
        ):
            for outcome in outcomes:
                self._tell(outcome)
        self.above = None
        self.end(interrupted.by)

    def _tell(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if outcome.status == "failed":
            self.failures.append(outcome)
            self._say(_reason(outcome))
        self._say(*(f"{outcome.source}: {note}" for note in outcome.notes))
        if self.json_lines:
            self._print(json.dumps(_record(outcome)), sys.stdout)
        elif outcome.status != "failed" and not self.to_stdout:
            self._print(shown(f"{outcome.source}: {outcome.target}{_summary(outcome)}"), sys.stdout)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._print(shown(line), sys.stderr)

    def _print(self, line: str, stream: TextIO) -> None:
        if self.above is not None and stream.isatty():
            self.above(line)
        else:
            print(line, file=stream, flush=True)

    def end(self, signal_number: int | None = None) -> NoReturn:
        """Tell again what failed, and leave with the exit status. signal_number: what interrupted the run."""
        counts = self.counts
        if counts["failed"] and self.total > 1:
            self._say(f"{counts['failed']} of {self.total} photos failed:", *map(_reason, self.failures))
        if signal_number is not None:
            done = counts["done"] + counts["skipped"]
            self._say(f"interrupted: {done} of {self.total} photos are done; the same command does the rest")
            raise typer.Exit(128 + signal_number)
        raise typer.Exit(1 if counts["failed"] else 0)


def _reason(outcome: Outcome) -> str:
    return f"{outcome.source}: {outcome.error}"


def _summary(outcome: Outcome) -> str:
    report = outcome.report
    if report is None:
        return " (done already)"
    return (
        f" (lightness {report.lightness_before:.2f} to {report.lightness_after:.2f}, {outcome.seconds:.2f} s)"
    )


def _record(outcome: Outcome) -> dict[str, Any]:
    """A photo's line of JSON. Bytes of names that are not UTF-8 are lone surrogates, as in Python."""
    record: dict[str, Any] = {
        "input": outcome.source,
        "output": outcome.target,
        "status": outcome.status,
        "width": outcome.width,
        "height": outcome.height,
    }
    if outcome.report is not None:
        record |= {
            "seconds": round(outcome.seconds, 3),
            "controls": outcome.report.controls,
            "lightness_before": round(outcome.report.lightness_before, 4),
            "lightness_after": round(outcome.report.lightness_after, 4),
            "tiles": outcome.report.tiles,
        }
    record["notes"] = list(outcome.notes)
    if outcome.error is not None:
        record["error"] = outcome.error
    return record


class _Interrupted:
    """Whether the run is to end, and by which signal."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.by: int | None = None


@contextmanager
def _interruptible() -> Iterator[_Interrupted]:
    """Ctrl-C and SIGTERM set the event, so that photos being written are finished; a second one ends at once."""
    interrupted = _Interrupted()

    def interrupt(number: int, _: object) -> None:
        interrupted.by = number
        interrupted.stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        restore()


@contextmanager
def _bar(photos: int) -> Iterator[tuple[Callable[[float], None], Callable[[str], None] | None]]:
    """A progress bar on a terminal: photos done, time left. Gives what moves it and what prints above it."""
    if not photos or not sys.stderr.isatty():
        yield lambda share: None, None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.fields[done]} of {task.total} photos"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # What others print passes the bar too, but standard output only where both are the terminal.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=photos, done=0)

        def advance(share: float) -> None:
            bar.advance(task, share)
            bar.update(task, done=int(bar.tasks[0].completed + 1e-6))

        def above(line: str) -> None:
            console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

        yield advance, above

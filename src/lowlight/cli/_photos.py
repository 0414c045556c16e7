"""What commands that make photos of photos share: options, what they tell, how they end."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO, get_type_hints

import typer

from lowlight.batch import Outcome
from lowlight.cli._interrupts import interruptible
from lowlight.cli._options import Memory, output_option
from lowlight.errors import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lowlight.batch import Settings, Worker
    from lowlight.plan import Plan

# Typer reads these when the command is asked for, and the modules that define them would bring NumPy along.
Format = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]
Strip = Literal["gps", "all"]

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IN...", help="Photos, folders (with all below them), patterns, or - for standard input."
    ),
]


def results_option(mark: str) -> Any:
    """``-o``; mark: of results beside their photos."""
    return output_option(
        "OUT",
        "A file for one photo, - for standard output, or a folder that gets the same tree. "
        f"Default: beside each photo, as photo{mark}.jpg.",
    )


@dataclass(frozen=True)
class Batch:
    """Options of all commands that make photos of photos."""

    memory: Memory = None
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Photos computed at a time. Default: one a core, or one on a GPU."
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results made from other photos, weights or controls.")
    ] = False
    format: Annotated[
        Format | None, typer.Option(help="Format of the results. Default: each photo's own.")
    ] = None
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 95
    strip: Annotated[
        Strip | None, typer.Option(help="Leave the place (gps) or all metadata out of the results.")
    ] = None
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Photos of more pixels are refused unread.")
    ] = 250_000_000
    json_lines: Annotated[
        bool, typer.Option("--json", help="One line of JSON a photo on standard output.")
    ] = False

    def settings(self, controls: BaseModel, at_once: int, *, exact: bool = False) -> Settings:
        from lowlight.batch import Settings

        return Settings(
            controls=controls,
            quality=self.quality,
            strip=self.strip,
            max_pixels=self.max_pixels,
            overwrite=self.overwrite,
            memory=self.memory,
            at_once=at_once,
            exact=exact,
        )


def with_batch(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose last parameter, ``batch``, typer sees as the options of ``Batch``."""
    *own, _ = inspect.signature(function, eval_str=True).parameters.values()
    hints = get_type_hints(Batch, include_extras=True)
    options = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(Batch)
    ]

    @wraps(function)
    def command(**given: Any) -> None:
        batch = Batch(**{each.name: given.pop(each.name) for each in options})
        function(**given, batch=batch)

    signature = inspect.Signature([*own, *options])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return command


def check_streams(plan: Plan, json_lines: bool) -> bool:
    """Refuse standard streams that cannot be what is asked of them; tells whether a photo goes to one."""
    to_stdout = any(job.target is None for job in plan.jobs)
    if to_stdout and json_lines:
        raise typer.BadParameter("standard output takes the photo or JSON, not both", param_hint="--json")
    if to_stdout and sys.stdout.isatty():
        raise typer.BadParameter("standard output is a terminal; give -o FILE", param_hint="OUT")
    if any(job.source is None for job in plan.jobs) and sys.stdin.isatty():
        raise typer.BadParameter("standard input is a terminal; pipe a photo in", param_hint="IN")
    return to_stdout


class Run:
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

    def do(self, worker: Worker, settings: Settings) -> None:
        from lowlight.batch import run

        jobs = self.plan.jobs
        with (
            _bar(len(jobs)) as (advance, self.above),
            interruptible() as interrupted,
            closing(run(jobs, worker, settings, stop=interrupted.stop, advance=advance)) as outcomes,
        ):
            for outcome in outcomes:
                self._tell(outcome)
        self.above = None
        self.end(interrupted.status)

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

    def end(self, interrupted: int = 0) -> NoReturn:
        """Tell again what failed, and leave with the exit status. interrupted: that of an interrupted run."""
        counts = self.counts
        if counts["failed"] and self.total > 1:
            self._say(f"{counts['failed']} of {self.total} photos failed:", *map(_reason, self.failures))
        if interrupted:
            done = counts["done"] + counts["skipped"]
            self._say(f"interrupted: {done} of {self.total} photos are done; the same command does the rest")
            raise typer.Exit(interrupted)
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

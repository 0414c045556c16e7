"""From photos to a report: every case through the system, under every protocol, by every metric.

A column of a report is a protocol with a metric: ``raw.psnr``. Values that are infinite or not defined stand in the
rows, are counted, and are left out of the mean.
"""

from __future__ import annotations

import hashlib
import math
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lowlight import statistics
from lowlight.engines import Device
from lowlight.errors import LowlightError, PhotoError, UseError, shown
from lowlight.evaluation import files, guards, protocols
from lowlight.evaluation.metrics import METRICS, Metric, Missing, Picture, Pool, Samples, Undefined
from lowlight.evaluation.pairing import Case, Role, listed
from lowlight.methods import PublishedControls
from lowlight.photo import Photo

if TYPE_CHECKING:
    from lowlight.enhancer import Enhancer
    from lowlight.weights import Weights

RAW_METRICS = (
    "psnr",
    "psnr_y",
    "ssim",
    "ssim_grey",
    "lpips_alex",
    "lpips_vgg",
    "delta_e_76",
    "delta_e_2000",
    "lightness_error",
    "niqe",
)
"""Of protocol ``raw`` by default; without references those that need none."""
WORST = 10
"""Photos that a column names as its worst."""
_COMPARED: dict[str, Role] = {"reference": "reference", "input": "low"}
"""What metrics compare with, by the file that it is."""
_CLEAREST: tuple[Role, ...] = ("reference", "low", "result")
"""Files by how well they tell the scene, whatever the result is."""
WAITING = 12_000_000
"""Samples, 4 megapixels, that are measured in one batch."""
FITTED = 12
"""Training pairs that the best constant is chosen on, at most, spread evenly."""

Columns = Mapping[str, Sequence[str]]
"""Protocol to its metrics."""


# The report


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class System(_Part):
    """What made the results."""

    kind: Literal["model", "folder"]
    name: str
    sha256: str = ""
    """Of the weights file."""
    options: dict[str, Any] = {}
    data: list[str] = []
    """What the weights say that they were trained on."""
    saved: str
    """How results became what is measured."""


class Data(_Part):
    """What was measured on."""

    set: str = ""
    split: str = ""
    as_published: bool = False
    """The folder was checked: it holds what the set's publisher says."""
    names_checked: bool = False
    """By the names of its photos too, where they are known."""
    folders: dict[str, str] = {}

    @property
    def where(self) -> str:
        """In words: the set and its part, or the folders; finished pictures alone are their own."""
        if self.set:
            return f"{self.set}, {self.split}"
        others = [folder for role, folder in self.folders.items() if role != "result"]
        return ", ".join(others or self.folders.values())


class Column(_Part):
    """A protocol with a metric, over all photos."""

    protocol: str
    metric: str
    mean: float | None = None
    deviation: float | None = None
    """Standard deviation over photos (n - 1)."""
    count: int = 0
    """Photos in the mean."""
    infinite: int = 0
    undefined: int = 0
    pooled: bool = False
    """The mean is over all pixels of the set, as the release takes it."""
    missing: str = ""
    """Why there are no numbers."""
    worst: list[str] = []

    @property
    def name(self) -> str:
        return f"{self.protocol}.{self.metric}"

    @classmethod
    def of(
        cls,
        protocol: str,
        metric: str,
        values: Mapping[str, float | None],
        better: Literal["higher", "lower", ""],
    ) -> Column:
        """The column of these values by photo."""
        finite = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        numbers = np.array(list(finite.values()))
        sign = {"higher": 1, "lower": -1, "": 0}[better]
        return cls(
            protocol=protocol,
            metric=metric,
            mean=float(numbers.mean()) if len(numbers) else None,
            deviation=float(numbers.std(ddof=1)) if len(numbers) > 1 else None,
            count=len(numbers),
            infinite=sum(value is not None and math.isinf(value) for value in values.values()),
            undefined=sum(value is None for value in values.values()),
            worst=sorted(finite, key=lambda name: sign * finite[name])[:WORST] if sign else [],
        )


class File(_Part):
    """A file that was read."""

    path: str
    sha256: str


class Row(_Part):
    """One photo."""

    name: str
    files: dict[Role, File]
    values: dict[str, float | None]
    """By column; None: not defined."""
    gains: dict[str, float] = {}
    """By protocol."""
    scene: str = ""
    """The first photo of its scene, as hashes of the references tell; empty: not looked for."""


class Guard(_Part):
    """What is known of photos being in training and evaluation both."""

    known: bool
    """Whether the training photos' marks were at hand."""
    trained: int = 0
    """Marks of training photos."""
    leaks: list[guards.Leak] = []
    lines: list[str] = []


class Report(_Part):
    """All that a number needs to be believed."""

    version: Literal[1] = 1
    made: dict[str, str]
    """Versions and time."""
    system: System
    data: Data
    options: dict[str, Any]
    protocols: dict[str, str]
    """Name to what it does."""
    metrics: dict[str, str]
    better: dict[str, Literal["higher", "lower", ""]]
    weights: dict[str, File] = {}
    """By metric the file of the network that it looks through."""
    guard: Guard
    warnings: list[str]
    columns: list[Column]
    photos: list[Row]
    failed: dict[str, str] = Field(default_factory=dict)
    """Photos left out, with the reason."""

    def column(self, name: str) -> Column | None:
        """By its name, ``raw.psnr``."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def scenes(self) -> dict[str, str] | None:
        """The first photo of its scene for each; None: not known of all."""
        found = {row.name: row.scene for row in self.photos}
        return found if all(found.values()) else None

    def without(self, left_out: Mapping[str, str]) -> Report:
        """The report of the other photos. left_out: names with the reason."""
        rows = [row for row in self.photos if row.name not in left_out]
        if len(rows) == len(self.photos):
            return self.model_copy(update={"failed": {**self.failed, **left_out}})
        columns = []
        for column in self.columns:
            values = {row.name: row.values.get(column.name) for row in rows}
            if column.pooled:
                column = column.model_copy(update={"missing": "pooled over photos that are left out here"})
            elif not column.missing:
                column = Column.of(column.protocol, column.metric, values, self.better[column.metric])
            columns.append(column)
        return self.model_copy(
            update={"photos": rows, "columns": columns, "failed": {**self.failed, **left_out}}
        )


# Systems


@dataclass(frozen=True)
class Loaded:
    """A case's files, read."""

    case: Case
    photos: Mapping[Role, Photo]
    digests: Mapping[Role, str]

    def picture(self, role: Role) -> Picture:
        return files.to_picture(self.photos[role].samples)


def load(case: Case) -> Loaded:
    """Read a case's files. Raises PhotoError."""
    found = {role: files.read(path) for role, path in case.files().items()}
    return Loaded(
        case,
        {role: photo for role, (photo, _) in found.items()},
        {role: digest for role, (_, digest) in found.items()},
    )


class Judged(Protocol):
    """What makes results: a model, or whoever filled a folder."""

    def result(self, loaded: Loaded, run: protocols.Run, constant: float | None) -> Picture:
        """The result of a case before any correction."""
        ...

    constant_range: tuple[float, float]
    """Where the best constant lies."""


class Finished:
    """Results that lie in a folder."""

    constant_range = (0.25, 4.0)

    def result(self, loaded: Loaded, run: protocols.Run, constant: float | None) -> Picture:
        """The file's picture; with a constant times that gain."""
        if run not in ("asked", "constant"):
            raise UseError(
                "a folder of finished pictures can't be told a lightness; evaluate the model instead"
            )
        # Training pairs, which the constant is chosen on, have their result in place of a dark photo.
        picture = loaded.picture("result" if "result" in loaded.photos else "low")
        return picture if constant is None else protocols.gained(picture, constant)[0]


@dataclass(frozen=True)
class Network:
    """A model, through the enhancer that users get."""

    enhancer: Enhancer
    controls: Mapping[str, Any] = field(default_factory=dict)
    rounding: Literal["round", "truncate"] = "round"
    constant_range = (0.1, 0.8)

    def result(self, loaded: Loaded, run: protocols.Run, constant: float | None) -> Picture:
        """What the model makes of the dark photo: its floats as they are, and rounded (or truncated) to 8 bits."""
        dark = loaded.photos["low"]
        asked: dict[str, Any] = dict(self.controls)
        if run == "constant":
            asked["lightness"] = constant
        elif run != "asked":
            wanted = statistics.mean(loaded.photos["reference"].samples)
            if run == "reference_steps":
                _, wanted = protocols.dimma_lightness(statistics.mean(dark.samples), wanted)
            asked["lightness"] = wanted
        made, report = self.enhancer.enhance_photo(dark, self.enhancer.controls(**asked), floats=True)
        assert report.floats is not None  # noqa: S101
        cut = self.rounding == "truncate"
        samples = protocols.truncated(report.floats) if cut else statistics.to_8_bits(made.samples)
        return Picture(samples, report.floats)

    @property
    def as_released(self) -> bool:
        """Whether the front end of the method's release is asked for."""
        controls = self.enhancer.controls(**self.controls)
        return isinstance(controls, PublishedControls) and controls.published


def described_folder(name: str) -> System:
    """Finished pictures, as a report names them."""
    return System(
        kind="folder",
        name=name,
        saved="files as saved, compared in 8 bits; how their program rounded is not known",
    )


def described_model(system: Network, weights: Weights, **options: Any) -> System:
    """A model, as a report names it. options: more that was chosen; what ``auto`` became stands in ``ran_on``."""
    engine = system.enhancer.engine
    ran_on = {"engine": type(engine).__module__.rpartition(".")[2], "device": engine.device}
    saved = {"round": "rounded to 8 bits as users get it", "truncate": "truncated to 8 bits"}[system.rounding]
    if system.as_released and hasattr(system.enhancer.method, "released_frame"):
        frame = system.enhancer.method.released_frame(1, 1, system.enhancer.controls(**system.controls))
        saved = (
            f"{'truncated' if frame.truncated else 'rounded'} to 8 bits as users get it, by control published"
        )
    return System(
        kind="model",
        name=weights.path.stem,
        sha256=weights.sha256,
        options={"controls": dict(system.controls), **options, "ran_on": ran_on},
        data=weights.header.data,
        saved=f"{saved}; floats as the network gives them, not clipped",
    )


# The best constant


def choose_constant(system: Judged, pairs: Sequence[Case]) -> float:
    """The lightness or gain of the highest mean PSNR on training pairs (``low`` and ``reference``)."""
    step = max(1, math.ceil(len(pairs) / FITTED))
    loaded = [load(case) for case in pairs[::step]]
    psnr = METRICS["psnr"]

    def score(value: float) -> float:
        found = [
            min(psnr(system.result(each, "constant", value), each.picture("reference")), 100.0)
            for each in loaded
        ]
        return float(np.mean(found))

    return round(protocols.best_constant(score, *system.constant_range), 4)


# Guards


def look_for_leaks(
    cases: Sequence[Case], known: Mapping[Literal["trained", "chosen"], Sequence[bytes]], unknown: str
) -> Guard:
    """Look for the photos of cases, and their scenes, among marks. unknown: what to say where there are none.

    Photos that can't be read are passed over.
    """
    if not any(known.values()):
        return Guard(known=False, lines=[unknown])
    marks: dict[str, list[bytes]] = {}
    for case in cases:
        for role, path in case.files().items():
            if role == "result" and len(case.files()) > 1:  # the others tell the scene better
                continue
            try:
                marks.setdefault(case.name, []).append(
                    guards.mark(statistics.to_8_bits(files.read(path)[0].samples))
                )
            except (PhotoError, OSError):
                continue
    leaks = guards.find_leaks(known, marks)
    lines = []
    chosen = "scores are too good: the checkpoint was chosen by its score on"
    for of, kind, words in (
        ("trained", "photo", "{} of {} photos were trained on"),
        (
            "trained",
            "scene",
            "{} of {} photos show scenes that were trained on (a copy, or another exposure)",
        ),
        ("chosen", "photo", f"{chosen} {{}} of these {{}} photos"),
        ("chosen", "scene", f"{chosen} the scenes of {{}} of these {{}} photos"),
    ):
        if names := [leak.name for leak in leaks if (leak.of, leak.kind) == (of, kind)]:
            lines.append(f"{words.format(len(names), len(marks))}: {listed(names)}")
    count = len(known.get("trained", ()))
    if not any(leak.of == "trained" for leak in leaks):
        where = "in the training itself " if leaks else ""
        lines.append(
            f"{where}no photo or scene was found among the marks of {count} training photos "
            "(crops and mirrored copies are not found)"
        )
    return Guard(known=True, trained=count, leaks=leaks, lines=lines)


# Scoring


@dataclass
class _Tally:
    """What of a column comes together photo by photo."""

    metric: Metric
    device: Device
    pool: Pool | None
    values: dict[str, float | None] = field(default_factory=dict)
    missing: str = ""
    doubts: dict[str, list[str]] = field(default_factory=dict)
    waiting: dict[str, tuple[Samples, Samples]] = field(default_factory=dict)
    """By name what will be measured in one batch, all of one size."""

    def measure(self, name: str, picture: Picture, other: Picture | None) -> None:
        """Measure a picture, at once or in a batch with others."""
        if self.missing:
            return
        if self.metric.batch is not None and other is not None:
            self._wait(name, picture.samples, other.samples)
            return
        try:
            self.values[name] = self.metric(picture, other)
        except Missing as error:
            self.missing = str(error)
            return
        except Undefined:
            self.values[name] = None
            return
        if doubt := self.metric.doubt(picture):
            self.doubts.setdefault(doubt, []).append(name)
        if self.pool is not None and other is not None:
            self.pool.add(picture, other)

    def _wait(self, name: str, samples: Samples, other: Samples) -> None:
        if any(each.shape != samples.shape for each, _ in self.waiting.values()):
            self.measure_waiting()
        self.waiting[name] = samples, other
        if len(self.waiting) * samples.size >= WAITING:
            self.measure_waiting()

    def measure_waiting(self) -> None:
        """Measure the batch that waits."""
        names, pairs, self.waiting = list(self.waiting), list(self.waiting.values()), {}
        if self.metric.batch is None or not names:
            return
        try:
            found: Sequence[float | None] = self.metric.batch(pairs, self.device)
        except Missing as error:
            self.missing = str(error)
            return
        except Undefined:
            found = [None] * len(names)
        self.values |= zip(names, found, strict=True)


@dataclass
class Scores:
    """What scoring gives a report."""

    columns: list[Column]
    rows: list[Row]
    failed: dict[str, str]
    warnings: list[str]


def score(
    system: Judged,
    cases: Sequence[Case],
    columns: Columns,
    *,
    constant: float | None = None,
    device: Device = "auto",
    keep: Callable[[str, Picture], None] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Scores:
    """Measure all cases. A photo that can't be read or enhanced is left out by name, and the rest goes on.

    device: of the metrics that measure in batches. keep: called with each photo's name and first result. progress: called after each photo.
    """
    tallies = {
        (protocol, name): _Tally(
            METRICS[name], device, None if (make := METRICS[name].pool) is None else make()
        )
        for protocol, names in columns.items()
        for name in names
    }
    done: list[tuple[Loaded, dict[str, float]]] = []
    marks: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    for case in cases:
        try:
            loaded = load(case)
            gains = _score_case(system, loaded, columns, tallies, constant, keep)
        except LowlightError as error:
            failed[case.name] = str(error)
        else:
            clearest = next(role for role in _CLEAREST if role in loaded.photos)
            marks[case.name] = guards.mark(loaded.picture(clearest).samples)
            done.append((replace(loaded, photos={}), gains))
        progress()
    for tally in tallies.values():
        tally.measure_waiting()
    scenes = guards.scenes(marks)
    rows = [_row(loaded, gains, tallies, scenes[loaded.case.name]) for loaded, gains in done]
    warnings = [
        f"{metric}: {reason}: {listed(names)}"
        for metric, reason, names in dict.fromkeys(
            (name, reason, tuple(names))
            for (_, name), tally in tallies.items()
            for reason, names in tally.doubts.items()
        )
    ]
    return Scores([_column(p, m, tally) for (p, m), tally in tallies.items()], rows, failed, warnings)


def without_missing(scores: Scores) -> Scores:
    """The same without the columns that nothing could be measured in here, and one warning in their place."""
    missing = {column.name for column in scores.columns if column.missing}
    if not missing:
        return scores
    names = ",".join(dict.fromkeys(column.metric for column in scores.columns if column.missing))
    line = f"no {names}: weights or a package that they need are not here; --metrics {names} says which"
    rows = [
        row.model_copy(
            update={"values": {name: value for name, value in row.values.items() if name not in missing}}
        )
        for row in scores.rows
    ]
    columns = [column for column in scores.columns if not column.missing]
    return Scores(columns, rows, scores.failed, [*scores.warnings, line])


def _score_case(
    system: Judged,
    loaded: Loaded,
    columns: Columns,
    tallies: Mapping[tuple[str, str], _Tally],
    constant: float | None,
    keep: Callable[[str, Picture], None] | None,
) -> dict[str, float]:
    """Measure one case; gives the gains it took. Nothing is measured before all pictures are there."""
    name = loaded.case.name
    others = {kind: loaded.picture(role) for kind, role in _COMPARED.items() if role in loaded.photos}
    results: dict[protocols.Run, Picture] = {}
    gains: dict[str, float] = {}
    pictures: dict[str, Picture] = {}
    for protocol in columns:
        chosen = protocols.PROTOCOLS[protocol]
        if chosen.run not in results:
            results[chosen.run] = system.result(
                loaded, chosen.run, constant if chosen.run == "constant" else None
            )
        pictures[protocol] = results[chosen.run]
        if chosen.gain is not None:
            pictures[protocol], gains[protocol] = chosen.apply(pictures[protocol], others["reference"])
    if keep is not None:
        keep(name, next(iter(results.values())))
    for (protocol, _), tally in tallies.items():
        tally.measure(name, pictures[protocol], others.get(tally.metric.compares))
    return gains


def _row(
    loaded: Loaded, gains: dict[str, float], tallies: Mapping[tuple[str, str], _Tally], scene: str
) -> Row:
    name = loaded.case.name
    found = {
        role: File(path=str(path), sha256=loaded.digests[role]) for role, path in loaded.case.files().items()
    }
    values = {f"{protocol}.{metric}": tally.values.get(name) for (protocol, metric), tally in tallies.items()}
    return Row(name=name, files=found, values=values, gains=gains, scene=scene)


def _column(protocol: str, metric: str, tally: _Tally) -> Column:
    column = Column.of(protocol, metric, tally.values, tally.metric.better)
    if tally.pool is not None:
        # All photos are in it, equal ones too.
        count = column.count + column.infinite
        pooled = tally.pool.value() if count else None
        update = {"pooled": True, "mean": pooled, "count": count, "infinite": 0}
        column = column.model_copy(update=update)
    return column.model_copy(update={"missing": tally.missing})


def make_report(
    system: System,
    data: Data,
    options: dict[str, Any],
    guard: Guard,
    warnings: Sequence[str],
    scores: Scores,
) -> Report:
    """Put together what was found."""
    used = {column.protocol: protocols.PROTOCOLS[column.protocol].words for column in scores.columns}
    metrics = {column.metric: METRICS[column.metric] for column in scores.columns}
    return Report(
        made=versions(),
        system=system,
        data=data,
        options=options,
        protocols=used,
        metrics={name: metric.title for name, metric in metrics.items()},
        better={name: metric.better for name, metric in metrics.items()},
        weights={
            column.metric: _file_of(find())
            for column in scores.columns
            if not column.missing and (find := METRICS[column.metric].weights) is not None
        },
        guard=guard,
        warnings=[*warnings, *scores.warnings],
        columns=scores.columns,
        photos=scores.rows,
        failed=scores.failed,
    )


def _file_of(path: Path) -> File:
    with path.open("rb") as file:
        return File(path=str(path), sha256=hashlib.file_digest(file, "sha256").hexdigest())


@cache
def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Of what computes, torch's where it is loaded, and the time."""
    from lowlight import __version__

    used = ("torch",) if "torch" in sys.modules else ()
    found = {name: _version(name) for name in ("numpy", "scipy", "onnxruntime", "pillow", "pyvips", *used)}
    return {
        "lowlight": __version__,
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
        "machine": platform.machine(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_report(path: Path) -> Report:
    """A report from its folder or ``report.json``. Raises UseError naming the file and what is wrong."""
    file = path / "report.json" if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UseError(
            f"{shown(file)}: expected a report of `lowlight evaluate -o`: {error.strerror}"
        ) from None
    try:
        return Report.model_validate_json(text)
    except ValueError as error:
        first = " ".join(str(error).split())[:120]
        raise UseError(f"{shown(file)}: expected a report of `lowlight evaluate -o`: {first}") from None

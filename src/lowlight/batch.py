"""Many photos: what is done already, several at once in bounded memory, none lost for another's fault."""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lowlight.errors import LowlightError, PhotoError, reason, shown
from lowlight.files import write_all
from lowlight.plan import Job, spread_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lowlight.enhancer import Report
    from lowlight.photo import Format, Photo, Strip

PARTS = ("weights", "controls", "output options", "photo")
"""What a fingerprint covers, in the order of its parts."""

# Photos that are read or written while every computing slot is taken: reading and writing overlap computing.
_WAITING = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    source: str
    target: str | None
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    """From reading to written."""
    report: Report | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How photos are done."""

    controls: BaseModel
    quality: int = 95
    strip: Strip | None = None
    max_pixels: int = 250_000_000
    overwrite: bool = False
    memory: int | None = None
    """Bytes for the photos in work, together; default: half of what is free."""
    at_once: int = 1
    """Photos computed at the same time."""
    exact: bool = False
    """Results are their photos bit for bit, in whatever profile."""


class Worker(Protocol):
    """What makes a result of a photo: an ``Enhancer``, or something of its shape."""

    @property
    def fingerprint(self) -> str: ...

    def memory_for(self, height: int, width: int, itemsize: int, controls: Any) -> int: ...

    def enhance_photo(
        self, photo: Photo, controls: Any, *, memory: int, progress: Callable[[float], None], spread: bool
    ) -> tuple[Photo, Report]: ...


# Fingerprints


def fingerprint(worker: Worker, settings: Settings, kind: Format, content: str) -> str:
    """What a result carries: short hashes of weights, controls as asked, output options, the photo's bytes.

    kind: the result's format. content: SHA-256 of the photo's file. A result counts as done when all four are
    those of this run: other weights or controls and a photo changed since are seen; a copy, another name or a
    new date is no change.
    """
    covered = (
        worker.fingerprint,
        settings.controls.model_dump(mode="json"),
        [kind, settings.quality, settings.strip],
        content,
    )
    return "-".join(
        hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16] for part in covered
    )


def _check_target(target: Path, mark: str, overwrite: bool) -> bool:
    """True when the result is there already; raises PhotoError when something else is."""
    from lowlight.photo import read_fingerprint

    if not os.path.lexists(target):
        return False
    if target.exists() and not target.is_file():
        raise PhotoError(f"{shown(target)} exists and is no file")
    try:
        found = read_fingerprint(target)
    except PhotoError:  # no photo at all, or a link that leads nowhere
        found = None
    if found == mark:
        return True
    if found is None and target.is_symlink():
        raise PhotoError(f"{shown(target)} is a link to what lowlight did not make; remove the link")
    if overwrite:
        return False
    why = "was not made by lowlight" if found is None else "was made from Python or by another version"
    if found is not None and found.count("-") == mark.count("-"):
        parts = zip(PARTS, found.split("-"), mark.split("-"), strict=True)
        *other, photo = [name if a != b else "" for name, a, b in parts]
        ways = ["from another photo"] if photo else []
        if any(other):
            ways.append(f"with other {' and '.join(filter(None, other))}")
        why = f"was made {' and '.join(ways)}"
    raise PhotoError(f"{shown(target)} exists and {why}; --overwrite replaces it")


# Doing


class _StopError(Exception):
    """The batch was given up; the photo in work is dropped."""


class _Budget:
    """Memory that photos in work share. First come, first served, so that a large photo gets its turn."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, wanted: int) -> Iterator[int]:
        """Wait for that much, or for everything where it is more than there is; gives what was taken."""
        taken = min(wanted, self.total)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield taken
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def run(
    jobs: Sequence[Job],
    worker: Worker,
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    advance: Callable[[float], None] = lambda share: None,
) -> Generator[Outcome]:
    """Do all jobs and give each outcome as it comes; one that fails never ends the rest.

    Each worker reads, computes and writes one photo after the other. There are more workers than photos that
    may compute at once, so reading and writing overlap computing, and a photo waits until the memory that it
    needs is free.

    stop: once set, photos in work are dropped, those that are being written are finished, the others are not
    begun, and the iterator ends; closing it does the same. advance: called from any thread with the share of
    a photo that was just done.
    """
    batch = _Batch(jobs, worker, settings, stop or threading.Event(), advance)
    threads = [
        threading.Thread(target=batch.work, daemon=True)
        for _ in range(min(len(jobs), settings.at_once + _WAITING))
    ]
    for thread in threads:
        thread.start()
    try:
        working = len(threads)
        while working:
            try:
                outcome = batch.outcomes.get(timeout=1.0)  # without a timeout Windows would not see Ctrl-C
            except queue.Empty:
                continue
            if outcome is None:
                working -= 1
            else:
                yield outcome
    except BaseException:  # closed, or interrupted while waiting
        batch.stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()


class _Batch:
    """What the workers share."""

    def __init__(
        self,
        jobs: Sequence[Job],
        worker: Worker,
        settings: Settings,
        stop: threading.Event,
        advance: Callable[[float], None],
    ) -> None:
        from lowlight.enhancer import free_memory

        self.stop = stop
        self.outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        """None: a worker has ended."""
        self._jobs = deque(jobs)
        self._worker = worker
        self._settings = settings
        self._advance = advance
        self._slots = threading.Semaphore(settings.at_once)
        self._budget = _Budget(settings.memory or free_memory() // 2)

    def work(self) -> None:
        """Do photos until none is left: what a thread runs."""
        try:
            while not self.stop.is_set():
                self.outcomes.put(self._do(self._jobs.popleft()))
        except (IndexError, _StopError):
            pass
        finally:
            self.outcomes.put(None)

    def _do(self, job: Job) -> Outcome:
        source, target = str(job.source or "-"), str(job.target or "-")
        reported = 0.0

        def progress(share: float) -> None:
            nonlocal reported
            if self.stop.is_set():
                raise _StopError
            self._advance(share - reported)
            reported = share

        try:
            return self._enhance(job, Outcome(source, target, "done"), progress)
        except _StopError:
            raise
        except LowlightError as error:
            text = str(error)
        except OSError as error:
            text = reason(error)
        except MemoryError:
            text = "not enough memory"
        except Exception as error:  # one photo's surprise must not end the batch
            text = f"unexpected {type(error).__name__}: {error}"
        finally:
            self._advance(1.0 - reported)
        # Errors of a photo begin with its name, as every line about it does.
        for name in (shown(source),) if job.source else ("<stdin>", "photo"):
            text = text.removeprefix(f"{name}: ")
        return Outcome(source, target, "failed", text)

    def _enhance(self, job: Job, outcome: Outcome, progress: Callable[[float], None]) -> Outcome:
        from lowlight.containers import check_sides
        from lowlight.photo import describe_photo, read_photo, write_photo

        settings, target = self._settings, job.target
        source = job.source or _read_stdin(settings.max_pixels)
        if target is not None:
            _check_writable(target.parent)
        described = describe_photo(source, max_pixels=settings.max_pixels)
        outcome = replace(outcome, width=described["width"], height=described["height"])
        # Before the pixels are read: a photo that changes meanwhile is seen as another one next time.
        kind: Format = job.format or described["format"].lower()
        check_sides(kind, described["width"], described["height"])
        mark = fingerprint(self._worker, settings, kind, _content(source))
        paths = [path for path in (job.spread, target) if path is not None]
        made = [_check_target(path, mark, settings.overwrite) for path in paths]
        if made and all(made):
            return replace(outcome, status="skipped")
        with self._budget.take(_needed(described, self._worker, settings.controls)) as memory:
            started = time.perf_counter()
            photo = read_photo(source, max_pixels=settings.max_pixels, exact=settings.exact)
            seconds = time.perf_counter() - started
            with self._slots:
                progress(0.0)
                photo, report = self._worker.enhance_photo(
                    photo,
                    settings.controls,
                    memory=memory,
                    progress=progress,
                    spread=job.spread is not None,
                )
            progress(1.0)
            started = time.perf_counter()
            options: dict[str, Any] = {
                "format": kind,
                "quality": settings.quality,
                "strip": settings.strip,
                "fingerprint": mark,
            }
            if target is None:
                stream = io.BytesIO()
                dropped = write_photo(photo, stream, **options)
                write_all(sys.stdout.buffer, stream.getbuffer())
                sys.stdout.buffer.flush()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                if job.spread is not None and report.spread is not None:
                    # First, so that a result never stands without the map that was asked for.
                    write_photo(report.spread, job.spread, format="png", fingerprint=mark)
                dropped = write_photo(photo, target, **options)
                if job.spread is None:
                    _remove_map(spread_of(target))
            seconds += report.seconds + time.perf_counter() - started
        report = replace(report, spread=None)  # no pixels in what is told
        return replace(outcome, report=report, notes=photo.notes + report.notes + dropped, seconds=seconds)


def _remove_map(path: Path) -> None:
    """The map of the spread of a result that is no longer there; what lowlight did not make stays."""
    from lowlight.photo import read_fingerprint

    with suppress(OSError, PhotoError):  # a name that is too long is no map's
        if path.is_file() and read_fingerprint(path) is not None:
            path.unlink()


def _needed(described: Mapping[str, Any], worker: Worker, controls: Any) -> int:
    itemsize = {"float": 4, "16 bit": 2}.get(described["depth"], 1)
    return worker.memory_for(int(described["height"]), int(described["width"]), itemsize, controls)


def _read_stdin(max_pixels: int) -> bytes:
    """All of standard input, if it begins as a photo does and ends before it is too large for one."""
    from lowlight.reading import opened

    with opened(sys.stdin.buffer, max_pixels) as file:
        return file.read()


def _content(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_writable(folder: Path) -> None:
    """Fail before the work, not after it."""
    place = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), Path())
    if not os.access(place, os.W_OK | os.X_OK):
        raise PhotoError(f"cannot write into the folder {shown(place)}: read-only or not permitted")

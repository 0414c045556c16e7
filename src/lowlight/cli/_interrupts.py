"""Ctrl-C and SIGTERM end long work in good order: the first asks, a later second one ends it at once."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TOGETHER = 0.5
"""Seconds after the first signal in which others belong to it: a terminal and a launcher may each send theirs."""


class Interrupted:
    """Whether work is to end, and by which signal."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.by: int | None = None

    @property
    def status(self) -> int:
        """The exit status of a process that ended for the signal; 0: there was none."""
        return 0 if self.by is None else 128 + self.by


@contextmanager
def interruptible(said: str = "") -> Iterator[Interrupted]:
    """Inside the block the first signal sets the event; said: a line that it prints, if any."""
    interrupted = Interrupted()
    first: float | None = None

    def interrupt(number: int, _: object) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            interrupted.by = number
            interrupted.stop.set()
            if said:
                print(said, file=sys.stderr, flush=True)
        elif time.monotonic() - first >= TOGETHER:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # A shell lets what it runs in the background ignore Ctrl-C, and that stays so.
    wanted = [
        each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield interrupted
    finally:
        restore()

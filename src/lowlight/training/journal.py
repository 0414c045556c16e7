"""What a run tells: JSON lines in a file, a progress bar or plain lines, TensorBoard if wanted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lowlight.errors import RecipeError
from lowlight.files import write_file


class Journal:
    """Log of one run, ``log.jsonl`` in its folder; every line is one JSON object with its ``step``."""

    def __init__(self, folder: Path, steps: int, step: int, *, tensorboard: bool = False) -> None:
        """step: where the run starts; what an earlier process logged beyond it will come again and is cut."""
        self.board: Any = board_class()(folder / "tensorboard", purge_step=step) if tensorboard else None
        self.path = folder / "log.jsonl"
        self.steps = steps
        if self.path.exists():
            write_file(self.path, b"".join(_lines_up_to(self.path.read_bytes(), step)))
        self.file = self.path.open("a", encoding="utf-8")
        console = Console(stderr=True)
        self.progress: Progress | None = None
        if console.is_terminal:
            columns = MofNCompleteColumn(), BarColumn(), TimeRemainingColumn()
            self.progress = Progress(*columns, TextColumn("{task.fields[state]}"), console=console)
            self.task = self.progress.add_task("", total=steps, completed=step, state="")
            self.progress.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self.progress is not None:
            self.progress.update(self.task, completed=step)

    def write(self, entry: dict[str, Any], text: str, short: str = "") -> None:
        """Log an entry and tell it in words; where there is a bar, ``short`` stands beside it instead."""
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in _numbers(entry):
                self.board.add_scalar(name, value, entry["step"])
        if self.progress is not None and short:
            self.progress.update(self.task, state=short)
        else:
            self.say(f"step {entry['step']}/{self.steps}  {text}")

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar and the files."""
        if self.progress is not None:
            self.progress.stop()
        if self.board is not None:
            self.board.close()
        self.file.close()


def _lines_up_to(data: bytes, step: int) -> list[bytes]:
    """Whole lines of steps that are done."""
    kept = []
    for line in data.splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):  # the line that a killed process did not finish
            break
        kept.append(line)
    return kept


def _numbers(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((f"{prefix}{name}", float(value)))
    return found


def board_class() -> Any:
    """TensorBoard's writer. Raises RecipeError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise RecipeError(
            "tensorboard: true needs TensorBoard: pip install 'lowlight[tensorboard]'"
        ) from None
    return SummaryWriter

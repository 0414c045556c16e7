"""What the commands list: tables, wrapped on a terminal and plain lines when piped, and descriptions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lowlight.errors import shown


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line a row on standard output; columns are aligned."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*header, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_numbers(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column names its rows. A terminal too narrow for it gets several below each other, so
    that no name and no number is cut."""
    if not sys.stdout.isatty():
        print_table(header, rows)
        return
    from rich.console import Console

    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    parts: list[list[int]] = [[]]
    for column in range(1, len(header)):
        if parts[-1] and sum(widths[each] + 2 for each in (0, *parts[-1], column)) - 2 > Console().width:
            parts.append([])
        parts[-1].append(column)
    for index, part in enumerate(parts):
        if index:
            print()
        filled = [row for row in rows if any(row[column] for column in part)]
        head, *lines = ([row[column] for column in (0, *part)] for row in (header, *filled))
        print_table(head, lines)


def print_published(header: Sequence[str], rows: Sequence[Sequence[str]], last: str) -> None:
    """What ``evaluation.report.published`` found, below a table of measured numbers."""
    if last:
        print("\npublished under this name of data, protocol and metric variant:")
        if rows:
            print_table(header, rows)
        print(last)


def print_described(title: str, described: Mapping[str, Any]) -> None:
    """A title and one line for each property that says something; what is nested deeper is lines of YAML."""
    print(shown(title))
    for name, value in described.items():
        if value in (None, [], {}, ""):
            continue
        if isinstance(value, dict) and any(isinstance(part, dict | list) for part in value.values()):
            import yaml

            print(f"  {name}:")
            for line in yaml.safe_dump(
                value, sort_keys=False, allow_unicode=True, default_flow_style=None
            ).splitlines():
                print(f"    {shown(line)}")
        else:
            print(f"  {name}: {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_text(part) for part in value)
    return shown(str(value))

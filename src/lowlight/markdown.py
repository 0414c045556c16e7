"""Markdown: tables and text in which what users named changes no markup."""

from __future__ import annotations

from collections.abc import Sequence

from lowlight.errors import shown


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; no cell breaks it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text on one line without markup."""
    text = shown(text).replace("\\", "\\\\")
    for mark in "|<`*":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text

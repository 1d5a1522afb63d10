"""Text for a terminal: plain columns, and names on one line whatever their bytes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samcli.cli.terminal import open_console, printable
from samcli.errors import counted
from samcli.types import Author

__all__ = [
    "SHOWN_CLASSES",
    "SHOWN_FAILURES",
    "by_author",
    "counted",
    "duration",
    "print_next",
    "print_rows",
    "printable",
]

SHOWN_FAILURES = 5
"""Failures that are listed one by one."""

SHOWN_CLASSES = 20
"""Classes that are listed one by one."""


def print_rows(rows: Mapping[str, Any]) -> None:
    """Print two plain columns: names and values."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    open_console(soft_wrap=True, highlight=False).print(table)


def by_author(counts: Mapping[Author, int]) -> str:
    """Return `12 machine, 3 corrected, 1 human`; nothing where the machine has made all of them."""
    if not any(count for author, count in counts.items() if author is not Author.MACHINE):
        return ""
    return ", ".join(f"{counts[author]:,} {author.value}" for author in Author if counts.get(author))


def print_next(what: str, *words: str | Path) -> None:
    """Print the command that usually follows, to be copied: `Look at them: samcli preview labels`.

    It goes to stderr: what a command prints on stdout is its result.
    """
    print(f"{what}: {shlex.join(map(str, words))}", file=sys.stderr)


def duration(seconds: float) -> str:
    """Return a duration as `3.4 s`, `5 min 12 s` or `2 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

"""Text for a terminal: plain columns, and names on one line whatever their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samcli.cli.terminal import open_console, printable

__all__ = ["SHOWN_CLASSES", "SHOWN_FAILURES", "counted", "duration", "print_rows", "printable"]

SHOWN_FAILURES = 5
"""Failures that are listed one by one."""

SHOWN_CLASSES = 20
"""Classes that are listed one by one."""


def print_rows(rows: Mapping[str, Any]) -> None:
    """Two plain columns."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    open_console(soft_wrap=True, highlight=False).print(table)


def counted(count: int, thing: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

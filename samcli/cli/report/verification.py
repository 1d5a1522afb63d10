"""Print the result of `samcli verify`: each finding at once, then a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from samcli.cli.report.text import counted, print_next, printable
from samcli.cli.terminal import open_console
from samcli.datasets.verify import KINDS, Finding, Tally, Verification

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES = {"error": "red", "warning": "yellow"}


def finding_printer(*, listed: bool, as_json: bool) -> Callable[[Finding], None]:
    """Return the function that prints a finding: as a line, as a JSON object, or not at all."""
    if not listed:
        return lambda finding: None
    return _print_json_line if as_json else _print_line


def _print_json_line(finding: Finding) -> None:
    print(json.dumps({"severity": finding.severity, **asdict(finding)}))


def _print_line(finding: Finding) -> None:
    where = printable(finding.file) + (f":{finding.line}" if finding.line else "")
    detail = f": {printable(finding.detail)}" if finding.detail else ""
    print(f"{where}: {finding.severity}: {finding.kind}{detail}")


def print_verification(result: Verification, *, as_json: bool) -> None:
    """The table of what was found, what was fixed, and notes."""
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    from rich.markup import escape

    console = open_console(soft_wrap=True, highlight=False)
    if result.tallies:
        open_console(highlight=False).print(_table(result))
    _print_fixed(result, console)
    console.print(_seen(result))
    for note in result.notes:
        console.print(f"[dim]{escape(printable(note))}[/]")
    facts = result.as_dict()
    if result.tallies:
        counts = ", ".join(counted(facts[f"{severity}s"], severity) for severity in _STYLES)
        console.print(f"{counts}. --list shows each of them")
    else:
        console.print("[green]No problems found.[/]")
    _print_next(result)


def _seen(result: Verification) -> str:
    """Return what was read, in numbers: to a trainer, each row that it takes is an object."""
    taken = "all of them" if result.rows_taken == result.rows else f"{result.rows_taken:,} of them"
    same = result.objects == result.rows_taken
    rows = counted(result.rows, "row") + ("" if same else f" of {counted(result.objects, 'object')}")
    found = f"{rows}; the YOLO loader accepts {taken}" if result.rows else "no objects"
    images = f"; {counted(result.image_count, 'image')}" if result.images else ""
    return f"{counted(result.files, 'label file')}, {found}{images}"


def _table(result: Verification) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("kind", no_wrap=True)
    for name in ("count", "files"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("what it is, and the first files", overflow="fold")
    for kind, rule in KINDS.items():
        if (tally := result.tallies.get(kind)) is not None:
            style = _STYLES[rule.severity]
            counts = f"{tally.count}", f"{tally.files}"
            table.add_row(f"[{style}]{rule.severity}[/]", kind, *counts, _told(rule.meaning, tally))
    return table


def _told(meaning: str, tally: Tally) -> str:
    from rich.markup import escape

    more = f" and {tally.files - len(tally.examples)} more" if tally.files > len(tally.examples) else ""
    return f"{escape(meaning)}\n[dim]{escape(', '.join(map(printable, tally.examples)))}{more}[/]"


def _print_fixed(result: Verification, console: Console) -> None:
    if not result.fixed_files:
        return
    what = ", ".join(f"{kind} {count}" for kind, count in result.fixed.items())
    where = f"{counted(result.fixed.total(), 'row')} in {counted(result.fixed_files, 'file')}"
    console.print(f"[green]fixed[/] {where}: {what}")
    console.print(f"backup: {printable(str(result.backup))}", markup=False)


def _print_next(result: Verification) -> None:
    """Print what usually follows: to repair what can be repaired, or to build a data set."""
    if not result.fixed_files and any("--fix" in KINDS[kind].meaning for kind in result.tallies):
        print_next("Repair what is safe to repair", "samcli", "verify", result.labels, "--fix")
    elif not result.exit_status:
        images = result.images or "IMAGES"
        command = ("samcli", "dataset", "DATASET", "--images", images, "--labels", result.labels)
        print_next("Split into train and val", *command)
    else:
        print_next("List each finding", "samcli", "verify", result.labels, "--list")

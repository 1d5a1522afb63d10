"""Print the result of `samcli dataset`: the splits, the distribution of classes, what was left out."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from samcli.cli.report.text import SHOWN_FAILURES, by_author, printable
from samcli.cli.terminal import open_console
from samcli.datasets.build import Dataset
from samcli.types import Author

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN_CLASSES = 30


def print_dataset(result: Dataset, *, as_json: bool) -> None:
    """A table with a row for images, backgrounds and each class, and a column for each split."""
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    from rich.markup import escape

    _print_splits(open_console(highlight=False), result)
    console = open_console(highlight=False, soft_wrap=True)
    if result.unlabelled:
        console.print(f"{result.unlabelled} images have no label file (--unlabelled)")
    for keys, what in (
        (result.incomplete, "images are incomplete: objects in them have no label (--incomplete)"),
        (result.excluded, "images are excluded"),
    ):
        if keys:
            more = ", ..." if len(keys) > SHOWN_FAILURES else ""
            first = ", ".join(printable(key) for key in keys[:SHOWN_FAILURES])
            console.print(f"{len(keys)} {what}: {escape(first)}{more}")
    for note in result.notes:
        console.print(f"[yellow]note[/] {escape(printable(note))}")
    for key, reason in list(result.left_out.items())[:SHOWN_FAILURES]:
        console.print(f"[red]left out[/] {escape(printable(key))}: {escape(printable(reason))}")
    if len(result.left_out) > SHOWN_FAILURES:
        console.print(f"... and {len(result.left_out) - SHOWN_FAILURES} more (--json lists them)")
    data = f"data={result.output}/data.yaml"
    print(f"Train on it: {shlex.join(('yolo', 'segment', 'train', 'model=yolo11n-seg.pt', data))}")


def _print_splits(console: Console, result: Dataset) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for split in result.splits:
        table.add_column(split, justify="right")
    table.add_row("images", *(f"{one.images}" for one in result.splits.values()))
    table.add_row("  without objects", *(f"{one.background}" for one in result.splits.values()))
    table.add_row("objects", *(f"{one.objects.total()}" for one in result.splits.values()))
    if any(one.rows != one.objects.total() for one in result.splits.values()):
        table.add_row("  rows of labels", *(f"{one.rows}" for one in result.splits.values()))
    authors = sum((one.authors for one in result.splits.values()), Counter[Author]())
    for author in Author if by_author(authors) else ():
        if authors[author]:
            table.add_row(f"  {author.value}", *(f"{one.authors[author]}" for one in result.splits.values()))
    if by_author(authors) and any(one.of_unknown_author for one in result.splits.values()):
        table.add_row("  of unknown author", *(f"{one.of_unknown_author}" for one in result.splits.values()))
    totals = {name: sum(one.objects[name] for one in result.splits.values()) for name in result.names.values()}
    shown = sorted(totals, key=lambda name: -totals[name])[:_SHOWN_CLASSES]
    for name in shown:
        table.add_row(f"  {escape(printable(name))}", *(f"{one.objects[name]}" for one in result.splits.values()))
    if len(totals) > len(shown):
        table.add_row(f"  {len(totals) - len(shown)} more classes", *("" for _ in result.splits))
    console.print(table)

"""Show what `samcli bench` measured: the table of models, and where the time goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.bench.comparison import Comparison, ModelFigures, compare
from samcli.bench.rotation import Spread, TaskFigures
from samcli.bench.setup import TASKS
from samcli.bench.stages import STAGES
from samcli.cli.report.text import printable
from samcli.cli.terminal import open_console
from samcli.config import BenchOptions
from samcli.files import check_writable, write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Ticker:
    """Show what is being measured: one changing line on a terminal; nothing elsewhere, or when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = sys.stderr.isatty() and not quiet

    def __call__(self, line: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{printable(line)[:100]}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def run_bench(
    images: Path | None, options: BenchOptions, *, output: Path | None, as_json: bool, quiet: bool
) -> None:
    """Measure the models of the options and print the table.

    Raises:
        UsageError: an unknown task or model, or a model that is not on this machine.
    """
    if output:
        check_writable(output)
    with Ticker(quiet=quiet) as watch:
        result = compare(images, options, watch)
    if output:
        write_atomic(output, json.dumps(result.as_dict(), indent=1).encode() + b"\n")
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        print_comparison(result)


def print_comparison(result: Comparison) -> None:
    """Print the table of models, and the stages as far as they were measured."""
    console = new_console()
    console.print(_models_table(result))
    _print_missing(console, result.models)
    for one in result.models:
        for mode, seconds in one.stages.items():
            console.print()
            print_stages(console, f"{one.model.name}, {mode}", seconds)
    console.print()
    how = (
        f"Median of {result.options.rounds} rounds; encode: the image encoder; box: {result.options.boxes} boxes "
        f"of an encoded image; everything: pixels to all masks, {result.options.points_per_side} points per side."
    )
    print_legend(console, how, result.machine)


def new_console() -> Console:
    """Return a console that colours only what is marked."""
    return open_console(highlight=False)


def new_table(*columns: str) -> Table:
    """Return an unframed table: text on the left, then figures."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _models_table(result: Comparison) -> Table:
    tasks = [task for task in TASKS if any(task in tool.tasks for one in result.models for tool in one.contenders)]
    table = new_table("model", "MB", "M params", *(f"{task} ms" for task in tasks), "peak MB")
    for one in result.models:
        name = one.model.name + (" (random weights)" if one.model.random else "")
        parameters = "-" if one.model.parameters is None else f"{one.model.parameters / 1e6:.1f}"
        for index, tool in enumerate(one.contenders):
            if tool.missing:
                continue
            label = name if not index else f"  {tool.tool}"
            facts = (f"{one.model.megabytes:.1f}", parameters) if not index else ("", "")
            cells = [_milliseconds(tool.tasks.get(task)) for task in tasks]
            table.add_row(label, *facts, *cells, f"{tool.peak_mb:,.0f}" if tool.peak_mb else "-")
    return table


def _milliseconds(figures: TaskFigures | None) -> str:
    if figures is None or not figures.seconds:
        return "-"
    median = Spread.of(figures.seconds).median * 1000
    return f"{median:,.0f}" if median >= 100 else f"{median:.1f}"


def _print_missing(console: Console, models: Sequence[ModelFigures]) -> None:
    from rich.markup import escape

    for one in models:
        for tool in one.contenders:
            if tool.missing:
                console.print(f"[yellow]left out[/] {tool.tool}: {escape(printable(tool.missing))}", soft_wrap=True)


def print_stages(console: Console, title: str, seconds: Mapping[str, float]) -> None:
    """Milliseconds and shares of an image's stages."""
    table = new_table(title, "ms", "share")
    total = sum(seconds.values())
    for stage, value in seconds.items():
        table.add_row(f"{stage} [dim]{STAGES[stage]}[/]", f"{value * 1000:.1f}", f"{value / total:.0%}")
    table.add_row("in all", f"{total * 1000:.1f}", "")
    console.print(table)


def print_legend(console: Console, how: str, machine: Mapping[str, Any]) -> None:
    """Print how the figures were measured, and on which machine."""
    where = (
        f"{machine['device']} in {machine['precision']}, torch {machine['packages'].get('torch')}, "
        f"{machine['cpu']['cores']} cores."
    )
    console.print(f"{how} {where}", style="dim", soft_wrap=True)

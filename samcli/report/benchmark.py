"""What `samcli bench` prints: the table, ratios, stages."""

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
from samcli.config import BenchOptions
from samcli.files import write_atomic
from samcli.plots import check_plot
from samcli.report.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Ticker:
    """What is being measured: one line that changes on a terminal; nothing elsewhere, or when quiet."""

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
    images: Path | None,
    options: BenchOptions,
    *,
    output: Path | None,
    chart: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure what the options ask for and show it.

    Raises:
        UsageError: the options do not go together, or something that they name is not there.
    """
    if chart:
        check_plot(chart, "--chart")
    with Ticker(quiet=quiet) as watch:
        result = compare(images, options, watch)
    if output:
        write_atomic(output, json.dumps(result.as_dict(), indent=1).encode() + b"\n")
    print_comparison(result, as_json=as_json)


def print_comparison(result: Comparison, *, as_json: bool) -> None:
    """The table of models, ratios to the others, and stages, as far as they were measured."""
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    console = _console()
    console.print(_models_table(result))
    _print_missing(console, result.models)
    if any(one.ratios for one in result.models):
        console.print()
        console.print(_ratios_table(result.models))
    for one in result.models:
        for mode, seconds in one.stages.items():
            console.print()
            print_stages(console, f"{one.model.name}, {mode}", seconds)
    console.print()
    console.print(_legend(result), style="dim", soft_wrap=True)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def new_table(*columns: str) -> Table:
    """An unframed table: text on the left, then figures."""
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


def _ratios_table(models: Sequence[ModelFigures]) -> Table:
    table = new_table("times as fast as", "task", "min", "median", "max")
    for one in models:
        for tool, by_task in one.ratios.items():
            for task, spread in by_task.items():
                figures = (f"{value:.2f}" for value in (spread.min, spread.median, spread.max))
                table.add_row(f"{tool}, {one.model.name}", task, *figures)
    return table


def print_stages(console: Console, title: str, seconds: Mapping[str, float]) -> None:
    """Milliseconds and shares of an image's stages."""
    table = new_table(title, "ms", "share")
    total = sum(seconds.values())
    for stage, value in seconds.items():
        table.add_row(f"{stage} [dim]{STAGES[stage]}[/]", f"{value * 1000:.1f}", f"{value / total:.0%}")
    table.add_row("in all", f"{total * 1000:.1f}", "")
    console.print(table)


def _legend(result: Comparison) -> str:
    machine: dict[str, Any] = result.machine
    images = f"{len(result.images)} images" if len(result.images) > 1 else "1 image"
    return (
        f"Median of {result.options.rounds} rounds, {images}, {machine['device']} in {machine['precision']}, "
        f"torch {machine['packages'].get('torch')}, {machine['cpu']['cores']} cores. encode: the image encoder; "
        f"box: {result.options.boxes} boxes of an encoded image; everything: from pixels to all masks, "
        f"{result.options.points_per_side} clicks a side."
    )

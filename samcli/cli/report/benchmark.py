"""What `samcli bench` prints: the table, ratios, stages."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.bench.chart import draw
from samcli.bench.comparison import Comparison, ModelFigures, compare, words
from samcli.bench.growth import AXES, LINEAR, Growth, measure_growth
from samcli.bench.rotation import Spread, TaskFigures, Watch
from samcli.bench.setup import TASKS
from samcli.bench.stages import STAGES
from samcli.bench.targets import TARGETS, Targets, measure_targets
from samcli.cli.report.text import printable
from samcli.cli.terminal import open_console
from samcli.config import BenchOptions
from samcli.errors import UsageError
from samcli.files import check_writable, write_atomic
from samcli.plots import check_plot

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
    if output:
        check_writable(output)
    if options.growth and options.targets:
        raise UsageError("--growth and --targets are two things: give one")
    if options.only and not (options.growth or options.targets):
        raise UsageError("--only chooses among the curves of --growth or the rows of --targets: give one of them")
    with Ticker(quiet=quiet) as watch:
        result = _measure(images, options, watch, functools.partial(_write, output))
    if chart:
        draw(result, chart)
    if as_json:
        print(json.dumps(result.as_dict()))
    elif isinstance(result, Comparison):
        print_comparison(result)
    elif isinstance(result, Growth):
        print_growth(result)
    else:
        print_targets(result)


def _write(output: Path | None, result: Comparison | Growth | Targets) -> None:
    if output:
        write_atomic(output, json.dumps(result.as_dict(), indent=1).encode() + b"\n")


def _measure(
    images: Path | None,
    options: BenchOptions,
    watch: Watch,
    keep: Callable[[Comparison | Growth | Targets], None],
) -> Comparison | Growth | Targets:
    """What the options ask for; `keep` is given it, and of what takes hours each part as well."""
    if options.growth:
        names = words(options.only, AXES, "--only") or list(AXES)
        return measure_growth(names, options, watch, keep)
    if options.targets:
        names = words(options.only, TARGETS, "--only") or list(TARGETS)
        return measure_targets(images, names, options, watch, keep=keep)
    result = compare(images, options, watch)
    keep(result)
    return result


def print_comparison(result: Comparison) -> None:
    """The table of models, ratios to the others, and stages, as far as they were measured."""
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
    how = (
        f"Median of {result.options.rounds} rounds; encode: the image encoder; box: {result.options.boxes} boxes "
        f"of an encoded image; everything: pixels to all masks, {result.options.points_per_side} clicks a side."
    )
    _print_legend(console, how, result.machine)


def print_growth(result: Growth) -> None:
    """Each curve's points, its steepest step, and whether it is linear or better."""
    console = _console()
    for curve in result.curves:
        table = new_table(curve.unit, "seconds", "CPU seconds", "peak MB", "ms each")
        for point in curve.points:
            each = 1000 * point.seconds / point.size
            figures = (f"{point.seconds:.2f}", f"{point.cpu_seconds:.2f}", f"{point.peak_mb:,.0f}", f"{each:.3g}")
            table.add_row(f"{point.size:,g}", *figures)
        console.print(f"{curve.name}: {curve.what}", style="bold")
        console.print(table)
        if len(curve.points) > 1:
            verdict = "[green]linear or better[/]" if curve.is_linear else "[red]steeper than linear[/]"
            console.print(
                f"{verdict}: in the steepest step time goes with size to the {curve.slope:.2f}, memory to the "
                f"{curve.memory_slope:.2f} (at most {LINEAR:g})",
                soft_wrap=True,
            )
        console.print()
    _print_legend(console, "ms each: all seconds by size, start included.", result.machine)


def print_targets(result: Targets) -> None:
    """Each target beside what is reached; for those not met, where the time goes."""
    from rich.markup import escape

    console = _console()
    table = new_table("name", "target", "min", "median", "max", "")
    for row in result.rows:
        target = row.target
        limit = f"{'<=' if target.most else '>='} {target.limit:g} {target.unit}"
        spread = row.spread
        cells = [f"{value:.2f}" for value in (spread.min, spread.median, spread.max)] if spread else ["-"] * 3
        met = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[row.met]
        table.add_row(target.name, limit, *cells, met)
    console.print(table)
    console.print()
    for row in result.rows:
        against = f", against {row.target.against}" if row.target.against else ""
        note = f" [yellow]{escape(row.note)}[/]" if row.note else ""
        console.print(f"{row.target.name}: {row.target.work}{against}{note}", soft_wrap=True)
    for row in result.rows:
        if row.stages:
            console.print()
            print_stages(console, f"not met: {row.target.name}", row.stages)
    console.print()
    _print_legend(console, f"{result.options.rounds} rounds; met by the median.", result.machine)


def _console() -> Console:

    return open_console(highlight=False)


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


def _print_legend(console: Console, how: str, machine: Mapping[str, Any]) -> None:
    where = (
        f"{machine['device']} in {machine['precision']}, torch {machine['packages'].get('torch')}, "
        f"{machine['cpu']['cores']} cores."
    )
    console.print(f"{how} {where}", style="dim", soft_wrap=True)

"""Print the result of `samcli tune`: the trials as tables on stderr, the best options as YAML on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from samcli.cli.report.text import SHOWN_FAILURES, printable
from samcli.cli.terminal import open_console
from samcli.evaluation.tuning import TRIED, WHOLE, Trial, Tuning

if TYPE_CHECKING:
    from rich.console import Console


def print_tuning(result: Tuning, *, as_json: bool, quiet: bool) -> None:
    """stdout gets the YAML alone, so that it can be redirected into a file."""
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    from rich.markup import escape

    wide = open_console(highlight=False, soft_wrap=True, stderr=True)
    if not quiet:
        console = open_console(highlight=False, stderr=True)
        _print_trials(console, result)
        _print_polygons(console, result)
        wide.print(f"[dim]{_legend(result)}[/]")
        for note in result.notes:
            wide.print(f"[yellow]note[/] {escape(printable(note))}")
    for key, reason in list(result.left_out.items())[:SHOWN_FAILURES]:
        wide.print(f"[red]left out[/] {escape(printable(key))}: {escape(printable(reason))}")
    if len(result.left_out) > SHOWN_FAILURES:
        wide.print(f"... and {len(result.left_out) - SHOWN_FAILURES} more (--json lists them)")
    print(result.yaml(), end="")


def _legend(result: Tuning) -> str:
    kind = {"mask": "masks", "box": "boxes"}[result.kind]
    return (
        f"{result.images} images, {result.objects} objects, {len(result.trials)} combinations; {kind} evaluated. "
        "Each row: one value changed, the rest as in the best (*). IoU: of pairs matched at IoU 0.5"
    )


def _rows(result: Tuning) -> Iterator[tuple[str, Trial, bool]]:
    """For each option the trials in which it alone differs from the best."""
    best = result.best.values
    for name in TRIED:
        alike = [
            t
            for t in result.trials
            if all(t.values.get(other) == best.get(other) for other in TRIED if other != name)
        ]
        if len(alike) > 1:
            for trial in sorted(alike, key=lambda t: _order(t.values.get(name))):
                yield f"{name.replace('_', '-')} {_shown(trial.values.get(name))}", trial, trial is result.best


def _print_trials(console: Console, result: Tuning) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for head in (result.objective, "IoU", "P", "R", "F1"):
        table.add_column(head, justify="right")
    for name, trial, best in [*_rows(result), ("best", result.best, False)]:
        first = next(iter(trial.scores.at.values()))
        figures = (trial.objective, trial.scores.mean_iou, first.precision, first.recall, first.f1)
        table.add_row(f"{name}{' *' if best else ''}", *map(_figure, figures))
    if (defaults := result.with_defaults) is not None:
        first = next(iter(defaults.scores.at.values()))
        figures = (defaults.objective, defaults.scores.mean_iou, first.precision, first.recall, first.f1)
        table.add_row("defaults", *map(_figure, figures))
    console.print(table)
    console.print()


def _print_polygons(console: Console, result: Tuning) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for head in (result.objective, "points", "IoU with mask"):
        table.add_column(head, justify="right")
    for trial in result.polygons:
        chosen = trial.min_polygon_iou == result.recipe["min_polygon_iou"]
        name = f"min-polygon-iou {trial.min_polygon_iou:g}{' *' if chosen else ''}"
        table.add_row(name, _figure(trial.objective), f"{trial.points:.1f}", _figure(trial.iou))
    console.print(table)
    console.print()


def _order(value: float | str | None) -> float:
    """Return where a value comes among those of its option: images as a whole, then `auto`, then numbers."""
    return -2 if value is None else -1 if value == "auto" else float(value)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or WHOLE
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

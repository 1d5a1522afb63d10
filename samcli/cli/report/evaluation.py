"""Print the result of `samcli eval`: metrics of masks and boxes, by class and size, and the worst images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from samcli.cli.report.text import SHOWN_CLASSES, SHOWN_FAILURES, by_author, printable
from samcli.cli.terminal import open_console
from samcli.errors import counted
from samcli.evaluation.evaluate import AtThreshold, Evaluation, KindScores, Scores
from samcli.evaluation.metrics import DILATION_RATIO

if TYPE_CHECKING:
    from rich.console import Console

_TITLES = {"mask": "Masks", "box": "Boxes"}
_SIDES = {"predicted": "predictions", "truth": "ground truth"}

_METRICS: dict[str, Callable[[Scores], float | None]] = {
    "IoU": lambda one: one.mean_iou,
    "bIoU": lambda one: one.boundary_iou,
    "P": lambda one: _first(one).precision,
    "R": lambda one: _first(one).recall,
    "F1": lambda one: _first(one).f1,
    "F1@75": lambda one: list(one.at.values())[1].f1,
    "AP": lambda one: one.ap,
    "AP50": lambda one: one.ap50,
    "AP75": lambda one: one.ap75,
}
"""Columns of the table of metrics."""

_LEAST_IMPORTANT = ("AP75", "bIoU", "F1@75", "AP50", "F1", "R", "P", "AP", "IoU")
"""The order in which columns are left out on a narrow terminal."""


def print_evaluation(result: Evaluation, *, worst_count: int, as_json: bool) -> None:
    """All tables; of more classes than fit, those with the most objects."""
    if as_json:
        print(json.dumps(result.as_dict(worst_count)))
        return
    from rich.markup import escape

    console = open_console(highlight=False)
    for kind, scores in result.kinds.items():
        console.print(f"[bold]{_TITLES[kind]}[/]")
        _print_scores(console, scores)
    _print_worst(console, result.kinds[result.main], worst_count)
    wide = open_console(highlight=False, soft_wrap=True)
    for line in _legend(result):
        wide.print(f"[dim]{line}[/]")
    for side, counts in result.authors.items():
        if authors := by_author(counts):
            wide.print(f"[dim]objects of the {_SIDES[side]} by author: {authors}[/]")
    for warning in result.warnings:
        wide.print(f"[bold red]warning[/] {escape(printable(warning))}")
    for note in result.notes:
        wide.print(f"[yellow]note[/] {escape(printable(note))}")
    for key, reason in list(result.left_out.items())[:SHOWN_FAILURES]:
        wide.print(f"[red]left out[/] {escape(printable(key))}: {escape(printable(reason))}")
    if len(result.left_out) > SHOWN_FAILURES:
        wide.print(f"... and {len(result.left_out) - SHOWN_FAILURES} more (--json lists them)")


def _legend(result: Evaluation) -> list[str]:
    """Return how objects were matched and what the columns mean, in lines that fit 80 columns."""
    by = {"name": "matched by name", "id": "matched by id", "nothing": "ignored (--class-agnostic)"}
    first = {"score": "by score, as in COCO", "iou": "by highest IoU"}[result.matched_by]
    boundary = f"boundary IoU ({100 * DILATION_RATIO:g} %)"
    return [
        f"{counted(len(result.images), 'image')}; classes {by[result.classes_matched_by]}; objects matched {first}",
        f"GT: ground truth. IoU: mean over matched pairs. bIoU: {boundary}",
        "Areas in pixels: small below 32 x 32, medium below 96 x 96",
        "Pairs, P, R, F1: at IoU 0.5. F1@75: at IoU 0.75. AP: COCO's, IoU 0.50 to 0.95",
    ]


def _print_scores(console: Console, scores: KindScores) -> None:
    by_objects = sorted(scores.by_class.items(), key=lambda item: -item[1].truth)
    rows = [("all", scores.overall), *((f"  {size}", one) for size, one in scores.by_size.items())]
    rows += [(printable(name), one) for name, one in by_objects[:SHOWN_CLASSES]]
    _print_table(console, rows, boundary=scores.overall.boundary_iou is not None)
    if len(by_objects) > SHOWN_CLASSES:
        console.print(f"{len(by_objects) - SHOWN_CLASSES} more classes (--json lists them)")
    console.print()


def _print_table(console: Console, rows: Iterable[tuple[str, Scores]], *, boundary: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # tight: it fits 80 columns
    table.add_column("", no_wrap=True, overflow="ellipsis", min_width=13)
    wanted = [head for head in _METRICS if boundary or head != "bIoU"]
    least = sorted(wanted, key=_LEAST_IMPORTANT.index)[: max(0, len(wanted) - (console.width - 24) // 6)]
    heads = [head for head in wanted if head not in least]
    for head in ("GT", "pred", *heads):
        table.add_column(head, justify="right", no_wrap=True)
    for name, one in rows:
        figures = (_figure(_METRICS[head](one)) for head in heads)
        table.add_row(escape(name), f"{one.truth}", f"{one.predicted}", *figures)
    console.print(table)
    if least:
        console.print(f"[dim]not shown at this width: {', '.join(least)} (--json)[/]")


def _first(one: Scores) -> AtThreshold:
    return next(iter(one.at.values()))


def _print_worst(console: Console, scores: KindScores, count: int) -> None:
    worst = scores.worst(count)
    if not worst:
        return
    console.print("[bold]Worst images[/]")
    _print_images(console, worst, scores.by_image)
    console.print()


def _print_images(console: Console, keys: Sequence[str], scores: Mapping[str, Scores]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for head in ("quality", "IoU", "GT", "missed", "wrong"):
        table.add_column(head, justify="right", no_wrap=True)
    for key in keys:
        one = scores[key]
        first = _first(one)
        counts = (one.truth, first.false_negatives, first.false_positives)
        table.add_row(escape(printable(key)), _figure(one.quality), _figure(one.mean_iou), *map(str, counts))
    console.print(table)


def _figure(value: float | None) -> str:
    """Return a metric with three digits: `0.123`."""
    return "-" if value is None else f"{value:.3f}"

"""Print the result of `samcli eval`: metrics of masks and boxes, by class and size, and the worst images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from samcli.cli.report.text import SHOWN_CLASSES, SHOWN_FAILURES, by_author, printable
from samcli.cli.terminal import open_console
from samcli.evaluation.evaluate import Evaluation, KindScores, Scores
from samcli.evaluation.metrics import DILATION_RATIO

if TYPE_CHECKING:
    from rich.console import Console

_TITLES = {"mask": "Masks", "box": "Boxes"}
_SIDES = {"predicted": "predictions", "truth": "truth"}


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
    wide.print(f"[dim]{_legend(result)}[/]")
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


def _legend(result: Evaluation) -> str:
    by = {"name": "name", "id": "id", "nothing": "nothing: --class-agnostic"}[result.classes_matched_by]
    first = {"score": "by score, as COCO does", "iou": "best IoU first"}[result.matched_by]
    return (
        f"{len(result.images)} images; classes matched by {by}; objects matched {first}. IoU, bIoU: of pairs "
        f"matched at IoU .5 (bIoU: boundary IoU, {DILATION_RATIO:.0%} of the diagonal). P, R, F1: at IoU .5. "
        "F1@75: at .75. AP: COCO's, over IoU .5 to .95. Areas in pixels: small below 32 x 32, medium below 96 x 96"
    )


def _print_scores(console: Console, scores: KindScores) -> None:
    by_objects = sorted(scores.by_class.items(), key=lambda item: -item[1].truth)
    rows = [("all", scores.overall), *((f"  {size}", one) for size, one in scores.by_size.items())]
    rows += [(printable(name), one) for name, one in by_objects[:SHOWN_CLASSES]]
    _print_table(console, rows, boundary=scores.overall.boundary_iou is not None)
    if len(by_objects) > SHOWN_CLASSES:
        console.print(f"{len(by_objects) - SHOWN_CLASSES} more classes (--json has them all)")
    console.print()


def _print_table(console: Console, rows: Iterable[tuple[str, Scores]], *, boundary: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # tight: it fits 80 columns
    table.add_column("", no_wrap=True, overflow="ellipsis", min_width=14)
    heads = ["truth", "found", "IoU", "bIoU", "P", "R", "F1", "F1@75", "AP", "AP50", "AP75"]
    if not boundary:
        heads.remove("bIoU")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, one in rows:
        first, second = one.at.values()
        figures = [one.mean_iou, *([one.boundary_iou] if boundary else []), first.precision, first.recall, first.f1]
        figures += [second.f1, one.ap, one.ap50, one.ap75]
        table.add_row(escape(name), f"{one.truth}", f"{one.predicted}", *map(_figure, figures))
    console.print(table)


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
    for head in ("quality", "IoU", "truth", "missed", "wrong"):
        table.add_column(head, justify="right", no_wrap=True)
    for key in keys:
        one = scores[key]
        first = next(iter(one.at.values()))
        counts = (one.truth, first.false_negatives, first.false_positives)
        table.add_row(escape(printable(key)), _figure(one.quality), _figure(one.mean_iou), *map(str, counts))
    console.print(table)


def _figure(value: float | None) -> str:
    """Return a figure with three digits: `.123`, or `1.00`."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text[:-1]

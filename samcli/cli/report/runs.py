"""Show what a run did, how far it is, and what it would do."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.cli.report.text import (
    SHOWN_CLASSES,
    SHOWN_FAILURES,
    by_author,
    counted,
    duration,
    print_next,
    print_rows,
    printable,
)
from samcli.cli.terminal import open_console
from samcli.jobs.base import Job
from samcli.jobs.inputs import Inputs
from samcli.jobs.status import Reasons
from samcli.jobs.summary import Summary
from samcli.output.manifest import Product
from samcli.output.remote import RemoteFolder
from samcli.types import Withheld

if TYPE_CHECKING:
    from rich.table import Table


def print_summary(summary: Summary) -> None:
    """The table at the end of a run, the failures, and what to type next."""
    from rich.markup import escape

    console = open_console(soft_wrap=True)
    if summary.skipped == summary.total:
        what = "The image was" if summary.total == 1 else f"All {summary.total} images were"
        console.print(f"{what} done before: nothing to do.", highlight=False)
    console.print(_summary_table(summary))
    if summary.stages:  # a line of its own: in the table it would be broken in two
        stages = ", ".join(f"{name} {duration(value)}" for name, value in summary.stages.items())
        console.print(f"[dim]time per stage (sum over threads): {stages}[/]", highlight=False)
    if summary.precision:
        threads = f", {counted(summary.threads, 'thread')}" if summary.threads else ""
        console.print(f"[dim]precision: {summary.precision}{threads}[/]", highlight=False)
    for key, reason in list(summary.failures.items())[:SHOWN_FAILURES]:
        console.print(f"[red]failed[/] {escape(printable(key))}: {escape(printable(reason))}", highlight=False)
    if len(summary.failures) > SHOWN_FAILURES:
        more = len(summary.failures) - SHOWN_FAILURES
        console.print(
            f"... and {more} more: samcli status {escape(str(summary.output))} --failures", highlight=False
        )
    if summary.failures:
        console.print(f"[dim]{summary.remedy}[/]", highlight=False)
    if summary.stopped_by:
        console.print(
            f"Stopped by {summary.stopped_by}. Run the same command (without --overwrite) to continue.",
            highlight=False,
        )
    if summary.done or summary.skipped:
        what = summary.product.value.capitalize()
        console.print(f"{what} are in [bold]{escape(str(summary.output))}[/]", highlight=False)
    where = escape(shlex.quote(str(summary.output)))
    if summary.instances:
        console.print(f"Look at them:   samcli preview {where}", highlight=False)
        if "yolo" in summary.formats:
            console.print(f"Check them:     samcli verify {where}", highlight=False)
        if summary.dropped:
            console.print(f"Why dropped:    samcli status {where} --reasons", highlight=False)
    elif summary.product is Product.EMBEDDINGS and (summary.done or summary.skipped):
        console.print(f"Use them:       samcli everything IMAGES --embeddings {where}", highlight=False)
    if summary.low_polygons:
        console.print(f"[yellow]low polygon IoU[/] {escape(_low_polygons(summary))}", highlight=False)
    for note in summary.notes:
        console.print(f"[dim]{escape(note)}[/]", highlight=False)
    if summary.withheld:  # a trainer takes images without labels for background
        console.print(f"Train without them: {_data_set_command(summary)}", highlight=False)
    elif summary.train_command and not summary.remaining:
        console.print(f"Train on them:  {escape(summary.train_command)}", highlight=False)


def _data_set_command(summary: Summary) -> str:
    from rich.markup import escape

    return escape(f"samcli dataset DATASET --images IMAGES --labels {shlex.quote(str(summary.output))}")


def _rows(summary: Summary) -> str:
    """`in 93 rows`; nothing where there is one row for each instance."""
    return f"in {sum(summary.instances.values()) + summary.further_rows} rows" if summary.further_rows else ""


def _low_polygons(summary: Summary) -> str:
    """Return the number of objects with a low polygon IoU, and the first image."""
    counts = summary.low_polygons
    objects, images = counted(sum(counts.values()), "object"), counted(len(counts), "image")
    first = printable(next(iter(counts)))
    return f"{objects} in {images}, the first {first} (verify --list)"


def _withheld(summary: Summary) -> str:
    """`3 incomplete, 1 excluded`."""
    counts = ((len(summary.withheld_as(why)), why.value) for why in Withheld)
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def by_suffix(counts: Mapping[str, int]) -> str:
    """`3 .txt, 1 .md`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    more = [f"{sum(count for _, count in ordered[SHOWN_CLASSES:])} others"] if len(ordered) > SHOWN_CLASSES else []
    return ", ".join([f"{count} {printable(suffix)}" for suffix, count in ordered[:SHOWN_CLASSES]] + more)


def _summary_table(summary: Summary) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    speed = f" ({summary.done / summary.seconds:.2f} img/s)" if summary.seconds and summary.done else ""
    table.add_row("processed", f"{summary.done:,}", f"{'image' if summary.done == 1 else 'images'}{speed}")
    table.add_row("skipped", f"{summary.skipped:,}", "(already done)")
    if summary.kept:
        table.add_row("left alone", f"{summary.kept:,}", "(had labels before the run)")
    if summary.product is Product.LABELS:
        table.add_row("no objects", f"{summary.empty:,}", "(empty label files)")
    table.add_row("failed", f"{len(summary.failures):,}", "")
    if summary.remaining:
        table.add_row("not started", f"{summary.remaining:,}", "")
    if summary.passed_over:
        table.add_row(
            "ignored",
            f"{sum(summary.passed_over.values()):,}",
            f"files that are not images: {by_suffix(summary.passed_over)}",
        )
    if summary.product is Product.LABELS:
        table.add_row("objects", f"{sum(summary.instances.values()):,}", _rows(summary))
        for author, count in summary.authors.items() if by_author(summary.authors) else ():
            table.add_row(f"  {author.value}", f"{count:,}", "")
    if summary.withheld:
        table.add_row("kept aside", f"{len(summary.withheld)}", f"{_withheld(summary)}: hidden from trainers")
    if summary.dropped:
        table.add_row("dropped", f"{summary.dropped:,}", "")
    common = summary.instances.most_common(SHOWN_CLASSES)
    for class_id, count in common:
        table.add_row(f"  {summary.names.get(class_id, class_id)}", f"{count:,}", "")
    if len(summary.instances) > len(common):
        table.add_row(f"  {len(summary.instances) - len(common)} more classes", "", "")
    table.add_row("time", duration(summary.seconds), "")
    return table


def print_status(
    summary: Summary, *, failures: bool, withheld: bool, reasons: Reasons | None, as_json: bool
) -> None:
    """Print the progress of a run, or the failed images, or the reasons, grouped."""
    if as_json:
        print(json.dumps({**summary.as_dict(), **({"reasons": asdict(reasons)} if reasons else {})}))
    elif reasons:
        _print_reasons(reasons)
    elif withheld:
        for key, why in summary.withheld.items():
            print(f"{printable(key)}: {why.value}")
    elif failures:
        for key, reason in summary.failures.items():
            print(f"{printable(key)}: {printable(reason)}")
    else:
        known = summary.done + len(summary.failures)
        share = f"{known / summary.total:.0%}".replace("%", " %") if summary.total else ""
        of_labels = summary.product is Product.LABELS
        rows: dict[str, Any] = {"images": f"{known:,} of {summary.total:,} ({share})"}
        if summary.unasked:
            rows["without prompts"] = f"{summary.unasked} more images"
        if summary.kept:
            rows["left alone"] = f"{summary.kept} more, which had labels before the run"
        rows["done"] = f"{summary.done:,}" + (f", {summary.empty:,} of them without objects" if of_labels else "")
        rows["failed"] = f"{len(summary.failures)}" + (" (--failures lists them)" if summary.failures else "")
        if of_labels:
            in_rows = f" {_rows(summary)}" if _rows(summary) else ""
            rows["objects"] = f"{sum(summary.instances.values()):,}{in_rows}, {summary.dropped:,} dropped"
            if authors := by_author(summary.authors):
                rows["by author"] = authors
        if summary.low_polygons:
            rows["low polygon IoU"] = _low_polygons(summary)
        if summary.withheld:
            rows["kept aside"] = f"{_withheld(summary)} (--incomplete lists them)"
        rows["labels" if of_labels else "embeddings"] = summary.output
        print_rows(rows)
        _print_next(summary)


def _print_next(summary: Summary) -> None:
    """Print what usually follows a look at the progress of a run."""
    if summary.failures:
        print_next("List failed images", "samcli", "status", summary.output, "--failures")
    elif summary.product is Product.LABELS and summary.instances:
        print_next("Look at the labels", "samcli", "preview", summary.output)


def _print_reasons(reasons: Reasons) -> None:
    """Counts, what each group has in common, and the first images of it."""
    for title, found, unit in (
        ("failed", reasons.failed, "images"),
        ("dropped", reasons.dropped, "objects"),
    ):
        print(f"{title}: {sum(reason.count for reason in found)} {unit}")
        for reason in found:
            print(f"{reason.count:7}  {printable(reason.what)}")
            more = (
                f" and {reason.images - len(reason.examples)} more" if reason.images > len(reason.examples) else ""
            )
            print(f"         in {', '.join(map(printable, reason.examples))}{more}")


def show_dry_run(job: Job[Any], data: Path | Inputs, output: str | Path | None, *, as_json: bool) -> None:
    """Show what a run would do and any conflicts; write nothing."""
    from samcli.jobs.storing import opened_output

    with opened_output(job, output, dry=True) as place:
        _show_dry_run(job, data, place, as_json=as_json)


def _show_dry_run(job: Job[Any], data: Path | Inputs, output: Path | RemoteFolder | None, *, as_json: bool) -> None:
    from samcli.jobs.plan import find_scope, make_plan, survey
    from samcli.jobs.run import check_models, present_models
    from samcli.output.locks import check_output

    models, missing = present_models(job)
    scope = find_scope(data, output, job)
    check_models(scope.layout, scope.job)
    plan = make_plan(scope, models, dry=True)
    if plan.todo or plan.changed:
        check_output(plan.layout)
    seen = survey(
        plan.todo if plan.layout.source is None else (), job.options
    )  # headers would be fetched one by one
    facts: dict[str, Any] = {
        "input": plan.layout.images,
        "output": str(plan.layout.place),
        "images": plan.total,
        "passed_over": dict(plan.passed_over),
        "to_do": len(plan.todo) - len(seen.unreadable),
        "done_already": len(plan.done),
        **({"left_alone": plan.manifest.kept} if plan.manifest.kept else {}),
        "failed_before": {key: entry.error for key, entry in plan.failed.items()},
        "label_name_taken": {key: plan.labels.collisions[key] for key in plan.collisions},
        "unreadable": seen.unreadable,
        "rotated": list(seen.rotated),
        "more_than_8_bits": list(seen.wide),
        "alpha_dropped": list(seen.alpha),
        "to_download": missing,
        **({"prompts_without_image": dict(lost)} if (lost := scope.job.lost()) else {}),
    }
    if as_json:
        print(json.dumps(facts))
        return
    shown = {**facts, "passed_over": by_suffix(plan.passed_over) or "0"}
    details = {name: value for name, value in shown.items() if isinstance(value, dict) and value}
    print_rows({_title(name): _short(value) for name, value in shown.items()})
    for name, reasons in details.items():
        for key, reason in list(reasons.items())[:SHOWN_FAILURES]:
            print(f"{_title(name)}: {printable(key)}: {printable(reason)}")
    if plan.todo:
        print("Run it: the same command without --dry-run", file=sys.stderr)


def _title(name: str) -> str:
    """Return what a fact of a dry run is called in its table."""
    return {
        "label_name_taken": "label-name collisions",
        "passed_over": "ignored files",
        "alpha_dropped": "with alpha channel (ignored)",
        "rotated": "rotated by EXIF",
        "more_than_8_bits": "more than 8 bits per channel",
    }.get(name, name.replace("_", " "))


def _short(value: Any) -> str:
    """Return a count, and the first few of a list."""
    if isinstance(value, dict):
        return str(len(value))
    if isinstance(value, list):
        first = ", ".join(printable(str(item)) for item in value[:3])
        return f"{len(value)}" + (f" ({first}{', ...' if len(value) > 3 else ''})" if value else "")
    return str(value)

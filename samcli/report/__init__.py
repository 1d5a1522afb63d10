"""What a person sees: a progress bar, a summary, a dry run's table. Results go to stdout, progress to stderr."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from samcli.convert import Conversion
from samcli.job import Job
from samcli.models import KnownModel, ModelFacts, Verdict
from samcli.plan import Plan
from samcli.report.text import print_rows, printable
from samcli.status import Reasons
from samcli.summary import Summary
from samcli.types import Outcome, Status

if TYPE_CHECKING:
    from rich.table import Table
    from tqdm import tqdm

    from samcli.onnx_export import ExportedFile
    from samcli.review import AppliedReview

_LINE_EVERY = 10.0
"""Seconds between lines of progress where there is no terminal."""

_SHOWN_FAILURES = 5
_SHOWN_CLASSES = 20


class Progress:
    """One bar on a terminal; a line every so often elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._bar: tqdm[Any] | None = None
        self._start = self._last = 0.0
        self._lock = threading.Lock()

    def start(self, plan: Plan) -> Callable[[Outcome], None]:
        """Begin to count the images of a plan."""
        self._total = len(plan.todo)
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty() and not self._quiet:
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, unit="img", dynamic_ncols=True, smoothing=0.1)
        return self.update

    def update(self, outcome: Outcome) -> None:
        """Show one more outcome, whichever thread it comes from."""
        with self._lock:
            self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        self._counts["images"] += 1
        self._counts["instances"] += outcome.instance_count
        self._counts["failed"] += outcome.status is Status.FAILED
        if self._bar is not None:
            self._bar.set_postfix(instances=self._counts["instances"], failed=self._counts["failed"], refresh=False)
            self._bar.update()
        elif not self._quiet and time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        count, seconds = self._counts["images"], time.monotonic() - self._start
        left = (self._total - count) * seconds / count
        return (
            f"{count}/{self._total} images, {count / seconds:.2f} a second, {self._counts['instances']} instances, "
            f"{self._counts['failed']} failed, {_duration(left)} left"
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


class ImageCounter:
    """Images done where nobody knows how many there are: one line on a terminal, else one every so often."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def update(self, count: int) -> None:
        """Show how many are done."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(unit="img", dynamic_ncols=True)
            self._bar.update(count - self._bar.n)
        elif time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            print(f"{count} images", file=sys.stderr, flush=True)

    def __enter__(self) -> ImageCounter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def print_conversion(conversion: Conversion, *, as_json: bool) -> None:
    """What was converted, what a format could not hold, and what failed."""
    if as_json:
        print(json.dumps({**asdict(conversion), "output": str(conversion.output)}))
        return
    to = " and ".join(conversion.formats)
    print(f"{conversion.images} images, {conversion.instances} objects: {conversion.source_format} -> {to}")
    for note in conversion.notes:
        print(printable(note))
    for key, reason in list(conversion.failures.items())[:_SHOWN_FAILURES]:
        print(f"failed {printable(key)}: {printable(reason)}")
    if (more := len(conversion.failures) - _SHOWN_FAILURES) > 0:
        print(f"... and {more} more failed (--json lists all)")
    done = f"would write {conversion.files} files to" if conversion.dry_run else "written to"
    print(printable(f"{done} {conversion.output}"))


def print_summary(summary: Summary) -> None:
    """The table at the end of a run, the failures, and what to type next."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    if summary.skipped == summary.total:
        what = "The image was" if summary.total == 1 else f"All {summary.total} images were"
        console.print(f"{what} done before; nothing was left to do.", highlight=False)
    console.print(_summary_table(summary))
    if summary.stages:  # a line of its own: in the table it would be broken in two
        stages = ", ".join(f"{name} {_duration(value)}" for name, value in summary.stages.items())
        console.print(f"[dim]time at work: {stages}[/]", highlight=False)
    for key, reason in list(summary.failures.items())[:_SHOWN_FAILURES]:
        console.print(f"[red]failed[/] {escape(printable(key))}: {escape(printable(reason))}", highlight=False)
    if len(summary.failures) > _SHOWN_FAILURES:
        more = len(summary.failures) - _SHOWN_FAILURES
        console.print(
            f"... and {more} more: samcli status {escape(str(summary.output))} --failures", highlight=False
        )
    if summary.failures:
        console.print(f"[dim]{summary.remedy}[/]", highlight=False)
    if summary.stopped_by:
        console.print(
            f"Stopped by {summary.stopped_by}. The same command (without --overwrite) goes on from here.",
            highlight=False,
        )
    if summary.done or summary.skipped:
        what = "Embeddings" if summary.command == "encode" else "Labels"
        console.print(f"{what} are in [bold]{escape(str(summary.output))}[/]", highlight=False)
    if summary.instances:
        console.print(f"Look at them:   samcli preview {escape(str(summary.output))}", highlight=False)
    for note in summary.notes:
        console.print(f"[dim]{escape(note)}[/]", highlight=False)
    if summary.train_command and not summary.remaining:
        console.print(f"Train on them:  {escape(summary.train_command)}", highlight=False)


def _summary_table(summary: Summary) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    speed = f"{summary.done / summary.seconds:.2f} a second" if summary.seconds and summary.done else ""
    table.add_row("images done", f"{summary.done}", speed)
    table.add_row("already done", f"{summary.skipped}", "skipped")
    if summary.command != "encode":
        table.add_row("without objects", f"{summary.empty}", "empty label files")
    table.add_row("failed", f"{len(summary.failures)}", "")
    if summary.remaining:
        table.add_row("not begun", f"{summary.remaining}", "")
    if summary.command != "encode":
        table.add_row("instances", f"{sum(summary.instances.values())}", "")
    if summary.dropped:
        table.add_row(
            "dropped", f"{summary.dropped}", f"why: samcli status {shlex.quote(str(summary.output))} --reasons"
        )
    common = summary.instances.most_common(_SHOWN_CLASSES)
    for class_id, count in common:
        table.add_row(f"  {summary.names.get(class_id, class_id)}", f"{count}", "")
    if len(summary.instances) > len(common):
        table.add_row(f"  {len(summary.instances) - len(common)} more classes", "", "")
    table.add_row("time", _duration(summary.seconds), "")
    return table


_GROUPS = {
    "sam": "SAM: masks from boxes, points or everything (--sam)",
    "fastsam": "FastSAM: a detector of everything, in one class (--sam, --det)",
    "det": "Detectors (--det)",
}


_Column = tuple[int, int, Literal["left", "right"], Callable[[KnownModel], str]]
_COLUMNS: dict[str, _Column] = {
    "MB": (0, 5, "right", lambda model: _number(model.megabytes)),
    "M params": (48, 8, "right", lambda model: _number(model.parameters)),
    "here": (38, 4, "left", lambda model: "here" if model.here else ""),
    "licence": (67, 17, "left", lambda model: model.licence),
    "from": (80, 11, "left", lambda model: model.publisher),
}
"""Of the list of models: the narrowest terminal that has room for it, its width, its side, its text."""


def print_models(models: Sequence[KnownModel], *, as_json: bool) -> None:
    """The known checkpoints in groups; on a narrow terminal without the columns that matter least."""
    if as_json:
        print(json.dumps([asdict(model) for model in models]))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    shown = {name: column for name, column in _COLUMNS.items() if console.width >= column[0]}
    for role, title in _GROUPS.items():
        console.print(title, style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("name", no_wrap=True, min_width=max(len(model.name) for model in models))
        for name, (_, width, justify, _) in shown.items():
            table.add_column(name, no_wrap=True, justify=justify, min_width=width)
        for model in models:
            if model.role == role:
                style = "green" if model.here else ""
                table.add_row(model.name, *(show(model) for *_, show in shown.values()), style=style)
        console.print(table)
        console.print()
    console.print("M params: millions, of the whole file. -: not known for sure.", soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def print_verdicts(verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    """What became of each checked file."""
    if as_json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
        return
    for verdict in verdicts:
        print(f"{verdict.state:<8}{verdict.name}: {printable(verdict.path)} ({verdict.reason})")


def print_preview(path: Path, *, as_json: bool) -> None:
    """Where the sheet or the page lies."""
    print(json.dumps({"file": str(path)}) if as_json else path)


def print_paths(paths: Sequence[Path], *, as_json: bool) -> None:
    """Files, one a line."""
    if as_json:
        print(json.dumps([str(path) for path in paths]))
        return
    for path in paths:
        print(path)


def print_facts(models: Sequence[ModelFacts], *, as_json: bool) -> None:
    """What checkpoints hold."""
    if as_json:
        print(json.dumps([asdict(model) for model in models]))
        return
    for index, model in enumerate(models):
        if index:
            print()
        rows = _fact_rows(model)
        width = max(map(len, rows))
        for name, value in rows.items():
            print(f"{name:<{width}}  {value}")  # no table: it would cut a hash short
        for note in model.notes:
            print(f"{'note':<{width}}  {printable(note)}")


def _fact_rows(model: ModelFacts) -> dict[str, str]:
    files = f" in {model.files} files" if model.files > 1 else ""
    classes = ", ".join(printable(name) for name in list(model.classes.values())[:_SHOWN_CLASSES])
    more = ", ..." if len(model.classes) > _SHOWN_CLASSES else ""
    rows = {
        "file": printable(model.path),
        "known as": model.known_as or "no known checkpoint",
        "family": printable(model.family) if model.family else "not known",
        "image size": f"{model.image_size} px" if model.image_size else None,
        "parameters": f"{model.parameters:,}" if model.parameters else None,
        "tensors": f"{model.tensors:,}" if model.tensors else None,
        "dtype": ", ".join(f"{count} {name}" for name, count in model.dtypes.items()),
        "classes": f"{len(model.classes)}: {classes}{more}" if model.classes else None,
        **{key: printable(str(value)) for key, value in model.details.items()},
        "size": f"{model.bytes / 1e6:,.2f} MB ({model.bytes:,} bytes{files})",
        "SHA-256": model.sha256,
    }
    return {key: value for key, value in rows.items() if value}


class DownloadProgress:
    """A bar on a terminal; a line every so often elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def start(self, name: str) -> Callable[[int, int | None], None]:
        """Begin to show the download of one file."""
        self.close()

        def watch(done: int, total: int | None) -> None:
            if self._quiet:
                return
            if sys.stderr.isatty():
                if self._bar is None:
                    from tqdm import tqdm

                    self._bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, dynamic_ncols=True)
                self._bar.update(done - self._bar.n)
            elif time.monotonic() - self._last >= _LINE_EVERY:
                self._last = time.monotonic()
                of = f" of {total / 1e6:.1f}" if total else ""
                print(f"{name}: {done / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

        return watch

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> DownloadProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def print_status(summary: Summary, *, failures: bool, reasons: Reasons | None, as_json: bool) -> None:
    """How far a run is; or why images failed; or the reasons of a run, grouped."""
    if as_json:
        print(json.dumps({**summary.as_dict(), **({"reasons": asdict(reasons)} if reasons else {})}))
    elif reasons:
        _print_reasons(reasons)
    elif failures:
        for key, reason in summary.failures.items():
            print(f"{printable(key)}: {printable(reason)}")
    else:
        known = summary.done + len(summary.failures)
        share = f"{known / summary.total:.0%}" if summary.total else ""
        of_labels = summary.command != "encode"
        rows: dict[str, Any] = {"images": f"{known} of {summary.total} {share}"}
        if summary.unasked:
            rows["not asked for"] = f"{summary.unasked} more, about which the prompts say nothing"
        rows["done"] = f"{summary.done}" + (f", {summary.empty} of them without objects" if of_labels else "")
        rows["failed"] = f"{len(summary.failures)}" + (" (--failures lists them)" if summary.failures else "")
        if of_labels:
            rows["instances"] = f"{sum(summary.instances.values())}, {summary.dropped} dropped"
        rows["labels" if of_labels else "embeddings"] = summary.output
        print_rows(rows)


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


def print_review(applied: AppliedReview, *, as_json: bool) -> None:
    """What a review has changed."""
    if as_json:
        print(json.dumps(asdict(applied)))
        return
    print_rows(
        {
            "rejected": f"{applied.rejected} taken out of the labels",
            "restored": f"{applied.restored} put back",
            "accepted": f"{applied.accepted} stay as they were",
            "images changed": f"{applied.images}",
        }
    )


def print_checks(checks: Mapping[str, Any], *, as_json: bool) -> None:
    """What a bug report needs."""
    if as_json:
        print(json.dumps(checks))
        return
    rows = {}
    for name, value in checks.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        rows[name] = ", ".join(value) if isinstance(value, list) else value
    print_rows(rows)


def show_dry_run(job: Job, data: Path, output: Path | None, *, as_json: bool) -> None:
    """What a run would do, and what is in its way; nothing is written."""
    from samcli.outputs import check_output
    from samcli.plan import make_plan, survey
    from samcli.run import present_models

    models, missing = present_models(job)
    plan = make_plan(data, output, job, models)
    if plan.todo or plan.changed:
        check_output(plan.layout)
    seen = survey(plan.todo, job.options)
    facts: dict[str, Any] = {
        "input": str(plan.layout.input_root),
        "output": str(plan.layout.output),
        "images": plan.total,
        "to_do": len(plan.todo) - len(seen.unreadable),
        "done_already": len(plan.done),
        "failed_before": {key: entry.error for key, entry in plan.failed.items()},
        "label_name_taken": {key: plan.labels.collisions[key] for key in plan.collisions},
        "unreadable": seen.unreadable,
        "rotated": list(seen.rotated),
        "more_than_8_bits": list(seen.wide),
        "alpha_dropped": list(seen.alpha),
        "to_download": missing,
    }
    if as_json:
        print(json.dumps(facts))
        return
    details = {name: value for name, value in facts.items() if isinstance(value, dict) and value}
    print_rows({name.replace("_", " "): _short(value) for name, value in facts.items()})
    for name, reasons in details.items():
        for key, reason in list(reasons.items())[:_SHOWN_FAILURES]:
            print(f"{name.replace('_', ' ')}: {printable(key)}: {printable(reason)}")


def print_exported(files: Sequence[ExportedFile], *, as_json: bool) -> None:
    """What was written, and how near onnxruntime's answers with it are to torch's."""
    if as_json:
        facts = [{"file": str(f.path), "bytes": f.bytes, **dataclasses.asdict(f.agreement)} for f in files]
        print(json.dumps(facts))
        return
    for file in files:
        near = f"differs from torch by at most {file.agreement.max_difference:.1e}"
        if file.agreement.mask_iou is not None:
            near += f", mask IoU {file.agreement.mask_iou:.5f}"
        print(f"{printable(str(file.path))}  {file.bytes / 1e6:.1f} MB  {near}")


def _short(value: Any) -> str:
    """A count, and the first few of a list."""
    if isinstance(value, dict):
        return str(len(value))
    if isinstance(value, list):
        first = ", ".join(printable(str(item)) for item in value[:3])
        return f"{len(value)}" + (f" ({first}{', ...' if len(value) > 3 else ''})" if value else "")
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

"""The main job: a folder of images, a detector and SAM in; labels, records and a journal out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from samcli.config import AutoAnnotateOptions
from samcli.errors import UsageError
from samcli.journal import Journal, read_journal, read_manifest, write_manifest
from samcli.outputs import Layout, locked, make_layout
from samcli.pipeline import Worker, load_models, publish_data_set_files, withdraw
from samcli.plan import Models, Plan, make_plan
from samcli.runners import StopSignals, run_local
from samcli.summary import Summary
from samcli.types import ImageRef, Outcome, Status
from samcli.weights import find_weights, is_here

log = logging.getLogger("samcli")

Watch = Callable[[Outcome], None]


def find_models(options: AutoAnnotateOptions) -> Models:
    """The two checkpoints, downloaded if need be.

    Raises:
        WeightsError: one of them cannot be had.
    """
    return Models(det=find_weights(options.det, "det", log.info), sam=find_weights(options.sam, "sam", log.info))


def present_models(options: AutoAnnotateOptions) -> tuple[Models | None, list[str]]:
    """The two checkpoints if both are here, and the names of those that would have to be downloaded.

    Raises:
        WeightsError: a name is unknown, or a file is not what it should be.
    """
    missing = [name for name in (options.det, options.sam) if not is_here(name)]
    return (None if missing else find_models(options)), missing


def check_models(layout: Layout, options: AutoAnnotateOptions) -> None:
    """Before anything is downloaded: a run under way with another model is most likely what was forgotten.

    Raises:
        UsageError: it names the model that the folder was begun with.
    """
    found = None if options.overwrite else read_manifest(layout.manifest)
    for role, name in (("det", options.det), ("sam", options.sam)):
        begun_with = found.recipe[role]["name"] if found else name
        if begun_with != name and not is_here(name):
            raise UsageError(
                f"{layout.output} was begun with --{role} {begun_with}, and {name} is not here. "
                "Give the same again, or --overwrite to begin anew, or another --output"
            )


def auto_annotate(
    data: Path,
    output: Path | None,
    options: AutoAnnotateOptions,
    *,
    starting: Callable[[Plan], Watch] = lambda plan: lambda outcome: None,
) -> Summary:
    """Label every image in `data` that is not labelled yet.

    `starting` is called once the models are loaded, with the plan; what it returns is told of each outcome.

    Raises:
        SamcliError: it could not be begun, or the output cannot be written any more.
    """
    if not data.exists():
        raise UsageError(f"{data} does not exist; expected an image or a folder of images")
    check_models(make_layout(data, output), options)
    models = find_models(options)
    plan = make_plan(data, output, options, models)
    if not plan.todo and not plan.changed:
        return _summary(plan, options)
    loaded = load_models(plan, models, options) if plan.todo else None  # before anything is written
    with locked(plan.layout):
        plan = make_plan(data, output, options, models)  # what another run did before we had the lock counts
        if loaded is None or not plan.todo:
            write_manifest(plan.layout.manifest, plan.manifest)
            if plan.manifest.names:
                publish_data_set_files(plan.layout, plan.manifest.names, options)
            return _summary(plan, options)
        return _run(plan, Worker(*loaded, plan.labels, options), options, starting)


def _run(plan: Plan, worker: Worker, options: AutoAnnotateOptions, starting: Callable[[Plan], Watch]) -> Summary:
    plan = replace(plan, manifest=replace(plan.manifest, names=worker.names))
    if options.overwrite:
        _remove_earlier_run(plan)
    write_manifest(plan.layout.manifest, plan.manifest)
    publish_data_set_files(plan.layout, worker.names, options)
    summary, watch = _summary(plan, options), starting(plan)
    begun = time.perf_counter()
    with StopSignals() as signals, Journal(plan.layout.journal, plan.manifest.run) as journal:

        def settle(outcome: Outcome) -> None:
            if outcome.status is not Status.DONE:
                withdraw(plan.labels, outcome.ref.key)  # an earlier version's labels would be wrong now
            journal.append(outcome)

        def too_many_failures() -> bool:
            return options.max_failures is not None and summary.new_failures >= options.max_failures

        for key in plan.labels.released:
            gone = ImageRef(plan.layout.input_root, key)
            settle(Outcome(gone, Status.GONE))
        outcomes = run_local(
            worker,
            plan.todo,
            batch=options.batch or worker.default_batch,
            workers=options.workers,
            settle=settle,
            stopping=lambda: signals() or too_many_failures(),
        )
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                summary.add(outcome)
                watch(outcome)
        if signals.received is not None:
            summary.stopped_by = signals.received.name
        elif too_many_failures() and summary.remaining:
            summary.stopped_by = f"--max-failures {options.max_failures}"
    summary.seconds = time.perf_counter() - begun
    summary.stages = dict(worker.clock.seconds)
    return summary


def _remove_earlier_run(plan: Plan) -> None:
    """Labels, records and journal of the run that `--overwrite` replaces: no label of another recipe may stay."""
    earlier = {key: entry for key, entry in read_journal(plan.layout.journal).items() if entry.done}
    whole_names = frozenset(key for key, entry in earlier.items() if entry.whole_name)
    labels = replace(plan.labels, whole_names=whole_names)
    for key in earlier:
        withdraw(labels, key)
    plan.layout.journal.unlink(missing_ok=True)


def _summary(plan: Plan, options: AutoAnnotateOptions) -> Summary:
    """Counts before the first image of this run."""
    summary = Summary(plan.layout.output, plan.manifest.names, plan.total)
    summary.add_earlier(plan.done, plan.failed)
    summary.failures.update((key, plan.labels.collisions[key]) for key in plan.collisions)
    if "tiny" in (options.det, options.sam):
        summary.note = (
            "The tiny models know eight kinds of synthetic shape: for trying out and testing, not for photos."
        )
    if plan.layout.splits_from_output():
        summary.train_command = f"yolo segment train model=yolo11n-seg.pt data={plan.layout.output / 'data.yaml'}"
    return summary

"""Run a job: a folder of images and networks in; labels, records and a journal out."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from samcli.checkpoints.registry import find_all_weights, is_here
from samcli.errors import UsageError
from samcli.files import write_atomic
from samcli.jobs.base import Job, Models
from samcli.jobs.crew import Crew
from samcli.jobs.crews import open_crew
from samcli.jobs.executor import StopSignals
from samcli.jobs.inputs import Inputs
from samcli.jobs.plan import Plan, Scope, find_scope, make_plan
from samcli.jobs.removing import remove_labels
from samcli.jobs.storing import opened_output
from samcli.jobs.summary import Summary
from samcli.labels.existing import files_of
from samcli.labels.formats import FORMATS
from samcli.labels.training_lists import has_training_lists, refresh_training_lists
from samcli.labels.writing import folds
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.locks import check_output, ending, locked, whole_folder
from samcli.output.manifest import check_same_run, write_manifest
from samcli.output.marks import LargeMarks
from samcli.output.preserving import preserve
from samcli.output.remote import RemoteFolder
from samcli.output.remote_run import mirrored, pull_journals, pull_manifest
from samcli.output.run_folder import RunFolder
from samcli.types import ImageRef, Outcome, Status

R = TypeVar("R")

log = logging.getLogger("samcli")

Watch = Callable[[Outcome], None]

_KILLED = (
    "two runs were killed while they worked on this large image, the second time on it alone: the machine's memory "
    "is probably too small for it. --retry-failed tries it again"
)


def find_models(job: Job[R]) -> Models:
    """Return the job's checkpoints, downloaded if need be.

    Raises:
        WeightsError: one of them cannot be had.
    """
    return find_all_weights(job.checkpoints, log.info)


def present_models(job: Job[R]) -> tuple[Models | None, list[str]]:
    """Return the checkpoints if all are here, and the names of those that would have to be downloaded.

    Raises:
        WeightsError: a name is unknown, or a file is not what it should be.
    """
    missing = [name for name in job.checkpoints.values() if not is_here(name)]
    return (None if missing else find_models(job)), missing


def check_models(layout: Layout, job: Job[R]) -> None:
    """Before anything is downloaded: a run under way with another model is most likely what was forgotten.

    Raises:
        UsageError: it names the model that the folder was begun with.
    """
    earlier = None if job.options.run.overwrite else RunFolder.find(layout.output)
    for role, name in job.checkpoints.items():
        model = earlier.manifest.recipe.model(role) if earlier else None
        begun_with = model.name if model else name
        if begun_with != name and not is_here(name):
            raise UsageError(
                f"{layout.output} was begun with --{role} {begun_with}, and {name} is not here. "
                "Give the same again, or --overwrite to start over, or another --output"
            )


def run_job(
    job: Job[R],
    data: Path | Inputs,
    output: str | Path | None,
    *,
    starting: Callable[[Plan], Watch] = lambda plan: lambda outcome: None,
) -> Summary:
    """Do the job for every image in `data`, a folder, an image or inputs, for which it is not done yet.

    `output`: a folder, or the address of one in an object store; None: a folder beside the input.
    The output folder is locked before anything in it is looked at; then the run is planned, once, the models are
    loaded, and only then labels are touched. `starting` is called once the models are loaded, with the plan; what
    it returns is told of each outcome.

    Raises:
        SamcliError: it could not be begun, or the output cannot be written any more.
    """
    with opened_output(job, output) as place:
        summary = _run_job(job, data, place, starting)
        if isinstance(place, RemoteFolder):
            place.push_shared()
        return summary


def _run_job(
    job: Job[R], data: Path | Inputs, output: Path | RemoteFolder | None, starting: Callable[[Plan], Watch]
) -> Summary:
    """See `run_job`."""
    scope = find_scope(data, output, job)
    with contextlib.ExitStack() as stack:
        refused = _lock(stack, scope.layout)
        check_models(scope.layout, scope.job)
        models = find_models(scope.job)
        plan = _plan(scope, models)
        if not plan.todo and not plan.changed:
            return _summary(plan, scope.job)
        if refused is not None:
            raise refused
        if not plan.todo:
            return _bring_up_to_date(plan, scope.job)
        log.info("loading %s", ", ".join(f"--{role} {name}" for role, name in scope.job.checkpoints.items()))
        marks = LargeMarks(plan.layout.large)
        crew = stack.enter_context(open_crew(scope.job, plan, models, marks.begin))  # before anything is written
        manifest = replace(plan.manifest, names=dict(crew.names))
        return _run(replace(plan, manifest=manifest), scope.job, crew, marks, starting)


def _lock(stack: contextlib.ExitStack, layout: Layout) -> UsageError | None:
    """Lock the output folder until the stack ends. Return why it cannot be written: there may be nothing to do."""
    try:
        check_output(layout)
        stack.enter_context(locked(layout))
    except UsageError as error:
        return error
    return None


def _plan(scope: Scope[R], models: Models) -> Plan:
    """Plan the run; again where another shard began it meanwhile, whose files look like somebody's."""
    is_new = RunFolder.find(scope.layout.output) is None
    try:
        return make_plan(scope, models)
    except UsageError:
        if scope.layout.shard is None or not is_new or RunFolder.find(scope.layout.output) is None:
            raise
        return make_plan(scope, models)


def _bring_up_to_date(plan: Plan, job: Job[R]) -> Summary:
    """Write the manifest and the files for the whole data set of a run whose images are all done."""
    with whole_folder(plan.layout):
        plan = _write_manifest(plan)
        if plan.manifest.names:
            _write_data_set_files(plan, job)
    summary = _summary(plan, job)
    if plan.manifest.names:
        _fold(plan, job, summary)
    return summary


def _write_manifest(plan: Plan) -> Plan:
    """Write the manifest. Return the plan with it: another shard may have begun the run since it was planned.

    Raises:
        UsageError: the other shard has other options.
    """
    manifest = plan.manifest
    if plan.layout.remote is not None and plan.layout.shard is not None:
        pull_manifest(plan.layout.remote, plan.layout)
    if plan.layout.shard is not None and (found := RunFolder.find(plan.layout.output)) is not None:
        check_same_run(found.manifest, manifest, plan.layout.output)
        manifest = replace(manifest, names=manifest.names or found.manifest.names)
    write_manifest(plan.layout.manifest, manifest)
    if plan.layout.remote is not None:
        plan.layout.remote.push_shared()
    return replace(plan, manifest=manifest)


def _begin(plan: Plan, job: Job[R]) -> Plan:
    """Make the folder that of this run: what an earlier one left goes, what describes the run comes."""
    layout = plan.layout
    if any(fmt.folded_name for fmt in job.formats):
        RunFolder(layout, plan.manifest).mark_unfinished()  # before any record changes, until all is folded
    own_files = files_of(layout) if job.existing != "refuse" else frozenset()
    if job.options.run.overwrite:
        remove_labels(layout, plan.manifest, plan.labels.suffixes)
        if job.options.run.discard_human:
            shutil.rmtree(layout.corrected_root, ignore_errors=True)
    if job.existing != "refuse":
        _preserve(plan, job, own_files)
    plan = _write_manifest(plan)
    _write_data_set_files(plan, job)
    if layout.remote is not None:
        layout.remote.push_shared()
    return plan


def _run(plan: Plan, job: Job[R], crew: Crew, marks: LargeMarks, starting: Callable[[Plan], Watch]) -> Summary:
    with whole_folder(plan.layout):
        plan = _begin(plan, job)
    options, run = job.options, RunFolder(plan.layout, plan.manifest)
    summary, watch = _summary(plan, job), starting(plan)
    begun = time.perf_counter()
    with (
        StopSignals() as signals,
        Journal(plan.layout.journal, plan.manifest.run) as journal,
        mirrored(plan.layout) as mirror,
    ):

        def settle(outcome: Outcome) -> None:
            if outcome.status is not Status.DONE:
                # an earlier version's labels would be wrong now
                run.withdraw(outcome.ref.key, plan.labels.paths(outcome.ref.key))
            journal.append(replace(outcome, digest=plan.digests.get(outcome.ref.key, "")))
            marks.end(outcome.ref.key)
            if mirror is not None:
                mirror.check()
            if outcome.status is not Status.GONE:
                watch(outcome)  # now, not when the next image has been through the networks

        def too_many_failures() -> bool:
            return options.run.max_failures is not None and summary.new_failures >= options.run.max_failures

        if options.run.retry_failed:
            marks.tries = {}
        todo, alone = _apart(plan.todo, marks, summary, settle)
        for key in plan.labels.released:
            gone = ImageRef(plan.layout.input_root, key)
            settle(Outcome(gone, Status.GONE))
        outcomes = crew.run(todo, alone=alone, settle=settle, stopping=lambda: signals() or too_many_failures())
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                summary.add(outcome)
        if signals.received is not None:
            summary.stopped_by = signals.received.name
        elif too_many_failures() and summary.remaining:
            summary.stopped_by = f"--max-failures {options.run.max_failures}"
        if summary.stopped_by is None:
            if mirror is not None:
                mirror.flush()  # of shards that end together, one sees all lines
            journal.check_in_place()  # else nothing would be found to fold
            folding = time.perf_counter()
            _fold(plan, job, summary)
            if summary.withheld or has_training_lists(run):
                with whole_folder(plan.layout):  # two shards that end together: the later one knows of both
                    refresh_training_lists(run)
            crew.seconds["fold"] += time.perf_counter() - folding
    summary.notes += crew.notes
    summary.precision, summary.threads = plan.precision, crew.threads
    summary.seconds = time.perf_counter() - begun
    summary.stages = {name: seconds for name, seconds in crew.seconds.items() if seconds >= 0.001}
    return summary


def _apart(
    todo: Sequence[ImageRef], marks: LargeMarks, summary: Summary, settle: Callable[[Outcome], None]
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Return the images to do at once, and those to do last, each alone: an earlier run was killed at work on them.

    Those at which a run was killed twice fail: they are not tried a third time.
    """
    suspects = [ref for ref in todo if ref.key in marks.tries]
    apart = {ref.key for ref in suspects}
    for ref in suspects:
        if marks.tries[ref.key] > 1:
            outcome = Outcome(ref, Status.FAILED, error=_KILLED)
            settle(outcome)
            summary.add(outcome)
    return [ref for ref in todo if ref.key not in apart], [ref for ref in suspects if ref.key in marks.tries]


def _write_data_set_files(plan: Plan, job: Job[R]) -> None:
    """Write what describes the whole data set, e.g. `data.yaml`, where it is not there already.

    People edit these: a run that goes on leaves them alone.
    """
    layout = plan.layout
    for fmt in job.formats:
        for file, data in fmt.data_set_files(plan.manifest.names, layout.splits_from_output()).items():
            anew = job.options.run.overwrite and not layout.preserved(layout.own_file(file)).is_file()
            if anew or not (layout.output / file).exists():
                write_atomic(layout.output / file, data)


def _fold(plan: Plan, job: Job[R], summary: Summary) -> None:
    """Write the files that hold all images, from the records of all that are done, in the order of keys.

    Images whose record cannot be read count as failed: these files are not written without them.
    """
    shapes = job.shapes
    run = RunFolder(plan.layout, plan.manifest)
    all_images = folds(job.formats, plan.manifest, shapes, plan.layout)
    with ending(plan.layout) as is_last:
        if all_images and not (is_last and _others_are_done(plan, run)):
            files = ", ".join(fold.name for fold in all_images)
            summary.notes.append(f"{files}: the shard that ends last writes it, when all shards are done")
            return
        missing = run.finish(all_images)
    if of_others := missing.keys() & set(plan.others):
        summary.notes.append(f"images of other shards, {len(of_others)} of them: {missing[min(of_others)]}")
    missing = {key: reason for key, reason in missing.items() if key not in of_others}
    if missing:
        summary.add_unreadable(missing, plan.done, {ref.key for ref in plan.todo})


def _others_are_done(plan: Plan, run: RunFolder) -> bool:
    """Return whether every image of the other shards has an outcome."""
    if not plan.others:
        return True
    if plan.layout.remote is not None:
        pull_journals(plan.layout.remote, plan.layout)
    entries = run.entries()
    return all(key in entries for key in plan.others)


def _preserve(plan: Plan, job: Job[R], own_files: Collection[str]) -> None:
    """Copy the label files that were there before the run, as long as the run has not changed them.

    `own_files`: those for all images that an earlier run has made.
    """
    layout = plan.layout
    files = [layout.own_file(file) for fmt in job.formats for file in fmt.own_files]
    preserve(layout, [file for file in files if file not in own_files and not layout.preserved(file).is_file()])
    for key, name in plan.existing.items():
        if not Path(layout.record(key)).is_file():  # it is written before the label
            whole_name = key in plan.labels.whole_names
            preserve(layout, [layout.label(key, one, whole_name=whole_name) for one in FORMATS[name].suffixes])


def _summary(plan: Plan, job: Job[R]) -> Summary:
    """Counts before the first image of this run."""
    summary = Summary(plan.layout.place, plan.manifest.names, plan.total, product=job.product)
    summary.unasked, summary.kept = plan.manifest.unasked, plan.manifest.kept
    summary.passed_over = plan.passed_over
    summary.lost = job.lost()
    summary.add_earlier(plan.done, plan.failed)
    summary.failures.update((key, plan.labels.collisions[key]) for key in plan.collisions)
    summary.remedy, summary.formats = job.remedy, job.format_names
    summary.notes = job.notes(plan.layout.output)
    if "yolo" in job.format_names and plan.layout.splits_from_output():
        summary.train_command = f"yolo segment train model=yolo11n-seg.pt data={plan.layout.output / 'data.yaml'}"
    return summary

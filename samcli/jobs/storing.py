"""Output in object stores: where a run works, and stages that put the files of each image there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from samcli.checkpoints.registry import cache_folder
from samcli.errors import ImageError, SamcliError, StorageError, UsageError
from samcli.jobs.base import Job, Models
from samcli.jobs.executor import Stages
from samcli.jobs.plan import Plan, shard_asked_for
from samcli.jobs.worker import BaseWorker
from samcli.output.layout import LabelFiles
from samcli.output.remote import RemoteFolder
from samcli.output.remote_run import pull, staged
from samcli.stores.addresses import is_address, local_path, split_address
from samcli.stores.store import Store
from samcli.types import Image, ImageRef, Outcome

R = TypeVar("R")


@contextlib.contextmanager
def opened_output(
    job: Job[R], output: str | Path | None, *, dry: bool = False
) -> Iterator[Path | RemoteFolder | None]:
    """Yield the folder that the job works in: the one given, or the local part of one in an object store.

    `dry`: nothing will be written, so others may be at work there.

    Raises:
        UsageError: an option does not go with an object store.
        SamcliError: another run is at work there, or the store does not answer.
    """
    text = local_path(str(output)) if output is not None else ""
    if not is_address(text):
        yield Path(text) if output is not None else None
        return
    split_address(text)
    _check_options(job, text)
    store = Store(text.rstrip("/"), job.options.source.store_timeout)
    own_files = sorted({file for fmt in job.formats for file in fmt.own_files})
    with _looked_at(store, own_files) if dry else _worked_in(store, own_files, job) as remote:
        try:
            yield remote
        except SamcliError as error:
            error.args = (
                str(error).replace(str(remote.local), remote.url),
            )  # the local folder is nobody's concern
            raise


@contextlib.contextmanager
def _looked_at(store: Store, own_files: list[str]) -> Iterator[RemoteFolder]:
    with tempfile.TemporaryDirectory(prefix="samcli-") as folder:
        yield pull(store, Path(folder) / "output", own_files)


@contextlib.contextmanager
def _worked_in(store: Store, own_files: list[str], job: Job[R]) -> Iterator[RemoteFolder]:
    options = job.options
    staging = Path(options.run.staging).expanduser() if options.run.staging else cache_folder() / "staging"
    with staged(store, staging, own_files, shard_asked_for(options)) as (remote, lease):
        yield remote
        lease.check()


def _check_options(job: Job[R], url: str) -> None:
    if job.options.run.overwrite:
        raise UsageError(
            f"--overwrite does not remove what is in {url}: remove it yourself, or choose another --output"
        )
    if job.existing != "refuse":
        raise UsageError(f"--existing {job.existing} needs an output folder on this machine; --output is {url}")


def load_worker(job: Job[R], plan: Plan, models: Models) -> BaseWorker[R]:
    """Return the worker, with its networks loaded, wherever the images lie. Raises what `Job.load` raises."""
    worker = job.load(plan, models)
    if plan.layout.source is not None:
        worker.content = plan.layout.source.open
    return worker


def stages_of(worker: BaseWorker[R], plan: Plan) -> Stages[R]:
    """Return the stages of a worker; those of a run in an object store also put the files there."""
    remote = plan.layout.remote
    return worker if remote is None else _Storing(worker, plan.labels, remote)


class _Storing(Generic[R]):
    """Stages that put the files of an image into an object store before its outcome is known."""

    def __init__(self, stages: Stages[R], labels: LabelFiles, remote: RemoteFolder) -> None:
        self._stages, self._labels, self._remote = stages, labels, remote

    def read(self, ref: ImageRef) -> Image:
        try:
            ref.key.encode()
        except UnicodeEncodeError:
            raise ImageError("its name is no UTF-8, as names in an object store have to be") from None
        self._remove_leftovers(ref)
        for path in (self._labels.layout.record(ref.key), self._labels.layout.corrected(ref.key)):
            self._remote.bring_earlier(path)  # people may have corrected objects of it
        return self._stages.read(ref)

    def _remove_leftovers(self, ref: ImageRef) -> None:
        """Remove files of an image that a process which was killed has left on this machine in an earlier run."""
        for path in map(Path, self._labels.layout.files_of(ref.key, self._labels.paths(ref.key))):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def annotate(self, images: Sequence[Image]) -> list[R]:
        return self._stages.annotate(images)

    def publish(self, ref: ImageRef, result: R) -> Outcome:
        outcome = self._stages.publish(ref, result)
        try:
            self._remote.push(self._labels.layout.files_of(ref.key, self._labels.paths(ref.key)))
        except StorageError as error:
            raise StorageError(str(error)) from None  # it has been tried again already
        return outcome

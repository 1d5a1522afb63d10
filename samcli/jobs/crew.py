"""Who does the work of a run: the worker of this process, or several processes (see `processes`)."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from samcli.errors import UsageError
from samcli.jobs.base import Job, Models
from samcli.jobs.executor import run_local
from samcli.jobs.plan import Plan
from samcli.jobs.worker import BaseWorker
from samcli.sam.threads import find_cores, torch_threads
from samcli.types import ImageRef, Outcome

R = TypeVar("R")


class Crew(ABC):
    """Has loaded the networks of a job, and does it for images."""

    notes: list[str]
    """What the user should hear of; complete once all is done."""
    seconds: defaultdict[str, float]
    """Time spent in each stage, over all threads and processes."""
    threads: int | None
    """Threads of each network on a CPU."""

    @property
    @abstractmethod
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add time spent in stages."""
        for stage, spent in seconds.items():
            self.seconds[stage] += spent

    @abstractmethod
    def run(
        self,
        refs: Iterable[ImageRef],
        *,
        alone: Sequence[ImageRef],
        settle: Callable[[Outcome], None],
        stopping: Callable[[], bool],
    ) -> Generator[Outcome, None, None]:
        """Outcomes of the images, as they come; see `run_local`."""


class Local(Crew):
    """The worker of this process."""

    def __init__(self, worker: BaseWorker[Any], *, batch: int, workers: int, begin: Callable[[str], None]) -> None:
        self._worker, self._batch, self._workers = worker, batch or worker.default_batch, workers
        self.notes, self.seconds, self.threads = [], defaultdict(float), None
        worker.on_large = lambda ref: begin(ref.key)

    @property
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""
        return self._worker.names

    def run(
        self,
        refs: Iterable[ImageRef],
        *,
        alone: Sequence[ImageRef],
        settle: Callable[[Outcome], None],
        stopping: Callable[[], bool],
    ) -> Generator[Outcome, None, None]:
        """See `run_local`."""
        outcomes = run_local(
            self._worker,
            refs,
            alone=alone,
            batch=self._batch,
            workers=self._workers,
            settle=settle,
            stopping=stopping,
        )
        try:
            yield from outcomes
        finally:
            outcomes.close()
            self.notes = self._worker.notes()
            self.add_seconds(self._worker.clock.seconds)
            self.threads = torch_threads()


def devices_of(job: Job[Any]) -> list[str]:
    """Return the device of each process of a run: those of `--device` in turn, `--procs` of them.

    Raises:
        UsageError: fewer processes than devices.
    """
    devices, procs = job.options.segmenter.devices, job.options.run.procs
    if procs is not None and procs < len(devices):
        raise UsageError(f"--procs {procs} with {len(devices)} devices; expected at least one process for each")
    return [devices[number % len(devices)] for number in range(procs or len(devices))]


@contextlib.contextmanager
def open_crew(job: Job[R], plan: Plan, models: Models, begin: Callable[[str], None]) -> Iterator[Crew]:
    """Load the networks, here or in the processes that the options ask for.

    `begin`: called with the key of a large image before it is decoded here.

    Raises:
        SamcliError: the networks cannot be loaded.
    """
    devices, run = devices_of(job), job.options.run
    if len(devices) == 1:
        yield Local(job.load(plan, models), batch=run.batch, workers=run.workers, begin=begin)
        return
    from samcli.jobs.processes import Processes

    threads = run.threads or max(1, find_cores().usable // len(devices))
    with Processes(job, plan, models, devices, batch=run.batch, workers=run.workers, threads=threads) as crew:
        yield crew

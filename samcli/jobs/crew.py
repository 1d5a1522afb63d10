"""A crew does the work of a run: the worker of this process, or several processes (see `processes`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

from samcli.jobs.executor import run_local
from samcli.jobs.plan import Plan
from samcli.jobs.storing import stages_of
from samcli.jobs.worker import BaseWorker
from samcli.sam.threads import torch_threads
from samcli.types import ImageRef, Outcome


class Crew(ABC):
    """Workers of a job, with their networks loaded."""

    notes: list[str]
    """Lines that the user should read; complete once all is done."""
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
        """Yield the outcomes of the images as they come; see `run_local`."""


class Local(Crew):
    """The worker of this process."""

    def __init__(
        self, worker: BaseWorker[Any], plan: Plan, *, batch: int, workers: int, begin: Callable[[str], None]
    ) -> None:
        self._worker, self._batch, self._workers = worker, batch or worker.default_batch, workers
        self._stages = stages_of(worker, plan)
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
            self._stages,
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

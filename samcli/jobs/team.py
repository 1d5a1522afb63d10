"""A team does the work of a run in other processes, on this machine (`processes`) or in a cluster (`actors`).

The driver sends image refs to the members and alone keeps the books: it settles outcomes and replaces a member that
died. Each member loads the networks once and runs the three stages of `executor` over what it is sent.
"""

from __future__ import annotations

import itertools
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from samcli.errors import SamcliError
from samcli.jobs.base import Job, Models
from samcli.jobs.crew import Crew
from samcli.jobs.executor import run_local
from samcli.jobs.plan import Plan
from samcli.jobs.storing import load_worker, stages_of
from samcli.types import ImageRef, Outcome, Status

R = TypeVar("R")

log = logging.getLogger("samcli")


@dataclass(frozen=True)
class Ready:
    """A member's message once its networks are loaded."""

    names: Mapping[int, str]
    default_batch: int


@dataclass(frozen=True)
class Ended:
    """A member's message when it has nothing more to do."""

    notes: list[str]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Task(Generic[R]):
    """Work of a member. `batch`: images at once in a network; 0: as suits the device. `workers`: threads."""

    job: Job[R]
    plan: Plan
    models: Models
    batch: int
    workers: int

    def serve(self, device: str, refs: Iterator[ImageRef], tell: Callable[[object], None]) -> None:
        """Load the networks, then do what the driver sends; the driver decides when to stop.

        `tell`: sends a message, from any thread.
        """
        try:
            worker = load_worker(self.job.on_device(device), self.plan, self.models)
            tell(Ready(dict(worker.names), worker.default_batch))
            stages, batch = stages_of(worker, self.plan), self.batch or worker.default_batch
            for _ in run_local(stages, refs, batch=batch, workers=self.workers, settle=tell):
                pass
            tell(Ended(worker.notes(), dict(worker.clock.seconds)))
        except SamcliError as error:
            tell(error)


class Member(ABC):
    """A process of a team, seen from the driver. `kind`: in words, as in 'a process on cpu died'."""

    kind = "process"
    waits_for_room = False
    """It may never start: it gets images once it is ready."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.in_flight: dict[str, ImageRef] = {}
        self.is_ready = False
        """It has loaded the networks."""
        self.is_heard = False
        """It says nothing more, and all that it said was heard."""
        self.is_told = False
        """It was told that no more images come."""

    def send(self, ref: ImageRef) -> None:
        """Send an image; that a member died is found out about elsewhere."""
        self.in_flight[ref.key] = ref
        self._send(ref)

    def finish(self) -> None:
        """Tell the member, once, that no more images come."""
        if not self.is_told:
            self.is_told = True
            self._send(None)

    def check_start(self) -> None:
        """Check that the member did not die while it loaded the networks: no image is to blame for that.

        Raises:
            SamcliError: it did.
        """
        if self.is_dead and not self.is_ready:
            raise SamcliError(
                f"{self.kind} on {self.device} died while it loaded the models ({self.end}): is there memory for "
                "each of them? Nothing is lost; run again with fewer"
            )

    @abstractmethod
    def _send(self, ref: ImageRef | None) -> None:
        """Send an image, or that no more come."""

    @abstractmethod
    def messages(self) -> list[object]:
        """Return what it has said since the last time; `is_heard` is set at the end."""

    @abstractmethod
    def close(self, patience: float) -> None:
        """End it: by itself within so many seconds, or by force."""

    @property
    @abstractmethod
    def is_dead(self) -> bool:
        """Return whether it has ended, and nothing of what it said is left to be heard."""

    @property
    @abstractmethod
    def end(self) -> str:
        """Return in words how it ended."""

    @property
    def has_lost_machine(self) -> bool:
        """Return whether its machine died: no image is to blame."""
        return False


class Team(Crew, Generic[R]):
    """Members that do a job, one for each of `devices`. Leaving the context ends them.

    `threads`: of each member.
    """

    patience = 30.0
    """Seconds that a member has to end by itself when it is no longer needed."""

    def __init__(self, task: Task[R], devices: Sequence[str], threads: int) -> None:
        self._task, self._devices, self.threads = task, devices, threads
        self._members: list[Member] = []
        self._ready: Ready | None = None
        self.notes, self.seconds = [], defaultdict(float)

    @abstractmethod
    def _start(self, device: str) -> Member:
        """Start a member."""

    @abstractmethod
    def _waited(self) -> list[Member]:
        """Wait a moment; return the members that have said something, or are dead."""

    def __enter__(self) -> Team[R]:
        """Start the members, and wait until one has loaded the networks.

        Raises:
            SamcliError: the networks cannot be loaded.
        """
        try:
            for device in self._devices:
                self._members.append(self._start(device))
            while self._ready is None:
                for one in self._waited():
                    self._hear(one)
                    one.check_start()
        except BaseException:
            self.__exit__(SamcliError)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._members:
            one.finish()
        for one in self._members:
            one.close(self.patience if error[:1] == (None,) else 0.1)

    @property
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""
        return self._ready.names if self._ready else {}

    def run(
        self,
        refs: Iterable[ImageRef],
        *,
        alone: Sequence[ImageRef],
        settle: Callable[[Outcome], None],
        stopping: Callable[[], bool],
    ) -> Generator[Outcome, None, None]:
        """Yield the outcomes of the images as they come; see `run_local`.

        Images that a member was at work on when it died are tried again once, last and each alone; if its machine
        died, with the others.

        Raises:
            StorageError: nothing can be written any more.
        """
        waiting, lost = iter(refs), list(alone)
        while self._members:
            is_fed = self._feed(waiting, stopping)
            for one in self._waited():
                for outcome in self._hear(one):
                    settle(outcome)
                    yield outcome
                one.check_start()
                if one.is_dead:
                    again = self._bury(one, lost)
                    waiting = itertools.chain(again, waiting)
                    if again or not (is_fed or one.is_told):
                        log.warning("%s on %s died (%s); another takes its place", one.kind, one.device, one.end)
                        self._members.append(self._start(one.device))
                    is_fed = is_fed and not again
            if is_fed:
                self._dismiss_unneeded()
        for ref in lost:
            if stopping():
                break
            outcome = self._alone(ref)
            settle(outcome)
            yield outcome

    def _bury(self, one: Member, lost: list[ImageRef]) -> list[ImageRef]:
        """Take leave of a dead member. Return its images that are to be tried with the others; `lost` takes those
        that are to be tried alone.
        """
        self._members.remove(one)
        refs = list(one.in_flight.values())
        if one.has_lost_machine:
            return refs
        lost += refs
        return []

    def _dismiss_unneeded(self) -> None:
        """End members that still wait for room: no image is left for them."""
        for one in [one for one in self._members if one.waits_for_room and not one.is_ready]:
            self._members.remove(one)
            one.close(0.1)

    def _feed(self, waiting: Iterator[ImageRef], stopping: Callable[[], bool]) -> bool:
        """Send images to members that have few; return whether there are no more, and all have been told so."""
        is_stopping = stopping() or all(one.is_told for one in self._members)
        for one in self._members:
            is_taking = (one.is_ready or not one.waits_for_room) and not one.is_told
            while not is_stopping and is_taking and len(one.in_flight) < self._most_in_flight:
                ref = next(waiting, None)
                if ref is None:
                    is_stopping = True
                    break
                one.send(ref)
        if is_stopping:
            for one in self._members:
                one.finish()
        return is_stopping

    @property
    def _most_in_flight(self) -> int:
        """Return how many images keep all stages of a member busy."""
        batch = self._task.batch or (self._ready.default_batch if self._ready else 1)
        return 4 * batch + 2 * self._task.workers

    def _alone(self, ref: ImageRef) -> Outcome:
        """Return the outcome of an image in a member of its own: those that had other images too have died."""
        one = self._start(self._devices[0])
        self._members = [one]
        one.send(ref)
        one.finish()
        outcomes: list[Outcome] = []
        while not one.is_dead:
            self._waited()
            outcomes += self._hear(one)
            one.check_start()
        self._members = []
        if outcomes:
            return outcomes[0]
        return Outcome(ref, Status.FAILED, error=f"two processes died while they worked on this image ({one.end})")

    def _hear(self, one: Member) -> list[Outcome]:
        """Take the messages of a member.

        Raises:
            SamcliError: what ended it is no image's fault.
        """
        outcomes: list[Outcome] = []
        error = None
        for said in one.messages():
            if isinstance(said, SamcliError):
                error = error or said
            elif isinstance(said, Ready):
                self._ready, one.is_ready = self._ready or said, True
            elif isinstance(said, Ended):
                self.notes += [note for note in said.notes if note not in self.notes]
                self.add_seconds(said.seconds)
            elif isinstance(said, Outcome):
                one.in_flight.pop(said.ref.key, None)
                outcomes.append(said)
        if error is not None:
            raise error
        return outcomes


def task_of(job: Job[Any], plan: Plan, models: Models) -> Task[Any]:
    """Return the task of each member of a team for a job."""
    run = job.options.run
    return Task(job, plan, models, run.batch, run.workers)

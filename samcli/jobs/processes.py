"""Run the work in several processes of this machine, one for each device.

The driver sends image refs to its processes and alone keeps the books: it settles outcomes and replaces a process
that died. Each process loads the networks once and runs the three stages of `executor` over what it is sent.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from samcli.errors import SamcliError, UsageError
from samcli.jobs.base import Job, Models
from samcli.jobs.crew import Crew, Local
from samcli.jobs.executor import run_local
from samcli.jobs.plan import Plan
from samcli.sam.threads import find_cores
from samcli.types import ImageRef, Outcome, Status

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

R = TypeVar("R")

log = logging.getLogger("samcli")

_START = multiprocessing.get_context("spawn")  # a fork would share the driver's threads and the GPU's state
_PATIENCE = 30.0
"""Seconds that a process has to end by itself when it is no longer needed."""


@dataclass(frozen=True)
class Ready:
    """A process's message once its networks are loaded."""

    names: Mapping[int, str]
    default_batch: int


@dataclass(frozen=True)
class Ended:
    """A process's message when it has nothing more to do."""

    notes: list[str]
    seconds: dict[str, float]


@dataclass
class _Process:
    """A process, seen from the driver."""

    device: str
    process: SpawnProcess
    connection: Connection
    in_flight: dict[str, ImageRef] = field(default_factory=dict)
    is_ready: bool = False
    """It has loaded the networks."""
    is_heard: bool = False
    """Its end of the pipe is closed, and all that it said was heard."""
    is_told: bool = False
    """It knows that no more images come."""

    def send(self, ref: ImageRef) -> None:
        """Send an image; that a process died is found out about elsewhere."""
        self.in_flight[ref.key] = ref
        with contextlib.suppress(OSError):
            self.connection.send(ref)

    def finish(self) -> None:
        """Tell the process, once, that no more images come."""
        if not self.is_told:
            self.is_told = True
            with contextlib.suppress(OSError):
                self.connection.send(None)

    @property
    def is_dead(self) -> bool:
        """Return whether the process has ended, and nothing of what it said is left to be heard."""
        return self.is_heard and not self.process.is_alive()

    def check_start(self) -> None:
        """Check that the process did not die while it loaded the networks: no image is to blame for that.

        Raises:
            SamcliError: it did.
        """
        if self.is_dead and not self.is_ready:
            raise SamcliError(
                f"a process on {self.device} died while it loaded the models ({self.end}): is there memory for "
                "each of the processes? Nothing is lost; run again with fewer"
            )

    @property
    def end(self) -> str:
        """Return in words how the process ended."""
        code = self.process.exitcode
        return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


class Processes(Crew, Generic[R]):
    """Processes that do a job, one for each of `devices`. Leaving the context ends them.

    `batch`: images at once in a network; 0: as suits the device. `workers`, `threads`: of each process.
    """

    def __init__(
        self,
        job: Job[R],
        plan: Plan,
        models: Models,
        devices: Sequence[str],
        *,
        batch: int,
        workers: int,
        threads: int,
    ) -> None:
        self._job, self._plan, self._models = job, plan, models
        self._devices, self._batch, self._workers, self.threads = devices, batch, workers, threads
        self._crew: list[_Process] = []
        self._ready: Ready | None = None
        self.notes, self.seconds = [], defaultdict(float)

    def __enter__(self) -> Processes[R]:
        """Start the processes, and wait until one has loaded the networks.

        Raises:
            SamcliError: the networks cannot be loaded.
        """
        try:
            self._crew = [self._start(device) for device in self._devices]
            while self._ready is None:
                for process in self._waited():
                    self._hear(process)
                    process.check_start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for one in self._crew:
            one.connection.close()  # it ends at its next message
        for one in self._crew:
            one.process.join(_PATIENCE if error[:1] == (None,) else 0.1)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()

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

        Images that a process was at work on when it died are tried again once, last and each alone.

        Raises:
            StorageError: nothing can be written any more.
        """
        waiting, lost = iter(refs), list(alone)
        while self._crew:
            is_fed = self._feed(waiting, stopping)
            for one in self._waited():
                for outcome in self._hear(one):
                    settle(outcome)
                    yield outcome
                one.check_start()
                if one.is_dead:
                    self._crew.remove(one)
                    lost += one.in_flight.values()
                    if not is_fed:
                        log.warning("a process on %s died (%s); another takes its place", one.device, one.end)
                        self._crew.append(self._start(one.device))
        for ref in lost:
            if stopping():
                break
            outcome = self._alone(ref)
            settle(outcome)
            yield outcome

    def _feed(self, waiting: Iterator[ImageRef], stopping: Callable[[], bool]) -> bool:
        """Send images to processes that have few; return whether there are no more, and all have been told so."""
        is_stopping = stopping()
        for one in self._crew:
            while not is_stopping and len(one.in_flight) < self._most_in_flight:
                ref = next(waiting, None)
                if ref is None:
                    is_stopping = True
                    break
                one.send(ref)
        if is_stopping:
            for one in self._crew:
                one.finish()
        return is_stopping

    @property
    def _most_in_flight(self) -> int:
        """Return how many images keep all stages of a process busy."""
        batch = self._batch or (self._ready.default_batch if self._ready else 1)
        return 4 * batch + 2 * self._workers

    def _waited(self) -> list[_Process]:
        """Wait a moment; return the processes that have said something, or are dead."""
        ends: dict[Any, _Process] = {one.connection: one for one in self._crew}
        ends |= {one.process.sentinel: one for one in self._crew}
        found = [ends[end] for end in wait(list(ends), timeout=0.2)]
        return list({id(one): one for one in found}.values())

    def _alone(self, ref: ImageRef) -> Outcome:
        """Return the outcome of an image in a process of its own: those that had other images too have died."""
        self._crew = [self._start(self._devices[0])]
        (one,) = self._crew
        one.send(ref)
        one.finish()
        outcomes: list[Outcome] = []
        while not one.is_dead:
            self._waited()
            outcomes += self._hear(one)
            one.check_start()
        self._crew = []
        if outcomes:
            return outcomes[0]
        return Outcome(ref, Status.FAILED, error=f"two processes died while they worked on this image ({one.end})")

    def _hear(self, one: _Process) -> list[Outcome]:
        """Take the messages of a process.

        Raises:
            SamcliError: what ended it is no image's fault.
        """
        outcomes, error = [], None
        try:
            while error is None and one.connection.poll():
                said = one.connection.recv()
                if isinstance(said, SamcliError):
                    error = said
                elif isinstance(said, Ready):
                    self._ready, one.is_ready = self._ready or said, True
                elif isinstance(said, Ended):
                    self.notes += [note for note in said.notes if note not in self.notes]
                    self.add_seconds(said.seconds)
                else:
                    one.in_flight.pop(said.ref.key, None)
                    outcomes.append(said)
        except (EOFError, OSError):
            one.is_heard = True
        if error is not None:
            raise error
        return outcomes

    def _start(self, device: str) -> _Process:
        ours, theirs = _START.Pipe()
        options = self._job.options
        given = (self._job, self._plan, self._models, device, self._batch, options.run.workers)
        with _environment(OMP_NUM_THREADS=str(self.threads)):
            process = _START.Process(target=_serve, args=(theirs, *given), daemon=True)
            process.start()
        theirs.close()
        return _Process(device, process, ours)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables for processes that are started inside, but for those that the user has set."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _serve(
    connection: Connection, job: Job[Any], plan: Plan, models: Models, device: str, batch: int, workers: int
) -> None:
    """Load the networks, then do what the driver sends; the driver decides when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group, and the driver answers them
        signal.signal(number, signal.SIG_IGN)
    lock = threading.Lock()

    def tell(message: object) -> None:
        with lock:
            connection.send(message)

    try:
        worker = job.on_device(device).load(plan, models)
        tell(Ready(dict(worker.names), worker.default_batch))
        outcomes = run_local(
            worker, iter(connection.recv, None), batch=batch or worker.default_batch, workers=workers, settle=tell
        )
        for _ in outcomes:
            pass
        tell(Ended(worker.notes(), dict(worker.clock.seconds)))
    except (EOFError, BrokenPipeError):
        return  # the driver is gone
    except SamcliError as error:
        tell(error)


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
    threads = run.threads or max(1, find_cores().usable // len(devices))
    with Processes(job, plan, models, devices, batch=run.batch, workers=run.workers, threads=threads) as crew:
        yield crew

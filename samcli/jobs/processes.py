"""Run the work in several processes of this machine, one for each device."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeVar

from samcli.errors import UsageError
from samcli.jobs.base import Job
from samcli.jobs.team import Member, Task, Team

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

R = TypeVar("R")

_START = multiprocessing.get_context("spawn")  # a fork would share the driver's threads and the GPU's state


class _Process(Member):
    """A process of this machine."""

    kind = "a process"

    def __init__(self, device: str, process: SpawnProcess, connection: Connection) -> None:
        super().__init__(device)
        self.process, self.connection = process, connection

    def _send(self, ref: object) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(ref)

    def messages(self) -> list[object]:
        """See Member."""
        found: list[object] = []
        try:
            while self.connection.poll():
                found.append(self.connection.recv())
        except (EOFError, OSError):
            self.is_heard = True
        return found

    def close(self, patience: float) -> None:
        """See Member."""
        self.connection.close()  # it ends at its next message
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    @property
    def is_dead(self) -> bool:
        """See Member."""
        return self.is_heard and not self.process.is_alive()

    @property
    def end(self) -> str:
        """See Member."""
        code = self.process.exitcode
        return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


class Processes(Team[R]):
    """Processes that do a job, one for each of `devices`. Leaving the context ends them."""

    def _waited(self) -> list[Member]:
        processes = [one for one in self._members if isinstance(one, _Process)]
        ends: dict[Any, Member] = {one.connection: one for one in processes}
        ends |= {one.process.sentinel: one for one in processes}
        found = [ends[end] for end in wait(list(ends), timeout=0.2)]
        return list({id(one): one for one in found}.values())

    def _start(self, device: str) -> Member:
        ours, theirs = _START.Pipe()
        with _environment(OMP_NUM_THREADS=str(self.threads)):
            process = _START.Process(target=_serve, args=(theirs, self._task, device), daemon=True)
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


def _serve(connection: Connection, task: Task[Any], device: str) -> None:
    """Do what the driver sends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group, and the driver answers them
        signal.signal(number, signal.SIG_IGN)
    lock = threading.Lock()

    def tell(message: object) -> None:
        with lock:
            connection.send(message)

    with contextlib.suppress(EOFError, BrokenPipeError):  # the driver is gone
        task.serve(device, iter(connection.recv, None), tell)


def devices_of(job: Job[Any]) -> list[str]:
    """Return the device of each process of a run: those of `--device` in turn, `--procs` of them.

    Raises:
        UsageError: fewer processes than devices.
    """
    devices, procs = job.options.segmenter.devices, job.options.run.procs
    if procs is not None and procs < len(devices):
        raise UsageError(f"--procs {procs} with {len(devices)} devices; expected at least one process for each")
    return [devices[number % len(devices)] for number in range(procs or len(devices))]


def threads_of(job: Job[Any], devices: Sequence[str]) -> int:
    """Return the threads of each of the processes on these devices: the cores are divided among them."""
    from samcli.sam.threads import find_cores

    return job.options.run.threads or max(1, find_cores().usable // len(devices))

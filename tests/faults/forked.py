"""Run functions in forked processes: each has a time limit, and whatever becomes of it is known.

A fork shares what its parent has loaded, so that a trial costs its own work only. What a trial that went wrong has
left behind (threads, caches, open files) ends with its process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds; a trial takes well below one."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """What became of a process: its result, or the signal that ended it, or that it took too long.

    `number`: of its function among those that were given, from 0 on.
    """

    number: int
    result: T | None = None
    signal: int = 0
    hung: bool = False

    @property
    def death(self) -> str:
        """How it ended without a result; an empty string where it has one."""
        if self.hung:
            return "hung"
        return f"ended by {signal.Signals(self.signal).name}" if self.signal else ""


def forked(work: Callable[[], T], patience: float = PATIENCE) -> Ended[T]:
    """Return what becomes of one function in a process of its own."""
    return next(iter(all_forked([work], jobs=1, patience=patience)))


def all_forked(works: Iterable[Callable[[], T]], jobs: int, patience: float = PATIENCE) -> Iterator[Ended[T]]:
    """Yield what becomes of each function, in any order; `jobs` of them are at work at once."""
    gc.collect()
    gc.freeze()  # so that children do not copy pages in order to look through them for garbage
    waiting = enumerate(works)
    running: dict[Connection, tuple[int, int, float]] = {}
    try:
        while True:
            while len(running) < jobs and (one := next(waiting, None)) is not None:
                connection, child = _start(one[1])
                running[connection] = one[0], child, time.monotonic() + patience
            if not running:
                return
            until = min(deadline for _, _, deadline in running.values())
            ready = wait(list(running), max(0.0, until - time.monotonic()))
            now = time.monotonic()
            late = [one for one, (_, _, deadline) in running.items() if deadline < now and one not in ready]
            for connection in [one for one in running if one in ready or one in late]:
                number, child, _ = running.pop(connection)
                yield _end(number, connection, child, hung=connection in late)
    finally:
        gc.unfreeze()
        for _, child, _ in running.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _start(work: Callable[[], Any]) -> tuple[Connection, int]:
    ours, theirs = Pipe(duplex=False)
    child = os.fork()
    if child:
        theirs.close()
        return ours, child
    faulthandler.register(signal.SIGUSR1, file=sys.__stderr__)
    try:
        result = pickle.dumps(work())
        theirs.send_bytes(result)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # without waiting for threads that hang


def _end(number: int, connection: Connection, child: int, *, hung: bool) -> Ended[Any]:
    if hung:
        os.kill(child, signal.SIGUSR1)  # says where
        time.sleep(0.5)
        os.kill(child, signal.SIGKILL)
    result, whole = None, False
    with contextlib.suppress(EOFError), connection:
        if not hung:
            result, whole = pickle.loads(connection.recv_bytes()), True
    _, status = os.waitpid(child, 0)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not whole and not ended_by:
        raise RuntimeError("a trial failed to tell its result: see its traceback above")
    return Ended(number, result, ended_by, hung)

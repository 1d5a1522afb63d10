"""Whole commands, each in a process of its own: seconds, CPU seconds, peak memory, and what they printed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from samcli.bench.memory import process_memory, rusage_unit
from samcli.errors import SamcliError

_POLL = 0.02
"""Seconds between looks at a process; its peak memory of the last such moment can be missed."""

Watch = Callable[[float], None]
"""Told now and then of a process's memory, in megabytes."""


@dataclass(frozen=True)
class Finished:
    """A process that has ended well."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def samcli_command(*arguments: object) -> list[str]:
    """Return the command line of this very samcli."""
    return [sys.executable, "-m", "samcli", *map(str, arguments)]


def run_command(command: Sequence[str], *, threads: int | None = None, watch: Watch | None = None) -> Finished:
    """Run a command to its end and measure it.

    `threads`: of its networks; None: as it likes.

    Raises:
        SamcliError: it failed; its last line says why.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment(threads))
        try:
            used = _wait(process, watch)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = used.status
        if process.returncode:
            raise SamcliError(f"{' '.join(command[1:4])}... failed: {last_line(errors.read, errors.seek)}")
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Finished(seconds, used.cpu_seconds, used.peak_mb, text)


@dataclass(frozen=True)
class _Used:
    """Exit status of a process, and what it used; 0 where the system does not say."""

    status: int
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


def _ended(process: subprocess.Popen[bytes], peak: float) -> _Used | None:
    """Return the facts about a process that has ended; None while it runs. `peak`: its memory as seen, in MB."""
    if not hasattr(os, "wait4"):  # Windows
        status = process.poll()
        return None if status is None else _Used(status, peak_mb=peak)
    pid, status, used = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    # Not ru_maxrss where there is a choice: it counts what the parent held when it began the process.
    megabytes = peak or used.ru_maxrss / rusage_unit()
    return _Used(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, megabytes)


def _wait(process: subprocess.Popen[bytes], watch: Watch | None) -> _Used:
    """Wait for the end of a process."""
    peak = 0.0
    while True:
        if (used := _ended(process, peak)) is not None:
            return used
        peak = max(peak, process_memory(process.pid, "VmHWM") or 0.0)
        if watch and (memory := process_memory(process.pid, "VmRSS")):
            watch(memory)
        time.sleep(_POLL)


def environment(threads: int | None) -> dict[str, str]:
    """This process's, with the number of threads that numerical libraries take.

    Options of samcli's that it sets stay out: what is measured is what the command says.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SAMCLI_") or name == "SAMCLI_CACHE"
    }
    if threads is None:
        return inherited
    return {**inherited, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def last_line(read: Callable[[], bytes], seek: Callable[[int], int]) -> str:
    """Return the last line that says something of what a process wrote to stderr."""
    seek(0)
    lines = [line.strip() for line in read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")

"""Fit the number of threads to the machine, and keep threads from burning the processor while they wait.

torch asks for a thread per core of the machine. In a container with a CPU quota, or with an affinity of fewer
cores, that is too many: threads that hold no core are waited for by threads that spin, which uses the quota up.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Make OpenMP threads sleep at the end of a parallel region instead of spinning: GNU's library, and Intel's."""

_WAITING_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@dataclass(frozen=True)
class Cores:
    """Cores that this process may use: by affinity, and the CPU quota in cores (None: there is none)."""

    affinity: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Whole cores, at least one."""
        return max(1, math.floor(min(self.affinity, self.quota or self.affinity)))


def find_cores(root: Path = Path("/")) -> Cores:
    """Return the cores that this process may use, by its affinity and its cgroups' quotas.

    `root`: where /proc and /sys lie; for tests.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Cores(affinity, min(_quotas(root), default=None))


def fit_threads(threads: int | None = None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what torch's OpenMP reads when it is loaded: call it before torch is imported.

    `threads`: what the user asked for; None for as many as there are usable cores. OMP_NUM_THREADS and the
    waiting policy of the user's environment are kept.
    """
    if not any(name in environment for name in _WAITING_BY_USER):
        environment.update(_WAITING)
    usable = find_cores().usable
    if "OMP_NUM_THREADS" not in environment and (threads or usable < (os.cpu_count() or 1)):
        environment["OMP_NUM_THREADS"] = str(threads or usable)


def torch_threads() -> int | None:
    """Return the number of threads of torch's operators on a CPU; None where torch was not imported."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else None


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process's cgroups and of all groups above them, in cores; versions 1 and 2."""
    mounts = dict(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version not in mounts or (version == 1 and "cpu" not in controllers.split(",")):
            continue
        top, prefix = mounts[version]
        inner = PurePosixPath(group.removeprefix(prefix).lstrip("/"))
        if ".." in inner.parts:  # the process was moved out of its namespace's group: only the top is in sight
            inner = PurePosixPath()
        for place in (inner, *inner.parents):
            quota = _quota(root / top / place, version)
            if quota is not None:
                yield quota


def _mounts(root: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """By version, where the groups that limit the CPU are mounted, and which group lies there."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        words, kinds = before.split(), after.split()
        if len(words) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            yield 2, (words[4].lstrip("/"), words[3])
        elif kinds[0] == "cgroup" and "cpu" in kinds[2].split(","):
            yield 1, (words[4].lstrip("/"), words[3])


def _quota(group: Path, version: int) -> float | None:
    """Return the quota of one group in cores; None where it has none, or cannot be read."""
    try:
        if version == 2:
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # `max` is no number
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

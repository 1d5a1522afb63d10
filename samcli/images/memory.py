"""Measure the available memory, and admit large images one at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from samcli.errors import MemoryShortageError

LARGE = 256 << 20
"""Bytes to decode from which on an image counts as large: two at a time could be too much."""

_SHARE = 0.9
"""Of the memory that is available, the share that one image may take."""

_CGROUPS = Path("/sys/fs/cgroup")
_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def room_for(cost: int) -> Iterator[None]:
    """Decode a large image alone, and only where it fits. `cost`: the bytes that decoding takes at most.

    Raises:
        MemoryShortageError: there is less memory now.
    """
    if cost < LARGE:
        yield
        return
    with _one_at_a_time:
        available = available_memory()
        if available is not None and cost > available * _SHARE:
            raise MemoryShortageError(
                f"takes {_gigabytes(cost)} of memory to decode, {_gigabytes(available)} are available"
            )
        yield


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine, its control groups and its limits.

    None where the system does not say.
    """
    known = [of for of in (_of_machine(), *_of_groups(), *_of_limits()) if of is not None]
    return max(min(known), 0) if known else None


def _of_machine() -> int | None:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _of_groups() -> Iterator[int | None]:
    """Return what the control groups of this process leave, for both versions."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _CGROUPS / controllers
        folder = top / name.lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(top):
                yield _of_group(group)


def _of_group(group: Path) -> int | None:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        numbers = [next(iter(_lines(group / name)), "") for name in (limit, used)]
        if all(number.isdigit() for number in numbers):
            return int(numbers[0]) - int(numbers[1]) + _cached(group)
    return None


def _cached(group: Path) -> int:
    """Bytes of files that a group's use counts, and that the kernel gives back at once."""
    rows = dict(line.split() for line in _lines(group / "memory.stat") if len(line.split()) == 2)
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))


def _of_limits() -> Iterator[int | None]:
    """Return what `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource
    except ImportError:
        return
    sizes = next(iter(_lines(Path("/proc/self/statm"))), "").split()
    if len(sizes) < 6:
        return
    page = os.sysconf("SC_PAGE_SIZE")
    for limit, used in ((resource.RLIMIT_AS, sizes[0]), (resource.RLIMIT_DATA, sizes[5])):
        most = resource.getrlimit(limit)[0]
        yield None if most == resource.RLIM_INFINITY else most - int(used) * page


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

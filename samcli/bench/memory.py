"""Peak memory of processes, in megabytes (2^20 bytes): the system's own high-water mark where it keeps one."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_RESET_PEAK = "5"
"""What makes Linux forget a process's peak (proc(5), clear_refs)."""


def reset_peak() -> None:
    """Let this process's peak start over from what it holds now; where that cannot be done it goes on rising."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def own_peak() -> float:
    """Return the peak memory since the last reset; 0 where the system does not say (Windows)."""
    if (peak := process_memory("self", "VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return 0.0

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / rusage_unit()


def process_memory(process: int | str, field: str) -> float | None:
    """`VmHWM` (peak) or `VmRSS` (now) of a process; None where it is not known, or the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)


def rusage_unit() -> int:
    """Return the number of `ru_maxrss` units per megabyte: kilobytes, but bytes on macOS."""
    return 1 << 20 if sys.platform == "darwin" else 1 << 10

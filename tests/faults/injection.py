"""Make the Nth call of the system about files below one folder fail.

The functions of `os` and `io` through which all of samcli's own files go are replaced while a fault is awaited;
what lies elsewhere (libraries, weights, the terminal) is not counted and never fails.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("ENOSPC", "EIO", "EACCES", "EMFILE", "ENOMEM", "EINTR", "ESTALE", "short")
"""Errors by name, and a write that takes half of the bytes before the disk is full."""

KILL = "SIGKILL"
"""The process ends at the call, without any clean-up."""

_AGAIN = ("open", "read", "write", "fsync", "scandir")
"""What Python calls again by itself where a signal interrupts it (EINTR)."""

_ONLY_DESCRIPTORS = ("open", "scandir")
"""Calls that can find the process without a free descriptor (EMFILE)."""

_ONLY_SPACE = ("open", "write", "fsync", "replace", "mkdir", "link")
"""Calls that can find the disk full (ENOSPC)."""


@dataclass
class Fault:
    """What is to fail: the `nth` call (from 1 on; 0: none), once or from then on, and how."""

    root: Path
    nth: int = 0
    kind: str = "EIO"
    lasting: bool = False
    calls: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    """Faults that were injected, by operation."""

    def meet(self, operation: str, path: Any) -> bool:
        """Count a call; True where a write is to be short.

        Raises:
            OSError: this call fails.
        """
        if not self.concerns(path):
            return False
        self.calls += 1
        if not self.nth or self.calls < self.nth or (self.calls > self.nth and not self.lasting):
            return False
        if self.kind == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "short" and operation == "write":
            self.hit["short write"] += 1
            return True
        name = "ENOSPC" if self.kind == "short" else self.kind
        if not _can_happen(name, operation):
            return False
        self.hit[operation] += 1
        raise OSError(
            getattr(errno, name),
            os.strerror(getattr(errno, name)),
            None if isinstance(path, int) else os.fspath(path),
        )

    def concerns(self, path: Any) -> bool:
        """Whether a path or an open descriptor is below the root."""
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115 - no path of ours
            except OSError:
                return False
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(f"{self.root}/")  # noqa: PTH100
        except (TypeError, ValueError):
            return False


def _can_happen(kind: str, operation: str) -> bool:
    """Whether a system ends such a call with such an error, and Python lets it through."""
    if kind == "EINTR":
        return operation not in _AGAIN
    if kind == "EMFILE":
        return operation in _ONLY_DESCRIPTORS
    return kind != "ENOSPC" or operation in _ONLY_SPACE


class _File:
    """An open file whose reads and writes can fail."""

    def __init__(self, file: Any, path: Any, fault: Fault) -> None:
        self._file, self._path, self._fault = file, path, fault

    def read(self, *size: int) -> Any:
        self._fault.meet("read", self._path)
        return self._file.read(*size)

    def readline(self, *size: int) -> Any:
        self._fault.meet("read", self._path)
        return self._file.readline(*size)

    def write(self, data: Any) -> int:
        if self._fault.meet("write", self._path):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(data))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """Let the fault happen in what is called inside."""
    real = {(module, name): getattr(module, name) for module, name in _REPLACED}
    real_open = io.open

    def opened(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not isinstance(path, int):
            fault.meet("open", path)
        file = real_open(path, mode, *more, **options)
        return _File(file, path, fault) if fault.concerns(path) else file

    def failing(operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(path: Any = ".", *more: Any, **options: Any) -> Any:
            fault.meet(operation, path)
            return call(path, *more, **options)

        return attempt

    try:
        for (module, name), call in real.items():
            setattr(module, name, opened if call is real_open else failing(_OPERATION.get(name, name), call))
        yield fault
    finally:
        for (module, name), call in real.items():
            setattr(module, name, call)


_REPLACED = (
    (builtins, "open"), (io, "open"), (os, "open"), (os, "fsync"), (os, "replace"), (os, "rename"), (os, "link"),
    (os, "mkdir"), (os, "unlink"), (os, "remove"), (os, "rmdir"), (os, "scandir"), (os, "listdir"), (os, "stat"),
)  # fmt: skip
_OPERATION = {"rename": "replace", "remove": "unlink", "rmdir": "unlink", "listdir": "scandir"}

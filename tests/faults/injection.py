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

OPERATIONS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "scandir")


@dataclass
class Fault:
    """What is to fail: the `nth` call (from 1 on; 0: none), once or from then on, and how; `kill`: the process."""

    root: Path
    nth: int = 0
    kind: str = "EIO"
    lasting: bool = False
    kill: bool = False
    calls: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    """Faults that were injected, by operation."""

    def meet(self, operation: str, path: Any) -> bool:
        """Count a call; True where a write is to be short.

        Raises:
            OSError: this call fails.
        """
        if not self._concerns(path):
            return False
        self.calls += 1
        if not self.nth or self.calls < self.nth or (self.calls > self.nth and not self.lasting):
            return False
        self.hit[operation] += 1
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "short" and operation == "write":
            return True
        name = "ENOSPC" if self.kind == "short" else self.kind
        number = getattr(errno, name)
        if name == "EINTR" and operation in ("open", "write", "fsync"):
            return False  # Python calls these again by itself
        raise OSError(number, os.strerror(number), None if isinstance(path, int) else os.fspath(path))

    def _concerns(self, path: Any) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115 - no path of ours
            except OSError:
                return False
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(f"{self.root}/")  # noqa: PTH100
        except (TypeError, ValueError):
            return False


class _File:
    """A file opened for writing, whose writes can fail."""

    def __init__(self, file: Any, path: Any, fault: Fault) -> None:
        self._file, self._path, self._fault = file, path, fault

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
        changes = any(letter in mode for letter in "wax+")
        return _File(file, path, fault) if changes and fault._concerns(path) else file

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
    (builtins, "open"), (io, "open"), (os, "open"), (os, "fsync"), (os, "replace"), (os, "rename"), (os, "mkdir"),
    (os, "unlink"), (os, "remove"), (os, "rmdir"), (os, "scandir"), (os, "listdir"),
)  # fmt: skip
_OPERATION = {"rename": "replace", "remove": "unlink", "rmdir": "unlink", "listdir": "scandir"}

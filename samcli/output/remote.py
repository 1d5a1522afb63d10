"""The output folder of a run in an object store, and the local folder through which its files go.

A run works in the local folder as it always does. The files of an image are put into the store, and removed here,
before the image's line comes into the journal; lines of the journal follow every few seconds. So whatever is
killed, the store holds a run that goes on anywhere.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samcli.files import write_atomic
from samcli.stores.store import Store

_SHARED = "shared.json"
"""Beside the local folder: sizes and times of the files of the whole run, as the store has them."""
_OF_THIS_MACHINE = ("lock", "running", "journal", "large", ".samcli-")
"""Beginnings of the names of files that are no part of a run elsewhere, or that are sent in another way."""


@dataclass(frozen=True)
class RemoteFolder:
    """An output folder in a store. It can be sent to other processes.

    `local`: the folder in which the run works. `session`: of one run; what was listed counts for that long.
    `is_new`: the store held no run when this one began.
    """

    store: Store
    local: Path
    session: str = ""
    is_new: bool = True

    @property
    def url(self) -> str:
        """Return the address."""
        return self.store.url

    def names_in(self, folder: str) -> frozenset[str]:
        """Return the names that a folder, given by its local path, had in the store when the run began.

        Raises:
            StorageError: the store does not answer.
        """
        name = self._name(folder)
        try:
            name.encode()
        except UnicodeEncodeError:  # no store has such names
            return frozenset()
        return _names_in(self.store, name, self.session)

    def shown(self, path: str | Path) -> str:
        """Return the address of a file, given by its local path."""
        return self.store.shown(self._name(path))

    def read(self, path: str | Path) -> bytes:
        """Return the content of a file that is not here.

        Raises:
            FileNotFoundError: the store has none.
            StorageError: the store does not answer.
        """
        return self.store.get(self._name(path))

    def bring_earlier(self, path: str | Path) -> None:
        """Bring a file here that an earlier run has left, if there is one.

        Raises:
            StorageError: the store does not answer.
        """
        if not os.path.lexists(path) and self._had(path):
            write_atomic(Path(path), self.read(path))

    def push(self, paths: Sequence[str | Path]) -> None:
        """Put files, or folders of them, into the store and remove them here; what is not here goes there, too.

        Raises:
            StorageError: the store does not take them.
        """
        for path in paths:
            if os.path.isdir(path):  # noqa: PTH112 - strings, asked for by the million
                self._push_folder(Path(path))
            elif os.path.lexists(path):
                self.store.put_file(self._name(path), Path(path))
        for path in reversed(paths):
            if not os.path.lexists(path) and self._had(path):
                self._delete(self._name(path))
        for path in paths:
            if os.path.isdir(path):  # noqa: PTH112
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)  # noqa: PTH108

    def _push_folder(self, folder: Path) -> None:
        name = self._name(folder)
        files = sorted(entry.name for entry in folder.iterdir())
        for file in files:
            self.store.put_file(f"{name}/{file}", folder / file)
        if self._had(folder):
            for entry in self.store.below(name).entries():
                if entry.name not in files:
                    self.store.delete(f"{name}/{entry.name}")

    def _delete(self, name: str) -> None:
        """Remove an object, and all below a folder of that name."""
        for entry in list(self.store.below(name).entries()):
            self.store.delete(f"{name}/{entry.name}")
        self.store.delete(name)

    def _had(self, path: str | Path) -> bool:
        folder, _, name = str(path).rpartition("/")
        return not self.is_new and name in self.names_in(folder)

    def _name(self, path: str | Path) -> str:
        """Return the name of a local path in the store."""
        return str(path)[len(str(self.local)) + 1 :]

    def push_shared(self) -> None:
        """Put the files for the whole run that have changed into the store, then remove those that are gone here.

        No image may be at work.

        Raises:
            StorageError: the store does not take them.
        """
        before, now = self._shared(), dict(self._files())
        for name, state in now.items():
            if before.get(name) != state:
                self.store.put_file(name, self.local / name)
        for name in before.keys() - now.keys():
            self.store.delete(name)
        self.remember_shared()

    def remember_shared(self) -> None:
        """Note that the store has the files for the whole run as they are now."""
        write_atomic(self.local.with_name(f"{self.local.name}-{_SHARED}"), json.dumps(dict(self._files())).encode())

    def _shared(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = json.loads(self.local.with_name(f"{self.local.name}-{_SHARED}").read_bytes())
        return found

    def _files(self) -> Iterator[tuple[str, list[int]]]:
        for folder, _, files in os.walk(self.local):
            for file in files:
                if not file.startswith(_OF_THIS_MACHINE):
                    status = os.stat(f"{folder}/{file}")  # noqa: PTH116
                    yield self._name(f"{folder}/{file}"), [status.st_size, status.st_mtime_ns]


@functools.lru_cache(maxsize=64)
def _names_in(store: Store, folder: str, session: str) -> frozenset[str]:
    return frozenset(entry.name.rstrip("/").rpartition("/")[2] for entry in store.names(folder))


def read_ahead(remote: RemoteFolder, paths: Iterable[str]) -> Iterator[Callable[[], bytes]]:
    """Yield for each file of the store, in order, what returns its content, or raises what `read` raises.

    Some are read at the same time.
    """
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, "records") as pool:
        for path in paths:
            waiting.append(pool.submit(remote.read, path))
            if len(waiting) >= 4 * _AT_ONCE:
                yield waiting.popleft().result
        while waiting:
            yield waiting.popleft().result


_AT_ONCE = 16
"""Requests at the same time."""

"""A folder in an object store, read and written with retries and time limits.

What is written appears whole or not at all: stores show an object once all of it has arrived.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import posixpath
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from samcli.errors import ImageError, SamcliError, StorageError, one_line
from samcli.images.hanging import within
from samcli.stores.addresses import split_address

T = TypeVar("T")

log = logging.getLogger("samcli")

_SLOWEST = 1_000_000
"""Bytes a second: a transfer that is slower for long is given up and tried again."""
_LARGE = 32 << 20
"""Bytes from which on a file is sent in parts from the disk."""
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between tries; each is varied, so that many clients do not come back together."""

_FINAL = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ImportError,
    TypeError, UnicodeError,
)  # fmt: skip
"""Errors that no further try resolves."""
_FINAL_NAMES = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError"}
)
"""The same, by the names of errors of clients that are not imported here."""


@dataclass(frozen=True)
class Entry:
    """An object. `name`: its path below the store's folder; `version`: a number that another content changes."""

    name: str
    size: int
    version: int


@dataclass(frozen=True)
class Store:
    """A folder in an object store.

    `timeout`: seconds that a request may take, beside the time for its bytes.
    """

    url: str
    timeout: float = 60.0

    @property
    def _place(self) -> tuple[str, str]:
        return split_address(self.url)

    @property
    def _client(self) -> Any:
        return _client(self._place[0], self.timeout)

    def _path(self, name: str) -> str:
        base = self._place[1]
        return f"{base}/{name}" if name else base

    def below(self, folder: str) -> Store:
        """Return the store of a folder below this one."""
        return Store(f"{self.url.rstrip('/')}/{folder}" if folder else self.url, self.timeout)

    def get(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the content of an object, or its bytes from `start` to before `end`.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be read after several tries.
        """
        size = 0 if start is None or end is None else end - start

        def work() -> bytes:
            data: bytes = self._call("cat_file", self._path(name), start=start, end=end, size=size)
            if size and len(data) > size:
                raise OSError("more bytes than were asked for")
            return data

        return self._tried(f"read {self.shown(name)}", work)

    def get_whole(self, name: str, size: int, start: int = 0) -> bytes:
        """Return `size` bytes of an object; fewer, of a connection that was cut, count as a failure.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: it cannot be read after several tries, or has fewer bytes.
        """

        def work() -> bytes:
            if not size:
                return b""
            data: bytes = self._call("cat_file", self._path(name), start=start, end=start + size, size=size)
            if len(data) != size:
                raise OSError(f"{len(data)} of {size} bytes")
            return data

        return self._tried(f"read {self.shown(name)}", work)

    def put(self, name: str, data: bytes) -> None:
        """Write an object.

        Raises:
            StorageError: it cannot be written after several tries.
        """
        self._make_folder(name)
        self._tried(
            f"write {self.shown(name)}",
            lambda: self._call("pipe_file", self._path(name), data, size=len(data)),
        )

    def put_file(self, name: str, file: Path) -> None:
        """Write an object from a file, which may be larger than the memory. Raises what `put` raises."""
        size = file.stat().st_size
        if size < _LARGE:
            self.put(name, file.read_bytes())
            return
        self._make_folder(name)
        self._tried(
            f"write {self.shown(name)}", lambda: self._call("put_file", str(file), self._path(name), size=size)
        )

    def get_file(self, name: str, file: Path) -> None:
        """Copy an object into a file, piece by piece. Raises what `get` raises."""
        size = self.entry(name).size
        with file.open("wb") as target:
            for start in range(0, size, _LARGE):
                target.write(self.get_whole(name, min(_LARGE, size - start), start))

    def entry(self, name: str) -> Entry:
        """Return the size and the version of an object. Raises what `get` raises."""
        row = self._tried(f"read {self.shown(name)}", lambda: self._call("info", self._path(name)))
        found = self._entry(row)
        if found is None or found.name.endswith("/"):
            raise FileNotFoundError(self.shown(name))
        return found

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if there is none of that name; return whether it was written.

        Raises:
            StorageError: it cannot be written after several tries.
        """
        self._make_folder(name)

        def work() -> bool:
            try:
                self._call("pipe_file", self._path(name), data, mode="create")
            except FileExistsError:
                return self.get(name) == data  # an earlier try may have written it, and its answer was lost
            return True

        return self._tried(f"write {self.shown(name)}", work)

    def delete(self, name: str) -> None:
        """Remove an object, if there is one.

        Raises:
            StorageError: it cannot be removed after several tries.
        """
        with contextlib.suppress(FileNotFoundError):
            self._tried(f"remove {self.shown(name)}", lambda: self._call("rm_file", self._path(name)))

    def names(self, folder: str) -> list[Entry]:
        """Return what lies in a folder, not below: objects, and folders with a slash at the end of their names.

        Raises:
            StorageError: the store does not answer.
        """
        path = self._path(folder)
        try:
            rows = self._tried(f"list {self.shown(folder)}", lambda: self._call("ls", path, detail=True))
        except FileNotFoundError:
            return []
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def entries(self) -> Iterator[Entry]:
        """Yield all objects below the folder, without holding them: there may be a hundred million.

        Raises:
            FileNotFoundError: there is no such bucket.
            StorageError: the store does not answer.
        """
        if self._place[0] == "s3":
            yield from self._s3_entries()
            return
        pending = [""]
        while pending:
            folder = pending.pop()
            found = self.names(folder)
            yield from (entry for entry in found if not entry.name.endswith("/"))
            below = (entry.name.rstrip("/") for entry in found if entry.name.endswith("/"))
            pending += sorted((one for one in below if _leads_down(folder, one)), reverse=True)

    def _s3_entries(self) -> Iterator[Entry]:
        """Yield the objects of the pages in which S3 lists a whole tree."""
        bucket, _, prefix = self._place[1].partition("/")
        prefix = f"{prefix}/" if prefix else ""
        more: dict[str, Any] = {}
        while True:
            page = self._tried(
                f"list {self.url}",
                lambda: self._call("call_s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **more),  # noqa: B023
            )
            for row in page.get("Contents", ()):
                name = row["Key"][len(prefix) :]
                if name and not name.endswith("/"):
                    yield Entry(name, int(row["Size"]), _version(row))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _entry(self, row: dict[str, Any]) -> Entry | None:
        """Return what a row of a listing says; None: it is the folder itself."""
        base, path = self._place[1].strip("/"), str(row["name"]).strip("/")
        name = path[len(base) :].strip("/")
        if not name or not path.startswith(base):
            return None
        if row.get("type") == "directory":
            return Entry(name + "/", 0, 0)
        return Entry(name, int(row.get("size") or 0), _version(row))

    def shown(self, name: str) -> str:
        """Return the address of an object, for messages."""
        return f"{self.url.rstrip('/')}/{name}" if name else self.url

    def _make_folder(self, name: str) -> None:
        """Make the folder of an object where the store is a file system."""
        if self._is_local:
            self._client.makedirs(posixpath.dirname(self._path(name)), exist_ok=True)

    @property
    def _is_local(self) -> bool:
        return self._place[0] == "file"

    def _call(self, name: str, *arguments: Any, size: int = 0, **options: Any) -> Any:
        """Make a request, within the time limit."""
        client, limit = self._client, self.timeout + size / _SLOWEST
        work = getattr(client, f"_{name}", None)
        if not client.async_impl or work is None:
            return _within(0.0 if self._is_local else limit, lambda: getattr(client, name)(*arguments, **options))
        from fsspec.asyn import sync

        return sync(client.loop, work, *arguments, timeout=limit, **options)

    def _tried(self, what: str, work: Callable[[], T]) -> T:
        """Return what a request returns; where it fails for a reason that may pass, it is tried again."""
        for pause in (*_PAUSES, None):
            try:
                return work()
            except Exception as error:
                if isinstance(error, (FileNotFoundError, SamcliError)):
                    raise
                if pause is None or isinstance(error, _FINAL) or type(error).__name__ in _FINAL_NAMES:
                    raise StorageError(f"cannot {what}: {reason(error)}") from error
                log.debug("cannot %s: %s; trying again", what, reason(error))
                time.sleep(pause * random.uniform(0.5, 1.0))
        raise AssertionError  # the last pause is None


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or give up after so many seconds; 0: no limit.

    Raises:
        TimeoutError: it took longer.
    """
    try:
        return within(seconds, work)
    except ImageError as error:
        raise error.__cause__ or error from None


def _leads_down(folder: str, below: str) -> bool:
    """Return whether a folder lies in another; a doubled slash or `..` in a name would lead around for ever."""
    return below != folder and {"", ".", ".."}.isdisjoint(below.split("/"))


def reason(error: BaseException) -> str:
    """Return why a request failed, without anything that could be a secret."""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return "no credentials: set the environment variables or the configuration file of the provider"
    if isinstance(error, PermissionError):
        return "access denied: do the credentials allow it?"
    if "Timeout" in type(error).__name__:
        return "no answer within the time limit (--store-timeout)"
    return one_line(error).partition("?")[0][:300]  # a signed address has its signature behind the question mark


@functools.lru_cache(maxsize=16)
def _client(scheme: str, timeout: float) -> Any:
    """Return the client of a kind of store. Listings are not kept: they would fill the memory."""
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        seconds = max(1, round(timeout))
        options["config_kwargs"] = {
            "connect_timeout": min(10, seconds),
            "read_timeout": seconds,
            "retries": {"max_attempts": 1},
        }
    client = fsspec.filesystem(scheme, **options)
    if hasattr(client, "retries"):
        client.retries = 1  # `Store` tries again
    return client


def _version(row: dict[str, Any]) -> int:
    """Return a number that another content changes: nanoseconds of its time, or a part of its checksum."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        when = row.get(name)
        if isinstance(when, str):
            with contextlib.suppress(ValueError):
                when = datetime.fromisoformat(when.replace("Z", "+00:00"))
        if isinstance(when, datetime):
            return round(when.timestamp() * 1_000_000) * 1000
        if isinstance(when, (int, float)) and when:
            return int(when * 1_000_000_000)
    checksum = row.get("ETag") or row.get("etag") or row.get("blob_id") or row.get("md5") or ""
    return int.from_bytes(sha256(str(checksum).encode()).digest()[:7], "big") if checksum else 0

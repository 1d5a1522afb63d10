"""Tar files of images, as WebDataset has them: where each image lies in its file."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samcli.errors import UsageError, one_line
from samcli.stores.store import Store

_BLOCK = 1 << 20
"""Bytes of a request while the headers of a file are read."""


@dataclass(frozen=True)
class Member:
    """A file in a tar file. `offset`: of its first byte."""

    name: str
    offset: int
    size: int
    mtime_ns: int


def members(store: Store, name: str) -> Iterator[Member]:
    """Yield the ordinary files in an uncompressed tar file. Of two of one name the last counts.

    Raises:
        UsageError: it is no tar file, is compressed, or breaks off.
        FileNotFoundError: there is none.
        StorageError: the store does not answer.
    """
    where = store.shown(name)
    found: dict[str, Member] = {}
    try:
        with (
            io.BufferedReader(content := _Object(store, name), _BLOCK) as file,
            tarfile.open(fileobj=file, mode="r:") as tar,  # never compressed: there is no offset to read from
        ):
            while (one := tar.next()) is not None:
                if one.isreg() and not one.issparse():
                    path = one.name.removeprefix("./")
                    found[path] = Member(path, one.offset_data, one.size, int(one.mtime * 1_000_000_000))
                vars(tar)["members"].clear()  # it would hold all of them
                if one.offset_data + one.size > content.length:
                    raise UsageError(f"{where} breaks off in {one.name}: is it complete?")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{where} cannot be read as a tar file ({one_line(error)}); expected one without compression"
        ) from error
    yield from found.values()


class _Object(io.RawIOBase):
    """An object as a file to read and to seek in."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.length = store.entry(name).size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self.length - self._at))
        data = self._store.get_whole(self._name, size, self._at) if size else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

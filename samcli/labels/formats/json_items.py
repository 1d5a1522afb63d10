"""Large JSON files item by item: only the item at hand is in memory."""

from __future__ import annotations

import itertools
import json
import mmap
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.errors import UsageError

_WINDOW = 1 << 20
_DECODER = json.JSONDecoder()
_OF_NUMBERS = ("", *".eE+-0123456789")
"""What may follow the first part of a number that a window has cut."""

_SPACE = re.compile(rb"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list at the root ("") or of a list that the root object has under `name`.

    Members of the root object that are no lists are items too. `start`, `end`: its bytes in the file.
    """

    name: str
    start: int
    end: int
    rough: Any
    """Its value, but with text as if it were Latin-1: for numbers and names in ASCII alone."""


def beginning(path: Path, count: int = 4) -> list[Item]:
    """The first items of a JSON file; none of what is no JSON."""
    try:
        return list(itertools.islice(JsonFile(path).items(), count))
    except UsageError:
        return []


class JsonFile:
    """A JSON file, looked into and not loaded.

    Raises:
        UsageError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise UsageError(f"cannot read {path}: {reason}") from error
        self._base, self._text = 0, ""

    def value(self, item: Item) -> Any:
        """The item's value."""
        return self.value_at(item.start, item.end)

    def value_at(self, start: int, end: int) -> Any:
        """The value that lies at these bytes."""
        return json.loads(self._data[start:end])

    def items(self) -> Iterator[Item]:
        """All items in order.

        Raises:
            UsageError: it is not JSON; says where.
        """
        at = self._skip(3 if self._data[:3] == b"\xef\xbb\xbf" else 0)
        if self._data[at : at + 1] == b"[":
            at = yield from self._list("", at)
        else:
            at = yield from self._members(self._after(at, b"{"))
        if at < len(self._data):
            raise self._error(at, "more after the end")

    def _members(self, at: int) -> Generator[Item, None, int]:
        """Yields what the root object has, from its first name on; returns where it ends."""
        if self._data[at : at + 1] == b"}":
            return self._skip(at + 1)
        while True:
            if self._data[at : at + 1] != b'"':
                raise self._error(at, "expecting a name in double quotes")
            name, end = self._decode(at)
            at = self._after(self._skip(end), b":")
            if self._data[at : at + 1] == b"[":
                at = yield from self._list(name, at)
            else:
                value, end = self._decode(at)
                yield Item(name, at, end, value)
                at = self._skip(end)
            if self._data[at : at + 1] == b"}":
                return self._skip(at + 1)
            at = self._after(at, b",")

    def _list(self, name: str, at: int) -> Generator[Item, None, int]:
        """Yields the items of the list at `at`; returns where the next thing begins."""
        at = self._skip(at + 1)
        if self._data[at : at + 1] == b"]":
            return self._skip(at + 1)
        while True:
            value, end = self._decode(at)
            yield Item(name, at, end, value)
            at = self._skip(end)
            if self._data[at : at + 1] == b"]":
                return self._skip(at + 1)
            at = self._after(at, b",")

    def _decode(self, at: int) -> tuple[Any, int]:
        """The value at a byte, and where it ends. Latin-1 makes a character of every byte, so places are bytes."""
        size = _WINDOW
        inside = self._base <= at < self._base + len(self._text) - _WINDOW // 2
        while True:
            if not inside:
                self._base, self._text = at, self._data[at : at + size].decode("latin-1")
            whole = self._base + len(self._text) >= len(self._data)
            try:
                value, end = _DECODER.raw_decode(self._text, at - self._base)
                if whole or self._text[end : end + 1] not in _OF_NUMBERS:
                    return value, self._base + end
            except json.JSONDecodeError as error:
                if whole:
                    raise self._error(self._base + error.pos, error.msg) from error
            except (RecursionError, ValueError) as error:
                raise self._error(at, str(error)) from error
            inside, size = False, size * 2

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._data, at)
        return found.end() if found else at

    def _after(self, at: int, mark: bytes) -> int:
        if self._data[at : at + 1] != mark:
            raise self._error(at, f"expecting '{mark.decode()}'")
        return self._skip(at + 1)

    def _error(self, at: int, problem: str) -> UsageError:
        line = self._data[:at].count(b"\n") + 1
        return UsageError(f"{self._path}:{line}: not JSON: {problem}")

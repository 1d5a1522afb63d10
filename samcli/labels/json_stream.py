"""Read JSON files item by item with ijson, with the line of each item; one item is in memory at a time.

NaN, Infinity and numbers too large for a float, which other tools write, become strings: only the object that
holds them is rejected, not the file. Nesting is bounded.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import pickle
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.errors import UsageError

Place = tuple[str | int, ...]
"""Where a value lies: names and list indices from the root."""

DEEPEST = 64
"""Levels of nesting; label formats have at most eight, and Python ends at a thousand."""

_BLOCK = 1 << 16
_BEGINNING = 1 << 20
_SPOOL = 1 << 24
"""Bytes that a `Shelf` holds in memory before it goes to a temporary file."""

_MARK = b"\xef\xbb\xbf"
_MAYBE_ODD = re.compile(rb"NaN|Infinity|[0-9.][eE]\+?[0-9]{3}|[0-9]{19}|\\u[dD][89a-fA-F]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[A-Za-z]+|-?[0-9][0-9.eE+-]*', re.DOTALL)
_PAIR_OR_LONE = re.compile(rb"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u[dD][c-fC-F]..")
_BYTES_OF_NAMES = re.compile("[\U0010dc80-\U0010dcff]")
_DIGITS = 18


def walk(path: Path, *, levels: int | None = None, pieces: Iterable[bytes] | None = None) -> Iterator[
    tuple[Place, int, Any]
]:  # fmt: skip
    """Place, line and value of what is in a JSON file, in order.

    Items of a list come whole; an object is walked into, down to plain values, lists and empty objects, or
    `levels` deep (1: the members of the root object come whole, unless they are lists).
    `pieces`: the text, where it is not that of the file `path`.

    Raises:
        UsageError: it cannot be read, is no JSON, has a name twice in one object, or is nested too deeply.
    """
    data = _mapped(path) if pieces is None else b"".join(pieces)
    if not len(data):
        raise UsageError(f"{path}:1: not JSON: it is empty")
    repaired = _MAYBE_ODD.search(data) is not None
    yield from _Walk(path, levels).items(_repaired(data) if repaired else _blocks(data), repaired=repaired)


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the list that the root object has under `name`, or of a list at the root ("").

    Members of the root object that are no lists are items too.
    """

    name: str
    value: Any


def beginning(path: Path, count: int = 4) -> list[Item]:
    """Return the first items of a JSON file, as far as its first megabyte holds them; none of what is no JSON."""
    found: list[Item] = []
    with contextlib.suppress(UsageError, OSError):
        with path.open("rb") as file:
            start = file.read(_BEGINNING)
        for place, _, value in itertools.islice(walk(path, levels=1, pieces=[start]), count):
            found.append(Item(place[0] if place and isinstance(place[0], str) else "", value))
    return found


def shown(value: Any) -> str:
    """Return a value out of a file, shortened, in JSON's own words."""
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, (list, dict)) else ""
    kind = f"a list of {len(value)}" if isinstance(value, list) else "an object"
    return (text if len(text) <= 40 else text[:37] + "...") or kind


class Shelf:
    """Values put aside in a temporary file, to be taken by their place when their turn comes."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - it lives as long as the shelf
        self._end = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> bytes:
        """Return the content: a shelf may be sent to another process."""
        with self._lock:
            self._file.seek(0)
            return self._file.read()

    def __setstate__(self, content: bytes) -> None:
        self.__init__()  # type: ignore[misc]
        self._end = self._file.write(content)

    def put(self, value: Any) -> int:
        """Return the place of a plain value that has been put aside."""
        place = self._end
        data = pickle.dumps(value, 5)
        self._file.seek(place)
        self._end += self._file.write(len(data).to_bytes(8, "little") + data)
        return place

    def take(self, place: int) -> Any:
        """Return the value at a place."""
        with self._lock:
            self._file.seek(place)
            data = self._file.read(int.from_bytes(self._file.read(8), "little"))
        return pickle.loads(data)  # our own bytes, in a file without a name


def _mapped(path: Path) -> bytes | mmap.mmap:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise UsageError(f"{path}:1: not JSON: it is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _blocks(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """Yield the bytes in pieces, without the mark that some editors put in front."""
    start = len(_MARK) if data[: len(_MARK)] == _MARK else 0
    for at in range(start, len(data), _BLOCK):
        yield data[at : at + _BLOCK]


def _repaired(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """Yield the bytes in pieces, with what JSON does not allow as text."""
    at = len(_MARK) if data[: len(_MARK)] == _MARK else 0
    for found in _TOKEN.finditer(data, at):
        token = found[0]
        if token[:1] == b'"':
            new = _PAIR_OR_LONE.sub(_with_high_half, token) if b"\\u" in token else token
        else:
            new = b'"%b"' % token if _is_odd(token) else token
        if new != token:
            yield data[at : found.start()]
            yield new
            at = found.end()
        elif found.end() - at > _BLOCK:
            yield data[at : found.end()]
            at = found.end()
    yield data[at:]


def _with_high_half(found: re.Match[bytes]) -> bytes:
    """Return a byte of a name that is no UTF-8, as Python writes it, is no JSON; a character nobody uses stands for
    it.
    """
    return found[0] if found[1] else b"\\udbf7" + found[0]


def _is_odd(token: bytes) -> bool:
    """Return whether it is a number that no parser takes, or one of Python's words for such."""
    if token in (b"NaN", b"Infinity", b"-Infinity"):
        return True
    if not token.lstrip(b"-")[:1].isdigit():
        return False
    if token.lstrip(b"-").isdigit():
        return len(token) > _DIGITS
    try:
        return abs(float(token)) == float("inf")
    except ValueError:
        return False  # the parser says where


@dataclass(slots=True)
class _Frame:
    """A container that is walked into, not built."""

    is_list: bool
    at: str | int = -1
    """The name or index that the walk has reached."""
    seen: set[str] | None = None


class _Walk:
    """Makes values of ijson's events."""

    def __init__(self, path: Path, levels: int | None) -> None:
        self._path, self._levels = path, DEEPEST if levels is None else levels
        self._frames: list[_Frame] = []

    def items(self, pieces: Iterable[bytes], *, repaired: bool) -> Iterator[tuple[Place, int, Any]]:
        """See `walk`."""
        builder: _Builder | None = None
        try:
            for line, events in _events(pieces):
                for event, value in _with_bytes(events) if repaired else events:
                    if builder is not None:
                        if event == "number" and type(builder.top) is list:  # by far the most: coordinates
                            builder.top.append(value)
                        elif builder.take(event, value, line):
                            yield self._place, builder.line, builder.root
                            builder = None
                    elif event == "map_key":
                        self._name(value, line)
                    elif event in _ENDS:
                        frame = self._frames.pop()
                        if frame.at == -1:
                            yield self._place, line, [] if frame.is_list else {}
                    elif not self._enters(event, line):
                        if event in _STARTS:
                            builder = _Builder(event, line)
                        else:
                            yield self._place, line, value
        except _NotJsonError as error:
            raise UsageError(f"{self._path}:{error.line}: not JSON: {error}") from error.__cause__

    @property
    def _place(self) -> Place:
        return tuple(frame.at for frame in self._frames)

    def _name(self, name: str, line: int) -> None:
        frame = self._frames[-1]
        frame.seen = set() if frame.seen is None else frame.seen
        if name in frame.seen:  # the last one would silently win
            raise _NotJsonError(line, f"'{name:.60}' is there twice")
        frame.seen.add(name)
        frame.at = name

    def _enters(self, event: str, line: int) -> bool:
        """Return whether the value that begins is walked into."""
        inside = bool(self._frames) and self._frames[-1].is_list
        if inside:
            self._frames[-1].at = int(self._frames[-1].at) + 1
        if inside or event not in _STARTS or (event == "start_map" and len(self._frames) >= self._levels):
            return False
        if len(self._frames) >= DEEPEST:
            raise _NotJsonError(line, _TOO_DEEP)
        self._frames.append(_Frame(event == "start_array"))
        return True


class _Builder:
    """Makes one value of events."""

    def __init__(self, event: str, line: int) -> None:
        self.root: Any = {} if event == "start_map" else []
        self.line = line
        self.top: Any = self.root
        self._stack: list[Any] = [self.root]
        self._names = [""]

    def take(self, event: str, value: Any, line: int) -> bool:
        """Return the next event; whether the value is complete."""
        top = self.top
        if event not in _OTHERS:
            if type(top) is list:
                top.append(value)
            else:
                top[self._names[-1]] = value
            return False
        if event == "map_key":
            if value in top:
                raise _NotJsonError(line, f"'{value:.60}' is there twice")
            self._names[-1] = value
            return False
        if event in _ENDS:
            self._stack.pop()
            self._names.pop()
            if self._stack:
                self.top = self._stack[-1]
            return not self._stack
        if len(self._stack) >= DEEPEST:
            raise _NotJsonError(line, _TOO_DEEP)
        new: Any = {} if event == "start_map" else []
        if type(top) is list:
            top.append(new)
        else:
            top[self._names[-1]] = new
        self._stack.append(new)
        self._names.append("")
        self.top = new
        return False


_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
_OTHERS = _STARTS | _ENDS | {"map_key"}
_TOO_DEEP = f"nested more than {DEEPEST} deep"


def _with_bytes(events: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Events of a repaired text, with names that are no UTF-8 as Python has them."""
    for event, value in events:
        yield event, _BYTES_OF_NAMES.sub(_halved, value) if isinstance(value, str) else value


def _halved(found: re.Match[str]) -> str:
    return chr(ord(found[0]) - 0x100000)


class _NotJsonError(Exception):
    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def _events(pieces: Iterable[bytes]) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """ijson's events, with the line (from 1) that each was read in."""
    import ijson

    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events, use_float=True)
    line = 1
    try:
        for piece in filter(None, pieces):  # nothing would mean the end
            for part in piece.splitlines(keepends=True) if b"\n" in piece else (piece,):
                parser.send(part)
                if events:
                    yield line, events
                    del events[:]
                line += part.count(b"\n")
        parser.close()
        if events:
            yield line, events
    except (ijson.JSONError, UnicodeDecodeError) as error:
        if events:  # what came before the fault
            yield line, list(events)
        raise _NotJsonError(line, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the parser's message in one line, without its excerpt."""
    text = error.args[0] if error.args else ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    first = text.strip().split("\n")[0].strip()
    first = first.removeprefix("parse error:").removeprefix("lexical error:").strip()
    return {"premature EOF": "it ends too early", "invalid bytes in UTF8 string.": "it is not UTF-8"}.get(
        first, first or "damaged"
    )

"""JSON read item by item: of a million objects one is in memory at a time, and each has its line."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from samcli.errors import UsageError, one_line

Place = tuple[str | int, ...]
"""Where a value lies: names and list indices from the root."""

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets and Windows put a mark in front
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error


def walk(path: Path, text: str) -> Iterator[tuple[Place, int, Any]]:
    """Place, line and value of what is in a JSON text, in order.

    Items of a list come whole; an object is walked into, down to plain values, lists and empty objects.

    Raises:
        UsageError: it is not JSON; names the line.
    """
    line, counted = 1, 0
    try:
        for place, at, value in _document(text):
            line += text.count("\n", counted, at)
            counted = at
            yield place, line, value
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except (RecursionError, ValueError) as error:  # lists in lists in lists, or a number of 5000 digits
        raise UsageError(f"{path}:{line}: not JSON that can be read: {one_line(error)}") from error


def _document(text: str) -> Iterator[tuple[Place, int, Any]]:
    at = yield from _value(text, _skip(text, 0), ())
    if (at := _skip(text, at)) < len(text):
        raise json.JSONDecodeError("more after the end", text, at)


def _value(text: str, at: int, place: Place) -> Generator[tuple[Place, int, Any], None, int]:
    """Yields what is at `at`; returns where it ends."""
    opening = text[at : at + 1]
    inside = _skip(text, at + 1)
    empty = text[inside : inside + 1] in ("}", "]")
    if opening == "{" and not empty:
        return (yield from _members(text, inside, place))
    if opening == "[" and not empty:
        return (yield from _items(text, inside, place))
    value, end = _DECODER.raw_decode(text, at)
    yield place, at, value
    return end


def _items(text: str, at: int, place: Place) -> Generator[tuple[Place, int, Any], None, int]:
    index = 0
    while True:
        value, end = _DECODER.raw_decode(text, at)
        yield (*place, index), at, value
        index += 1
        at = _skip(text, end)
        if text[at : at + 1] == "]":
            return at + 1
        at = _expect(text, at, ",")


def _members(text: str, at: int, place: Place) -> Generator[tuple[Place, int, Any], None, int]:
    seen: set[str] = set()
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("expecting a name in double quotes", text, at)
        name, end = _DECODER.raw_decode(text, at)
        if name in seen:  # the last one would silently win
            raise json.JSONDecodeError(f"'{name}' is there twice", text, at)
        seen.add(name)
        at = _expect(text, _skip(text, end), ":")
        end = yield from _value(text, at, (*place, name))
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return at + 1
        at = _expect(text, at, ",")


def _skip(text: str, at: int) -> int:
    """Where the white space at `at` ends."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, mark: str) -> int:
    """Past a mark and the white space behind it."""
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"expecting '{mark}'", text, at)
    return _skip(text, at + 1)

"""Add items to the lists of a JSON file without changing a byte of what is there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_NAME_ENDS = re.compile(rb"\s*:")


@dataclass
class ListSpan:
    """Position of a list in a text: behind its `[`, at its `]`, and its items that are objects."""

    begin: int
    end: int = -1
    items: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Spans:
    """The lists of the root object by name, or the list that is the root under ""; and where the root ends."""

    lists: dict[str, ListSpan] = field(default_factory=dict)
    end: int = -1


def find_lists(data: bytes) -> Spans:
    """Return where the lists of a JSON text lie. The text is known to be JSON.

    Raises:
        ValueError: it is no object and no list, or no UTF-8.
    """
    if b"\0" in data:
        raise ValueError("its JSON is in UTF-16 or UTF-32; expected UTF-8")
    found, depth, name = Spans(), 0, ""
    current: ListSpan | None = None
    of_items = 0
    for token in _TOKEN.finditer(data):
        symbol = data[token.start()]
        if symbol == 0x22:  # a string: at the root a name, if a colon follows
            if depth == 1 and current is None and _NAME_ENDS.match(data, token.end()):
                name = token[0][1:-1].decode("utf-8", "replace")
        elif symbol in b"[{":
            if symbol == 0x5B and current is None and depth <= 1:
                current, of_items = ListSpan(token.end()), depth + 1
                found.lists[name] = current
            elif current is not None and depth == of_items:
                current.items.append((token.start(), -1))
            depth += 1
        else:
            depth -= 1
            if current is not None and depth == of_items and current.items:
                current.items[-1] = current.items[-1][0], token.end()
            elif current is not None and depth == of_items - 1:
                current.end, current = token.start(), None
            if depth == 0:
                found.end = token.start()
    if found.end < 0:
        raise ValueError("it is no JSON object or list")
    return found


def spliced(
    data: bytes, spans: Spans, new: Mapping[str, Iterable[bytes]], gone: Mapping[str, Collection[int]]
) -> Iterator[bytes]:
    """Yield the text in pieces, with the `new` items of each list at its end.

    `gone`: by list, the numbers of items that are left out. A list that is not there is added to the root object.
    """
    edits: list[tuple[int, int, Iterable[bytes]]] = []
    for name, span in spans.lists.items():
        kept = [number for number in range(len(span.items)) if number not in gone.get(name, ())]
        edits.append(_appended(span, kept, new.get(name, ())))
        edits += [(begin, end, ()) for begin, end in _cuts(span, kept)]
    comma = b"" if data[: spans.end].rstrip().endswith(b"{") else b","
    for name in sorted(new.keys() - spans.lists.keys()):
        edits.append((spans.end, spans.end, _wrapped(comma + b'\n"' + name.encode() + b'":[', new[name])))
        comma = b","
    at = 0
    for begin, end, pieces in sorted(edits, key=lambda edit: edit[:2]):
        yield data[at:begin]
        yield from pieces
        at = end
    yield data[at:]


def with_items(data: bytes, span: ListSpan, changed: Mapping[int, bytes], new: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text in pieces, with `new` items at the end of a list.

    `changed`: other texts of items by their numbers.
    """
    at = 0
    for number in sorted(changed):
        begin, end = span.items[number]
        yield data[at:begin]
        yield changed[number]
        at = end
    last = span.items[-1][1] if span.items else span.begin
    yield data[at:last]
    yield from _joined(new, first=not span.items)
    yield data[last:]


def _appended(span: ListSpan, kept: Sequence[int], new: Iterable[bytes]) -> tuple[int, int, Iterable[bytes]]:
    """Return the edit that adds items to a list behind the last that is kept."""
    at = span.items[kept[-1]][1] if kept else span.begin
    return at, at, _joined(new, first=not kept)


def _cuts(span: ListSpan, kept: Sequence[int]) -> list[tuple[int, int]]:
    """Return the parts of a text that hold the items which are not kept, with the comma of each."""
    items = span.items
    if len(kept) == len(items):
        return []
    if not kept:
        return [(items[0][0], items[-1][1])]
    between = set(range(kept[-1])) - set(kept)
    cuts = [(items[number][0], items[number + 1][0]) for number in sorted(between)]
    return cuts + ([(items[kept[-1]][1], items[-1][1])] if kept[-1] < len(items) - 1 else [])


def _joined(items: Iterable[bytes], *, first: bool) -> Iterator[bytes]:
    for item in items:
        yield (b"\n" if first else b",\n") + item
        first = False


def _wrapped(head: bytes, items: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    yield from _joined(items, first=True)
    yield b"\n]"

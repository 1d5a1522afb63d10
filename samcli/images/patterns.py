"""Patterns of file names as shells have them: `*`, `?`, `[abc]` within a name, `**` for any number of folders."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_ALL = -1
_MAGIC = re.compile(r"[*?[]")


def is_pattern(text: str) -> bool:
    """Return whether a path has a character that makes it a pattern."""
    return _MAGIC.search(text) is not None


@dataclass(frozen=True)
class Pattern:
    """Names of files below a folder; a folder that matches stands for all files in it.

    `parts`: one for each name of a path. A name that begins with a dot is matched like any other: hidden files are
    left out by who walks.
    """

    parts: tuple[str, ...]

    @cached_property
    def _expressions(self) -> tuple[re.Pattern[str] | None, ...]:
        """One for each part; None: any number of folders."""
        return tuple(None if part == "**" else re.compile(fnmatch.translate(part)) for part in self.parts)

    def matches(self, key: str) -> bool:
        """Return whether a file, by its path below the folder, or a folder above it, matches."""
        folder, _, name = key.rpartition("/")
        places = self._reached(folder)
        return _ALL in places or not self._ends.isdisjoint(self._step(places, name))

    def may_hold(self, folder: str) -> bool:
        """Return whether a matching file may lie in a folder, given by its path below the pattern's folder."""
        return bool(self._reached(folder))

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset((len(self.parts),))

    @cached_property
    def _reached(self) -> Callable[[str], frozenset[int]]:
        """Return the numbers of parts that a folder's names may have matched; `_ALL`: it or a parent matches."""

        @functools.lru_cache(maxsize=64)  # files come folder by folder
        def reached(folder: str) -> frozenset[int]:
            if not folder:
                return self._closed({0})
            above, _, name = folder.rpartition("/")
            places = reached(above)
            if _ALL in places:
                return places
            places = self._step(places, name)
            return places if self._ends.isdisjoint(places) else frozenset((_ALL,))

        return reached

    def _step(self, places: frozenset[int], name: str) -> frozenset[int]:
        return self._closed({after for place in places for after in self._after(place, name)})

    def _after(self, place: int, name: str) -> tuple[int, ...]:
        expression = self._expressions[place]
        if expression is None:
            return (place, place + 1)
        return (place + 1,) if expression.match(name) else ()

    def _closed(self, places: set[int]) -> frozenset[int]:
        """Add the places behind each `**` that may stand for no folder; one at the end needs a name."""
        last = len(self.parts) - 1
        for place in sorted(places):
            while place < last and self._expressions[place] is None:
                place += 1
                places = places | {place}
        return frozenset(places)


def split_pattern(text: str) -> tuple[Path, Pattern]:
    """Return the folder in front of the first name with a special character, absolute, and the pattern below it."""
    parts = Path(os.path.abspath(os.path.expanduser(text))).parts  # noqa: PTH100, PTH111 - resolve() follows links
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    return Path(*parts[:first]), Pattern(parts[first:])

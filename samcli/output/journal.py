"""The journal: an append-only file of outcomes that makes a run resumable, and the manifest of its recipe.

Promise: at-least-once compute, atomic and idempotent outputs. A line is written only after the files that it
lists are on disk. A torn last line is ignored; the last line about a key counts.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from samcli.errors import SamcliError, StorageError, one_line
from samcli.files import storage_errors
from samcli.output.own_files import check_key, one_of, open_own, parse_object, typed
from samcli.types import Author, ImageRef, Outcome, Status, Withheld

_USUAL_LINE = re.compile(
    rb'\{"key":"([ !#-\[\]-~]+)","size":(0|[1-9]\d*),"mtime_ns":(0|[1-9]\d*),("run":"\w*","status":"\w*"),'
    rb'"instances":(\{[\d":,]*\}),("whole_name":\w+,"dropped":\d+),"seconds":((?:0|[1-9]\d*)\.\d+),'
    rb'("error":(?:null|"(?:[^"\\]|\\.)*")(?:,"digest":"\w*")?(?:,"withheld":"\w*")?'
    rb'(?:,"rows":\d+)?(?:,"low_polygons":\d+)?(?:,"authors":\{["\w:,{}]*\})?)\}\n?'
)
"""A line as `Journal` writes it, where the key needs no escapes. Its groups: key, size, time stamp, run and status,
instances, flags, seconds, and error to the last."""

_LONGEST_LINE = 1 << 20
"""Bytes; a line has some hundred."""

_ODD_KEY = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")
"""In keys that leave their root; quicker than `check_key` for a million lines."""

log = logging.getLogger("samcli")

_Form = tuple[Any, ...]
"""An entry but for what a line has of its own: its run, whether it is done, its error and what follows."""

_REMEMBERED = 10_000
"""Forms and counts that are held: a journal of a million different ones must not fill the memory twice."""


Counts = tuple[tuple[int, int], ...]
"""(class id, number of instances) pairs."""


class JournalEntry(NamedTuple):
    """The journal's knowledge of one image. A tuple: they are made by the million."""

    size: int
    mtime_ns: int
    run: str
    done: bool
    instances: Counts
    seconds: float = 0.0
    error: str | None = None
    whole_name: bool = False
    """Its label file is named after the whole file name (`--on-collision suffix`)."""
    dropped: int = 0
    """Objects found and not labelled."""
    digest: str = ""
    """Of what else this one image's outcome depends on, e.g. its own prompts."""
    withheld: Withheld | None = None
    """Why trainers do not get the image."""
    passing: bool = False
    """It failed for a reason that may pass: the next run tries again unasked."""
    rows: int | None = None
    """Rows of its YOLO label file, where they are not as many as its objects."""
    low_polygons: int = 0
    """Objects whose polygon IoU is below `--min-polygon-iou`."""
    authors: tuple[tuple[Author, Counts], ...] = ()
    """Number of instances by class id, of each author but the machine; see `output.authors`."""

    @property
    def objects(self) -> int:
        """Number of instances over all classes."""
        return sum(count for _, count in self.instances)

    def is_about(self, ref: ImageRef, run: str) -> bool:
        """Return whether it is about this very version of the file, under this recipe."""
        return self.size == ref.size and self.mtime_ns == ref.mtime_ns and self.run == run


def read_journal(path: Path) -> dict[str, JournalEntry]:
    """Return the last entry about each key. Lines that cannot be read (torn by a crash) are passed over.

    Made for a million lines: what many of them share is parsed and held once.

    Raises:
        SamcliError: the journal is a symbolic link, or cannot be read.
    """
    entries: dict[str, JournalEntry] = {}
    parse = _Parser().parse
    wrong: list[str] = []
    for number, line in enumerate(journal_lines(path), 1):
        try:
            key, entry = parse(line)
        except _WrongLineError as error:
            wrong.append(f"line {number}: {error}")
            continue
        except ValueError:
            continue
        if entry is None:
            entries.pop(key, None)
        else:
            entries[key] = entry
    if wrong:
        what = "passed over lines that are not as samcli writes them"
        log.warning("%s: %s: %d, the first is %s", path, what, len(wrong), wrong[0])
    return entries


class _WrongLineError(ValueError):
    """A line is whole, and not as `Journal` writes it."""


class _Parser:
    """Lines to keys and entries.

    Between what each line has of its own stands what most share: that is taken from an earlier line which was the
    same there. A line that has anything new, or is of another make than `Journal`'s, is parsed as JSON.
    """

    def __init__(self) -> None:
        self._forms: dict[tuple[bytes, ...], _Form] = {}
        self._counts: dict[bytes, Counts] = {}
        self._shared: dict[Counts, Counts] = {}

    def parse(self, line: bytes) -> tuple[str, JournalEntry | None]:
        """Return the key, and the entry about it; None for an image that is gone.

        Raises:
            ValueError: it is no line of a journal.
        """
        found = _USUAL_LINE.fullmatch(line)
        if found is None:
            return self._parse_json(line)
        key, size, mtime_ns, run, counts, flags, seconds, error = found.groups()
        form, shared = self._forms.get((run, flags, error)), self._counts.get(counts)
        if form is None or shared is None:
            name, entry = self._parse_json(line)
            if entry is not None and len(self._forms) < _REMEMBERED and len(self._counts) < _REMEMBERED:
                self._counts[counts] = entry.instances
                self._forms[run, flags, error] = (*entry[2:4], *entry[6:])
            return name, entry
        of_run, done, *others = form
        values = (int(size), int(mtime_ns), of_run, done, shared, float(seconds), *others)
        name = key.decode("ascii")
        if _ODD_KEY.search(name):
            return self._parse_json(line)  # which says what is wrong
        return name, JournalEntry._make(values)

    def _parse_json(self, line: bytes) -> tuple[str, JournalEntry | None]:
        row = parse_object(line)
        try:
            return self._checked(row)
        except ValueError as error:
            raise _WrongLineError(one_line(error)) from error

    def _checked(self, row: dict[str, Any]) -> tuple[str, JournalEntry | None]:
        key, status = check_key(row.get("key")), typed(row, "status", str)
        if status == Status.GONE.value:
            return key, None
        counts = _counts(row, "instances")
        seconds = float(typed(row, "seconds", (int, float)))
        if not math.isfinite(seconds):
            raise ValueError("seconds is not what it should be")
        return key, JournalEntry(
            typed(row, "size", int),
            typed(row, "mtime_ns", int),
            sys.intern(typed(row, "run", str)),
            status == Status.DONE.value,
            self._shared.setdefault(counts, counts),
            seconds,
            typed(row, "error", (str, type(None))),
            typed(row, "whole_name", bool, False),
            typed(row, "dropped", int, 0),
            typed(row, "digest", str, ""),
            one_of(Withheld, row, "withheld"),
            typed(row, "passing", bool, False),
            typed(row, "rows", int) if "rows" in row else None,
            typed(row, "low_polygons", int, 0),
            _authors(typed(row, "authors", dict, {})),
        )


def _counts(row: dict[str, Any], name: str) -> Counts:
    counts = tuple((int(key), count) for key, count in typed(row, name, dict).items())
    if not all(type(count) is int and count >= 0 for _, count in counts):
        raise ValueError(f"{name} is not what it should be")
    return counts


def _authors(row: dict[str, Any]) -> tuple[tuple[Author, Counts], ...]:
    found = ((one_of(Author, {"authors": name}, "authors"), _counts(row, name)) for name in row)
    return tuple((author, counts) for author, counts in found if author is not None)


def journal_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a journal; what is too long for one is passed over.

    Raises:
        SamcliError: the journal is a symbolic link, or cannot be read.
    """
    try:
        with open_own(path) as file:
            whole = True
            for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
                if whole and (line.endswith(b"\n") or len(line) < _LONGEST_LINE):
                    yield line
                whole = line.endswith(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SamcliError:
    reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
    return SamcliError(f"the journal {path} cannot be read ({reason}): fix this, or --overwrite starts over")


class Journal:
    """Appends outcomes, from any thread; a line is with the system when `append` returns, on disk when closed.

    Should the machine lose power before, the images of the lost lines are done again.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run
        self._lock = threading.Lock()
        try:
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open_own(path, "ab")
                self._identity = _identity(os.fstat(self._file.fileno()))
                if not _ends_whole(path):
                    self._file.write(b"\n")  # a torn line must not swallow the next one
        except ValueError as error:
            raise _unreadable(path, error) from error

    def append(self, outcome: Outcome) -> None:
        """Write one line.

        Raises:
            StorageError: the disk is full, or the output folder was removed, renamed or unmounted.
        """
        row = {
            "key": outcome.ref.key,
            "size": outcome.ref.size,
            "mtime_ns": outcome.ref.mtime_ns,
            "run": self._run,
            "status": outcome.status.value,
            "instances": outcome.instances,
            "whole_name": outcome.whole_name,
            "dropped": outcome.dropped,
            "seconds": round(outcome.seconds, 4),
            "error": outcome.error,
        }
        if outcome.digest:
            row["digest"] = outcome.digest
        if outcome.withheld:
            row["withheld"] = outcome.withheld.value
        if outcome.rows is not None:
            row["rows"] = outcome.rows
        if outcome.low_polygons:
            row["low_polygons"] = outcome.low_polygons
        if outcome.passing:
            row["passing"] = True
        if outcome.authors:
            row["authors"] = {author.value: counts for author, counts in outcome.authors.items()}
        line = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock, storage_errors(self._path):
            self.check_in_place()
            self._file.write(line)
            self._file.flush()

    def check_in_place(self) -> None:
        """Refuse to go on where the open file is no longer the one at its path: its lines would be lost.

        Raises:
            StorageError: the output folder was removed, renamed or unmounted.
        """
        try:
            if _identity(os.lstat(self._path)) == self._identity:
                return
            reason = "another file has taken its place"
        except OSError as error:
            reason = error.strerror or one_line(error)
        raise StorageError(
            f"the journal {self._path} is gone ({reason}): was the output folder moved, removed or unmounted? "
            "Put it back and run the same command again"
        )

    def close(self) -> None:
        """Flush to disk."""
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close()
        if kind is None:
            self.check_in_place()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _ends_whole(path: Path) -> bool:
    with open_own(path) as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

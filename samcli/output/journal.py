"""The journal: an append-only file of outcomes that makes a run resumable, and the manifest of its recipe.

Promise: at-least-once compute, atomic and idempotent outputs. A line is written only after the files that it
speaks of are on disk. A torn last line is ignored; the last line about a key counts.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from samcli.files import storage_errors
from samcli.types import ImageRef, Outcome, Status

_USUAL_LINE = re.compile(
    rb'\{"key":"([ !#-\[\]-~]+)","size":(0|[1-9]\d*),"mtime_ns":(0|[1-9]\d*),("run":"\w*","status":"\w*"),'
    rb'"instances":(\{[\d":,]*\}),("whole_name":\w+,"dropped":\d+),"seconds":((?:0|[1-9]\d*)\.\d+),'
    rb'("error":(?:null|"(?:[^"\\]|\\.)*")(?:,"digest":"\w*")?)\}\n?'
)
"""A line as `Journal` writes it, where the key needs no escapes. Its groups: key, size, time stamp, run and status,
instances, flags, seconds, error and digest."""

_Form = tuple[Any, ...]
"""An entry but for what a line has of its own: its run, whether it is done, and its error, flags and digest."""

_REMEMBERED = 10_000
"""Forms and counts that are held: a journal of a million different ones must not fill the memory twice."""


Counts = tuple[tuple[int, int], ...]
"""(class id, number of instances) pairs."""


class Entry(NamedTuple):
    """What the journal knows of one image. A tuple: they are made by the million."""

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
    passing: bool = False
    """It failed for a reason that may pass: the next run tries again unasked."""

    def is_about(self, ref: ImageRef, run: str) -> bool:
        """Whether it speaks of this very version of the file, under this recipe."""
        return self.size == ref.size and self.mtime_ns == ref.mtime_ns and self.run == run


def read_journal(path: Path) -> dict[str, Entry]:
    """The last entry about each key. Lines that cannot be read (torn by a crash) are passed over.

    Made for a million lines: what many of them share is parsed and held once.
    """
    entries: dict[str, Entry] = {}
    parse = _Parser().parse
    for line in _lines(path):
        try:
            key, entry = parse(line)
            if entry is None:
                entries.pop(key, None)
            else:
                entries[key] = entry
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return entries


class _Parser:
    """Lines to keys and entries.

    Between what each line has of its own stands what most share: that is taken from an earlier line which was the
    same there. A line that has anything new, or is of another make than `Journal`'s, is parsed as JSON.
    """

    def __init__(self) -> None:
        self._forms: dict[tuple[bytes, ...], _Form] = {}
        self._counts: dict[bytes, Counts] = {}
        self._shared: dict[Counts, Counts] = {}

    def parse(self, line: bytes) -> tuple[str, Entry | None]:
        """The key, and the entry about it; None for an image that is gone.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no line of a journal.
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
        return key.decode("ascii"), Entry._make(values)

    def _parse_json(self, line: bytes) -> tuple[str, Entry | None]:
        row = json.loads(line)
        if row["status"] == Status.GONE.value:
            return row["key"], None
        counts = tuple((int(key), count) for key, count in row["instances"].items())
        return row["key"], Entry(
            row["size"],
            row["mtime_ns"],
            sys.intern(row["run"]),
            row["status"] == Status.DONE.value,
            self._shared.setdefault(counts, counts),
            row["seconds"],
            row["error"],
            row.get("whole_name", False),
            row.get("dropped", 0),
            row.get("digest", ""),
            row.get("passing", False) is True,
        )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


class Journal:
    """Appends outcomes, from any thread; a line is with the system when `append` returns, on disk when closed.

    Should the machine lose power before, the images of the lost lines are done again.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run
        self._lock = threading.Lock()
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("ab")
            if not _ends_whole(path):
                self._file.write(b"\n")  # a torn line must not swallow the next one

    def append(self, outcome: Outcome) -> None:
        """Write one line.

        Raises:
            StorageError: the disk is full.
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
        if outcome.passing:
            row["passing"] = True
        line = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock, storage_errors(self._path):
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Flush to disk."""
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

"""The journal: an append-only file of outcomes that makes a run resumable, and the manifest of its recipe.

Promise: at-least-once compute, atomic and idempotent outputs. A line is written only after the files that it
speaks of are on disk. A torn last line is ignored; the last line about a key counts.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from samcli.errors import SamcliError, UsageError
from samcli.files import storage_errors, write_atomic
from samcli.types import ImageRef, Outcome, Status

_SHORT = 16
"""Digits of the fingerprint that a line carries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of one image."""

    size: int
    mtime_ns: int
    run: str
    done: bool
    instances: tuple[tuple[int, int], ...]
    """(class id, number of instances) pairs."""
    seconds: float = 0.0
    error: str | None = None
    whole_name: bool = False
    """Its label file is named after the whole file name (`--on-collision suffix`)."""
    dropped: int = 0
    """Objects found and not labelled."""
    digest: str = ""
    """Of what else this one image's outcome depends on, e.g. its own prompts."""

    def is_about(self, ref: ImageRef, run: str) -> bool:
        """Whether it speaks of this very version of the file, under this recipe."""
        return self.size == ref.size and self.mtime_ns == ref.mtime_ns and self.run == run


@dataclass(frozen=True)
class Manifest:
    """`run.json`: the recipe of the run, whose fingerprint its journal lines carry, and what it began from."""

    recipe: dict[str, Any]
    fingerprint: str
    input_root: str
    """Relative to the output folder, so that a data set can be moved as a whole."""
    versions: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    """Class id to class name, once the detector was loaded."""
    total: int = 0
    """Images found when the run last started."""
    collisions: dict[str, str] = field(default_factory=dict)
    """Images that can have no label file, by key, and why; they depend on the other images, not on a run."""

    unasked: int = 0
    """Images found that the prompts say nothing about; they are not in `total`."""

    @property
    def has_labels(self) -> bool:
        """Whether the run makes labels, not embeddings."""
        return bool(self.recipe.get("command") != "encode")

    def check_labels(self, output: Path) -> None:
        """Say that there is nothing to look at.

        Raises:
            UsageError: the run in `output` makes no labels.
        """
        if not self.has_labels:
            raise UsageError(
                f"{output} holds embeddings and no labels: samcli encode wrote it; samcli status tells of it"
            )

    @property
    def run(self) -> str:
        """The short fingerprint in journal lines."""
        return self.fingerprint[:_SHORT]


def read_manifest(path: Path) -> Manifest | None:
    """The manifest, or None where no run was begun.

    Raises:
        SamcliError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["names"] = {int(key): name for key, name in content["names"].items()}
        return Manifest(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SamcliError(f"{path} is damaged ({error}); --overwrite begins anew") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Atomically; nothing is written where nothing changed."""
    data = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n"
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def check_same_run(found: Manifest, wanted: Manifest, output: Path) -> None:
    """Refuse to mix two recipes or two inputs in one folder.

    Raises:
        UsageError: it says which options differ, and what to do.
    """
    if found.input_root != wanted.input_root:
        own, other = (os.path.normpath(output / m.input_root) for m in (found, wanted))
        apart = shlex.quote(str(output.with_name(f"{output.name}-{Path(other).name}")))
        raise UsageError(f"{output} holds what was made of {own}, not of {other}: give this one --output {apart}")
    if found.fingerprint != wanted.fingerprint:
        names = sorted({*found.recipe, *wanted.recipe})
        changes = [
            f"{name.replace('_', '-')}: {_shown(found.recipe.get(name))} -> {_shown(wanted.recipe.get(name))}"
            for name in names
            if _shown(found.recipe.get(name)) != _shown(wanted.recipe.get(name))  # tuples have become lists
        ]
        raise UsageError(
            f"{output} was begun with other options ({'; '.join(changes) or 'an earlier version of samcli'}). "
            "Use those, or --overwrite to begin anew, or another --output"
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('name')} ({value['sha256'][:8]})"
    return json.dumps(value)


def read_journal(path: Path) -> dict[str, Entry]:
    """The last entry about each key. Lines that cannot be read (torn by a crash) are passed over.

    Made for a million lines: what many of them share is held once.
    """
    entries: dict[str, Entry] = {}
    shared: dict[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]] = {}
    for line in _lines(path):
        try:
            row = json.loads(line)
            if row["status"] == Status.GONE.value:
                entries.pop(row["key"], None)
                continue
            counts = tuple((int(key), count) for key, count in row["instances"].items())
            entries[row["key"]] = Entry(
                row["size"],
                row["mtime_ns"],
                sys.intern(row["run"]),
                row["status"] == Status.DONE.value,
                shared.setdefault(counts, counts),
                row["seconds"],
                row["error"],
                row.get("whole_name", False),
                row.get("dropped", 0),
                row.get("digest", ""),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return entries


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

"""Marks of the large images that a run is at work on: what a run that was killed was doing, the next one knows."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from samcli.files import storage_errors, write_atomic

_MOST_BYTES = 1 << 20


class LargeMarks:
    """A small file of keys. A mark is set before a large image is decoded, and removed once its outcome is known.

    `tries`: key to the number of runs that ended, without an outcome, while they worked on the image.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.tries = _read(path)
        self._begun: set[str] = set()

    def begin(self, key: str) -> None:
        """Mark an image, before it is decoded.

        Raises:
            StorageError: nothing can be written.
        """
        with self._lock:
            if key not in self._begun:
                self._begun.add(key)
                self._write({**self.tries, key: self.tries.get(key, 0) + 1})

    def end(self, key: str) -> None:
        """Remove the mark of an image."""
        with self._lock:
            if key in self.tries:
                self._begun.discard(key)
                self._write({other: count for other, count in self.tries.items() if other != key})

    def _write(self, tries: dict[str, int]) -> None:
        if tries:
            write_atomic(self._path, json.dumps(tries).encode())
        else:
            with storage_errors(self._path):
                self._path.unlink(missing_ok=True)
        self.tries = tries


def _read(path: Path) -> dict[str, int]:
    """Return the marks; none where the file is missing or damaged: then nothing is known of an earlier run."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {key: count for key, count in rows if type(count) is int and 0 < count < 100}

"""Remember the SHA-256 of checkpoints: a large one takes a second to read, at every start."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from samcli.errors import SamcliError
from samcli.files import sha256_of, write_atomic

_FEW_BYTES = 32 << 20
"""Smaller files are hashed in less time than it takes to look them up and to write the list."""

_MOST_ENTRIES = 500


def remembered_sha256(path: Path, store: Path) -> str:
    """Return the hex SHA-256 of a file, from the list in `store` where the file is still the one listed.

    A file is the same if path, size, modification time, change time and inode are. The change time cannot be set
    by a program, so an exchanged file is read again whatever its modification time says. The list is an aid: where
    it cannot be read or written the file is read.
    """
    facts = path.stat()
    if facts.st_size < _FEW_BYTES:
        return sha256_of(path)
    key, stamp = os.path.abspath(path), [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]  # noqa: PTH100
    known = _read(store)
    entry = known.get(key)
    if isinstance(entry, dict) and entry.get("stamp") == stamp and isinstance(entry.get("sha256"), str):
        return str(entry["sha256"])
    found = sha256_of(path)
    entries = {
        **{name: value for name, value in known.items() if name != key},
        key: {"stamp": stamp, "sha256": found},
    }
    with contextlib.suppress(OSError, SamcliError):
        write_atomic(store, json.dumps(dict(list(entries.items())[-_MOST_ENTRIES:]), indent=1).encode())
    return found


def _read(store: Path) -> dict[str, Any]:
    try:
        content = json.loads(store.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

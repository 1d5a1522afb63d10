"""Files that were in an output folder before the run: somebody's work, of which a copy is kept as it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samcli.files import write_atomic
from samcli.output.layout import Layout


def preserve(layout: Layout, paths: Iterable[str]) -> None:
    """Copy the files at these paths that are there.

    Raises:
        StorageError: the copies cannot be written.
    """
    for path in paths:
        if Path(path).is_file():
            write_atomic(layout.preserved(path), Path(path).read_bytes())


def restore(layout: Layout, path: str) -> bool:
    """Give a file the content that it had before the run; return whether there was one. The copy stays."""
    copy = layout.preserved(path)
    if not copy.is_file():
        return False
    write_atomic(Path(path), copy.read_bytes())
    return True

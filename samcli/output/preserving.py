"""Files that were in an output folder before the run: somebody's work, of which a copy is kept as it was."""

from __future__ import annotations

from collections.abc import Iterable

from samcli.files import write_atomic
from samcli.output.layout import Layout


def is_preserved(layout: Layout, name: str) -> bool:
    """Whether a file was there before the run. `name`: its path below the output folder."""
    return layout.preserved(name).is_file()


def preserve(layout: Layout, names: Iterable[str]) -> None:
    """Copy the files of these names that are there.

    Raises:
        StorageError: the copies cannot be written.
    """
    for name in names:
        if (layout.output / name).is_file():
            write_atomic(layout.preserved(name), (layout.output / name).read_bytes())

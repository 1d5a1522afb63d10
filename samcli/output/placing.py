"""Where the label files of an image lie: where trainers look, or aside while trainers do not get the image."""

from __future__ import annotations

import os
from pathlib import Path

from samcli.files import Files, move, write_files
from samcli.output.layout import Layout


def write_label(layout: Layout, label: str, files: Files, *, aside: bool) -> None:
    """Write a label file, or a folder of them, in one of its two places and leave none in the other.

    `label`: its path where trainers look; `aside`: it is kept aside. It changes its place by being renamed: however
    this is interrupted, the file is whole in one place, and writing it again completes the change. A folder that is
    replaced is nowhere for a moment (see `files.write_folder_atomic`).

    Raises:
        StorageError: the output cannot be written at all.
        OSError: this one file cannot be written.
    """
    trained, kept = Path(label), Path(layout.aside(label))
    if aside:
        if os.path.lexists(trained):
            move(trained, kept)
        write_files(kept, files)
    elif os.path.lexists(kept):
        write_files(kept, files)
        move(kept, trained)
    else:
        write_files(trained, files)

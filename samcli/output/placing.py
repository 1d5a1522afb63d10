"""Where the label files of an image lie: where trainers look, or aside while trainers do not get the image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from samcli.files import Files, move, write_files
from samcli.output.layout import Layout
from samcli.output.run_folder import RunFolder
from samcli.types import Withheld


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


@dataclass(frozen=True)
class WithheldImage:
    """An image that trainers do not get: why, and its YOLO label file that is kept aside, if there is one."""

    why: Withheld
    label: Path | None


def find_withheld(labels: Path) -> dict[str, WithheldImage]:
    """Return the images of a folder of labels that trainers do not get, by key below that folder.

    `labels`: the output folder of a run or one below it; of labels from elsewhere none are withheld.
    """
    labels = Path(os.path.abspath(labels))  # noqa: PTH100 - resolve() would follow links
    run = next(filter(None, map(RunFolder.find, (labels, *labels.parents))), None)
    if run is None:
        return {}
    below = "" if labels == run.output else f"{labels.relative_to(run.output).as_posix()}/"
    found = {}
    for key, entry in run.entries().items():
        if entry.withheld is not None and key.startswith(below):
            label = Path(run.layout.aside(run.layout.label(key, ".txt", whole_name=entry.whole_name)))
            found[key[len(below) :]] = WithheldImage(entry.withheld, label if label.is_file() else None)
    return found

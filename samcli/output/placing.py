"""Place label files: where trainers look, or aside while an image is withheld from trainers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from samcli.files import Files, move, write_files
from samcli.output.journal import JournalEntry
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


@dataclass(frozen=True)
class RowCount:
    """A YOLO label file as a run wrote it: its rows, and its objects by class id, which are not as many."""

    rows: int
    objects: Mapping[int, int]


@dataclass(frozen=True)
class LabelJournal:
    """Journal of the run in or above a folder of labels, for the images below it; empty where there is no run."""

    run: RunFolder | None
    entries: Mapping[str, JournalEntry]
    """By key below that folder."""
    below: str
    """The folder as seen from the run's, with a slash at the end, or empty."""

    @classmethod
    def of(cls, labels: Path) -> LabelJournal:
        """Return the one of a folder, maybe the output folder of a run or one below it."""
        labels = Path(os.path.abspath(labels))  # noqa: PTH100 - resolve() would follow links
        run = next(filter(None, map(RunFolder.find, (labels, *labels.parents))), None)
        if run is None:
            return cls(None, {}, "")
        below = "" if labels == run.output else f"{labels.relative_to(run.output).as_posix()}/"
        found = {key[len(below) :]: entry for key, entry in run.entries().items() if key.startswith(below)}
        return cls(run, found, below)

    def withheld(self) -> dict[str, WithheldImage]:
        """Return the images that trainers do not get, by key."""
        found = {}
        for key, entry in self.entries.items():
            if entry.withheld is not None and self.run is not None:
                label = Path(self.run.layout.aside(self._label(key, entry)))
                found[key] = WithheldImage(entry.withheld, label if label.is_file() else None)
        return found

    def row_counts(self) -> dict[str, RowCount]:
        """Return the images whose label files have more or fewer rows than objects, by key."""
        return {
            key: RowCount(entry.rows, dict(entry.instances))
            for key, entry in self.entries.items()
            if entry.rows is not None
        }

    def label_of(self, key: str) -> str:
        """Return the YOLO label file of an image as a path below the folder."""
        return self._label(key, self.entries[key])[len(f"{self.run.output}/{self.below}") if self.run else 0 :]

    def _label(self, key: str, entry: JournalEntry) -> str:
        assert self.run is not None, "there are entries of a run alone"
        return self.run.layout.label(self.below + key, ".txt", whole_name=entry.whole_name)

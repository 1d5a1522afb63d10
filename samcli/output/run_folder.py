"""The output folder of a run: the one place where a run's manifest, journal and records are opened together."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samcli.errors import RecordError, UsageError, one_line
from samcli.files import remove, storage_errors, write_atomic, write_atomic_pieces
from samcli.output.authors import count_authors
from samcli.output.corrected import keep_corrected
from samcli.output.journal import Journal, JournalEntry, journal_lines, read_journal
from samcli.output.layout import RUN_FOLDER, Layout, default_output, nowhere
from samcli.output.locks import check_own_folders, own_record
from samcli.output.manifest import Manifest, Product, read_manifest
from samcli.output.own_files import read_own
from samcli.output.preserving import restore
from samcli.output.records import LARGEST, read_record
from samcli.output.remote import read_ahead
from samcli.output.shards import shard_of
from samcli.stores.addresses import is_address
from samcli.types import Annotation, Author, Outcome

_OUTPUTS = ("labels", "masks", "embeddings")
"""Names of output folders where none is given."""


@dataclass(frozen=True)
class Fold:
    """A file that holds all images of a run: its name, and its content in pieces, given all annotations."""

    name: str
    pieces: Callable[[Iterator[Annotation]], Iterable[bytes]]


@dataclass(frozen=True)
class EarlierRun:
    """Contents of the output folder before a run begins: the manifest and the journal's last entries.

    A run that starts over, or in a new folder, finds nothing.
    """

    manifest: Manifest | None = None
    journal: Mapping[str, JournalEntry] = field(default_factory=dict)

    @classmethod
    def read(cls, layout: Layout) -> EarlierRun:
        """Read what an output folder holds. The journal's entries may be of several recipes.

        Raises:
            SamcliError: it is damaged.
        """
        manifest = read_manifest(layout.manifest)
        return cls(manifest, _read_journals(layout, manifest.shards if manifest else 0))

    @property
    def done(self) -> dict[str, JournalEntry]:
        """Return the entries of the images that are done, by key."""
        return {key: entry for key, entry in self.journal.items() if entry.done}

    def owned(self, run: str) -> dict[str, bool]:
        """Return for each image that is done in a run whether its labels bear the image's whole name, by key."""
        return {key: entry.whole_name for key, entry in self.done.items() if entry.run == run}


@dataclass(frozen=True)
class RunFolder:
    """Paths and manifest of a run."""

    layout: Layout
    manifest: Manifest

    @classmethod
    def find(cls, output: Path) -> RunFolder | None:
        """Return the run in an output folder, or None where no run was begun.

        Raises:
            SamcliError: its manifest is damaged.
        """
        output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow links
        plain = Layout(output, output)
        manifest = read_manifest(plain.manifest)
        if manifest is None:
            return None
        check_own_folders(plain)
        return cls(layout_of(manifest, output), manifest)

    @classmethod
    def open(cls, output: Path, product: Product | None = None) -> RunFolder:
        """Return the run in an output folder; `product`: what it must have made.

        Raises:
            UsageError: no run was begun there, or one that makes something else.
            SamcliError: its manifest is damaged.
        """
        output = Path(os.path.abspath(output))  # noqa: PTH100
        found = cls.find(output) or cls._of_data_set(output)
        if found is None:
            raise UsageError(_no_run(output, product))
        found.check(product)
        return found

    @classmethod
    def _of_data_set(cls, folder: Path) -> RunFolder | None:
        """Return the only run below the folder of a data set, or of an image folder.

        Raises:
            UsageError: there are several.
        """
        below = [folder / name for name in _OUTPUTS] if folder.is_dir() else []
        if folder.is_dir() and not any(map(cls.find, below)):
            below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        runs = [run for path in below if (run := cls.find(path)) is not None]
        if not runs:
            beside = (cls.find(default_output(folder, name)) for name in _OUTPUTS)
            runs = [run for run in beside if run is not None and run.layout.input_root == folder]
        if len(runs) > 1:
            raise UsageError(
                f"{folder} holds several runs: give one of {', '.join(str(run.output) for run in runs)}"
            )
        return runs[0] if runs else None

    def check(self, product: Product | None) -> None:
        """Refuse a run that makes something else than `product`.

        Raises:
            UsageError: it names what the folder holds.
        """
        if product is Product.LABELS and self.manifest.product is Product.EMBEDDINGS:
            raise UsageError(
                f"{self.output} holds embeddings and no labels: samcli encode wrote it; samcli status describes it"
            )
        if product is Product.EMBEDDINGS and self.manifest.product is Product.LABELS:
            raise UsageError(_no_run(self.output, product))

    @property
    def output(self) -> Path:
        """Return the folder itself."""
        return self.layout.output

    def entries(self) -> dict[str, JournalEntry]:
        """Return the journal's last entry about each image, of this run's recipe only."""
        run = self.manifest.run
        entries = _read_journals(self.layout, self.manifest.shards)
        return {key: entry for key, entry in entries.items() if entry.run == run}

    def authors(self) -> Counter[Author]:
        """Return the numbers of the objects of all images by author."""
        return count_authors(entry for entry in self.entries().values() if entry.done)

    def journal(self) -> ShardJournals:
        """Return a journal for outcomes of any images, to be closed."""
        return ShardJournals(self.layout, self.manifest)

    def first_line(self) -> bytes:
        """Return the journal's first line: with its times it tells this run from others of the same recipe."""
        journals = self.layout.journals(self.manifest.shards)
        return next((line for journal in journals for line in journal_lines(journal)), b"")

    def done(self) -> list[str]:
        """Return the keys of the images that are done, in order."""
        return sorted(key for key, entry in self.entries().items() if entry.done)

    def record(self, key: str) -> Annotation:
        """Return the annotation of an image from its record.

        Raises:
            RecordError: the record cannot be read.
        """
        path = own_record(self.layout, key)
        remote = self.layout.remote
        if remote is not None and not path.is_file():
            return self._parsed(key, lambda: remote.read(path))
        return self._parsed(key, lambda: read_own(path, LARGEST))

    def _parsed(self, key: str, read: Callable[[], bytes]) -> Annotation:
        """Return the annotation in a record. Raises what `record` raises."""
        path = self.layout.remote.shown(self.layout.record(key)) if self.layout.remote else self.layout.record(key)
        try:
            annotation = read_record(read())
            if annotation.key == key:
                return annotation
            reason, remedy = f"it is that of {annotation.key!r}", "delete it"
        except ValueError as error:
            reason, remedy = one_line(error), "delete it"
        except OSError as error:
            reason, remedy = error.strerror or one_line(error), "fix this"
        raise RecordError(f"its record cannot be read ({path}: {reason}): {remedy}, and run again")

    def annotations(self, failures: dict[str, str]) -> Iterator[Annotation]:
        """Yield the annotations of all images that are done and still there, in the order of their keys.

        `failures`: takes the keys of the images whose record cannot be read, and why.
        """
        # labels of an image that is gone lead a trainer to a missing file
        keys = [key for key in self.done() if self.layout.has_image(key)]
        for key, annotation in zip(keys, self._records(keys), strict=True):
            if isinstance(annotation, RecordError):
                failures[key] = str(annotation)
            else:
                yield annotation

    def _records(self, keys: Iterable[str]) -> Iterator[Annotation | RecordError]:
        """Yield the annotation of each image, or why there is none; those of a store are fetched ahead."""
        if self.layout.remote is None:
            for key in keys:
                yield _or_error(functools.partial(self.record, key))
            return
        keys, ahead = itertools.tee(keys)
        contents = read_ahead(self.layout.remote, map(self.layout.record, ahead))
        for key, read in zip(keys, contents, strict=True):
            yield _or_error(functools.partial(self._parsed, key, read))

    @property
    def is_unfinished(self) -> bool:
        """Return whether the files that hold all images may differ from the records."""
        return self.layout.unfolded.exists()

    def mark_unfinished(self) -> None:
        """Set the mark that the files that hold all images are to be made: before any record changes."""
        if not self.is_unfinished:
            write_atomic(self.layout.unfolded, b"")

    def finish(self, folds: Sequence[Fold]) -> dict[str, str]:
        """Write the files that hold all images; remove the mark once each of them holds every image.

        Returns the keys of the images whose record cannot be read, and why: then a file that lacks one of them
        does not replace the earlier file, and the mark stays.

        Raises:
            StorageError: nothing can be written.
        """
        for fold in folds:
            failures: dict[str, str] = {}
            try:
                write_atomic_pieces(self.output / fold.name, fold.pieces(self._all_annotations(failures)))
            except _MissingImagesError:
                return failures
        with storage_errors(self.layout.unfolded):
            self.layout.unfolded.unlink(missing_ok=True)
        return {}

    def _all_annotations(self, failures: dict[str, str]) -> Iterator[Annotation]:
        """Yield all annotations but those of images that trainers do not get.

        Where records cannot be read, the others are still looked at, then it raises.
        """
        yield from (one for one in self.annotations(failures) if one.withheld is None)
        if failures:
            raise _MissingImagesError

    def withdraw(self, key: str, labels: Iterable[str], *, discard_changes: bool = False) -> None:
        """Remove the label files and the record of an image: of an earlier version of it, or of an earlier run.

        Label files that were there before the run are again as they were; see `restore`. Objects that people have
        corrected are kept for the image's next labels.
        """
        record, labels = own_record(self.layout, key), list(labels)
        remote = self.layout.remote
        if remote is not None:
            remote.bring_earlier(record)
            remote.bring_earlier(self.layout.corrected(key))
        if record.is_file():  # so the labels beside it are ours
            for label in labels:
                if not restore(self.layout, label, discard_changes=discard_changes):
                    remove(Path(label))
                remove(Path(self.layout.aside(label)))
            keep_corrected(self.layout, key)
            remove(record)
            for label in labels:  # last: a label without a record and without a copy would be taken for new
                self.layout.preserved(label).unlink(missing_ok=True)
        if remote is not None:
            remote.push(self.layout.files_of(key, labels))


class ShardJournals:
    """Appends outcomes to the journals of a run, each to that of the image's shard where the run has shards."""

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        self._layout, self._manifest = layout, manifest
        self._open: dict[Path, Journal] = {}
        self._stack = contextlib.ExitStack()

    def append(self, outcome: Outcome) -> None:
        """Write one line.

        Raises:
            StorageError: the disk is full, or the output folder was removed, renamed or unmounted.
        """
        shards = self._manifest.shards
        shard = shard_of(outcome.ref.key, shards) if shards else None
        path = replace(self._layout, shard=shard).journal
        if path not in self._open:
            self._open[path] = self._stack.enter_context(Journal(path, self._manifest.run))
        self._open[path].append(outcome)

    def __enter__(self) -> ShardJournals:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def layout_of(manifest: Manifest, output: Path) -> Layout:
    """Return the layout of a run; images that are no files have an address and an input root that is nowhere."""
    root = manifest.input_root
    if is_address(root):
        return Layout(nowhere(output), output, origin=root)
    return Layout(Path(os.path.normpath(output / root)), output)


def _read_journals(layout: Layout, shards: int) -> dict[str, JournalEntry]:
    """Return the last entry about each image out of all journals of a run; an image is in one of them alone."""
    first, *others = layout.journals(shards)
    entries = read_journal(first)
    for path in others:
        entries.update(read_journal(path))
    return entries


def _or_error(read: Callable[[], Annotation]) -> Annotation | RecordError:
    try:
        return read()
    except RecordError as error:
        return error


class _MissingImagesError(Exception):
    """A file that holds all images would lack some."""


def _no_run(output: Path, product: Product | None) -> str:
    """Say that there is nothing to open, and what was expected."""
    if product is Product.EMBEDDINGS:
        return f"{output} holds no embeddings: give the output folder of samcli encode"
    what = "labels into" if product is Product.LABELS else "into"
    if not output.is_dir():
        return f"no run in {output}: there is no such folder; give the folder that samcli wrote {what}"
    return f"no run in {output}: it has no {RUN_FOLDER}/run.json; give the folder that samcli wrote {what}"

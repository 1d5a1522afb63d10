"""Locks of an output folder: one run at a time, or the shards of one run side by side.

A shard holds a lock of its own while it runs. The lock of the folder itself is held by whoever needs the whole of
it: a run without shards, an accepted review, and for moments a shard. Whoever holds it for long makes sure that no
shard is at work.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.errors import SamcliError, UsageError, WriteError
from samcli.files import check_writable, remove_temporary_files
from samcli.output.layout import Layout
from samcli.output.own_files import check_no_link

if TYPE_CHECKING:
    from filelock import BaseFileLock

_OTHER_OUTPUT = "Choose another folder with --output"

_KEEPS_OPEN_FILES = os.name == "nt"
"""Windows removes no file that is open: a lock can be removed only once it is released."""

_PATIENCE = 60.0
"""Seconds that a shard waits for the folder's lock: many begin at once, and each holds it for moments."""


def check_output(layout: Layout) -> None:
    """Check, before the work, that the output folder can be written; leave nothing behind.

    Raises:
        UsageError: it cannot.
    """
    try:
        check_writable(layout.run_folder)
    except WriteError as error:
        raise _cannot_write(layout, error, _OTHER_OUTPUT) from error


def check_own_folders(layout: Layout) -> None:
    """Refuse folders and files of ours that are symbolic links: they may lead to somebody's files.

    Raises:
        SamcliError: one is.
    """
    own = (layout.run_folder, layout.run_folder / "records", layout.lock, layout.running, layout.unfolded)
    for path in own:
        _refuse_link(path)


def own_record(layout: Layout, key: str) -> Path:
    """Return the path of an image's record, to be read, written or removed.

    Raises:
        SamcliError: a folder on the way below the run's folder is a symbolic link.
    """
    path = Path(layout.record(key))
    for folder in itertools.takewhile(lambda folder: folder != layout.run_folder, path.parents):
        _refuse_link(folder)
    return path


def _refuse_link(path: Path) -> None:
    try:
        check_no_link(path)
    except ValueError as error:
        raise SamcliError(f"{path} cannot be used: {error}. Remove the link") from error


@contextlib.contextmanager
def locked(layout: Layout, remedy: str = _OTHER_OUTPUT) -> Iterator[None]:
    """Keep any other run out of the output folder, or out of the layout's shard where it has one.

    `remedy`: what to do where the folder cannot be written. Where no run was begun when the lock is given back,
    nothing stays behind that was not there before.

    Raises:
        UsageError: the folder cannot be written.
        SamcliError: another run is at work there.
    """
    check_own_folders(layout)
    created = [folder for folder in (layout.run_folder, *layout.run_folder.parents) if not folder.exists()]
    try:
        layout.run_folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_shard(layout) if layout.shard else _lock_all(layout)
    except OSError as error:
        raise _cannot_write(layout, error, remedy) from error
    is_unused = False
    try:
        layout.running.touch()
        yield
    finally:
        try:
            layout.running.unlink(missing_ok=True)
            is_unused = bool(created) and not layout.manifest.exists()
            if is_unused and not _KEEPS_OPEN_FILES:
                _remove_empty(layout.lock, created)
        finally:
            lock.release()
        if is_unused and _KEEPS_OPEN_FILES:
            _remove_empty(layout.lock, created)


@contextlib.contextmanager
def whole_folder(layout: Layout) -> Iterator[None]:
    """Keep other shards from what concerns the whole folder, for moments. A run without shards has it already.

    Raises:
        SamcliError: another process holds the folder for long.
    """
    if layout.shard is None:
        yield
        return
    lock = _take(layout.lock_of_all, layout, _PATIENCE)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def ending(layout: Layout) -> Iterator[bool]:
    """Hold the whole folder at the end of a run; yield whether no other shard is at work.

    Of shards that end together the last to come here sees none at work.

    Raises:
        SamcliError: another process holds the folder for long.
    """
    with whole_folder(layout):
        if layout.shard is not None:
            layout.running.unlink(missing_ok=True)
        yield layout.shard is None or not _shards_at_work(layout)


def _lock_all(layout: Layout) -> BaseFileLock:
    """Lock the folder; no shard may be at work."""
    lock = _take(layout.lock, layout)
    try:
        if _shards_at_work(layout):
            raise _at_work(layout)
        _clean_up(layout)
    except BaseException:
        lock.release()
        raise
    return lock


def _lock_shard(layout: Layout) -> BaseFileLock:
    """Lock a shard, while nobody holds the whole folder."""
    with whole_folder(layout):
        lock = _take(layout.lock, layout)
        try:
            if not _shards_at_work(layout):  # else a temporary file may be theirs
                _clean_up(layout)
        except BaseException:
            lock.release()
            raise
    return lock


def _clean_up(layout: Layout) -> None:
    """Remove what runs left behind that were killed, maybe between a temporary file and its renaming."""
    marks = list(layout.run_folder.glob("running*"))
    if marks:
        remove_temporary_files(layout.output)
    for mark in marks:
        mark.unlink(missing_ok=True)


def _shards_at_work(layout: Layout) -> bool:
    """Return whether another shard of the folder is locked."""
    for mark in layout.run_folder.glob("running-*"):
        lock = mark.with_name(mark.name.replace("running", "lock", 1))
        if lock == layout.lock:
            continue
        try:
            _take(lock, layout).release()
        except SamcliError:
            return True
    return False


def _take(path: Path, layout: Layout, patience: float = 0.0) -> BaseFileLock:
    """Acquire a lock within `patience` seconds.

    Raises:
        SamcliError: another process holds it.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout as error:
        raise _at_work(layout) from error
    return lock


def _at_work(layout: Layout) -> SamcliError:
    part = f" on shard {layout.shard.index}/{layout.shard.count}" if layout.shard else ""
    return SamcliError(
        f"another samcli is at work in {layout.output}{part}; wait for it or choose another --output"
    )


def _cannot_write(layout: Layout, error: OSError, remedy: str) -> UsageError:
    return UsageError(f"cannot write in {layout.output}: {error.strerror}. {remedy}")


def _remove_empty(lock: Path, folders: Iterable[Path]) -> None:
    """Remove the lock and, the innermost first, the folders that were made for it; not what others put there."""
    with contextlib.suppress(OSError):
        lock.unlink()
        for folder in folders:
            folder.rmdir()

"""A run whose output lies in an object store: what the driver does before, while and after it works."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from samcli.errors import SamcliError, StorageError, one_line
from samcli.output.layout import RUN_FOLDER, Layout
from samcli.output.lease import Lease
from samcli.output.manifest import read_manifest
from samcli.output.remote import RemoteFolder
from samcli.output.shards import Shard
from samcli.stores.store import Store

_PARTS = ".parts"
"""Added to the name of a journal: the folder of the lines that came since it was put."""
_EVERY = 5.0
"""Seconds after which new lines of the journal are put into the store."""
_SMALL = 1 << 20
"""Bytes of a file for all images that is brought here; of a larger one it is enough to know that it is there."""


_PART = re.compile(r"\d{9,}\.jsonl")
_LEASES: dict[Path, Lease] = {}
"""Of the runs of this process, by local folder: a `RemoteFolder` is sent to other processes, a lease is not."""


@contextlib.contextmanager
def staged(
    store: Store, staging: Path, own_files: Iterable[str], shard: Shard | None
) -> Iterator[tuple[RemoteFolder, Lease]]:
    """Make the run in a store ready to go on in a folder below `staging`, and keep other runs out of it.

    `own_files`: names of the files for all images that the run may write.

    Raises:
        SamcliError: another run is at work there.
        StorageError: the store does not answer.
    """
    part = f"-{shard.name}" if shard else ""
    local = staging.absolute() / (hashlib.sha256(store.url.encode()).hexdigest()[:16] + part)
    with _locked(local, store.url), Lease(store, f"{RUN_FOLDER}/lease{part}.json") as lease:
        _LEASES[local] = lease
        try:
            yield pull(store, local, own_files), lease
        finally:
            del _LEASES[local]
            shutil.rmtree(local, ignore_errors=True)


@contextlib.contextmanager
def _locked(local: Path, url: str) -> Iterator[None]:
    """Keep other processes of this machine out of a local folder, which is emptied."""
    import filelock

    local.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(local.with_name(local.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise SamcliError(f"another samcli of this machine is at work in {url}; wait for it") from error
    try:
        shutil.rmtree(local, ignore_errors=True)
        local.mkdir()
        yield
    finally:
        lock.release()


def pull(store: Store, local: Path, own_files: Iterable[str]) -> RemoteFolder:
    """Bring here what a run needs to go on: its manifest, its journals, and the files for all images.

    Raises:
        SamcliError: the manifest is damaged, or the store does not answer.
    """
    layout = Layout(local, local)
    layout.run_folder.mkdir(parents=True, exist_ok=True)
    is_new = not _bring(store, local, layout.manifest)
    remote = RemoteFolder(store, local, uuid.uuid4().hex, is_new)
    if not is_new:
        _bring(store, local, layout.unfolded)
        pull_journals(remote, layout)
    for name in own_files:
        with contextlib.suppress(FileNotFoundError):
            size = store.entry(name).size
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(store.get_whole(name, size) if size <= _SMALL else b"")
    remote.remember_shared()
    return remote


def pull_journals(remote: RemoteFolder, layout: Layout) -> None:
    """Bring the journals of all shards here but this one's own, which is here already while the run works."""
    manifest = read_manifest(layout.manifest)
    own = layout.journal if layout.shard is not None else None
    for journal in layout.journals(manifest.shards if manifest else 0):
        if journal != own:
            _bring_journal(remote.store, remote.local, journal)


def pull_manifest(remote: RemoteFolder, layout: Layout) -> None:
    """Bring the manifest here that another shard may have written since this one began."""
    _bring(remote.store, remote.local, layout.manifest)


def _bring(store: Store, local: Path, file: Path) -> bool:
    """Copy an object to its place here; return whether there is one."""
    try:
        store.get_file(file.relative_to(local).as_posix(), file)
    except FileNotFoundError:
        file.unlink(missing_ok=True)
        return False
    return True


def _parts_of(local: Path, journal: Path) -> str:
    return journal.relative_to(local).as_posix() + _PARTS


def _bring_journal(store: Store, local: Path, journal: Path) -> None:
    """Copy a journal to its place here, with the lines that came since it was put.

    The parts are read first: whoever ends puts the whole journal before it removes them. Lines that come twice do
    no harm.
    """
    lines = []
    for name in _parts(store, _parts_of(local, journal)):
        with contextlib.suppress(FileNotFoundError):
            lines.append(store.get(name))
    _bring(store, local, journal)
    with journal.open("ab") as file:
        file.writelines(lines)


def _parts(store: Store, folder: str) -> list[str]:
    """Return the names of the parts of a journal, in order; other files in their folder are nobody's."""
    names = (entry.name for entry in store.names(folder))
    return sorted(name for name in names if _PART.fullmatch(name.rpartition("/")[2]))


class JournalMirror:
    """Puts new lines of a journal into the store while the context lasts, and at its end the whole journal."""

    def __init__(self, remote: RemoteFolder, journal: Path) -> None:
        self._store, self._journal = remote.store, journal
        self._name = journal.relative_to(remote.local).as_posix()
        self._parts = _parts(self._store, self._name + _PARTS)
        self._lease = _LEASES.get(remote.local)
        self._number = int(Path(self._parts[-1]).stem) + 1 if self._parts else 0
        self._at = journal.stat().st_size
        self._error: StorageError | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="journal", daemon=True)

    def __enter__(self) -> JournalMirror:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._ending.set()
        self._thread.join()
        if kind is not None:
            with contextlib.suppress(StorageError):
                self.flush()
            return
        self.check()
        self.flush()
        self._finish()

    def check(self) -> None:
        """Refuse to go on where lines cannot be put any more, or another run has taken over.

        Raises:
            StorageError: so it is.
        """
        if self._lease is not None:
            self._lease.check()
        if self._error is not None:
            raise self._error

    def _keep(self) -> None:
        while not self._ending.wait(_EVERY):
            try:
                self.flush()
            except (StorageError, OSError) as error:
                self._error = error if isinstance(error, StorageError) else StorageError(one_line(error))
                return

    def flush(self) -> None:
        """Put the lines that are new.

        Raises:
            StorageError: the store does not take them.
        """
        if self._lease is not None:
            self._lease.check()
        with self._lock:
            with self._journal.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            data = data[: data.rfind(b"\n") + 1]
            if data:
                name = f"{self._name}{_PARTS}/{self._number:09}.jsonl"
                self._store.put(name, data)
                self._parts.append(name)
                self._number += 1
                self._at += len(data)

    def _finish(self) -> None:
        """Put the whole journal, which makes the parts superfluous."""
        if self._parts:
            self._store.put_file(self._name, self._journal)
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(self._store.delete, self._parts))


def mirrored(layout: Layout) -> contextlib.AbstractContextManager[JournalMirror | None]:
    """Return the mirror of the journal of a run in a store; of any other run nothing."""
    return contextlib.nullcontext() if layout.remote is None else JournalMirror(layout.remote, layout.journal)

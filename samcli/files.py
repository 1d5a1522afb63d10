"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from samcli.errors import StorageError, UsageError, WriteError, one_line

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FATAL = {*_FULL, errno.EROFS, errno.EIO}
"""What makes every further write pointless: a full disk, a quota, a read-only or broken file system."""

_IN_THE_WAY = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
"""What keeps a file from being written in one place."""

_NAME_MAX = 255
_LABEL_FILE = re.compile(r"metadata\.csv|\d+(_[\w-]*)?\.png")
"""In an image's folder of labels: masks, cut-outs, and amg.py's table."""

Files = bytes | dict[str, bytes]
"""One file, or a folder of files by name."""

_PREFIX, _SUFFIX = ".samcli-", ".tmp"
"""Of temporary files."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say what is wrong with writing `path` in the user's words, and without the names of temporary files.

    An OSError that no other file would escape either becomes a StorageError, one that is about the place a
    WriteError; others, such as those of files that are read meanwhile, stay as they are.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FATAL:
            remedy = "Free some space" if error.errno in _FULL else "Fix this"
            raise StorageError(
                f"cannot write in {path.parent}: {error.strerror}. {remedy}, then run the same command again; "
                "a run goes on where it was, without --overwrite"
            ) from error
        if error.errno in _IN_THE_WAY and not isinstance(error, WriteError) and _is_about(error, path):
            raise WriteError(error.errno, _nearest(path)) from error
        raise


def check_writable(path: Path) -> None:
    """Refuse a file (or folder) that cannot be written, before the work is done. Leaves nothing behind.

    Raises:
        WriteError: its folder, or the nearest one above that is there, takes no files.
    """
    place = _nearest(path)
    if not place.is_dir():
        raise WriteError(errno.ENOTDIR, place)
    if not os.access(place, os.W_OK | os.X_OK):
        read_only = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
        raise WriteError(errno.EROFS if read_only else errno.EACCES, place)


def _nearest(path: Path) -> Path:
    """Return the folder itself where it is one, else what is there of those above."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    return path if path.is_dir() else next(folder for folder in path.parents if os.path.lexists(folder))


def _is_about(error: OSError, path: Path) -> bool:
    """Return whether it names the file, its folder or one above, or a temporary file there; or nothing at all."""
    if error.filename is None:
        return True
    name = Path(os.fsdecode(error.filename))
    return name.is_relative_to(path.parent) or path.is_relative_to(name)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new, even after power loss.

    A temporary file in the same folder is flushed to disk and renamed over `path`, then the folder is
    flushed. Ordinary permissions: the umask decides, as for any other file.

    Raises:
        StorageError: the disk is full, read-only or over quota.
        WriteError: nothing can be written there.
        OSError: anything else that concerns this one file.
    """
    _write(path, (data,))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    check_names(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=_SUFFIX)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
                file.flush()
                make_ordinary(file.fileno())
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        sync_folder(path.parent)


def write_folder_atomic(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files so that `path` holds either its old content or all of the new.

    Between the two there is a moment without any: no folder can be renamed over another. A folder with anything in
    it that is no label file of ours is left alone.

    Raises:
        FileExistsError: there is such a folder.
        StorageError: the disk is full, read-only or over quota.
        WriteError: nothing can be written there.
        OSError: anything else that concerns this one folder.
    """
    check_names(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX, suffix=_SUFFIX))
        try:
            for name, data in files.items():
                with (temporary / name).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            make_ordinary(temporary, 0o777)
            sync_folder(temporary)
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                if foreign := next((entry.name for entry in path.iterdir() if not _is_ours(entry)), None):
                    raise FileExistsError(f"{path} holds {foreign}, which samcli did not write: move it away")
                path.replace(old := temporary.with_name(temporary.name.replace(_SUFFIX, f"-old{_SUFFIX}")))
                temporary.replace(path)
                shutil.rmtree(old, ignore_errors=True)
            if temporary.exists():
                temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its name at the end, with all that was put into it.

    `path` must not exist, or be an empty folder. Whatever fails inside, nothing is left.

    Raises:
        StorageError: the disk is full, read-only or over quota.
        WriteError: nothing can be written there.
        OSError: anything else, e.g. there is something in `path`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX, suffix=_SUFFIX))
        try:
            yield temporary
            make_ordinary(temporary, 0o777)
            for folder, _, files in os.walk(temporary):
                for file in files:
                    _sync_file(Path(folder, file))
                sync_folder(Path(folder))
            temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def _sync_file(file: Path) -> None:
    """Flush a new file to disk. Symbolic and hard links are skipped: their target was on disk before."""
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1:
        return
    with _opened_to_flush(file) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened_to_flush(file: Path) -> Iterator[int]:
    """Open a file for reading and writing, as Windows flushes no other; one that is read-only for reading."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except PermissionError:
        descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def move_atomic(source: Path, target: Path) -> None:
    """Give a finished file in the same file system its name, as `write_atomic` would: for files too large to
    hold in memory.

    Raises:
        StorageError: the disk is full, read-only or over quota.
        WriteError: nothing can be written there.
        OSError: anything else that concerns this one file.
    """
    with storage_errors(target):
        with _opened_to_flush(source) as descriptor:
            make_ordinary(descriptor)
            os.fsync(descriptor)
        source.replace(target)
        sync_folder(target.parent)


def move(source: Path, target: Path) -> None:
    """Rename a label file, or a folder of them, over what `target` holds; in the same file system.

    Raises:
        StorageError: the file system is full, read-only or broken.
        WriteError: nothing can be written there.
        OSError: anything else that concerns this one file, e.g. `target` holds somebody's files.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target) and (source.is_dir() or target.is_dir()):
            remove(target)  # no folder is renamed over another
        source.replace(target)
        sync_folder(target.parent)
        sync_folder(source.parent)


def remove(path: Path) -> None:
    """Remove a label file, or a folder of label files; what is in it and not ours stays."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for file in path.iterdir():
        if _is_ours(file):
            file.unlink()
    with contextlib.suppress(OSError):  # somebody's files are in it
        path.rmdir()


def _is_ours(file: Path) -> bool:
    """Return whether a file has a name that formats give to those in an image's folder."""
    return bool(_LABEL_FILE.fullmatch(file.name)) and not file.is_dir()


class Sink(io.RawIOBase):
    """A file to be written, not to be sought in, whose content is taken out piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        data, self._pieces = b"".join(self._pieces), []
        return data


def write_atomic_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file as `write_atomic` does, piece by piece: it may be too large for the memory."""
    _write(path, pieces)


def remove_temporary_files(folder: Path) -> None:
    """Remove what atomic writes left below a folder when their process was killed."""
    for path in list(folder.rglob(f"{_PREFIX}*{_SUFFIX}")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can."""
    with contextlib.suppress(OSError):  # not every file system can; the rename itself is still atomic
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_ordinary(file: int | Path, mode: int = 0o666) -> None:
    """Give a temporary file or folder, which is for its owner alone, the permissions that the umask gives others.

    File systems without permissions (FAT, some network shares) refuse; there is nothing to set there. On Windows
    before Python 3.13, `os.chmod` takes no descriptors; there the umask sets nothing but the read-only flag.
    """
    if isinstance(file, int) and os.chmod not in os.supports_fd:
        return
    with contextlib.suppress(OSError):
        os.chmod(file, mode & ~_umask())  # noqa: PTH101 - also takes descriptors


def _umask() -> int:
    """Return the process's umask, read without changing it (os.umask would, for every thread)."""
    global _known_umask
    if _known_umask is None:
        try:
            status = Path("/proc/self/status").read_text()
            _known_umask = int(next(ln for ln in status.splitlines() if ln.startswith("Umask:")).split()[1], 8)
        except (OSError, StopIteration, ValueError):
            _known_umask = os.umask(0o022)
            os.umask(_known_umask)
    return _known_umask


_known_umask: int | None = None


def fit_name(name: str) -> str:
    """`name`, or, where a file system could not hold it, its beginning plus a digest of the whole."""
    if len(name) <= _NAME_MAX // 4:  # a character has at most four bytes
        return name
    encoded = os.fsencode(name)
    if len(encoded) <= _NAME_MAX:
        return name
    suffix = Path(name).suffix
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    room = _NAME_MAX - len(os.fsencode(suffix)) - len(digest) - 1
    return encoded[:room].decode("utf-8", "ignore") + "~" + digest + suffix


_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def check_names(path: Path, *, windows: bool = os.name == "nt") -> None:
    """Refuse a path with a name that Windows cannot store: it would be another file, a device, or a stream.

    Raises:
        OSError: a name has a character that is not allowed there, ends in a dot or a space, or is a device's.
    """
    if not windows:
        return
    for name in path.parts[1:] if path.anchor else path.parts:
        if (
            _NOT_IN_NAMES.search(name)
            or (name[-1:] in (".", " ") and name not in (".", ".."))
            or _RESERVED.fullmatch(name)
        ):
            raise OSError(
                errno.EINVAL, "Windows cannot store a file or folder of this name: rename the image", name
            )


def relative_posix(path: Path, start: Path) -> str:
    """Return a path relative to a folder, with `/`; absolute if both are on different drives (Windows)."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 - resolve() would follow links


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: object) -> str:
    """`hashlib.file_digest` for Python 3.10."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):  # type: ignore[attr-defined]
        digest.update(block)
    return digest.hexdigest()


def write_files(path: Path, files: Files) -> None:
    """Write a label file, or a folder of them; whole or not at all."""
    if isinstance(files, dict):
        write_folder_atomic(path, files)
    else:
        write_atomic(path, files)


_MOST_YAML = 16 << 20
_MOST_NODES = 1_000_000
"""Of YAML text: its bytes, and its values once all that refers to another is written out."""


def parse_yaml(data: bytes, where: str) -> Any:
    """Return the plain values of YAML text, bounded in size, in depth, and in what aliases make of it.

    Raises:
        UsageError: it is no YAML, or too much.
    """
    import yaml

    if len(data) > _MOST_YAML:
        raise UsageError(f"cannot read {where}: it has {len(data)} bytes; expected at most {_MOST_YAML}")
    try:
        loader = yaml.SafeLoader(data.decode("utf-8-sig"))
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _nodes(node, {}) > _MOST_NODES:
                raise UsageError(f"cannot read {where}: its aliases stand for more than {_MOST_NODES} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise UsageError(f"cannot read {where}: its values lie too deep in one another") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"cannot read {where}: it is not YAML ({one_line(error)[:300]})") from error


def _nodes(node: Any, known: dict[int, int]) -> int:
    """Return the values that a YAML node stands for, written out. A node within itself has no end."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # while it is counted: it must not hold itself
        held = node.value if isinstance(node.value, list) else []
        parts = [part for item in held for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(node)]


def read_array(path: Path) -> Any:
    """Return the one array of numbers in a `.npy` file, mapped, so that a header that lies takes no memory.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or its header promises more than it holds.
    """
    import numpy as np

    try:
        with np.errstate(all="ignore"):  # the product of sizes that lie
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy evaluates the header: anything can come of it
        raise ValueError("is no .npy file of numbers") from error
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise ValueError("holds several arrays; expected one, saved with numpy.save")
    if stored.dtype.kind not in "biuf":
        raise ValueError("is no .npy file of numbers")
    return stored

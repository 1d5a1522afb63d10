"""Files that were in an output folder before the run: somebody's work, of which a copy is kept as it was.

Beside the copy lies a seal: the hashes of what the run has made of the file since. A file that has neither the
content of its copy nor one of these hashes was changed by somebody else, and is not written any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from samcli.files import remove, write_atomic
from samcli.output.layout import Layout


def preserve(layout: Layout, paths: Iterable[str]) -> None:
    """Copy the files at these paths that are there.

    Raises:
        StorageError: the copies cannot be written.
    """
    for path in paths:
        if Path(path).is_file():
            write_atomic(layout.preserved(path), Path(path).read_bytes())
            remove(layout.seal(path))


def restore(layout: Layout, path: str, *, discard_changes: bool = False) -> bool:
    """Give a file the content that it had before the run; return whether there was one. The copy stays.

    A file that somebody has changed since stays as it is, and becomes the copy, unless `discard_changes` is given.
    """
    copy = layout.preserved(path)
    if not copy.is_file():
        return False
    if not discard_changes and is_changed(layout, path):
        write_atomic(copy, _present(layout, path).read_bytes())
        remove(layout.seal(path))
    write_atomic(Path(path), copy.read_bytes())
    remove(layout.seal(path))
    return True


def is_changed(layout: Layout, path: str) -> bool:
    """Return whether somebody else has changed a file of which there is a copy; False where it is not there."""
    copy, present = layout.preserved(path), _present(layout, path)
    if not copy.is_file() or not present.is_file():
        return False
    own = _hash_of(present)
    return own != _hash_of(copy) and own not in _sealed(layout, path)


def seal(layout: Layout, path: str, digest: str) -> None:
    """Note that the run is about to give a file the content of that hash; until then it may have the present one.

    Raises:
        StorageError: it cannot be written.
    """
    copy, present = _hash_of(layout.preserved(path)), _present(layout, path)
    own = _hash_of(present) if present.is_file() else copy
    hashes = dict.fromkeys(one for one in (own, digest) if one != copy)
    if hashes:
        write_atomic(layout.seal(path), "".join(f"{one}\n" for one in hashes).encode())
    else:
        remove(layout.seal(path))


def sealed_pieces(layout: Layout, path: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a file; note its hash before whoever writes them gives the file its name."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    seal(layout, path, digest.hexdigest())


def _present(layout: Layout, path: str) -> Path:
    """Return where a label file is now: in its place, or kept aside."""
    aside = Path(layout.aside(path))
    return aside if aside.is_file() else Path(path)


def _sealed(layout: Layout, path: str) -> list[str]:
    file = layout.seal(path)
    return file.read_text().split() if file.is_file() else []


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

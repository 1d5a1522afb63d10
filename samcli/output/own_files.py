"""Read files that samcli wrote itself: they may have been edited, cut short or forged since.

Whatever is wrong with such a file is a ValueError whose message completes "the file cannot be read: ...".
"""

from __future__ import annotations

import errno
import json
import os
import stat
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

E = TypeVar("E", bound=Enum)

_LONGEST_KEY = 4096
"""Characters: no file system takes a longer path."""

_LINK = "it is a symbolic link, which samcli does not follow for its own files"


def check_key(key: object) -> str:
    """Return the key of an image if it is one: a relative POSIX path that stays below its root.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY or "\0" in key:
        raise ValueError("a key is no path of an image")
    if not {"", ".", ".."}.isdisjoint(key.split("/")) or (os.sep != "/" and (os.sep in key or ":" in key)):
        raise ValueError(f"the key {key[:100]!r} is no relative path below the folder of the images")
    return key


def open_own(path: str | Path, mode: str = "rb") -> BinaryIO:
    """Open a file of ours; `mode`: `rb`, or `ab` to append to it, where it is created if need be.

    Raises:
        ValueError: it is a symbolic link, or no ordinary file.
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # non-blocking: it may be a pipe
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise ValueError(_LINK) from error
        raise
    file = os.fdopen(descriptor, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise ValueError("it is no ordinary file")
    return file  # type: ignore[return-value]


def read_own(path: str | Path, limit: int) -> bytes:
    """Return the content of a file of ours that has at most `limit` bytes.

    Raises:
        ValueError: it is larger, a symbolic link, or no ordinary file.
        OSError: it cannot be read.
    """
    with open_own(path) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise ValueError(f"it has more than {limit >> 20} MB")
        return file.read()


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that is written there.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or is no object.
    """
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def check_no_link(path: Path) -> None:
    """Refuse a folder or file of ours that is a symbolic link.

    Raises:
        ValueError: it is one.
    """
    if path.is_symlink():
        raise ValueError(_LINK)


def typed(content: dict[str, Any], name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """Return an entry of a JSON object, of the kind it must have; a bool is no number.

    `default`: where there is no such entry; None: it must be there.

    Raises:
        ValueError: it is not there, or something else.
    """
    if name not in content:
        if default is None:
            raise ValueError(f"it has no {name}")
        return default
    value = content[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} is not what it should be")
    return value


def one_of(kind: type[E], content: dict[str, Any], name: str) -> E | None:
    """Return an entry of a JSON object that is a word of an enumeration; None where it is not there.

    Raises:
        ValueError: it is something else.
    """
    if name not in content:
        return None
    try:
        return kind(content[name])
    except ValueError:
        raise ValueError(f"{name} is not what it should be") from None

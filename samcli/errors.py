"""Define the errors and the exit status of each.

Every message says what was given, what was expected and what to do next, in one or two lines.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path


class SamcliError(Exception):
    """The run could not be done at all."""

    exit_status = 1


class UsageError(SamcliError):
    """An option, a configuration file or a request that does not make sense."""

    exit_status = 2


class NothingMatchedError(UsageError):
    """Labels of two sides have nothing in common, though each can be read."""

    exit_status = 3


class WeightsError(SamcliError):
    """A checkpoint is missing, damaged, of an unknown family, or would run code when loaded."""


class UnknownModelError(WeightsError):
    """No checkpoint is known by that name, and no file has it; or it is one for something else."""

    exit_status = 2


class DownloadError(WeightsError):
    """A known checkpoint is not here and cannot be fetched."""


class StorageError(SamcliError):
    """The output folder cannot be written at all (full, read-only, over quota): going on is pointless."""


class WriteError(OSError):
    """A file cannot be written where it was to be: `place`, the file or folder that is in the way.

    An OSError still: in a run it concerns one image alone.
    """

    exit_status = 2

    def __init__(self, number: int, place: Path) -> None:
        super().__init__(number, os.strerror(number))
        self.place = place

    def __str__(self) -> str:
        return f"cannot write in {self.place}: {self.strerror}. Choose another place, or make this one writable"


class LabelChangedError(OSError):
    """Somebody has changed a label file that was there before the run while or since the run added to it.

    An OSError: in a run it concerns one image alone.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was changed by somebody else and stays as it is: samcli take-back ends the run without "
            "touching it, then a new run adds to it"
        )


class ImageError(SamcliError):
    """One image cannot be processed. The run records the reason and goes on with the others."""


class RecordError(ImageError):
    """The record of one image cannot be read: it is damaged, or its file cannot be opened now."""


class MemoryShortageError(ImageError):
    """An image needs more memory than there is now. The next run tries it again."""


_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "EINTR", "EBUSY", "ESTALE", "EIO", "ENODEV", "ENXIO",
        "ENOTCONN", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
        "ENETUNREACH", "ENETRESET", "EREMOTEIO", "ENOLCK", "ENOLINK",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""What the system says where it is short of something, or where a disk or a mount does not answer."""

_ACCESS = frozenset({errno.EACCES, errno.EPERM})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


def is_transient(error: BaseException) -> bool:
    """Return whether a failure may pass by itself: it says nothing of the image, and a later try may succeed.

    The one place that decides. Memory, descriptors, a mount that is stale or does not answer; a file whose whole
    folder has vanished (unmounted), or that may not be read now. A file that is missing alone, or that is damaged,
    is no such failure.
    """
    cause = _system_error(error)
    if isinstance(cause, (MemoryError, TimeoutError)):
        return True
    if not isinstance(cause, OSError):
        return False
    if cause.errno in _GONE:
        return cause.filename is not None and not os.path.isdir(os.path.dirname(os.fspath(cause.filename)))  # noqa: PTH112, PTH120
    return cause.errno in _PASSING


def is_worth_retrying(error: BaseException) -> bool:
    """Return whether the next run should try again unasked.

    Also where access was denied or memory was too small.
    """
    cause = _system_error(error)
    denied = isinstance(cause, OSError) and cause.errno in _ACCESS
    return denied or isinstance(error, (MemoryShortageError, LabelChangedError)) or is_transient(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine's own memory was too small, whichever library says so."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, (ImportError, OSError, RuntimeError)) and any(said in text for said in _NO_MEMORY))
    )


_NO_MEMORY = (
    "failed to map segment", "annot allocate memory", "an't allocate memory", "bad_alloc", "can't start new thread",
    "not enough memory",
)  # fmt: skip
"""What the loader, PyTorch, C++ and Python say where there is too little memory."""


def _system_error(error: BaseException) -> BaseException:
    """Return the error of the system that led to this one, as far as it is known."""
    seen = error
    while seen.__cause__ is not None:
        seen = seen.__cause__
    return seen


def counted(count: int, thing: str) -> str:
    """Return a number and its noun: `1 error`, `2 errors`, `1,458 polygons`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def nearest(word: str, known: Iterable[str], similarity: float = 0.5) -> str:
    """Return `" Did you mean 'x'?"` for the known word most similar to `word`, or an empty string."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=similarity)
    return f" Did you mean '{by_lower[matches[0]]}'?" if matches else ""


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
"""The beginning of a URL, also after `Path` has removed a slash. A drive of Windows has a single letter."""


def is_url(path: Path) -> bool:
    """Return whether a path that was given is a URL."""
    return _URL.match(path.as_posix()) is not None


def missing_path(path: Path, expected: str) -> UsageError:
    """Return the error for an input that does not exist; a URL is named as such. `expected`: what it should be."""
    if match := _URL.match(path.as_posix()):
        url = f"{match[1]}://{path.as_posix()[match.end() :]}"
        return UsageError(
            f"{url} is a URL that samcli does not read (it reads s3://, gs://, az://, hf:// and file://): "
            "download it first, then give the file"
        )
    return UsageError(f"{path} does not exist; expected {expected}")


def one_line(error: BaseException) -> str:
    """Return the error as one line of text: its message, or its type where it has none.

    An error of the system is the file and what the system says of it, without Python's way to write it.
    """
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        text = str(error.strerror) if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__

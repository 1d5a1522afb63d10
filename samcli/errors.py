"""What can go wrong, and the exit status each kind ends with.

Every message says what was given, what was expected and what to do next, in one or two lines.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class SamcliError(Exception):
    """The run could not be done at all."""

    exit_status = 1


class UsageError(SamcliError):
    """An option, a configuration file or a request that does not make sense."""

    exit_status = 2


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


class ImageError(SamcliError):
    """One image cannot be processed. The run records the reason and goes on with the others."""


class RecordError(ImageError):
    """The record of one image cannot be read: it is damaged, or its file cannot be opened now."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the known word nearest to `word`, or an empty string."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.5)
    return f" Did you mean '{by_lower[matches[0]]}'?" if matches else ""


def one_line(error: BaseException) -> str:
    """The error as one line of text: its message, or its type where it has none."""
    text = " ".join(str(error).split())
    return text or type(error).__name__

"""A time limit for work that may hang in the system: a mount that does not answer, a device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from samcli.errors import ImageError

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or give up after so many seconds; 0: no limit.

    Nothing can interrupt a thread that waits for the system: it is left behind, and ends with the process.

    Raises:
        ImageError: it took longer; caused by a TimeoutError.
    """
    if not seconds:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="decode", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise ImageError(
            f"not decoded after {seconds:g} s (--image-timeout): the disk or network mount may not answer"
        ) from TimeoutError()
    return results[0]

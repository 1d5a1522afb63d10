"""Run the work on this machine, in threads, with the three stages overlapping. Here: on this machine, in threads,
the three stages overlapping.

    read (threads) | annotate (this thread: the networks) | publish (threads)

Every queue is bounded, so memory stays flat over any number of images.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import FrameType
from typing import Generic, Protocol, TypeVar

from samcli.errors import (
    ImageError,
    MemoryShortageError,
    SamcliError,
    StorageError,
    WriteError,
    is_transient,
    is_worth_retrying,
    one_line,
)
from samcli.types import Image, ImageRef, Outcome, Status

R = TypeVar("R")

log = logging.getLogger("samcli")

T = TypeVar("T")


class Stages(Protocol[R]):
    """Interface of a worker for the executor; `R`: the type of the networks' result for an image."""

    def read(self, ref: ImageRef) -> Image: ...
    def annotate(self, images: Sequence[Image]) -> list[R]: ...
    def publish(self, ref: ImageRef, result: R) -> Outcome: ...


@dataclass(frozen=True)
class _Timed:
    """A stage's result for one image (or why there is none) and the seconds spent on it so far."""

    ref: ImageRef
    seconds: float
    image: Image | None = None
    outcome: Outcome | None = None


def run_local(
    stages: Stages[R],
    refs: Iterable[ImageRef],
    *,
    batch: int,
    workers: int,
    settle: Callable[[Outcome], None] = lambda outcome: None,
    stopping: Callable[[], bool] = lambda: False,
    alone: Sequence[ImageRef] = (),
    patience: Patience | None = None,
) -> Generator[Outcome, None, None]:
    """Outcomes of the images, as they come. One image never stops the run: it fails, with its reason.

    `settle` is told of each outcome as soon as it is known, in whichever thread that is: a finished image must
    not wait for its line in the journal.
    Once `stopping()` is true no more images are begun; those in the networks and writers are finished.
    `alone`: images that come last, with nothing else at work; so do those for which there was too little memory.

    Raises:
        StorageError: nothing can be written any more, or one passing failure follows the other.
    """
    tried = _Patient(stages, patience or Patience())
    postponed: list[ImageRef] = []
    yield from _overlapping(tried, refs, postponed, batch=batch, workers=workers, settle=settle, stopping=stopping)
    for ref in (*postponed, *alone):
        if stopping():
            return
        yield from _alone(tried, ref, settle)


def _overlapping(
    stages: Stages[R],
    refs: Iterable[ImageRef],
    postponed: list[ImageRef],
    *,
    batch: int,
    workers: int,
    settle: Callable[[Outcome], None],
    stopping: Callable[[], bool],
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of three concurrent stages. `postponed` takes images that lacked memory."""
    waiting = iter(refs)
    reading: deque[Future[_Timed]] = deque()
    writing: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(workers, "read") as readers, ThreadPoolExecutor(workers, "write") as writers:
        try:
            while not stopping():
                while len(reading) < batch + workers and (ref := next(waiting, None)) is not None:
                    reading.append(readers.submit(_read, stages, ref))
                if not reading:
                    break
                read = [reading.popleft().result() for _ in range(min(batch, len(reading)))]
                postponed += [item.ref for item in read if item.outcome is None and item.image is None]
                yield from _settled([item.outcome for item in read if item.outcome is not None], settle)
                for item, result in _annotate(stages, [item for item in read if item.image is not None]):
                    if isinstance(result, Outcome):
                        yield from _settled([result], settle)
                    else:
                        writing.append(writers.submit(_publish, stages, item, result, settle))
                del read  # and the pixels with it
                while writing and (writing[0].done() or len(writing) > 2 * batch + workers):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()
        finally:
            for future in reading:
                future.cancel()


def _alone(stages: Stages[R], ref: ImageRef, settle: Callable[[Outcome], None]) -> Iterator[Outcome]:
    """Yield the outcome of one image, while nothing else is at work."""
    read = _read(stages, ref, last=True)
    if read.outcome is not None:
        yield from _settled([read.outcome], settle)
        return
    for item, result in _annotate(stages, [read]):
        if isinstance(result, Outcome):
            yield from _settled([result], settle)
        else:
            yield _publish(stages, item, result, settle)


def _read(stages: Stages[R], ref: ImageRef, *, last: bool = False) -> _Timed:
    """Return the image; or why there is none; or neither, where memory is short and this is not the last try."""
    start = time.perf_counter()
    try:
        image = stages.read(ref)
    except StorageError:
        raise  # no other image can be read either
    except MemoryShortageError as error:
        return _Timed(ref, 0.0, outcome=_failed(ref, error, time.perf_counter() - start) if last else None)
    except Exception as error:
        return _Timed(ref, 0.0, outcome=_failed(ref, error, time.perf_counter() - start))
    return _Timed(ref, time.perf_counter() - start, image)


def _annotate(stages: Stages[R], items: list[_Timed]) -> Iterator[tuple[_Timed, R | Outcome]]:
    """Each item with its result, or the outcome that it has failed.

    Where a batch fails, its images are tried alone: one may be to blame.
    """
    if not items:
        return
    start = time.perf_counter()
    try:
        results = stages.annotate([item.image for item in items if item.image is not None])
    except StorageError:
        raise  # the images' folder is gone: no verdict on the images
    except Exception as error:
        if type(error).__name__ == "AcceleratorError":
            raise SamcliError(f"the GPU has failed ({one_line(error)}); nothing is lost, run again") from error
        if len(items) > 1:
            for item in items:
                yield from _annotate(stages, [item])
            return
        (item,) = items
        yield item, _failed(item.ref, error, item.seconds + time.perf_counter() - start)
        return
    share = (time.perf_counter() - start) / len(items)
    for item, result in zip(items, results, strict=True):
        yield replace(item, seconds=item.seconds + share, image=None), result


def _publish(stages: Stages[R], item: _Timed, result: R, settle: Callable[[Outcome], None]) -> Outcome:
    start = time.perf_counter()
    try:
        outcome = stages.publish(item.ref, result)
    except SamcliError:
        raise  # no other image could be written either
    except Exception as error:
        outcome = _failed(item.ref, error, 0.0)
    outcome = replace(outcome, seconds=item.seconds + time.perf_counter() - start)
    settle(outcome)
    return outcome


def _settled(outcomes: list[Outcome], settle: Callable[[Outcome], None]) -> Iterator[Outcome]:
    for outcome in outcomes:
        settle(outcome)
        yield outcome


def _failed(ref: ImageRef, error: Exception, seconds: float) -> Outcome:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        reason = "the machine's memory is too small for it"
    elif isinstance(error, (ImageError, WriteError)):
        reason = str(error)
    elif isinstance(error, OSError):
        reason = one_line(error)
    else:
        reason = f"{type(error).__name__}: {one_line(error)}"
    log.debug("%s failed", ref.key, exc_info=error)
    return Outcome(ref, Status.FAILED, seconds=seconds, error=reason, passing=is_worth_retrying(error))


@dataclass(frozen=True)
class Patience:
    """Handling of transient failures: retry after these seconds, and stop after so many in a row."""

    pauses: tuple[float, ...] = (0.2, 1.0, 5.0)
    most_in_a_row: int = 10


class _Patient(Generic[R]):
    """Stages that try again what may pass by itself: no descriptors, no memory, a mount that does not answer.

    Where that is the reason for one image after the other, it is no verdict on any of them: the run stops.
    """

    def __init__(self, stages: Stages[R], patience: Patience) -> None:
        self._stages = stages
        self._patience = patience
        self._in_a_row = 0
        self._lock = threading.Lock()

    def read(self, ref: ImageRef) -> Image:
        return self._try(lambda: self._stages.read(ref))

    def annotate(self, images: Sequence[Image]) -> list[R]:
        return self._stages.annotate(images)

    def publish(self, ref: ImageRef, result: R) -> Outcome:
        return self._try(lambda: self._stages.publish(ref, result))

    def _try(self, work: Callable[[], T]) -> T:
        for pause in (*self._patience.pauses, None):
            try:
                result = work()
            except Exception as error:
                if not is_transient(error):
                    raise
                if pause is None or isinstance(error.__cause__, TimeoutError):
                    self._count(error)
                    raise
                time.sleep(pause)
            else:
                self._in_a_row = 0
                return result
        raise AssertionError  # the last pause is None

    def _count(self, error: Exception) -> None:
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._patience.most_in_a_row:
                raise StorageError(
                    f"{self._in_a_row} images in a row could not be read or written ({one_line(error)}): "
                    "the images are not the cause. Fix this, then run the same command again"
                ) from error


class StopSignals:
    """While active, SIGINT and SIGTERM ask for an orderly stop; a second one stops at once. Both are answered."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self.received is not None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.received is not None:
            _say(f"Interrupted ({name}): quitting. Finished images are kept; run the same command to continue")
            raise SystemExit(128 + number)
        self.received = signal.Signals(number)
        _say(f"Interrupted ({name}): finishing current images. Press Ctrl-C again to quit immediately")


def _say(line: str) -> None:
    """A line on standard error, past all buffers: a signal may interrupt whoever is writing into them."""
    with contextlib.suppress(OSError):
        os.write(2, f"\nsamcli: {line}\n".encode())

"""The local runner, with stages that stand for the networks."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samcli.errors import ImageError, MemoryShortageError, StorageError, WriteError
from samcli.jobs.executor import Patience, StopSignals, run_local
from samcli.types import Annotation, Image, ImageRef, Outcome, Status


def refs(count: int) -> list[ImageRef]:
    return [ImageRef(Path("/in"), f"{number}.jpg") for number in range(count)]


class Stages:
    """Records what it is asked. `at` a stage and key, it does what it is told, mostly to raise."""

    def __init__(self, **at: dict[str, Callable[[], None]]) -> None:
        self.at = at
        self.read_keys: list[str] = []
        self.batches: list[list[str]] = []
        self.published: list[str] = []
        self.threads: dict[str, set[int]] = {"read": set(), "annotate": set(), "publish": set()}

    def _visit(self, stage: str, key: str) -> None:
        self.threads[stage].add(threading.get_ident())
        self.at.get(stage, {}).get(key, lambda: None)()

    def read(self, ref: ImageRef) -> Image:
        self.read_keys.append(ref.key)
        self._visit("read", ref.key)
        return Image(ref, np.zeros((1, 1, 3), np.uint8))

    def annotate(self, images: Sequence[Image]) -> list[Annotation]:
        self.batches.append([image.ref.key for image in images])
        for image in images:
            self._visit("annotate", image.ref.key)
        return [Annotation(image.ref.key, image.image_size) for image in images]

    def publish(self, ref: ImageRef, annotation: Annotation) -> Outcome:
        assert annotation.key == ref.key, "an image's labels must be its own"
        self._visit("publish", ref.key)
        self.published.append(ref.key)
        return Outcome(ref, Status.DONE, {0: 1})


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def run(stages: Stages, count: int, *, batch: int = 2, workers: int = 2, **more: Any) -> dict[str, Outcome]:
    outcomes = list(run_local(stages, refs(count), batch=batch, workers=workers, **more))
    by_key = {outcome.ref.key: outcome for outcome in outcomes}
    assert len(by_key) == len(outcomes), "one outcome for each image"
    return by_key


def failures(outcomes: dict[str, Outcome]) -> dict[str, str | None]:
    return {key: outcome.error for key, outcome in outcomes.items() if outcome.status is Status.FAILED}


# All is well


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_image__is_read_annotated_and_published_once(batch: int, workers: int, count: int) -> None:
    stages = Stages()
    outcomes = run(stages, count, batch=batch, workers=workers)
    keys = [ref.key for ref in refs(count)]
    assert sorted(outcomes) == sorted(stages.read_keys) == sorted(stages.published) == keys
    assert [key for group in stages.batches for key in group] == keys, "the networks see them in order"
    assert all(len(group) <= batch for group in stages.batches)
    assert not failures(outcomes)


def test_outcomes__of_images_that_are_well_come_in_order() -> None:
    outcomes = run_local(Stages(), refs(9), batch=2, workers=3)
    assert [outcome.ref for outcome in outcomes] == refs(9)


def test_networks__stay_in_the_callers_thread_and_files_do_not() -> None:
    stages, here = Stages(), threading.get_ident()
    run(stages, 6)
    assert stages.threads["annotate"] == {here}
    assert here not in stages.threads["read"] | stages.threads["publish"]


def test_outcome__carries_the_seconds_of_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

    def passing(seconds: float) -> Callable[[], None]:
        def wait() -> None:
            Clock.now += seconds

        return wait

    monkeypatch.setattr("samcli.jobs.executor.time.perf_counter", lambda: Clock.now)
    stages = Stages(read={"0.jpg": passing(1)}, annotate={"0.jpg": passing(10)}, publish={"0.jpg": passing(100)})
    assert run(stages, 1, batch=1, workers=1)["0.jpg"].seconds == 111


# One image is not


def test_read_failure__is_that_images_alone() -> None:
    stages = Stages(read={"1.jpg": raising(ImageError("truncated")), "3.jpg": raising(ValueError("odd\ntwice"))})
    outcomes = run(stages, 5)
    assert failures(outcomes) == {"1.jpg": "truncated", "3.jpg": "ValueError: odd twice"}
    assert sorted(stages.published) == ["0.jpg", "2.jpg", "4.jpg"]


def test_read_failure__of_all_images_still_ends() -> None:
    stages = Stages(read={ref.key: raising(ImageError("truncated")) for ref in refs(7)})
    assert len(failures(run(stages, 7))) == 7
    assert stages.batches == []


def test_annotate_failure__of_a_batch_is_traced_to_the_image_to_blame() -> None:
    stages = Stages(annotate={"1.jpg": raising(RuntimeError("bad image"))})
    outcomes = run(stages, 4, batch=4)
    assert failures(outcomes) == {"1.jpg": "RuntimeError: bad image"}
    assert sorted(stages.published) == ["0.jpg", "2.jpg", "3.jpg"]
    assert stages.batches == [
        ["0.jpg", "1.jpg", "2.jpg", "3.jpg"],
        ["0.jpg"],
        ["1.jpg"],
        ["2.jpg"],
        ["3.jpg"],
    ]


def test_annotate_failure__goes_on_with_the_next_batch() -> None:
    stages = Stages(annotate={ref.key: raising(RuntimeError("bad")) for ref in refs(2)})
    assert set(failures(run(stages, 5))) == {"0.jpg", "1.jpg"}


def test_publish_failure__of_one_file_is_that_images_alone() -> None:
    stages = Stages(publish={"2.jpg": raising(PermissionError(13, "Permission denied"))})
    assert failures(run(stages, 5)) == {"2.jpg": "Permission denied"}


def test_publish_failure__of_a_place_that_takes_no_files_is_said_in_plain_words() -> None:
    error = WriteError(13, Path("/out"))
    assert failures(run(Stages(publish={"2.jpg": raising(error)}), 5)) == {"2.jpg": str(error)}


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


@pytest.mark.parametrize("stage", ["read", "annotate"])
@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("CUDA out of memory. Tried to allocate ...")])
def test_memory__that_does_not_suffice_for_one_image_is_said_plainly(stage: str, error: Exception) -> None:
    outcomes = run(Stages(**{stage: {"1.jpg": raising(error)}}), 3, batch=3)
    assert failures(outcomes) == {"1.jpg": "the machine's memory is too small for it"}


# Nothing goes on


@pytest.mark.parametrize("stage", ["publish", "annotate"])
def test_storage_error__ends_the_run(stage: str) -> None:
    """Annotate: an image that is decoded only there, from a folder that is gone."""
    stages = Stages(**{stage: {"1.jpg": raising(StorageError("the disk is full"))}})
    with pytest.raises(StorageError, match="the disk is full"):
        run(stages, 1000)
    assert len(stages.read_keys) < 100


def test_keyboard_interrupt__ends_the_run_at_once() -> None:
    stages = Stages(annotate={"2.jpg": raising(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        run(stages, 1000, batch=1)
    assert len(stages.batches) == 3


@pytest.mark.parametrize("batch", [1, 2])
def test_stopping__begins_nothing_more_and_finishes_what_is_in_flight(batch: int) -> None:
    stages = Stages()
    outcomes = run(stages, 1000, batch=batch, stopping=lambda: len(stages.batches) >= 3)
    in_flight = [key for group in stages.batches for key in group]
    assert len(stages.batches) == 3
    assert sorted(outcomes) == sorted(stages.published) == sorted(in_flight)
    assert len(stages.read_keys) <= 3 * batch + batch + 2


def test_stopping__before_the_first_image_does_nothing() -> None:
    stages = Stages()
    assert run(stages, 5, stopping=lambda: True) == {}
    assert stages.read_keys == []


def test_consumer__that_leaves_early_ends_the_work() -> None:
    stages = Stages()
    outcomes = run_local(stages, refs(1000), batch=1, workers=1)
    next(outcomes)
    outcomes.close()
    assert len(stages.read_keys) < 100
    annotated = [key for group in stages.batches for key in group]
    assert sorted(stages.published) == sorted(annotated), "what was in the writers was written"


# Memory stays flat


class LazyPool:
    """A pool whose work is done only when somebody waits for it: the slowest that there can be."""

    waiting: dict[str, int]
    most: dict[str, int]

    def __init__(self, workers: int, name: str) -> None:
        self.name = name

    def __enter__(self) -> LazyPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Any:
        pool = self
        pool.waiting[pool.name] += 1
        pool.most[pool.name] = max(pool.most[pool.name], pool.waiting[pool.name])

        class Future:
            def done(self) -> bool:
                return False

            def cancel(self) -> bool:
                return True

            def result(self) -> Any:
                pool.waiting[pool.name] -= 1
                return work(*arguments)

        return Future()


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (4, 2), (1, 8)])
def test_queues__are_bounded_however_slow_readers_and_writers_are(
    batch: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LazyPool, "waiting", {"read": 0, "write": 0}, raising=False)
    monkeypatch.setattr(LazyPool, "most", {"read": 0, "write": 0}, raising=False)
    monkeypatch.setattr("samcli.jobs.executor.ThreadPoolExecutor", LazyPool)
    outcomes = run(Stages(), 200, batch=batch, workers=workers)
    assert len(outcomes) == 200
    assert batch < LazyPool.most["read"] <= batch + workers, "the next images are read while the networks work"
    assert LazyPool.most["write"] <= 3 * batch + workers


def test_images__are_asked_for_as_they_are_needed() -> None:
    """Of a million names, only those that are read soon."""
    stages, asked = Stages(), []

    def names() -> Any:
        for ref in refs(1000):
            asked.append(ref)
            annotated = sum(map(len, stages.batches))
            assert len(asked) <= annotated + 2 + 3
            yield ref

    assert len(list(run_local(stages, names(), batch=2, workers=3))) == 1000


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signals__the_first_asks_and_the_second_stops_at_once(number: signal.Signals, capfd) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert not signals()
        signal.raise_signal(number)
        assert f"({number.name}): finishing current images" in capfd.readouterr().err, "at once"
        assert signals()
        assert signals.received is number
        with pytest.raises(SystemExit) as stopped:
            signal.raise_signal(number)
        assert f"({number.name}): quitting" in capfd.readouterr().err
        assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_stop_signals__in_another_thread_leave_the_handlers_alone() -> None:
    before, inside = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopSignals() as signals:
            inside.append((signals(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(False, before)]


# What may pass by itself

SHORT = Patience(pauses=(0.0, 0.0), most_in_a_row=3)


def failing(times: int, error: Exception) -> Callable[[], None]:
    """Raises so many times, then no more."""
    left = [times]

    def fail() -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return fail


def of_the_system(number: int) -> ImageError:
    error = ImageError("cannot be decoded")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


@pytest.mark.parametrize("stage", ["read", "publish"])
def test_failure_that_passes__costs_no_image(stage) -> None:
    stages = Stages(**{stage: {"1.jpg": failing(2, of_the_system(errno.EMFILE))}})
    assert failures(run(stages, 4, patience=SHORT)) == {}


def test_failure_that_stays_for_one_image__fails_it_until_the_next_run() -> None:
    outcomes = run(Stages(read={"1.jpg": raising(of_the_system(errno.ESTALE))}), 4, patience=SHORT)
    assert failures(outcomes) == {"1.jpg": "cannot be decoded"}
    assert outcomes["1.jpg"].passing
    verdict = run(Stages(read={"1.jpg": raising(ImageError("no image"))}), 4, patience=SHORT)["1.jpg"]
    assert not verdict.passing


def test_failure_of_one_image_after_the_other__stops_the_run() -> None:
    """Readers at work at the same time may add failures to the three that end the run."""
    stages = Stages(read={f"{number}.jpg": raising(of_the_system(errno.EIO)) for number in range(3, 100)})
    with pytest.raises(StorageError, match=r"[3-9] images in a row could not be .*images are not the cause"):
        run(stages, 100, patience=SHORT)
    assert len(stages.read_keys) < 40


def test_bad_images_in_a_row__stop_nothing() -> None:
    stages = Stages(read={f"{number}.jpg": raising(ImageError("no image")) for number in range(50)})
    assert len(failures(run(stages, 60, patience=SHORT))) == 50


def test_image_for_which_memory_is_short__comes_last_and_alone() -> None:
    stages = Stages(read={"1.jpg": failing(1, MemoryShortageError("takes 9 GB"))})
    outcomes = run(stages, 9, batch=4)
    assert failures(outcomes) == {}
    assert list(outcomes)[-1] == "1.jpg"
    assert stages.batches[-1] == ["1.jpg"]
    stays = run(Stages(read={"1.jpg": raising(MemoryShortageError("takes 9 GB"))}), 9)
    assert failures(stays) == {"1.jpg": "takes 9 GB"}
    assert stays["1.jpg"].passing


def test_images_to_be_tried_alone__are_tried_last() -> None:
    stages = Stages()
    outcomes = run(stages, 5, alone=[ImageRef(Path("/in"), "huge.jpg")], batch=4)
    assert list(outcomes)[-1] == "huge.jpg"
    assert stages.batches[-1] == ["huge.jpg"]

"""A review that writes: the images of a run, what a person does to them, and undo.

Each change is on disk before it is answered: the image's record, its labels, its line in the journal. Whoever
changes an image says which version of its record is meant; another version is refused, whoever has written it.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from samcli.errors import RecordError, SamcliError, UsageError
from samcli.labels.training_lists import refresh_training_lists
from samcli.masks import Mask
from samcli.output.journal import JournalEntry
from samcli.output.locks import locked
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.review import editing
from samcli.review.apply import Publisher, as_labelled
from samcli.review.correcting import XYXY, Asked, Corrector
from samcli.types import Annotation, ImageMark, ImageRef, Instance, PromptPoint, Quality, Segment, Size, Verdict

_MOST_UNDONE = 500

Change = Callable[[Annotation], Annotation]


class StaleError(SamcliError):
    """The image is no longer as the person saw it."""


class UnknownImageError(SamcliError):
    """There is no image of that number."""


@dataclass(frozen=True)
class _Step:
    """A change that can be undone."""

    key: str
    before: Annotation
    after: Annotation


@dataclass(frozen=True)
class _Draft:
    """An object that is being clicked at: what was asked, and SAM's answers to it."""

    version: str
    index: int
    asked: Asked
    answers: list[Segment]
    chosen: int
    base: Annotation
    """The image before the first click."""


class Session:
    """The images of a run by number, and all that a person does to them."""

    def __init__(self, output: Path, corrector: Corrector) -> None:
        """Raises:
        UsageError: no run that can be changed was begun there, or it has finished no image yet.
        """
        self.run = RunFolder.open(output, Product.LABELS)
        self._publisher = Publisher(self.run)
        self._corrector = corrector
        self._entries = self.run.entries()
        self._journal_state = self._stat()
        self.keys = sorted({*self._entries, *self.run.manifest.collisions})
        if not self.keys:
            raise UsageError(f"nothing to review in {self.run.output}: its run has finished no image yet")
        self._undone: deque[_Step] = deque(maxlen=_MOST_UNDONE)
        self._redone: deque[_Step] = deque(maxlen=_MOST_UNDONE)
        self._draft: _Draft | None = None
        self._lock = threading.RLock()
        self._last = 0.0

    def key(self, number: int) -> str:
        """Return the key of an image.

        Raises:
            UnknownImageError: there is none of that number.
        """
        if not 0 <= number < len(self.keys):
            raise UnknownImageError(f"there is no image {number}: the run has {len(self.keys)}")
        return self.keys[number]

    def ref(self, number: int) -> ImageRef:
        """Return the image of that number."""
        return ImageRef(self.run.layout.input_root, self.key(number))

    def entries(self) -> dict[str, JournalEntry]:
        """Return the journal's entries, read anew where somebody else has written."""
        with self._lock:
            if (state := self._stat()) != self._journal_state:
                self._entries, self._journal_state = self.run.entries(), state
            return self._entries

    def version(self, number: int) -> str:
        """Return what tells the record of an image from every other one."""
        try:
            data = Path(self.run.layout.record(self.key(number))).read_bytes()
        except OSError:
            return ""
        return hashlib.sha256(data).hexdigest()[:16]

    def prepare(self, number: int) -> None:
        """Encode an image and the next ones in the background."""
        last = min(number + 3, len(self.keys))
        self._corrector.prepare([self.ref(one) for one in range(number, last)])

    def change(self, number: int, version: str, change: Change) -> None:
        """Change an image and write it.

        Raises:
            StaleError: it is no longer as the person saw it.
            UsageError: it cannot be changed so.
            SamcliError: a run is at work in the folder, or nothing can be written.
        """
        with self._lock, locked(self.run.layout, "Make it writable"):
            before = self._read(number, version)
            after = change(before)
            if after == before:
                return
            self._write(after)
            self._undone.append(_Step(before.key, before, after))
            self._redone.clear()
            self._draft = None

    def verdict(self, number: int, version: str, indices: list[int], verdict: Verdict | None) -> None:
        """Take objects out of the labels, or put them back."""
        self.change(number, version, lambda one: editing.with_verdict(one, indices, verdict))

    def mark(self, number: int, version: str, mark: ImageMark | None) -> None:
        """Mark an image."""
        self.change(number, version, lambda one: replace(one, mark=mark))

    def set_class(self, number: int, version: str, index: int, class_id: int) -> None:
        """Give an object another class of the run's."""
        self._check_class(class_id)
        self.change(number, version, lambda one: editing.with_class(one, index, class_id))

    def split(self, number: int, version: str, index: int) -> None:
        """Make each part of an object one of its own."""
        self.change(number, version, lambda one: editing.split(one, index))

    def join(self, number: int, version: str, index: int, other: int) -> None:
        """Make two objects one."""
        self.change(number, version, lambda one: editing.join(one, index, other))

    def paint(
        self,
        number: int,
        version: str,
        stroke: list[tuple[float, float]],
        radius: float,
        *,
        index: int | None,
        class_id: int,
        erase: bool,
    ) -> None:
        """Draw with a brush, or erase; without an object a new one of a class begins."""
        self._check_class(class_id)

        def change(one: Annotation) -> Annotation:
            size = one.image_size
            present = editing.instance_at(one, index).mask if index is not None else empty_mask(size)
            mask = Mask.from_pixels(editing.painted(present.pixels(), stroke, radius, erase=erase))
            if index is None:
                return editing.with_object(one, mask, class_id)
            return editing.with_mask(one, index, mask)

        self.change(number, version, change)

    def click(
        self,
        number: int,
        version: str,
        *,
        index: int | None,
        class_id: int,
        point: PromptPoint | None = None,
        box: XYXY | None = None,
    ) -> None:
        """Ask SAM with one more click or a box, on top of the object's mask; without an object a new one begins."""
        self._check_class(class_id)
        with self._lock:
            draft = self._draft
            if draft is not None and (draft.version, draft.index) != (version, index):
                draft = None
            base = draft.base if draft else self._read(number, version)
            asked = draft.asked if draft else Asked()
            logits = draft.answers[draft.chosen].low_res_logits if draft else None
            points = (*asked.points, point) if point else asked.points
            asked = Asked(points, box or asked.box, logits)
            present = editing.instance_at(base, index).mask if index is not None and not draft else None
        answers = self._corrector.segments(self.ref(number), asked, present)
        if not answers:
            raise UsageError("SAM finds nothing there: click elsewhere, or draw a box")
        with self._lock:
            own = index if index is not None else self.count(number)
            self.change(number, version, lambda one: _answered(one, index, class_id, answers[0], asked.points))
            self._draft = _Draft(self.version(number), own, asked, answers, 0, base)

    def next_answer(self, number: int, version: str) -> None:
        """Take the next of SAM's answers to the last click.

        Raises:
            UsageError: there was no click on the image as it is.
        """
        with self._lock:
            draft = self._draft
            if draft is None or draft.version != version:
                raise UsageError("click first: then there are further answers to take")
            chosen = (draft.chosen + 1) % len(draft.answers)
            class_id = editing.instance_at(self._read(number, version), draft.index).class_id
            answer = draft.answers[chosen]
            self.change(
                number, version, lambda one: _answered(one, draft.index, class_id, answer, draft.asked.points)
            )
            self._draft = replace(draft, version=self.version(number), chosen=chosen)

    def undo(self) -> int:
        """Take the last change back; return the number of its image.

        Raises:
            UsageError: there is none.
            StaleError: somebody else has changed the image since.
        """
        return self._turn(self._undone, self._redone, "undo", lambda step: (step.after, step.before))

    def redo(self) -> int:
        """Make the last change that was undone again; return the number of its image. Raises what `undo` raises."""
        return self._turn(self._redone, self._undone, "redo", lambda step: (step.before, step.after))

    def _turn(
        self,
        source: deque[_Step],
        target: deque[_Step],
        word: str,
        ends: Callable[[_Step], tuple[Annotation, Annotation]],
    ) -> int:
        with self._lock, locked(self.run.layout, "Make it writable"):
            if not source:
                raise UsageError(f"nothing to {word}")
            step = source.pop()
            here, there = ends(step)
            number = self.keys.index(step.key)
            if _facts(self.run.record(step.key)) != _facts(here):
                raise StaleError(f"{step.key} was changed by somebody else since: nothing to {word} there")
            self._write(there)
            target.append(step)
            self._draft = None
            return number

    def count(self, number: int) -> int:
        """Return how many objects an image has, rejected ones included."""
        return len(as_labelled(self.run.record(self.key(number))))

    def finish(self) -> None:
        """Write the files that hold all images, if an image has changed.

        Raises:
            SamcliError: a run is at work in the folder, or a record cannot be read.
        """
        with self._lock:
            if self.run.is_unfinished:
                with locked(self.run.layout, "Make it writable"):
                    self._publisher.finish()
                    refresh_training_lists(self.run)

    def bring_up_to_date(self) -> None:
        """Write what an interrupted review has left, and labels whose polygons an earlier version wrote.

        Raises:
            SamcliError: a run is at work in the folder, or a record cannot be read.
        """
        if self._publisher.is_of_earlier_version:
            with locked(self.run.layout, "Make it writable"):
                self._publisher.publish([])
        self.finish()

    def is_idle(self, seconds: float) -> bool:
        """Return whether the last change was so long ago."""
        return time.monotonic() - self._last > seconds

    def _check_class(self, class_id: int) -> None:
        if class_id not in self.run.manifest.names:
            raise UsageError(f"class {class_id} is none of the run's {len(self.run.manifest.names)}")

    def _read(self, number: int, version: str) -> Annotation:
        key = self.key(number)
        if self.version(number) != version:
            raise StaleError(f"{key} was changed elsewhere since: here it is as it is now")
        try:
            return self.run.record(key)
        except RecordError as error:
            raise UsageError(f"{key}: {error}") from error

    def _write(self, annotation: Annotation) -> None:
        entry = self.entries().get(annotation.key)
        if entry is None or not entry.done:
            raise UsageError(f"{annotation.key}: this run has not labelled it")
        self._publisher.publish_one(annotation, entry)
        self._last = time.monotonic()

    def _stat(self) -> list[tuple[int, int]]:
        found = []
        for journal in self.run.layout.journals(self.run.manifest.shards):
            with contextlib.suppress(OSError):
                stat = journal.stat()
                found.append((stat.st_size, stat.st_mtime_ns))
        return found


def _answered(
    annotation: Annotation, index: int | None, class_id: int, answer: Segment, points: tuple[PromptPoint, ...]
) -> Annotation:
    quality = Quality(predicted_iou=answer.predicted_iou, stability=answer.stability)
    if index is None:
        return editing.with_object(annotation, answer.mask, class_id, quality=quality, points=points)
    return editing.with_mask(annotation, index, answer.mask, quality=quality, points=points)


def _facts(annotation: Annotation) -> list[Any]:
    """Return what a person decides of an image: figures of its polygons are made when it is written."""

    def of(one: Instance) -> Any:
        return one.class_id, one.mask, one.source, one.changed

    dropped = [(of(one.instance), one.verdict) for one in annotation.dropped if one.instance is not None]
    return [[of(one) for one in annotation.instances], dropped, annotation.mark]


def empty_mask(size: Size) -> Mask:
    """Return a mask without pixels."""
    return Mask.from_pixels(np.zeros(size, bool))

"""Edit the objects of an image. Each function returns a new annotation.

Objects go by their number as `as_labelled` counts them, rejected ones included: no change renumbers another object.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.errors import UsageError
from samcli.masks import Mask, box_iou
from samcli.review.apply import Judged, as_labelled, relabelled
from samcli.types import Annotation, ImageMark, Instance, Origin, PromptPoint, Quality, Verdict

Pixels = NDArray[np.bool_]


def now() -> str:
    """Return the time for a record."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instance_at(annotation: Annotation, index: int) -> Instance:
    """Return the object of that number.

    Raises:
        UsageError: there is none.
    """
    return _judged(annotation, index)[index][0]


def with_mask(
    annotation: Annotation,
    index: int,
    mask: Mask,
    *,
    quality: Quality | None = None,
    points: tuple[PromptPoint, ...] = (),
) -> Annotation:
    """Give an object another mask; it counts as labelled again.

    Raises:
        UsageError: there is no such object, or the mask has no pixels.
    """
    if not mask.area:
        raise UsageError("nothing would be left of the object: delete it instead (n)")

    def change(one: Instance) -> Instance:
        score = one.quality.detector_score
        figures = replace(quality or Quality(), detector_score=score, box_iou=_box_iou(one, mask))
        return replace(_by_hand(one), mask=mask, quality=figures, prompt_points=points or one.prompt_points)

    return _changed(annotation, index, change)


def _box_iou(one: Instance, mask: Mask) -> float | None:
    return box_iou(mask.box or (0, 0, 0, 0), one.prompt_box) if one.prompt_box else None


def with_class(annotation: Annotation, index: int, class_id: int) -> Annotation:
    """Give an object another class.

    Raises:
        UsageError: there is no such object.
    """
    return _changed(annotation, index, lambda one: replace(_by_hand(one), class_id=class_id))


def with_object(
    annotation: Annotation,
    mask: Mask,
    class_id: int,
    *,
    quality: Quality | None = None,
    points: tuple[PromptPoint, ...] = (),
) -> Annotation:
    """Add an object.

    Raises:
        UsageError: the mask has no pixels.
    """
    if not mask.area:
        raise UsageError("nothing was found there: click or draw elsewhere")
    new = Instance(mask, class_id, quality or Quality(), prompt_points=points, source=Origin.HUMAN, changed=now())
    return relabelled(annotation, [*as_labelled(annotation), (new, None)])


def with_verdict(annotation: Annotation, indices: Sequence[int], verdict: Verdict | None) -> Annotation:
    """Take objects out of the labels, or put them back (None).

    Raises:
        UsageError: there is no such object.
    """
    judged = _judged(annotation, *indices)
    for index in indices:
        judged[index] = judged[index][0], verdict
    after = relabelled(annotation, judged)
    is_news = verdict is Verdict.BAD_MASK and annotation.mark is ImageMark.COMPLETE
    return replace(after, mark=None) if is_news else after


def split(annotation: Annotation, index: int) -> Annotation:
    """Make each part of an object one of its own; the largest keeps the object's number.

    Raises:
        UsageError: there is no such object, or it is of one part.
    """
    one = instance_at(annotation, index)
    count, parts = cv2.connectedComponents(one.mask.pixels().astype(np.uint8), connectivity=8)
    if count < 3:
        raise UsageError("the object has one part only: erase where it is to be split, then split it")
    sizes = np.bincount(parts.ravel(), minlength=count)[1:]
    order = (np.argsort(-sizes, kind="stable") + 1).tolist()
    first, *others = (Mask.from_pixels(parts == number) for number in order)
    after = with_mask(annotation, index, first)
    for mask in others:
        after = with_object(after, mask, one.class_id)
    return after


def join(annotation: Annotation, index: int, other: int) -> Annotation:
    """Make two objects one, which keeps the first one's number and class.

    Raises:
        UsageError: there are no two such objects.
    """
    if index == other:
        raise UsageError("an object cannot be joined with itself: choose another one")
    union = instance_at(annotation, index).mask.pixels() | instance_at(annotation, other).mask.pixels()
    after = with_mask(annotation, index, Mask.from_pixels(union))
    return with_verdict(after, [other], Verdict.NO_OBJECT)


def painted(pixels: Pixels, stroke: Sequence[tuple[float, float]], radius: float, *, erase: bool) -> Pixels:
    """Return pixels (H, W) with a brush drawn along a line, or with what it covers taken away.

    `stroke`: x, y in pixels of the image. `radius`: in the same.
    """
    canvas = np.zeros(pixels.shape, np.uint8)
    shift = 4  # sixteenths of a pixel
    points = [(round((x - 0.5) * 16), round((y - 0.5) * 16)) for x, y in stroke]
    for start, end in itertools.pairwise(points):
        cv2.line(canvas, start, end, 1, max(1, round(2 * radius)), cv2.LINE_8, shift)
    for point in points:
        cv2.circle(canvas, point, math.ceil(radius * 16), 1, cv2.FILLED, cv2.LINE_8, shift)
    covered = canvas.astype(bool)
    return np.asarray(pixels & ~covered if erase else pixels | covered)


def _by_hand(one: Instance) -> Instance:
    """Return an object as a person's, which remembers what it was."""
    before = one if one.source is not Origin.HUMAN else one.before
    return replace(
        one, source=Origin.HUMAN, place=None, changed=now(), before=before, box=None, is_box=False, crop_box=None
    )


def _changed(annotation: Annotation, index: int, change: Callable[[Instance], Instance]) -> Annotation:
    judged = _judged(annotation, index)
    judged[index] = change(judged[index][0]), None
    return relabelled(annotation, judged)


def _judged(annotation: Annotation, *indices: int) -> list[Judged]:
    """Return all objects, among which those of these numbers are.

    Raises:
        UsageError: they are not.
    """
    judged = as_labelled(annotation)
    for index in indices:
        if not 0 <= index < len(judged):
            raise UsageError(f"object {index} is not there: the image has {len(judged)}")
    if annotation.existing and any(one.place is None for one, _ in judged if one.source is Origin.EXISTING):
        raise UsageError("the labels that were there before the run hold more than objects: change them there")
    return judged

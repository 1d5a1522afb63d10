"""What a person does to objects: each change is one of the records, and no object gets another's number."""

from __future__ import annotations

import numpy as np
import pytest
from finding import SIZE, mask_of

from samcli.errors import UsageError
from samcli.masks import Mask
from samcli.output.records import read_record, write_record
from samcli.review import editing
from samcli.review.apply import as_labelled
from samcli.types import Annotation, ImageMark, Instance, Origin, Quality, Verdict

FIRST, SECOND = mask_of(2, 2, 20, 20), mask_of(30, 5, 55, 30)
NAMES = {0: "disc", 1: "ring"}


@pytest.fixture
def image() -> Annotation:
    return Annotation("a.png", SIZE, (Instance(FIRST, 0, Quality(0.9), (1, 1, 21, 21)), Instance(SECOND, 1)))


def test_with_mask__is_a_persons_object_that_remembers_the_machines(image) -> None:
    once = editing.with_mask(image, 0, SECOND)
    twice = editing.with_class(editing.with_mask(once, 0, mask_of(0, 0, 9, 9)), 0, 1)
    found = twice.instances[0]
    assert (found.source, found.class_id, found.mask) == (Origin.HUMAN, 1, mask_of(0, 0, 9, 9))
    assert found.before == image.instances[0] and found.changed and found.changed.endswith("Z")
    assert twice.instances[1] == image.instances[1]
    data = write_record(twice, NAMES)
    assert write_record(read_record(data), NAMES) == data


def test_with_verdict__takes_out_and_puts_back_under_the_same_number(image) -> None:
    gone = editing.with_verdict(image, [0], Verdict.NO_OBJECT)
    assert [one.class_id for one in gone.instances] == [1]
    more = editing.with_object(gone, mask_of(0, 0, 5, 5), 1)
    changed = editing.with_class(more, 2, 0)
    assert [one.class_id for one, _ in as_labelled(changed)] == [0, 1, 0]
    back = editing.with_verdict(changed, [0], None)
    assert [one.mask for one in back.instances] == [FIRST, SECOND, mask_of(0, 0, 5, 5)]
    assert editing.with_verdict(gone, [0], None) == image


def test_bad_mask__ends_the_mark_that_the_image_is_complete(image) -> None:
    complete = editing.replace(image, mark=ImageMark.COMPLETE)
    assert editing.with_verdict(complete, [1], Verdict.BAD_MASK).mark is None
    assert editing.with_verdict(complete, [1], Verdict.NO_OBJECT).mark is ImageMark.COMPLETE


def test_split_and_join__are_inverse(image) -> None:
    both = Mask.from_pixels(FIRST.pixels() | SECOND.pixels())
    parts = editing.split(editing.with_mask(image, 1, both), 1)
    assert [one.mask for one in parts.instances] == [FIRST, SECOND, FIRST]
    joined = editing.join(parts, 1, 2)
    assert [one.mask for one in joined.instances] == [FIRST, both]
    with pytest.raises(UsageError, match="one part"):
        editing.split(image, 0)
    with pytest.raises(UsageError, match="itself"):
        editing.join(image, 1, 1)


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_index__of_no_object_is_refused(image, index) -> None:
    with pytest.raises(UsageError, match="not there"):
        editing.with_class(image, index, 0)


def test_empty__masks_are_refused(image) -> None:
    nothing = Mask.from_pixels(np.zeros(SIZE, bool))
    with pytest.raises(UsageError, match="delete it instead"):
        editing.with_mask(image, 0, nothing)
    with pytest.raises(UsageError, match="nothing was found"):
        editing.with_object(image, nothing, 0)


def test_painted__covers_a_disc_along_the_stroke_and_erases_the_same() -> None:
    empty = np.zeros((60, 80), bool)
    drawn = editing.painted(empty, [(20.0, 30.0), (60.0, 30.0)], 5.0, erase=False)
    y, x = np.mgrid[:60, :80] + 0.5
    distance = np.hypot(np.maximum(np.maximum(20 - x, x - 60), 0), y - 30)
    assert drawn[distance < 4].all() and not drawn[distance > 6.5].any()
    assert not editing.painted(drawn, [(20.0, 30.0), (60.0, 30.0)], 5.0, erase=True).any()
    dot = editing.painted(empty, [(1e5, -1e5)], 5.0, erase=False)
    assert not dot.any()

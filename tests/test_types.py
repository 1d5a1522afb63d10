"""Values are checked when made, and do not change afterwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from samcli.errors import UsageError
from samcli.masks import Mask
from samcli.types import (
    Annotation,
    Detections,
    Dropped,
    Image,
    ImageMark,
    ImageRef,
    Instance,
    Outcome,
    Prompts,
    Status,
    UndecodedImage,
    Verdict,
    Withheld,
)


def test_image_ref__is_a_root_and_a_key() -> None:
    ref = ImageRef(Path("data"), "a/1.jpg", 5, 7)
    assert ref.path == Path("data/a/1.jpg")
    with pytest.raises(dataclasses.FrozenInstanceError):
        ref.key = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "no rows", "no columns"],
)
def test_image__refuses_what_is_not_rgb_and_names_the_image(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a/1\.jpg"):
        Image(ImageRef(Path("data"), "a/1.jpg"), pixels)


def test_image_size__is_height_and_width() -> None:
    assert Image(ImageRef(Path("data"), "1.jpg"), np.zeros((4, 5, 3), np.uint8)).image_size == (4, 5)


def test_detections__take_lists_and_keep_arrays_of_their_own_types() -> None:
    detections = Detections([[1, 2, 3, 4], [5, 6, 7, 8]], [0, 2], [0.5, 0.25])  # type: ignore[arg-type]
    assert len(detections) == 2
    assert (detections.boxes.dtype, detections.class_ids.dtype, detections.scores.dtype) == (
        np.float32, np.int64, np.float32,
    )  # fmt: skip


def test_detections__of_nothing_have_the_right_shapes() -> None:
    detections = Detections([], [], [])  # type: ignore[arg-type]
    assert len(detections) == 0
    assert detections.boxes.shape == (0, 4)


def test_detections__refuse_a_class_too_few() -> None:
    with pytest.raises(ValueError, match="2 boxes, 1 class ids, 2 scores"):
        Detections([[1, 2, 3, 4]] * 2, [0], [0.5, 0.5])  # type: ignore[arg-type]


BOX = [[10, 20, 30, 40]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "no prompt was given"),
        ({"boxes": [10, 20, 30, 40]}, r"boxes have shape \(4,\); expected \(n, 4\)"),
        ({"boxes": [[10, 20, 30]]}, r"boxes have shape \(1, 3\)"),
        ({"boxes": [[30, 20, 10, 40]]}, r"box \(30, 20, 10, 40\) is empty"),
        ({"boxes": [[10, 20, 30, 20]]}, r"box \(10, 20, 30, 20\) is empty"),
        ({"boxes": [[10, 20, np.nan, 40]]}, r"box \(10, 20, nan, 40\) is empty"),
        ({"boxes": [[10, 20, np.inf, 40]]}, "is empty"),
        ({"boxes": BOX * 2, "points": [[[1, 2]]], "point_labels": [[1]]}, r"prompts for \[2, 1\] objects"),
        ({"points": [[[1, 2]]]}, "one label"),
        ({"boxes": BOX, "point_labels": [[1]]}, "one label"),
        ({"points": [[[1, 2], [3, 4]]], "point_labels": [[1]]}, "one label"),
        ({"points": [[1, 2]], "point_labels": [[1]]}, r"points have shape \(1, 2\)"),
        ({"mask_logits": np.zeros((256, 256))}, r"mask_logits have shape \(256, 256\)"),
    ],
)
def test_prompts__that_make_no_sense_say_why(given: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Prompts(**given)  # type: ignore[arg-type]


def test_prompts__count_objects_whatever_they_consist_of() -> None:
    points = {"points": np.ones((3, 2, 2)), "point_labels": np.ones((3, 2))}
    assert len(Prompts(boxes=BOX * 2)) == 2  # type: ignore[arg-type]
    assert len(Prompts(**points)) == 3  # type: ignore[arg-type]
    assert len(Prompts(mask_logits=np.zeros((4, 8, 8)))) == 4
    assert len(Prompts(boxes=BOX * 3, mask_logits=np.zeros((3, 8, 8)), **points)) == 3  # type: ignore[arg-type]


def test_prompts__of_no_boxes_are_none() -> None:
    assert len(Prompts(boxes=np.zeros((0, 4)))) == 0


def test_prompts__sliced_keep_what_belongs_together() -> None:
    prompts = Prompts(
        boxes=np.array([[0, 0, n + 1, 1] for n in range(4)], np.float32),
        points=np.arange(8, dtype=np.float32).reshape(4, 1, 2),
        point_labels=np.ones((4, 1), np.int64),
    )
    part = prompts[1:3]
    assert len(part) == 2
    np.testing.assert_array_equal(part.boxes[:, 2], [2, 3])
    np.testing.assert_array_equal(part.points[:, 0, 0], [2, 4])
    assert part.mask_logits is None


def test_outcome__counts_instances_over_all_classes() -> None:
    ref = ImageRef(Path("data"), "1.jpg")
    assert Outcome(ref, Status.DONE, {0: 2, 7: 3}).instance_count == 5
    assert Outcome(ref, Status.DONE).instance_count == 0


def test_undecoded_image__is_decoded_once_and_only_when_its_pixels_are_asked_for() -> None:
    calls: list[int] = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.zeros((4, 6, 3), np.uint8)

    image = UndecodedImage(ImageRef(Path("/in"), "a.jpg"), (4, 6), decode)
    assert (image.image_size, image.ref.key, calls) == ((4, 6), "a.jpg", [])
    assert image.pixels is image.pixels
    assert calls == [1]


def judged(*verdicts: Verdict | None, **more: object) -> Annotation:
    mask = Mask.from_pixels(np.ones((2, 2), bool))
    gone = tuple(Dropped("why", 0, instance=Instance(mask, 0), index=i, verdict=v) for i, v in enumerate(verdicts))
    return Annotation("1.jpg", (2, 2), (), gone, **more)


@pytest.mark.parametrize(
    ("annotation", "withheld"),
    [
        (judged(), None),
        (judged(None), None),  # filtered by a threshold
        (judged(Verdict.NO_OBJECT), None),
        (judged(Verdict.NO_OBJECT, Verdict.BAD_MASK), Withheld.INCOMPLETE),
        (judged(omitted=1), Withheld.INCOMPLETE),
        (judged(Verdict.BAD_MASK, omitted=1, mark=ImageMark.COMPLETE), None),
        (judged(mark=ImageMark.EXCLUDE), Withheld.EXCLUDED),
        (judged(Verdict.BAD_MASK, mark=ImageMark.EXCLUDE), Withheld.EXCLUDED),
    ],
)
def test_annotation__is_withheld_where_objects_lack_a_label_or_a_person_says_so(annotation, withheld) -> None:
    assert annotation.withheld is withheld


def test_undecoded_image__keeps_what_an_image_promises() -> None:
    ref, calls = ImageRef(Path("/in"), "a.png"), []

    def decoded(*shape: int, dtype: type = np.uint8) -> UndecodedImage:
        return UndecodedImage(ref, (4, 6), lambda: calls.append(1) or np.zeros(shape, dtype))

    image = decoded(4, 6, 3)
    assert (image.image_size, calls) == ((4, 6), [])
    assert image.pixels is image.pixels
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"has 4 x 6 pixels .* 6 x 4 were stated"):
        _ = decoded(6, 4, 3).pixels
    with pytest.raises(ValueError, match="expected uint8"):
        _ = decoded(4, 6, 3, dtype=np.float32).pixels
    with pytest.raises(ValueError, match="has no pixels"):
        UndecodedImage(ref, (0, 6), lambda: np.zeros((0, 6, 3), np.uint8))

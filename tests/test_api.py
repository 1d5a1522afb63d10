"""The Python interface: names that are found, simple shapes, a job in one call, and its labels read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import samcli
from samcli.errors import UsageError
from samcli.masks import Mask
from samcli.types import Annotation, Image, Instance, Prompts, Quality

SHAPES = Path(__file__).parents[1] / "examples" / "shapes"


def mask() -> Mask:
    pixels = np.zeros((4, 5), bool)
    pixels[1:3, 2:5] = True
    return Mask.from_pixels(pixels)


def test_dir__shows_the_public_names_and_each_is_there() -> None:
    assert {"auto_annotate", "load_sam", "read_image", "Image", "load_annotations"} <= set(dir(samcli))
    for name in dir(samcli):
        assert getattr(samcli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_sma'"):
        samcli.load_sma  # noqa: B018


def test_mask__is_an_array_where_one_is_asked_for() -> None:
    assert np.asarray(mask()).dtype == bool
    assert (np.asarray(mask()) == mask().to_numpy()).all()
    assert np.asarray(mask(), np.uint8).sum() == np.array(mask()).sum() == 6


def test_image_from_array__takes_grey_and_names_what_it_cannot_take() -> None:
    grey = Image.from_array(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert (grey.image_size, grey.pixels.shape) == ((2, 3), (2, 3, 3))
    assert (grey.pixels[..., 0] == grey.pixels[..., 2]).all()
    with pytest.raises(
        ValueError, match=r"pixels of 'frame 7' are float64 \(2, 3, 3\); expected uint8 \(H, W, 3\)"
    ):
        Image.from_array(np.zeros((2, 3, 3)), "frame 7")


@pytest.mark.parametrize(
    ("boxes", "points", "labels", "shapes"),
    [
        ([1, 2, 3, 4], None, None, ((1, 4), None, None)),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], None, None, ((2, 4), None, None)),
        (None, [5, 6], None, (None, (1, 1, 2), (1, 1))),
        (None, [[5, 6], [7, 8]], [1, 0], (None, (1, 2, 2), (1, 2))),
        ([1, 2, 3, 4], [5, 6], 0, ((1, 4), (1, 1, 2), (1, 1))),
        (None, [[[5, 6]], [[7, 8]]], None, (None, (2, 1, 2), (2, 1))),
    ],
)
def test_prompts__need_no_brackets_for_one_object(boxes, points, labels, shapes) -> None:
    found = Prompts.of(boxes, points, labels)
    assert (
        tuple(None if one is None else one.shape for one in (found.boxes, found.points, found.point_labels))
        == shapes
    )


@pytest.mark.parametrize(
    ("boxes", "points", "expected"),
    [([1, 2, 3], None, r"boxes have shape \(1, 3\); expected \(n, 4\)"), (None, [1, 2, 3], "points have shape"),
     (None, None, "no prompt")],
)  # fmt: skip
def test_prompts__of_another_shape_are_refused_with_the_expected_one(boxes, points, expected) -> None:
    with pytest.raises(UsageError, match=expected):
        Prompts.of(boxes, points)


def test_annotation__becomes_coco_and_supervision() -> None:
    annotation = Annotation("a.png", (4, 5), (Instance(mask(), 3, Quality(detector_score=0.75)),))
    (entry,) = annotation.to_coco(image_id=7, first_id=9)
    assert (entry["id"], entry["image_id"], entry["category_id"], entry["bbox"]) == (9, 7, 3, [2, 1, 3, 2])
    assert Mask.from_coco(entry["segmentation"]) == mask()
    pytest.importorskip("supervision")
    found = annotation.to_supervision({3: "star"})
    assert (found.xyxy.tolist(), found.class_id.tolist()) == ([[2, 1, 5, 3]], [3])
    assert found.confidence.tolist() == [0.75]
    assert (found.mask[0] == np.asarray(mask())).all()
    assert found.data["class_name"].tolist() == ["star"]
    assert len(Annotation("b.png", (4, 5)).to_supervision()) == 0


def test_job__in_one_call_and_its_labels_read_back(tmp_path: Path) -> None:
    summary = samcli.auto_annotate(
        SHAPES / "grey.jpg", det="tiny", sam="tiny", output=tmp_path / "labels", conf=0.3
    )
    found = samcli.load_annotations(tmp_path)["grey.jpg"]
    assert (summary.done, summary.failures, len(found.instances)) == (1, {}, summary.instances.total())
    names = samcli.load_class_names(summary.output)
    assert {names[one.class_id] for one in found.instances} <= set(names.values())
    with pytest.raises(TypeError, match="no option 'confidence'"):
        samcli.auto_annotate(SHAPES, confidence=0.3)


def test_one_image__through_detector_and_sam_without_brackets() -> None:
    detector, sam = samcli.load_detector("tiny"), samcli.load_sam("tiny")
    image = Image.from_array(samcli.read_image(SHAPES / "grey.jpg").pixels)
    found = detector.detect(image)
    assert (detector.detect([image])[0].boxes == found.boxes).all()
    (embedding,) = sam.encode([image])
    simple = sam.segment(embedding, boxes=found.boxes[0])
    assert [one.mask for one in simple] == [
        one.mask for one in sam.segment(embedding, samcli.Prompts(boxes=found.boxes[:1]))
    ]
    with pytest.raises(UsageError, match="not both"):
        sam.segment(embedding, samcli.Prompts(boxes=found.boxes), points=[1, 2])


def test_save__writes_one_file_and_names_the_formats_that_are_one(tmp_path: Path) -> None:
    pixels = np.zeros((40, 50), bool)
    pixels[10:30, 20:40] = True
    annotation = Annotation("a.png", (40, 50), (Instance(Mask.from_pixels(pixels), 3),))
    annotation.save(tmp_path / "a.txt")
    words = (tmp_path / "a.txt").read_text().split()
    assert (words[0], [float(word) for word in words[1:3]]) == ("3", pytest.approx([0.4, 0.25], abs=0.03))
    annotation.save(tmp_path / "a.json", "labelme", {3: "star"})
    assert '"star"' in (tmp_path / "a.json").read_text()
    with pytest.raises(UsageError, match=r"coco is not one file per image; expected one of yolo"):
        annotation.save(tmp_path / "a.json", "coco")

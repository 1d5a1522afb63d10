"""FastSAM finds and chooses what Ultralytics' FastSAM finds and chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import same
from references import fastsam_reference, masks_of, resized

from samcli.checkpoints.registry import WeightsFile
from samcli.config import FastSamOptions
from samcli.detectors.fastsam import FastSam, choose, is_fastsam, load_fastsam, to_border
from samcli.errors import WeightsError
from samcli.files import sha256_of
from samcli.masks import Mask
from samcli.prompts import ObjectPrompt
from samcli.types import Detections, Image


def load(path: Path, **options: object) -> FastSam:
    given = WeightsFile(path, sha256_of(path)), FastSamOptions(**options)
    return load_fastsam(*given, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo(photos) -> Image:
    return resized(photos[0], 301, 403)


@pytest.fixture(scope="module")
def found(fastsam, photo) -> Detections:
    return load(fastsam).find([photo])[0]


@pytest.mark.parametrize("options", [{}, {"conf": 0.6, "iou": 0.9}, {"imgsz": 224, "max_det": 7}, {"conf": 1.0}])
@pytest.mark.parametrize(("width", "height"), [(301, 403), (517, 64), (33, 90)])
def test_find__is_ultralytics_fastsam(fastsam, photos, width, height, options) -> None:
    image = resized(photos[0], width, height)
    (mine,), theirs = load(fastsam, **options).find([image]), fastsam_reference(fastsam, image, **options)
    assert len(mine) == len(theirs)
    np.testing.assert_allclose(mine.boxes, theirs.boxes.xyxy.numpy(), atol=1e-3)
    np.testing.assert_allclose(mine.scores, theirs.boxes.conf.numpy(), atol=1e-4)
    assert all(same(a.pixels(), b) for a, b in zip(mine.masks, masks_of(theirs), strict=True))
    if options.get("conf") == 1.0:
        assert len(mine) == 0
    elif width == 301 and not options:
        assert len(mine) > 50
        whole = np.all(mine.boxes == (0, 0, width, height), axis=1)
        assert (mine.boxes == 0).any(), "no box was moved to the border"
        assert not whole.all()


def test_boxes__near_the_border_end_on_it_and_nearly_all_is_all() -> None:
    size = (100, 200)
    boxes = np.array([[19, 20, 181, 79], [5, 50, 60, 81], [30, 30, 50, 50], [21, 0, 200, 100], [5, 3, 190, 99]])
    wanted = [[0, 20, 200, 79], [0, 50, 60, 100], [30, 30, 50, 50], [21, 0, 200, 100], [0, 0, 200, 100]]
    np.testing.assert_array_equal(to_border(boxes.astype(np.float32), size), wanted)
    from ultralytics.models.fastsam.utils import adjust_bboxes_to_image_border

    theirs = adjust_bboxes_to_image_border(torch.tensor(boxes, dtype=torch.float32), size)
    np.testing.assert_array_equal(wanted, theirs.numpy())


BOXES = [
    (40.0, 60.0, 120.0, 220.0),
    (10.9, 200.2, 150.7, 399.8),
    (0.0, 0.0, 301.0, 403.0),
    (280.0, 5.0, 301.0, 90.0),
]


@pytest.mark.parametrize("box", BOXES)
def test_box__chooses_the_mask_that_ultralytics_chooses(fastsam, photo, found, box) -> None:
    (chosen,) = choose(found.masks, [ObjectPrompt(box=box)])
    theirs = masks_of(fastsam_reference(fastsam, photo, bboxes=[list(box)]))
    assert len(chosen) == len(theirs) == 1
    assert same(found.masks[chosen[0]].pixels(), theirs[0])


def test_boxes__choose_together_what_each_chooses(fastsam, photo, found) -> None:
    chosen = choose(found.masks, [ObjectPrompt(box=box) for box in BOXES])
    theirs = masks_of(fastsam_reference(fastsam, photo, bboxes=[list(box) for box in BOXES]))
    union = sorted({index for each in chosen for index in each})  # Ultralytics does not say which is whose
    assert len(union) == len(theirs) > 1
    assert all(same(found.masks[i].pixels(), mask) for i, mask in zip(union, theirs, strict=True))


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([(150, 200)], [1]),
        ([(150.8, 200.3), (30, 390)], [1, 1]),
        ([(150, 200), (150, 330)], [1, 0]),
        ([(301, 403), (0, 0)], [1, 1]),
        ([(150, 200), (60, 100), (250, 300)], [1, 0, 0]),
    ],
)
def test_points__choose_the_masks_that_ultralytics_chooses(fastsam, photo, found, points, labels) -> None:
    (chosen,) = choose(found.masks, [ObjectPrompt(points=tuple(points), point_labels=tuple(labels))])
    theirs = masks_of(fastsam_reference(fastsam, photo, points=[list(point) for point in points], labels=labels))
    assert len(chosen) == len(theirs)
    assert all(same(found.masks[i].pixels(), mask) for i, mask in zip(chosen, theirs, strict=True))
    if labels == [1]:
        assert len(chosen) > 1


def square(left: int, top: int, side: int) -> Mask:
    return Mask.from_pixels(np.ones((side, side), bool), (left, top), (50, 50))


def test_box_with_points__is_the_best_fit_of_those_that_the_points_choose() -> None:
    masks = [square(0, 0, 40), square(10, 10, 10), square(8, 8, 20)]
    box = (10.0, 10.0, 20.0, 20.0)
    assert choose(masks, [ObjectPrompt(box=box)]) == [[1]]
    assert choose(masks, [ObjectPrompt(box=box, points=((25, 25),), point_labels=(1,))]) == [[2]]
    assert choose(masks, [ObjectPrompt(box=box, points=((12, 12), (5, 5)), point_labels=(1, 0))]) == [[1]]
    assert choose(masks, [ObjectPrompt(box=box, points=((12, 12),), point_labels=(0,))]) == [[]]


def test_box__where_nothing_was_found_has_no_answer() -> None:
    beside, narrow = ObjectPrompt(box=(30, 30, 40, 40)), ObjectPrompt(box=(10.2, 10, 10.9, 12))
    assert choose([square(0, 0, 20)], [beside, narrow]) == [[], []]
    assert choose([], [beside, ObjectPrompt(points=((1, 1),), point_labels=(1,))]) == [[], []]


def test_is_fastsam__is_told_by_the_file_or_by_a_known_name(fastsam, yolo_seg, yolo, small_sam, tmp_path) -> None:
    anything = tmp_path / "sam_b.pt"
    anything.write_bytes(fastsam.read_bytes())
    assert all(map(is_fastsam, map(str, (fastsam, yolo_seg, anything))))
    assert not any(map(is_fastsam, map(str, (yolo, small_sam, tmp_path, tmp_path / "nothing.pt"))))
    assert is_fastsam("FastSAM-s.pt")
    assert not any(map(is_fastsam, ("sam_b.pt", "yolov8n-seg.pt", "tiny", "none")))


def test_model_of_several_classes__is_sent_where_they_count(yolo_seg) -> None:
    with pytest.raises(WeightsError, match=r"knows 3 classes; expected FastSAM.*--sam none"):
        load(yolo_seg)

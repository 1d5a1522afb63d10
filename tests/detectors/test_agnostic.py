"""Class-agnostic NMS: of boxes that overlap the best score stays, whatever the classes and the detector."""

from __future__ import annotations

import numpy as np
import pytest

from samcli.detectors.agnostic import AgnosticDetector, without_overlaps
from samcli.masks import Mask, box_iou
from samcli.types import Detections


def detections(boxes, class_ids, scores, masks=None) -> Detections:
    return Detections(np.array(boxes, np.float32), np.array(class_ids), np.array(scores), masks)


def test_overlaps__the_better_one_stays_and_the_order_too() -> None:
    boxes = [(0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60), (0, 0, 10, 4)]
    kept = without_overlaps(detections(boxes, [0, 1, 2, 0], [0.5, 0.9, 0.3, 0.4]), 0.45)
    assert kept.class_ids.tolist() == [1, 2, 0]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.3, 0.4])


def test_overlaps__masks_go_with_their_boxes() -> None:
    masks = tuple(Mask.from_pixels(np.eye(4, dtype=bool)[:, :width]) for width in (1, 2, 3))
    found = detections([(0, 0, 9, 9), (0, 0, 9, 8), (20, 20, 30, 30)], [0, 1, 0], [0.9, 0.8, 0.7], masks)
    assert without_overlaps(found, 0.5).masks == (masks[0], masks[2])


def test_overlaps__of_300_random_boxes_none_are_left() -> None:
    rng = np.random.default_rng(0)
    corners, sides = rng.random((300, 2)) * 300, rng.random((300, 2)) * 100
    found = detections(np.concatenate([corners, corners + sides], 1), np.arange(300) % 5, rng.random(300))
    kept = without_overlaps(found, 0.3)
    boxes = kept.boxes.tolist()
    assert all(box_iou(a, b) <= 0.3 for i, a in enumerate(boxes) for b in boxes[:i])
    assert kept.scores.max() == found.scores.max()
    assert without_overlaps(detections(np.zeros((0, 4)), [], []), 0.3).boxes.shape == (0, 4)


def test_detector__has_the_names_and_the_objects_of_the_one_it_wraps() -> None:
    class Two:
        def __init__(self) -> None:
            self.names = {0: "cat", 1: "dog"}

        def detect(self, images):
            return [detections([(0, 0, 9, 9), (0, 0, 9, 8)], [0, 1], [0.8, 0.9]) for _ in images]

    detector = AgnosticDetector(Two(), 0.5)
    assert detector.names == {0: "cat", 1: "dog"}
    assert [found.class_ids.tolist() for found in detector.detect([None, None])] == [[1], [1]]

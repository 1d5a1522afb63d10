"""Class-agnostic NMS over what any detector finds: most of them compare boxes of one class only, some none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samcli.detectors.base import Detector
from samcli.types import Detections, Image


class AgnosticDetector:
    """A detector of whose boxes that overlap only the one with the best score stays, whatever their classes."""

    def __init__(self, detector: Detector, iou: float) -> None:
        """`iou`: boxes that overlap by more than this are one object."""
        self.names = detector.names
        self._detector = detector
        self._iou = iou

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector."""
        return [without_overlaps(found, self._iou) for found in self._detector.detect(images)]


def without_overlaps(found: Detections, iou: float) -> Detections:
    """Return the detections that overlap no better one of any class by more than `iou`, in order."""
    low, high = np.split(found.boxes.astype(np.float64), 2, axis=1)
    areas = (high - low).prod(1)
    kept: list[int] = []
    for index in np.argsort(-found.scores, kind="stable").tolist():
        sides = np.minimum(high[kept], high[index]) - np.maximum(low[kept], low[index])
        common = np.maximum(sides, 0).prod(1)
        if (common <= iou * (areas[kept] + areas[index] - common)).all():
            kept.append(index)
    kept.sort()
    masks = None if found.masks is None else tuple(found.masks[index] for index in kept)
    return Detections(found.boxes[kept], found.class_ids[kept], found.scores[kept], masks)

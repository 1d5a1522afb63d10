"""The figures of the model card, as functions of masks and boxes: no network in here.

Masks are bool (N, H, W), boxes float (N, 4) xyxy in pixels, both in the picture's own frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]
Floats = NDArray[np.floating]

SMALL = 32  # pixels: an object whose visible box has no longer side counts as small


def pairwise_iou(first: Masks, second: Masks) -> NDArray[np.float64]:
    """IoU of every mask of `first` (N, H, W) with every one of `second` (M, H, W): (N, M)."""
    if len(first) == 0 or len(second) == 0:
        return np.zeros((len(first), len(second)))
    a = first.reshape(len(first), -1).astype(np.float32)
    b = second.reshape(len(second), -1).astype(np.float32)
    common = (a @ b.T).astype(np.float64)
    union = a.sum(1)[:, None] + b.sum(1)[None] - common
    return common / np.maximum(union, 1)


def pairwise_box_iou(first: Floats, second: Floats) -> NDArray[np.float64]:
    """IoU of every box of `first` (N, 4) with every one of `second` (M, 4): (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    union: NDArray[np.float64] = areas[0][:, None] + areas[1][None] - common
    return common / np.maximum(union, 1e-9)


def is_small(boxes: Floats) -> NDArray[np.bool_]:
    """Which objects are small: (N,)."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(1) <= SMALL, np.bool_)


def deepest_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel (x, y) of a mask that is farthest from its edge: where Meta's evaluation clicks first."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column), float(row)


def correlation(pairs: list[tuple[float, float]]) -> float:
    """Pearson's r of (predicted, true)."""
    values = np.array(pairs)
    return float(np.corrcoef(values[:, 0], values[:, 1])[0, 1])


@dataclass
class Found:
    """Objects that were to be found, and what was found: running counts over scenes."""

    scenes: int = 0
    objects: int = 0
    covered: int = 0
    kept: int = 0
    spurious: int = 0

    def add_end_to_end(
        self, masks: Masks, classes: NDArray[np.int_], truth: Masks, true_classes: NDArray[np.int_]
    ) -> None:
        """Count objects that have a mask of their class with IoU >= .75; a mask serves one object only."""
        overlap = pairwise_iou(truth, masks)
        overlap[true_classes[:, None] != classes[None]] = 0
        self._add(len(truth), len(masks))
        self.spurious += int((overlap.max(0) < 0.5).sum()) if overlap.size else len(masks)
        while overlap.size and overlap.max() >= 0.75:
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            overlap[row], overlap[:, column] = 0, 0
            self.covered += 1

    def add_everything(self, overlap: NDArray[np.float64]) -> None:
        """Count from the IoU (objects, masks): covered at >= .75; a mask below .5 with all is spurious."""
        self._add(*overlap.shape)
        if overlap.size:
            self.covered += int((overlap.max(1) >= 0.75).sum())
            self.spurious += int((overlap.max(0) < 0.5).sum())
        else:
            self.spurious += overlap.shape[1]

    def _add(self, objects: int, kept: int) -> None:
        self.scenes += 1
        self.objects += objects
        self.kept += kept

    def figures(self) -> dict[str, float]:
        """Part of the objects that are covered; masks kept and spurious, per scene."""
        scenes = max(1, self.scenes)
        return {
            "covered": self.covered / max(1, self.objects),
            "kept_a_scene": self.kept / scenes,
            "spurious_a_scene": self.spurious / scenes,
        }


@dataclass
class Detections:
    """Detections over scenes, for mean average precision."""

    hits: list[NDArray[np.bool_]] = field(default_factory=list)  # (N, 10): right at IoU .5, .55, ..., .95
    scores: list[Floats] = field(default_factory=list)
    classes: list[NDArray[np.int_]] = field(default_factory=list)
    wanted: list[NDArray[np.int_]] = field(default_factory=list)

    def add(
        self,
        boxes: Floats,
        scores: Floats,
        classes: NDArray[np.int_],
        truth: Floats,
        wanted: NDArray[np.int_],
    ) -> None:
        """Add one scene: detections (any order) and the true boxes with their classes."""
        thresholds = np.linspace(0.5, 0.95, 10)
        hits = np.zeros((len(boxes), 10), bool)
        overlap = pairwise_box_iou(truth, boxes) * (wanted[:, None] == classes[None])
        for level, threshold in enumerate(thresholds):
            left = overlap.copy()
            while left.size and left.max() >= threshold:
                row, column = np.unravel_index(int(left.argmax()), left.shape)
                hits[column, level] = True
                left[row], left[:, column] = 0, 0
        self.hits.append(hits)
        self.scores.append(scores)
        self.classes.append(classes)
        self.wanted.append(wanted)

    def mean_average_precision(self) -> tuple[float, float]:
        """mAP at IoU .5, and averaged over .5 to .95, over the classes that occur (COCO's 101 points)."""
        hits, scores = np.concatenate(self.hits), np.concatenate(self.scores)
        classes, wanted = np.concatenate(self.classes), np.concatenate(self.wanted)
        order = np.argsort(-scores, kind="stable")
        hits, classes = hits[order], classes[order]
        precisions = [
            [_average_precision(hits[classes == kind, level], int((wanted == kind).sum())) for level in range(10)]
            for kind in np.unique(wanted)
        ]
        table = np.array(precisions)
        return float(table[:, 0].mean()), float(table.mean())


def _average_precision(hits: NDArray[np.bool_], wanted: int) -> float:
    """Area under the precision-recall curve of detections in order of their scores."""
    if len(hits) == 0:
        return 0.0
    right = np.cumsum(hits)
    recall = right / wanted
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    steps = np.searchsorted(recall, np.linspace(0, 1, 101))
    padded = np.append(precision, 0.0)
    return float(padded[steps].mean())

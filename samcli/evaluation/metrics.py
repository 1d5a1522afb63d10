"""Compare two sets of objects in an image: IoU, boundary IoU, matching, and COCO's average precision."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.evaluation.ground_truth import XYXY, EvaluatedObject
from samcli.masks import Mask
from samcli.types import Size

IouType = Literal["mask", "box"]

DILATION_RATIO = 0.02
"""Width of a boundary as a share of the image's diagonal: that of Cheng et al. for COCO."""

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's classes of size, in pixels of area."""

MOST_PREDICTIONS = 100
"""Of an image and class, the predictions with the best scores that count for COCO's average precision."""

_COCO_TYPES = {"mask": "segm", "box": "bbox"}
_NO_SCORE = 1.0
"""Of predictions that state none: all alike."""


def boundary_iou(first: Mask, second: Mask, dilation_ratio: float = DILATION_RATIO) -> float:
    """IoU of two masks' boundaries: their pixels no farther inside than a share of the image's diagonal.

    1 for two empty masks. Source: Cheng et al. 2021, Boundary IoU.
    """
    distance = max(1, round(dilation_ratio * float(np.hypot(first.height, first.width))))
    if first.box is None or second.box is None:
        return float(first.box is second.box)
    left, top = (min(a, b) for a, b in zip(first.box[:2], second.box[:2], strict=True))
    right, bottom = (max(a, b) for a, b in zip(first.box[2:], second.box[2:], strict=True))
    canvases = [np.zeros((bottom - top, right - left), bool) for _ in range(2)]
    for canvas, mask in zip(canvases, (first, second), strict=True):
        pixels, (x1, y1, x2, y2) = mask.crop()
        canvas[y1 - top : y2 - top, x1 - left : x2 - left] = _boundary(pixels, distance)
    union = np.count_nonzero(canvases[0] | canvases[1])
    return float(np.count_nonzero(canvases[0] & canvases[1]) / union)


def _boundary(pixels: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Pixels of a mask at most so far (chessboard) from what is not the mask; the image's edge is not either."""
    padded = np.pad(pixels.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    return np.asarray(pixels & (depth <= distance), bool)


def iou_matrix(
    predicted: Sequence[EvaluatedObject], truth: Sequence[EvaluatedObject], kind: IouType
) -> NDArray[np.float64]:
    """(P, T) IoU of masks or boxes; with a crowd: the share of the prediction that lies in it."""
    from pycocotools import mask as coco

    if not predicted or not truth:
        return np.zeros((len(predicted), len(truth)))
    first, second = (_coco_shapes(objects, kind) for objects in (predicted, truth))
    ious = coco.iou(first, second, [int(one.crowd) for one in truth])
    return np.asarray(ious, np.float64).reshape(len(predicted), len(truth))


def _coco_shapes(objects: Sequence[EvaluatedObject], kind: IouType) -> Any:
    if kind == "box":
        return np.array([xywh(one.box) for one in objects], np.float64)
    return [mask_of(one).to_coco() for one in objects]


def mask_of(one: EvaluatedObject) -> Mask:
    """Return the mask of an object that must have one."""
    if one.mask is None:
        raise ValueError("an object has only a box; its mask was asked for")
    return one.mask


def xywh(box: XYXY) -> list[float]:
    """COCO's form of a box."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def truth_area(one: EvaluatedObject) -> float:
    """In pixels, as COCO's classes of size go: as stated, else of the mask, else of the box."""
    if one.stated_area is not None:
        return one.stated_area
    return float(one.mask.area) if one.mask is not None else _box_area(one)


def predicted_area(one: EvaluatedObject, kind: IouType) -> float:
    """In pixels: of the mask or the box, whichever is being looked at."""
    return float(mask_of(one).area) if kind == "mask" else _box_area(one)


def _box_area(one: EvaluatedObject) -> float:
    return (one.box[2] - one.box[0]) * (one.box[3] - one.box[1])


def size_of(area: float) -> str:
    """COCO's class of size."""
    return next(name for name, (_, high) in SIZES.items() if area < high or name == "large")


@dataclass(frozen=True)
class Matches:
    """Matches of one image: (prediction, truth) pairs, and predictions in crowds, which are ignored."""

    pairs: tuple[tuple[int, int], ...]
    ignored: frozenset[int]


def match_objects(
    ious: NDArray[np.float64], crowd: Sequence[bool], threshold: float, scores: Sequence[float] | None = None
) -> Matches:
    """Match predictions (P) and truth (T) one to one, greedily, where their IoU is at least the threshold.

    With `scores` as COCO does: the surest prediction takes its best object first. Without: the best pair
    first. `crowd` (T): regions that swallow any number of predictions which match nothing else.
    """
    ious = np.asarray(ious, np.float64)
    plain = np.flatnonzero(~np.asarray(crowd, bool))
    crowds = np.flatnonzero(np.asarray(crowd, bool))
    threshold = min(threshold, 1 - 1e-10)  # as COCO: 1 is reached in spite of rounding
    matched = _by_score(ious, plain, threshold, scores) if scores is not None else _by_iou(ious, plain, threshold)
    found = {prediction for prediction, _ in matched}
    ignored = {
        index for index in range(len(ious)) if index not in found and (ious[index, crowds] >= threshold).any()
    }
    return Matches(tuple(matched), frozenset(ignored))


def _by_score(
    ious: NDArray[np.float64], plain: NDArray[np.intp], threshold: float, scores: Sequence[float]
) -> list[tuple[int, int]]:
    free = plain.tolist()
    pairs = []
    for prediction in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist():
        if not free:
            break
        best = max(range(len(free)), key=lambda place: (ious[prediction, free[place]], place))
        if ious[prediction, free[best]] >= threshold:
            pairs.append((prediction, free.pop(best)))
    return pairs


def _by_iou(ious: NDArray[np.float64], plain: NDArray[np.intp], threshold: float) -> list[tuple[int, int]]:
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    candidates = [(p, t) for p in range(len(ious)) for t in plain.tolist() if ious[p, t] >= threshold]
    for prediction, truth in sorted(candidates, key=lambda pair: -ious[pair]):
        if prediction not in taken[0] and truth not in taken[1]:
            taken[0].add(prediction)
            taken[1].add(truth)
            pairs.append((prediction, truth))
    return pairs


Precisions = tuple[float | None, float | None, float | None]
"""AP, AP at IoU .5, AP at IoU .75."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision over recall, and over IoU 0.50:0.05:0.95 unless said; None: nothing to find."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    by_size: Mapping[str, Precisions]
    by_class: Mapping[int, Precisions]
    curves: Mapping[float, NDArray[np.float64]]
    """IoU threshold -> precision (101,) at recall 0, 0.01 ... 1, mean over classes; nan without ground truth."""


LabelledImage = tuple[Size, Sequence[EvaluatedObject], Sequence[EvaluatedObject]]
"""Size, truth and predictions of an image."""


def average_precision(images: Iterable[LabelledImage], class_ids: Sequence[int], kind: IouType) -> AveragePrecision:
    """COCO's average precision, by pycocotools itself: at most 100 predictions an image and class."""
    from pycocotools.cocoeval import COCOeval

    truth, predicted = _coco_data_sets(images, class_ids, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(truth), _indexed(predicted), _COCO_TYPES[kind])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # (IoU, recall, class, size)
    whole = precision[:, :, :, 0]
    at = {threshold: place for place, threshold in enumerate(np.round(evaluation.params.iouThrs, 2).tolist())}

    def precisions(part: NDArray[np.float64]) -> Precisions:
        return _mean(part), _mean(part[at[0.5]]), _mean(part[at[0.75]])

    ap, ap50, ap75 = precisions(whole)
    return AveragePrecision(
        ap=ap,
        ap50=ap50,
        ap75=ap75,
        by_size={name: precisions(precision[:, :, :, place]) for place, name in enumerate(SIZES, 1)},
        by_class={class_id: precisions(whole[..., k]) for k, class_id in enumerate(evaluation.params.catIds)},
        curves={threshold: _curve(whole[at[threshold]]) for threshold in (0.5, 0.75)},
    )


def _coco_data_sets(
    images: Iterable[LabelledImage], class_ids: Sequence[int], kind: IouType
) -> tuple[dict[str, Any], dict[str, Any]]:
    headers: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for number, ((height, width), truth, predicted) in enumerate(images, 1):
        headers.append({"id": number, "height": height, "width": width})
        truths += [_annotation(one, number, kind, truth_area(one)) for one in truth]
        predictions += [_annotation(one, number, kind, predicted_area(one, kind)) for one in predicted]
    for side in (truths, predictions):
        for number, annotation in enumerate(side, 1):  # COCOeval takes id 0 for "no match"
            annotation["id"] = number
    categories = [{"id": class_id} for class_id in class_ids]
    return (
        {"images": headers, "annotations": truths, "categories": categories},
        {"images": headers, "annotations": predictions, "categories": categories},
    )


def _annotation(one: EvaluatedObject, image: int, kind: IouType, area: float) -> dict[str, Any]:
    shape = {"segmentation": mask_of(one).to_coco()} if kind == "mask" else {}
    return {
        "image_id": image,
        "category_id": one.class_id,
        "bbox": xywh(one.box),
        "area": area,
        "iscrowd": int(one.crowd),
        "score": _NO_SCORE if one.score is None else one.score,
        **shape,
    }


def _indexed(data_set: dict[str, Any]) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = data_set
    coco.createIndex()
    return coco


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Return the mean of the values that COCO does not mark (-1) as undefined."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _curve(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.where(precision > -1, precision, np.nan)
    columns = ~np.isnan(known).all(0)
    return known[:, columns].mean(1) if columns.any() else np.full(len(precision), np.nan)

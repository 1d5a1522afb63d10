"""Figures equal a naive computation, the published definition, or pycocotools itself."""

from __future__ import annotations

import contextlib
import io

import cv2
import numpy as np
import pytest
from helpers import iou

from samcli.evaluation.ground_truth import EvaluatedObject
from samcli.evaluation.metrics import average_precision, boundary_iou, iou_matrix, match_objects, size_of
from samcli.masks import Mask

SIZE = (120, 160)


def blob(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> Mask:
    rows, columns = np.indices(size)
    return Mask.from_pixels((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def labelled(mask: Mask, class_id: int = 0, score: float | None = None, crowd: bool = False) -> EvaluatedObject:
    return EvaluatedObject(class_id, tuple(map(float, mask.box or (0, 0, 0, 0))), mask, score, crowd)


def naive_boundary(pixels: np.ndarray, ratio: float) -> np.ndarray:
    """As Cheng et al. define it: what an erosion by that many steps, with nothing outside the image, takes away."""
    steps = max(1, round(ratio * float(np.hypot(*pixels.shape))))
    padded = np.pad(pixels.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)[1:-1, 1:-1]
    return pixels & ~eroded.astype(bool)


@pytest.mark.parametrize("ratio", [0.02, 0.005, 0.1])
def test_boundary_iou__equals_the_published_definition(ratio) -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        first, second = (blob(*rng.uniform((0, 0, 8), (160, 120, 60))) for _ in range(2))
        wanted = iou(naive_boundary(first.pixels(), ratio), naive_boundary(second.pixels(), ratio))
        assert boundary_iou(first, second, ratio) == pytest.approx(wanted)


def test_boundary_iou__is_stricter_than_mask_iou_on_large_objects() -> None:
    first, second = blob(80, 60, 50), blob(83, 60, 50)
    assert boundary_iou(first, second) < iou(first.pixels(), second.pixels()) - 0.2
    assert boundary_iou(first, first) == 1


def test_boundary_iou__of_empty_masks() -> None:
    empty = Mask.from_pixels(np.zeros(SIZE, bool))
    assert (boundary_iou(empty, empty), boundary_iou(empty, blob(50, 50, 9))) == (1, 0)


def test_iou_matrix__equals_a_naive_computation() -> None:
    rng = np.random.default_rng(2)
    first, second = ([labelled(blob(*rng.uniform((20, 20, 9), (99, 99, 40)))) for _ in range(n)] for n in (3, 4))
    wanted = [[iou(a.mask.pixels(), b.mask.pixels()) for b in second] for a in first]
    np.testing.assert_allclose(iou_matrix(first, second, "mask"), wanted)
    boxes = []
    for one in (*first, *second):
        canvas = np.zeros(SIZE, bool)
        x1, y1, x2, y2 = map(int, one.box)
        canvas[y1:y2, x1:x2] = True
        boxes.append(canvas)
    wanted = [[iou(a, b) for b in boxes[3:]] for a in boxes[:3]]
    np.testing.assert_allclose(iou_matrix(first, second, "box"), wanted)
    assert iou_matrix([], second, "mask").shape == (0, 4)


def test_match__by_score_lets_the_surest_choose_first() -> None:
    ious = np.array([[0.9, 0.6], [0.95, 0.0]])
    assert match_objects(ious, [False, False], 0.5, [0.9, 0.8]).pairs == ((0, 0),)
    assert set(match_objects(ious, [False, False], 0.5, [0.8, 0.9]).pairs) == {(1, 0), (0, 1)}


def test_match__without_scores_takes_the_best_pair_first() -> None:
    ious = np.array([[0.9, 0.6], [0.95, 0.0]])
    assert set(match_objects(ious, [False, False], 0.5).pairs) == {(1, 0), (0, 1)}
    assert match_objects(ious, [False, False], 0.93).pairs == ((1, 0),)


def test_match__ignores_what_lies_in_a_crowd_unless_it_is_an_object() -> None:
    matches = match_objects(np.array([[0.8, 0.9], [0.1, 0.9], [0.0, 0.2]]), [False, True], 0.5, [0.9, 0.8, 0.7])
    assert matches.pairs == ((0, 0),)
    assert matches.ignored == {1}


def test_size__has_coco_s_limits() -> None:
    assert [size_of(area) for area in (0, 1023, 1024, 9215, 9216, 1e11)] == [
        "small", "small", "medium", "medium", "large", "large",
    ]  # fmt: skip


def random_images(count: int = 6) -> list[tuple]:
    """Images with objects of three classes and sizes, some found well, some badly, some not, some invented."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(count):
        truth, predicted = [], []
        for _ in range(rng.integers(1, 7)):
            x, y, radius = rng.uniform((10, 10, 4), (150, 110, 60))
            class_id = int(rng.integers(0, 3))
            truth.append(labelled(blob(x, y, radius), class_id, crowd=rng.random() < 0.1))
            for _ in range(rng.integers(0, 3)):
                dx, dy, dr = rng.normal(0, radius / 8, 3)
                other = class_id if rng.random() < 0.8 else 2
                score = float(np.round(rng.random(), 2))
                predicted.append(labelled(blob(x + dx, y + dy, max(3, radius + dr)), other, score))
        images.append((SIZE, truth, predicted))
    return images


def coco_stats(images: list[tuple], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """pycocotools as its users run it: a data set and `loadRes`; its twelve figures, and all precisions."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, results = [], []
    for number, (_, truth, predicted) in enumerate(images, 1):
        for one in truth:
            x1, y1, x2, y2 = one.box
            truths.append({
                "id": len(truths) + 1, "image_id": number, "category_id": one.class_id, "area": one.mask.area,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": one.mask.to_coco(), "iscrowd": int(one.crowd),
            })  # fmt: skip
        for one in predicted:
            x1, y1, x2, y2 = one.box
            shape = {"segmentation": one.mask.to_coco()} if kind == "segm" else {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            results.append({"image_id": number, "category_id": one.class_id, "score": one.score, **shape})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(len(images))],
            "annotations": truths,
            "categories": [{"id": i, "name": str(i)} for i in range(3)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats, evaluation.eval["precision"]


@pytest.mark.parametrize(("kind", "coco_kind"), [("mask", "segm"), ("box", "bbox")])
def test_average_precision__equals_pycocotools_run_directly(kind, coco_kind) -> None:
    images = random_images()
    stats, precision = coco_stats(images, coco_kind)
    mine = average_precision(images, [0, 1, 2], kind)
    figures = (mine.ap, mine.ap50, mine.ap75, *(of_size[0] for of_size in mine.by_size.values()))
    assert 0.05 < mine.ap < 0.95, "or else nothing is compared"
    np.testing.assert_allclose([-1 if value is None else value for value in figures], stats[:6])
    for class_id in range(3):
        assert mine.by_class[class_id][0] == pytest.approx(precision[:, :, class_id, 0, -1].mean())
        assert mine.by_class[class_id][1] == pytest.approx(precision[0, :, class_id, 0, -1].mean())
    np.testing.assert_allclose(mine.curves[0.75], precision[5, :, :, 0, -1].mean(1))


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_match__by_score_equals_pycocotools(threshold) -> None:
    from pycocotools.cocoeval import COCOeval

    from samcli.evaluation.metrics import _coco_data_sets, _indexed

    images = random_images(10)
    truth, predicted = _coco_data_sets(images, [0, 1, 2], "mask")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(truth), _indexed(predicted), "segm")
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.evaluate()
    theirs, mine = [0, 0], [0, 0]
    for one in filter(None, evaluation.evalImgs):
        theirs[0] += int(((one["dtMatches"] > 0) & ~one["dtIgnore"].astype(bool)).sum())
        theirs[1] += int(one["dtIgnore"].sum())
    for _, there, found in images:
        for class_id in range(3):
            own_truth = [one for one in there if one.class_id == class_id]
            own = [one for one in found if one.class_id == class_id]
            matches = match_objects(
                iou_matrix(own, own_truth, "mask"),
                [one.crowd for one in own_truth],
                threshold,
                [o.score for o in own],
            )
            mine[0] += len(matches.pairs)
            mine[1] += len(matches.ignored)
    assert mine == theirs
    assert min(mine) > 0, "or else nothing is compared"


def test_average_precision__of_nothing_to_find_is_none() -> None:
    nothing = average_precision([(SIZE, [], [labelled(blob(50, 50, 20), score=0.5)])], [0], "mask")
    assert (nothing.ap, nothing.by_class) == (None, {0: (None, None, None)})
    assert average_precision([(SIZE, [], [])], [0], "box").ap is None

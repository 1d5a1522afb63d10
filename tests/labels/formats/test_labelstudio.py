"""Label Studio's exports as people download them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_samples import HOLED, SIZE, read_all, write_images

from samcli.errors import UsageError
from samcli.labels.formats.brush import encode_brush
from samcli.labels.formats.reading import read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.types import Annotation


def region(kind: str, label: str, **value: Any) -> dict[str, Any]:
    return {
        "id": "x", "type": kind, "from_name": "a", "to_name": "b", "original_width": 90, "original_height": 60,
        "value": {kind: [label], **value},
    }  # fmt: skip


BRUSH = region("brushlabels", "cat", format="rle", rle=encode_brush(HOLED))
POLYGON = region("polygonlabels", "dog", points=[[10, 10], [50, 10], [50, 60], [10, 60]])
BOX = region("rectanglelabels", "dog", x=10, y=10, width=40, height=50, rotation=0)


def export(folder: Path, *tasks: dict[str, Any]) -> Path:
    file = folder / "project-1-at-2025.json"
    file.write_text(json.dumps(tasks))
    return file


def task(*regions: dict[str, Any], image: str = "/data/upload/3/abc-1.png", **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(regions)}], **more}


def test_brush_polygons_and_boxes__are_read(tmp_path: Path) -> None:
    source = Source(export(tmp_path, task(BRUSH, POLYGON, BOX)))
    labels = read_labels("labelstudio", source)
    (found,) = labels.annotations
    assert labels.names == {0: "cat", 1: "dog"}
    assert (found.key, found.image_size) == ("abc-1.png", SIZE)
    assert [i.class_id for i in found.instances] == [0, 1, 1]
    assert found.instances[0].mask == HOLED
    assert [i.mask.box for i in found.instances[1:]] == [(9, 6, 46, 37), (9, 6, 45, 36)]
    assert source.remarks == {"objects have no mask: their boxes were filled": 1}


def test_annotations__count_before_predictions_unless_they_were_cancelled(tmp_path: Path) -> None:
    kept = task(BRUSH, predictions=[{"result": [POLYGON, BOX]}])
    cancelled = {**kept, "annotations": [{"was_cancelled": True, "result": [BRUSH]}], "data": {"image": "2.png"}}
    _, found = read_all("labelstudio", export(tmp_path, kept, cancelled), None)
    assert {a.key: len(a.instances) for a in found} == {"abc-1.png": 1, "2.png": 2}


def test_local_files__are_named_below_the_document_root(tmp_path: Path) -> None:
    url = "/data/local-files/?d=a%20b/%C5%BC%C3%B3%C5%82w%231.png"
    _, (found,) = read_all("labelstudio", export(tmp_path, task(BRUSH, image=url)), None)
    assert found.key == "a b/żółw#1.png"


def test_a_task_without_regions__asks_the_image_for_its_size(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("1.png", SIZE)])
    file = export(tmp_path, task(image="1.png"))
    assert read_all("labelstudio", file, images)[1] == [Annotation("1.png", SIZE)]
    (failure,) = read_labels("labelstudio", Source(file)).annotations
    assert isinstance(failure, Failure) and "--images" in failure.reason


@pytest.mark.parametrize(
    "bad",
    [
        region("brushlabels", "cat", format="rle", rle=[1, 2, 3]),
        region("polygonlabels", "cat", points=[[1, 1]]),
        {**BRUSH, "original_width": 91},
        {**BRUSH, "value": {**BRUSH["value"], "brushlabels": ["cat", "dog"]}},
        {**BRUSH, "value": None},
    ],
)
def test_a_damaged_region__fails_its_task_alone(bad: dict[str, Any], tmp_path: Path) -> None:
    file = export(tmp_path, task(bad, image="1.png"), task(BRUSH, image="2.png"))
    failure, good = sorted(read_labels("labelstudio", Source(file)).annotations, key=lambda item: item.key)
    assert isinstance(failure, Failure) and isinstance(good, Annotation)


def test_what_is_no_task__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is no task; expected Label Studio's JSON, not JSON-MIN"):
        read_labels("labelstudio", Source(export(tmp_path, {"image": "1.png", "tag": []})))


def save(
    *tasks: dict[str, Any], folder: Path, images: Path | None = None
) -> tuple[list[Annotation], list[Failure], Any]:
    labels = read_labels("labelstudio", Source(export(folder, *tasks), images))
    found = list(labels.annotations)
    return (
        [item for item in found if isinstance(item, Annotation)],
        [item for item in found if isinstance(item, Failure)],
        labels,
    )


def coverage(corners: list[tuple[float, float]], size: tuple[int, int] = SIZE) -> np.ndarray:
    """The pixels of a polygon of which more than half lies inside, by sampling each at 8 x 8 places."""
    rows, columns = size
    canvas = np.zeros((rows * 8, columns * 8), np.uint8)
    cv2.fillPoly(canvas, [np.round(np.array(corners) * 8 - 0.5).astype(np.int32)], 1)
    return canvas.reshape(rows, 8, columns, 8).mean((1, 3)) > 0.5


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


@pytest.mark.parametrize("degrees", [15, 45, 120, -30])
def test_rotated_rectangles__turn_about_their_corner_on_square_pixels(degrees: float, tmp_path: Path) -> None:
    turned = region("rectanglelabels", "dog", x=40, y=40, width=20, height=25, rotation=degrees)
    (found,), _, _ = save(task(turned), folder=tmp_path)
    x, y, width, height, angle = 36, 24, 18, 15, math.radians(degrees)
    along, down = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corners = [
        (x + a * width * along[0] + b * height * down[0], y + a * width * along[1] + b * height * down[1])
        for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    assert iou(found.instances[0].mask.pixels(), coverage(corners)) > 0.92


def test_ellipses__have_radii_in_shares_of_width_and_height(tmp_path: Path) -> None:
    ellipse = region("ellipselabels", "dog", x=50, y=50, radiusX=20, radiusY=25, rotation=0)
    (found,), _, _ = save(task(ellipse), folder=tmp_path)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    assert np.array_equal(found.instances[0].mask.pixels(), ((x - 45) / 18) ** 2 + ((y - 30) / 15) ** 2 <= 1)


@pytest.mark.parametrize(
    ("turn", "box"), [(0, (9, 12, 36, 36)), (90, (18, 36, 54, 54)), (180, (54, 24, 81, 48)), (270, (36, 6, 72, 24))]
)
def test_image_rotation__is_undone(turn: int, box: tuple[int, int, int, int], tmp_path: Path) -> None:
    """The image is shown turned clockwise; shares are of what is shown, sizes of the image as it is."""
    shown = {
        **region("rectanglelabels", "dog", x=10, y=20, width=30, height=40, rotation=0),
        "image_rotation": turn,
    }
    corners = [[10, 20], [40, 20], [40, 60], [10, 60]]
    outline = {**region("polygonlabels", "dog", points=corners), "image_rotation": turn}
    (found,), _, _ = save(task(shown, outline, image="1.png"), folder=tmp_path)
    if turn % 180:  # a share of 0.1 of the shown width is one of the height
        width, height = SIZE
    else:
        height, width = SIZE
    x1, y1, x2, y2 = 0.1 * width, 0.2 * height, 0.4 * width, 0.6 * height
    back = {
        0: (x1, y1, x2, y2),
        90: (y1, SIZE[0] - x2, y2, SIZE[0] - x1),
        180: (SIZE[1] - x2, SIZE[0] - y2, SIZE[1] - x1, SIZE[0] - y1),
        270: (SIZE[1] - y2, x1, SIZE[1] - y1, x2),
    }[turn]
    assert found.instances[0].mask.box == pytest.approx(back)
    assert found.instances[1].mask.box == pytest.approx(back, abs=1)


def test_shapes_and_labels_in_results_of_their_own__are_one_region(tmp_path: Path) -> None:
    def pair(own: str, kind: str, label: str, **value: Any) -> list[dict[str, Any]]:
        common = {"id": own, "from_name": "a", "to_name": "b", "original_width": 90, "original_height": 60}
        return [
            {**common, "type": kind, "value": value},
            {**common, "type": "labels", "from_name": "c", "value": {**value, "labels": [label]}},
        ]

    regions = [
        *pair("1", "polygon", "cat", points=[[10, 10], [50, 10], [50, 60], [10, 60]]),
        *pair("2", "rectangle", "dog", x=10, y=10, width=40, height=50),
        *pair("3", "brush", "cat", format="rle", rle=encode_brush(HOLED)),
        *pair("4", "ellipse", "dog", x=50, y=50, radiusX=20, radiusY=25, rotation=0),
    ]
    (found,), failures, labels = save(task(*regions), folder=tmp_path)
    assert failures == []
    assert [labels.names[one.class_id] for one in found.instances] == ["cat", "dog", "cat", "dog"]
    assert found.instances[2].mask == HOLED
    assert labels.omitted.lines() == []


def test_what_has_no_area__is_counted_by_its_name(tmp_path: Path) -> None:
    others = [
        region("keypointlabels", "cat", x=1, y=1, width=0.5),
        {"id": "c", "type": "choices", "value": {"choices": ["blurry"]}},
        {"type": "relation", "from_id": "x", "to_id": "y"},
    ]
    others[0]["id"] = "k"
    (found,), _, labels = save(task(BOX, *others), folder=tmp_path)
    assert len(found.instances) == 1
    text = "\n".join(labels.omitted.lines())
    assert all(name in text for name in ("keypoint", "choices", "relation"))


def test_tasks_of_which_nothing_is_known__get_no_label(tmp_path: Path) -> None:
    unseen = {**task(image="1.png"), "annotations": []}
    skipped = {**task(image="2.png"), "annotations": [{"was_cancelled": True, "result": []}], "predictions": []}
    emptied = task(image="3.png")
    emptied["data"] |= {"width": 90, "height": 60}
    found, failures, _ = save(unseen, skipped, emptied, folder=tmp_path)
    assert [item.key for item in found] == ["3.png"], "a person has said that there is nothing"
    assert {item.key: item.expected for item in failures} == {"1.png": True, "2.png": True}
    assert "nobody has labelled it" in failures[0].reason and "skipped" in failures[1].reason


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("far", [1e9, 1e300, float("nan"), float("inf"), "x", None, 10**400])
def test_far_coordinates__cost_their_object_at_most(far: Any, tmp_path: Path) -> None:
    regions = [
        region("polygonlabels", "cat", points=[[-1, 3], [far, 5], [7, far]]),
        region("rectanglelabels", "cat", x=far, y=1, width=5, height=5),
        region("rectanglelabels", "cat", x=1, y=1, width=far, height=5, rotation=30),
        region("ellipselabels", "cat", x=1, y=1, radiusX=far, radiusY=5),
        region("rectanglelabels", "dog", x=10, y=10, width=40, height=50),
    ]
    (found,), _, labels = save(task(*regions), folder=tmp_path)
    assert found.instances[-1].mask.box == (9, 6, 45, 36)
    assert len(found.instances) + sum(labels.omitted.images.values()) == len(regions)


def test_empty_labels__are_a_class_with_a_name_that_can_be_used(tmp_path: Path) -> None:
    source = Source(export(tmp_path, task({**BOX, "value": {**BOX["value"], "rectanglelabels": [""]}})))
    labels = read_labels("labelstudio", source)
    (found,) = labels.annotations
    assert labels.names == {0: "unnamed"} and len(found.instances) == 1
    assert any("unnamed" in remark for remark in source.remarks)

"""Label Studio's exports as people download them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    kept = task(BRUSH, predictions=[{"result": [POLYGON, POLYGON]}])
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
    failure, good = read_labels("labelstudio", Source(file)).annotations
    assert isinstance(failure, Failure) and isinstance(good, Annotation)


def test_what_is_no_task__is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no task; expected Label Studio's JSON, not JSON-MIN"):
        read_labels("labelstudio", Source(export(tmp_path, {"image": "1.png", "tag": []})))
    with pytest.raises(UsageError, match="expected a path below the images' folder"):
        read_labels("labelstudio", Source(export(tmp_path, task(BRUSH, image="/data/local-files/?d=../x.png"))))

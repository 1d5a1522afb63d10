"""proposals.json: an id for each image, the same for no two."""

from __future__ import annotations

import json

import pytest
from label_samples import FIGURES, NAMES, SIZE, plain

from samcli.labels.formats import FORMATS, Rendering
from samcli.types import Annotation, Instance, Quality


def rows(*keys: str) -> list[dict]:
    """Of images that have two objects each."""
    instances = (
        Instance(plain(0, 0, 5, 5), 1, Quality(predicted_iou=0.25)),
        Instance(plain(5, 5, 9, 9), 0, FIGURES),
    )
    renderings = (Rendering(Annotation(key, SIZE, instances), NAMES) for key in keys)
    return json.loads(b"".join(FORMATS["proposals"].fold(renderings, NAMES)))


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        (["000000000139.jpg", "val/285.jpg"], [139, 285]),
        (["2.png", "a.png", "b/2.png"], [1, 2, 3]),
        (["1.png", "a/01.png"], [1, 2]),
        (["7.png", "9.bus.png"], [1, 2]),
        (["5", "9" * 30 + ".png"], [1, 2]),
        (["٣.png"], [1]),
    ],
)
def test_image_ids__are_names_that_are_numbers_or_else_counted_for_all(keys: list[str], ids: list[int]) -> None:
    found = rows(*keys)
    assert [(row["file_name"], row["image_id"]) for row in found] == [
        pair for pair in zip(keys, ids, strict=True) for _ in range(2)
    ]


def test_rows__are_coco_results_with_the_best_first() -> None:
    assert rows("3.png")[0] == {
        "image_id": 3,
        "file_name": "3.png",
        "category_id": 1,
        "bbox": [5, 5, 4, 4],
        "score": round((FIGURES.predicted_iou + FIGURES.stability) / 2, 6),
        "segmentation": plain(5, 5, 9, 9).to_coco(),
    }
    assert rows("3.png")[1]["score"] == 0.25
    assert rows() == []

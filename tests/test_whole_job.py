"""The whole job as a user does it: boxes, masks, verify, review, data set, training.

As many instances as objects everywhere, and no incomplete image among those that are trained on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import annotation_of, layout_of, marks, write_review

SHAPES = Path(__file__).parents[1] / "examples" / "shapes"
UNREAD, BAD_MASK, EXCLUDED = "poster.png", "grey.jpg", "turned.jpg"
"""Incomplete, as one of its boxes cannot be read; incomplete, as a mask of it is bad; excluded."""
COMPLETE = "beads.jpg", "confetti.jpg"


def write_boxes(folder: Path) -> Path:
    """Copy five images, and write their true boxes as COCO; one box has no area."""
    truth = json.loads(SHAPES.with_name("shapes_truth.json").read_text())
    truth["images"] = [
        one for one in truth["images"] if one["file_name"] in (*COMPLETE, UNREAD, BAD_MASK, EXCLUDED)
    ]
    names = {one["id"]: one["file_name"] for one in truth["images"]}
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in names]
    for one in truth["annotations"]:
        del one["segmentation"]
    damaged = next(one for one in truth["annotations"] if names[one["image_id"]] == UNREAD)
    damaged["bbox"][2] = 0
    (folder / "images").mkdir()
    for name in names.values():
        shutil.copy(SHAPES / name, folder / "images" / name)
    (folder / "boxes.json").write_text(json.dumps(truth))
    return folder / "boxes.json"


def train(data: Path, folder: Path) -> dict[str, list[int]]:
    """Train one epoch; for each image that the trainer took the number of its instances."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics import YOLO

    model = YOLO("yolo11n-seg.yaml")
    model.train(
        data=str(data), epochs=1, imgsz=64, batch=2, workers=0, device="cpu", plots=False, save=False, val=True,
        project=str(folder / "runs"), verbose=False,
    )  # fmt: skip
    loaders = model.trainer.train_loader, model.trainer.test_loader
    found: dict[str, list[int]] = {}
    for loader in loaders:
        for label in loader.dataset.labels:
            assert len(label["segments"]) == len(label["cls"]), "each instance has its polygon"
            found.setdefault(Path(label["im_file"]).name, []).append(len(label["cls"]))
    return found


@pytest.mark.slow
def test_whole_job__trains_as_many_instances_as_objects_and_no_incomplete_image(
    tmp_path: Path, samcli_run: Any, cache: Path
) -> None:
    def said(*words: object, status: int = 0) -> dict[str, Any]:
        result = samcli_run(*words, "--json")
        assert result.exit_code == status, result.stderr
        return json.loads(result.stdout)

    boxes, labels = write_boxes(tmp_path), tmp_path / "labels"
    made = said("prompt", tmp_path / "images", "--prompts", boxes, "--sam", "tiny", "--device", "cpu")
    assert (made["done"], made["incomplete"], made["dropped"]) == (5, [UNREAD], 0)
    assert (
        made["instances"] == made["rows"] == sum(len(annotation_of(tmp_path, k).instances) for k in keys(tmp_path))
    )
    verified = said("verify", labels, "--strict", status=3)  # a warning
    assert verified["findings"].keys() == {"image-incomplete"}
    assert verified["objects"] == verified["rows_taken"] == made["rows"] - rows_of(layout_of(tmp_path).withheld)

    assert samcli_run("preview", labels, "--html").exit_code == 0
    rows = [*marks(tmp_path, {0: "bad_mask"}, BAD_MASK), *marks(tmp_path, {0: "no_object"}, COMPLETE[0])]
    review = write_review(tmp_path, rows, images=[{"key": EXCLUDED, "mark": "exclude"}])
    applied = said("apply-review", labels, review)
    assert (applied["rejected"], applied["incomplete"], applied["excluded"]) == (2, 1, 1)
    assert sorted(path.stem for path in labels.glob("*.txt")) == ["beads", "confetti"]

    objects = {key: len(annotation_of(tmp_path, key).instances) for key in COMPLETE}
    assert min(objects.values()) > 5
    status = said("status", labels)
    assert (sorted(status["incomplete"]), status["excluded"]) == (sorted([UNREAD, BAD_MASK]), [EXCLUDED])
    built = said(
        "dataset", tmp_path / "set", "--images", tmp_path / "images", "--labels", labels, "--split", "0.5/0.5"
    )
    assert sorted(built["incomplete"]) == sorted([UNREAD, BAD_MASK])
    for split in built["splits"].values():
        assert split["rows"] == sum(split["objects"].values())
    assert sum(split["rows"] for split in built["splits"].values()) == sum(objects.values())
    said("convert", labels, "--to", "coco", "-o", tmp_path / "coco")
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_bytes())
    assert len(coco["annotations"]) == sum(objects.values())

    assert train(tmp_path / "set" / "data.yaml", tmp_path) == {key: [count] for key, count in objects.items()}
    # With the run's own data.yaml, both splits are all images that trainers get.
    assert train(labels / "data.yaml", tmp_path) == {key: [count] * 2 for key, count in objects.items()}


def keys(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").iterdir())


def rows_of(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.glob("*.txt"))

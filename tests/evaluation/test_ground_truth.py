"""Labels of both sides: read from records, YOLO files and COCO, and paired by what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import iou

from samcli.errors import ImageError, UsageError
from samcli.evaluation.ground_truth import match_keys, open_labels
from samcli.masks import Mask
from samcli.polygons import rasterise

SQUARE = [[10.0, 20.0, 30.0, 20.0, 30.0, 50.0, 10.0, 50.0]]  # x 10..30, y 20..50


def coco(tmp_path: Path, *annotations: dict, **extra) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "a/1.jpg", "height": 60, "width": 80}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, **one} for one in annotations],
        "categories": [{"id": 3, "name": "cat"}],
        **extra,
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    return path


def square() -> np.ndarray:
    pixels = np.zeros((60, 80), bool)
    pixels[20:50, 10:30] = True
    return pixels


def test_coco__polygons_rle_and_boxes(tmp_path) -> None:
    mask = Mask.from_pixels(square())
    plain = {"size": [60, 80], "counts": mask._runs.tolist()}
    labels = open_labels(
        coco(
            tmp_path,
            {"segmentation": SQUARE, "bbox": [10, 20, 20, 30], "area": 600},
            {"segmentation": mask.to_coco()},
            {"segmentation": plain, "iscrowd": 1, "score": 0.5},
            {"bbox": [1, 2, 3, 4]},
        )
    )
    assert (labels.keys(), labels.names, labels.image_size("a/1.jpg")) == (["a/1.jpg"], {0: "cat"}, (60, 80))
    assert labels.file_ids == {0: 3}
    polygon, rle, crowd, box = labels.objects("a/1.jpg", (60, 80))
    assert all((one.mask.pixels() == square()).all() for one in (polygon, rle, crowd))
    assert (polygon.stated_area, rle.box, crowd.crowd, crowd.score) == (600, (10, 20, 30, 50), True, 0.5)
    assert (box.mask, box.box) == (None, (1, 2, 4, 6))


def test_coco__of_another_image_size_is_refused_for_that_image(tmp_path) -> None:
    with pytest.raises(ImageError, match="about an image of 80 x 60 pixels, and this one has 60 x 80"):
        open_labels(coco(tmp_path)).objects("a/1.jpg", (80, 60))


def test_coco__of_another_image_size_is_scaled_where_asked_for(tmp_path) -> None:
    path = coco(tmp_path, {"segmentation": SQUARE, "bbox": [10, 20, 20, 30], "area": 600})
    (one,) = open_labels(path, rescale=True).objects("a/1.jpg", (120, 160))
    assert (one.box, one.stated_area) == ((20, 40, 60, 100), 2400)
    assert one.mask.box == (20, 40, 60, 100)


def test_coco__box_of_something_else_than_the_mask_is_said(tmp_path) -> None:
    labels = open_labels(coco(tmp_path, {"segmentation": SQUARE, "bbox": [1, 1, 3, 3]}))
    labels.objects("a/1.jpg", (60, 80))
    assert any("1 objects state a box that is not that of their mask" in note for note in labels.notes)


def test_coco__damaged_annotations_concern_their_image_alone(tmp_path) -> None:
    labels = open_labels(coco(tmp_path, {"segmentation": {"size": [60, 80], "counts": [5]}}))
    with pytest.raises(ImageError, match="run lengths of a mask cover 5 pixels"):
        labels.objects("a/1.jpg", (60, 80))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"images": []}, "lists no images"),
        ({"images": [{"id": 7}]}, "it has no file_name"),
        ({"annotations": None}, "annotations is null; expected a list"),
        (
            {"images": [{"id": 7, "file_name": "a", "height": 1, "width": 1}] * 2},
            "image id 7 is that of 'a' and 'a'",
        ),
    ],
)
def test_coco__that_is_none_is_refused(tmp_path, extra, message) -> None:
    with pytest.raises(UsageError, match=message):
        open_labels(coco(tmp_path, {"bbox": [1, 2, 3, 4]}, **extra))


def test_yolo__rows_are_drawn_as_the_trainer_draws_them(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("2 0.1 0.2 0.9 0.25 0.5 0.93\n0 0.5 0.5 0.25 0.5\n")
    labels = open_labels(tmp_path)
    assert (labels.keys(), labels.names, labels.image_size("a")) == (["a"], None, None)
    polygon, box = labels.objects("a", (61, 83))
    ring = np.array([[0.1, 0.2], [0.9, 0.25], [0.5, 0.93]])
    assert (polygon.mask.pixels() == rasterise([ring], 61, 83)).all()
    assert (polygon.class_id, box.class_id, box.mask) == (2, 0, None)
    assert box.box == pytest.approx((83 * 0.375, 61 * 0.25, 83 * 0.625, 61 * 0.75))


def test_yolo__polygons_to_the_very_edge_of_the_image(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("0 0 0 1 0 1 1 0 1\n")
    mask = open_labels(tmp_path).objects("a", (40, 50))[0].mask
    assert (mask.pixels() == rasterise([np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)], 40, 50)).all()
    assert iou(mask.pixels(), np.ones((40, 50), bool)) == 1


def test_yolo__names_come_from_data_yaml_or_from_a_file(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    names = names.rename(tmp_path.parent / f"{tmp_path.name}-names.txt")
    assert open_labels(tmp_path, names).names == {0: "cat", 1: "dog"}
    (tmp_path / "data.yaml").write_text("names: {0: bird, 1: cow}\n")
    assert open_labels(tmp_path).names == {0: "bird", 1: "cow"}
    assert open_labels(tmp_path, names).names == {0: "cat", 1: "dog"}


def test_yolo__damaged_rows_concern_their_image_alone(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2\n")
    with pytest.raises(ImageError, match=r"a\.txt:1"):
        open_labels(tmp_path).objects("a", (40, 50))


def test_yolo__files_of_a_run_or_a_backup_are_no_labels(tmp_path) -> None:
    (tmp_path / ".samcli-backup").mkdir()
    for name in ("a.txt", "classes.txt", ".samcli-backup/b.txt"):
        (tmp_path / name).write_text("cat\n" if name == "classes.txt" else "")
    assert open_labels(tmp_path).keys() == ["a"]


def test_open__says_what_it_expects(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").touch()
    for name, message in (("empty", "no labels found"), ("a.csv", "file of prompts"), ("none", "does not exist")):
        with pytest.raises(UsageError, match=message):
            open_labels(tmp_path / name)


def test_match_keys__by_key_then_stem_then_base_name() -> None:
    assert match_keys(["a/1.jpg", "b/2.jpg"], ["a/1.jpg", "b/2"]) == {"a/1.jpg": "a/1.jpg", "b/2.jpg": "b/2"}
    assert match_keys(["train/1.jpg"], ["1.jpg"]) == {"train/1.jpg": "1.jpg"}
    assert match_keys(["1.jpg"], ["val2017/1"]) == {"1.jpg": "val2017/1"}
    assert match_keys(["1.jpg"], ["2"]) == {}


def test_match_keys__never_guesses_between_two() -> None:
    assert match_keys(["a/1.jpg", "a/1.png"], ["a/1"]) == {}
    assert match_keys(["1.jpg"], ["a/1.jpg", "b/1.jpg"]) == {}


def test_match_keys__of_a_label_that_bears_the_whole_name() -> None:
    assert match_keys(["1.jpg", "1.png"], ["1", "1.png"]) == {"1.jpg": "1", "1.png": "1.png"}


def test_eval__names_what_it_cannot_tell_and_exits_with_3(tmp_path, samcli_run) -> None:
    from PIL import Image

    for key in ("a/1.jpg", "x/2.jpg", "y/2.jpg"):
        (tmp_path / "images" / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(tmp_path / "images" / key)
    listed = [{"id": 7, "file_name": "a/1.jpg"}, {"id": 8, "file_name": "2.jpg"}]
    boxes = [{"bbox": [1, 2, 30, 40]}, {"bbox": [1, 2, 30, 40], "image_id": 8, "id": 2}]
    lost = {"bbox": [1, 2, 30, 40], "image_id": 99, "id": 3}
    path = coco(tmp_path, *boxes, lost, images=listed)
    found = samcli_run("eval", path, "--truth", path, "--images", tmp_path / "images", "--json")
    assert found.exit_code == 3
    left_out = json.loads(found.stdout)["left_out"]
    assert left_out["2.jpg"] == "could be x/2.jpg or y/2.jpg"
    assert "1 annotations of it, but not the image" in left_out["image_id 99"]


def test_eval__says_that_a_whole_file_is_crowds(tmp_path, samcli_run) -> None:
    path = coco(tmp_path, {"bbox": [1, 2, 30, 40], "iscrowd": "1"})
    found = samcli_run("eval", path, "--truth", path, "--json")
    assert found.exit_code == 3
    assert "every object is a crowd region" in " ".join(json.loads(found.stdout)["warnings"])

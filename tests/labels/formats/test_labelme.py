"""labelme's files as people save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_samples import ANNOTATIONS, read_all, write_images, write_labels

from samcli.labels.formats.reading import detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.types import Annotation

SQUARE = [[2, 3], [11, 3], [11, 8], [2, 8]]


def save(folder: Path, *shapes: dict[str, Any], name: str = "1.json", image: str = "1.png") -> Path:
    content = {
        "version": "5.0.1", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None,
        "imageHeight": 20, "imageWidth": 30,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def shape(label: str, points: Any = SQUARE, **members: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}, **members}


def test_polygons__cover_the_pixels_that_their_corners_name(tmp_path: Path) -> None:
    names, (found,) = read_all("labelme", save(tmp_path, shape("cat")), None)
    assert (names, found.key, found.image_size) == ({0: "cat"}, "1.png", (20, 30))
    assert found.instances[0].mask.box == (2, 3, 12, 9)


def test_shapes_of_one_group_and_label__are_one_object(tmp_path: Path) -> None:
    other = [[20, 3], [25, 3], [25, 8]]
    folder = save(tmp_path, shape("cat", group_id=1), shape("dog", group_id=1), shape("cat", other, group_id=1))
    names, (found,) = read_all("labelme", folder, None)
    assert [names[i.class_id] for i in found.instances] == ["cat", "dog"]
    assert found.instances[0].mask.box == (2, 3, 26, 9)


def test_rectangles__are_filled_and_points_left_out_and_both_said(tmp_path: Path) -> None:
    folder = save(
        tmp_path,
        shape("cat", [[12, 9], [2, 3]], shape_type="rectangle"),
        shape("dog", [[1, 1]], shape_type="point"),
    )
    source = Source(folder)
    (found,) = read_labels("labelme", source).annotations
    assert [i.mask.box for i in found.instances] == [(2, 3, 12, 9)]
    assert source.remarks == {
        "objects have no mask: their boxes were filled": 1,
        "shapes are of the type point, and were left out": 1,
    }


def test_classes__are_those_of_labels_txt_first_and_then_by_name(tmp_path: Path) -> None:
    save(tmp_path, shape("zebra"), shape("ant"), shape("cat"))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    names, (found,) = read_all("labelme", tmp_path, None)
    assert names == {0: "dog", 1: "cat", 2: "ant", 3: "zebra"}
    assert [i.class_id for i in found.instances] == [3, 2, 1]


def test_image__is_found_as_the_file_names_it(tmp_path: Path) -> None:
    images = write_images(tmp_path / "photos", [Annotation("a/1.png", (20, 30))])
    save(tmp_path / "json", shape("cat"), name="x.json", image="..\\photos\\a\\1.png")
    assert [a.key for a in read_all("labelme", tmp_path / "json", images)[1]] == ["a/1.png"]


def test_beside_the_images__is_where_labelme_saves(tmp_path: Path) -> None:
    write_images(tmp_path, [Annotation("1.png", (20, 30))])
    assert detect_format(save(tmp_path, shape("cat"))) == "labelme"


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("imageHeight"),
        lambda c: c["shapes"][0].pop("points"),
        lambda c: c["shapes"][0].update(points=[[1, 1], [2, 2]]),
        lambda c: c["shapes"][0].update(shape_type="mask", mask="no PNG"),
        lambda c: c.update(shapes=7),
        lambda c: c.update(imagePath=None),
    ],
)
def test_a_damaged_file__fails_alone(damage, tmp_path: Path) -> None:
    save(tmp_path, shape("cat"), name="2.json", image="2.png")
    content = json.loads((save(tmp_path, shape("cat")) / "1.json").read_text())
    damage(content)
    (tmp_path / "1.json").write_text(json.dumps(content))
    bad, good = read_labels("labelme", Source(tmp_path)).annotations
    assert isinstance(bad, Failure) and isinstance(good, Annotation)


def test_masks_with_holes__are_shapes_of_the_type_mask_and_others_polygons(tmp_path: Path) -> None:
    folder = write_labels("labelme", tmp_path, ANNOTATIONS)
    shapes = json.loads((folder / "a b" / "two words.json").read_text())["shapes"]
    assert [(s["shape_type"], s["group_id"]) for s in shapes] == [("mask", None), ("polygon", 2), ("polygon", 2)]
    assert shapes[0]["points"] == [[5, 5], [34, 39]]
    assert np.array(shapes[1]["points"]).shape[1] == 2

"""labelme's files as people save them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_samples import ANNOTATIONS, read_all, write_images, write_labels
from PIL import Image

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
    labels = read_labels("labelme", source)
    (found,) = labels.annotations
    assert [i.mask.box for i in found.instances] == [(2, 3, 12, 9)]
    assert source.remarks == {"objects have no mask: their boxes were filled": 1}
    (line,) = labels.omitted.lines()
    assert line.startswith("1 object was left out: a shape of the type point has no area")


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
    found = list(read_labels("labelme", Source(tmp_path)).annotations)
    good, bad = sorted(found, key=lambda item: isinstance(item, Failure))
    assert isinstance(bad, Failure) and isinstance(good, Annotation)


def test_masks_with_holes__are_shapes_of_the_type_mask_and_others_polygons(tmp_path: Path) -> None:
    folder = write_labels("labelme", tmp_path, ANNOTATIONS)
    shapes = json.loads((folder / "a b" / "two words.json").read_text())["shapes"]
    assert [(s["shape_type"], s["group_id"]) for s in shapes] == [("mask", None), ("polygon", 2), ("polygon", 2)]
    assert shapes[0]["points"] == [[5, 5], [34, 39]]
    assert np.array(shapes[1]["points"]).shape[1] == 2


def read(folder: Path, images: Path | None = None) -> tuple[list[Annotation], list[Failure], list[str], Source]:
    source = Source(folder, images)
    labels = read_labels("labelme", source)
    found = list(labels.annotations)
    return (
        [item for item in found if isinstance(item, Annotation)],
        [item for item in found if isinstance(item, Failure)],
        labels.omitted.lines(),
        source,
    )


def test_circles_and_turned_rectangles__have_the_area_of_their_shape(tmp_path: Path) -> None:
    turned = [[10, 2], [18, 8], [15, 12], [7, 6]]  # 10 x 5
    folder = save(
        tmp_path,
        shape("circle", [[20, 10], [26, 10]], shape_type="circle"),
        shape("turned", turned, shape_type="rotation", direction=0.6),
        shape("line", [[1, 1], [5, 5], [9, 1]], shape_type="linestrip"),
        shape("point", [[1, 1]], shape_type="point"),
        shape("odd", [[1, 1]], shape_type="spiral"),
    )
    (found,), _, lines, _ = read(folder)
    y, x = np.mgrid[:20, :30] + 0.5
    assert np.array_equal(found.instances[0].mask.pixels(), (x - 20) ** 2 + (y - 10) ** 2 <= 36)
    assert found.instances[1].mask.area == pytest.approx(50, abs=3)
    ring = np.array(turned, np.float32)
    inside = np.array(
        [[cv2.pointPolygonTest(ring, (a + 0.5, b + 0.5), True) for a in range(30)] for b in range(20)]
    )
    assert found.instances[1].mask.pixels()[inside > 0.1].all()
    assert not found.instances[1].mask.pixels()[inside < -0.1].any()
    assert [name for name in ("linestrip", "point", "spiral") if not any(name in line for line in lines)] == []


def test_damaged_shapes__cost_themselves_alone(tmp_path: Path) -> None:
    bad = [
        shape("cat", []),
        shape("cat", [[1, 1], [2, 2]]),
        shape("cat", [[1, 1], [2, 2], ["x", 3]]),
        shape("cat", [[1, 1], [2, 2], [float("nan"), 3]]),
        shape("cat", None),
        shape("cat", [[40, 40], [50, 40], [50, 50]]),
        shape("cat", [[1, 1]], shape_type="circle"),
        shape("cat", [[5, 5], [5, 5]], shape_type="circle"),
        shape("cat", [[1, 1], [5, 5]], shape_type="mask", mask="no PNG"),
        shape("cat", [[1, 1], [5, 5]], shape_type="mask", mask=None),
        shape(["cat"]),
        7,
    ]
    (found,), failures, lines, _ = read(save(tmp_path, shape("cat"), *bad))
    assert [one.mask.box for one in found.instances] == [(2, 3, 12, 9)]
    assert failures == []
    assert sum(int(line.split()[0]) for line in lines) == len(bad)
    assert not [line for line in lines if "len()" in line or "NoneType" in line or "Error" in line]


def test_an_image_whose_shapes_are_all_damaged__gets_no_label(tmp_path: Path) -> None:
    found, (failure,), _, _ = read(save(tmp_path, shape("cat", [])))
    assert found == [] and "polygon of 0 points" in failure.reason


def test_two_files_for_one_image__are_a_failure_that_names_both(tmp_path: Path) -> None:
    save(tmp_path, shape("cat"))
    found, (failure,), _, _ = read(save(tmp_path, shape("cat"), name="1 (copy).json"))
    assert found == []
    assert "1.json" in failure.reason and "1 (copy).json" in failure.reason


@pytest.mark.parametrize("size", [(10, 15), (30, 20), (20, 31)])
def test_an_image_of_another_size__fails_with_both_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("1.png", size)])
    _, (failure,), _, _ = read(save(tmp_path / "labels", shape("cat")), images)
    assert "30 x 20" in failure.reason and f"{size[1]} x {size[0]}" in failure.reason


@pytest.mark.parametrize("side", [None, 0, "", "x"])
def test_sizes_that_are_not_stated__are_the_images(side: Any, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("1.png", (20, 30))])
    file = save(tmp_path / "labels", shape("cat")) / "1.json"
    content = {k: v for k, v in json.loads(file.read_text()).items() if not k.startswith("image")}
    file.write_text(json.dumps({**content, "imagePath": "1.png", "imageWidth": side}))
    (found,), _, _, _ = read(tmp_path / "labels", images)
    assert found.instances[0].mask.box == (2, 3, 12, 9)


@pytest.mark.parametrize("label", ["", None, "  "])
def test_shapes_without_a_label__are_of_a_class_with_a_usable_name(label: Any, tmp_path: Path) -> None:
    source = Source(save(tmp_path, shape(label), shape("bird")))
    labels = read_labels("labelme", source)
    (found,) = labels.annotations
    assert sorted(labels.names.values()) == ["bird", "unnamed"] and len(found.instances) == 2
    assert any("unnamed" in remark for remark in source.remarks)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [1e4, 1e9, 1e300, 1.7e308])
def test_far_coordinates__are_cut_at_the_image(far: float, tmp_path: Path) -> None:
    folder = save(
        tmp_path,
        shape("half", [[-far, 9.5], [far, 9.5], [far, far], [-far, far]]),
        shape("whole", [[-far, -far], [far, far]], shape_type="rectangle"),
        shape("round", [[far, 5], [5, 5]], shape_type="circle"),
        shape("turned", [[far, 5], [5, 5], [5, far], [far, far]], shape_type="rotation"),
    )
    found, _, _, _ = read(folder)
    half = found[0].instances[0].mask.pixels()
    assert half[11:].all() and not half[:9].any()
    assert found[0].instances[1].mask.area == 600


def test_a_mask_that_reaches_out_of_the_image__is_cut_there(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.ones((10, 10), bool)).save(file, "PNG")
    pixels = base64.b64encode(file.getvalue()).decode()
    (found,), _, _, _ = read(save(tmp_path, shape("cat", [[-4, 15], [5, 24]], shape_type="mask", mask=pixels)))
    assert found.instances[0].mask.box == (0, 15, 6, 20)

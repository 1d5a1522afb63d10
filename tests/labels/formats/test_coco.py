"""COCO files: what we write, and what others write that we read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import iou
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_samples import ANNOTATIONS, HOLED, NAMES, SIZE, read_all, write_images, write_labels

from samcli.errors import UsageError
from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.coco import Coco, edge_polygons, is_crowd
from samcli.labels.formats.reading import detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.masks import Mask
from samcli.types import Annotation, Instance


def write(path: Path, **parts: Any) -> Path:
    file = path / "instances.json"
    file.write_text(json.dumps(parts), encoding="utf-8")
    return file


IMAGE = {"id": 7, "file_name": "1.png", "height": 20, "width": 30}
CAT = {"id": 3, "name": "cat"}


def annotated(**members: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 3, "bbox": [2, 3, 10, 5], **members}


def read_one(file: Path) -> tuple[Annotation | Failure, Counter[str]]:
    source = Source(file)
    (found,) = read_labels("coco", source).annotations
    return found, source.remarks


# writing


def test_file__of_no_images_is_whole() -> None:
    content = json.loads(b"".join(Coco().fold(iter([]), NAMES)))
    assert (content["images"], content["annotations"]) == ([], [])
    assert [category["id"] for category in content["categories"]] == [1, 2, 3]


def test_file__begins_before_all_images_are_read() -> None:
    """In constant memory: the pieces come as the images do."""
    taken = 0

    def renderings():
        nonlocal taken
        for annotation in ANNOTATIONS:
            taken += 1
            yield Rendering(annotation, NAMES)

    pieces = Coco().fold(renderings(), NAMES)
    next(pieces)
    next(pieces)
    assert taken == 1


def test_categories__name_classes_that_only_annotations_speak_of(tmp_path: Path) -> None:
    lone = Annotation("1.png", SIZE, (Instance(HOLED, 9),))
    content = json.loads(b"".join(Coco().fold(iter([Rendering(lone)]), {})))
    assert content["categories"] == [{"id": 10, "name": "9", "supercategory": ""}]
    assert content["annotations"][0]["category_id"] == 10


def test_annotations__carry_the_figures_and_are_no_crowds(tmp_path: Path) -> None:
    content = json.loads((write_labels("coco", tmp_path, ANNOTATIONS) / "annotations.json").read_bytes())
    first = content["annotations"][0]
    assert (first["iscrowd"], first["area"]) == (0, HOLED.area)
    figures = {key: first[key] for key in ("score", "predicted_iou", "stability_score", "box_iou", "polygon_iou")}
    assert figures == {
        "score": 0.875, "predicted_iou": 0.96875, "stability_score": 0.984375, "box_iou": 0.75,
        "polygon_iou": 0.9921875,
    }  # fmt: skip
    assert [row["id"] for row in content["annotations"]] == list(range(1, 7))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(max_examples=100)
def test_edge_polygons__are_exact_for_masks_without_holes_and_run_lengths_for_others(pixels) -> None:
    import cv2
    from pycocotools import mask as coco

    found = edge_polygons(Mask.from_pixels(pixels), 1.0)
    outer, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(pixels.shape, np.uint8), outer, -1, 1, -1).astype(bool)
    if isinstance(found, dict):
        assert not pixels.any() or (filled != pixels).any()
    else:
        drawn = coco.decode(coco.merge(coco.frPyObjects(found, *pixels.shape))).astype(bool)
        np.testing.assert_array_equal(drawn, pixels)


def test_edge_polygons__are_simpler_where_the_bound_allows() -> None:
    disc = Mask.from_pixels(np.hypot(*(np.mgrid[:200, :200] - 100)) < 80)
    exact, near = (edge_polygons(disc, bound) for bound in (1.0, 0.98))
    assert isinstance(exact, list) and isinstance(near, list)
    assert len(near[0]) < len(exact[0]) / 4


# reading


def test_read__takes_polygons_of_several_parts_as_pycocotools_does(tmp_path: Path) -> None:
    rings = [[0, 0, 10, 0, 10, 10, 0, 10], [20, 5, 25, 5, 25, 15, 20, 15]]
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(segmentation=rings)], categories=[CAT])
    found, _ = read_one(file)
    wanted = np.zeros((20, 30), bool)
    wanted[:10, :10] = wanted[5:15, 20:25] = True
    np.testing.assert_array_equal(found.instances[0].mask.pixels(), wanted)


def test_read__takes_run_lengths_that_are_not_compressed(tmp_path: Path) -> None:
    rle = {"size": [20, 30], "counts": [40, 20, 540]}
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(segmentation=rle)], categories=[CAT])
    assert read_one(file)[0].instances[0].mask.box == (2, 0, 3, 20)


@pytest.mark.parametrize("members", [{}, {"segmentation": []}, {"segmentation": None}])
def test_read__fills_boxes_without_segmentation_and_says_so(members, tmp_path: Path) -> None:
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(**members)], categories=[CAT])
    found, remarks = read_one(file)
    assert (found.instances[0].mask.box, found.instances[0].mask.area) == ((2, 3, 12, 8), 50)
    assert remarks == {"objects have no mask: their boxes were filled": 1}


def test_read__leaves_crowds_out_and_says_so(tmp_path: Path) -> None:
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(iscrowd=1)], categories=[CAT])
    found, _ = read_one(file)
    assert isinstance(found, Failure) and found.expected  # nothing known is not nothing there: no empty label
    assert "1 object was left out: a crowd region" in found.reason
    kept = next(iter(read_labels("coco", Source(file, crowds="keep")).annotations))
    assert len(kept.instances) == 1


def test_read__numbers_classes_in_the_order_of_category_ids(tmp_path: Path) -> None:
    categories = [{"id": 90, "name": "toothbrush"}, CAT, {"id": 18, "name": "dog"}]
    file = write(tmp_path, categories=categories, images=[IMAGE], annotations=[annotated(category_id=18)])
    names, (found,) = read_all("coco", file, None)
    assert names == {0: "cat", 1: "dog", 2: "toothbrush"}
    assert found.instances[0].class_id == 1


def test_read__puts_annotations_in_any_order_to_their_images(tmp_path: Path) -> None:
    images = [{**IMAGE, "id": name, "file_name": f"{name}.png"} for name in ("b", "a", "ż")]
    rows = [annotated(image_id=name, bbox=[x, 0, 1, 1]) for x, name in enumerate(["ż", "a", "b", "a", "ż"])]
    _, found = read_all("coco", write(tmp_path, annotations=rows, images=images, categories=[CAT]), None)
    lefts = {a.key: [i.mask.box[0] for i in a.instances] for a in found}
    assert lefts == {"a.png": [1, 3], "b.png": [2], "ż.png": [0, 4]}


def test_read__asks_the_image_for_a_size_that_the_file_lacks(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("1.png", (20, 30))])
    image = {"id": 7, "file_name": "1.png"}
    file = write(tmp_path, images=[image], annotations=[annotated()], categories=[CAT])
    assert read_all("coco", file, images)[1][0].image_size == (20, 30)
    assert "give the images' folder with --images" in read_one(file)[0].reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (annotated(category_id=4), "category_id 4 is not among the categories"),
        (annotated(segmentation=[[0, 0, 5, 5]]), "a polygon of 4 numbers"),
        (annotated(segmentation={"size": [9, 9], "counts": [81]}), "a mask of 9 x 9 pixels in an image of 30 x 20"),
        (annotated(segmentation={"size": [20, 30], "counts": "~~"}), "run lengths"),
        (annotated(segmentation=None, bbox=[40, 3, 5, 5]), "box (40, 3, 45, 8) is outside the image of 30 x 20"),
        ({"id": 1, "image_id": 7, "category_id": 3}, "neither segmentation nor bbox"),
        (annotated(segmentation=None, bbox=7), "a number where a list of numbers is expected"),
    ],
)
def test_read__fails_the_image_alone_whose_annotation_is_damaged(row, reason: str, tmp_path: Path) -> None:
    images = [IMAGE, {**IMAGE, "id": 8, "file_name": "2.png"}]
    file = write(tmp_path, images=images, annotations=[row, annotated(image_id=8)], categories=[CAT])
    bad, good = read_labels("coco", Source(file)).annotations
    assert isinstance(bad, Failure) and reason in bad.reason
    assert isinstance(good, Annotation) and len(good.instances) == 1


def test_read__fails_annotations_of_images_that_are_not_listed(tmp_path: Path) -> None:
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(image_id=9)], categories=[CAT])
    _, lost = read_labels("coco", Source(file)).annotations
    assert lost.key == "image_id 9"


@pytest.mark.parametrize("name", ["../../secret.png", "a/../../b.png"])
def test_read__takes_no_name_out_of_the_folder(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, images=[{**IMAGE, "file_name": name}], annotations=[], categories=[CAT])
    assert [a.key for a in read_all("coco", file, None)[1]] == [Path(name).name]


def test_read__takes_the_base_name_of_a_path_elsewhere(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("deep/1.png", (20, 30))])
    for name in ("/home/ann/1.png", "C:\\ann\\1.png", "train/1.png"):
        file = write(tmp_path, images=[{**IMAGE, "file_name": name}], annotations=[], categories=[CAT])
        assert [a.key for a in read_all("coco", file, images)[1]] == ["deep/1.png"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ('{"images": [}', "instances.json:1: not JSON"),
        ('{"images": ["a.jpg"]}', 'images has "a.jpg"; expected objects'),
        ('{"annotations": [{"image_id": 1}]}', "lists no images"),
    ],
)
def test_read__says_what_is_wrong_with_a_file(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=problem):
        read_labels("coco", Source(file))


def test_image_without_a_name__fails_and_the_others_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, images=[{"id": 1}, IMAGE], annotations=[annotated()], categories=[CAT])
    good, bad = read_labels("coco", Source(file)).annotations
    assert (good.key, len(good.instances)) == ("1.png", 1)
    assert isinstance(bad, Failure) and "it has no file_name" in bad.reason


def test_our_file__also_serves_as_prompts(tmp_path: Path) -> None:
    from samcli.prompts import open_prompts

    path = write_labels("coco", tmp_path, ANNOTATIONS) / "annotations.json"
    source = open_prompts(path)
    assert (source.recipe()["prompts"], source.names) == ("coco", NAMES)


@given(st.integers(0, 3))
@settings(max_examples=4)
def test_class_ids__with_gaps_are_closed_when_read(gap: int) -> None:
    names = {0: "a", 1 + gap: "b"}
    lone = Annotation("1.png", SIZE, (Instance(HOLED, 1 + gap),))
    content = json.loads(b"".join(FORMATS["coco"].fold(iter([Rendering(lone, names)]), names)))
    assert [c["id"] for c in content["categories"]] == [1, 2 + gap]


@pytest.mark.parametrize("layout", ["{split}/_annotations.coco.json", "annotations/instances_{split}.json"])
def test_subsets__each_with_a_file_of_its_own_are_read_together(layout: str, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_images(tmp_path / split, [Annotation("a.png", (20, 30))])
        file = tmp_path / layout.format(split=split)
        file.parent.mkdir(exist_ok=True)
        name = "a.png" if "_annotations" in layout else f"{split}/a.png"
        content = {"images": [{**IMAGE, "file_name": name}], "annotations": [annotated()], "categories": [CAT]}
        file.write_text(json.dumps(content))
    assert detect_format(tmp_path) == "coco"
    found = read_labels("coco", Source(tmp_path, tmp_path)).annotations
    assert [one.key for one in found if isinstance(one, Annotation)] == ["train/a.png", "valid/a.png"]


def test_file__without_annotations_says_nothing_of_its_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is known of them"):
        read_labels("coco", Source(write(tmp_path, images=[IMAGE], categories=[CAT])))
    assert read_one(write(tmp_path, images=[IMAGE], categories=[CAT], annotations=[]))[0].key == "1.png"


def test_file__without_categories_has_classes_called_by_their_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, images=[IMAGE], annotations=[annotated(), annotated(id=2, category_id=11)])
    labels = read_labels("coco", Source(file))
    assert (labels.names, labels.declared) == ({0: "class3", 1: "class11"}, False)  # eval matches them by number
    (found,) = labels.annotations
    assert [one.class_id for one in found.instances] == [0, 1]  # type: ignore[union-attr]


def test_box_that_cvat_has_turned__covers_what_a_rasteriser_fills(tmp_path: Path) -> None:
    import cv2

    turned = annotated(bbox=[5, 6, 16, 6], segmentation=[], attributes={"occluded": False, "rotation": 30.0})
    found, _ = read_one(write(tmp_path, images=[IMAGE], annotations=[turned], categories=[CAT]))
    corners = cv2.boxPoints(((13.0, 9.0), (16.0, 6.0), 30.0)) * 16 - 8  # pixel centres, 16 steps a pixel
    large = np.zeros((20 * 16, 30 * 16), np.uint8)
    cv2.fillPoly(large, [np.round(corners + 8).astype(np.int32)], 1)
    wanted = large.reshape(20, 16, 30, 16).mean((1, 3)) >= 0.5
    assert isinstance(found, Annotation)
    assert iou(found.instances[0].mask.pixels(), wanted) > 0.95


@pytest.mark.parametrize(
    ("said", "crowd"), [("1.0", True), ("01", True), ("yes", True), ("0.0", False), ("10", False)]
)
def test_iscrowd__is_read_as_files_write_it(said: str, crowd: bool) -> None:
    assert is_crowd({"iscrowd": said}) is crowd

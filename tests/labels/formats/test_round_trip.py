"""Every format gives back what it can hold: read(write(x)) == x, also for holes, parts, nothing and odd names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_samples import ANNOTATIONS, NAMES, least_iou, read_all, write_images, write_labels

from samcli.labels.formats import FORMATS
from samcli.labels.formats.base import LabelFormat
from samcli.labels.formats.reading import detect_format, readable_formats
from samcli.masks import Mask
from samcli.polygons import PolygonOptions, mask_to_polygons
from samcli.types import Annotation, Instance, Quality

EXACT = ["coco", "fiftyone", "parquet", "labelstudio", "png", "voc", "rle", "masks", "sa1b"]
"""Formats that hold every pixel of masks that do not overlap."""

NAMELESS = ["rle", "masks", "sa1b"]
"""Formats without classes."""

BY_ITSELF = ["coco", "parquet", "fiftyone", "labelme", "labelstudio", "sa1b", "voc"]
"""Formats that need no images to be read: they say names and sizes."""


def without(quality: Quality, *names: str) -> Quality:
    return replace(quality, **dict.fromkeys(names))


def held(annotation: Annotation, name: str) -> Annotation:
    """What an exact format can hold of an annotation."""
    instances = annotation.instances
    if name in NAMELESS:
        lost = ("detector_score", "box_iou", "polygon_iou")
        instances = tuple(replace(i, class_id=0, quality=without(i.quality, *lost)) for i in instances)
    elif name in ("png", "voc"):
        instances = tuple(replace(i, quality=Quality()) for i in instances)
    return replace(annotation, instances=instances)


@pytest.mark.parametrize("name", EXACT)
def test_exact_formats__give_back_every_pixel_class_and_figure_that_they_hold(name: str, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ANNOTATIONS)
    folder = write_labels(name, tmp_path, ANNOTATIONS)
    names, found = read_all(name, folder, images)
    assert found == [held(annotation, name) for annotation in ANNOTATIONS]
    assert names == ({0: "object"} if name in NAMELESS else NAMES)


def test_labelme__gives_back_classes_and_figures_and_masks_within_the_bound(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ANNOTATIONS)
    names, found = read_all("labelme", write_labels("labelme", tmp_path, ANNOTATIONS), images)
    assert names == NAMES
    for annotation, read in zip(ANNOTATIONS, found, strict=True):
        assert (read.key, read.image_size) == (annotation.key, annotation.image_size)
        assert [(i.class_id, i.quality) for i in read.instances] == [
            (i.class_id, i.quality) for i in annotation.instances
        ]
        assert least_iou(annotation, read) >= 0.98
    assert found[0].instances[0].mask == ANNOTATIONS[0].instances[0].mask  # with a hole: to the pixel


@pytest.mark.parametrize("name", ["yolo", "cvat"])
def test_yolo__gives_back_classes_and_masks_within_the_bound(name: str, tmp_path: Path) -> None:
    near = ANNOTATIONS[:3]  # parts too far apart become rows of their own
    images = write_images(tmp_path / "images", near)
    names, found = read_all(name, write_labels(name, tmp_path, near), images)
    assert names == NAMES
    for annotation, read in zip(near, found, strict=True):
        assert read.key == annotation.key
        assert [i.class_id for i in read.instances] == [i.class_id for i in annotation.instances]
        assert least_iou(annotation, read) >= 0.98


def test_yolo__gives_back_parts_far_apart_as_one_object(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ANNOTATIONS[3:])
    _, (read,) = read_all("yolo", write_labels("yolo", tmp_path, ANNOTATIONS[3:]), images)
    assert [i.class_id for i in read.instances] == [0, 2]


def test_yolo_box__gives_back_classes_and_boxes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ANNOTATIONS)
    names, found = read_all("yolo-box", write_labels("yolo-box", tmp_path, ANNOTATIONS), images)
    assert names == NAMES
    for annotation, read in zip(ANNOTATIONS, found, strict=True):
        assert [(i.class_id, i.mask.box) for i in read.instances] == [
            (i.class_id, i.mask.box) for i in annotation.instances
        ]


@pytest.mark.parametrize("name", BY_ITSELF)
def test_formats_that_say_names_and_sizes__are_read_without_the_images(name: str, tmp_path: Path) -> None:
    _, found = read_all(name, write_labels(name, tmp_path, ANNOTATIONS), None)
    assert [(a.key, a.image_size, len(a.instances)) for a in found] == [
        (a.key, a.image_size, len(a.instances)) for a in ANNOTATIONS
    ]


@given(
    objects=st.lists(st.tuples(arrays(bool, (7, 9)), st.integers(0, 2)), max_size=4),
    name=st.sampled_from(["coco", "labelstudio", "rle", "masks", "sa1b"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_masks__also_empty_and_overlapping_ones_come_back(objects, name: str, tmp_path_factory) -> None:
    instances = tuple(Instance(Mask.from_pixels(mask), class_id) for mask, class_id in objects)
    annotation = Annotation("1.png", (7, 9), instances)
    folder = tmp_path_factory.mktemp("any")
    images = write_images(folder / "images", [annotation])
    _, (read,) = read_all(name, write_labels(name, folder, [annotation]), images)
    assert read == held(annotation, name)


@given(mask=arrays(bool, (8, 11)), name=st.sampled_from(["labelme", "yolo", "cvat"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mask__comes_back_as_near_as_its_polygons_are_said_to_be(mask, name, tmp_path_factory) -> None:
    if not mask.any():
        return
    annotation = Annotation("1.png", mask.shape, (Instance(Mask.from_pixels(mask), 1),))
    folder = tmp_path_factory.mktemp("any")
    images = write_images(folder / "images", [annotation])
    _, (read,) = read_all(name, write_labels(name, folder, [annotation]), images)
    union = np.logical_or.reduce([instance.mask.pixels() for instance in read.instances])
    bound = min(0.98, mask_to_polygons(annotation.instances[0].mask).iou)  # some of a few pixels cannot be met
    assert (union & mask).sum() / (union | mask).sum() >= bound
    assert {instance.class_id for instance in read.instances} == {1}


@pytest.mark.parametrize("name", ["png", "voc"])
def test_index_maps__of_overlapping_masks_keep_the_small_ones_whole(name: str, tmp_path: Path) -> None:
    canvas = np.zeros((20, 30), bool)
    large, small = canvas.copy(), canvas.copy()
    large[2:18, 2:28] = True
    small[5:10, 5:10] = True
    both = (Instance(Mask.from_pixels(small), 0), Instance(Mask.from_pixels(large), 1))
    annotation = Annotation("1.png", (20, 30), both)
    images = write_images(tmp_path / "images", [annotation])
    _, (read,) = read_all(name, write_labels(name, tmp_path, [annotation]), images)
    assert read.instances[0] == both[0]
    np.testing.assert_array_equal(read.instances[1].mask.pixels(), large & ~small)


def test_index_maps__of_more_than_255_objects_or_classes_have_16_bits(tmp_path: Path) -> None:
    masks = [np.arange(400).reshape(20, 20) == number for number in range(300)]
    objects = tuple(Instance(Mask.from_pixels(mask), 900 + number) for number, mask in enumerate(masks))
    annotation = Annotation("1.png", (20, 20), objects)
    images = write_images(tmp_path / "images", [annotation])
    _, (read,) = read_all("png", write_labels("png", tmp_path, [annotation]), images)
    assert read == annotation


def test_voc__of_more_than_254_objects_has_boxes_of_the_rest(tmp_path: Path) -> None:
    masks = [np.arange(400).reshape(20, 20) == number for number in range(300)]
    objects = tuple(Instance(Mask.from_pixels(mask), 0) for mask in masks)
    _, (read,) = read_all("voc", write_labels("voc", tmp_path, [Annotation("1.png", (20, 20), objects)]), None)
    assert [one.mask for one in read.instances] == [
        one.mask for one in objects
    ]  # of one pixel: the box is the mask


@pytest.mark.parametrize("name", sorted(set(FORMATS) & set(readable_formats()) - {"yolo-box", "coco-polygon"}))
def test_detect_format__knows_what_was_written(name: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", ANNOTATIONS)
    assert detect_format(write_labels(name, tmp_path, ANNOTATIONS)) == name


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats__are_whole(name: str) -> None:
    fmt = FORMATS[name]
    assert fmt.suffixes or fmt.folded_name
    assert fmt.is_read == (type(fmt).read is not LabelFormat.read)


@pytest.mark.parametrize("name", ["yolo", "labelme"])
def test_polygon_options__bound_what_is_lost(name: str, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ANNOTATIONS[:2])
    exact = write_labels(name, tmp_path, ANNOTATIONS[:2], PolygonOptions(min_iou=1.0))
    _, found = read_all(name, exact, images)
    assert all(least_iou(a, b) == 1.0 for a, b in zip(ANNOTATIONS[1:2], found[1:], strict=True))


def test_docs__name_every_format_and_what_can_be_read() -> None:
    page = Path(__file__).parents[3] / "docs" / "formats.md"
    if not page.is_file():
        pytest.skip("the docs are in the repository only")
    table, command = page.read_text(encoding="utf-8").split("## samcli convert")
    assert [name for name in FORMATS if f"`{name}`" not in table] == []
    assert [name for name in readable_formats() if name != "coco-polygon" and f"`{name}`" not in command] == []

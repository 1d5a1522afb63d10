"""What is written for an image depends on its annotation and the formats that are named, on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.writing import folds, write_annotation
from samcli.masks import Mask, PartLimit
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe
from samcli.output.records import read_record
from samcli.polygons import PolygonOptions
from samcli.types import Annotation, Instance

SQUARE = Mask.from_pixels(np.pad(np.ones((8, 8), bool), 6))


@pytest.mark.parametrize(("name", "recorded"), [("yolo", True), ("png", False), ("labelme", False)])
@pytest.mark.parametrize("cached", [False, True])
def test_polygon_iou__is_recorded_for_formats_that_make_polygons(
    tmp_path: Path, name: str, recorded: bool, cached: bool
) -> None:
    layout = Layout(tmp_path / "images", tmp_path / "labels")
    rendering = Rendering(Annotation("a.png", (20, 20), (Instance(SQUARE, 0),)), {0: "square"})
    if cached:
        assert rendering.polygons
    write_annotation(rendering, [FORMATS[name]], layout)
    (instance,) = read_record(Path(layout.record("a.png")).read_bytes()).instances
    assert (instance.quality.polygon_iou is not None) == recorded


def test_folds__are_those_of_formats_that_have_a_file_for_all_images(tmp_path) -> None:
    (fold,) = folds(
        [FORMATS["yolo"], FORMATS["coco"]],
        Manifest(Recipe({}), "f" * 64, "../images", names={0: "square"}),
        PolygonOptions(),
        Layout(tmp_path / "images", tmp_path / "labels"),
    )
    assert fold.name == "annotations.json"
    pieces = fold.pieces(iter([Annotation("a.png", (20, 20), (Instance(SQUARE, 0),))]))
    assert b'"file_name":"a.png"' in b"".join(pieces)


# Specks


def annotation() -> Annotation:
    """A clean square of class 0, and one with six specks of class 1."""
    pixels = np.zeros((100, 100), bool)
    pixels[10:50, 10:50] = True
    with_specks = pixels.copy()
    for place in range(6):
        with_specks[80:83, 10 + 12 * place : 13 + 12 * place] = True
    return Annotation(
        "a.jpg", (100, 100), (Instance(Mask.from_pixels(pixels), 0), Instance(Mask.from_pixels(with_specks), 1))
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path)


def written(layout: Layout, limit: PartLimit, *names: str) -> Annotation:
    rendering = Rendering(annotation(), {0: "a", 1: "b"}, PolygonOptions(part_limit=limit))
    write_annotation(rendering, [FORMATS[name] for name in names], layout)
    return read_record(Path(layout.record("a.jpg")).read_bytes())


def test_specks__are_in_the_record_and_not_in_the_labels(layout: Layout) -> None:
    record = written(layout, PartLimit(16, 0.01), "yolo", "labelme")
    assert [i.mask for i in record.instances] == [i.mask for i in annotation().instances]
    assert len(Path(layout.label("a.jpg", ".txt")).read_text().splitlines()) == 2, "a row an object"
    shapes = json.loads(Path(layout.label("a.jpg", ".json")).read_text())["shapes"]
    assert [shape["group_id"] for shape in shapes] == [None, None], "a shape an object"


def test_specks__what_they_cost_is_recorded_for_the_masks_that_had_some(layout: Layout) -> None:
    clean, cleaned = written(layout, PartLimit(16, 0.01), "yolo").instances
    assert clean.quality.label_iou is None
    assert cleaned.quality.label_iou == pytest.approx(1600 / 1654)
    assert cleaned.quality.polygon_iou == 1, "the polygon is held against what is labelled"


def test_specks__stay_where_no_limit_is_given(layout: Layout) -> None:
    record = written(layout, PartLimit(pixels=0), "labelme")
    assert [i.quality.label_iou for i in record.instances] == [None, None]
    shapes = json.loads(Path(layout.label("a.jpg", ".json")).read_text())["shapes"]
    assert len(shapes) == 8
    assert "label_iou" not in Path(layout.record("a.jpg")).read_text()

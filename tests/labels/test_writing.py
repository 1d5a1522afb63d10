"""What is written for an image depends on its annotation and the formats that are named, on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.writing import folds, write_annotation
from samcli.masks import Mask
from samcli.output.layout import Layout
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


def test_folds__are_those_of_formats_that_have_a_file_for_all_images() -> None:
    (fold,) = folds([FORMATS["yolo"], FORMATS["coco"]], {0: "square"}, PolygonOptions(), "../images")
    assert fold.name == "annotations.json"
    pieces = fold.pieces(iter([Annotation("a.png", (20, 20), (Instance(SQUARE, 0),))]))
    assert b'"file_name":"a.png"' in b"".join(pieces)

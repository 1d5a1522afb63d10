"""Every command counts objects, and the rows of their labels beside them where there are more or fewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import layout_of, write_run

from samcli.masks import Mask
from samcli.types import Annotation, Instance


def squares(*places: int) -> Instance:
    """One object of class 0: squares of 9 pixels a side at these places of a line."""
    pixels = np.zeros((40, 240), bool)
    for place in places:
        pixels[10:19, place : place + 9] = True
    return Instance(Mask.from_pixels(pixels), 0)


ANNOTATIONS = [
    Annotation("near.png", (40, 240), (squares(5, 16), squares(120))),
    Annotation("far.png", (40, 240), (squares(5, 100, 220),)),
    Annotation("twins.png", (40, 240), (squares(60), squares(60))),
]
"""5 objects; 7 rows with a row for each part, as the twins share one."""


@pytest.fixture
def said(samcli_run):
    """What a command says as JSON."""

    def run(*words: object) -> dict[str, Any]:
        return json.loads(samcli_run(*words, "--json").stdout)

    return run


def test_separate_parts__are_rows_beside_the_objects_in_every_count(tmp_path: Path, samcli_run, said) -> None:
    labels = write_run(tmp_path, ANNOTATIONS, "yolo", parts="separate")
    rows = sum(len(path.read_text().splitlines()) for path in labels.glob("*.txt"))
    assert rows == 7
    assert (said("status", labels)["instances"], said("status", labels)["rows"]) == (5, 7)
    assert "5 in 7 rows" in samcli_run("status", labels).stdout
    verified = said("verify", labels)
    assert (verified["rows"], verified["rows_taken"], verified["objects"]) == (7, 7, 5)
    assert "7 rows of 5 objects; the YOLO loader accepts all of them" in samcli_run("verify", labels).stdout
    data_set = ("--images", tmp_path / "images", "--labels", labels, "--split", "0.5/0.5")
    splits = said("dataset", tmp_path / "set", *data_set)["splits"].values()
    assert sum(one["rows"] for one in splits) == 7
    assert sum(one["objects"].get("class0", 0) for one in splits) == 5
    assert "rows of labels" in samcli_run("dataset", tmp_path / "again", *data_set).stdout
    to_yolo = ("convert", labels, "--to", "yolo", "--parts", "separate", "-o")
    assert "5 objects in 7 rows" in samcli_run(*to_yolo, tmp_path / "yolo").stdout
    notes = said("eval", labels, "--truth", labels)["notes"]
    assert "labels: 5 objects are stored as 7 label rows; objects are evaluated" in notes


def test_rows_that_somebody_changed__are_counted_as_they_are(tmp_path: Path, said) -> None:
    labels = write_run(tmp_path, ANNOTATIONS, "yolo", parts="separate")
    (labels / "far.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.5\n")
    verified = said("verify", labels)
    assert (verified["rows_taken"], verified["objects"]) == (5, 1 + 2 + 2)


def test_low_polygon_iou__is_told_with_the_image(tmp_path: Path, samcli_run, said) -> None:
    labels = write_run(tmp_path, ANNOTATIONS, "yolo")
    assert said("status", labels)["low_polygon_iou"] == {"far.png": 1}
    assert "1 object in 1 image, the first far.png (verify --list)" in samcli_run("status", labels).stdout
    listed = samcli_run("verify", labels, "--list").stdout
    assert "far.png: warning: low-polygon-iou: object 1: polygon IoU 0.5" in listed
    assert "twins.png" not in listed
    assert not layout_of(tmp_path).withheld.exists()


def test_one_row_each__is_not_told_twice(tmp_path: Path, samcli_run, said) -> None:
    labels = write_run(tmp_path, ANNOTATIONS[:1], "yolo")
    assert (said("status", labels)["instances"], said("status", labels)["rows"]) == (2, 2)
    assert "rows" not in samcli_run("status", labels).stdout
    assert "2 rows; the YOLO loader" in samcli_run("verify", labels).stdout
    assert b"rows" not in layout_of(tmp_path).journal.read_bytes()

"""Regions of interest: what files of regions and labels say, and which points and parts of images they hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samcli.errors import ImageError, UsageError
from samcli.prompts.regions import Region, Regions, open_regions

KEYS = ["a/1.jpg", "a/2.jpg", "b.jpg"]
SIZE = (100, 200)


def opened(folder: Path, name: str, text: str, keys: list[str] = KEYS) -> Regions:
    (folder / name).write_text(text)
    return open_regions(folder / name).matched(keys)


def holds(region: Region | None, *points: tuple[float, float]) -> list[bool]:
    assert region is not None
    return region.holds(np.array(points)).tolist()


OWN = {
    "regions.json": json.dumps(
        {
            "images": {
                "a/1.jpg": [{"box": [10, 20, 50, 60]}, {"polygon": [[100, 0], [200, 0], [100, 100]]}],
                "b.jpg": [],
            }
        }
    ),
    "regions.csv": (
        'image,x1,y1,x2,y2,polygon\na/1.jpg,10,20,50,60,\na/1.jpg,,,,,"100 0, 200 0, 100 100"\nb.jpg,,,,,\n'
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_files_of_regions__hold_what_lies_in_one_of_their_boxes_and_polygons(tmp_path: Path, name: str) -> None:
    regions = opened(tmp_path, name, OWN[name])
    region = regions.of("a/1.jpg", SIZE)
    assert holds(region, (10, 20), (49.9, 59.9), (50, 40), (120.5, 20.5), (190, 90)) == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert region is not None and region.meets((0, 0, 11, 21)) and not region.meets((55, 0, 99, 100))
    assert holds(regions.of("b.jpg", SIZE), (1, 1)) == [False]  # it is named: nothing is looked for
    assert regions.of("a/2.jpg", SIZE) is None
    assert regions.notes == (f"1 of 3 images have no regions in {tmp_path / name}: whole images",)


def test_digest__changes_with_the_regions_of_an_image_alone(tmp_path: Path) -> None:
    before, after = (
        opened(tmp_path, "r.csv", f"image,x1,y1,x2,y2\na/1.jpg,0,0,9,9\na/2.jpg,0,0,9,{last}\n") for last in (9, 8)
    )
    assert [before.digest(key) == after.digest(key) for key in KEYS] == [True, False, True]
    assert before.digest("b.jpg") == "" != before.digest("a/1.jpg")


def test_star__stands_for_the_images_that_are_not_named(tmp_path: Path) -> None:
    regions = opened(tmp_path, "r.csv", "image,x1,y1,x2,y2\n*,0,0,50,50\nb.jpg,60,60,80,80\n")
    assert holds(regions.of("a/2.jpg", SIZE), (10, 10), (70, 70)) == [True, False]
    assert holds(regions.of("b.jpg", SIZE), (10, 10), (70, 70)) == [False, True]
    assert regions.digest("a/1.jpg") == regions.digest("a/2.jpg") != regions.digest("b.jpg")


def test_labels__of_any_format_are_regions_whatever_their_classes(tmp_path: Path) -> None:
    (tmp_path / "labels" / "a").mkdir(parents=True)
    (tmp_path / "labels" / "a" / "1.txt").write_text("7 0.25 0.5 0.5 1\n")
    yolo = open_regions(tmp_path / "labels").matched(KEYS)
    coco = {
        "images": [{"id": 1, "file_name": "a/1.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 3, "name": "field"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0, "area": 10000, "bbox": [0, 0, 100, 100],
             "segmentation": [[0, 0, 100, 0, 100, 100, 0, 100]]},
        ],
    }  # fmt: skip
    for regions in (yolo, opened(tmp_path, "coco.json", json.dumps(coco))):
        assert holds(regions.of("a/1.jpg", SIZE), (50, 50), (150, 50)) == [True, False]
        assert regions.of("b.jpg", SIZE) is None
        assert regions.digest("a/1.jpg")
    with pytest.raises(ImageError, match="200 x 100 pixels"):
        open_regions(tmp_path / "coco.json").matched(KEYS).of("a/1.jpg", (100, 300))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the columns"),
        ("image,x1,y1,x2\na/1.jpg,0,0,9\n", "expected the columns"),
        ("image,x1,y1,x2,y2,roi\n", "unknown column 'roi'"),
        ("image,x1,y1,x2,y2\n", "holds no regions"),
        ("image,x1,y1,x2,y2\na/1.jpg,0,0,9\n", r":2: 4 fields; the first line names 5"),
        ("image,x1,y1,x2,y2\n,0,0,9,9\n", ":2: no image given"),
        ("image,x1,y1,x2,y2\na/1.jpg,0,0,nan,9\n", ":2: a coordinate of a box is nan"),
        ("image,x1,y1,x2,y2\na/1.jpg,0,0,1e400,9\n", ":2: a coordinate of a box is inf"),
        ("image,x1,y1,x2,y2\na/1.jpg,0,0,1e300,9\n", ":2: a coordinate is 1e[+]300"),
        ("image,x1,y1,x2,y2\na/1.jpg,9,0,9,9\n", r":2: box \(9, 0, 9, 9\) is empty"),
        ("image,x1,y1,x2,y2\na/1.jpg,0,0,9,\n", ":2: a box of 3 numbers"),
        ("image,x1,y1,x2,y2\na/1.jpg,0.1,0.1,0.9,0.9\n", ":2: the region looks normalised"),
        ("image,polygon\na/1.jpg,\"0 0, 9 9\"\n", ":2: a polygon of 2 points"),
        ("image,polygon\na/1.jpg,\"0 0, 9 9, 9\"\n", ":2: a polygon with a point"),
        ("image,x1,y1,x2,y2\nx/9.jpg,0,0,9,9\n", "lists none of 3 images; the first is 'x/9.jpg'"),
    ],
)  # fmt: skip
def test_csv__is_refused_by_file_and_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        opened(tmp_path, "r.csv", text)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"images": {}}, "expected"),
        ({"images": {"a/1.jpg": [[0, 0, 9, 9]]}}, "expected a region such as"),
        ({"images": {"a/1.jpg": [{"bbox": [0, 0, 9, 9]}]}}, "unknown 'bbox'. Did you mean 'box'"),
        ({"images": {"a/1.jpg": [{"box": [0, 0, 9, "x"]}]}}, "expected a number"),
        ({"images": {"a/1.jpg": [{"box": {"x": 1}}]}}, "a list of numbers is expected"),
        ({"images": {"a/1.jpg": [{"polygon": [[0, 0], [1e9, 0], [0, 9]]}]}}, "a coordinate is 1e[+]09"),
        ({"images": {"a/1.jpg": {"box": [0, 0, 9, 9]}}}, "expected"),
        ({"names": ["a"]}, "unknown 'names'"),
        ([], "expected"),
    ],
)
def test_json__is_refused_by_file_and_line(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        opened(tmp_path, "r.json", json.dumps(content))


def test_region__that_lies_outside_fails_its_image_alone(tmp_path: Path) -> None:
    regions = opened(
        tmp_path,
        "r.csv",
        'image,x1,y1,x2,y2,polygon\na/1.jpg,300,0,400,9,\na/2.jpg,,,,,"300 0, 400 0, 400 90"\nb.jpg,0,0,9,9,\n',
    )
    for key, reason in (("a/1.jpg", "r.csv:2.*outside the image"), ("a/2.jpg", "r.csv:3.*outside the image")):
        with pytest.raises(ImageError, match=reason):
            regions.of(key, SIZE)
    assert holds(regions.of("b.jpg", SIZE), (5, 5)) == [True]

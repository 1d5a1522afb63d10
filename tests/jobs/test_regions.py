"""`--roi`: objects are looked for in regions alone, and a run goes on when regions change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import journal

from samcli.detectors.tiled import TiledDetector
from samcli.images.tiling import Tiling
from samcli.jobs.regions import RegionDetector, meets_region
from samcli.output.records import read_record
from samcli.prompts.regions import open_regions
from samcli.types import Detections, Image, ImageRef

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
BOXES = np.array([[0, 0, 40, 40], [30, 30, 70, 70], [150, 10, 190, 50]], np.float32)
"""Centres: (20, 20), (50, 50), (170, 30)."""


class Finds:
    """A detector that finds the same boxes in every image and remembers what it was given."""

    names = {0: "thing"}  # noqa: RUF012 - never written to

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes, self.seen = boxes, []

    def detect(self, images: list[Image]) -> list[Detections]:
        self.seen += [image.image_size for image in images]
        count = len(self.boxes)
        return [Detections(self.boxes, np.zeros(count, int), np.linspace(0.9, 0.5, count)) for _ in images]


def image(key: str, size: tuple[int, int] = (100, 200)) -> Image:
    return Image(ImageRef(Path(), key), np.zeros((*size, 3), np.uint8))


def test_detector__keeps_objects_whose_box_has_its_centre_in_a_region(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("image,x1,y1,x2,y2\na.jpg,0,0,30,30\na.jpg,160,0,200,100\nb.jpg,,,,\n")
    regions = open_regions(tmp_path / "r.csv").matched(["a.jpg", "b.jpg", "c.jpg"])
    found = RegionDetector(Finds(BOXES), regions).detect([image(key) for key in ("a.jpg", "b.jpg", "c.jpg")])
    assert [one.boxes.tolist() for one in found] == [BOXES[[0, 2]].tolist(), [], BOXES.tolist()]
    assert found[0].scores.tolist() == pytest.approx([0.9, 0.5])


def test_tiles__that_show_nothing_of_a_region_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("image,x1,y1,x2,y2\na.jpg,10,10,90,90\n")
    regions = open_regions(tmp_path / "r.csv").matched(["a.jpg", "b.jpg"])
    finds = Finds(np.zeros((0, 4), np.float32))
    tiled = TiledDetector(finds, Tiling(100, 0, 100), 0.5, meets_region(regions))
    tiled.detect([image("a.jpg", (400, 400))])
    assert finds.seen == [(400, 400), (100, 100)]
    tiled.detect([image("b.jpg", (400, 400))])
    assert finds.seen.count((100, 100)) == 1 + 16


def record(output: Path, key: str) -> list[tuple[float, float]]:
    """Centres of the boxes that prompted the objects of an image."""
    annotation = read_record((output / ".samcli" / "records" / f"{key}.json").read_bytes())
    boxes = [one.prompt_box or (0, 0, 0, 0) for one in annotation.instances]
    return [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes]


def test_run__labels_what_lies_in_the_regions_and_does_again_what_has_others(samcli_run, tmp_path: Path) -> None:
    out, roi, keys = tmp_path / "out", tmp_path / "roi.json", ["beads.jpg", "grey.jpg"]
    given = [*(SHAPES / key for key in keys), "--det", "tiny", "--sam", "tiny", "--device", "cpu"]
    samcli_run("auto-annotate", *given, "-o", tmp_path / "all")
    every = {key: record(tmp_path / "all", key) for key in keys}
    places = sorted(x for x, _ in every[keys[0]])
    middle = sum(places[1:3]) / 2
    region = [{"box": [0, 0, middle, 10_000]}]

    roi.write_text(json.dumps({"images": {keys[0]: region}}))
    result = samcli_run("auto-annotate", *given, "-o", out, "--roi", roi)
    assert result.exit_code == 0, result.output
    left = [(x, y) for x, y in every[keys[0]] if x < middle]
    assert record(out, keys[0]) == left != every[keys[0]]
    assert record(out, keys[1]) == every[keys[1]]
    assert "1 of 2 images have no regions" in result.output

    roi.write_text(json.dumps({"images": {keys[0]: region, keys[1]: []}}))
    result = samcli_run("auto-annotate", *given, "-o", out, "--roi", roi)
    assert result.exit_code == 0, result.output
    assert record(out, keys[1]) == []
    assert [row["key"] for row in journal(out)] == [*keys, keys[1]]

    result = samcli_run("auto-annotate", *given, "-o", out)
    assert result.exit_code == 2 and "--roi was" in result.output

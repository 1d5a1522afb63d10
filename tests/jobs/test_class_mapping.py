"""`--class-map` of auto-annotate, prompt and convert: new names and ids everywhere, no trace of dropped classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml

from samcli.jobs.auto_annotate import SamMasks
from samcli.jobs.class_mapping import MappedDetector
from samcli.labels.class_map import ClassMap
from samcli.masks import Mask
from samcli.output.layout import Layout
from samcli.output.manifest import read_manifest
from samcli.output.records import read_record
from samcli.sam.engine import Engine
from samcli.types import Detections, Image

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
TINY = ["--sam", "tiny", "--precision", "fp32"]
MAP = "circle: round\nring: round\nstar:\n"


@pytest.fixture
def class_map(tmp_path: Path) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(MAP)
    return path


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two photos of shapes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("beads.jpg", "buttons.bmp"):
        (folder / name).write_bytes((SHAPES / name).read_bytes())
    return folder


@pytest.fixture
def label(samcli_run, shapes: Path):
    def run(output: Path, *arguments: object):
        return samcli_run("auto-annotate", shapes, "-o", output, "--det", "tiny", *TINY, *arguments)

    return run


def names_in(output: Path) -> dict[int, str]:
    return yaml.safe_load((output / "data.yaml").read_text())["names"]


def counted(output: Path) -> Counter[str]:
    """Objects in the records by the name of their class."""
    layout = Layout(output, output)
    names = read_manifest(layout.manifest).names
    records = [read_record(path.read_bytes()) for path in layout.run_folder.rglob("records/*.json")]
    return Counter(names[instance.class_id] for record in records for instance in record.instances)


def rows(output: Path) -> Counter[int]:
    """Rows of the label files by class id."""
    lines = [line for path in output.glob("*.txt") for line in path.read_text().splitlines()]
    return Counter(int(line.split()[0]) for line in lines)


def merged(plain: Counter[str]) -> Counter[str]:
    """What MAP makes of these counts."""
    return Counter(
        {
            **{name: n for name, n in plain.items() if name not in ("circle", "ring", "star")},
            "round": plain["circle"] + plain["ring"],
        }
    )


def test_auto_annotate__writes_new_names_everywhere_and_prompts_sam_for_no_dropped_class(
    label, class_map, tmp_path, monkeypatch
) -> None:
    label(tmp_path / "plain")
    plain, asked = counted(tmp_path / "plain"), []
    assert min(plain["star"], plain["ring"], plain["circle"]) > 0, "else nothing is tested"
    prompt = SamMasks._prompt
    monkeypatch.setattr(SamMasks, "_prompt", lambda *a: asked.append(len(a[2])) or prompt(*a))
    result = label(tmp_path / "mapped", "--class-map", class_map, "--json")
    names = names_in(tmp_path / "mapped")
    assert sorted(names) == list(range(len(names)))
    assert "star" not in names.values()
    assert counted(tmp_path / "mapped") == merged(plain)
    assert sum(asked) == plain.total() - plain["star"]
    assert Counter({names[i]: n for i, n in rows(tmp_path / "mapped").items()}) == merged(plain)
    assert Counter(json.loads(result.stdout)["instances_by_class"]) == merged(plain)


class _Found:
    """A detector that has found boxes of these classes, with these scores."""

    names: ClassVar = {0: "car", 1: "lorry", 2: "bus", 3: "cat"}

    def __init__(self, *objects: tuple[int, float, tuple[float, ...]]) -> None:
        classes, scores, boxes = zip(*objects, strict=True)
        masks = tuple(Mask.from_pixels(np.full((1, 9), index % 2 > 0)) for index in range(len(objects)))
        self.found = Detections(np.array(boxes), np.array(classes), np.array(scores), masks)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self.found]


BOX, NEAR, HALF, FAR = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 5), (20, 20, 30, 30)
MERGED = ClassMap({"car": "vehicle", "lorry": "vehicle", "cat": None})


def test_merged_classes__of_one_object_found_twice_the_surer_stays() -> None:
    source = _Found((0, 0.5, BOX), (1, 0.9, NEAR), (1, 0.4, FAR), (0, 0.3, HALF), (2, 0.2, BOX), (3, 0.95, BOX))
    (found,) = MappedDetector(source, MERGED, 0.6).detect([])
    assert [(c, round(s, 2)) for c, s in zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)] == [
        (0, 0.9), (0, 0.4), (0, 0.3), (1, 0.2),
    ]  # fmt: skip
    assert [mask.area for mask in found.masks] == [9, 0, 9, 0]  # each with its own
    (found,) = MappedDetector(source, MERGED, 0.5).detect([])
    assert len(found) == 3, "more than half is over the limit now"
    (found,) = MappedDetector(source, MERGED, 1.0).detect([])
    assert len(found) == 5


def test_classes_that_are_not_merged__keep_all_that_the_detector_kept() -> None:
    source = _Found((0, 0.9, BOX), (0, 0.8, BOX), (1, 0.7, BOX), (2, 0.6, BOX))
    for rules in ({"car": "auto"}, {"car": "lorry", "lorry": "car"}):
        assert len(MappedDetector(source, ClassMap(rules), 0.5).detect([])[0]) == 4
    (found,) = MappedDetector(source, MERGED, 0.5).detect([])
    assert found.class_ids.tolist() == [0, 0, 1]  # two cars are the detector's own affair


def test_image_of_dropped_classes_alone__never_sees_the_encoder(label, tmp_path, monkeypatch) -> None:
    (tmp_path / "map.yaml").write_text("circle: circle\n'*':\n")
    encoded = []
    encode = Engine.encode
    monkeypatch.setattr(Engine, "encode", lambda s, images: encoded.extend(images) or encode(s, images))
    assert label(tmp_path / "out", "--class-map", tmp_path / "map.yaml").exit_code == 0
    with_circles = [path for path in (tmp_path / "out").glob("*.txt") if path.read_text()]
    assert len(encoded) == len(with_circles) < 2
    assert names_in(tmp_path / "out") == {0: "circle"}


def test_content__is_part_of_the_recipe_and_the_files_name_is_not(label, class_map, tmp_path) -> None:
    label(tmp_path / "out", "--class-map", class_map)
    other = tmp_path / "other.yaml"
    other.write_text("star: null\nring: round\ncircle: round\n")
    again = label(tmp_path / "out", "--class-map", other, "--json")
    assert (again.exit_code, json.loads(again.stdout)["skipped"]) == (0, 2)
    class_map.write_text(MAP + "blob: x\n")
    for arguments in (["--class-map", class_map], []):
        refused = label(tmp_path / "out", *arguments)
        assert refused.exit_code == 2
        assert '--class-map was [["circle", "round"], ["ring", "round"], ["star", null]], now ' in refused.stderr


def test_class_that_the_detector_does_not_know__is_refused_before_anything_is_written(label, tmp_path) -> None:
    (tmp_path / "map.yaml").write_text("sta: x\n")
    result = label(tmp_path / "out", "--class-map", tmp_path / "map.yaml")
    assert result.exit_code == 2
    assert "Did you mean 'star'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_prompt__asks_for_no_object_of_a_dropped_class(samcli_run, shapes, tmp_path) -> None:
    prompts = [
        {"image": "beads.jpg", "box": [10, 10, 60, 60], "class": "star"},
        {"image": "beads.jpg", "box": [60, 60, 160, 160], "class": "ring"},
        {"image": "buttons.bmp", "box": [20, 20, 80, 80], "class": "star"},
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in prompts))
    (tmp_path / "map.yaml").write_text("ring: round\nstar:\n")
    arguments = ["--prompts", tmp_path / "prompts.jsonl", "--class-map", tmp_path / "map.yaml", *TINY]
    result = samcli_run("prompt", shapes, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "out") == {0: "round"}
    assert counted(tmp_path / "out") == {"round": 1}
    assert (tmp_path / "out" / "buttons.txt").read_text() == ""
    (tmp_path / "map.yaml").write_text("ring: round\n")
    assert "class-map" in samcli_run("prompt", shapes, "-o", tmp_path / "out", *arguments).stderr


def test_prompt__names_what_is_given_on_the_command_line(samcli_run, shapes, tmp_path) -> None:
    (tmp_path / "map.yaml").write_text("object: bead\n")
    arguments = ["--box", "10,10,60,60", "--class-map", tmp_path / "map.yaml", *TINY]
    assert samcli_run("prompt", shapes / "beads.jpg", "-o", tmp_path / "out", *arguments).exit_code == 0
    assert names_in(tmp_path / "out") == {0: "bead"}


def test_convert__writes_what_auto_annotate_with_the_map_had_written(
    label, samcli_run, class_map, tmp_path
) -> None:
    label(tmp_path / "plain")
    label(tmp_path / "mapped", "--class-map", class_map)
    result = samcli_run(
        "convert", tmp_path / "plain", "-o", tmp_path / "out", "--to", "yolo", "--class-map", class_map
    )
    assert result.exit_code == 0, result.output
    for path in (tmp_path / "mapped").glob("*.txt"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert names_in(tmp_path / "out") == names_in(tmp_path / "mapped")


def test_convert__fails_an_image_alone_whose_class_has_no_name(samcli_run, shapes, tmp_path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "data.yaml").write_text("names: [cat, dog]\n")
    (labels / "beads.txt").write_text("1 0.1 0.1 0.4 0.1 0.4 0.4\n")
    (labels / "buttons.txt").write_text("5 0.1 0.1 0.4 0.1 0.4 0.4\n")
    (tmp_path / "map.yaml").write_text("cat:\n")
    result = samcli_run(
        "convert", labels, "-o", tmp_path / "out", "--to", "yolo", "--images", shapes,
        "--class-map", tmp_path / "map.yaml",
    )  # fmt: skip
    assert result.exit_code == 3
    assert rows(tmp_path / "out") == {0: 1}
    assert names_in(tmp_path / "out") == {0: "dog"}
    assert not (tmp_path / "out" / "buttons.txt").exists()

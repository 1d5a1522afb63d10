"""The examples and recipes run as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import iou
from PIL import Image

from samcli.config import AutoAnnotateOptions, resolve
from samcli.evaluation.ground_truth import open_labels
from samcli.masks import Mask

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def test_boxes_to_masks__prints_a_line_for_each_object() -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "boxes_to_masks.py"], capture_output=True, text=True, check=True
    )
    assert "predicted IoU" in result.stdout


def test_onnx_decoder__writes_the_mask_of_the_clicked_shape(tmp_path, samcli_run) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    decoder, written = tmp_path / "decoder.onnx", tmp_path / "mask.png"
    assert samcli_run("export-onnx", "--sam", "tiny", "-o", decoder, "--return-single-mask").exit_code == 0
    truth = Mask.from_coco(
        json.loads((EXAMPLES / "shapes_truth" / "poster.png.json").read_text())["objects"][0]["rle"]
    )
    script, photo = EXAMPLES / "onnx_decoder.py", EXAMPLES / "shapes" / "poster.png"

    result = subprocess.run(
        [sys.executable, script, decoder, photo, "363,354", "tiny", written],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "predicted IoU" in result.stdout
    assert iou(np.array(Image.open(written)), truth.pixels()) > 0.8


def run(*command: object, cwd: Path | None = None, typed: str = "") -> str:
    """An example's standard output."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = [str(word) for word in command]
    if words[0].endswith(".py"):
        words = [sys.executable, *words]
    result = subprocess.run(words, cwd=cwd, env=environment, input=typed, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def truths(name: str) -> list[np.ndarray]:
    content = json.loads((EXAMPLES / "shapes_truth" / f"{name}.json").read_text())
    return [Mask.from_coco(item["rle"]).pixels() for item in content["objects"]]


def test_shapes_truth__is_one_coco_file_that_says_the_same_as_the_file_of_each_picture() -> None:
    found = open_labels(EXAMPLES / "shapes_truth.json")
    files = sorted((EXAMPLES / "shapes_truth").glob("*.json"))
    assert found.keys() == [file.stem for file in files]
    assert found.names is not None
    for file in files:
        content = json.loads(file.read_text())
        objects = found.objects(file.stem, (content["height"], content["width"]))
        assert [found.names[one.class_id] for one in objects] == [item["class"] for item in content["objects"]]
        assert [one.mask for one in objects] == [Mask.from_coco(item["rle"]) for item in content["objects"]]
        assert [list(one.box) for one in objects] == [item["box"] for item in content["objects"]]


def test_segment_prompts__gives_three_answers_to_a_click_and_one_to_a_box() -> None:
    lines = run(EXAMPLES / "segment_prompts.py").splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "click, answer 1", "click, answer 2", "click, answer 3", "box without a corner",
    ]  # fmt: skip


def test_everything__paints_a_label_for_each_line(tmp_path) -> None:
    lines = run(EXAMPLES / "everything.py", EXAMPLES / "shapes" / "poster.png", "tiny", tmp_path / "l.png")
    labels = np.asarray(Image.open(tmp_path / "l.png"))
    assert len(lines.splitlines()) == labels.max() > 1
    assert iou(labels > 0, np.any(truths("poster.png"), axis=0)) > 0.5


def test_cutouts__are_the_objects_on_transparency(tmp_path) -> None:
    paths = run(EXAMPLES / "cutouts.py", EXAMPLES / "shapes" / "beads.jpg", tmp_path / "cut").splitlines()
    assert len(paths) > 3
    for path in paths:
        alpha = np.asarray(Image.open(path))[..., 3]
        assert set(np.unique(alpha)) <= {0, 255}
        assert all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))


def test_region_of_interest__finds_nothing_outside_it(tmp_path) -> None:
    run(EXAMPLES / "region_of_interest.py", EXAMPLES / "shapes" / "sixteen_bit.png", "tiny", tmp_path / "m.png")
    mask = np.asarray(Image.open(tmp_path / "m.png"))
    assert mask.any()
    assert not mask[:200].any()
    assert not mask[:, :180].any()
    rings = truths("sixteen_bit.png")[2:]
    assert max(iou(mask & ring, ring) for ring in rings) > 0.5


def test_click_loop__answers_from_the_cache_and_refines(tmp_path, samcli_run) -> None:
    shapes = EXAMPLES / "shapes"
    assert samcli_run("encode", shapes / "poster.png", "-o", tmp_path, "--sam", "tiny").exit_code == 0
    clicks = "363 354\n5 5 0\nnew\n363 354\n"
    first, second, again = run(
        EXAMPLES / "click_loop.py", tmp_path, shapes, "poster.png", "tiny", typed=clicks
    ).splitlines()
    assert first == again
    assert "predicted IoU" in second


def test_encode_once__prompts_from_the_stored_embeddings(tmp_path) -> None:
    run(EXAMPLES / "encode_once.sh", EXAMPLES / "shapes", tmp_path)
    prompts = json.loads((EXAMPLES / "prompts" / "shapes.json").read_text())["images"]
    for key, objects in prompts.items():
        assert bool((tmp_path / "masks" / f"{Path(key).stem}.txt").read_text()) == bool(objects)
        assert (tmp_path / "masks" / f"{Path(key).stem}.overlay.jpg").is_file()


def test_boxes_become_polygons__with_their_classes(tmp_path) -> None:
    truth = json.loads((EXAMPLES / "shapes_truth" / "beads.jpg.json").read_text())
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    with (boxes / "beads.txt").open("w") as file:
        for item in truth["objects"]:
            x1, y1, x2, y2 = np.divide(item["box"], [truth["width"], truth["height"]] * 2)
            file.write(f"{item['class_id']} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
    run(EXAMPLES / "boxes_become_polygons.sh", EXAMPLES / "shapes", boxes, tmp_path / "out")
    rows = [row.split() for row in (tmp_path / "out" / "beads.txt").read_text().splitlines()]
    assert {int(row[0]) for row in rows} == {item["class_id"] for item in truth["objects"]}
    assert all(len(row) >= 7 for row in rows)


def test_pipeline__labels_and_reports(tmp_path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = EXAMPLES / "pipeline.sh"
    result = subprocess.run(
        [script, EXAMPLES / "shapes", tmp_path / "labels"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "all images labelled", result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images"] == summary["done"] == len(list((EXAMPLES / "shapes").iterdir()))
    assert summary["instances"] > 10
    assert summary["empty"] >= 1


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_recipe__is_valid_and_says_something(config) -> None:
    assert resolve(AutoAnnotateOptions, {}, config) != AutoAnnotateOptions()

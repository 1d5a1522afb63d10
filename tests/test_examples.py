"""The examples and recipes run as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import iou
from PIL import Image

from samcli.config import AutoAnnotateOptions, resolve
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

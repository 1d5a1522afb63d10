"""The examples and recipes run as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samcli.config import AutoAnnotateOptions, resolve

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def test_boxes_to_masks__prints_a_line_for_each_object() -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "boxes_to_masks.py"], capture_output=True, text=True, check=True
    )
    assert "predicted IoU" in result.stdout


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

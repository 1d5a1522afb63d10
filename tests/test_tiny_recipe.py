"""The recipe of the tiny models works from nothing: scenes, both trainings, resumed, their exports used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samcli import Image, ImageRef, Prompts, load_detector, load_sam
from samcli.labels.vocabulary import read_vocabulary

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).parents[1] / "examples" / "tiny_models"
SCENE = np.full((96, 128, 3), 90, np.uint8)


def run(script: str, *arguments: object) -> None:
    program = [sys.executable, RECIPE / script, *map(str, arguments)]
    variables = {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        variables["GLOO_SOCKET_IFNAME"] = "lo"  # workers find each other on a machine without a network
    done = subprocess.run(program, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr


def steps(curve: Path) -> list[int]:
    """Where each start of a training began."""
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    return [line["start"] for line in lines if "start" in line]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes for each network, at its size."""
    folder = tmp_path_factory.mktemp("scenes")
    for frame in (320, 512, 768):
        run("dataset.py", "--out", folder / str(frame), "--count", 8, "--frame", frame, "--processes", 1)
    return folder


def test_sam__is_trained_in_all_phases_goes_on_and_answers_prompts(scenes, tmp_path) -> None:
    out, weights = tmp_path / "out", tmp_path / "tiny_sam.safetensors"
    common = ("--scenes", scenes / "768", "--out", out, "--small-steps", 1, "--fine-steps", 1, "--decay", 1)
    run("train_sam.py", *common, "--steps", 2, "--workers", 1)  # small, whole frames
    run("train_sam.py", *common, "--steps", 4, "--workers", 2, "--export", weights)  # both kinds of larger views
    assert steps(out / "curve.jsonl") == [0, 2]
    engine = load_sam(str(weights), precision="fp32")
    embedding = engine.encode([Image(ImageRef(Path(), "grey.png"), SCENE)])[0]
    (segment,) = engine.segment(embedding, Prompts(boxes=np.array([[10, 10, 60, 60]], np.float32)))
    assert segment.mask.pixels().shape == SCENE.shape[:2]


def test_yolo__is_trained_goes_on_and_is_a_detector_of_the_eight_shapes(scenes, tmp_path) -> None:
    out, weights = tmp_path / "out", tmp_path / "tiny_yolo.pt"
    common = ("--scenes", scenes / "512", "--out", out, "--small-steps", 1, "--decay", 1, "--threads", 1)
    run("train_yolo.py", *common, "--steps", 1)
    run("train_yolo.py", *common, "--steps", 2, "--export", weights)
    assert steps(out / "curve.jsonl") == [0, 1]
    detector = load_detector(str(weights))
    assert list(detector.names.values())[:3] == ["circle", "ellipse", "triangle"]
    detector.detect([Image(ImageRef(Path(), "grey.png"), SCENE)])


def test_text__is_trained_goes_on_and_reads_words_as_any_detector_of_the_library(scenes, tmp_path) -> None:
    pytest.importorskip("transformers")
    out, weights = tmp_path / "out", tmp_path / "tiny_text"
    common = ("--scenes", scenes / "320", "--out", out, "--decay", 1, "--batch", 2, "--threads", 1)
    run("train_text.py", *common, "--steps", 1)
    run("train_text.py", *common, "--steps", 2, "--export", weights)
    assert steps(out / "curve.jsonl") == [0, 1]
    assert sum(file.stat().st_size for file in weights.iterdir()) < 6_000_000
    vocabulary = read_vocabulary("red circle, star, zebra")
    detector = load_detector(str(weights), vocabulary=vocabulary, conf=0)
    assert list(detector.names.values()) == ["red circle", "star", "zebra"]
    found = detector.detect([Image(ImageRef(Path(), "grey.png"), SCENE)])[0]
    assert len(found.boxes) and np.isfinite(found.scores).all()

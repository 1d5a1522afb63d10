"""Ultralytics is used as a library: what it sets for its own trainings stays its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from samcli.detectors.ultralytics import load_detector
from samcli.types import Image, ImageRef

SEEN = "import os, torch; print(torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS'))"


def threads(program: str) -> str:
    """What a fresh process prints, in which nobody has asked for any number of threads."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-c", program + SEEN], env=environment, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


def test_import__leaves_torch_and_later_processes_their_threads() -> None:
    prepare = "from samcli.checkpoints.ultralytics_setup import prepare_ultralytics; prepare_ultralytics();"
    assert threads(prepare) == threads("")


@pytest.fixture
def many_threads() -> Iterator[int]:
    """More threads than Ultralytics would choose."""
    before, asked = torch.get_num_threads(), (os.cpu_count() or 1) + 1
    torch.set_num_threads(asked)
    yield asked
    torch.set_num_threads(before)


@pytest.mark.parametrize("exported", [False, True])
def test_detector__leaves_torch_the_threads_that_it_was_given(many_threads, yolo, tmp_path, exported) -> None:
    """On a CPU Ultralytics' predictor takes one thread less than there are cores, for all that follows as well."""
    path = exported_yolo(yolo, tmp_path) if exported else yolo
    detector = load_detector(str(path), device="cpu", trust_weights=exported)
    assert torch.get_num_threads() == many_threads
    detector.detect([Image(ImageRef(tmp_path, "a.png"), np.zeros((64, 64, 3), np.uint8))])
    assert torch.get_num_threads() == many_threads


def exported_yolo(yolo: Path, folder: Path) -> Path:
    from ultralytics import YOLO

    before = torch.get_num_threads()
    exported = YOLO(shutil.copy(yolo, folder / "exported.pt")).export(format="torchscript", imgsz=64, verbose=False)
    torch.set_num_threads(before)
    return Path(exported)

"""Ultralytics is used as a library: what it sets for its own trainings stays its own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import torch

from samcli.detectors import load_detector
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
    prepare = "from samcli.ultralytics_setup import prepare_ultralytics; prepare_ultralytics();"
    assert threads(prepare) == threads("")


def test_detect__leaves_torch_the_threads_that_it_was_given(tmp_path) -> None:
    """On a CPU Ultralytics' predictor takes one thread less than there are cores, for all that follows as well."""
    asked = (os.cpu_count() or 1) + 1
    before = torch.get_num_threads()
    torch.set_num_threads(asked)
    try:
        detector = load_detector("tiny", device="cpu")
        detector.detect([Image(ImageRef(tmp_path, "a.png"), np.zeros((64, 64, 3), np.uint8))])
        assert torch.get_num_threads() == asked
    finally:
        torch.set_num_threads(before)

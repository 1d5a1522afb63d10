"""Objects that vanish at the training size are those of which the trainer's own functions leave no pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import write_run

from samcli.datasets.training_size import LEAST_BOX_SIDE, MASK_RATIO, TrainingFrame, vanishing_rows
from samcli.masks import Mask
from samcli.types import Annotation, Instance, Size

SIZE = 640


def random_rows(rng: np.random.Generator, image_size: Size) -> list[np.ndarray]:
    """Polygons of all widths down to nothing, in normalised coordinates."""
    height, width = image_size
    rows = []
    for _ in range(40):
        x, y = rng.uniform(0.1, 0.8, 2) * (width, height)
        w, h = rng.uniform(0.5, 16, 2) * rng.choice([1, 4])
        tilt = rng.uniform(-8, 8)
        rows.append(np.array([(x, y), (x + w, y + tilt), (x + w, y + tilt + h), (x, y + h)]) / (width, height))
    return rows


@pytest.mark.parametrize("image_size", [(1500, 2400), (2000, 1501), (640, 640), (300, 401)])
def test_vanishing_rows__leave_no_pixel_of_the_trainers_own_masks(image_size: Size) -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.augment import LetterBox
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    rows = random_rows(np.random.default_rng(sum(image_size)), image_size)
    text = "".join("0 " + " ".join(f"{v:.6f}" for v in row.ravel()) + "\n" for row in rows)
    found = dict(vanishing_rows(text.encode(), "polygons", image_size, SIZE))
    frame = TrainingFrame.of(image_size, SIZE)
    high, wide = frame.size
    padded = LetterBox((SIZE, SIZE), scaleup=False)(image=np.zeros((high, wide, 3), np.uint8))
    assert padded.shape[:2] == (SIZE, SIZE)
    vanished = set()
    for line, segment in enumerate(resample_segments([np.float32(np.round(row, 6)) for row in rows], 1000), 1):
        points = segment * np.float32((wide, high)) + np.float32((frame.left, frame.top))
        mask = polygon2mask((SIZE, SIZE), [points.reshape(-1)], downsample_ratio=MASK_RATIO)
        side = ((segment.max(0) - segment.min(0)) * (wide, high)).min()
        if not mask.any() or side <= LEAST_BOX_SIDE:
            vanished.add(line)
    assert found.keys() == vanished
    assert len(vanished) < len(rows)
    assert vanished or max(image_size) <= SIZE


def test_boxes__vanish_where_a_side_has_too_few_pixels() -> None:
    text = b"0 0.5 0.5 0.003 0.5\n\n0 0.5 0.5 0.004 0.5\n"
    assert dict(vanishing_rows(text, "boxes", (1000, 2000), SIZE)).keys() == {1}


def test_verify__names_them_only_where_it_is_asked_to(tmp_path: Path, samcli_run) -> None:
    pixels = np.zeros((900, 1600), bool)
    pixels[100:105, 100:105] = True
    thick = np.zeros_like(pixels)
    thick[300:500, 300:500] = True
    annotation = Annotation("a.png", (900, 1600), tuple(Instance(Mask.from_pixels(p), 0) for p in (pixels, thick)))
    labels = write_run(tmp_path, [annotation], "yolo")
    assert json.loads(samcli_run("verify", labels, "--json").stdout)["findings"] == {}
    listed = samcli_run("verify", labels, "--list", "--imgsz", SIZE).stdout
    assert "a.txt:1: warning: object-vanishes: 1.6 x 1.6 pixels at 640" in listed
    assert "a.txt:2" not in listed
    assert json.loads(samcli_run("verify", labels, "--imgsz", 1600, "--json").stdout)["findings"] == {}

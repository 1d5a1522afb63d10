"""Every label format holds one object for each object, whatever its mask looks like."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from label_samples import read_all, write_images, write_labels
from numpy.typing import NDArray

from samcli.masks import Mask
from samcli.types import Annotation, Instance

Pixels = NDArray[np.bool_]
HEIGHT, WIDTH = 50, 70


def nested() -> Pixels:
    """Holes within parts within holes, as far down as single pixels."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, half in enumerate(range(24, 0, -3)):
        cv2.rectangle(canvas, (35 - half, 25 - half), (35 + half, 25 + half), (number + 1) % 2, -1)
    return canvas.astype(bool)


def masks_of(seed: int) -> list[Pixels]:
    """Masks of one image that do not overlap: noise, single pixels, diagonals, frames, nested, at the borders."""
    rng = np.random.default_rng(seed)
    noise = rng.random((HEIGHT, WIDTH)) < rng.uniform(0.02, 0.9)
    whole = np.ones((HEIGHT, WIDTH), bool)
    frame = whole.copy()
    frame[1:-1, 1:-1] = False
    chess = (np.indices((HEIGHT, WIDTH)).sum(0) % 2).astype(bool)
    diagonal = np.eye(HEIGHT, WIDTH, dtype=bool)
    corner = np.zeros((HEIGHT, WIDTH), bool)
    corner[0, 0] = corner[-1, -1] = True
    shapes = [noise, nested(), frame, whole, chess, diagonal, corner]
    chosen = [shapes[index] for index in rng.permutation(len(shapes))[:2]]
    return [chosen[0], chosen[1] & ~chosen[0]]


def annotations() -> list[Annotation]:
    found = []
    for seed in range(6):
        masks = [Mask.from_pixels(pixels) for pixels in masks_of(seed) if pixels.any()]
        instances = tuple(Instance(mask, class_id) for class_id, mask in enumerate(masks))
        found.append(Annotation(f"{seed:02}.png", (HEIGHT, WIDTH), instances))
    dot = Instance(Mask.from_pixels(np.ones((1, 1), bool)), 0)
    return [*found, Annotation("dot.png", (1, 1), (dot,))]


@pytest.mark.parametrize(
    "name", ["yolo", "coco", "coco-polygon", "cvat", "labelme", "labelstudio", "voc", "png", "sa1b", "rle", "masks"]
)
def test_format__has_one_object_for_each(tmp_path: Path, name: str) -> None:
    wanted = annotations()
    images = write_images(tmp_path / "images", wanted)
    _, found = read_all(name, write_labels(name, tmp_path, wanted), images)
    assert {one.key: len(one.instances) for one in found} == {one.key: len(one.instances) for one in wanted}
    if name not in ("sa1b", "rle", "masks"):  # they have no classes
        assert [[i.class_id for i in one.instances] for one in found] == [
            [i.class_id for i in one.instances] for one in wanted
        ]

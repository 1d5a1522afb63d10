"""Pictures to measure on where none are given: seeded, with edges, textures and noise, as JPEG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.files import write_atomic
from samcli.types import Size

SIZE = (480, 640)
"""Height and width of a picture, as of many a data set."""

_SHAPES = 24
_QUALITY = 92


def draw_picture(seed: int, size: Size = SIZE) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: a gradient with ellipses and polygons on it, all slightly noisy."""
    rng = np.random.default_rng(seed)
    height, width = size
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
    pixels = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(_SHAPES):
        centre = rng.uniform(0, 1, 2) * (width, height)
        reach = float(rng.uniform(0.02, 0.2)) * min(size)
        colour = [float(value) for value in rng.integers(0, 256, 3)]
        if rng.random() < 0.5:
            axes = (max(1, int(reach)), max(1, int(reach * rng.uniform(0.3, 1))))
            middle = (int(centre[0]), int(centre[1]))
            cv2.ellipse(pixels, middle, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
            ring = centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(pixels, [ring.astype(np.int32)], colour, cv2.LINE_AA)
    grain = rng.normal(0, 6, (min(height, 512), min(width, 512), 1)).astype(np.float32)
    tiles = (-(-height // grain.shape[0]), -(-width // grain.shape[1]), 1)
    pixels += np.tile(grain, tiles)[:height, :width]
    picture: NDArray[np.uint8] = np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)
    return picture


def write_picture(path: Path, seed: int, size: Size = SIZE) -> Path:
    """Write a drawn picture as a JPEG file; return the path."""
    done, data = cv2.imencode(".jpg", draw_picture(seed, size)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"{size[1]} x {size[0]} pixels are too many for a JPEG file")
    write_atomic(path, data.tobytes())
    return path


def write_pictures(folder: Path, count: int, size: Size = SIZE) -> list[Path]:
    """Pictures 0.jpg, 1.jpg and so on in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_picture(folder / f"{index:05}.jpg", index, size) for index in range(count)]


def draw_boxes(count: int, size: Size) -> NDArray[np.float32]:
    """(count, 4) seeded xyxy boxes in pixels of an image of that size, each a tenth to a half of its sides."""
    rng = np.random.default_rng(count)
    sides = rng.uniform(0.1, 0.5, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], 1) * (size[1], size[0], size[1], size[0])
    return boxes.astype(np.float32)

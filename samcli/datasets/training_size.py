"""Objects that a trainer does not see at its training size: too small or too thin once it has reduced them.

A trainer scales the longer side of an image to the training size, pads the image to a square, draws each row there
and reduces the mask (Ultralytics' `load_image`, `LetterBox`, `polygons2masks`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.datasets.trainer_rows import Shape
from samcli.labels.yolo_rows import numbered_rows
from samcli.polygons import rasterise
from samcli.types import Size

MASK_RATIO = 4
"""By which a trainer reduces masks unless it is told otherwise."""

LEAST_BOX_SIDE = 2
"""Pixels at training size: a trainer's augmentation leaves out boxes of no more width or height."""

Ring = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingFrame:
    """Placement of an image in the square that a trainer pads it to: size, and padding at the top and left."""

    size: Size
    top: int
    left: int

    @classmethod
    def of(cls, image_size: Size, training_size: int) -> TrainingFrame:
        """Return the place of an image without augmentation."""
        scale = training_size / max(image_size)
        high, wide = (min(math.ceil(side * scale), training_size) for side in image_size)
        top, left = (round((training_size - side) / 2 - 0.1) for side in (high, wide))
        return cls((high, wide), top, left)


def vanishing_rows(data: bytes, shape: Shape, image_size: Size, training_size: int) -> Iterator[tuple[int, str]]:
    """Yield the line and the reason for each row of a sound label file that a trainer does not see at that size."""
    frame = TrainingFrame.of(image_size, training_size)
    high, wide = frame.size
    rows = [(line, np.array(text.split()[1:], np.float64)) for line, text in numbered_rows(data)]
    rings = [values.reshape(-1, 2) if shape == "polygons" else _corners(values) for _, values in rows]
    longest = max(map(len, rings), default=0)
    for (line, _), ring in zip(rows, rings, strict=True):
        width, height = (ring.max(0) - ring.min(0)) * (wide, high)
        if min(width, height) <= LEAST_BOX_SIDE:
            yield line, f"{width:.1f} x {height:.1f} pixels at {training_size}, which augmentation leaves out"
        elif shape == "polygons" and not _has_pixels(ring, frame, longest):
            yield line, f"no pixel of its mask at {training_size}, mask ratio {MASK_RATIO}"


def _corners(box: Sequence[float] | NDArray[np.float64]) -> Ring:
    x, y, width, height = box
    return np.array([(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)])


def _has_pixels(ring: Ring, frame: TrainingFrame, longest: int) -> bool:
    """Return whether a pixel of the reduced mask is left. Only the cells that the row lies in are drawn."""
    high, wide = frame.size
    shift = np.array((frame.left, frame.top))
    first = np.floor((ring.min(0) * (wide, high) - 1 + shift) / MASK_RATIO) * MASK_RATIO - shift
    last = np.ceil((ring.max(0) * (wide, high) + 2 + shift) / MASK_RATIO) * MASK_RATIO - shift
    left, top, right, bottom = (int(value) for value in (*first, *last))
    drawn = rasterise([ring], high, wide, (left, top, right, bottom), longest=longest)
    cells = (drawn.shape[1] // MASK_RATIO, drawn.shape[0] // MASK_RATIO)
    return bool(cv2.resize(drawn.view(np.uint8), cells).any())

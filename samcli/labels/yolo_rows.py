"""A row of YOLO's label files: what it says. Prompts, conversion and evaluation all read rows here.

`class x y w h` is a box, `class x1 y1 x2 y2 x3 y3 ...` a polygon, either with a score at its end as detectors
write it with `save_conf`; all in shares of the image's size. What a trainer makes of rows: `datasets/trainer_rows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samcli.labels.class_names import MAX_CLASS_ID
from samcli.types import Size

if TYPE_CHECKING:
    from samcli.masks import Mask

TOLERANCE = 0.01
"""Shares of the image may be out of 0..1 by so much, from rounding: the same as Ultralytics' trainer takes."""

ROW = "'class x y w h' or 'class x1 y1 x2 y2 x3 y3 ...'"
_BOX_VALUES = 4
_LEAST_POLYGON_VALUES = 6


@dataclass(frozen=True, slots=True)
class YoloRow:
    """One object. `values`: x, y, w, h of a box (by its centre), or x, y of each point, in shares."""

    class_id: int
    values: tuple[float, ...]
    score: float | None

    @property
    def is_box(self) -> bool:
        """Return whether there is no polygon."""
        return len(self.values) == _BOX_VALUES

    def box(self, image_size: Size) -> tuple[float, float, float, float] | None:
        """xyxy in pixels; by rounding it may reach over the edge. Of a polygon: that of its pixels."""
        if not self.is_box:
            box = self.mask(image_size).box
            return None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        height, width = image_size
        x, y, w, h = self.values
        return (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height

    def points(self) -> NDArray[np.float64]:
        """Return the points of a polygon, (K, 2), normalised."""
        return np.array(self.values, np.float64).reshape(-1, 2)

    def mask(self, image_size: Size) -> Mask:
        """Return the pixels of a polygon as a trainer draws them, or all pixels of a box.

        Raises:
            ValueError: it lies outside of the image.
        """
        from samcli.labels.shapes import box_mask, polygon_mask  # brings OpenCV, which judging rows does without

        box = self.box(image_size) if self.is_box else None
        return polygon_mask([self.points()], image_size) if box is None else box_mask(box, image_size)

    def scaled(self, x: float, y: float) -> YoloRow:
        """Itself: shares are of any size."""
        return self


def numbered_rows(data: bytes) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines that are not blank.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line


def read_row(line: str) -> YoloRow:
    """Return the object on a line.

    Raises:
        ValueError: it is no such row; says what was found and what was expected.
    """
    words = line.split()
    class_id = read_class_id(words[0])
    shares = [_share(word) for word in words[1:]]
    score = shares.pop() if len(shares) % 2 else None
    if len(shares) < _LEAST_POLYGON_VALUES and len(shares) != _BOX_VALUES:
        raise ValueError(f"{len(words)} values; expected {ROW}")
    if len(shares) == _BOX_VALUES and min(shares[2:]) <= 0:
        raise ValueError(f"box of {shares[2]:g}, {shares[3]:g} of the image; expected a width and height above 0")
    return YoloRow(class_id, tuple(shares), score)


def read_class_id(word: str) -> int:
    """Return a whole number; some tools write it as `0.0`.

    Raises:
        ValueError: it is none, or larger than any class id.
    """
    value = _number(word)
    if not 0 <= value <= MAX_CLASS_ID or value != int(value):
        raise ValueError(f"class '{word:.40}'; expected a whole number from 0 to {MAX_CLASS_ID}")
    return int(value)


def _share(word: str) -> float:
    value = _number(word)
    if not -TOLERANCE <= value <= 1 + TOLERANCE:
        raise ValueError(f"'{word:.40}'; expected numbers from 0 to 1, shares of the image's size")
    return value


def _number(word: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(word)
    except ValueError:
        return math.nan

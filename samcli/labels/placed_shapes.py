"""Shapes of `labels.objects` beside boxes, shares and pixels: polygons in pixels, turned rectangles, ellipses.

All hold pixels of an image whose size need not be known before they are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from samcli.labels.objects import XYXY, Box, Pixels, Rings, Shape, box_of
from samcli.labels.shapes import Floats, Placed, ellipse_mask, number, polygon_mask, rectangle_mask
from samcli.masks import Mask
from samcli.types import Size

_SAME_PLACE = 1.0
"""Pixels that a corner may be off for four points to be a rectangle: tools round them."""


_FARTHEST = 1e7
"""Corners farther away, in pixels, are no rectangle's."""


@dataclass(frozen=True, slots=True)
class PixelRings:
    """Polygons (K, 2) in pixels, 0 at the left edge of the first, drawn as a YOLO trainer does."""

    rings: tuple[Floats, ...]
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return polygon_mask([ring / image_size[::-1] for ring in self.rings], image_size)

    def scaled(self, x: float, y: float) -> PixelRings:
        """See Shape."""
        return PixelRings(tuple(ring * (x, y) for ring in self.rings))


@dataclass(frozen=True, slots=True)
class TurnedBox:
    """A rectangle that is turned."""

    placed: Placed
    is_box = False

    def box(self, image_size: Size) -> XYXY:
        """See Shape."""
        corners = self.corners()
        (x1, y1), (x2, y2) = corners.min(0).tolist(), corners.max(0).tolist()
        return x1, y1, x2, y2

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return rectangle_mask(self.placed, image_size)

    def scaled(self, x: float, y: float) -> Shape:
        """See Shape. Stretched, it is no rectangle any more."""
        return quadrilateral(self.corners() * (x, y))

    def corners(self) -> Floats:
        """(4, 2) x, y: from its own upper left clockwise."""
        turn, shape = math.radians(self.placed.degrees % 360), self.placed
        along = shape.half_width * np.array([math.cos(turn), math.sin(turn)])
        down = shape.half_height * np.array([-math.sin(turn), math.cos(turn)])
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
        corners: Floats = np.array([shape.x, shape.y]) + signs @ np.array([along, down])
        return corners


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse, maybe turned."""

    placed: Placed
    is_box = False

    def box(self, image_size: Size) -> XYXY:
        """See Shape."""
        half = np.hypot(*self._axes())
        x, y = self.placed.x, self.placed.y
        return x - float(half[0]), y - float(half[1]), x + float(half[0]), y + float(half[1])

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return ellipse_mask(self.placed, image_size)

    def scaled(self, x: float, y: float) -> Ellipse:
        """See Shape. Stretched, it is an ellipse with other axes."""
        directions, lengths, _ = np.linalg.svd((self._axes() * (x, y)).T)
        degrees = math.degrees(math.atan2(directions[1, 0], directions[0, 0]))
        half_width, half_height = lengths.tolist()
        return Ellipse(Placed(self.placed.x * x, self.placed.y * y, half_width, half_height, degrees))

    def _axes(self) -> Floats:
        """(2, 2): x, y from the centre to the end of each half axis."""
        turn, shape = math.radians(self.placed.degrees % 360), self.placed
        cos, sin = math.cos(turn), math.sin(turn)
        half = [
            [shape.half_width * cos, shape.half_width * sin],
            [-shape.half_height * sin, shape.half_height * cos],
        ]
        axes: Floats = np.array(half, np.float64)
        return axes


@dataclass(frozen=True, slots=True)
class Union:
    """Several shapes that are one object."""

    parts: tuple[Shape, ...]
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape. Parts outside of the image draw nothing where others lie in it."""
        from pycocotools import mask as coco

        masks, problem = [], None
        for part in self.parts:
            try:
                masks.append(part.mask(image_size).to_coco())
            except ValueError as error:
                problem = error
        if problem is not None and not masks:
            raise problem
        return Mask.from_coco(coco.merge(masks))

    def scaled(self, x: float, y: float) -> Union:
        """See Shape."""
        return Union(tuple(part.scaled(x, y) for part in self.parts))


def turned_box(placed: Placed) -> Shape:
    """Return a rectangle, as a plain box where it is not turned."""
    if placed.degrees % 90:
        return TurnedBox(placed)
    half = placed.half_width, placed.half_height
    x, y = half if not placed.degrees % 180 else half[::-1]
    return Box((placed.x - x, placed.y - y, placed.x + x, placed.y + y))


def turn_in_attribute(value: object) -> float:
    """Return the degrees that CVAT writes into an attribute `rotation`; 0 of what is no number."""
    try:
        return number(value, "rotation")
    except ValueError:
        return 0.0


def turned_by(box: XYXY, degrees: float) -> Shape:
    """Return a box (xyxy) turned clockwise about its centre."""
    if not degrees % 360:
        return Box(box)
    x1, y1, x2, y2 = box
    return turned_box(Placed((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2, degrees))


def quadrilateral(corners: Floats) -> Shape:
    """Four corners in order: a rectangle, turned or not, where they are one, else a polygon."""
    if np.abs(corners).max() <= _FARTHEST:
        (x, y), along, down = corners.mean(0), corners[1] - corners[0], corners[2] - corners[1]
        width, height = float(np.hypot(*along)), float(np.hypot(*down))
        if width > 0 and height > 0:
            degrees = math.degrees(math.atan2(along[1], along[0]))
            turned = TurnedBox(Placed(float(x), float(y), width / 2, height / 2, degrees))
            clockwise = np.cross([*along, 0], [*down, 0])[2] > 0
            own = turned.corners() if clockwise else turned.corners()[[3, 2, 1, 0]]
            if np.abs(own - corners).max() <= _SAME_PLACE:
                return turned_box(turned.placed)
    return PixelRings((corners,))


def union_of(shapes: Sequence[Shape]) -> Shape:
    """One shape of one or more."""
    if len(shapes) == 1:
        return shapes[0]
    if all(isinstance(shape, Rings) for shape in shapes):
        return Rings(tuple(ring for shape in shapes if isinstance(shape, Rings) for ring in shape.rings))
    return Union(tuple(shapes))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pixels that are decoded when somebody asks, by what knows how to: `decode(image size)`."""

    decode: Callable[[Size], Mask]
    size: Size | None
    """(height, width) of the image that they were made in, where it is known."""
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return self.decode(image_size)

    def scaled(self, x: float, y: float) -> Pixels:
        """See Shape."""
        if self.size is None:
            raise ValueError("the mask cannot be scaled: the labels do not state the size of its image")
        return Pixels(self.mask(self.size)).scaled(x, y)

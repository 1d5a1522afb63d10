"""Tiles: equal squares that overlap and cover an image, for networks that see all of it too small."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcli.masks import Box
from samcli.types import Image, Size

LARGE = 2
"""`--tile auto` tiles images whose longer side is more than so many times the tile's."""

_MARGIN = 0.1
"""Share of an object's longer side that its view shows around it, at least."""


@dataclass(frozen=True)
class Tiling:
    """Division of images into tiles.

    `side`: of a tile, in pixels. `overlap`: of neighbours, at least this share of the side.
    `longest`: images whose longer side is not longer than this are taken whole.
    """

    side: int
    overlap: float
    longest: int

    def applies_to(self, size: Size) -> bool:
        """Return whether an image of this size is tiled."""
        return max(size) > self.longest

    def tiles(self, size: Size) -> list[Box]:
        """Return the tiles of an image, row by row: evenly spaced, none reaches beyond the image."""
        height, width = size
        rows, columns = self._spans(height), self._spans(width)
        return [(left, top, right, bottom) for (top, bottom), (left, right) in itertools.product(rows, columns)]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        if length <= self.side:
            return [(0, length)]
        step = max(int(self.side * (1 - self.overlap)), 1)
        count = math.ceil((length - self.side) / step) + 1
        starts = [round(index * (length - self.side) / (count - 1)) for index in range(count)]
        return [(start, start + self.side) for start in starts]

    def around(self, box: tuple[float, float, float, float], size: Size) -> Box:
        """Return the tile, moved into the image, in whose middle a box lies."""
        spans = []
        for low, high, length in ((box[0], box[2], size[1]), (box[1], box[3], size[0])):
            start = min(max(round((low + high - self.side) / 2), 0), max(length - self.side, 0))
            spans.append((start, min(start + self.side, length)))
        (left, right), (top, bottom) = spans
        return left, top, right, bottom


def cut_out(image: Image, tile: Box) -> Image:
    """Return a part of an image as an image of its own; its pixels are not copied."""
    left, top, right, bottom = tile
    return Image(image.ref, image.pixels[top:bottom, left:right])


def choose_views(
    boxes: NDArray[np.float64], tiling: Tiling, size: Size, *, with_grid: bool = True
) -> dict[Box | None, list[int]]:
    """Return for each view the boxes (N, 4) that are looked at there; None: the whole image.

    A box goes into the tile of the grid in which it is farthest from the borders that cut the image. One that has
    too little around it in each of them goes into a tile around it, and one that fits no tile into the whole image.
    `with_grid`: False for tiles around boxes alone.
    """
    tiles = tiling.tiles(size) if with_grid else []
    views: dict[Box | None, list[int]] = {}
    for index, box in enumerate(boxes):
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        wanted = _MARGIN * longer
        view = _best(box, tiles, size, wanted)
        if view is None and longer + 2 * wanted <= tiling.side:
            view = tiling.around((box[0], box[1], box[2], box[3]), size)
            tiles.append(view)
        views.setdefault(view, []).append(index)
    return views


def _best(box: NDArray[np.float64], tiles: Sequence[Box], size: Size, wanted: float) -> Box | None:
    """Return the tile that shows most around a box, the first of equals; None if none shows `wanted` pixels."""
    if not tiles:
        return None
    edges = np.array(tiles, np.float64)
    height, width = size
    outer = edges == np.array([0, 0, width, height])  # beyond the image's own border there is nothing to see
    room = np.where(outer, np.inf, (box - edges) * np.array([1, 1, -1, -1])).min(1)
    best = int(room.argmax())
    return tiles[best] if room[best] >= wanted else None

"""SAM on parts of large images: each prompt is answered in the tile in which its object lies best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samcli.config import AnswerOptions, TileOptions
from samcli.images.tiling import LARGE, Tiling, choose_views
from samcli.jobs.segmenting import Encoder, ask
from samcli.jobs.worker import StageClock
from samcli.masks import Box, Mask
from samcli.types import Embedding, Image, Prompts, Segment, Size

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

_BORDER = 2
"""Pixels from a view's border within which a mask is taken to be cut off."""


def open_tiling(options: TileOptions, *inputs: int) -> Tiling | None:
    """Return the tiling that the options name; None: images are taken whole.

    `inputs`: the sides of the networks' inputs in pixels, the largest of which is the tile of `auto`.
    """
    if options.tile is None:
        return None
    if options.tile == "auto":
        side = max(inputs)
        return Tiling(side, options.tile_overlap, LARGE * side)
    side = int(options.tile)
    return Tiling(side, options.tile_overlap, side)


@dataclass(frozen=True)
class Seen:
    """A mask in the frame of the image, and the part of the image that the network saw; None: all of it."""

    segment: Segment
    view: Box | None


class TiledAsker:
    """Asks SAM for masks in views of an image, one view at a time: memory does not grow with the image."""

    def __init__(
        self, engine: Engine, encoder: Encoder, tiling: Tiling, options: AnswerOptions, clock: StageClock
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._tiling = tiling
        self._options = options
        self._clock = clock

    def applies_to(self, image: Image) -> bool:
        """Return whether an image is seen in parts."""
        return self._tiling.applies_to(image.image_size)

    def ask(self, image: Image, prompts: Prompts, *, multimask: bool = False) -> list[Seen]:
        """Return the masks of N objects in the order of the objects; see `segmenting.ask`.

        A mask that reaches the border of its view is asked for again in the whole image.
        """
        views: dict[Box | None, list[int]] = {None: list(range(len(prompts)))}
        if prompts.mask_logits is None:  # a mask to start from is one of the whole image
            views = choose_views(extents(prompts), self._tiling, image.image_size)
        found: list[Seen] = []
        again: list[int] = []
        for view, members in views.items():
            if view is None:
                again += members
                continue
            seen = list(self._in_view(image, view, prompts, members, multimask))
            cut = {one.segment.prompt for one in seen if _is_cut(one.segment.mask, view, image.image_size)}
            again += [index for index in members if index in cut]
            found += [one for one in seen if one.segment.prompt not in cut]
        if again:
            found += self._in_view(image, None, prompts, sorted(again), multimask)
        return sorted(found, key=lambda one: one.segment.prompt)  # stable: several of one object stay in order

    def _in_view(
        self, image: Image, view: Box | None, prompts: Prompts, members: Sequence[int], multimask: bool
    ) -> Iterator[Seen]:
        embedding = self._embedding(image, view)
        left, top = view[:2] if view else (0, 0)
        with self._clock.measure("segment"):
            mine = moved(prompts, members, (left, top))
            segments = ask(self._engine, embedding, mine, self._options, multimask=multimask)
        for segment in segments:
            mask = segment.mask.placed((left, top), image.image_size) if view else segment.mask
            yield Seen(replace(segment, prompt=members[segment.prompt], mask=mask), view)

    def _embedding(self, image: Image, view: Box | None) -> Embedding:
        return self._encoder.encode([image])[0] if view is None else self._encoder.encode_tile(image, view)


def extents(prompts: Prompts) -> NDArray[np.float64]:
    """Return what is known of where each object lies, boxes (N, 4): its box, or that of its foreground points."""
    if prompts.boxes is not None:
        return prompts.boxes.astype(np.float64)
    assert prompts.points is not None and prompts.point_labels is not None
    inside = prompts.point_labels[..., None] == 1
    inside = np.where(inside.any(1, keepdims=True), inside, prompts.point_labels[..., None] >= 0)
    points = prompts.points.astype(np.float64)
    low, high = np.where(inside, points, np.inf).min(1), np.where(inside, points, -np.inf).max(1)
    return np.concatenate([low, high], 1)


def moved(prompts: Prompts, members: Sequence[int], corner: tuple[int, int]) -> Prompts:
    """Return some of the prompts in the frame of a view whose (left, top) corner is given.

    Masks to start from are of the whole image, and stay as they are.
    """
    index = np.array(members)
    left, top = corner
    boxes = None if prompts.boxes is None else prompts.boxes[index] - np.array([left, top, left, top], np.float32)
    points = None if prompts.points is None else prompts.points[index] - np.array([left, top], np.float32)
    labels = None if prompts.point_labels is None else prompts.point_labels[index]
    logits = None if prompts.mask_logits is None else prompts.mask_logits[index]
    return Prompts(boxes=boxes, points=points, point_labels=labels, mask_logits=logits)


def _is_cut(mask: Mask, view: Box, size: Size) -> bool:
    """Return whether a mask reaches a border of its view that is not the image's own."""
    if mask.box is None:
        return False
    height, width = size
    ends = zip(mask.box, view, (0, 0, width, height), strict=True)
    return any(abs(place - edge) <= _BORDER and edge != own for place, edge, own in ends)

"""A detector on overlapping tiles and on the whole image: small things in large pictures, each of them once.

Two kinds of boxes are told apart. A box that touches a border of its tile inside the image is cut: it may show a
part of an object. All others show whole objects, and NMS by IoU, class by class, decides between them, as in one
image. A cut box is left out where a whole box of the same class covers more than half of it, or one of any class
is alike as far as the tile shows it: half a circle may pass for something else. Cut boxes of one class in
neighbouring tiles that agree where the tiles overlap become one. So an object is found once, wherever borders lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcli.detectors.base import Detector
from samcli.images.tiling import Tiling, cut_out
from samcli.masks import Box, Mask
from samcli.types import Detections, Image, Size

_BORDER = 0.01
"""Share of a tile's side within which a box counts as touching the border."""
_COVERED = 0.5
"""Share of a cut box that another must cover to show the same object, and IoU of two parts of one."""
_AT_ONCE = 8
"""Tiles that a detector gets together."""


class TiledDetector:
    """A detector that sees large images tile by tile as well as whole."""

    def __init__(
        self,
        detector: Detector,
        tiling: Tiling,
        iou: float,
        wanted: Callable[[Image, Box], bool] = lambda image, tile: True,
    ) -> None:
        """`iou`: boxes of one class that overlap by more than this are one object, as for the detector's NMS.

        `wanted`: whether a tile of an image is looked at.
        """
        self.names = detector.names
        self._detector = detector
        self._tiling = tiling
        self._iou = iou
        self._wanted = wanted

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector."""
        whole = self._detector.detect(images)
        return [
            self._with_tiles(image, found) if self._tiling.applies_to(image.image_size) else found
            for image, found in zip(images, whole, strict=True)
        ]

    def _with_tiles(self, image: Image, whole: Detections) -> Detections:
        tiles = [tile for tile in self._tiling.tiles(image.image_size) if self._wanted(image, tile)]
        found = [whole]
        cut = [np.zeros(len(whole), bool)]
        seen_in: list[Box] = [(0, 0, image.image_size[1], image.image_size[0])] * len(whole)
        for start in range(0, len(tiles), _AT_ONCE):
            some = tiles[start : start + _AT_ONCE]
            for tile, inside in zip(
                some, self._detector.detect([cut_out(image, tile) for tile in some]), strict=True
            ):
                placed = _placed(inside, tile, image.image_size)
                found.append(placed)
                cut.append(_is_cut(placed.boxes, tile, image.image_size, _BORDER * self._tiling.side))
                seen_in += [tile] * len(placed)
        return _merged(_joined(found), np.concatenate(cut), np.array(seen_in, np.float64).reshape(-1, 4), self._iou)


def _placed(found: Detections, tile: Box, size: Size) -> Detections:
    """Return the detections of a tile, in pixels of the image."""
    left, top = tile[:2]
    masks = None if found.masks is None else tuple(mask.placed((left, top), size) for mask in found.masks)
    return Detections(
        found.boxes + np.array([left, top, left, top], np.float32), found.class_ids, found.scores, masks
    )


def _is_cut(boxes: NDArray[np.float32], tile: Box, size: Size, margin: float) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) touch a border of their tile inside the image, bool (N,)."""
    left, top, right, bottom = tile
    height, width = size
    near = np.stack(
        [
            (boxes[:, 0] < left + margin) & (left > 0),
            (boxes[:, 1] < top + margin) & (top > 0),
            (boxes[:, 2] > right - margin) & (right < width),
            (boxes[:, 3] > bottom - margin) & (bottom < height),
        ]
    )
    return np.asarray(near.any(0))


def _joined(found: Sequence[Detections]) -> Detections:
    masks = None
    if all(one.masks is not None for one in found):
        masks = tuple(itertools.chain.from_iterable(one.masks or () for one in found))
    boxes, class_ids, scores = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("boxes", "class_ids", "scores")
    )
    return Detections(boxes, class_ids, scores, masks)


def _merged(found: Detections, cut: NDArray[np.bool_], tiles: NDArray[np.float64], iou: float) -> Detections:
    """Each object once, best score first. `cut` (N,), `tiles` (N, 4): where each was seen."""
    boxes, order = found.boxes.astype(np.float64), np.argsort(-found.scores, kind="stable")
    by_class = [order[found.class_ids[order] == class_id] for class_id in np.unique(found.class_ids)]
    whole = [_nms(boxes, mine[~cut[mine]], iou) for mine in by_class]
    every = boxes[list(itertools.chain.from_iterable(whole))]
    kept = [_Object((index,)) for index in itertools.chain.from_iterable(whole)]
    for mine, others in zip(by_class, whole, strict=True):
        parts = [
            index
            for index in mine[cut[mine]].tolist()
            if not _is_covered(boxes[index], boxes[others]) and not _is_part(boxes[index], tiles[index], every)
        ]
        kept += [_Object(members) for members in _groups(boxes, tiles, parts)]
    kept.sort(key=lambda one: (-found.scores[list(one.members)].max(), one.members))
    return Detections(
        np.array([one.box(boxes) for one in kept]),
        np.array([found.class_ids[one.members[0]] for one in kept]),
        np.array([found.scores[list(one.members)].max() for one in kept]),
        None if found.masks is None else tuple(one.mask(found.masks) for one in kept),
    )


@dataclass(frozen=True)
class _Object:
    """One object: positions of the boxes that show it, of which several are parts of it."""

    members: tuple[int, ...]

    def box(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        part = boxes[list(self.members)]
        return np.concatenate([part[:, :2].min(0), part[:, 2:].max(0)])

    def mask(self, masks: Sequence[Mask]) -> Mask:
        first = masks[self.members[0]]
        if len(self.members) == 1:
            return first
        corners = [box for index in self.members if (box := masks[index].box)]
        if not corners:
            return first
        left, top = (min(box[i] for box in corners) for i in (0, 1))
        right, bottom = (max(box[i] for box in corners) for i in (2, 3))
        pixels = np.zeros((bottom - top, right - left), bool)
        for index in self.members:
            part, (x1, y1, x2, y2) = masks[index].crop()
            pixels[y1 - top : y2 - top, x1 - left : x2 - left] |= part
        return Mask.from_pixels(pixels, (left, top), (first.height, first.width))


def _nms(boxes: NDArray[np.float64], order: NDArray[np.int64], iou: float) -> list[int]:
    """Those of `order`, best first, that overlap no better one by more than `iou`."""
    kept: list[int] = []
    for index in order.tolist():
        common = _common(boxes[kept], boxes[index])
        if (common <= iou * (_area(boxes[kept]) + _area(boxes[index]) - common)).all():
            kept.append(index)
    return kept


def _is_covered(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return whether one of the others covers more than half of the box."""
    return bool((_common(others, box) > _COVERED * _area(box)).any())


def _is_part(box: NDArray[np.float64], tile: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return whether one of the others is alike, as far as the box's tile shows it."""
    seen = np.concatenate(
        [np.clip(others[:, :2], tile[:2], tile[2:]), np.clip(others[:, 2:], tile[:2], tile[2:])], 1
    )
    common = _common(seen, box)
    return bool((common > _COVERED * (_area(seen) + _area(box) - common)).any())


def _groups(boxes: NDArray[np.float64], tiles: NDArray[np.float64], parts: Sequence[int]) -> list[tuple[int, ...]]:
    """Cut boxes grouped by object: two show the same where they agree in what both of their tiles show."""
    groups = {index: {index} for index in parts}
    for one, other in itertools.combinations(parts, 2):
        if groups[one] is not groups[other] and _agree(boxes[[one, other]], tiles[[one, other]]):
            together = groups[one] | groups[other]
            groups.update(dict.fromkeys(together, together))
    return list(dict.fromkeys(tuple(sorted(group)) for group in groups.values()))


def _agree(boxes: NDArray[np.float64], tiles: NDArray[np.float64]) -> bool:
    """Return whether two boxes, each from its own tile, are alike where both tiles look."""
    if (tiles[0] == tiles[1]).all():
        return False
    low, high = tiles[:, :2].max(0), tiles[:, 2:].min(0)
    seen = np.concatenate([np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)], 1)
    common = float(_common(seen[:1], seen[1])[0])
    union = float(_area(seen).sum()) - common
    return union > 0 and common > _COVERED * union


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides.prod(-1))


def _common(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that each of the boxes (N, 4) has in common with one."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    return np.asarray(np.maximum(sides, 0).prod(1))

"""Everything mode: a grid of clicks, three masks each, filters, and what overlaps is one.

The algorithm, its options and the order of its results are those of segment-anything's
`SamAutomaticMaskGenerator`; masks below the predicted-IoU threshold are not upsampled, with the same result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.checkpoints.torchvision_setup import import_torchvision
from samcli.config import MaskGeneratorOptions
from samcli.errors import UsageError
from samcli.images.tiling import Tiling, choose_views, cut_out
from samcli.masks import Mask
from samcli.types import Embedding, Image, Instance, Prompts, Quality, Segment, Size

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

CropBox = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels, x2 and y2 exclusive."""

_NEAR_EDGE = 20
"""Pixels from a crop's own edge within which a mask is taken to be cut off."""

Encode = Callable[[Sequence[Image]], list[Embedding]]


@dataclass(frozen=True)
class Candidate:
    """A mask that came of one click: where the click was, and which part of the image the network saw.

    `box`: as segment-anything has it, ending at the last pixel, not behind it; (0, 0, 0, 0) for an empty mask.
    """

    segment: Segment
    point: tuple[float, float]
    crop_box: CropBox
    embedding: Embedding | None = None

    @property
    def mask(self) -> Mask:
        return self.segment.mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        left, top, right, bottom = self.mask.box or (0, 0, 1, 1)
        return left, top, right - 1, bottom - 1

    def with_mask(self, mask: Mask) -> Candidate:
        """Return the same with another mask."""
        return replace(self, segment=replace(self.segment, mask=mask))


@dataclass(frozen=True)
class Places:
    """Places in which everything mode searches for objects.

    `grids`: (N, 2) points in 0..1 for each layer of crops, instead of `points_per_side`. `wanted`: which points
    (N, 2) in pixels of the image are clicked; None: all. `tiling`: large images are also searched tile by tile, as
    layer 1, instead of crops. `encode`: where the whole image's embedding comes from, `encode_tile`: where a tile's
    does; by default from the engine.
    """

    grids: Sequence[NDArray[np.float64]] | None = None
    encode: Encode | None = None
    wanted: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None
    tiling: Tiling | None = None
    encode_tile: Callable[[Image, CropBox], Embedding] | None = None

    def crops(self, size: Size, options: MaskGeneratorOptions) -> list[tuple[CropBox, int]]:
        """Return the parts of an image that are searched, the whole of it first, each with its layer."""
        crops = crop_boxes(size, options.crop_n_layers, options.crop_overlap_ratio)
        if self.tiling is None or not self.tiling.applies_to(size):
            return crops
        return [*crops[:1], *((tile, 1) for tile in self.tiling.tiles(size))]

    def points(self, grid: NDArray[np.float64], crop_box: CropBox) -> NDArray[np.float64]:
        """Return the clicks (N, 2) in pixels of a part of an image."""
        left, top, right, bottom = crop_box
        points = grid * (right - left, bottom - top)
        return points if self.wanted is None else points[self.wanted(points + (left, top))]


def everything(
    engine: Engine,
    image: Image,
    options: MaskGeneratorOptions | None = None,
    *,
    grids: Sequence[NDArray[np.float64]] | None = None,
    encode: Encode | None = None,
    places: Places | None = None,
) -> list[Instance]:
    """Return all objects of an image, best first, as `SamAutomaticMaskGenerator.generate` finds them.

    `places`: where to look; `grids` and `encode` are short for places with these alone.

    Each instance carries its click, the crop that the network saw, predicted IoU and stability; class 0.
    """
    found = find_candidates(engine, image, options, places or Places(grids, encode))
    return [to_instance(candidate, image.image_size) for candidate in found]


def find_candidates(
    engine: Engine,
    image: Image,
    options: MaskGeneratorOptions | None = None,
    places: Places | None = None,
    *,
    return_logits: bool = False,
) -> list[Candidate]:
    """Return the candidates of `everything`, before they become instances."""
    options, places = options or MaskGeneratorOptions(), places or Places()
    nms = mask_nms if options.nms == "mask" else box_nms
    settings = Settings.of(options, engine.defaults)
    crops = places.crops(image.image_size, options)
    layers = max(options.crop_n_layers, crops[-1][1])
    grids = places.grids or layer_grids(int(settings.points_per_side), options, layers)
    parts = [_Part(box, layer, places.points(grids[min(layer, len(grids) - 1)], box)) for box, layer in crops]
    search = _Search(engine, image, settings, options, places, nms, return_logits)
    found, cut = search.in_parts(parts)
    found += search.between_tiles(cut, found)
    if len(crops) > 1:  # of the same mask in two crops the one from the smaller crop
        found = [found[i] for i in nms(found, [1 / _area(c.crop_box) for c in found], options.crop_nms_thresh)]
    if options.min_mask_region_area:
        found = _cleaned(found, options, nms)
    if options.exclusive:
        owned = exclusive([candidate.mask for candidate in found])
        found = [candidate.with_mask(mask) for candidate, mask in zip(found, owned, strict=True) if mask.area]
    return found


@dataclass(frozen=True)
class Settings:
    """The options that suit each network differently: as given, else as the weights' file says, else Meta's."""

    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95

    @classmethod
    def of(cls, options: MaskGeneratorOptions, defaults: Mapping[str, float]) -> Settings:
        """`defaults`: what the weights' file says."""
        names = [entry.name for entry in fields(cls)]
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        return cls(**{**{name: defaults[name] for name in names if name in defaults}, **given})


def layer_grids(points_per_side: int, options: MaskGeneratorOptions, layers: int) -> list[NDArray[np.float64]]:
    """Evenly spaced points for the image and so many layers of crops, fewer a side in deeper ones.

    Raises:
        UsageError: none are left in the deepest.
    """
    factor = options.crop_n_points_downscale_factor
    sides = [int(points_per_side / factor**layer) for layer in range(layers + 1)]
    if sides[-1] < 1:
        raise UsageError(
            f"--points-per-side {points_per_side} with --crop-n-points-downscale-factor {factor} leaves no point "
            f"in layer {layers} of the crops: give more points, or fewer layers"
        )
    return [point_grid(side) for side in sides]


def point_grid(side: int) -> NDArray[np.float64]:
    """(side * side, 2) x, y in 0..1: the centres of side x side cells, row by row."""
    margin = 1 / (2 * side)
    places = np.linspace(margin, 1 - margin, side)
    return np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)


def crop_boxes(size: Size, layers: int, overlap_ratio: float) -> list[tuple[CropBox, int]]:
    """Return the whole image, then for each layer 2^layer x 2^layer overlapping crops; each with its layer.

    Crops without a pixel, which an image of a few pixels has, are left out.
    """
    height, width = size
    crops: list[tuple[CropBox, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        crop_width, crop_height = (
            math.ceil((overlap * (count - 1) + length) / count) for length in (width, height)
        )
        lefts, tops = ([(length - overlap) * i for i in range(count)] for length in (crop_width, crop_height))
        crops += [
            ((left, top, min(left + crop_width, width), min(top + crop_height, height)), layer)
            for left, top in itertools.product(lefts, tops)
            if left < width and top < height
        ]
    return crops


def _area(box: CropBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _embeddings(
    engine: Engine,
    image: Image,
    crops: Sequence[tuple[CropBox, int]],
    encode: Encode | None,
    encode_tile: Callable[[Image, CropBox], Embedding] | None = None,
) -> Iterator[Embedding]:
    """Yield the embedding of the whole image, if it is asked for, then of the crops.

    Crops are batched on a GPU, and come one at a time on a CPU or from a store.
    """
    whole = [box for box, layer in crops if not layer]
    boxes = [box for box, layer in crops if layer]
    if whole:
        yield (encode or engine.encode)([image])[0]
    if encode_tile is not None:
        yield from (encode_tile(image, box) for box in boxes)
        return
    at_once = 1 if engine.device.type == "cpu" else 8
    for start in range(0, len(boxes), at_once):
        yield from engine.encode([cut_out(image, box) for box in boxes[start : start + at_once]])


@dataclass(frozen=True)
class _Part:
    """A part of the image that is searched: clicks (N, 2) in pixels of the part."""

    box: CropBox
    layer: int
    points: NDArray[np.float64]


@dataclass(frozen=True)
class _Search:
    """One image, and what counts as a find in it."""

    engine: Engine
    image: Image
    settings: Settings
    options: MaskGeneratorOptions
    places: Places
    nms: Nms
    return_logits: bool

    def in_parts(self, parts: Sequence[_Part]) -> tuple[list[Candidate], list[Candidate]]:
        """Return what is found in parts of the image, best first in each, and what the borders of tiles cut off."""
        found: list[Candidate] = []
        cut: list[Candidate] = []
        parts = [part for part in parts if len(part.points)]
        crops = [(part.box, part.layer) for part in parts]
        embeddings = _embeddings(self.engine, self.image, crops, self.places.encode, self.places.encode_tile)
        for embedding, part in zip(embeddings, parts, strict=True):
            inside, cut_off = self._click(embedding, part)
            found += self._best(inside)
            cut += self._best(cut_off)
        return found, cut

    def _best(self, found: Sequence[Candidate]) -> list[Candidate]:
        scores = [candidate.segment.predicted_iou for candidate in found]
        return [found[index] for index in self.nms(found, scores, self.options.box_nms_thresh)]

    def between_tiles(self, cut: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
        """Return what the clicks on cut objects find in tiles around them.

        Objects that a tile shows whole are not looked for again, and those that fit no tile are left to the whole
        image.
        """
        if not cut or self.places.tiling is None:
            return []
        size = self.image.image_size
        in_tiles = [one.box for one in found if one.crop_box != (0, 0, size[1], size[0])]
        known = np.array(in_tiles, np.float64).reshape(-1, 4)
        lost = [one for one in self._best(cut) if not _is_known(one, known, self.options.crop_nms_thresh)]
        boxes = np.array([one.box for one in lost], np.float64).reshape(-1, 4)
        boxes += np.array([-1, -1, 1, 1]) * _NEAR_EDGE  # in the middle of a view nothing is near its edge
        parts = [
            _Part(view, 1, np.array([lost[index].point for index in members]) - view[:2])
            for view, members in choose_views(boxes, self.places.tiling, size, with_grid=False).items()
            if view is not None
        ]
        return self.in_parts(parts)[0]

    def _click(self, embedding: Embedding, part: _Part) -> tuple[list[Candidate], list[Candidate]]:
        """Return the candidates of the part's clicks, in the image's frame, and those that a tile cuts off."""
        points = part.points
        segments = self.engine.segment(
            embedding,
            Prompts(points=points[:, None].astype(np.float32), point_labels=np.ones((len(points), 1), np.int64)),
            multimask=True,
            stability_offset=self.options.stability_score_offset,
            pred_iou_thresh=_limit(self.settings.pred_iou_thresh),
            stability_score_thresh=_limit(self.settings.stability_score_thresh),
            at_once=self.options.points_per_batch,
            return_logits=self.return_logits,
        )
        found: list[Candidate] = []
        cut: list[Candidate] = []
        for segment in segments:
            is_cut = self._is_cut_off(segment.mask, part.box)
            if is_cut and (self.places.tiling is None or not part.layer):
                continue
            x, y = points[segment.prompt]
            candidate = self._candidate(segment, (float(x), float(y)), part, embedding)
            (cut if is_cut else found).append(candidate)
        return found, cut

    def _candidate(
        self, segment: Segment, point: tuple[float, float], part: _Part, embedding: Embedding
    ) -> Candidate:
        left, top = part.box[:2]
        if embedding.image_size != self.image.image_size:
            segment = replace(segment, mask=segment.mask.placed((left, top), self.image.image_size))
        place = point[0] + left, point[1] + top
        return Candidate(segment, place, part.box, embedding if self.return_logits else None)

    def _is_cut_off(self, mask: Mask, crop_box: CropBox) -> bool:
        """Return whether the mask ends near the crop's edge, where that is not the image's own edge."""
        height, width = self.image.image_size
        left, top, right, bottom = mask.box or (0, 0, 1, 1)
        x, y = crop_box[:2]
        box = (left + x, top + y, right - 1 + x, bottom - 1 + y)
        return any(
            abs(place - edge) <= _NEAR_EDGE and abs(place - own) > _NEAR_EDGE
            for place, edge, own in zip(box, crop_box, (0, 0, width, height), strict=True)
        )


def _is_known(cut: Candidate, known: NDArray[np.float64], iou: float) -> bool:
    """Return whether one of the boxes (N, 4), as far as the tile of a cut object shows it, is that object's."""
    seen = np.clip(known, np.tile(cut.crop_box[:2], 2), np.tile(cut.crop_box[2:], 2))
    box = np.array(cut.box, np.float64)
    common = np.maximum(np.minimum(seen[:, 2:], box[2:]) - np.maximum(seen[:, :2], box[:2]), 0).prod(1)
    areas = (seen[:, 2:] - seen[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return bool((common > iou * (areas - common)).any())


def _limit(threshold: float) -> float:
    """Return the threshold; -inf for 0 or less, which filters nothing, as in segment-anything."""
    return float(np.float32(threshold)) if threshold > 0 else -math.inf


class Nms(Protocol):
    """Return the indices of the candidates that stay, best first."""

    def __call__(self, found: Sequence[Candidate], scores: Sequence[float], threshold: float) -> list[int]: ...


def box_nms(found: Sequence[Candidate], scores: Sequence[float], threshold: float) -> list[int]:
    """By IoU of boxes, as torchvision does it (the order of equal scores included)."""
    import torch

    if not found:
        return []
    import_torchvision()
    from torchvision.ops import batched_nms

    boxes = torch.tensor([candidate.box for candidate in found], dtype=torch.float32)
    kept = batched_nms(boxes, torch.tensor(scores, dtype=torch.float32), torch.zeros(len(found)), threshold)
    return [int(index) for index in kept]


def mask_nms(found: Sequence[Candidate], scores: Sequence[float], threshold: float) -> list[int]:
    """By IoU of masks: two thin things side by side stay, two boxes around one thing do not."""
    from pycocotools import mask as coco

    order = sorted(range(len(found)), key=lambda index: -scores[index])
    runs = [candidate.mask.to_coco() for candidate in found]
    kept: list[int] = []
    for index in order:
        near = [runs[other] for other in kept]
        if not near or coco.iou([runs[index]], near, [0] * len(near)).max() <= threshold:
            kept.append(index)
    return kept


def _cleaned(found: list[Candidate], options: MaskGeneratorOptions, nms: Nms) -> list[Candidate]:
    """Without holes and islands smaller than asked for; what has become alike is one, untouched ones first."""
    cleaned = [without_small_regions(candidate.mask, options.min_mask_region_area) for candidate in found]
    after = [c if mask is c.mask else c.with_mask(mask) for c, mask in zip(found, cleaned, strict=True)]
    scores = [float(mask is c.mask) for c, mask in zip(found, cleaned, strict=True)]
    return [after[index] for index in nms(after, scores, max(options.box_nms_thresh, options.crop_nms_thresh))]


def without_small_regions(mask: Mask, min_area: int) -> Mask:
    """Holes of fewer pixels filled, then parts of fewer pixels removed, but never the largest part.

    Regions are 8-connected. The very same object where there is nothing to do.
    """
    pixels = mask.pixels()
    filled, changed_holes = _drop_regions(~pixels, min_area, keep_largest=False)
    kept, changed_parts = _drop_regions(~filled, min_area, keep_largest=True)
    return Mask.from_pixels(kept) if changed_holes or changed_parts else mask


def _drop_regions(
    pixels: NDArray[np.bool_], min_area: int, *, keep_largest: bool
) -> tuple[NDArray[np.bool_], bool]:
    """`pixels` without its regions of fewer than `min_area` pixels, and whether there were any."""
    _, regions, facts, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    areas = facts[:, cv2.CC_STAT_AREA]
    stays = areas >= min_area
    stays[0] = False  # that is what is not in `pixels`
    if stays[1:].all():
        return pixels, False
    if keep_largest and not stays.any():
        stays[1 + int(areas[1:].argmax())] = True
    return stays[regions], True


def exclusive(masks: Sequence[Mask]) -> list[Mask]:
    """Each pixel to the smallest of the masks (of one image) that has it; one that loses all is empty."""
    if not masks:
        return []
    owner = np.full((masks[0].height, masks[0].width), -1, np.int32)
    for index in sorted(range(len(masks)), key=lambda i: -masks[i].area):
        pixels, (left, top, right, bottom) = masks[index].crop()
        owner[top:bottom, left:right][pixels] = index
    return [_owned(owner, index, mask) for index, mask in enumerate(masks)]


def _owned(owner: NDArray[np.int32], index: int, mask: Mask) -> Mask:
    _, (left, top, right, bottom) = mask.crop()
    return Mask.from_pixels(owner[top:bottom, left:right] == index, (left, top), (mask.height, mask.width))


def to_instance(candidate: Candidate, size: Size) -> Instance:
    """Class 0, with its figures and its origin."""
    segment = candidate.segment
    whole = candidate.crop_box == (0, 0, size[1], size[0])
    return Instance(
        segment.mask,
        0,
        Quality(predicted_iou=segment.predicted_iou, stability=segment.stability),
        prompt_points=((*candidate.point, 1),),
        crop_box=None if whole else candidate.crop_box,
    )

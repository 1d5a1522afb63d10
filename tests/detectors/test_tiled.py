"""A detector on tiles finds each object once, wherever the borders of tiles lie."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from samcli.detectors.tiled import TiledDetector
from samcli.images.tiling import Tiling
from samcli.masks import Mask
from samcli.types import Detections, Image, ImageRef

SIZE = (500, 700)
SMALLEST = 0.05
"""Share of the longer side of what the detector is given below which it sees nothing."""


class Blocks:
    """A detector that sees the rectangles of one colour each, as far as they are in what it is given.

    The red channel is the rectangle's number, green its class. A part of a rectangle has the class `part_class`.
    """

    names = {0: "a", 1: "b"}  # noqa: RUF012 - never written to

    def __init__(self, *, masks: bool = False, part_class: int | None = None) -> None:
        self.sizes: list[tuple[int, int]] = []
        self._masks = masks
        self._part_class = part_class

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: Image) -> Detections:
        self.sizes.append(image.image_size)
        boxes, classes, masks = [], [], []
        for number in np.unique(image.pixels[..., 0])[1:]:
            shown = image.pixels[..., 0] == number
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            if max(box[2] - box[0], box[3] - box[1]) < SMALLEST * max(image.image_size):
                continue
            touches = box[0] == 0 or box[1] == 0 or box[2] == shown.shape[1] or box[3] == shown.shape[0]
            own = int(image.pixels[shown][0, 1])
            boxes.append(box)
            classes.append(self._part_class if touches and self._part_class is not None else own)
            masks.append(Mask.from_pixels(shown))
        return Detections(boxes, classes, np.linspace(0.9, 0.8, len(boxes)), tuple(masks) if self._masks else None)


def picture(*blocks: tuple[tuple[int, int, int, int], int]) -> Image:
    """An image with a rectangle (x1, y1, x2, y2) of a class each."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for number, ((left, top, right, bottom), class_id) in enumerate(blocks, 1):
        pixels[top:bottom, left:right] = number, class_id, 0
    return Image(ImageRef(None, "a.png"), pixels)  # type: ignore[arg-type]


def found(
    image: Image, detector: Blocks | None = None, tiling: Tiling | None = None
) -> list[tuple[list[int], int]]:
    tiled = TiledDetector(detector or Blocks(), tiling or Tiling(200, 0.25, 200), 0.45)
    one = tiled.detect([image])[0]
    return sorted((box.astype(int).tolist(), int(kind)) for box, kind in zip(one.boxes, one.class_ids, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_small_objects__are_found_once_wherever_they_lie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = [(x, y) for x in range(0, 640, 64) for y in range(0, 440, 64)]
    blocks = []
    for x, y in cells:
        left, top = rng.integers(x, x + 10), rng.integers(y, y + 10)
        width, height = rng.integers(12, 50, 2)
        blocks.append(((int(left), int(top), int(left + width), int(top + height)), int(rng.integers(2))))
    assert found(picture(*blocks)) == sorted((list(box), kind) for box, kind in blocks)


def test_object_larger_than_a_tile__is_that_of_the_whole_image() -> None:
    blocks = [((30, 40, 640, 420), 1)]
    assert found(picture(*blocks)) == [([30, 40, 640, 420], 1)]


def test_object_longer_than_the_overlap__is_one_whose_parts_several_tiles_show() -> None:
    """The whole image does not show it: it is too thin for the detector there."""

    class Thin(Blocks):
        def _one(self, image: Image) -> Detections:
            return super()._one(image) if max(image.image_size) <= 200 else Detections([], [], [])

    assert found(picture(((20, 250, 680, 262), 0)), Thin()) == [([20, 250, 680, 262], 0)]
    assert found(picture(((20, 250, 680, 262), 0), ((20, 290, 680, 302), 0)), Thin()) == [
        ([20, 250, 680, 262], 0), ([20, 290, 680, 302], 0),
    ]  # fmt: skip


def test_part_of_an_object__that_passes_for_another_class_is_left_out() -> None:
    blocks = [((x, 230, x + 45, 275), 0) for x in range(5, 640, 70)]
    assert found(picture(*blocks), Blocks(part_class=1)) == [(list(box), 0) for box, _ in blocks]


def test_masks__come_along_in_the_frame_of_the_image() -> None:
    image = picture(((340, 240, 380, 262), 0), ((20, 300, 680, 460), 1))
    one = TiledDetector(Blocks(masks=True), Tiling(200, 0.25, 200), 0.45).detect([image])[0]
    shown = {int(kind): mask.pixels() for kind, mask in zip(one.class_ids, one.masks or (), strict=True)}
    assert all((shown[kind] == (image.pixels[..., 0] == kind + 1)).all() for kind in (0, 1))


def test_image_that_is_not_large__is_seen_once() -> None:
    detector = Blocks()
    TiledDetector(detector, Tiling(300, 0.2, 700), 0.45).detect([picture()])
    assert detector.sizes == [SIZE]


@pytest.mark.parametrize("size", [(100, 100), (640, 641), (700, 2000), (5000, 333)])
@pytest.mark.parametrize("overlap", [0, 0.2, 0.9])
def test_tiles__cover_the_image_and_overlap(size: tuple[int, int], overlap: float) -> None:
    tiles = Tiling(320, overlap, 320).tiles(size)
    covered = np.zeros(size, bool)
    for left, top, right, bottom in tiles:
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        assert (right - left, bottom - top) == (min(320, size[1]), min(320, size[0]))
        covered[top:bottom, left:right] = True
    assert covered.all()
    lefts = sorted({tile[0] for tile in tiles})
    assert all(320 - (after - before) >= int(320 * overlap) for before, after in itertools.pairwise(lefts))

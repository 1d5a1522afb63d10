"""How near the rows of YOLO labels are to their masks, as each reader of the labels draws them.

Prints two Markdown tables of the mean and the least IoU with the mask by reader: one by shape, with the vertices
where samcli places them, and one by placement, over all shapes. Run it from the repository:
`python tests/benchmarks/polygon_placement.py [--masks N]`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.checkpoints.ultralytics_setup import prepare_ultralytics
from samcli.masks import Mask
from samcli.polygons import Ring, label_points, mask_to_polygons, normalise

Pixels = NDArray[np.bool_]
Rings = list[NDArray[np.float64]]
Reader = Callable[[Rings, tuple[int, int]], Pixels]
Placement = Callable[[Ring, int, int], NDArray[np.float64]]
"""Positions of pixels (K, 2), height and width of the image -> normalised coordinates (K, 2)."""

TRAINING_SIZE = 640
MASK_RATIO = 4
SIZES = {"smaller": (200, 600), "of 640 px": (640, 641), "larger": (800, 2400)}
"""Longer sides of the images in pixels, from and below."""

SHAPES = ("solid", "holes", "parts", "comb", "2 px", "1 px")


def draw_shape(kind: str, rng: np.random.Generator, side: int) -> Pixels:
    """Return a mask of the kind in an image of `side` x 3/4 `side` pixels; thin things are thin at any size."""
    height, width = side * 3 // 4, side
    canvas = np.zeros((height, width), np.uint8)
    if kind in ("1 px", "2 px"):
        points = (rng.uniform(0.1, 0.9, (4, 2)) * (width, height)).astype(np.int32)
        for start, end in itertools.pairwise(points):
            offset = np.array([1, 0]) if kind == "2 px" else np.array([0, 0])
            cv2.line(canvas, start.tolist(), end.tolist(), 1, 1)
            cv2.line(canvas, (start + offset).tolist(), (end + offset).tolist(), 1, 1)
    elif kind == "comb":
        left, top, pitch = *(int(v) for v in rng.uniform(0.1, 0.3, 2) * (width, height)), int(rng.integers(5, 12))
        for x in range(left, width * 3 // 4, pitch):
            canvas[top : height * 3 // 4, x : x + pitch // 2] = 1
        canvas[top : top + 5, left : width * 3 // 4] = 1
    else:
        smooth = cv2.GaussianBlur(rng.random((height, width), np.float32), (0, 0), side / 25)
        middle = np.hypot(*np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))) < rng.uniform(
            0.4, 0.8
        )
        found = (smooth > np.quantile(smooth, 0.5)) & middle
        canvas = _of_kind(kind, found.astype(np.uint8))
    return canvas.astype(bool)


def _of_kind(kind: str, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Solid: the largest part without its holes. Holes: with them. Parts: all parts, without holes."""
    contours, hierarchy = cv2.findContours(canvas, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = [index for index in range(len(contours)) if hierarchy[0, index, 3] < 0]
    largest = max(outer, key=lambda index: cv2.contourArea(contours[index]))
    drawn = np.zeros_like(canvas)
    for index in outer if kind == "parts" else [largest]:
        cv2.drawContours(drawn, contours, index, 1, -1)
    if kind == "holes":
        hole = cv2.erode(drawn, np.ones((5, 5), np.uint8), iterations=max(2, len(canvas) // 60))
        drawn &= ~hole
        drawn[:: len(canvas) // 8] |= hole[:: len(canvas) // 8]
    return drawn


def trainer_draws(rings: Rings, size: tuple[int, int], ratio: int = 1) -> Pixels:
    """Ultralytics' own functions, as its data set class calls them."""
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    longest = max(map(len, rings))
    segments = [ring.astype(np.float32) for ring in rings]
    height, width = size
    drawn = np.zeros((height // ratio, width // ratio), bool)
    for segment in resample_segments(segments, longest + 1 if longest > 1000 else 1000):
        polygon = (segment * np.float32((width, height))).reshape(-1)
        drawn |= polygon2mask(size, [polygon], downsample_ratio=ratio).astype(bool)
    return drawn


def training_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size to which the trainer scales an image, cut to whole cells of its masks."""
    scale = TRAINING_SIZE / max(size)
    height, width = (round(side * scale) // MASK_RATIO * MASK_RATIO for side in size)
    return height, width


def scaled(pixels: Pixels) -> Pixels:
    """Return the mask at the training size, through the trainer's downsampling: what its polygons should give."""
    height, width = training_size((pixels.shape[0], pixels.shape[1]))
    how = cv2.INTER_AREA if max(pixels.shape) > TRAINING_SIZE else cv2.INTER_NEAREST_EXACT
    at_size = (cv2.resize(pixels.astype(np.float32), (width, height), interpolation=how) >= 0.5).astype(np.uint8)
    small: Pixels = cv2.resize(at_size, (width // MASK_RATIO, height // MASK_RATIO)).astype(bool)
    return small


def supervision_draws(rings: Rings, size: tuple[int, int]) -> Pixels:
    """Rows read by supervision."""
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    rows = ["0 " + " ".join(f"{value:.6f}" for value in ring.ravel()) for ring in rings]
    found = yolo_annotations_to_detections(rows, (size[1], size[0]), with_masks=True)
    assert found.mask is not None
    seen: Pixels = np.asarray(found.mask).any(0)
    return seen


def pycocotools_draws(rings: Rings, size: tuple[int, int]) -> Pixels:
    """Rows taken over as COCO polygons, as converters do it."""
    from pycocotools import mask as coco

    height, width = size
    flat = [(ring * (width, height)).ravel().tolist() for ring in rings]
    seen: Pixels = coco.decode(coco.merge(coco.frPyObjects(flat, height, width))).astype(bool)
    return seen


def labelme_draws(rings: Rings, size: tuple[int, int]) -> Pixels:
    """Points taken over into labelme, whose `shape_to_mask` lets Pillow draw the polygon and its outline."""
    from PIL import Image, ImageDraw

    height, width = size
    seen = np.zeros(size, bool)
    for ring in rings:
        canvas = Image.new("1", (width, height))
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in ring * (width, height)], outline=1, fill=1)
        seen |= np.asarray(canvas)
    return seen


OWN_SIZE: Mapping[str, Reader] = {
    "trainer, own size": trainer_draws,
    "supervision": supervision_draws,
    "pycocotools": pycocotools_draws,
    "labelme": labelme_draws,
}


def iou(first: Pixels, second: Pixels) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def outward(ring: Ring) -> NDArray[np.int64]:
    """Return for each vertex (K, 2) whether outward is to the left (-1), to the right (1), or neither (0)."""
    turned = np.roll(ring, -1, 0)
    side = 1 if np.sum(ring[:, 0] * turned[:, 1] - turned[:, 0] * ring[:, 1]) >= 0 else -1
    steps = turned - ring
    normals = side * np.stack([steps[:, 1], -steps[:, 0]], 1) / np.maximum(np.hypot(*steps.T), 1e-9)[:, None]
    both = normals + np.roll(normals, 1, 0)
    return np.where(np.abs(both) < 1e-9, 0, np.sign(both)).astype(np.int64)


def moved(ring: Ring, height: int, width: int, *, low: float, high: float) -> NDArray[np.float64]:
    """Return vertices moved from the centre: at the left and the top by `low` pixels, else by `high`.

    They end just inside the place: a step of the last decimal.
    """
    sides = outward(ring)
    places = (ring + 0.5 + np.where(sides < 0, low, np.where(sides > 0, high, 0))) * 1e6 / (width, height)
    inside = np.where(sides < 0, np.ceil(places) + 1, np.floor(places) - 1)
    shares: NDArray[np.float64] = np.clip(inside / 1e6, 0, 1)
    return shares


PLACEMENTS: Mapping[str, Placement] = {
    "just below centres (samcli)": label_points,
    "centres": normalise,
    "0.01 pixel outward": functools.partial(moved, low=-0.01, high=0.01),
    "left and top edges, centres": functools.partial(moved, low=-0.5, high=0.0),
    "edges": functools.partial(moved, low=-0.5, high=0.5),
}


def judged(pixels: Pixels, rings: Sequence[Ring], place: Placement, size_name: str) -> Iterator[tuple[str, float]]:
    """Yield the IoU with the mask by each reader."""
    size = (pixels.shape[0], pixels.shape[1])
    rows = [place(ring, *size) for ring in rings]
    for name, reader in OWN_SIZE.items():
        yield name, iou(reader(rows, size), pixels)
    wanted = scaled(pixels)
    if wanted.any():
        yield f"trainer 640/4, {size_name}", iou(trainer_draws(rows, training_size(size), MASK_RATIO), wanted)


@dataclass
class Figures:
    """IoUs by row and column of a table."""

    values: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def print(self, title: str) -> None:
        """Print the table in Markdown: mean, and the least in brackets."""
        columns = [*OWN_SIZE, *(f"trainer 640/4, {name}" for name in SIZES)]
        print(f"| {title} | {' | '.join(columns)} |")
        print("| --- |" + " ---: |" * len(columns))
        for name, found in self.values.items():
            print(f"| {name} | {' | '.join(_cell(found[column]) for column in columns)} |")
        print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--masks", type=int, default=10, help="masks of each shape and size")
    args = parser.parse_args()
    prepare_ultralytics()
    by_shape, by_placement = Figures(), Figures()
    for kind in SHAPES:
        for size_name, sides in SIZES.items():
            rng = np.random.default_rng(7)
            for _ in range(args.masks):
                pixels = draw_shape(kind, rng, int(rng.integers(*sides)))
                rings = mask_to_polygons(Mask.from_pixels(pixels)).rings
                for placement, place in PLACEMENTS.items():
                    for reader, value in judged(pixels, rings, place, size_name):
                        by_placement.values[placement][reader].append(value)
                        if place is label_points:
                            by_shape.values[kind][reader].append(value)
    by_shape.print("shape")
    by_placement.print("vertices")


def _cell(values: list[float]) -> str:
    """Mean and least; a dash where the scaled mask itself is empty in all cases."""
    return f"{np.mean(values):.3f} ({min(values):.2f})" if values else "-"


if __name__ == "__main__":
    main()

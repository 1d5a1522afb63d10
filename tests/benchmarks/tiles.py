"""Small objects in large images: whole, in tiles, on crops of the objects, and SAHI with the same detector.

python tests/benchmarks/tiles.py [--sides 4000,6000,8000] [--count 150] [--tile 640] [--profile plain] [--det tiny]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from large_scenes import large_scene

from samcli import load_sam
from samcli.checkpoints.registry import find_weights
from samcli.config import BoxPromptOptions
from samcli.detectors.base import Detector, DetectorSettings
from samcli.detectors.loading import load_detector
from samcli.detectors.tiled import TiledDetector
from samcli.evaluation.metrics import boundary_iou
from samcli.images.tiling import Tiling, cut_out
from samcli.jobs.auto_annotate import SamMasks, TiledSamMasks
from samcli.jobs.segmenting import Encoder
from samcli.jobs.views import TiledAsker
from samcli.jobs.worker import StageClock
from samcli.masks import Mask, mask_iou
from samcli.types import Detections, Image, ImageRef

SETTINGS = DetectorSettings(conf=0.25, iou=0.45, imgsz=640, max_det=300, device="cpu", precision="fp32")
OVERLAP = 0.2
RIGHT = 0.5
"""IoU from which on a box or a mask is right."""


@dataclass(frozen=True)
class Truth:
    """Objects of a scene: boxes (N, 4), class ids (N,) and masks."""

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    masks: Sequence[Mask]


@dataclass(frozen=True)
class Found:
    """Boxes of a scene, masks where they were made, and the seconds that each took."""

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    masks: Sequence[Mask] = ()
    detect_seconds: float = 0.0
    segment_seconds: float = 0.0


def truth_of(ids: NDArray[np.uint8], classes: Sequence[int]) -> Truth:
    """Objects with visible pixels."""
    boxes, kept, masks = [], [], []
    height, width = ids.shape
    rows, columns = np.nonzero(ids)
    numbers = ids[rows, columns]
    for number, class_id in enumerate(classes, 1):
        mine = numbers == number
        if not mine.any():
            continue
        left, top, right, bottom = (
            columns[mine].min(),
            rows[mine].min(),
            columns[mine].max() + 1,
            rows[mine].max() + 1,
        )
        boxes.append((left, top, right, bottom))
        kept.append(class_id)
        masks.append(
            Mask.from_pixels(ids[top:bottom, left:right] == number, (int(left), int(top)), (height, width))
        )
    return Truth(np.array(boxes, np.float64).reshape(-1, 4), np.array(kept), masks)


class Ours:
    """samcli's detector and SAM, whole and in tiles."""

    def __init__(self, det: str, sam: str, tile: int) -> None:
        self.detector: Detector = load_detector(find_weights(det, "det", print), SETTINGS)
        engine, clock, options = load_sam(sam, device="cpu"), StageClock(), BoxPromptOptions()
        encoder = Encoder(engine, None, clock)
        self.tiling = Tiling(tile, OVERLAP, tile)
        self.tiled = TiledDetector(self.detector, self.tiling, SETTINGS.iou)
        self.masks = SamMasks(engine, encoder, options, clock)
        asker = TiledAsker(engine, encoder, self.tiling, options, clock)
        self.tiled_masks = TiledSamMasks(self.masks, asker, options)

    def whole(self, image: Image, truth: Truth) -> Found:
        """The image as it is."""
        return self._of(image, self.detector, self.masks)

    def in_tiles(self, image: Image, truth: Truth) -> Found:
        """`--tile`."""
        return self._of(image, self.tiled, self.tiled_masks)

    def on_crops(self, image: Image, truth: Truth) -> Found:
        """Each object in a tile around it: what the networks can do where no border is near."""
        start = time.perf_counter()
        boxes, ids, masks = [], [], []
        for box in truth.boxes:
            tile = self.tiling.around(tuple(box), image.image_size)
            crop = cut_out(image, tile)
            (found,) = self.detector.detect([crop])
            near = _best(found, box - np.tile(tile[:2], 2))
            (instances,) = self.masks.segment([crop], [near])
            boxes += list(near.boxes + np.tile(tile[:2], 2))
            ids += near.class_ids.tolist()
            masks += [one.mask.placed((tile[0], tile[1]), image.image_size) for one in instances]
        return Found(
            np.array(boxes, np.float64).reshape(-1, 4), np.array(ids, int), masks, time.perf_counter() - start
        )

    def _of(self, image: Image, detector: Detector, segmenter: SamMasks | TiledSamMasks) -> Found:
        start = time.perf_counter()
        (found,) = detector.detect([image])
        middle = time.perf_counter()
        (instances,) = segmenter.segment([image], [found])
        return Found(
            found.boxes.astype(np.float64),
            found.class_ids,
            [one.mask for one in instances],
            middle - start,
            time.perf_counter() - middle,
        )


def _best(found: Detections, box: NDArray[np.float64]) -> Detections:
    """Return the detection that is most like a box, if one is."""
    ious = iou_of(found.boxes.astype(np.float64), box[None])[:, 0]
    kept = [int(ious.argmax())] if len(ious) and ious.max() > 0 else []
    return Detections(found.boxes[kept], found.class_ids[kept], found.scores[kept])


def sahi(det: str, tile: int) -> Callable[[Image, Truth], Found]:
    """SAHI's sliced prediction, whole image included, with its default merging (greedy NMM by IoS)."""
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    model = AutoDetectionModel.from_pretrained(
        model_type="ultralytics",
        model_path=str(find_weights(det, "det", print).path),
        confidence_threshold=SETTINGS.conf,
        image_size=SETTINGS.imgsz,
        device="cpu",
    )

    def run(image: Image, truth: Truth) -> Found:
        start = time.perf_counter()
        result = get_sliced_prediction(
            image.pixels, model, slice_height=tile, slice_width=tile, overlap_height_ratio=OVERLAP,
            overlap_width_ratio=OVERLAP, verbose=0,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        boxes = [one.bbox.to_xyxy() for one in result.object_prediction_list]
        ids = [one.category.id for one in result.object_prediction_list]
        return Found(np.array(boxes, np.float64).reshape(-1, 4), np.array(ids, int), (), seconds)

    return run


def iou_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, M) IoU of boxes."""
    sides = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(first[:, None, :2], second[:, :2])
    common = np.maximum(sides, 0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return np.asarray(common / (areas[0][:, None] + areas[1] - common))


def figures(found: Found, truth: Truth) -> dict[str, float]:
    """Recall and precision of boxes of the right class, doubles, and how good the masks of those found are."""
    ious = iou_of(found.boxes, truth.boxes) * (found.class_ids[:, None] == truth.class_ids)
    matched: dict[int, int] = {}
    for prediction, target in sorted(zip(*np.nonzero(ious >= RIGHT), strict=True), key=lambda pair: -ious[pair]):
        if prediction not in matched and target not in matched.values():
            matched[int(prediction)] = int(target)
    others = [index for index in range(len(found.boxes)) if index not in matched]
    doubles = sum(bool((ious[index] >= RIGHT).any()) for index in others)
    result = {
        "objects": len(truth.boxes),
        "found": len(matched),
        "recall": len(matched) / len(truth.boxes),
        "precision": len(matched) / max(len(found.boxes), 1),
        "doubles": doubles,
        "detect_seconds": round(found.detect_seconds, 1),
        "segment_seconds": round(found.segment_seconds, 1),
    }
    if found.masks:
        pairs = [(found.masks[p], truth.masks[t]) for p, t in matched.items()]
        masks = [mask_iou(*pair) for pair in pairs]
        result |= {
            "masks_found": sum(iou >= RIGHT for iou in masks),
            "mask_iou": float(np.mean(masks)) if masks else 0.0,
            "boundary_iou": float(np.mean([_boundary_iou(*pair) for pair in pairs])) if pairs else 0.0,
        }
    return result


def _boundary_iou(first: Mask, second: Mask) -> float:
    """Return the boundary IoU with a width of two pixels: 2 % of the diagonal is wider than the objects are."""
    return boundary_iou(first, second, 2 / float(np.hypot(first.height, first.width)))


def main() -> None:
    """Print a JSON object for each scene and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", default="4000,6000,8000")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--tile", type=int, default=640)
    parser.add_argument("--profile", default="plain")
    parser.add_argument("--det", default="tiny")
    parser.add_argument("--sam", default="tiny")
    parser.add_argument("--ways", default="whole,tiles,crops,sahi")
    given = parser.parse_args()
    ours = Ours(given.det, given.sam, given.tile)
    ways: dict[str, Callable[[Image, Truth], Found]] = {
        "whole": ours.whole,
        "tiles": ours.in_tiles,
        "crops": ours.on_crops,
    }
    if "sahi" in given.ways:
        ways["sahi"] = sahi(given.det, given.tile)
    for number, side in enumerate(map(int, given.sides.split(","))):
        scene = large_scene(number, side, given.count, profile=given.profile)
        image, truth = Image(ImageRef(Path(), f"{side}.png"), scene.image), truth_of(scene.ids, scene.classes)
        for name in given.ways.split(","):
            found = ways[name](image, truth)
            print(json.dumps({"side": side, "way": name, **figures(found, truth)}), flush=True)


if __name__ == "__main__":
    main()

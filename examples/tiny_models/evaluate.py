"""Measure the tiny models on scenes they were never trained on: the table of the model card, both columns.

    python examples/tiny_models/evaluate.py \\
        --sam samcli/assets/tiny_sam.safetensors --yolo samcli/assets/tiny_yolo.pt

Everything here runs on plain torch and ultralytics, in Meta's frames (longest side to the network's with Pillow
bilinear, zeros after normalisation, masks over the padded square and then to the picture), so that the
figures are those of the networks, whatever engine runs them. Figures, in the card's words:

- box: the true box as prompt, the single mask; `small` means objects of 12 to 32 pixels (longest side, as
  visible);
- click: one click on the deepest point, three masks; by predicted IoU, and by oracle;
- refined: the box moved by 8% of its sides, then its mask and a click on the largest error fed back;
- quality_r: Pearson's r of predicted with true IoU over all masks of the box and the click prompts;
- detector: mAP; end to end: detector boxes at confidence .25 as prompts, right class and IoU >= .75;
- everything: grid, both thresholds, stability offset 1, NMS at .7: objects covered at IoU >= .75, spurious
  masks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics
from dataset import fit_frame
from metrics import Detections, Found, Masks, correlation, deepest_point, is_small
from network import IMAGE_SIZE, build, encode
from numpy.typing import NDArray
from safetensors.torch import load_file
from scenes import HELD_OUT, Scene, make_scene
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms
from ultralytics.models.sam.modules.sam import SAMModel

PROFILES = ("plain", "hard")
CONFIDENCE = 0.25
BOX_NMS = 0.7
DETECTOR_SIZE = 512


def held_out(profile: str, count: int, tune: bool = False) -> Iterator[Scene]:
    """The first `count` held-out scenes of a profile; with `tune`, those one may look at while developing."""
    first = HELD_OUT["tune" if tune else profile]
    return (make_scene(first + i, profile) for i in range(count))


@dataclass(frozen=True)
class Thresholds:
    """Everything mode's numbers, as Meta names them."""

    pred_iou_thresh: float
    stability_score_thresh: float
    points_per_side: int = 32


class Segmenter:
    """The tiny SAM on one picture after another, with Meta's frames."""

    def __init__(self, model: SAMModel) -> None:
        self.model = model.eval()

    @classmethod
    def load(cls, path: Path) -> Segmenter:
        """Load exported weights, strictly."""
        model = build(IMAGE_SIZE)
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()}, strict=True)
        return cls(model)

    @torch.inference_mode()
    def look_at(self, image: NDArray[np.uint8]) -> None:
        """Embed a picture, uint8 (H, W, 3); prompts that follow are about it."""
        self.height, self.width = image.shape[:2]
        self.scale = IMAGE_SIZE / max(self.height, self.width)
        small, _ = fit_frame(image, np.zeros(image.shape[:2], np.uint8), IMAGE_SIZE)
        self.inner = small.shape[:2]
        frame = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
        inside = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.bool)
        frame[0, :, : self.inner[0], : self.inner[1]] = torch.from_numpy(small.copy()).permute(2, 0, 1)
        inside[..., : self.inner[0], : self.inner[1]] = True
        self.embedding = encode(self.model, frame, inside)

    @torch.inference_mode()
    def segment(
        self,
        boxes: NDArray[np.floating] | None = None,
        points: NDArray[np.floating] | None = None,
        labels: NDArray[np.integer] | None = None,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All four mask logits (N, 4, S/4, S/4) and predicted IoU (N, 4) of N prompts, pixels of the picture.

        `boxes` (N, 4); `points` (N, K, 2) with `labels` (N, K); `previous` mask logits (N, 1, S/4, S/4).
        """
        frame = np.array([self.inner[1] / self.width, self.inner[0] / self.height], np.float32)
        clicks = None
        if points is not None and labels is not None:
            clicks = (torch.from_numpy(points * frame).float(), torch.from_numpy(labels).long())
        corners = None if boxes is None else torch.from_numpy(boxes.reshape(-1, 2, 2) * frame).float()
        sparse, dense = self.model.prompt_encoder(clicks, corners, previous)
        return self.model.mask_decoder.predict_masks(
            self.embedding, self.model.prompt_encoder.get_dense_pe(), sparse, dense
        )

    @torch.inference_mode()
    def to_picture(self, logits: Tensor) -> Tensor:
        """Mask logits (..., S/4, S/4) in the picture's size: to the padded square, cut, to the picture."""
        flat = logits.reshape(-1, 1, *logits.shape[-2:])
        square = F.interpolate(flat, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
        square = square[..., : self.inner[0], : self.inner[1]]
        full = F.interpolate(square, (self.height, self.width), mode="bilinear", align_corners=False)
        return full.reshape(*logits.shape[:-2], self.height, self.width)


def _iou_with(masks: Masks, truth: Masks) -> NDArray[np.float64]:
    """IoU of mask i with true mask i: masks (N, ..., H, W), truth (N, H, W)."""
    wanted = truth.reshape(len(truth), *[1] * (masks.ndim - 3), *truth.shape[1:])
    common, union = (masks & wanted).sum((-1, -2)), (masks | wanted).sum((-1, -2))
    return np.asarray(common / np.maximum(union, 1))


class PromptFigures:
    """IoU of prompted masks, collected scene by scene."""

    def __init__(self) -> None:
        self.iou: dict[str, list[float]] = {}
        self.quality: list[tuple[float, float]] = []

    def add(self, segmenter: Segmenter, scene: Scene) -> None:
        """Prompt for every object of a scene."""
        truth, boxes = scene.masks(), scene.boxes()
        if len(truth) == 0:
            return
        segmenter.look_at(scene.image)
        self._box(segmenter, truth, boxes)
        self._click(segmenter, truth)
        self._refine(segmenter, truth, boxes)

    def _keep(self, name: str, values: NDArray[np.float64]) -> None:
        self.iou.setdefault(name, []).extend(values.tolist())

    def _box(self, segmenter: Segmenter, truth: Masks, boxes: NDArray[np.floating]) -> None:
        logits, quality = segmenter.segment(boxes=boxes)
        iou = _iou_with((segmenter.to_picture(logits[:, 0]) > 0).numpy(), truth)
        self._keep("box", iou)
        self._keep("box_small", iou[is_small(boxes)])
        self.quality += list(zip(quality[:, 0].tolist(), iou.tolist(), strict=True))

    def _click(self, segmenter: Segmenter, truth: Masks) -> None:
        points = np.array([[deepest_point(mask)] for mask in truth], np.float32)
        logits, quality = segmenter.segment(points=points, labels=np.ones(points.shape[:2], np.int64))
        iou = _iou_with((segmenter.to_picture(logits[:, 1:]) > 0).numpy(), truth)
        best = quality[:, 1:].argmax(1).numpy()
        self._keep("click_predicted", iou[np.arange(len(iou)), best])
        self._keep("click_oracle", iou.max(1))
        self.quality += list(zip(quality[:, 1:].flatten().tolist(), iou.ravel().tolist(), strict=True))

    def _refine(self, segmenter: Segmenter, truth: Masks, boxes: NDArray[np.floating]) -> None:
        rng = np.random.default_rng(int(boxes.sum() * 16))
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        moved = boxes + rng.normal(0, 0.08, boxes.shape).astype(np.float32) * sides
        logits, _ = segmenter.segment(boxes=moved)
        first = (segmenter.to_picture(logits[:, 0]) > 0).numpy()
        self._keep("moved_box", _iou_with(first, truth))
        points, labels = _largest_error(first, truth)
        logits, _ = segmenter.segment(moved, points, labels, previous=logits[:, :1])
        self._keep("moved_box_refined", _iou_with((segmenter.to_picture(logits[:, 0]) > 0).numpy(), truth))

    def figures(self) -> dict[str, float]:
        """Means, and the correlation of predicted with true IoU."""
        means = {name: float(np.mean(values)) for name, values in self.iou.items()}
        return {**means, "quality_r": correlation(self.quality), "objects": len(self.iou["box"])}


def _largest_error(masks: Masks, truth: Masks) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A click for each mask, deep in its largest wrong part: points (N, 1, 2), labels (N, 1)."""
    points, labels = [], []
    for mask, wanted in zip(masks, truth, strict=True):
        wrong = mask ^ wanted
        x, y = deepest_point(wrong if wrong.any() else wanted)
        points.append([(x, y)])
        labels.append([int(wanted[int(y), int(x)])])
    return np.array(points, np.float32), np.array(labels, np.int64)


# ---- everything ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """All masks of one scene's grid, before the thresholds: (M,) each, boxes (M, 4), overlap (objects, M)."""

    quality: NDArray[np.float64]
    stability: NDArray[np.float64]
    boxes: NDArray[np.float32]
    overlap: NDArray[np.float64]


def candidates(segmenter: Segmenter, scene: Scene, points_per_side: int, least_quality: float = 0.3) -> Candidates:
    """Ask for the masks of a whole grid; those with a predicted IoU below `least_quality` are left out."""
    segmenter.look_at(scene.image)
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    grid = np.stack(np.meshgrid(steps * segmenter.width, steps * segmenter.height), -1).reshape(-1, 1, 2)
    parts = [
        _grid_part(segmenter, grid[start : start + 64].astype(np.float32), scene, least_quality)
        for start in range(0, len(grid), 64)
    ]
    return Candidates(
        quality=np.concatenate([part.quality for part in parts]),
        stability=np.concatenate([part.stability for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        overlap=np.concatenate([part.overlap for part in parts], 1),
    )


def _grid_part(segmenter: Segmenter, points: NDArray[np.float32], scene: Scene, least_quality: float) -> Candidates:
    logits, quality = segmenter.segment(points=points, labels=np.ones(points.shape[:2], np.int64))
    logits, quality = logits[:, 1:].flatten(0, 1), quality[:, 1:].flatten()
    keep = quality >= least_quality
    stability, boxes, overlap = [], [], []
    for each in logits[keep]:  # one at a time: a large picture's masks would fill the memory
        full = segmenter.to_picture(each).numpy()
        mask = full > 0
        stability.append((full > 1).sum() / max(1, (full > -1).sum()))
        boxes.append(_box_or_nothing(mask))
        overlap.append(_iou_with_objects(mask, scene))
    return Candidates(
        quality=quality[keep].double().numpy(),
        stability=np.array(stability, np.float64),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        overlap=np.array(overlap, np.float64).reshape(len(overlap), len(scene.classes)).T,
    )


def _iou_with_objects(mask: NDArray[np.bool_], scene: Scene) -> NDArray[np.float64]:
    """IoU of one mask (H, W) with every object: (objects,)."""
    areas = np.bincount(scene.ids.ravel(), minlength=len(scene.classes) + 1)[1:]
    common = np.bincount(scene.ids[mask], minlength=len(scene.classes) + 1)[1:]
    return np.asarray(common / np.maximum(areas + mask.sum() - common, 1), np.float64)


def _box_or_nothing(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def select(found: Candidates, thresholds: Thresholds) -> NDArray[np.intp]:
    """Which candidates everything mode keeps: above both thresholds, best of like boxes."""
    keep = (found.quality > thresholds.pred_iou_thresh) & (found.stability >= thresholds.stability_score_thresh)
    index = np.flatnonzero(keep & (found.boxes[:, 2] > found.boxes[:, 0]))
    boxes, scores = torch.from_numpy(found.boxes[index]), torch.from_numpy(found.quality[index]).float()
    kept = batched_nms(boxes, scores, torch.zeros(len(index)), BOX_NMS)
    return index[kept.numpy()]


def tune_thresholds(
    segmenter: Segmenter, scenes: int, points_per_side: int = 32
) -> tuple[Thresholds, list[dict[str, float]]]:
    """Choose everything mode's thresholds on tuning scenes: most objects at few spurious masks a scene."""
    found = {
        profile: [candidates(segmenter, scene, points_per_side) for scene in held_out(profile, scenes, tune=True)]
        for profile in PROFILES
    }
    table = []
    for quality in (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.88):
        for stability in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
            row: dict[str, float] = {"pred_iou_thresh": quality, "stability_score_thresh": stability}
            for profile in PROFILES:
                counts = Found()
                for each in found[profile]:
                    counts.add_everything(each.overlap[:, select(each, Thresholds(quality, stability))])
                row.update({f"{profile}_{name}": value for name, value in counts.figures().items()})
            table.append(row)
    best = max(table, key=_worth)
    return Thresholds(best["pred_iou_thresh"], best["stability_score_thresh"], points_per_side), table


def _worth(row: dict[str, float]) -> float:
    """Coverage of both profiles, less a little for spurious masks and much for those beyond 1 and 2 a scene."""
    excess = max(0.0, row["plain_spurious_a_scene"] - 1) + max(0.0, row["hard_spurious_a_scene"] - 2)
    spurious = row["plain_spurious_a_scene"] + row["hard_spurious_a_scene"]
    return row["plain_covered"] + row["hard_covered"] - 0.2 * excess - 0.02 * spurious


# ---- detector, end to end, time ---------------------------------------------------------------------


Detected = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def detect(detector: Any, image: NDArray[np.uint8], confidence: float) -> Detected:
    """Boxes (N, 4), scores (N,), class ids (N,) from ultralytics' own predict on an RGB picture."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    result = detector.predict(bgr, imgsz=DETECTOR_SIZE, conf=confidence, iou=0.45, verbose=False, device="cpu")[
        0
    ].boxes
    return result.xyxy.numpy(), result.conf.numpy(), result.cls.numpy().astype(np.int64)


def detector_figures(detector: Any, segmenter: Segmenter, scenes: Iterator[Scene]) -> dict[str, float]:
    """mAP of the detector, and what is found end to end."""
    detections, found = Detections(), Found()
    for scene in scenes:
        truth, wanted = scene.masks(), np.array(scene.classes, np.int64)
        boxes, scores, classes = detect(detector, scene.image, 0.001)
        detections.add(boxes, scores, classes, scene.boxes(), wanted)
        sure = scores >= CONFIDENCE
        masks = np.zeros((0, *scene.ids.shape), bool)
        if sure.any():
            segmenter.look_at(scene.image)
            masks = (segmenter.to_picture(segmenter.segment(boxes=boxes[sure])[0][:, 0]) > 0).numpy()
        found.add_end_to_end(masks, classes[sure], truth, wanted)
    map50, map5095 = detections.mean_average_precision()
    figures = {f"end_to_end_{name}": value for name, value in found.figures().items()}
    return {"map50": map50, "map50_95": map5095, **figures}


def seconds_an_image(detector: Any, segmenter: Segmenter, repeats: int = 20) -> float:
    """Median seconds for one 512-pixel picture from pixels to masks, models loaded, on two threads."""
    torch.set_num_threads(2)
    scene = make_scene(HELD_OUT["tune"], "hard", (512, 512), 8)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        boxes, _, _ = detect(detector, scene.image, CONFIDENCE)
        segmenter.look_at(scene.image)
        segmenter.to_picture(segmenter.segment(boxes=boxes if len(boxes) else np.array([[0, 0, 9, 9.0]]))[0][:, 0])
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """All figures that were asked for, by profile."""
    segmenter = Segmenter.load(options.sam)
    detector = None
    if options.yolo:
        from ultralytics import YOLO

        detector = YOLO(options.yolo)
    thresholds = Thresholds(options.pred_iou_thresh, options.stability_score_thresh, options.points_per_side)
    report: dict[str, Any] = {
        "scenes": options.scenes,
        "everything_scenes": options.everything_scenes or options.scenes,
        "first_seeds": HELD_OUT,
        "tune_seeds": options.tune,
        "everything_thresholds": asdict(thresholds),
        "versions": {"torch": torch.__version__, "ultralytics": ultralytics.__version__},
    }
    for profile in PROFILES:
        column: dict[str, float] = {}
        if "prompts" in options.rows:
            prompts = PromptFigures()
            for scene in held_out(profile, options.scenes, options.tune):
                prompts.add(segmenter, scene)
            column.update(prompts.figures())
        if "detector" in options.rows and detector:
            column.update(detector_figures(detector, segmenter, held_out(profile, options.scenes, options.tune)))
        if "everything" in options.rows:
            found = Found()
            for scene in held_out(profile, report["everything_scenes"], options.tune):
                each = candidates(segmenter, scene, thresholds.points_per_side)
                found.add_everything(each.overlap[:, select(each, thresholds)])
            column.update({f"everything_{name}": value for name, value in found.figures().items()})
        report[profile] = column
        print(profile, {name: round(value, 3) for name, value in column.items()}, flush=True)
    if "time" in options.rows and detector:
        report["seconds_an_image"] = seconds_an_image(detector, segmenter)
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sam", type=Path, required=True)
    parser.add_argument("--yolo", type=Path)
    parser.add_argument("--scenes", type=int, default=200, help="scenes a profile")
    parser.add_argument("--everything-scenes", type=int, help="fewer for everything mode, which takes longest")
    parser.add_argument("--tune", action="store_true", help="use the tuning seeds instead of the held-out ones")
    parser.add_argument("--rows", nargs="+", default=["prompts", "detector", "everything", "time"])
    parser.add_argument("--pred-iou-thresh", type=float, default=0.7)
    parser.add_argument("--stability-score-thresh", type=float, default=0.8)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--tune-thresholds", type=int, metavar="SCENES", help="only choose the two thresholds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.tune_thresholds:
        best, table = tune_thresholds(Segmenter.load(options.sam), options.tune_thresholds, options.points_per_side)
        for row in table:
            print({name: round(value, 3) for name, value in row.items()})
        print("best:", best)
        return
    report = evaluate(options)
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

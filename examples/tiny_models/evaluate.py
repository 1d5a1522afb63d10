"""Measure the tiny models on scenes they were never trained on: the table of the model card, both columns.

    python examples/tiny_models/evaluate.py \\
        --sam samcli/assets/tiny_sam.safetensors --yolo samcli/assets/tiny_yolo.pt

samcli does the work, as its users call it: the engine for prompts, and for the rest the commands over a folder of
the scenes. Figures, in the card's words:

- box: the true box as prompt, the single mask; `small` means objects of 12 to 32 pixels (longest side, as
  visible);
- click: one click on the deepest point, three masks; by predicted IoU, and by oracle;
- refined: the box moved by 8% of its sides, then its mask and a click on the largest error fed back;
- quality_r: Pearson's r of predicted with true IoU over all masks of the box and the click prompts;
- detector: mAP; end to end: what `auto-annotate` labels, right class and IoU >= .75;
- everything: what `everything` finds, objects covered at IoU >= .75, spurious masks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
from metrics import Detections, Found, Masks, correlation, deepest_point, is_small
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scenes import HELD_OUT, Scene, make_scene
from torchvision.ops import batched_nms

import samcli
from samcli import Engine, Image, ImageRef, Mask, Prompts, Segment
from samcli.output.records import read_record
from samcli.types import Annotation

PROFILES = ("plain", "hard")
BOX_NMS = 0.7


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


def as_image(scene: Scene) -> Image:
    """A scene as the engine and detectors take it."""
    return Image(ImageRef(Path(), "scene.png"), scene.image)


def _masks(segments: Sequence[Segment]) -> Masks:
    return np.stack([segment.mask.pixels() for segment in segments])


def _iou_with(masks: Masks, truth: Masks) -> NDArray[np.float64]:
    """IoU of mask i with true mask i: masks (N, ..., H, W), truth (N, H, W)."""
    wanted = truth.reshape(len(truth), *[1] * (masks.ndim - 3), *truth.shape[1:])
    common, union = (masks & wanted).sum((-1, -2)), (masks | wanted).sum((-1, -2))
    return np.asarray(common / np.maximum(union, 1))


class PromptFigures:
    """IoU of prompted masks, collected scene by scene."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.iou: dict[str, list[float]] = {}
        self.quality: list[tuple[float, float]] = []

    def add(self, scene: Scene) -> None:
        """Prompt for every object of a scene."""
        truth, boxes = scene.masks(), scene.boxes()
        if len(truth) == 0:
            return
        self.embedding = self.engine.encode([as_image(scene)])[0]
        self._box(truth, boxes)
        self._click(truth)
        self._refine(truth, boxes)

    def _keep(self, name: str, values: NDArray[np.float64]) -> None:
        self.iou.setdefault(name, []).extend(values.tolist())

    def _judge(self, segments: Sequence[Segment], iou: NDArray[np.float64]) -> None:
        believed = [segment.predicted_iou for segment in segments]
        self.quality += list(zip(believed, iou.ravel().tolist(), strict=True))

    def _box(self, truth: Masks, boxes: NDArray[np.floating]) -> None:
        segments = self.engine.segment(self.embedding, Prompts(boxes=boxes))
        iou = _iou_with(_masks(segments), truth)
        self._keep("box", iou)
        self._keep("box_small", iou[is_small(boxes)])
        self._judge(segments, iou)

    def _click(self, truth: Masks) -> None:
        points = np.array([[deepest_point(mask)] for mask in truth], np.float32)
        prompts = Prompts(points=points, point_labels=np.ones(points.shape[:2], np.int64))
        segments = self.engine.segment(self.embedding, prompts, multimask=True)
        iou = _iou_with(_masks(segments).reshape(len(truth), 3, *truth.shape[1:]), truth)
        best = np.array([segment.predicted_iou for segment in segments]).reshape(-1, 3).argmax(1)
        self._keep("click_predicted", iou[np.arange(len(iou)), best])
        self._keep("click_oracle", iou.max(1))
        self._judge(segments, iou)

    def _refine(self, truth: Masks, boxes: NDArray[np.floating]) -> None:
        rng = np.random.default_rng(int(boxes.sum() * 16))
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        moved = boxes + rng.normal(0, 0.08, boxes.shape).astype(np.float32) * sides
        first = self.engine.segment(self.embedding, Prompts(boxes=moved), return_logits=True)
        self._keep("moved_box", _iou_with(_masks(first), truth))
        points, labels = _largest_error(_masks(first), truth)
        logits = np.stack([segment.low_res_logits for segment in first if segment.low_res_logits is not None])
        again = self.engine.segment(self.embedding, Prompts(moved, points, labels, logits))
        self._keep("moved_box_refined", _iou_with(_masks(again), truth))

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


# ---- commands over a folder of scenes -------------------------------------------------------


class Commands:
    """Runs samcli's commands over scenes in a folder for the time being, with the given models."""

    def __init__(self, sam: Path, yolo: Path | None, precision: str) -> None:
        self.models = {"--sam": sam, "--det": yolo}
        self.precision = precision

    def annotate(
        self, scenes: Iterator[Scene], command: str, *options: object
    ) -> Iterator[tuple[Scene, Annotation]]:
        """Each scene with what a command made of it."""
        with tempfile.TemporaryDirectory() as folder:
            images, out = Path(folder, "images"), Path(folder, "out")
            images.mkdir()
            kept = []
            for number, scene in enumerate(scenes):
                PillowImage.fromarray(scene.image).save(images / f"{number:04}.png", compress_level=1)
                kept.append(scene)
            wanted = ("--sam", "--det") if command == "auto-annotate" else ("--sam",)
            models = [word for flag in wanted for word in (flag, self.models[flag])]
            arguments = [command, images, "--output", out, *models, "--precision", self.precision, *options]
            program = [sys.executable, "-m", "samcli", *map(str, arguments), "--quiet"]
            subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
            for number, scene in enumerate(kept):
                record = out / ".samcli" / "records" / f"{number:04}.png.json"
                yield scene, read_record(record.read_bytes())


def end_to_end_figures(commands: Commands, scenes: Iterator[Scene]) -> dict[str, float]:
    """What `auto-annotate` finds."""
    found = Found()
    for scene, annotation in commands.annotate(scenes, "auto-annotate"):
        masks = [instance.mask.pixels() for instance in annotation.instances]
        classes = np.array([instance.class_id for instance in annotation.instances], np.int64)
        stacked = np.stack(masks) if masks else np.zeros((0, *scene.ids.shape), bool)
        found.add_end_to_end(stacked, classes, scene.masks(), np.array(scene.classes, np.int64))
    return {f"end_to_end_{name}": value for name, value in found.figures().items()}


def everything_figures(commands: Commands, scenes: Iterator[Scene], thresholds: Thresholds) -> dict[str, float]:
    """What `everything` finds."""
    found = Found()
    options = [word for name, value in asdict(thresholds).items() for word in (_flag(name), value)]
    for scene, annotation in commands.annotate(scenes, "everything", *options):
        found.add_everything(_overlap(annotation, scene))
    return {f"everything_{name}": value for name, value in found.figures().items()}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _overlap(annotation: Annotation, scene: Scene) -> NDArray[np.float64]:
    """IoU of every object with every mask: (objects, masks)."""
    columns = [_iou_with_objects(instance.mask, scene) for instance in annotation.instances]
    return np.array(columns, np.float64).reshape(len(columns), len(scene.classes)).T


def _iou_with_objects(mask: Mask, scene: Scene) -> NDArray[np.float64]:
    """IoU of one mask with every object: (objects,)."""
    count = len(scene.classes)
    areas = np.bincount(scene.ids.ravel(), minlength=count + 1)[1:]
    pixels, (x0, y0, x1, y1) = mask.crop()
    common = np.bincount(scene.ids[y0:y1, x0:x1][pixels], minlength=count + 1)[1:]
    return np.asarray(common / np.maximum(areas + mask.area - common, 1), np.float64)


# ---- thresholds of everything mode ----------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """All masks of one scene's grid, before the thresholds: (M,) each, boxes (M, 4), overlap (objects, M)."""

    quality: NDArray[np.float64]
    stability: NDArray[np.float64]
    boxes: NDArray[np.float32]
    overlap: NDArray[np.float64]


def candidates(scene: Scene, annotation: Annotation) -> Candidates:
    """What `everything` finds when it leaves nothing out."""
    found = annotation.instances
    boxes = [instance.mask.box for instance in found]
    return Candidates(
        quality=np.array([instance.quality.predicted_iou for instance in found], np.float64),
        stability=np.array([instance.quality.stability for instance in found], np.float64),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        overlap=_overlap(annotation, scene),
    )


def select(found: Candidates, thresholds: Thresholds) -> NDArray[np.intp]:
    """Which candidates everything mode keeps: above both thresholds, best of like boxes."""
    keep = (found.quality > thresholds.pred_iou_thresh) & (found.stability >= thresholds.stability_score_thresh)
    index = np.flatnonzero(keep)
    boxes, scores = torch.from_numpy(found.boxes[index]), torch.from_numpy(found.quality[index]).float()
    kept = batched_nms(boxes, scores, torch.zeros(len(index)), BOX_NMS)
    return index[kept.numpy()]


def tune_thresholds(commands: Commands, scenes: int) -> tuple[Thresholds, list[dict[str, float]]]:
    """Choose everything mode's thresholds on tuning scenes: most objects at few spurious masks a scene."""
    low = ("--pred-iou-thresh", 0.39, "--stability-score-thresh", 0.49, "--box-nms-thresh", 1)
    found = {
        profile: [
            candidates(*each)
            for each in commands.annotate(held_out(profile, scenes, tune=True), "everything", *low)
        ]
        for profile in PROFILES
    }
    table = []
    for quality in (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.88):
        for stability in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
            thresholds = Thresholds(quality, stability)
            row: dict[str, float] = asdict(thresholds)
            for profile in PROFILES:
                counts = Found()
                for each in found[profile]:
                    counts.add_everything(each.overlap[:, select(each, thresholds)])
                row.update({f"{profile}_{name}": value for name, value in counts.figures().items()})
            table.append(row)
    best = max(table, key=_worth)
    return Thresholds(best["pred_iou_thresh"], best["stability_score_thresh"]), table


def _worth(row: dict[str, float]) -> float:
    """Coverage of both profiles, less a little for spurious masks and much for those beyond 1 and 2 a scene."""
    excess = max(0.0, row["plain_spurious_a_scene"] - 1) + max(0.0, row["hard_spurious_a_scene"] - 2)
    spurious = row["plain_spurious_a_scene"] + row["hard_spurious_a_scene"]
    return row["plain_covered"] + row["hard_covered"] - 0.2 * excess - 0.02 * spurious


# ---- detector, time, all of it --------------------------------------------------------------


def detector_figures(yolo: Path, scenes: Iterator[Scene]) -> dict[str, float]:
    """Mean average precision of the detector."""
    detector = samcli.load_detector(str(yolo), conf=0.001, imgsz=None, precision="fp32")
    detections = Detections()
    for scene in scenes:
        found = detector.detect([as_image(scene)])[0]
        wanted = np.array(scene.classes, np.int64)
        detections.add(found.boxes, found.scores, found.class_ids, scene.boxes(), wanted)
    map50, map5095 = detections.mean_average_precision()
    return {"map50": map50, "map50_95": map5095}


def seconds_an_image(sam: Path, yolo: Path, repeats: int = 20) -> float:
    """Median seconds for one 512-pixel picture from pixels to masks, models loaded, at their defaults."""
    detector, engine = samcli.load_detector(str(yolo), imgsz=None), samcli.load_sam(str(sam))
    image = as_image(make_scene(HELD_OUT["tune"], "hard", (512, 512), 8))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        boxes = detector.detect([image])[0].boxes
        engine.segment(engine.encode([image])[0], Prompts(boxes=boxes))
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """All figures that were asked for, by profile."""
    thresholds = Thresholds(options.pred_iou_thresh, options.stability_score_thresh)
    commands = Commands(options.sam, options.yolo, options.precision)
    grid_scenes = options.everything_scenes or options.scenes
    report: dict[str, Any] = {
        "scenes": options.scenes,
        "everything_scenes": grid_scenes,
        "first_seeds": HELD_OUT,
        "tune_seeds": options.tune,
        "precision": options.precision,
        "everything_thresholds": asdict(thresholds),
        "versions": {"torch": torch.__version__, "ultralytics": ultralytics.__version__},
    }
    for profile in PROFILES:
        column: dict[str, float] = {}
        if "prompts" in options.rows:
            prompts = PromptFigures(samcli.load_sam(str(options.sam), precision=options.precision))
            for scene in held_out(profile, options.scenes, options.tune):
                prompts.add(scene)
            column.update(prompts.figures())
        if "detector" in options.rows:
            column.update(detector_figures(options.yolo, held_out(profile, options.scenes, options.tune)))
        if "end-to-end" in options.rows:
            column.update(end_to_end_figures(commands, held_out(profile, options.scenes, options.tune)))
        if "everything" in options.rows:
            column.update(everything_figures(commands, held_out(profile, grid_scenes, options.tune), thresholds))
        report[profile] = column
        print(profile, {name: round(value, 3) for name, value in column.items()}, flush=True)
    if "time" in options.rows:
        report["seconds_an_image"] = seconds_an_image(options.sam, options.yolo)
    return report


def main() -> None:
    """Command line."""
    rows = ["prompts", "detector", "end-to-end", "everything", "time"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sam", type=Path, required=True)
    parser.add_argument("--yolo", type=Path, help="needed by the rows detector, end-to-end and time")
    parser.add_argument("--scenes", type=int, default=200, help="scenes a profile")
    parser.add_argument("--everything-scenes", type=int, help="fewer for everything mode, which takes longest")
    parser.add_argument("--tune", action="store_true", help="use the tuning seeds instead of the held-out ones")
    parser.add_argument("--rows", nargs="+", default=rows, choices=rows)
    parser.add_argument("--precision", default="fp32", help="as samcli's")
    parser.add_argument("--pred-iou-thresh", type=float, default=0.7)
    parser.add_argument("--stability-score-thresh", type=float, default=0.8)
    parser.add_argument("--tune-thresholds", type=int, metavar="SCENES", help="only choose the two thresholds")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.tune_thresholds:
        best, table = tune_thresholds(
            Commands(options.sam, options.yolo, options.precision), options.tune_thresholds
        )
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

"""Train the tiny detector from nothing, or go on where the last run stopped.

    python examples/tiny_models/dataset.py --out work/scenes_512 --count 8000 --frame 512
    python examples/tiny_models/train_yolo.py \\
        --scenes work/scenes_512 --out work/yolo --export samcli/assets/tiny_yolo.pt

Network and loss are ultralytics' own (the YOLOv8 layout, narrow); the loop is a plain one, because the scenes
are already in memory and a step, not an epoch, is what a run on a small machine stops and resumes at. As for
the tiny SAM there are two phases: views of 320 pixels cut out of the frames at their own scale, then whole
frames of 512 pixels on grey, as the detector gets them. The views play the part that mosaics play elsewhere,
and end before training does.

`state.pt` and `before_decay.pt` work as in `train_sam.py`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics
from dataset import SceneCache
from numpy.random import Generator
from numpy.typing import NDArray
from scenes import CLASSES, mask_box
from torch import Tensor, nn
from train_sam import Schedule, log, versions
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss
from views import LEAST_PIXELS, View, draw_view

IMAGE_SIZE = 512
GREY = 114  # what ultralytics pads with
LEAST_VISIBLE = 0.4  # an object of which a view shows less than this part is background

SMALL_SIDE, SMALL_BATCH = 320, 12
WHOLE_BATCH = 6

LAYOUT: dict[str, Any] = {
    "nc": len(CLASSES),
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [24, 3, 2]],
        [-1, 1, "C2f", [24, True]],
        [-1, 1, "Conv", [40, 3, 2]],
        [-1, 2, "C2f", [40, True]],
        [-1, 1, "Conv", [72, 3, 2]],
        [-1, 2, "C2f", [72, True]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "C2f", [128, True]],
        [-1, 1, "SPPF", [128, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 1, "C2f", [72]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 1, "C2f", [40]],
        [-1, 1, "Conv", [40, 3, 2]],
        [[-1, 12], 1, "Concat", [1]],
        [-1, 1, "C2f", [72]],
        [-1, 1, "Conv", [72, 3, 2]],
        [[-1, 9], 1, "Concat", [1]],
        [-1, 1, "C2f", [128]],
        [[15, 18, 21], 1, "Detect", ["nc"]],
    ],
}


@dataclass(frozen=True)
class Labelled:
    """A picture, uint8 (S, S, 3), with boxes (N, 4), centre and size as parts of S, and class ids (N,)."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def build() -> DetectionModel:
    """Return an untrained detector that knows its class names."""
    model = DetectionModel(copy.deepcopy(LAYOUT), ch=3, nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    model.args = get_cfg(overrides={"imgsz": IMAGE_SIZE})
    model.task = "detect"
    return model


def label(rng: Generator, cache: SceneCache, view: View) -> Labelled:
    """Boxes of what a view shows; its padding turns grey and goes to both sides, as ultralytics has it."""
    image, ids, side = view.image.copy(), view.ids, len(view.ids)
    image[~view.inside] = GREY
    if side == IMAGE_SIZE and not view.inside.all():
        free = side - np.array([view.inside.any(1).sum(), view.inside.any(0).sum()])
        shift = tuple(int(v) for v in rng.integers(0, free + 1))
        image, ids = np.roll(image, shift, (0, 1)), np.roll(ids, shift, (0, 1))
    whole = np.bincount(cache.ids[view.scene].ravel(), minlength=256) * view.scale**2
    shown = np.bincount(ids.ravel(), minlength=256)
    boxes, classes = [], []
    for k in np.flatnonzero(shown[1:]) + 1:
        if shown[k] >= LEAST_PIXELS and shown[k] >= LEAST_VISIBLE * whole[k]:
            x0, y0, x1, y1 = mask_box(ids == k)
            boxes.append([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
            classes.append(int(cache.classes[view.scene][k - 1]))
    return Labelled(
        _roughen(rng, image),
        np.array(boxes, np.float32).reshape(-1, 4) / np.float32(side),
        np.array(classes, np.int64),
    )


def _roughen(rng: Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grain or blur: ultralytics shrinks pictures without smoothing, which the cached frames do not show."""
    kind = rng.random()
    if kind < 0.3:
        grain = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1, 9))
        return (image + grain).clip(0, 255).astype(np.uint8)
    if kind < 0.4:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0)), np.uint8)
    return image


def draw_batch(rng: Generator, cache: SceneCache, ready: int, whole: bool) -> dict[str, Tensor]:
    """One step's pictures and labels, as ultralytics' loss wants them; `img` is uint8 (B, 3, S, S)."""
    side, count = (IMAGE_SIZE, WHOLE_BATCH) if whole else (SMALL_SIDE, SMALL_BATCH)
    pictures = [label(rng, cache, draw_view(rng, cache, ready, side)[0]) for _ in range(count)]
    numbers = [np.full(len(picture.classes), i) for i, picture in enumerate(pictures)]
    return {
        "img": torch.from_numpy(np.stack([picture.image.transpose(2, 0, 1) for picture in pictures])),
        "batch_idx": torch.from_numpy(np.concatenate(numbers)).float(),
        "cls": torch.from_numpy(np.concatenate([p.classes for p in pictures])).float()[:, None],
        "bboxes": torch.from_numpy(np.concatenate([p.boxes for p in pictures])),
    }


class Trainer:
    """The detector, its moving average (what is exported), the optimiser and the step counter."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        torch.manual_seed(seed)
        self.schedule, self.seed, self.step = schedule, seed, 0
        self.model = build().to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.model).eval()
        self.criterion = v8DetectionLoss(self.model)
        matrices = [p for p in self.model.parameters() if p.ndim > 1 and p.requires_grad]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1 and p.requires_grad]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, whole or not at all."""
        state = {
            "step": self.step,
            "seed": self.seed,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        self.step, self.seed = state["step"], state["seed"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def train_step(self, batch: dict[str, Tensor]) -> list[float]:
        """One step of the optimiser; box, class and distribution loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        images = (batch["img"].float() / 255).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.model(images)
        outputs = {
            name: [level.float() for level in value] if isinstance(value, (list, tuple)) else value.float()
            for name, value in outputs.items()
        }
        loss, parts = self.criterion(outputs, batch)
        self.optimizer.zero_grad(set_to_none=True)
        (loss.sum() / len(images)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        values = parts.values() if isinstance(parts, dict) else parts
        return [float(part) for part in values]

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        average, model = self.average.state_dict(), self.model.state_dict()
        for name, tensor in average.items():
            if tensor.is_floating_point():
                tensor.lerp_(model[name], 1 - keep)
            else:
                tensor.copy_(model[name])


def export(model: DetectionModel, path: Path, step: int) -> None:
    """Write a checkpoint as ultralytics reads it, weights in fp16, nothing of the training in it."""
    network = copy.deepcopy(model).to(memory_format=torch.contiguous_format).half().eval()
    network.criterion = None
    network.args = {"imgsz": IMAGE_SIZE, "task": "detect"}
    for parameter in network.parameters():
        parameter.requires_grad = False
    checkpoint = {
        "model": network,
        "ema": None,
        "optimizer": None,
        "epoch": -1,
        "train_args": {"imgsz": IMAGE_SIZE, "task": "detect", "model": "tiny_yolo", "steps": step},
        "version": ultralytics.__version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    torch.save(checkpoint, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def run(options: argparse.Namespace) -> None:
    """Train up to the last step, or until the time is over; export the moving average."""
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    cache = SceneCache.open(options.scenes, IMAGE_SIZE)
    trainer = Trainer(Schedule(options.steps, options.small_steps, options.decay, rate=2e-3), options.seed)
    state, curve = options.out / "state.pt", options.out / "curve.jsonl"
    if state.exists():
        trainer.load(state)
    log(curve, {"start": trainer.step, "argv": sys.argv[1:], "seed": trainer.seed, **versions()})
    begun, seen, last = time.time(), [], time.time()
    while trainer.step < options.steps and time.time() - begun < options.minutes * 60:
        if trainer.step == options.steps - options.decay:
            trainer.save(options.out / "before_decay.pt")
        rng = np.random.default_rng([trainer.seed, trainer.step])
        batch = draw_batch(rng, cache, cache.ready(), trainer.step >= options.small_steps)
        seen.append(trainer.train_step(batch))
        if trainer.step % 100 == 0:
            parts = [round(float(value), 4) for value in np.mean(seen, 0)]
            figures = dict(zip(("box", "class", "distribution"), parts, strict=False))
            rate = round((time.time() - last) / len(seen), 3)
            log(curve, {"step": trainer.step, **figures, "seconds_a_step": rate})
            seen, last = [], time.time()
        if trainer.step % 500 == 0:
            trainer.save(state)
    trainer.save(state)
    if options.export:
        export(trainer.average, options.export, trainer.step)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder that dataset.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training state and the curve")
    parser.add_argument("--export", type=Path, help="where the detector goes when training ends")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--small-steps", type=int, default=3_300)
    parser.add_argument("--decay", type=int, default=1_400)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (resumably) after this long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args())


if __name__ == "__main__":
    main()

"""Train the tiny text detector from nothing, or go on where the last run stopped.

    python examples/tiny_models/dataset.py --out work/scenes_320 --count 8000 --frame 320
    python examples/tiny_models/train_text.py --scenes work/scenes_320 --out work/text --export work/tiny_text

The network is OWLv2's: each patch of the picture answers with a box and with its likeness to every prompt. Here the
patches nearest to an object's centre answer for it, and all prompts of `words.py` are asked at every step.
`state.pt` and `before_decay.pt` work as in `train_sam.py`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from dataset import SceneCache
from numpy.random import Generator
from numpy.typing import NDArray
from scenes import mask_box
from text_network import GREY, IMAGE_SIZE, PATCH, build, export, make_tokenizer
from torch import Tensor, nn
from torchvision.ops import box_convert, generalized_box_iou_loss
from train_sam import Schedule, log, versions
from train_yolo import Trainer
from views import draw_view
from words import PROMPTS, UNKNOWN, meanings, object_colour

BATCH = 16
PATCHES_AN_OBJECT = 4
GRID = IMAGE_SIZE // PATCH


@dataclass(frozen=True)
class Batch:
    """Pictures, and what each patch has to answer.

    `images`: uint8 (B, 3, S, S). `said`: int8 (B, patches, prompts), as `words.meanings`. `boxes`: float32
    (B, patches, 4), centre and size as parts of S. `answers`: bool (B, patches), those that answer for an object.
    """

    images: Tensor
    said: Tensor
    boxes: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same on a device."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


def nearest_patches(box: tuple[int, int, int, int]) -> NDArray[np.intp]:
    """Return the patches nearest to the centre of a box in pixels: those inside it, one at least."""
    x0, y0, x1, y1 = box
    rows, columns = (np.indices((GRID, GRID)).reshape(2, -1) + 0.5) * PATCH
    distance = np.hypot(columns - (x0 + x1) / 2, rows - (y0 + y1) / 2)
    nearest = np.argsort(distance, kind="stable")[:PATCHES_AN_OBJECT]
    inside = (columns > x0) & (columns < x1) & (rows > y0) & (rows < y1)
    return nearest[inside[nearest]] if inside[nearest].any() else nearest[:1]


def label(rng: Generator, cache: SceneCache, ready: int) -> tuple[NDArray[np.uint8], ...]:
    """Return a picture (3, S, S) and the answers of its patches, in the order of `Batch`."""
    view, objects = draw_view(rng, cache, ready, IMAGE_SIZE, plain=0.4)
    said = np.zeros((GRID * GRID, len(PROMPTS)), np.int8)
    boxes = np.zeros((GRID * GRID, 4), np.float32)
    masks = sorted(((view.ids == k, k) for k in objects), key=lambda one: -one[0].sum())
    for mask, k in masks:  # the smallest last: where two want one patch, it has no other
        x0, y0, x1, y1 = mask_box(mask)
        patches = nearest_patches((x0, y0, x1, y1))
        shape = int(cache.classes[view.scene][k - 1])
        said[patches] = meanings(shape, object_colour(view.image, mask))
        boxes[patches] = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]) / IMAGE_SIZE
    image = np.where(view.inside[..., None], view.image, np.uint8(GREY))
    return image.transpose(2, 0, 1), said, boxes, boxes[:, 2] > 0


def draw_batch(rng: Generator, cache: SceneCache, ready: int, size: int = BATCH) -> Batch:
    """Return one step's pictures and answers."""
    columns = zip(*(label(rng, cache, ready) for _ in range(size)), strict=True)
    return Batch(*(torch.from_numpy(np.stack(column)) for column in columns))


class TextTrainer(Trainer):
    """The network, its moving average, the optimiser and the step counter; saved and resumed as the detector's."""

    def __init__(self, schedule: Schedule, seed: int, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.schedule, self.seed, self.step = schedule, seed, 0
        tokenizer = make_tokenizer()
        self.prompts = tokenizer(list(PROMPTS), padding="max_length", max_length=16, return_tensors="pt").to(device)
        self.model = build(tokenizer).to(device).train()
        self.average = copy.deepcopy(self.model).eval()
        trained = [p for name, p in self.model.named_parameters() if not name.startswith("objectness")]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, patches, prompts) and boxes (B, patches, 4) for uint8 images."""
        texts = self.model.owlv2.text_model(**self.prompts).pooler_output
        queries = self.model.owlv2.text_projection(texts)
        features = self.model.image_embedder(images.float() / 127.5 - 1)[0]
        flat = features.flatten(1, 2)
        logits, _ = self.model.class_predictor(flat, queries.expand(len(images), -1, -1))
        return logits, self.model.box_predictor(flat, features)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of what is said, and of the boxes, each by answering patch."""
        logits, boxes = self.predict(batch.images)
        count = batch.answers.sum().clamp(min=1)
        said = focal_loss(logits, batch.said) / count
        found, wanted = boxes[batch.answers], batch.boxes[batch.answers]
        corners = [box_convert(each, "cxcywh", "xyxy") for each in (found, wanted)]
        overlap = generalized_box_iou_loss(corners[0], corners[1], reduction="sum")
        return said, (5 * nn.functional.l1_loss(found, wanted, reduction="sum") + 2 * overlap) / count

    def train_step(self, batch: Batch) -> list[float]:  # type: ignore[override]
        """One step of the optimiser; returns both losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        said, placed = self.losses(batch.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        (said + placed).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return [float(said.detach()), float(placed.detach())]


def focal_loss(logits: Tensor, said: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the summed focal loss of logits (..., P) against `words.meanings`; what is unknown does not count."""
    wanted = (said == 1).float()
    plain = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = (logits.sigmoid() - wanted).abs()
    balance = 0.25 + 0.5 * wanted
    return (balance * missed**gamma * plain)[said != UNKNOWN].sum()


def run(options: argparse.Namespace) -> None:
    """Train up to the last step, or until the time is over; export the moving average."""
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    cache = SceneCache.open(options.scenes, IMAGE_SIZE)
    trainer = TextTrainer(
        Schedule(options.steps, options.steps, options.decay, rate=5e-4), options.seed, options.device
    )
    state, curve = options.out / "state.pt", options.out / "curve.jsonl"
    if state.exists():
        trainer.load(state)
    log(curve, {"start": trainer.step, "argv": sys.argv[1:], "seed": trainer.seed, **versions()})
    begun, seen, last = time.time(), [], time.time()
    while trainer.step < options.steps and time.time() - begun < options.minutes * 60:
        if trainer.step == options.steps - options.decay:
            trainer.save(options.out / "before_decay.pt")
        rng = np.random.default_rng([trainer.seed, trainer.step])
        seen.append(trainer.train_step(draw_batch(rng, cache, cache.ready(), options.batch)))
        if trainer.step % options.log_every == 0:
            said, placed = (round(float(value), 4) for value in np.mean(seen, 0))
            rate = round((time.time() - last) / len(seen), 3)
            log(curve, {"step": trainer.step, "said": said, "placed": placed, "seconds_a_step": rate})
            seen, last = [], time.time()
            trainer.save(state)
    trainer.save(state)
    if options.export:
        export(trainer.average.cpu(), options.export)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder that dataset.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training state and the curve")
    parser.add_argument("--export", type=Path, help="folder where the detector goes when training ends")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--decay", type=int, default=6_000)
    parser.add_argument("--batch", type=int, default=BATCH, help="pictures a step")
    parser.add_argument("--log-every", type=int, default=100, help="steps between two lines of the curve")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (resumably) after this long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="e.g. cuda")
    parser.add_argument("--seed", type=int, default=0)
    run(parser.parse_args())


if __name__ == "__main__":
    main()

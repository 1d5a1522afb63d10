"""How far the masks of a faster path are from those of the exact one: fp32 through the networks' own modules."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from pycocotools import mask as coco

from samcli.checkpoints.registry import find_weights
from samcli.config import MaskGeneratorOptions
from samcli.masks import Mask
from samcli.output.records import read_record
from samcli.sam.engine import Engine
from samcli.sam.mask_generator import everything
from samcli.sam.networks import load_network
from samcli.sam.networks.fast import _decode_all
from samcli.types import Image, ImageRef, Prompts

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "tiny_models"))
from metrics import Found
from scenes import HELD_OUT, Scene, make_scene

KEEP_ALL = MaskGeneratorOptions(
    points_per_side=4,
    pred_iou_thresh=-9,
    stability_score_thresh=0.01,
    stability_score_offset=0.01,
    box_nms_thresh=1,
)
"""Everything mode for random weights, whose own figures would let nearly nothing through."""


@dataclass(frozen=True)
class Way:
    """A way through the engine: which forwards are the fast ones, the precision, prompts decoded at once."""

    name: str
    fast_encoder: bool = True
    fast_decoder: bool = True
    precision: str = "fp32"
    chunk: int | None = None

    def engine(self, sam: str) -> Engine:
        """The engine of a checkpoint that goes this way, on the CPU."""
        weights = find_weights(sam, "sam")
        network = load_network(weights.path)
        if not self.fast_encoder:
            vars(network)["_embed"] = network.image_encoder
        if not self.fast_decoder:
            vars(network)["_predict"] = functools.partial(_decode_all, network.mask_decoder)
        engine = Engine(network, weights.sha256, device="cpu", precision=self.precision)
        if self.chunk is not None:
            engine._chunk = self.chunk
        return engine


EXACT = Way("exact", fast_encoder=False, fast_decoder=False)
WAYS = (
    Way("fast encoder", fast_decoder=False),
    Way("fast decoder", fast_encoder=False),
    Way("both"),
    Way("both, chunks of 5 prompts", chunk=5),
    Way("both, bf16", precision="bf16"),
)


@dataclass
class Agreement:
    """Running figures over images: counts of masks, and IoU of each exact mask with its counterpart."""

    images: int = 0
    masks: int = 0
    same_count: int = 0
    largest_difference: int = 0
    ious: list[float] = field(default_factory=list)

    def add(self, found: Sequence[Mask], exact: Sequence[Mask], *, in_order: bool) -> None:
        """One image. `in_order`: a mask's counterpart is at its place (prompts); else the most alike one is."""
        self.images += 1
        self.masks += len(exact)
        self.same_count += len(found) == len(exact)
        self.largest_difference = max(self.largest_difference, abs(len(found) - len(exact)))
        if in_order:
            self.ious += [_iou(*pair) for pair in zip(found, exact, strict=True)]
        elif exact:
            self.ious += _overlap(exact, found).max(1, initial=0).tolist()

    @property
    def mean(self) -> float:
        return float(np.mean(self.ious))

    @property
    def least(self) -> float:
        return float(np.min(self.ious))


def _iou(first: Mask, second: Mask) -> float:
    return 1.0 if not first.area and not second.area else float(_overlap([first], [second])[0, 0])


def _overlap(first: Sequence[Mask], second: Sequence[Mask]) -> np.ndarray:
    """IoU of each with each, (N, M)."""
    if not second:
        return np.zeros((len(first), 0))
    return np.asarray(coco.iou([m.to_coco() for m in first], [m.to_coco() for m in second], [0] * len(second)))


@dataclass(frozen=True)
class Answer:
    """One image's masks: for its boxes in their order, and of everything."""

    boxes: list[Mask]
    everything: list[Mask]


def answers(
    engine: Engine, images: Iterable[tuple[Image, np.ndarray]], options: MaskGeneratorOptions
) -> Iterator[Answer]:
    """For images with boxes (N, 4)."""
    for image, boxes in images:
        (embedding,) = engine.encode([image])
        asked = engine.segment(embedding, Prompts(boxes=boxes)) if len(boxes) else []
        found = everything(engine, image, options, encode=lambda _, known=embedding: [known])
        yield Answer([segment.mask for segment in asked], [instance.mask for instance in found])


def compare(
    sam: str,
    ways: Sequence[Way],
    images: Callable[[], Iterable[tuple[Image, np.ndarray]]],
    options: MaskGeneratorOptions,
) -> Iterator[tuple[Way, Agreement, Agreement]]:
    """Each way with its agreement on boxes and in everything mode."""
    exact = list(answers(EXACT.engine(sam), images(), options))
    for way in ways:
        boxes, grid = Agreement(), Agreement()
        for mine, theirs in zip(answers(way.engine(sam), images(), options), exact, strict=True):
            boxes.add(mine.boxes, theirs.boxes, in_order=True)
            grid.add(mine.everything, theirs.everything, in_order=False)
        yield way, boxes, grid


def photos(folder: Path, count: int) -> Iterator[tuple[Image, np.ndarray]]:
    """The first photos of a folder, each with eight boxes anywhere in it."""
    for number, path in enumerate(sorted(folder.iterdir())[:count]):
        pixels = np.asarray(PillowImage.open(path).convert("RGB"))
        height, width = pixels.shape[:2]
        corners = np.random.default_rng(number).uniform(0, 1, (8, 2, 2))
        low, high = corners.min(1) * 0.9, corners.max(1) * 0.9 + 0.1
        boxes = np.concatenate([low, high], 1) * (width, height, width, height)
        yield Image(ImageRef(folder, path.name), pixels), boxes.astype(np.float32)


def held_out_scenes(count: int) -> list[Scene]:
    """Scenes that the tiny models were never trained on, plain and hard in turn."""
    names = ("plain", "hard")
    return [make_scene(HELD_OUT[names[i % 2]] + i // 2, names[i % 2]) for i in range(count)]


def scene_images(scenes: Sequence[Scene]) -> Iterator[tuple[Image, np.ndarray]]:
    """Scenes with the true boxes of their objects."""
    for number, scene in enumerate(scenes):
        yield Image(ImageRef(Path(), f"{number:03}.png"), scene.image), scene.boxes()


def end_to_end(
    run: Callable[..., Any], scenes: Sequence[Scene], folder: Path, precision: str, sam: str = "tiny"
) -> dict[str, float]:
    """Share of the objects that `auto-annotate` covers: a mask of the right class with an IoU of at least .75.

    `run`: runs the command line in this process.
    """
    images, out = folder / "images", folder / precision
    images.mkdir(exist_ok=True)
    for number, scene in enumerate(scenes):
        PillowImage.fromarray(scene.image).save(images / f"{number:03}.png")
    models = ("--det", "tiny", "--sam", sam, "--device", "cpu", "--precision", precision)
    result = run("auto-annotate", images, "-o", out, *models, "--json")
    assert json.loads(result.stdout)["done"] == len(scenes), result.output
    found = Found()
    for number, scene in enumerate(scenes):
        record = read_record((out / ".samcli" / "records" / f"{number:03}.png.json").read_bytes())
        pixels = [instance.mask.pixels() for instance in record.instances]
        masks = np.array(pixels, bool).reshape(-1, *scene.ids.shape)
        classes = np.array([instance.class_id for instance in record.instances], np.int64)
        found.add_end_to_end(masks, classes, scene.masks(), np.array(scene.classes, np.int64))
    return {**found.figures(), "objects": found.objects}

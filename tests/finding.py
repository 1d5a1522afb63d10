"""A job without networks: it finds the objects that `FOUND` says, in plain images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from samcli.config import AutoAnnotateOptions
from samcli.jobs.base import Job, Models
from samcli.jobs.beside import beside_existing
from samcli.jobs.plan import Plan
from samcli.jobs.run import run_job
from samcli.jobs.summary import Summary
from samcli.jobs.worker import AnnotatedImage, Worker
from samcli.masks import Mask
from samcli.types import Annotation, Image, Instance, Quality

NAMES = {0: "disc", 1: "ring", 2: "cross"}
SIZE = (60, 80)
FOUND = {
    "a.png": [(0, 2, 2, 20, 20), (0, 30, 5, 55, 30), (1, 40, 35, 75, 55), (2, 3, 30, 25, 58)],
    "b.png": [(1, 5, 5, 40, 40), (2, 45, 10, 70, 50)],
    "c.png": [(0, 10, 10, 30, 50)],
    "d.png": [],
}
"""Image -> class id and box (xyxy) of each object in it."""


def mask_of(x1: int, y1: int, x2: int, y2: int) -> Mask:
    pixels = np.zeros(SIZE, bool)
    pixels[y1:y2, x1:x2] = True
    return Mask.from_pixels(pixels)


class Finder:
    """Finds what `FOUND` says."""

    names = NAMES
    on_cpu = True

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        return [AnnotatedImage(self._annotation(image.ref.key)) for image in images]

    def _annotation(self, key: str) -> Annotation:
        instances = [Instance(mask_of(*box), number, Quality(0.9), tuple(box)) for number, *box in FOUND[key]]
        return Annotation(key, SIZE, tuple(instances))


@dataclass(frozen=True)
class Find(Job[AnnotatedImage]):
    """`auto-annotate` with a finder in place of the networks."""

    options: AutoAnnotateOptions
    command = "auto-annotate"
    checkpoints = {}  # noqa: RUF012 - a property of the class that it is

    def load(self, plan: Plan, models: Models) -> Worker:
        beside = beside_existing(Finder(), self, plan)
        return Worker(
            beside.annotator, plan.labels, self.formats, self.shapes,
            limits=self.options.input, notes=beside.notes,
        )  # fmt: skip


def make_images(folder: Path) -> Path:
    """Write the images of `FOUND` below `images`; return the folder."""
    (folder / "images").mkdir(parents=True)
    for key in FOUND:
        Picture.new("RGB", SIZE[::-1]).save(folder / "images" / key)
    return folder


def run(folder: Path, output: Path | None = None, **options: Any) -> Summary:
    return run_job(Find(AutoAnnotateOptions.of(precision="fp32", **options)), folder / "images", output)

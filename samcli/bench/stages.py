"""Measure the stages of one image one after the other, in one worker thread.

A run overlaps decoding, networks and writing; here nothing overlaps, so that the stages add up.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from samcli.bench.pictures import draw_boxes
from samcli.bench.setup import Setup, UnsupportedError
from samcli.checkpoints.registry import find_weights
from samcli.config import LabelOptions, MaskGeneratorOptions
from samcli.detectors.ultralytics import load_detector
from samcli.images import read_image
from samcli.jobs.segmenting import to_instance
from samcli.jobs.worker import StageClock
from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.base import polygon_options
from samcli.labels.writing import write_annotation
from samcli.output.layout import Layout
from samcli.sam.devices import choose_device, choose_precision
from samcli.sam.engine import Engine
from samcli.sam.mask_generator import everything
from samcli.sam.networks import load_network
from samcli.sam.networks.base import PromptTensors, SamNetwork
from samcli.types import Annotation, Detections, Image, Instance, Prompts

STAGES = {
    "decode": "the file to pixels",
    "detect": "the detector",
    "resize": "pixels to the network's square",
    "encode": "the image encoder",
    "prompts": "prompt encoder and mask decoder",
    "masks": "logits to masks at the image's size: filters, thresholds, run lengths, NMS",
    "polygons": "masks to polygons",
    "write": "records and label files, on disk",
}
NETWORK_STAGES = ("detect", "encode", "prompts")
"""The arithmetic that the weights ask for; all else is samcli's own."""

T = TypeVar("T")


class Profiler:
    """samcli's own job with a SAM, taken apart.

    Raises:
        UnsupportedError: the weights are no SAM.
    """

    def __init__(self, setup: Setup) -> None:
        weights = find_weights(setup.weights, "sam")
        if weights.path.suffix == ".pt":
            from samcli.bench.base import pickled_network

            if pickled_network(weights.path):
                raise UnsupportedError(f"{setup.model} is no SAM: its stages are one network")
        self.clock = StageClock()
        self._setup = setup
        precision = choose_precision(setup.precision, choose_device(setup.device))
        self._detector = load_detector(setup.det, device=setup.device, precision=precision) if setup.det else None
        network = _TimedNetwork(load_network(weights.path), self.clock, setup.device)
        self._engine = Engine(
            cast(SamNetwork, network), setup.model, device=setup.device, precision=setup.precision
        )

    def run(self, mode: str, path: Path) -> dict[str, float]:
        """Seconds by stage for one image file; `mode`: `box` writes YOLO labels, `everything` run lengths."""
        self.clock.seconds.clear()
        with tempfile.TemporaryDirectory() as folder:
            with self.clock.measure("decode"):
                image = read_image(path)
            found = self._everything(image) if mode == "everything" else self._boxes(image)
            layout = Layout(path.parent, Path(folder))
            annotation = Annotation(image.ref.key, image.image_size, found)
            rendering = Rendering(annotation, {}, polygon_options(LabelOptions()))
            if mode == "box":
                with self.clock.measure("polygons"):
                    _ = rendering.polygons
            with self.clock.measure("write"):
                write_annotation(rendering, [FORMATS["yolo" if mode == "box" else "rle"]], layout)
        return {stage: self.clock.seconds[stage] for stage in STAGES if stage in self.clock.seconds}

    def _boxes(self, image: Image) -> tuple[Instance, ...]:
        found = self._detect(image)
        if not len(found):
            return ()
        (embedding,) = self._rest("resize", lambda: self._engine.encode([image]))
        segments = self._rest("masks", lambda: self._engine.segment(embedding, Prompts(boxes=found.boxes)))
        prompted = [
            (int(class_id), tuple(box)) for class_id, box in zip(found.class_ids, found.boxes.tolist(), strict=True)
        ]
        return tuple(
            to_instance(segment, class_id, box=box)
            for segment in segments
            for class_id, box in [prompted[segment.prompt]]
        )

    def _detect(self, image: Image) -> Detections:
        if self._detector is None:
            import numpy as np

            boxes = draw_boxes(self._setup.boxes, image.image_size)
            return Detections(boxes, np.zeros(len(boxes), np.int64), np.ones(len(boxes), np.float32))
        with self.clock.measure("detect"):
            return self._detector.detect([image])[0]

    def _everything(self, image: Image) -> tuple[Instance, ...]:
        options = MaskGeneratorOptions(points_per_side=self._setup.points_per_side)
        (embedding,) = self._rest("resize", lambda: self._engine.encode([image]))
        return tuple(
            self._rest("masks", lambda: everything(self._engine, image, options, encode=lambda _: [embedding]))
        )

    def _rest(self, stage: str, work: Callable[[], T]) -> T:
        """Count what the work takes beyond the stages that it measures itself."""
        before, start = sum(self.clock.seconds.values()), time.perf_counter()
        result = work()
        inside = sum(self.clock.seconds.values()) - before
        self.clock.seconds[stage] += time.perf_counter() - start - inside
        return result


class _TimedNetwork:
    """A SAM network that counts the time of its parts; all else is the network's own."""

    def __init__(self, network: SamNetwork, clock: StageClock, device: str) -> None:
        self._network = network
        self._clock = clock
        self._on_gpu = device.startswith("cuda")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def _timed(self, stage: str, work: Callable[..., T], *arguments: Any) -> T:
        with self._clock.measure(stage):
            result = work(*arguments)
            if self._on_gpu:
                torch.cuda.synchronize()
            return result

    def resize(self, *arguments: Any) -> Any:
        """See SamNetwork."""
        return self._timed("resize", self._network.resize, *arguments)

    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See SamNetwork."""
        return self._timed("encode", self._network.encode, batch)

    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        return self._timed("prompts", self._network.embed_prompts, prompts)

    def decode(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        return self._timed("prompts", self._network.decode, *arguments)

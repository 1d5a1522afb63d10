"""The main job: a detector's boxes prompt SAM, its masks become labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from samcli.commands.segmenting import Encoder, load_engine, open_encoder, reason_to_drop, to_instance
from samcli.config import AutoAnnotateOptions
from samcli.detectors import Detector, load_detector
from samcli.embeddings import store_facts
from samcli.engine import Engine
from samcli.job import Job, Models
from samcli.pipeline import Finding, StageClock, Worker
from samcli.plan import Plan
from samcli.types import Annotation, Detections, Dropped, Embedding, Image, Instance, Prompts


@dataclass(frozen=True)
class AutoAnnotate(Job):
    """A folder of images, a detector and SAM in; labels, records and a journal out."""

    options: AutoAnnotateOptions
    command = "auto-annotate"

    @property
    def checkpoints(self) -> dict[str, str]:
        """The detector's and SAM's."""
        return {"det": self.options.det, "sam": self.options.sam}

    def recipe(self) -> dict[str, Any]:
        """Classes in any order and case are the same."""
        recipe = {**super().recipe(), **store_facts(self.options.embeddings)}
        if self.options.classes is not None:
            recipe["classes"] = sorted({word.strip().lower() for word in self.options.classes.split(",")} - {""})
        return recipe

    def load(self, plan: Plan, models: Models) -> Worker:
        """Detector and SAM on one device."""
        options, clock = self.options, StageClock()
        engine = load_engine(plan, models, options)
        detector = load_detector(
            models["det"],
            conf=options.conf,
            iou=options.iou,
            imgsz=options.imgsz,
            max_det=options.max_det,
            classes=options.classes,
            device=str(engine.device),
            half=engine.precision != "fp32" and engine.device.type == "cuda",
            trust_weights=options.trust_weights,
        )
        encoder = open_encoder(engine, options.embeddings, clock)
        annotator = BoxAnnotator(detector, engine, encoder, options, clock)
        return Worker(annotator, plan.labels, self.formats, options, max_pixels=options.max_pixels, clock=clock)


class BoxAnnotator:
    """One mask for each box that the detector finds."""

    def __init__(
        self,
        detector: Detector,
        engine: Engine,
        encoder: Encoder,
        options: AutoAnnotateOptions,
        clock: StageClock,
    ) -> None:
        self._detector = detector
        self._engine = engine
        self._encoder = encoder
        self._options = options
        self._clock = clock
        self.on_cpu = engine.device.type == "cpu"

    @property
    def names(self) -> Mapping[int, str]:
        """The detector's classes."""
        return self._detector.names

    def annotate(self, images: Sequence[Image]) -> list[Finding]:
        """The annotation of each image. Images without detections never see the encoder."""
        with self._clock.measure("detect"):
            found = self._detector.detect(images)
        with_objects = [index for index, detections in enumerate(found) if len(detections)]
        encoded = self._encoder.encode([images[index] for index in with_objects]) if with_objects else []
        embeddings = dict(zip(with_objects, encoded, strict=True))
        return [
            Finding(self._segment(image, detections, embeddings.get(index)))
            for index, (image, detections) in enumerate(zip(images, found, strict=True))
        ]

    def _segment(self, image: Image, detections: Detections, embedding: Embedding | None) -> Annotation:
        """One mask for each box. A mask that is dropped takes its own class with it, never another's."""
        annotation = Annotation(image.ref.key, image.image_size)
        if embedding is None:
            return annotation
        with self._clock.measure("segment"):
            segments = self._engine.segment(embedding, Prompts(boxes=detections.boxes))
        instances: list[Instance] = []
        dropped: list[Dropped] = []
        seen: set[tuple[int, bytes]] = set()
        for segment in segments:
            class_id = int(detections.class_ids[segment.prompt])
            x1, y1, x2, y2 = (float(value) for value in detections.boxes[segment.prompt])
            score = float(detections.scores[segment.prompt])
            reason = reason_to_drop(segment, self._options)
            if reason is None and (class_id, segment.mask.counts) in seen:
                reason = "same class and mask as an object with a better score"  # a trainer rejects such rows
            if reason is not None:
                dropped.append(Dropped(reason, class_id, (x1, y1, x2, y2), score))
                continue
            seen.add((class_id, segment.mask.counts))
            instances.append(to_instance(segment, class_id, score=score, box=(x1, y1, x2, y2)))
        return replace(annotation, instances=tuple(instances), dropped=tuple(dropped))

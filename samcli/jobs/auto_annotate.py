"""The main job: a detector's boxes prompt SAM, its masks become labels; or the detector's own masks do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samcli.checkpoints.registry import WeightsFile
from samcli.config import AutoAnnotateOptions, BoxPromptOptions, TextOptions
from samcli.detectors.agnostic import AgnosticDetector
from samcli.detectors.base import Detector, DetectorSettings
from samcli.detectors.loading import detector_name, load_detector
from samcli.detectors.tiled import TiledDetector
from samcli.detectors.ultralytics import is_exported
from samcli.images.tiling import Tiling
from samcli.jobs.base import Models, without_idle
from samcli.jobs.beside import beside_existing
from samcli.jobs.class_mapping import MappedDetector, class_map_facts, open_class_map
from samcli.jobs.plan import Plan
from samcli.jobs.regions import RegionDetector, RegionJob, meets_region
from samcli.jobs.segmenting import (
    Encoder,
    ask,
    check_prompted,
    detector_hardware,
    load_engine,
    open_encoder,
    reason_to_drop,
    refuse,
    to_instance,
    without_duplicates,
)
from samcli.jobs.views import TiledAsker, open_tiling
from samcli.jobs.worker import AnnotatedImage, StageClock, Worker
from samcli.labels.class_map import ClassMap
from samcli.labels.vocabulary import Vocabulary, read_vocabulary
from samcli.masks import box_iou
from samcli.output.embeddings import store_facts
from samcli.prompts.regions import Regions
from samcli.types import Annotation, Detections, Dropped, Embedding, Image, Instance, Prompts, Quality, Size

if TYPE_CHECKING:
    import torch

    from samcli.sam.engine import Engine

_ON_PROMPTING = tuple(entry.name for entry in fields(BoxPromptOptions))


@dataclass(frozen=True)
class AutoAnnotate(RegionJob):
    """A folder of images, a detector and SAM (or only the detector) in; labels, records and a journal out."""

    options: AutoAnnotateOptions
    command = "auto-annotate"

    def __post_init__(self) -> None:
        if not self._with_sam:
            names = ("embeddings", "compile", "pred_iou_thresh", "stability_score_thresh", *_ON_PROMPTING)
            options = refuse(self.options, names, "to --sam none: the detector's masks are taken as they are")
            object.__setattr__(self, "options", options)
        else:
            check_prompted(self.options.segmenter.sam)
        _ = self._class_map, self._vocabulary, self.regions  # read once: what is labelled is what the recipe says

    @cached_property
    def _class_map(self) -> ClassMap | None:
        return open_class_map(self.options.class_mapping)

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        return open_vocabulary(self.options.text_prompt)

    @property
    def _with_sam(self) -> bool:
        return self.options.segmenter.sam != "none"

    @property
    def checkpoints(self) -> dict[str, str]:
        """Return the detector's, and SAM's if it takes part."""
        det = detector_name(self.options.detector.det, self.options.text_prompt.text)
        return {"det": det, **({"sam": self.options.segmenter.sam} if self._with_sam else {})}

    @property
    def computes_as_exported(self) -> bool:
        """Return whether the only network is an exported detector."""
        return not self._with_sam and is_exported(self.options.detector.det)

    def recipe(self) -> dict[str, Any]:
        """Classes in any order and case are the same; a class map counts by its content."""
        recipe = {**super().recipe(), **store_facts(self.options.store.embeddings)}
        del recipe["class_map"]
        recipe |= class_map_facts(self._class_map)
        del recipe["text"], recipe["text_threshold"]
        if self._vocabulary is not None:
            recipe |= {"text": self._vocabulary.recipe(), "text_threshold": self.options.text_prompt.text_threshold}
        if not self._with_sam:
            del recipe["sam"]
        recipe = without_idle(recipe, {entry.name: entry.default for entry in fields(BoxPromptOptions)})
        if self.options.detector.classes is not None:
            recipe["classes"] = sorted(
                {word.strip().lower() for word in self.options.detector.classes.split(",")} - {""}
            )
        return recipe

    def load(self, plan: Plan, models: Models) -> Worker:
        """Detector and SAM on one device."""
        options, clock = self.options, StageClock()
        notes: Callable[[], list[str]] = list
        segmenter: BoxSegmenter = DetectorMasks()
        inputs = [options.detector.imgsz]
        if self._with_sam:
            engine = load_engine(plan, models, options)
            encoder = open_encoder(engine, options.store.embeddings, clock)
            notes = encoder.notes
            inputs.append(engine.side)
            segmenter = SamMasks(engine, encoder, options.prompting, clock)
        tiling = open_tiling(options.tiles, *inputs)
        if tiling is not None and self._with_sam:
            asker = TiledAsker(engine, encoder, tiling, options.prompting, clock)
            segmenter = TiledSamMasks(segmenter, asker, options.prompting)
        device, precision = detector_hardware(plan, options)
        detector = open_detector(
            models["det"], options, device, precision, class_map=self._class_map, vocabulary=self._vocabulary,
            tiling=tiling, regions=self.regions,
        )  # fmt: skip
        annotator = BoxAnnotator(detector, segmenter, options, clock, on_cpu=device.type == "cpu")
        beside = beside_existing(annotator, self, plan)
        return Worker(
            beside.annotator,
            plan.labels,
            self.formats,
            self.shapes,
            limits=options.input,
            clock=clock,
            notes=lambda: [*notes(), *beside.notes()],
        )


def open_vocabulary(options: TextOptions) -> Vocabulary | None:
    """Return the vocabulary of `--text`; None without it.

    Raises:
        UsageError: it names nothing, or its file cannot be read.
    """
    return None if options.text is None else read_vocabulary(options.text)


def open_detector(
    weights: WeightsFile,
    options: AutoAnnotateOptions,
    device: torch.device,
    precision: str,
    *,
    class_map: ClassMap | None,
    vocabulary: Vocabulary | None = None,
    tiling: Tiling | None = None,
    regions: Regions | None = None,
) -> Detector:
    """Return the detector that the options describe, with the classes that the map gives it.

    `regions`: only objects in them count.

    Raises:
        WeightsError: the file is refused, damaged, no detector, or has no masks though they are asked for.
        UsageError: `--classes` or the class map lists a class that the detector does not know.
    """
    settings = DetectorSettings(
        conf=options.detector.conf,
        iou=options.detector.iou,
        imgsz=options.detector.imgsz,
        max_det=options.detector.max_det,
        classes=options.detector.classes,
        device=str(device),
        precision=precision,
        masks=options.segmenter.sam == "none",
        trust_weights=options.detector.trust_weights,
        vocabulary=vocabulary,
        text_threshold=options.text_prompt.text_threshold,
    )
    detector = load_detector(weights, settings)
    if tiling is not None:
        detector = TiledDetector(detector, tiling, options.detector.iou, meets_region(regions))
    if class_map is not None:
        detector = MappedDetector(detector, class_map, options.detector.iou)
    if options.detector.agnostic_nms:
        detector = AgnosticDetector(detector, options.detector.iou)
    return detector if regions is None else RegionDetector(detector, regions)


class BoxSegmenter(Protocol):
    """Gives what a detector has found its masks."""

    def segment(self, images: Sequence[Image], found: Sequence[Detections]) -> list[list[Instance]]:
        """For each image an instance for each of its detections, in their order."""
        ...


class SamMasks:
    """SAM's masks, prompted with the boxes; an instance keeps the detector's own box."""

    def __init__(self, engine: Engine, encoder: Encoder, options: BoxPromptOptions, clock: StageClock) -> None:
        self._engine = engine
        self._encoder = encoder
        self._options = options
        self._clock = clock

    def segment(self, images: Sequence[Image], found: Sequence[Detections]) -> list[list[Instance]]:
        """See BoxSegmenter. Images without detections are not encoded."""
        with_objects = [index for index, detections in enumerate(found) if len(detections)]
        encoded = self._encoder.encode([images[index] for index in with_objects]) if with_objects else []
        embeddings = dict(zip(with_objects, encoded, strict=True))
        return [
            self._prompt(embeddings[index], detections) if len(detections) else []
            for index, detections in enumerate(found)
        ]

    def _prompt(self, embedding: Embedding, detections: Detections) -> list[Instance]:
        with self._clock.measure("segment"):
            boxes = padded(detections.boxes, self._options.box_padding, embedding.image_size)
            segments = ask(self._engine, embedding, Prompts(boxes=boxes), self._options)
        instances = []
        for segment in segments:
            class_id, score, box = _detection(detections, segment.prompt)
            instances.append(to_instance(segment, class_id, score=score, box=box))
        return instances


def padded(boxes: NDArray[np.float32], share: float, image_size: Size) -> NDArray[np.float32]:
    """Boxes (N, 4) xyxy, each side moved outwards by a share of the box's width or height, cut to the image."""
    if not share:
        return boxes
    width_height = boxes[:, 2:] - boxes[:, :2]
    grown = np.concatenate([boxes[:, :2] - share * width_height, boxes[:, 2:] + share * width_height], 1)
    height, width = image_size
    return np.asarray(np.clip(grown, 0, (width, height, width, height)), np.float32)


class TiledSamMasks:
    """SAM's masks, prompted with the boxes: in large images each in the view in which its object lies best."""

    def __init__(self, whole: BoxSegmenter, asker: TiledAsker, options: BoxPromptOptions) -> None:
        """`whole`: for images that are not tiled."""
        self._whole = whole
        self._asker = asker
        self._options = options

    def segment(self, images: Sequence[Image], found: Sequence[Detections]) -> list[list[Instance]]:
        """See BoxSegmenter."""
        return [
            self._in_views(image, detections)
            if self._asker.applies_to(image) and len(detections)
            else self._whole.segment([image], [detections])[0]
            for image, detections in zip(images, found, strict=True)
        ]

    def _in_views(self, image: Image, detections: Detections) -> list[Instance]:
        boxes = padded(detections.boxes, self._options.box_padding, image.image_size)
        instances = []
        for seen in self._asker.ask(image, Prompts(boxes=boxes)):
            class_id, score, box = _detection(detections, seen.segment.prompt)
            instances.append(to_instance(seen.segment, class_id, score=score, box=box, crop_box=seen.view))
        return instances


class DetectorMasks:
    """The masks that the detector itself has made (`--sam none`)."""

    def segment(self, images: Sequence[Image], found: Sequence[Detections]) -> list[list[Instance]]:
        """See BoxSegmenter."""
        return [self._instances(detections) for detections in found]

    def _instances(self, detections: Detections) -> list[Instance]:
        instances = []
        for index, mask in enumerate(detections.masks or ()):
            class_id, score, box = _detection(detections, index)
            quality = Quality(detector_score=score, box_iou=box_iou(mask.box or (0, 0, 0, 0), box))
            instances.append(Instance(mask, class_id, quality, box))
        return instances


def _detection(detections: Detections, index: int) -> tuple[int, float, tuple[float, float, float, float]]:
    """Class id, score and box of one of them."""
    x1, y1, x2, y2 = (float(value) for value in detections.boxes[index])
    return int(detections.class_ids[index]), float(detections.scores[index]), (x1, y1, x2, y2)


class BoxAnnotator:
    """One mask for each object that the detector finds."""

    def __init__(
        self,
        detector: Detector,
        segmenter: BoxSegmenter,
        options: AutoAnnotateOptions,
        clock: StageClock,
        *,
        on_cpu: bool,
    ) -> None:
        self._detector = detector
        self._segmenter = segmenter
        self._options = options
        self._clock = clock
        self.on_cpu = on_cpu

    @property
    def names(self) -> Mapping[int, str]:
        """Return the detector's classes."""
        return self._detector.names

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image."""
        with self._clock.measure("detect"):
            found = self._detector.detect(images)
        return self.label(images, found)

    def label(self, images: Sequence[Image], found: Sequence[Detections]) -> list[AnnotatedImage]:
        """Return the annotation of each image, given what the detector has found."""
        instances = self._segmenter.segment(images, found)
        return [
            AnnotatedImage(self._annotation(image, those)) for image, those in zip(images, instances, strict=True)
        ]

    def _annotation(self, image: Image, instances: Sequence[Instance]) -> Annotation:
        """Without what is not worth a label. A mask that is dropped takes its own class with it."""
        kept: list[Instance] = []
        dropped: list[Dropped] = []
        seen: set[tuple[int, bytes]] = set()
        for instance in instances:
            identity = instance.class_id, instance.mask.counts
            reason = reason_to_drop(instance, self._options.filters)
            if reason is None and identity in seen:
                reason = "same class and mask as an object with a better score"  # a trainer rejects such rows
            if reason is not None:
                score = instance.quality.detector_score
                dropped.append(Dropped(reason, instance.class_id, instance.prompt_box, score))
                continue
            seen.add(identity)
            kept.append(instance)
        kept, doubles = without_duplicates(kept, self._options.duplicates.cross_class_iou, self.names)
        return Annotation(image.ref.key, image.image_size, tuple(kept), (*dropped, *doubles))

"""The worker: image refs in, outcomes out. It loads its models once and does not know where it runs.

ref -> read -> Image -> annotate -> Annotation -> publish -> files -> Outcome
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from samcli.config import AutoAnnotateOptions
from samcli.detectors import Detector, load_detector
from samcli.engine import Engine
from samcli.errors import ImageError, StorageError
from samcli.files import write_atomic
from samcli.formats import FORMATS
from samcli.formats.records import write_record
from samcli.images import read_image
from samcli.masks import box_iou
from samcli.networks import load_network
from samcli.outputs import Labels, Layout
from samcli.plan import Models, Plan
from samcli.polygons import PolygonOptions, Polygons, mask_to_polygons
from samcli.types import (
    Annotation,
    Detections,
    Dropped,
    Embedding,
    Image,
    ImageRef,
    Instance,
    Outcome,
    Prompts,
    Quality,
    Segment,
    Status,
)


@dataclass
class StageClock:
    """Seconds spent in each stage, over all threads; the stages overlap, so they sum to more than the run."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - start


def load_models(plan: Plan, models: Models, options: AutoAnnotateOptions) -> tuple[Detector, Engine]:
    """Detector and SAM, loaded.

    Raises:
        WeightsError: a checkpoint is refused, damaged, or not what it should be.
        UsageError: an unknown class or device.
    """
    precision = plan.manifest.recipe["precision"]
    engine = Engine(load_network(models.sam.path), models.sam.sha256, device=options.device, precision=precision)
    detector = load_detector(
        models.det,
        conf=options.conf,
        iou=options.iou,
        imgsz=options.imgsz,
        max_det=options.max_det,
        classes=options.classes,
        device=str(engine.device),
        half=precision != "fp32" and engine.device.type == "cuda",
        trust_weights=options.trust_weights,
    )
    return detector, engine


class Worker:
    """Detector, SAM and writers of one recipe. `read` and `publish` may be called from many threads."""

    def __init__(self, detector: Detector, engine: Engine, labels: Labels, options: AutoAnnotateOptions) -> None:
        self.clock = StageClock()
        self._detector = detector
        self._engine = engine
        self._labels = labels
        self._options = options
        self._polygon_options = PolygonOptions(options.holes, options.parts, options.min_polygon_iou)  # type: ignore[arg-type]

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        return self._detector.names

    @property
    def default_batch(self) -> int:
        """Images at once when the user does not say: a CPU gains nothing from more than one."""
        return 1 if self._engine.device.type == "cpu" else 8

    def read(self, ref: ImageRef) -> Image:
        """Decode one image.

        Raises:
            ImageError: it cannot be read.
            StorageError: the input folder is gone.
        """
        with self.clock.measure("decode"):
            try:
                return read_image(ref, max_pixels=self._options.max_pixels)
            except ImageError:
                if not ref.root.is_dir():  # unmounted or moved away: no verdict on the images
                    raise StorageError(
                        f"the input folder {ref.root} is gone; bring it back and run again"
                    ) from None
                raise

    def annotate(self, images: Sequence[Image]) -> list[Annotation]:
        """The annotation of each image. Images without detections never see the encoder."""
        with self.clock.measure("detect"):
            found = self._detector.detect(images)
        with_objects = [index for index, detections in enumerate(found) if len(detections)]
        embeddings: dict[int, Embedding] = {}
        if with_objects:
            with self.clock.measure("encode"):
                encoded = self._engine.encode([images[index] for index in with_objects])
            embeddings = dict(zip(with_objects, encoded, strict=True))
        return [
            self._segment(image, detections, embeddings.get(index))
            for index, (image, detections) in enumerate(zip(images, found, strict=True))
        ]

    def _segment(self, image: Image, detections: Detections, embedding: Embedding | None) -> Annotation:
        """One mask for each box. A mask that is dropped takes its own class with it, never another's."""
        annotation = Annotation(image.ref.key, image.image_size)
        if embedding is None:
            return annotation
        with self.clock.measure("segment"):
            segments = self._engine.segment(embedding, Prompts(boxes=detections.boxes))
        instances: list[Instance] = []
        dropped: list[Dropped] = []
        seen: set[tuple[int, bytes]] = set()
        for segment in segments:
            class_id = int(detections.class_ids[segment.prompt])
            box = tuple(float(value) for value in detections.boxes[segment.prompt])
            score = float(detections.scores[segment.prompt])
            reason = self._reason_to_drop(segment)
            if reason is None and (class_id, segment.mask.counts) in seen:
                reason = "same class and mask as an object with a better score"  # a trainer rejects such rows
            if reason is not None:
                dropped.append(Dropped(reason, class_id, box, score))  # type: ignore[arg-type]
                continue
            seen.add((class_id, segment.mask.counts))
            quality = Quality(
                detector_score=score,
                predicted_iou=segment.predicted_iou,
                stability=segment.stability,
                box_iou=box_iou(segment.mask.box or (0, 0, 0, 0), box),
            )
            instances.append(Instance(segment.mask, class_id, quality, box))  # type: ignore[arg-type]
        return replace(annotation, instances=tuple(instances), dropped=tuple(dropped))

    def _reason_to_drop(self, segment: Segment) -> str | None:
        """None to keep it. A limit that was not given drops nothing: predictions can lie outside 0..1."""
        options, mask = self._options, segment.mask
        if not mask.area:
            return "empty mask"
        if mask.area < options.min_mask_area:
            return f"{mask.area} pixels, fewer than --min-mask-area {options.min_mask_area}"
        if options.min_predicted_iou is not None and segment.predicted_iou < options.min_predicted_iou:
            return (
                f"predicted IoU {segment.predicted_iou:.3f} below --min-predicted-iou {options.min_predicted_iou:g}"
            )
        if options.min_stability is not None and segment.stability < options.min_stability:
            return f"stability {segment.stability:.3f} below --min-stability {options.min_stability:g}"
        return None

    def publish(self, ref: ImageRef, annotation: Annotation) -> Outcome:
        """Write the record, then the labels; each whole or not at all.

        Raises:
            StorageError: the output cannot be written at all.
            OSError: this image's files cannot be written.
        """
        with self.clock.measure("write"):
            polygons = [mask_to_polygons(i.mask, self._polygon_options) for i in annotation.instances]
            annotation = replace(annotation, instances=_with_polygon_iou(annotation.instances, polygons))
            write_atomic(Path(self._labels.layout.record(ref.key)), write_record(annotation, self.names))
            for name, path in zip(self._options.format, self._labels.paths(ref.key), strict=True):
                write_atomic(Path(path), FORMATS[name].render(annotation, polygons))
        counts = Counter(i.class_id for i in annotation.instances)
        whole_name = ref.key in self._labels.whole_names
        return Outcome(ref, Status.DONE, counts, dropped=len(annotation.dropped), whole_name=whole_name)


def publish_data_set_files(layout: Layout, names: Mapping[int, str], options: AutoAnnotateOptions) -> None:
    """Write what describes the whole data set, e.g. `data.yaml`, where it is not there already.

    People edit these: a run that goes on leaves them alone.
    """
    for name in options.format:
        for file, data in FORMATS[name].data_set_files(names, layout.splits_from_output()).items():
            if options.overwrite or not (layout.output / file).exists():
                write_atomic(layout.output / file, data)


def _with_polygon_iou(instances: Sequence[Instance], polygons: Sequence[Polygons]) -> tuple[Instance, ...]:
    return tuple(
        replace(instance, quality=replace(instance.quality, polygon_iou=shape.iou))
        for instance, shape in zip(instances, polygons, strict=True)
    )


def withdraw(labels: Labels, key: str) -> None:
    """Remove labels and record of an image: of an earlier version of it, or of an earlier run."""
    record = Path(labels.layout.record(key))
    if record.is_file():  # so the labels beside it are ours
        for path in (*map(Path, labels.paths(key)), record):
            path.unlink(missing_ok=True)

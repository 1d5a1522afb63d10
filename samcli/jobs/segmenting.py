"""Provide what commands that prompt for masks share: networks, embeddings, and segments that become instances."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from samcli.checkpoints.registry import WeightsFile
from samcli.config import (
    COMPILED_FROM,
    AnswerOptions,
    C,
    FastSamOptions,
    FilterOptions,
    JobOptions,
    SamOptions,
)
from samcli.detectors.fastsam import DEFAULTS, FastSam, is_fastsam, load_fastsam
from samcli.errors import UsageError
from samcli.images.tiling import cut_out
from samcli.jobs.base import Models
from samcli.jobs.plan import Plan
from samcli.jobs.worker import StageClock
from samcli.masks import Box, box_iou, mask_iou
from samcli.output.embeddings import EmbeddingStore, open_store
from samcli.types import (
    Dropped,
    Embedding,
    Image,
    ImageRef,
    Instance,
    PromptPoint,
    Prompts,
    Quality,
    Segment,
    Size,
)

if TYPE_CHECKING:  # a finished run ends without PyTorch
    import torch

    from samcli.sam.engine import Engine

log = logging.getLogger("samcli")


def load_engine(plan: Plan, models: Models, options: JobOptions) -> Engine:
    """SAM in the precision that the plan's recipe says.

    Raises:
        WeightsError: the checkpoint is refused, damaged, or not what it should be.
        UsageError: no such device, or the checkpoint is FastSAM.
    """
    compiled = is_compiled(options, len(plan.todo))
    return open_engine(models["sam"], options.segmenter, plan.precision, compiled=compiled)


def is_compiled(options: JobOptions, images: int) -> bool:
    """Return whether SAM is to be compiled for so many images; a warning where that was asked for and cannot be.

    Raises:
        UsageError: no such device.
    """
    if options.run.compile == "off":
        return False
    from samcli.sam.devices import choose_device
    from samcli.sam.networks.compiled import why_not_compile

    device = choose_device(options.segmenter.device).type
    if options.run.compile == "auto" and (device != "cuda" or images < COMPILED_FROM):
        return False
    reason = why_not_compile(device)
    if reason and options.run.compile == "on":
        log.warning("--compile on: %s here; going on without", reason)
    return reason is None


def check_prompted(sam: str) -> None:
    """Refuse what cannot be prompted, by its name or its file, before anything is downloaded.

    Raises:
        UsageError: it finds objects by itself.
    """
    if is_fastsam(sam):
        raise UsageError(
            f"--sam {sam} is no SAM but finds objects by itself, as FastSAM does: "
            "auto-annotate takes it as --det with --sam none, everything and prompt as --sam"
        )


def open_engine(sam: WeightsFile, options: SamOptions, precision: str, *, compiled: bool = False) -> Engine:
    """SAM in that precision. Raises what `load_engine` raises."""
    check_prompted(options.sam)
    from samcli.sam.engine import Engine
    from samcli.sam.networks import load_network

    network = replace(load_network(sam.path), compiled=compiled)
    return Engine(network, sam.sha256, device=options.device, precision=precision)


def detector_hardware(plan: Plan, options: JobOptions) -> tuple[torch.device, str]:
    """Return the device and the precision of a detector: the device asked for, the precision that the plan's recipe
    says.

    Raises:
        UsageError: no such device.
    """
    return device_for(options.segmenter, plan.precision), plan.precision


def device_for(options: SamOptions, precision: str) -> torch.device:
    """Return the device asked for, set to that precision."""
    from samcli.sam.devices import choose_device, compute_exactly

    if precision == "fp32":
        compute_exactly()
    return choose_device(options.device)


def refuse(options: C, names: Collection[str], why: str) -> C:
    """Return the options without those that do not apply, as far as only the environment or a config file set them.

    Raises:
        UsageError: one of them was given on the command line.
    """
    if passed_over := options.changed(sorted(options.implied & set(names))):
        log.info("passed over, as it does not apply %s: %s", why, ", ".join(passed_over))
    options = options.without_implied(names)
    if flags := options.changed(names):
        raise UsageError(f"{', '.join(flags)} {'does' if len(flags) == 1 else 'do'} not apply {why}")
    return options


def check_family(sam: str, options: C, formats: Iterable[str], only_sam: Collection[str]) -> C:
    """Refuse what the segmenter named `sam` cannot do; `only_sam`: the options that FastSAM has no use for.

    Gives the options that apply; see `refuse`.

    Raises:
        UsageError: naming the options.
    """
    if not is_fastsam(sam):
        return refuse(options, DEFAULTS.keys(), "to SAM, only to FastSAM (--sam FastSAM-s.pt)")
    options = refuse(options, only_sam, "to FastSAM; it has --conf, --iou, --imgsz and --max-det")
    if impossible := sorted({"edges", "logits"}.intersection(formats)):
        raise UsageError(f"--format {impossible[0]} does not apply to FastSAM: it gives masks, no logits")
    return options


def find_fastsam(
    plan: Plan, models: Models, options: JobOptions, fastsam: FastSamOptions
) -> tuple[FastSam, torch.device] | None:
    """FastSAM and where it runs, if that is what the checkpoint given as `--sam` is; None if it is not.

    Raises:
        WeightsError: the checkpoint is refused, damaged, or not what it should be.
        UsageError: no such device.
    """
    if not is_fastsam(str(models["sam"].path)):
        return None
    device, precision = detector_hardware(plan, options)
    return load_fastsam(models["sam"], fastsam, device=str(device), precision=precision), device


class Encoder:
    """Embeddings of images: from a store where it has them, else from the image encoder.

    Fresh ones are rounded as the store rounds: which images it had makes no difference to the masks.
    """

    def __init__(self, engine: Engine, store: EmbeddingStore | None, clock: StageClock) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock

    def notes(self) -> list[str]:
        """Return a note on how many embeddings were reused."""
        if self._store is None:
            return []
        counts = self._store.counts
        anew = ", ".join(f"{counts[state]} {state}" for state in ("missing", "stale", "damaged") if counts[state])
        tiles = self._store.tiles
        of_tiles = f"; tiles: {tiles['read']} read, {tiles['missing']} encoded again" if tiles else ""
        return [f"Embeddings: {counts['read']} read" + (f"; encoded again: {anew}" if anew else "") + of_tiles]

    def size_of(self, ref: ImageRef) -> Size | None:
        """Return the image's size if the store has its embedding: then nobody needs its pixels to find masks."""
        return self._store.size_of(ref) if self._store else None

    def encode(self, images: Sequence[Image]) -> list[Embedding]:
        """One for each image."""
        with self._clock.measure("encode"):
            stored = [self._store.read(image.ref) if self._store else None for image in images]
            missing = [image for image, embedding in zip(images, stored, strict=True) if embedding is None]
            fresh = iter(self._engine.encode(missing) if missing else [])
            if self._store is None:
                return list(fresh)
            return [embedding or self._store.rounded(next(fresh)) for embedding in stored]

    def encode_tile(self, image: Image, tile: Box) -> Embedding:
        """Return the embedding of a part of an image."""
        with self._clock.measure("encode"):
            if self._store is None:
                return self._engine.encode([cut_out(image, tile)])[0]
            stored = self._store.read_tile(image.ref, tile)
            return stored or self._store.rounded(self._engine.encode([cut_out(image, tile)])[0])


def open_encoder(engine: Engine, folder: str | None, clock: StageClock) -> Encoder:
    """Return an encoder that reads from `folder` what is stored there.

    Raises:
        UsageError: there is no store, or it is another model's.
    """
    return Encoder(engine, open_store(folder, engine.model, engine.precision) if folder else None, clock)


def ask(
    engine: Engine,
    embedding: Embedding,
    prompts: Prompts,
    options: AnswerOptions,
    *,
    multimask: bool = False,
    return_logits: bool = False,
) -> list[Segment]:
    """Return the masks of N objects: one each, the best of three, or all three; refined if asked for.

    To refine is to ask again with the same prompt and the logits of the best mask so far, for a single mask: the
    SAM paper's extra iteration.
    """
    three = multimask or options.best_mask
    segments = engine.segment(
        embedding, prompts, multimask=three, return_logits=return_logits or options.refine > 0
    )
    if options.best_mask:
        segments = best_of_each(segments)
    for step in range(options.refine):
        logits = np.stack([segment.low_res_logits for segment in segments if segment.low_res_logits is not None])
        last = step == options.refine - 1
        segments = engine.segment(
            embedding, replace(prompts, mask_logits=logits), return_logits=return_logits or not last
        )
    return segments


def best_of_each(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segment with the highest predicted IoU for each prompt, the first of equals."""
    best: dict[int, Segment] = {}
    for segment in segments:
        if segment.prompt not in best or segment.predicted_iou > best[segment.prompt].predicted_iou:
            best[segment.prompt] = segment
    return [best[prompt] for prompt in sorted(best)]


def reason_to_drop(instance: Instance, options: FilterOptions) -> str | None:
    """None to keep it. A limit that was not given drops nothing: predictions can lie outside 0..1."""
    mask, quality = instance.mask, instance.quality
    if not mask.area:
        return "empty mask"
    if mask.area < options.min_mask_area:
        return f"{mask.area} pixels, fewer than --min-mask-area {options.min_mask_area}"
    if _below(quality.predicted_iou, options.pred_iou_thresh):
        return f"predicted IoU {quality.predicted_iou:.3f} below --pred-iou-thresh {options.pred_iou_thresh:g}"
    if _below(quality.stability, options.stability_score_thresh):
        return (
            f"stability {quality.stability:.3f} below --stability-score-thresh {options.stability_score_thresh:g}"
        )
    return None


def without_duplicates(
    instances: Sequence[Instance], iou: float, names: Mapping[int, str]
) -> tuple[list[Instance], list[Dropped]]:
    """Return the instances that are no double of a better one of another class, in order, and the doubles.

    A double has a mask IoU above `iou` with it. Masks are compared only where areas and boxes allow that.
    """
    if iou >= 1:
        return list(instances), []
    scores = [instance.quality.detector_score or 0.0 for instance in instances]
    rivals = _possible_doubles(instances, iou)
    kept: set[int] = set()
    doubles: dict[int, Dropped] = {}
    for index in sorted(range(len(instances)), key=lambda i: -scores[i]):
        instance = instances[index]
        overlaps = ((mask_iou(instances[i].mask, instance.mask), i) for i in rivals[index] if i in kept)
        found = next(((overlap, i) for overlap, i in overlaps if overlap > iou), None)
        if found is None:
            kept.add(index)
            continue
        other = instances[found[1]].class_id
        reason = (
            f"mask IoU {found[0]:.3f} with an object of class {names.get(other, other)} and a better score, "
            f"above --cross-class-iou {iou:g}"
        )
        doubles[index] = Dropped(reason, instance.class_id, instance.prompt_box, instance.quality.detector_score)
    return [instances[index] for index in sorted(kept)], [doubles[index] for index in sorted(doubles)]


def _possible_doubles(instances: Sequence[Instance], iou: float) -> list[list[int]]:
    """Return for each instance those of other classes whose mask IoU with it may be above `iou`.

    Of two masks the common pixels lie within the common part of their boxes, and are at most the smaller mask; all
    pixels of both are at least the larger one.
    """
    boxes = np.array([instance.mask.box or (0, 0, 0, 0) for instance in instances], np.float64).reshape(-1, 4)
    areas = np.array([instance.mask.area for instance in instances], np.float64)
    classes = np.array([instance.class_id for instance in instances])
    sides = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])
    most = np.minimum(np.maximum(sides, 0).prod(2), np.minimum(areas[:, None], areas))
    possible = (most > iou * np.maximum(areas[:, None], areas)) & (classes[:, None] != classes)
    return [np.flatnonzero(row).tolist() for row in possible]


def _below(figure: float | None, limit: float | None) -> bool:
    return figure is not None and limit is not None and figure < limit


def to_instance(
    segment: Segment,
    class_id: int,
    *,
    score: float | None = None,
    box: tuple[float, float, float, float] | None = None,
    points: tuple[PromptPoint, ...] = (),
    crop_box: tuple[int, int, int, int] | None = None,
) -> Instance:
    """Return a segment with its class, its figures and what prompted it."""
    quality = Quality(
        detector_score=score,
        predicted_iou=segment.predicted_iou,
        stability=segment.stability,
        box_iou=None if box is None else box_iou(segment.mask.box or (0, 0, 0, 0), box),
    )
    return Instance(segment.mask, class_id, quality, box, points, crop_box)

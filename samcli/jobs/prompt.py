"""Masks for what the user points at: points, boxes, masks, for one image or, from files, for many."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samcli.config import PromptOptions
from samcli.detectors.fastsam import FastSam, choose
from samcli.detectors.ultralytics import is_exported
from samcli.errors import ImageError, UsageError
from samcli.jobs.base import Job, Models
from samcli.jobs.beside import beside_existing
from samcli.jobs.class_mapping import MappedSource, open_class_map
from samcli.jobs.plan import Plan
from samcli.jobs.segmenting import (
    Encoder,
    ask,
    check_family,
    find_fastsam,
    load_engine,
    open_encoder,
    reason_to_drop,
    refuse,
    to_instance,
)
from samcli.jobs.views import TiledAsker, open_tiling
from samcli.jobs.worker import AnnotatedImage, SizeOf, StageClock, Worker, no_size
from samcli.output.embeddings import store_facts
from samcli.prompts import ObjectPrompt, PromptSource, command_line_prompts, group, kept_mask, open_prompts
from samcli.types import Annotation, Detections, Dropped, Image, Instance, PromptPoint, Segment

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

_SWITCHES = {"cutout": "cutouts", "overlay": "overlay", "save_logits": "logits"}
"""Options that are short for a format."""

_ONLY_SAM = (
    "mask_input", "multimask", "refine", "stability_score_thresh", "embeddings", "save_logits", "compile", "tile",
    "tile_overlap",
)  # fmt: skip
"""Options that FastSAM has no use for."""


class Prompt(Job[AnnotatedImage]):
    """Images and prompts in; labels, records and a journal out."""

    options: PromptOptions
    command = "prompt"
    provides = frozenset({"pixels", "logits"})

    def __init__(self, options: PromptOptions) -> None:
        if options.multimask and (options.answers.refine or options.answers.best_mask):
            raise UsageError("--multimask keeps all three masks, --best-mask and --refine one: give either")
        self.options = options
        if options.prompts is None or Path(options.prompts).expanduser().is_file():
            self.options = refuse(options, ("names",), "to these prompts, only to a folder of YOLO labels")
        self.options = check_family(options.segmenter.sam, self.options, self.format_names, _ONLY_SAM)
        if self.options.tiles.tile is not None and "logits" in self.format_names:
            raise UsageError("--tile does not apply to --save-logits: logits are those of the whole image")
        self._class_map = open_class_map(options.class_mapping)
        self._source = self._mapped(open_source(self.options))
        self._images = 0
        self._is_alike = self.options.prompts is None
        """The same prompts for each image of a folder."""

    def _mapped(self, source: PromptSource) -> PromptSource:
        return source if self._class_map is None else MappedSource(source, self._class_map)

    @property
    def checkpoints(self) -> dict[str, str]:
        """SAM's, or FastSAM's."""
        return {"sam": self.options.segmenter.sam}

    @property
    def remedy(self) -> str:
        """Return what to do about failed images: the same prompts would fail again."""
        changed = (
            "Other prompts for a folder need --overwrite" if self._is_alike else "Changed prompts are tried again"
        )
        return f"{changed}. After other changes rerun with --retry-failed."

    @property
    def computes_as_exported(self) -> bool:
        """FastSAM can have been exported."""
        return is_exported(self.options.segmenter.sam)

    @property
    def format_names(self) -> tuple[str, ...]:
        """Those asked for by name, and by switches."""
        switched = [name for switch, name in _SWITCHES.items() if getattr(self.options, switch)]
        return tuple(dict.fromkeys([*self.options.format, *switched]))

    def matched(self, keys: Sequence[str]) -> Prompt:
        """With the prompts held against these images; this job stays as it is."""
        job = copy.copy(self)
        job._source, job._images = self._source.matched(keys), len(keys)
        return job

    def of_one_image(self) -> Prompt:
        """Return the job for a single image: its prompts may change from one call to the next."""
        if self.options.prompts is not None:
            return self
        job = copy.copy(self)
        points, boxes, mask = self.options.point, self.options.box, self.options.mask_input
        alone = command_line_prompts(points, boxes, Path(mask) if mask else None)
        job._source, job._is_alike = self._mapped(replace(alone, one_image=True)), False
        return job

    def asked(self) -> Collection[str] | None:
        """Return the keys of the images that the prompts are about."""
        return self._source.keys()

    def lost(self) -> Mapping[str, str]:
        """Return the images that labels list and that are not in the input."""
        return self._source.lost

    def recipe(self) -> dict[str, Any]:
        """Return the recipe, with what the prompts say about every image; the rest is in each image's `digest`."""
        recipe = {
            **super().recipe(),
            "format": list(self.format_names),
            **store_facts(self.options.store.embeddings),
        }
        for name in (*_SWITCHES, "point", "box", "mask_input", "prompts", "class_map"):
            recipe.pop(name, None)
        return {**recipe, **self._source.recipe()}

    def digest(self, key: str) -> str:
        """Return the hash of the image's own prompts."""
        try:
            return self._source.digest(key)
        except ImageError:
            return "unreadable"

    def load(self, plan: Plan, models: Models) -> Worker:
        """SAM or FastSAM, and the prompts."""
        options, clock = self.options, StageClock()
        notes: Callable[[], list[str]] = list
        size_of: SizeOf = no_size
        logits = "logits" in self.format_names
        segmenter: PromptSegmenter
        if found := find_fastsam(plan, models, options, options.fastsam):
            fastsam, device = found
            segmenter = FastSamSegmenter(fastsam, options, clock)
        else:
            engine = load_engine(plan, models, options)
            device = engine.device
            encoder = open_encoder(engine, options.store.embeddings, clock)
            notes, size_of = encoder.notes, encoder.size_of
            segmenter = SamSegmenter(engine, encoder, options, clock, logits=logits)
            if tiling := open_tiling(options.tiles, engine.side):
                asker = TiledAsker(engine, encoder, tiling, options.answers, clock)
                segmenter = TiledSegmenter(segmenter, asker, multimask=options.multimask)
        on_cpu, told = device.type == "cpu", set(self._source.notes)
        annotator = PromptAnnotator(segmenter, self._source, options, logits=logits, on_cpu=on_cpu)
        beside = beside_existing(annotator, self, plan)
        return Worker(
            beside.annotator,
            plan.labels,
            self.formats,
            self.shapes,
            limits=options.input,
            clock=clock,
            notes=lambda: [*notes(), *self._later_notes(told), *beside.notes()],
            size_of=size_of,
        )

    def _later_notes(self, told: Collection[str]) -> list[str]:
        """Return the notes about prompts that could not be used, beyond those given before the run."""
        return [note for note in self._source.notes if note not in told]

    def notes(self, output: Path) -> list[str]:
        """Return the notes, with those about omitted prompts."""
        alike = []
        if self.options.prompts is None and self._images > 1:
            alike = [f"The same prompts for each of {self._images} images; --prompts gives each its own."]
        return [*super().notes(output), *self._source.notes, *alike]


def open_source(options: PromptOptions) -> PromptSource:
    """Return the prompts that the options name.

    Raises:
        UsageError: none, or from two places at once, or they cannot be read.
    """
    on_line = bool(options.point or options.box or options.mask_input)
    if options.prompts is None:
        return command_line_prompts(
            options.point, options.box, Path(options.mask_input) if options.mask_input else None
        )
    if on_line:
        raise UsageError("--prompts and --point, --box or --mask-input: give one or the other")
    names = Path(options.names).expanduser() if options.names else None
    return open_prompts(Path(options.prompts).expanduser(), names, options.reading)


@dataclass(frozen=True)
class _Answer:
    """Result for one object of an image."""

    instance: Instance | None = None
    dropped: Dropped | None = None
    logits: NDArray[np.float32] | None = None


Objects = Sequence[ObjectPrompt]
Answers = list[list[Segment]]
"""For each object of an image, in their order, its masks, best first; none for a polygon that is kept."""


class PromptSegmenter(Protocol):
    """Finds the masks of the objects that are asked for."""

    def segment(self, images: Sequence[Image], wanted: Sequence[Objects]) -> list[Answers]:
        """Return the answers for each image."""
        ...


class SamSegmenter:
    """SAM, prompted with each object."""

    def __init__(
        self, engine: Engine, encoder: Encoder, options: PromptOptions, clock: StageClock, *, logits: bool
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._options = options
        self._clock = clock
        self._logits = logits

    def segment(self, images: Sequence[Image], wanted: Sequence[Objects]) -> list[Answers]:
        """See PromptSegmenter. Images for which SAM has nothing to do never see the encoder."""
        groups = [group(objects) for objects in wanted]
        asking = [index for index, each in enumerate(groups) if each]
        encoded = self._encoder.encode([images[index] for index in asking]) if asking else []
        embeddings = dict(zip(asking, encoded, strict=True))
        answers: list[Answers] = [[[] for _ in objects] for objects in wanted]
        for index, embedding in embeddings.items():
            for members, prompts in groups[index]:
                with self._clock.measure("segment"):
                    segments = ask(
                        self._engine,
                        embedding,
                        prompts,
                        self._options.answers,
                        multimask=self._options.multimask,
                        return_logits=self._logits,
                    )
                for segment in segments:
                    answers[index][members[segment.prompt]].append(segment)
        return answers


class TiledSegmenter:
    """SAM, prompted with each object: in large images in the view in which the object lies best."""

    def __init__(self, whole: PromptSegmenter, asker: TiledAsker, *, multimask: bool) -> None:
        """`whole`: for images that are not tiled."""
        self._whole = whole
        self._asker = asker
        self._multimask = multimask

    def segment(self, images: Sequence[Image], wanted: Sequence[Objects]) -> list[Answers]:
        """See PromptSegmenter."""
        return [
            self._in_views(image, objects)
            if self._asker.applies_to(image)
            else self._whole.segment([image], [objects])[0]
            for image, objects in zip(images, wanted, strict=True)
        ]

    def _in_views(self, image: Image, objects: Objects) -> Answers:
        answers: Answers = [[] for _ in objects]
        for members, prompts in group(objects):
            for seen in self._asker.ask(image, prompts, multimask=self._multimask):
                answers[members[seen.segment.prompt]].append(seen.segment)
        return answers


class FastSamSegmenter:
    """FastSAM's masks of everything, among which the prompts choose."""

    def __init__(self, fastsam: FastSam, options: PromptOptions, clock: StageClock) -> None:
        self._fastsam = fastsam
        self._options = options
        self._clock = clock

    def segment(self, images: Sequence[Image], wanted: Sequence[Objects]) -> list[Answers]:
        """See PromptSegmenter.

        Raises:
            ImageError: an object has a mask to start from.
        """
        for prompt in (prompt for objects in wanted for prompt in objects if prompt.mask_input):
            where = f"{prompt.where}: " if prompt.where else ""
            raise ImageError(f"{where}mask_input does not apply to FastSAM; expected a box or points")
        asking = [index for index, objects in enumerate(wanted) if not all(prompt.rings for prompt in objects)]
        with self._clock.measure("segment"):
            found = self._fastsam.find([images[index] for index in asking]) if asking else []
        answers: list[Answers] = [[[] for _ in objects] for objects in wanted]
        for index, detections in zip(asking, found, strict=True):
            answers[index] = self._answers(detections, wanted[index])
        return answers

    def _answers(self, found: Detections, objects: Objects) -> Answers:
        masks = found.masks or ()
        most = 1 if self._options.answers.best_mask else len(masks)
        asking = [index for index, prompt in enumerate(objects) if not prompt.rings]
        answers: Answers = [[] for _ in objects]
        for index, chosen in zip(asking, choose(masks, [objects[index] for index in asking]), strict=True):
            answers[index] = [
                Segment(index, rank, masks[number], float(found.scores[number]), None)
                for rank, number in enumerate(chosen[:most])
            ]
        return answers


class PromptAnnotator:
    """The masks of the objects that are asked for, in their order."""

    def __init__(
        self,
        segmenter: PromptSegmenter,
        source: PromptSource,
        options: PromptOptions,
        *,
        logits: bool,
        on_cpu: bool,
    ) -> None:
        self._segmenter = segmenter
        self._source = source
        self._options = options
        self._logits = logits
        self.on_cpu = on_cpu

    @property
    def names(self) -> Mapping[int, str]:
        """Return the source's classes."""
        return self._source.names

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image."""
        wanted = [self._source.for_image(image.ref.key, image.image_size) for image in images]
        found = self._segmenter.segment(images, wanted)
        return [self._finding(*each) for each in zip(images, wanted, found, strict=True)]

    def _finding(self, image: Image, objects: Objects, found: Answers) -> AnnotatedImage:
        flat: list[_Answer] = []
        for prompt, segments in zip(objects, found, strict=True):
            if prompt.rings:
                flat.append(_Answer(Instance(kept_mask(prompt, image.image_size), prompt.class_id)))
            elif segments:
                flat += [self._answer(segment, prompt) for segment in segments]
            else:
                flat.append(_Answer(dropped=_dropped("nothing was found there", prompt)))
        kept = [answer for answer in flat if answer.instance is not None]
        annotation = Annotation(
            image.ref.key,
            image.image_size,
            tuple(answer.instance for answer in kept if answer.instance is not None),
            tuple(answer.dropped for answer in flat if answer.dropped is not None),
            omitted=self._source.omitted(image.ref.key),
        )
        return AnnotatedImage(annotation, self._stacked(kept) if self._logits else None)

    def _answer(self, segment: Segment, prompt: ObjectPrompt) -> _Answer:
        instance = to_instance(segment, prompt.class_id, score=prompt.score, box=prompt.box, points=_points(prompt))
        reason = reason_to_drop(instance, self._options.filters)
        if reason is not None:
            return _Answer(dropped=_dropped(reason, prompt))
        return _Answer(instance, logits=segment.low_res_logits)

    def _stacked(self, answers: Sequence[_Answer]) -> NDArray[np.float32]:
        """Logits (N, h, w) of the instances; NaN for polygons that were kept as they were."""
        shape = next((answer.logits.shape for answer in answers if answer.logits is not None), (0, 0))
        nothing = np.full(shape, np.nan, np.float32)
        stacked = [nothing if answer.logits is None else answer.logits for answer in answers]
        return np.stack(stacked) if stacked else np.zeros((0, *shape), np.float32)


def _points(prompt: ObjectPrompt) -> tuple[PromptPoint, ...]:
    return tuple((x, y, label) for (x, y), label in zip(prompt.points, prompt.point_labels, strict=True))


def _dropped(reason: str, prompt: ObjectPrompt) -> Dropped:
    return Dropped(reason, prompt.class_id, prompt.box, prompt.score, _points(prompt))

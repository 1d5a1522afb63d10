"""Masks for what the user points at: points, boxes, masks, for one image or, from files, for many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.commands.segmenting import Encoder, load_engine, open_encoder, reason_to_drop, to_instance
from samcli.config import PromptOptions
from samcli.embeddings import store_facts
from samcli.engine import Engine
from samcli.errors import ImageError, UsageError
from samcli.job import Job, Models
from samcli.pipeline import Finding, StageClock, Worker
from samcli.plan import Plan
from samcli.prompts import ObjectPrompt, PromptSource, command_line_prompts, group, kept_mask, open_prompts
from samcli.types import Annotation, Dropped, Embedding, Image, Instance, Prompts, Segment

_SWITCHES = {"cutout": "cutouts", "overlay": "overlay", "save_logits": "logits"}
"""Options that are short for a format."""


class Prompt(Job):
    """Images and prompts in; labels, records and a journal out."""

    options: PromptOptions
    command = "prompt"

    def __init__(self, options: PromptOptions) -> None:
        self.options = options
        if options.multimask and (options.refine or options.best_mask):
            raise UsageError("--multimask keeps all three masks, --best-mask and --refine one: give either")
        self._source = open_source(options)
        self._keys: list[str] | None = None

    @property
    def checkpoints(self) -> dict[str, str]:
        """SAM's."""
        return {"sam": self.options.sam}

    @property
    def format_names(self) -> tuple[str, ...]:
        """Those asked for by name, and by switches."""
        switched = [name for switch, name in _SWITCHES.items() if getattr(self.options, switch)]
        return tuple(dict.fromkeys([*self.options.format, *switched]))

    def select(self, keys: Sequence[str]) -> Collection[str] | None:
        """Only images that the prompts speak of."""
        if self._keys != keys:
            if self._keys is not None:  # images have come or gone since
                self._source = open_source(self.options)
            self._source = self._source.matched(keys)
            self._keys = list(keys)
        return self._source.keys()

    def recipe(self) -> dict[str, Any]:
        """What the prompts say about every image belongs to it; what they say about one is in its `digest`."""
        recipe = {**super().recipe(), "format": list(self.format_names), **store_facts(self.options.embeddings)}
        for name in (*_SWITCHES, "point", "box", "mask_input", "prompts"):
            recipe.pop(name, None)
        return {**recipe, **self._source.recipe()}

    def digest(self, key: str) -> str:
        """Of the image's own prompts."""
        try:
            return self._source.digest(key)
        except ImageError:
            return "unreadable"

    def load(self, plan: Plan, models: Models) -> Worker:
        """SAM, and the prompts."""
        options, clock = self.options, StageClock()
        engine = load_engine(plan, models, options)
        encoder = open_encoder(engine, options.embeddings, clock)
        annotator = PromptAnnotator(
            engine, encoder, self._source, options, clock, logits="logits" in self.format_names
        )
        return Worker(annotator, plan.labels, self.formats, options, max_pixels=options.max_pixels, clock=clock)

    def notes(self, output: Path) -> list[str]:
        """What the prompts leave out, too."""
        return [*super().notes(output), *self._source.notes]


def open_source(options: PromptOptions) -> PromptSource:
    """The prompts that the options name.

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
    return open_prompts(Path(options.prompts).expanduser())


@dataclass(frozen=True)
class _Answer:
    """What became of one object of an image."""

    instance: Instance | None = None
    dropped: Dropped | None = None
    logits: NDArray[np.float32] | None = None


class PromptAnnotator:
    """The masks of the objects that are asked for, in their order."""

    def __init__(
        self,
        engine: Engine,
        encoder: Encoder,
        source: PromptSource,
        options: PromptOptions,
        clock: StageClock,
        *,
        logits: bool,
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._source = source
        self._options = options
        self._clock = clock
        self._logits = logits
        self.on_cpu = engine.device.type == "cpu"

    @property
    def names(self) -> Mapping[int, str]:
        """The source's classes."""
        return self._source.names

    def annotate(self, images: Sequence[Image]) -> list[Finding]:
        """The annotation of each image. Images for which SAM has nothing to do never see the encoder."""
        wanted = [self._source.for_image(image.ref.key, image.image_size) for image in images]
        groups = [group(objects) for objects in wanted]
        asking = [index for index, each in enumerate(groups) if each]
        encoded = self._encoder.encode([images[index] for index in asking]) if asking else []
        embeddings = dict(zip(asking, encoded, strict=True))
        return [
            self._finding(image, objects, grouped, embeddings.get(index))
            for index, (image, objects, grouped) in enumerate(zip(images, wanted, groups, strict=True))
        ]

    def _finding(
        self,
        image: Image,
        objects: Sequence[ObjectPrompt],
        groups: Sequence[tuple[list[int], Prompts]],
        embedding: Embedding | None,
    ) -> Finding:
        answers: list[list[_Answer]] = [
            [_Answer(Instance(kept_mask(prompt, image.image_size), prompt.class_id))] if prompt.rings else []
            for prompt in objects
        ]
        for members, prompts in groups if embedding is not None else ():
            with self._clock.measure("segment"):
                segments = ask(self._engine, embedding, prompts, self._options, return_logits=self._logits)  # type: ignore[arg-type]
            for segment in segments:
                index = members[segment.prompt]
                answers[index].append(self._answer(segment, objects[index]))
        flat = [answer for each in answers for answer in each]
        kept = [answer for answer in flat if answer.instance is not None]
        annotation = Annotation(
            image.ref.key,
            image.image_size,
            tuple(answer.instance for answer in kept if answer.instance is not None),
            tuple(answer.dropped for answer in flat if answer.dropped is not None),
        )
        return Finding(annotation, self._stacked(kept) if self._logits else None)

    def _answer(self, segment: Segment, prompt: ObjectPrompt) -> _Answer:
        points = tuple((x, y, label) for (x, y), label in zip(prompt.points, prompt.point_labels, strict=True))
        reason = reason_to_drop(segment, self._options)
        if reason is not None:
            return _Answer(dropped=Dropped(reason, prompt.class_id, prompt.box, prompt.score, points))
        instance = to_instance(segment, prompt.class_id, score=prompt.score, box=prompt.box, points=points)
        return _Answer(instance, logits=segment.low_res_logits)

    def _stacked(self, answers: Sequence[_Answer]) -> NDArray[np.float32]:
        """Logits (N, h, w) of the instances; NaN for polygons that were kept as they were."""
        shape = next((answer.logits.shape for answer in answers if answer.logits is not None), (0, 0))
        nothing = np.full(shape, np.nan, np.float32)
        stacked = [nothing if answer.logits is None else answer.logits for answer in answers]
        return np.stack(stacked) if stacked else np.zeros((0, *shape), np.float32)


def ask(
    engine: Engine, embedding: Embedding, prompts: Prompts, options: PromptOptions, *, return_logits: bool = False
) -> list[Segment]:
    """The masks of N objects: one each, the best of three, or all three; refined if asked for.

    To refine is to ask again with the same prompt and the logits of the best mask so far, for a single mask: the
    SAM paper's extra iteration.
    """
    three = options.multimask or options.best_mask
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
    """Of each prompt's segments the one with the highest predicted IoU, the first of equals."""
    best: dict[int, Segment] = {}
    for segment in segments:
        if segment.prompt not in best or segment.predicted_iou > best[segment.prompt].predicted_iou:
            best[segment.prompt] = segment
    return [best[prompt] for prompt in sorted(best)]

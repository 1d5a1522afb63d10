"""Label images of a folder that holds labels already: classes go by the names and numbers of these labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from samcli.errors import UsageError
from samcli.jobs.base import Job, R
from samcli.jobs.plan import Plan
from samcli.jobs.worker import AnnotatedImage, Annotator
from samcli.labels.class_map import MappedClasses
from samcli.labels.class_names import find_names_file
from samcli.labels.existing import ExistingLabels, existing_names
from samcli.masks import box_iou, mask_iou
from samcli.output.layout import Layout
from samcli.types import Annotation, Dropped, Image, Instance


class Beside(NamedTuple):
    """An annotator that heeds the labels that were there before, and what the user should hear of at the end."""

    annotator: Annotator
    notes: Callable[[], list[str]]


def beside_existing(annotator: Annotator, job: Job[R], plan: Plan) -> Beside:
    """Return the annotator with the class numbers of the labels that were there before, and with their objects.

    Raises:
        UsageError: the labels that were there cannot be read, or a format cannot hold both.
    """
    options = job.beside
    if options is None or options.existing == "refuse":
        return Beside(annotator, list)
    names = existing_names(plan.layout, job.format_names)
    classes = merged_classes(names, annotator.names)
    renumbered = RenumberedAnnotator(annotator, classes) if names else annotator
    new = [class_id for class_id in classes.names if class_id not in names] if names else []
    counted = CountingAnnotator(renumbered)
    if options.existing == "add":
        if "logits" in job.format_names:
            raise UsageError("--existing add does not go with --format logits: objects that were there have none")
        keys = [*(ref.key for ref in plan.todo), *plan.done, *plan.failed, *plan.collisions]
        existing = ExistingLabels(plan.layout, plan.existing, counted.names, keys)
        return Beside(
            AddingAnnotator(counted, existing, options.existing_iou),
            lambda: _missing_names(plan.layout, counted, new),
        )
    return Beside(counted, lambda: _missing_names(plan.layout, counted, new))


def merged_classes(existing: Mapping[int, str], names: Mapping[int, str]) -> MappedClasses:
    """Return all classes, new ones after those that exist, and which of them each of `names` is.

    Classes are one where their names are, but for case and surrounding spaces.
    """
    merged = dict(existing)
    known = {name.strip().casefold(): class_id for class_id, name in sorted(existing.items(), reverse=True)}
    ids: dict[int, int | None] = {}
    for class_id, name in sorted(names.items()):
        found = known.setdefault(name.strip().casefold(), max(merged, default=-1) + 1)
        merged.setdefault(found, name)
        ids[class_id] = found
    return MappedClasses(merged, ids)


def _missing_names(layout: Layout, counted: CountingAnnotator, new: Sequence[int]) -> list[str]:
    """Say which classes of the new labels the names file that was there does not have: it is left as it is."""
    used = [f"{class_id}: {counted.names[class_id]}" for class_id in new if class_id in counted.used]
    file = find_names_file(layout.output) if used else None
    if file is None or not layout.preserved(str(file)).is_file():
        return []
    return [f"{file} lacks classes of the new labels, add them before training: {', '.join(used)}"]


class RenumberedAnnotator:
    """An annotator whose classes have other numbers."""

    def __init__(self, annotator: Annotator, classes: MappedClasses) -> None:
        self._annotator = annotator
        self._classes = classes
        self.names: Mapping[int, str] = classes.names
        self.on_cpu = annotator.on_cpu

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """See Annotator."""
        found = self._annotator.annotate(images)
        return [replace(one, annotation=self._classes.annotation(one.annotation)) for one in found]


class CountingAnnotator:
    """An annotator that remembers of which classes it has found objects."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self.names = annotator.names
        self.on_cpu = annotator.on_cpu
        self.used: set[int] = set()

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """See Annotator."""
        found = self._annotator.annotate(images)
        self.used |= {instance.class_id for one in found for instance in one.annotation.instances}
        return found


class AddingAnnotator:
    """An annotator that adds to the objects that an image had before those that are none of them."""

    def __init__(self, annotator: Annotator, existing: ExistingLabels, iou: float) -> None:
        self._annotator = annotator
        self._existing = existing
        self._iou = iou
        self.names = annotator.names
        self.on_cpu = annotator.on_cpu

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """See Annotator.

        Raises:
            ImageError: the labels that an image had cannot be read.
        """
        before = {
            image.ref.key: self._existing.annotation(image.ref.key, image.image_size)
            for image in images
            if image.ref.key in self._existing
        }
        found = self._annotator.annotate(images)
        return [
            replace(one, annotation=self._added(before[one.annotation.key], one.annotation))
            if one.annotation.key in before
            else one
            for one in found
        ]

    def _added(self, before: Annotation, found: Annotation) -> Annotation:
        kept, doubles = without_known(before.instances, found.instances, self._iou)
        return replace(
            found,
            instances=(*before.instances, *kept),
            dropped=(*found.dropped, *doubles),
            existing=before.existing,
        )


def without_known(
    known: Sequence[Instance], found: Sequence[Instance], iou: float
) -> tuple[list[Instance], list[Dropped]]:
    """Return the found instances that overlap no known one of their class by more than `iou`, and the others."""
    kept: list[Instance] = []
    doubles: list[Dropped] = []
    for one in found:
        overlap = max((overlap_of(other, one) for other in known if other.class_id == one.class_id), default=0.0)
        if overlap <= iou:
            kept.append(one)
            continue
        reason = f"IoU {overlap:.3f} with an existing object of its class, above --existing-iou {iou:g}"
        score = one.quality.detector_score
        doubles.append(Dropped(reason, one.class_id, one.prompt_box, score, one.prompt_points))
    return kept, doubles


def overlap_of(known: Instance, found: Instance) -> float:
    """Return the IoU of two masks; of their boxes where nothing but a box is known."""
    if known.mask.box is None or found.mask.box is None:
        return 0.0
    boxes = box_iou(known.box or known.mask.box, found.mask.box)
    if known.is_box or not boxes:
        return boxes
    return mask_iou(known.mask, found.mask)

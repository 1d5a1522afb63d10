"""Label images of a folder that holds labels already: classes go by the names and numbers of these labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from samcli.errors import ImageError, UsageError, one_line
from samcli.jobs.base import Job, R
from samcli.jobs.plan import Plan
from samcli.jobs.worker import AnnotatedImage, Annotator
from samcli.labels.class_map import MappedClasses
from samcli.labels.class_names import find_names_file
from samcli.labels.existing import ExistingLabels, existing_names
from samcli.masks import box_iou, mask_iou
from samcli.output.corrected import corrected_objects, is_corrected
from samcli.output.layout import Layout
from samcli.types import Annotation, Dropped, Image, Instance, Origin


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
        return with_corrected(annotator, plan.layout, list)
    names = existing_names(plan.layout, job.format_names)
    classes = merged_classes(names, annotator.names)
    renumbered = RenumberedAnnotator(annotator, classes) if names else annotator
    new = [class_id for class_id in classes.names if class_id not in names] if names else []
    counted = CountingAnnotator(renumbered)
    every: Annotator = counted
    if options.existing == "add":
        if "logits" in job.format_names:
            raise UsageError("--existing add does not go with --format logits: objects that were there have none")
        existing = ExistingLabels(plan.layout, plan.existing, counted.names, plan.keys)
        every = AddingAnnotator(counted, existing, options.existing_iou)
    return with_corrected(every, plan.layout, lambda: _missing_names(plan.layout, counted, new))


def with_corrected(annotator: Annotator, layout: Layout, notes: Callable[[], list[str]]) -> Beside:
    """Return the annotator with the objects that people have corrected in earlier labels of the images."""
    corrected = CorrectedAnnotator(annotator, layout)
    return Beside(corrected, lambda: [*notes(), *corrected.notes()])


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
        of_class = self._existing.knows_classes(found.key)
        kept, doubles = without_known(before.instances, found.instances, self._iou, of_class=of_class)
        return replace(
            found,
            instances=(*before.instances, *kept),
            dropped=(*found.dropped, *doubles),
            existing=before.existing,
        )


_SAME = 0.5
"""Mask IoU above which what is found is the object that a person has corrected, or what it was before."""


class CorrectedAnnotator:
    """An annotator that keeps the objects which people have corrected, and does not find them again."""

    def __init__(self, annotator: Annotator, layout: Layout) -> None:
        self._annotator = annotator
        self._layout = layout
        self.names = annotator.names
        self.on_cpu = annotator.on_cpu
        self._ids = {name: class_id for class_id, name in sorted(annotator.names.items(), reverse=True)}
        self.kept = 0

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """See Annotator.

        Raises:
            ImageError: there are such objects, of another image size or of a class that the run does not have.
        """
        kept = {image.ref.key: self._corrected(image) for image in images}
        found = self._annotator.annotate(images)
        self.kept += sum(map(len, kept.values()))
        return [
            replace(one, annotation=beside_corrected(one.annotation, kept[one.annotation.key]))
            if kept[one.annotation.key]
            else one
            for one in found
        ]

    def notes(self) -> list[str]:
        """Say how many objects were kept."""
        if not self.kept:
            return []
        return [f"{self.kept} objects that people have corrected were kept (--overwrite --discard-human: not)"]

    def _corrected(self, image: Image) -> list[Instance]:
        key = image.ref.key
        try:
            found = corrected_objects(self._layout, key)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise ImageError(f"its corrected objects cannot be read: {one_line(error)}") from error
        if found is None:
            return []
        annotation, names = found
        if annotation.image_size != image.image_size:
            raise ImageError(
                "people have corrected objects of it when it had another size: --discard-human discards them"
            )
        own = [one for one in annotation.instances if is_corrected(one)]
        if unknown := {names.get(one.class_id, str(one.class_id)) for one in own} - self._ids.keys():
            raise ImageError(
                f"people have corrected objects of class '{min(unknown)}', which this run does not have: "
                "--discard-human discards them"
            )
        return [replace(one, class_id=self._ids[names[one.class_id]]) for one in own]


def beside_corrected(found: Annotation, kept: Sequence[Instance]) -> Annotation:
    """Return what was found beside corrected objects, without these and without what they were before."""
    places = {one.before.place for one in kept if one.before is not None} - {None}
    masks = [mask for one in kept for mask in (one.mask, one.before.mask if one.before else one.mask)]
    existing: list[Instance] = []
    others: list[Instance] = []
    dropped: list[Dropped] = []
    for one in found.instances:
        if one.source is Origin.EXISTING:
            if one.place not in places:
                existing.append(one)
        elif (overlap := max((mask_iou(one.mask, mask) for mask in masks), default=0.0)) <= _SAME:
            others.append(one)
        else:
            reason = f"mask IoU {overlap:.3f} with an object that a person has corrected"
            dropped.append(Dropped(reason, one.class_id, one.prompt_box, one.quality.detector_score))
    return replace(found, instances=(*existing, *kept, *others), dropped=(*found.dropped, *dropped))


def without_known(
    known: Sequence[Instance], found: Sequence[Instance], iou: float, *, of_class: bool = True
) -> tuple[list[Instance], list[Dropped]]:
    """Return the found instances that overlap no known one of their class by more than `iou`, and the others.

    `of_class`: False where nothing is known of the classes of known ones, which may be of any then.
    """
    kept: list[Instance] = []
    doubles: list[Dropped] = []
    for one in found:
        alike = [other for other in known if not of_class or other.class_id == one.class_id]
        overlap = max((overlap_of(other, one) for other in alike), default=0.0)
        if overlap <= iou:
            kept.append(one)
            continue
        what = "an existing object of its class" if of_class else "an existing object"
        reason = f"IoU {overlap:.3f} with {what}, above --existing-iou {iou:g}"
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

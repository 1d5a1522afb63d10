"""Label images of a folder that holds labels already: classes go by the names and numbers of these labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from samcli.jobs.base import Job, R
from samcli.jobs.plan import Plan
from samcli.jobs.worker import AnnotatedImage, Annotator
from samcli.labels.class_map import MappedClasses
from samcli.labels.existing import existing_names
from samcli.types import Image


def beside_existing(annotator: Annotator, job: Job[R], plan: Plan) -> Annotator:
    """Return the annotator with the class numbers of the labels that were there before, if there are any.

    Raises:
        UsageError: the labels that were there cannot be read.
    """
    if job.existing == "refuse":
        return annotator
    names = existing_names(plan.layout, job.format_names)
    return RenumberedAnnotator(annotator, merged_classes(names, annotator.names)) if names else annotator


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

"""Write what belongs to one image: its record, then its label files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from samcli.errors import LabelChangedError, UsageError
from samcli.files import Files, write_atomic
from samcli.labels.formats import LabelFormat, Rendering
from samcli.masks import mask_iou
from samcli.output.layout import Layout
from samcli.output.locks import own_record
from samcli.output.manifest import Manifest
from samcli.output.placing import write_label
from samcli.output.preserving import is_changed, seal, sealed_pieces
from samcli.output.records import write_record
from samcli.output.run_folder import Fold
from samcli.polygons import PolygonOptions, Polygons
from samcli.types import Annotation, Instance, Origin


@dataclass(frozen=True)
class Written:
    """Facts about the written label files of an image; see `Outcome`."""

    rows: int | None = None
    low_polygons: int = 0


def write_annotation(
    rendering: Rendering, formats: Sequence[LabelFormat], layout: Layout, *, whole_name: bool = False
) -> Written:
    """Write the record of an image, then its files in each of the formats, aside where trainers do not get it.

    Everything is rendered before anything is written. Returns what the label files do not say of themselves.

    Raises:
        ValueError: a format cannot hold it, or lacks something that it needs.
        StorageError: the output cannot be written at all.
        LabelChangedError: somebody has changed a label file that was there before the run.
        OSError: this image's files cannot be written.
    """
    annotation = rendering.found
    rendered = [
        (fmt, label, files)
        for fmt in formats
        for label, files in _label_files(fmt, rendering, layout, whole_name=whole_name)
    ]
    if any(fmt.makes_polygons for fmt in formats):
        annotation = replace(annotation, instances=_with_polygon_iou(annotation.instances, rendering.polygons))
    annotation = replace(
        annotation, instances=_with_label_iou(annotation.instances, rendering.annotation.instances)
    )
    if changed := next((label for _, label, _ in rendered if is_changed(layout, label)), None):
        raise LabelChangedError(changed)
    write_atomic(own_record(layout, annotation.key), write_record(annotation, rendering.names))
    for _, label, files in rendered:
        if isinstance(files, bytes) and layout.preserved(label).is_file():
            seal(layout, label, hashlib.sha256(files).hexdigest())
        write_label(layout, label, files, aside=annotation.withheld is not None)
    rows = next((count for fmt, _, files in rendered if (count := fmt.count_rows(files)) is not None), None)
    low = len(rendering.low_polygons) if any(fmt.makes_polygons for fmt in formats) else 0
    return Written(None if rows == len(annotation.instances) else rows, low)


def _label_files(
    fmt: LabelFormat, rendering: Rendering, layout: Layout, *, whole_name: bool
) -> Iterator[tuple[str, Files]]:
    """Yield the paths and contents of an image's files; what was in them before the run stays as it was."""
    labels = [layout.label(rendering.found.key, suffix, whole_name=whole_name) for suffix in fmt.suffixes]
    copies = map(layout.preserved, labels) if rendering.found.existing is not None else ()
    before = [copy.read_bytes() if copy.is_file() else None for copy in copies]
    existed = any(data is not None for data in before)
    yield from zip(
        labels, fmt.extended_all(before, rendering) if existed else fmt.render_all(rendering), strict=True
    )


def _with_polygon_iou(instances: Sequence[Instance], polygons: Sequence[Polygons]) -> tuple[Instance, ...]:
    return tuple(
        instance
        if instance.source is Origin.EXISTING
        else replace(instance, quality=replace(instance.quality, polygon_iou=shape.iou))
        for instance, shape in zip(instances, polygons, strict=True)
    )


def _with_label_iou(found: Sequence[Instance], labelled: Sequence[Instance]) -> tuple[Instance, ...]:
    """Return the instances as they were found; where specks were left out, with the IoU of what is labelled."""
    return tuple(
        instance
        if label.mask is instance.mask
        else replace(instance, quality=replace(instance.quality, label_iou=mask_iou(label.mask, instance.mask)))
        for instance, label in zip(found, labelled, strict=True)
    )


def folds(
    formats: Iterable[LabelFormat], manifest: Manifest, polygon_options: PolygonOptions, layout: Layout
) -> list[Fold]:
    """Return the files that hold all images, of the formats that have one."""
    names, fingerprint, images = manifest.names, manifest.fingerprint, layout.images_from_output

    def pieces(fmt: LabelFormat, annotations: Iterator[Annotation]) -> Iterable[bytes]:
        renderings = (
            Rendering(one, names, polygon_options, images=images, fingerprint=fingerprint) for one in annotations
        )
        path = layout.own_file(fmt.folded_name or "")
        before = layout.preserved(path)
        if not before.is_file():
            return fmt.fold(renderings, names)
        if is_changed(layout, path):
            raise UsageError(f"{LabelChangedError(path)}. The records hold what the run has found")
        return sealed_pieces(layout, path, fmt.fold_into(before, renderings, names))

    return [Fold(fmt.folded_name, partial(pieces, fmt)) for fmt in formats if fmt.folded_name is not None]

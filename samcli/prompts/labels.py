"""Prompts from labels of any format that is read: boxes go to SAM, polygons of YOLO labels are kept.

Labels are read by the same readers as for `convert` and `eval`. Of every format but YOLO's the objects' boxes are
the prompts: those that the labels state, in sub-pixels, else those of the masks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samcli.config import ReadingOptions
from samcli.errors import ImageError, UsageError, one_line
from samcli.labels.class_names import find_names_file, read_names
from samcli.labels.formats.reading import Labels, detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.labels.objects import LabelledObject, Omissions, gather, lines_of
from samcli.labels.shapes import check_outline
from samcli.labels.yolo_rows import YoloRow
from samcli.output.layout import Layout
from samcli.prompts.classes import complete_names
from samcli.prompts.objects import XY, ObjectPrompt, fit_to_image
from samcli.types import UNNAMED, Size


@dataclass(frozen=True, eq=False)
class LabelPrompts:
    """Each image's objects, read when its turn comes. See `PromptSource`."""

    path: Path
    names: dict[int, str]
    _kind: str
    _named: bool
    _labels: Labels
    _notes: tuple[str, ...] = ()
    _failed: dict[str, str] = field(default_factory=dict)
    """Images that the labels list and whose objects cannot be told, and why."""
    lost: Mapping[str, str] = field(default_factory=dict)
    _omitted: Omissions = field(default_factory=Omissions)
    _omitted_of: dict[str, int] = field(default_factory=dict)
    """Key -> number of its objects that were left out when it was asked for last."""

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._notes, *(f"{self.path}: {line}" for line in self._omitted.lines()))

    def recipe(self) -> dict[str, Any]:
        source = self._labels.source
        unusual = {
            **({"rescale": True} if source.rescale else {}),
            **({"crowds": source.crowds} if source.crowds != "drop" else {}),
        }
        return {"prompts": self._kind, "names": list(self.names.values()) if self._named else None, **unusual}

    def matched(self, keys: Iterable[str]) -> LabelPrompts:
        """With the images that are meant; others that the labels list are lost."""
        ordered = sorted(keys)
        labels = self._labels.among(ordered)
        known = set(ordered)
        failed = {
            key: failure.reason
            for failure in labels.failures
            for key in (failure.key, *failure.images)
            if key in known and not failure.expected
        }
        spoken = {*labels.keys(), *failed}
        others = [one for one in labels.failures if not {one.key, *one.images} & failed.keys()]
        lost = {one.key: one.reason for one in others if not one.expected}
        if not spoken:
            raise UsageError(self._none_of(ordered))
        notes = [*self._notes, *_of_lost(others, self.path)]
        if silent := len(ordered) - len(spoken):
            has = "have no label file in" if self._kind == "yolo" else "are not in"
            notes.append(f"{silent} of {len(ordered)} images {has} {self.path}")
        source = replace(self, _labels=labels, _failed=failed, _notes=tuple(notes), lost=lost)
        return (
            source if self._named else replace(source, names=complete_names(dict.fromkeys(labels.class_ids(), "")))
        )

    def _none_of(self, ordered: Sequence[str]) -> str:
        if self._kind == "yolo":
            example = Layout(Path(), self.path).label(ordered[0], ".txt") if ordered else self.path / "a.txt"
            return (
                f"none of {len(ordered)} images has a label file in {self.path}: "
                f"expected {example} and so on, the same tree as the images'"
            )
        first = next(iter(self._labels.keys()), None)
        if self._labels.failures:
            lost = self._labels.failures[0]
            return f"{self.path} lists none of the images; the first: {lost.key}: {lost.reason}"
        return f"{self.path} lists none of the images" + (f"; its first is '{first}'" if first else "")

    def keys(self) -> Collection[str]:
        return self._spoken_of

    @cached_property
    def _spoken_of(self) -> Collection[str]:
        return dict.fromkeys(sorted({*self._labels.keys(), *self._failed}))

    def digest(self, key: str) -> str:
        if key not in self._spoken_of:
            return ""
        if key in self._failed:
            raise ImageError(self._failed[key])
        if (file := self._labels.file_of(key)) is not None:
            return hashlib.sha256(_content(file)).hexdigest()[:16]
        image = self._labels.raw(key)
        size = Labels.stated_size(image)
        prompts, _ = gather(
            ((one.where, one) for one in image.objects if not one.crowd),
            lambda one: _prompt(one, size or (1, 1), self.path),
        )
        said = [(o.box, o.points, o.point_labels, None, o.class_id, o.score) for o in prompts]
        return hashlib.sha256(json.dumps([said, size]).encode()).hexdigest()[:16]

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        if key in self._failed:
            raise ImageError(self._failed[key])
        if key not in self._spoken_of:
            return []
        if (file := self._labels.file_of(key)) is not None:
            _content(file)
        image = self._labels.checked(self._labels.raw(key), image_size)
        prompts, unusable = gather(
            ((one.where, one) for one in image.objects), lambda one: _prompt(one, image_size, self.path)
        )
        omitted = (*image.omitted, *unusable)
        if omitted and not prompts:  # nothing known is not nothing there: no empty label file
            raise ImageError("; ".join(lines_of(("", one) for one in omitted)))
        self._omitted.add(key, omitted)
        self._omitted_of[key] = len(omitted)
        return list(prompts)

    def omitted(self, key: str) -> int:
        return self._omitted_of.get(key, 0)


def _prompt(one: LabelledObject, image_size: Size, path: Path) -> ObjectPrompt:
    """Return the prompt for an object.

    Raises:
        ValueError, ImageError: it has no part in the image.
    """
    where = one.where if ":" in one.where else f"{path}: {one.where}"
    score = one.quality.detector_score
    if isinstance(one.shape, YoloRow) and not one.shape.is_box:
        ring = _ring(one.shape.values, image_size)
        check_outline([np.array(ring)], image_size)
        return ObjectPrompt(rings=(ring,), class_id=one.class_id, score=score, where=where)
    box = one.box(image_size)
    if box is None:
        raise ValueError("a mask without pixels")
    if not one.shape.is_box or one.stated_box is not None or max(box) > 1:
        return fit_to_image(ObjectPrompt(box, class_id=one.class_id, score=score, where=where), image_size)
    if isinstance(one.shape, YoloRow) or max(image_size) <= 1:
        return fit_to_image(ObjectPrompt(box, class_id=one.class_id, score=score, where=where), image_size)
    shown = ", ".join(f"{value:g}" for value in box)
    raise ValueError(f"box ({shown}) looks normalised; expected pixels of the original, upright image")


def _ring(values: Sequence[float], image_size: Size) -> tuple[XY, ...]:
    """Positions of pixels: half a pixel less than the shares say, which are of pixels' centres."""
    height, width = image_size
    inside = [min(max(value, 0.0), 1.0) for value in values]
    return tuple((x * width - 0.5, y * height - 0.5) for x, y in zip(inside[::2], inside[1::2], strict=True))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImageError(f"{file} cannot be read: {error.strerror or one_line(error)}") from error


def _of_lost(failures: Sequence[Failure], path: Path) -> list[str]:
    """Notes of images that are not in the input, which most are where a file lists a whole data set."""
    away = [one for one in failures if one.reason.startswith(("no image of that name", "a label file without"))]
    others = [one for one in failures if one not in away]
    notes = [f"{len(away)} images of {path} are not in the input, the first is {away[0].key}"] if away else []
    return [*notes, *(f"{path}: {one.key}: {one.reason}" for one in others)]


def open_label_prompts(path: Path, names_file: Path | None, options: ReadingOptions) -> LabelPrompts:
    """Labels in a file or folder; names from that file, or those of the labels.

    Raises:
        UsageError: they cannot be read.
    """
    given = names_file
    if given is None and path.is_dir() and (beside := find_names_file(path)) is not None:
        given = beside if _is_yolo(path) else None
    renamed = Counter[str]()
    said = read_names(given, renamed) if given else None
    name = detect_format(path)
    source = Source(path, rescale=options.rescale, crowds=options.crowds, sizes_elsewhere=True, names=said)
    labels = read_labels(name, source)
    kind = {"fiftyone": "coco", "coco-polygon": "coco"}.get(name, name)
    notes: tuple[str, ...] = (f"class names from {given}",) if given else ()
    notes += tuple(f"{given}: {count} {what}" for what, count in renamed.items())
    remarks = tuple(f"{path}: {count} {what}" for what, count in labels.source.remarks.items())
    named = labels.declared or said is not None
    names = complete_names(labels.names) if named else {0: UNNAMED}
    if kind == "coco":
        names, named = dict(labels.names) or {0: UNNAMED}, True
    return LabelPrompts(path, names, kind, named, labels, (*notes, *(() if kind == "yolo" else remarks)))


def _is_yolo(path: Path) -> bool:
    with contextlib.suppress(UsageError):
        return detect_format(path) in ("yolo", "cvat")
    return True

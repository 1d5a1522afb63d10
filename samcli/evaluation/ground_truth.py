"""Labels as they are evaluated: a run's records, or labels of any format that is read, and how they are paired up.

The one interface is `EvaluatedLabels`: which images it lists, how large they are, and what is in each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from samcli.errors import ImageError, UsageError, counted
from samcli.images import SUFFIXES
from samcli.labels.class_names import read_names
from samcli.labels.formats.reading import Labels, another_size, detect_format, read_labels
from samcli.labels.formats.sources import Source
from samcli.labels.image_names import ImageNames, matching_keys
from samcli.labels.objects import LabelledObject, Omissions, gather, lines_of
from samcli.masks import Mask, box_iou
from samcli.output.journal import JournalEntry
from samcli.output.layout import stem_of
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.types import Annotation, Author, Instance, Size

_SAME_BOX = 0.5
"""IoU of an object's stated box with that of its mask below which one of the two is wrong."""

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class EvaluatedObject:
    """One object that somebody or something has labelled, xyxy in pixels of the original, upright image."""

    class_id: int
    box: XYXY
    mask: Mask | None = None
    """None: only the box is known."""
    score: float | None = None
    crowd: bool = False
    """COCO's `iscrowd`: many objects in one region; what is found there is neither right nor wrong."""
    stated_area: float | None = None
    """In pixels, where the labels state it: COCO's classes of size go by it."""
    author: Author | None = None
    """None: the labels do not say."""


class EvaluatedLabels(Protocol):
    """Labels of many images."""

    @property
    def names(self) -> Mapping[int, str] | None:
        """Class id to class name; None where nothing says names."""
        ...

    @property
    def file_ids(self) -> Mapping[int, int]:
        """Class id -> the number by which the labels' own file knows the class, where that is another."""
        ...

    @property
    def image_root(self) -> Path | None:
        """Return the folder of the images, or None if it is unknown."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Return notes for the user."""
        ...

    @property
    def lost(self) -> Mapping[str, str]:
        """Images that it lists and of which nothing can be told, and why."""
        ...

    def keys(self) -> Sequence[str]:
        """Return the images it lists, maybe to say that nothing is there.

        Keys, or keys without their suffix.
        """
        ...

    def image_size(self, key: str) -> Size | None:
        """(height, width), if it knows."""
        ...

    def objects(self, key: str, image_size: Size) -> list[EvaluatedObject]:
        """Return the objects of an image.

        Raises:
            ImageError: its labels cannot be read.
        """
        ...


def open_labels(path: Path, names: Path | None = None, *, rescale: bool = False) -> EvaluatedLabels:
    """Labels from a run's output folder, or of any format that is read.

    `names`: a file of class names (`names:` in YAML, or a name a line), where the labels say none. `rescale`:
    scale labels of another size than the image to it.

    Raises:
        UsageError: there is nothing of the kind.
    """
    renamed = Counter[str]()
    given = read_names(names, renamed) if names else None
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    run = RunFolder.find(path) if path.is_dir() else None
    if run is not None:
        run.check(Product.LABELS)
        return RunLabels(run, given)
    source = Source(path, rescale=rescale, crowds="keep", sizes_elsewhere=True, remarks=renamed)
    return FileLabels(read_labels(detect_format(path), source), given)


class RunLabels:
    """Labels of a run, read from its records; a failed image counts as one without detections."""

    def __init__(self, run: RunFolder, names: Mapping[int, str] | None) -> None:
        self.names = names or run.manifest.names or None
        self.file_ids: Mapping[int, int] = {}
        self.image_root = run.layout.input_root
        self.lost: Mapping[str, str] = {}
        self._run = run
        entries = run.entries()
        self._done = {key: entry.done for key, entry in entries.items()}
        self.notes = tuple(_run_notes(run.output.name, entries.values()))
        self._annotation = lru_cache(maxsize=1)(run.record)

    def keys(self) -> Sequence[str]:
        return sorted(self._done)

    def image_size(self, key: str) -> Size | None:
        return self._record(key).image_size if self._done[key] else None

    def objects(self, key: str, image_size: Size) -> list[EvaluatedObject]:
        if not self._done[key]:
            return []
        record = self._record(key)
        if record.image_size != image_size:
            raise ImageError(another_size("its record", record.image_size, image_size, rescale=False))
        return [object_of(instance) for instance in record.instances]

    def _record(self, key: str) -> Annotation:
        return self._annotation(key)


def _run_notes(name: str, entries: Collection[JournalEntry]) -> Iterator[str]:
    if failed := sum(not entry.done for entry in entries):
        yield f"{counted(failed, 'image')} failed in this run: evaluated as images without predictions"
    rows = sum(entry.objects if entry.rows is None else entry.rows for entry in entries)
    if rows != (objects := sum(entry.objects for entry in entries)):
        yield f"{name}: {objects} objects are stored as {rows} label rows; objects are evaluated"


def object_of(instance: Instance) -> EvaluatedObject:
    """Return an instance as it is evaluated: with its mask's box, and the detector's score or else SAM's."""
    quality = instance.quality
    score = quality.detector_score if quality.detector_score is not None else quality.predicted_iou
    return EvaluatedObject(instance.class_id, _box_of(instance.mask), instance.mask, score, author=instance.author)


def _box_of(mask: Mask) -> XYXY:
    x1, y1, x2, y2 = mask.box or (0, 0, 0, 0)
    return float(x1), float(y1), float(x2), float(y2)


class FileLabels:
    """Labels of a format that is read, in a file or a folder."""

    def __init__(self, labels: Labels, names: Mapping[int, str] | None) -> None:
        self.names = names or (labels.names if labels.declared else None)
        self.file_ids = labels.file_ids
        self.image_root = None
        self.lost = {one.key: one.reason for one in labels.failures if not one.expected}
        self._labels = labels
        self._omitted = Omissions()
        self._elsewhere = 0
        """Objects whose stated box is not that of their mask."""
        self._image = lru_cache(maxsize=1)(labels.raw)
        if not labels.keys():
            first = next(iter(labels.failures), None)
            reason = f": {first.key}: {first.reason}" if first else ""
            raise UsageError(f"{labels.source.path} lists no images{reason}")

    @property
    def notes(self) -> Sequence[str]:
        where = self._labels.source.path.name
        silent = [one for one in self._labels.failures if one.expected]
        remarks = [f"{where}: {count} {what}" for what, count in self._labels.source.remarks.items()]
        first = [f"{where}: {len(silent)} left out, the first {one.key}: {one.reason}" for one in silent[:1]]
        other = f"{self._elsewhere} objects state a box that is not that of their mask: figures of boxes go by it"
        lines = [*([other] if self._elsewhere else []), *self._omitted.lines()]
        return [*remarks, *first, *(f"{where}: {line}" for line in lines)]

    def keys(self) -> Sequence[str]:
        return self._labels.keys()

    def image_size(self, key: str) -> Size | None:
        return self._labels.stated_size(self._image(key))

    def objects(self, key: str, image_size: Size) -> list[EvaluatedObject]:
        image = self._labels.checked(self._image(key), image_size)
        found, undrawn = gather(
            ((one.where, one) for one in image.objects), lambda one: _of_object(one, image_size)
        )
        self._elsewhere += sum(_states_another_box(one) for one in found)
        omitted = (*image.omitted, *undrawn)
        self._omitted.add(key, omitted)
        if omitted and not found:
            raise ImageError(f"nothing is known of it: {'; '.join(lines_of(('', one) for one in omitted))}")
        return list(found)


def _of_object(one: LabelledObject, image_size: Size) -> EvaluatedObject:
    """Return an object as it is evaluated; no mask is made of a box."""
    mask = None if one.shape.is_box else one.shape.mask(image_size)
    box = one.stated_box or (one.shape.box(image_size) if mask is None else _box_of(mask))
    return EvaluatedObject(
        one.class_id, box or (0, 0, 0, 0), mask, one.quality.detector_score, one.crowd, one.stated_area
    )


def _states_another_box(one: EvaluatedObject) -> bool:
    """Return whether the box has less than half in common with the mask's own."""
    return one.mask is not None and bool(one.mask.area) and box_iou(one.box, _box_of(one.mask)) < _SAME_BOX


def match_keys(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Match each key of `ours` to one of `theirs`; see `labels.image_names`. Suffixes of images may be missing.

    A name that two of a side have is left out rather than guessed.
    """
    return matching_keys(ours, theirs, _stem)


def unclear_keys(ours: Sequence[str], theirs: Sequence[str], matched: Mapping[str, str]) -> dict[str, str]:
    """Return which of `theirs` could be two of `ours` and so are none, and why."""
    names, taken = ImageNames(ours), {*matched.values()}
    near = {key: names.alike(key) for key in theirs if key not in taken}
    return {key: f"could be {keys[0]} or {keys[1]}" for key, keys in near.items() if len(keys) > 1}


def _stem(key: str) -> str:
    """Return a key without the suffix of an image."""
    return stem_of(key) if key.lower().endswith(SUFFIXES) else key

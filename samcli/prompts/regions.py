"""Regions of images in which objects are looked for: boxes and polygons from a file of regions or any labels.

A file of regions is JSON, `{"images": {"a/1.jpg": [{"box": [x1, y1, x2, y2]}, {"polygon": [[x, y], ...]}]}}`, or
CSV with the columns `image` and `x1,y1,x2,y2` or `polygon` (`x y, x y, ...`), in pixels of the upright image. The
image `*` stands for all images that are not named. Of labels each object is a region, whatever its class.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError, missing_path, nearest, one_line
from samcli.labels.formats.reading import Labels, check_box, detect_format, read_labels
from samcli.labels.formats.sources import LabelSet, Source
from samcli.labels.json_stream import Place, walk
from samcli.labels.objects import XYXY, Box, LabelEntry, LabelledObject, ReadImage
from samcli.labels.placed_shapes import PixelRings
from samcli.labels.shapes import numbers, ring_of, shown
from samcli.masks import Mask
from samcli.prompts.json_files import is_own_json
from samcli.prompts.matching import nearest_key
from samcli.types import Size

EVERY = "*"
"""Name that stands for all images which a file of regions does not name."""

_FAR = 1e7
"""Pixels: greater coordinates are of no image."""
_BOX = ("x1", "y1", "x2", "y2")
_JSON = '{"images": {"a/1.jpg": [{"box": [10, 20, 110, 220]}, {"polygon": [[0, 0], [90, 0], [0, 90]]}]}}'
_CSV = "image,x1,y1,x2,y2 or image,polygon with 'x y, x y, x y'"


@dataclass(frozen=True)
class Region:
    """The regions of one image: boxes (B, 4) xyxy in pixels, and masks."""

    boxes: NDArray[np.float64]
    masks: tuple[Mask, ...] = ()

    def holds(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which points (N, 2) x, y in pixels lie in one of the regions, bool (N,)."""
        inside = (points[:, None] >= self.boxes[:, :2]) & (points[:, None] < self.boxes[:, 2:])
        found: NDArray[np.bool_] = np.any(inside.all(2), axis=1)
        for mask in self.masks:
            found |= mask.holds(points)
        return found

    def meets(self, box: tuple[int, int, int, int]) -> bool:
        """Return whether a box (xyxy) and the box of one of the regions have an area in common."""
        own = [mask.box for mask in self.masks if mask.box is not None]
        every = np.concatenate([self.boxes, np.array(own, np.float64).reshape(-1, 4)])
        sides = np.minimum(every[:, 2:], box[2:]) - np.maximum(every[:, :2], box[:2])
        return bool((sides > 0).all(1).any())


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of many images, read when an image's turn comes."""

    path: Path
    _labels: Labels
    _every: tuple[LabelledObject, ...] | None = None
    """Regions of the images that are not named; None: these are looked at as a whole."""
    _failed: Mapping[str, str] = field(default_factory=dict)
    """Images of which it cannot be told what their regions are, and why."""
    notes: tuple[str, ...] = ()
    _sizes: dict[str, Size] = field(default_factory=dict)
    """Of the images that are read just now, for labels that do not state them."""

    def matched(self, keys: Iterable[str]) -> Regions:
        """Return the same, held against these images.

        Raises:
            UsageError: it lists none of them.
        """
        ordered = sorted(keys)
        labels, known = self._labels.among(ordered), set(ordered)
        failed = {key: one.reason for one in labels.failures for key in (one.key, *one.images) if key in known}
        named = {*labels.keys(), *failed} & known
        lost = [one.key for one in labels.failures if not {one.key, *one.images} & failed.keys()]
        if not named and self._every is None:
            raise UsageError(f"--roi {self.path} lists none of {len(ordered)} images{_first(lost, ordered)}")
        notes = []
        if lost:
            notes.append(f"{self.path}: regions of {len(lost)} images are not of the input{_first(lost, ordered)}")
        if self._every is None and (silent := len(ordered) - len(named)):
            notes.append(f"{silent} of {len(ordered)} images have no regions in {self.path}: whole images")
        return replace(self, _labels=labels, _failed=failed, notes=tuple(notes))

    @cached_property
    def _named(self) -> Collection[str]:
        return set(self._labels.keys())

    def digest(self, key: str) -> str:
        """Return a short hash of the regions of an image; empty for one that is looked at as a whole.

        Raises:
            ImageError: they cannot be read.
        """
        found = self._read(key)
        if found is None:
            return ""
        size = Labels.stated_size(found)
        said = [_identity(one, size) for one in found.objects]
        return hashlib.sha256(json.dumps([said, size]).encode()).hexdigest()[:16]

    def of(self, key: str, image_size: Size) -> Region | None:
        """Return the regions of an image; None: all of it.

        Raises:
            ImageError: they cannot be read, are of an image of another size, or one lies outside of it.
        """
        self._sizes[key] = image_size
        try:
            found = self._read(key)
        finally:
            self._sizes.pop(key, None)
        if found is None:
            return None
        checked = self._labels.checked(found, image_size)
        if checked.omitted:
            first = checked.omitted[0]
            raise ImageError(f"--roi {self.path}: {first.where}: {first.reason}".replace(": : ", ": "))
        boxes: list[XYXY] = []
        masks: list[Mask] = []
        for one in checked.objects:
            try:
                if one.shape.is_box and (box := one.shape.box(image_size)) is not None:
                    check_box(box, image_size)
                    boxes.append(box)
                else:
                    masks.append(one.shape.mask(image_size))
            except ValueError as error:
                raise ImageError(f"--roi {one.where or self.path}: {one_line(error)}") from error
        return Region(np.array(boxes, np.float64).reshape(-1, 4), tuple(masks))

    def _read(self, key: str) -> ReadImage | None:
        if key in self._failed:
            raise ImageError(f"--roi {self.path}: {self._failed[key]}")
        if key in self._named:
            return self._labels.raw(key)
        return None if self._every is None else ReadImage(key, self._every)


def _first(lost: Sequence[str], ordered: Sequence[str]) -> str:
    return f"; the first is '{lost[0]}'.{nearest_key(lost[0], list(ordered))}" if lost else ""


def _identity(one: LabelledObject, size: Size | None) -> Any:
    """Return what tells a region from others, as plain values."""
    shape = one.shape
    if isinstance(shape, Box):
        return shape.xyxy
    if rings := getattr(shape, "rings", None):  # they may be of an image whose size is not known yet
        return [ring.tolist() for ring in rings]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(shape)) if size is None else shape.mask(size).counts.decode()


def open_regions(path: Path) -> Regions:
    """Return the regions in a file of regions, or in labels of any format that is read.

    Raises:
        UsageError: it cannot be read, or something in a file of regions is not as it should be; names the line.
    """
    if not path.exists():
        raise missing_path(path, "a file of regions (--roi), or labels")
    if path.is_file() and path.suffix.lower() == ".csv":
        return _own(path, _of_csv(path))
    if path.is_file() and path.suffix.lower() == ".json" and is_own_json(path):
        return _own(path, _of_json(path))
    sizes: dict[str, Size] = {}
    labels = read_labels(detect_format(path), Source(path, crowds="keep", sizes_elsewhere=True, sizes=sizes))
    return Regions(path, labels, _sizes=sizes)


_Row = tuple[str, int, "LabelledObject | None"]
"""Image, line of the file, and the region; None: the image is named and has none."""


def _own(path: Path, rows: Iterable[_Row]) -> Regions:
    images: dict[str, list[LabelledObject]] = {}
    lines: dict[str, int] = {}
    for name, line, region in rows:
        lines.setdefault(name, line)
        images.setdefault(name, []).extend([region] if region is not None else [])
    if not images:
        raise UsageError(f"{path} holds no regions; expected {_JSON}")
    every = images.pop(EVERY, None)
    entries = [
        LabelEntry(name, functools.partial(_image, tuple(regions)), f"{path}:{lines[name]}")
        for name, regions in images.items()
    ]
    source = Source(path, sizes_elsewhere=True)
    return Regions(path, Labels(LabelSet({}, entries=entries), source), None if every is None else tuple(every))


def _image(regions: tuple[LabelledObject, ...], key: str) -> ReadImage:
    return ReadImage(key, regions)


def _of_json(path: Path) -> Iterator[_Row]:
    for place, line, value in walk(path):
        yield _json_row(f"{path}:{line}", line, place, value)


def _json_row(where: str, line: int, place: Place, value: Any) -> _Row:
    match place:
        case ("images", str(name)) if value == []:
            return name, line, None
        case ("images", str(name), int()):
            return name, line, _json_region(where, value)
        case (str(name), *_) if name != "images":
            raise UsageError(f"{where}: unknown '{name}'; expected {_JSON}")
    raise UsageError(f"{where}: expected {_JSON}")


def _json_region(where: str, value: Any) -> LabelledObject:
    if not isinstance(value, dict) or len(value) != 1:
        raise UsageError(f'{where}: expected a region such as {{"box": [10, 20, 110, 220]}}, got {shown(value)}')
    ((kind, said),) = value.items()
    if kind not in ("box", "polygon"):
        raise UsageError(f"{where}: unknown '{kind}'.{nearest(kind, ('box', 'polygon'))} Known: box, polygon")
    return _region(where, box=said) if kind == "box" else _region(where, polygon=said)


def _of_csv(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _header(path, [name.strip() for name in next(reader, [])])
            for fields in reader:
                if any(map(str.strip, fields)):
                    yield _csv_row(f"{path}:{reader.line_num}", reader.line_num, columns, fields)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _header(path: Path, names: list[str]) -> list[str]:
    known = ("image", *_BOX, "polygon")
    for index, name in enumerate(names):
        if name not in known:
            raise UsageError(f"{path}:1: unknown column '{name}'.{nearest(name, known)} Known: {', '.join(known)}")
        if name in names[:index]:
            raise UsageError(f"{path}:1: column '{name}' is there twice")
    with_boxes = {*_BOX} <= {*names}
    if "image" not in names or not (with_boxes or "polygon" in names) or (not with_boxes and {*_BOX} & {*names}):
        raise UsageError(f"{path}:1: expected the columns {_CSV}")
    return names


def _csv_row(where: str, line: int, columns: Sequence[str], fields: Sequence[str]) -> _Row:
    if len(fields) != len(columns):
        raise UsageError(f"{where}: {len(fields)} fields; the first line names {len(columns)} columns")
    given = {name: text for name, text in zip(columns, map(str.strip, fields), strict=True) if text}
    name = given.pop("image", None)
    if name is None:
        raise UsageError(f"{where}: no image given")
    polygon, box = given.pop("polygon", None), [given[corner] for corner in _BOX if corner in given]
    if polygon is not None and box:
        raise UsageError(f"{where}: a box and a polygon; expected a row for each")
    if polygon is not None:
        return name, line, _region(where, polygon=[point.split() for point in polygon.split(",")])
    return name, line, _region(where, box=box) if box else None


def _region(where: str, *, box: Any = None, polygon: Any = None) -> LabelledObject:
    """Return a region with its numbers checked; no image is known yet.

    Raises:
        UsageError: it is no box or polygon.
    """
    try:
        shape = _box(box) if polygon is None else PixelRings((ring_of(polygon),))
    except ValueError as error:
        raise UsageError(f"{where}: {one_line(error)}") from error
    corners = np.abs(np.array(shape.xyxy) if isinstance(shape, Box) else shape.rings[0])
    if corners.max() > _FAR:
        raise UsageError(f"{where}: a coordinate is {corners.max():g}; expected pixels of the image")
    if corners.max() <= 1:
        raise UsageError(f"{where}: the region looks normalised; expected pixels of the original, upright image")
    return LabelledObject(shape, 0, where=where)


def _box(values: Any) -> Box:
    """Return a box of four numbers.

    Raises:
        ValueError: they are not, or the box has no area.
    """
    found = numbers(values, "a coordinate of a box")
    if len(found) != len(_BOX):
        raise ValueError(f"a box of {len(found)} numbers; expected x1, y1, x2, y2")
    x1, y1, x2, y2 = found
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is empty; expected x1 < x2 and y1 < y2")
    return Box((x1, y1, x2, y2))

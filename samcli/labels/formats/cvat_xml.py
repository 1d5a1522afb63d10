"""CVAT's own XML, "CVAT for images 1.1": all shapes of a task, read image by image."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from samcli.errors import UsageError, one_line
from samcli.labels.formats.coco import CocoPolygons
from samcli.labels.formats.sources import LabelSet, Source
from samcli.labels.json_stream import Shelf
from samcli.labels.label_texts import by_name, class_ids, label_of
from samcli.labels.objects import LabelEntry, LabelledObject, NotUsedError, ReadImage, Shape, gather
from samcli.labels.placed_shapes import Ellipse, Encoded, turned_by
from samcli.labels.shapes import Placed, number, ring_of, runs_mask, side, whole_number
from samcli.types import Size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

XML = "annotations.xml"
"""What CVAT calls the file in its zip."""

_WITHOUT_AREA = ("polyline", "points", "skeleton", "cuboid", "tag")
_ROOT = b"<annotations"
_HEAD_BYTES = 4096

Members = Mapping[str, str]
"""The attributes of an element."""


def is_cvat_xml(file: Path) -> bool:
    """Return whether a file begins like CVAT's XML."""
    if file.suffix.lower() != ".xml" or not file.is_file():
        return False
    with file.open("rb") as opened:
        return _ROOT in opened.read(_HEAD_BYTES)


def read_cvat_xml(opened: IO[bytes], where: str, source: Source) -> LabelSet:
    """Polygons, boxes, ellipses and masks, turned or not; what has no area is counted by its type.

    Classes are numbered as the task lists its labels, and further ones by name. One image is in memory at a time.

    Raises:
        UsageError: it is no XML of this form.
    """
    file = _File()
    try:
        file.take(_events(opened))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    class_ids(file.names, file.labels, source.remarks)
    entries = [
        LabelEntry(
            name, functools.partial(_read, shelf=file.shelf, place=place, size=size, names=file.names), where
        )
        for name, size, place in file.images
    ]
    return LabelSet(file.names, entries=entries)


def _events(opened: IO[bytes]) -> Iterator[tuple[str, Element]]:
    """Starts and ends of elements.

    Raises:
        ValueError: it is no XML, or declares entities.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        yield from iterparse(opened, events=("start", "end"))
    except DefusedXmlException as error:
        raise ValueError("it declares entities, which are not read") from error
    except (ParseError, LookupError) as error:
        raise ValueError(f"not XML: {one_line(error)}") from error


@dataclass
class _File:
    """Reader of a CVAT XML file; shapes are stored until their image is read."""

    names: dict[int, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    images: list[tuple[str, Size, int]] = field(default_factory=list)
    """Name, (height, width) as stated, and place on the shelf."""
    shelf: Shelf = field(default_factory=Shelf)

    def take(self, events: Iterator[tuple[str, Element]]) -> None:
        """All of a file.

        Raises:
            ValueError: it is of another kind.
        """
        path: list[Element] = []
        for event, element in events:
            if event == "start":
                path.append(element)
                self._check(path)
                continue
            path.pop()
            if len(path) == 1:
                self._element(element)
                path[0].clear()

    def _check(self, path: list[Element]) -> None:
        if len(path) == 1 and path[0].tag != "annotations":
            raise ValueError(f"its root is <{path[0].tag:.40}>; expected <annotations> as CVAT writes it")
        if len(path) == 2 and path[1].tag == "track":
            raise ValueError("it has tracks of a video; export it from CVAT as 'CVAT for images 1.1'")

    def _element(self, element: Element) -> None:
        """An element right below the root, complete."""
        if element.tag == "meta":
            said = dict.fromkeys(label_of(label.findtext("name")) for label in element.iter("label"))
            self.names |= dict(enumerate(said))
        elif element.tag == "image":
            shapes = [(shape.tag, dict(shape.attrib)) for shape in element]
            self.labels |= {label_of(members.get("label")) for tag, members in shapes if tag in _SHAPES}
            size = side(element.get("height")), side(element.get("width"))
            self.images.append((element.get("name") or "", size, self.shelf.put(shapes)))


def _read(key: str, *, shelf: Shelf, place: int, size: Size, names: Mapping[int, str]) -> ReadImage:
    """Return the objects of an image in a file."""
    stated, ids = size if all(size) else None, by_name(names)

    def parse(item: tuple[str, Members]) -> LabelledObject:
        tag, members = item
        shape = _shape(tag, members, stated)
        return LabelledObject(shape, ids[label_of(members.get("label"))])

    shapes = shelf.take(place)
    numbered = ((_where(index, *item), item) for index, item in enumerate(shapes, 1))
    objects, omitted = gather(numbered, parse)
    return ReadImage(key, objects, size, omitted)


def _where(index: int, tag: str, members: Members) -> str:
    return f"{tag} {index} '{members.get('label', ''):.40}'"


def _shape(tag: str, members: Members, stated: Size | None) -> Shape:
    """Return the shape of an element.

    Raises:
        NotUsedError: it has no area.
        ValueError: it is damaged.
    """
    if tag in _WITHOUT_AREA:
        raise NotUsedError(f"a shape of the type {tag} has no area")
    if tag not in _SHAPES:
        raise NotUsedError(f"a shape of the type {tag:.40} is not read")
    return _SHAPES[tag](members, stated)


def _numbers(members: Members, *names: str) -> list[float]:
    return [number(members.get(name), name) for name in names]


def _turn(members: Members) -> float:
    return number(members.get("rotation") or 0, "rotation")


def _box(members: Members, stated: Size | None) -> Shape:
    x1, y1, x2, y2 = _numbers(members, "xtl", "ytl", "xbr", "ybr")
    return turned_by((x1, y1, x2, y2), _turn(members))


def _polygon(members: Members, stated: Size | None) -> Shape:
    pairs = [point.split(",") for point in members.get("points", "").split(";") if point.strip()]
    return CocoPolygons((ring_of(pairs),))


def _ellipse(members: Members, stated: Size | None) -> Shape:
    x, y, half_width, half_height = _numbers(members, "cx", "cy", "rx", "ry")
    return Ellipse(Placed(x, y, half_width, half_height, _turn(members)))


def _mask(members: Members, stated: Size | None) -> Shape:
    runs = [whole_number(word, "a run length") for word in members.get("rle", "").split(",") if word.strip()]
    left, top, width, height = (
        whole_number(members.get(name), name) for name in ("left", "top", "width", "height")
    )
    return Encoded(functools.partial(runs_mask, runs, (left, top, width, height)), stated)


_SHAPES: Mapping[str, Callable[[Members, Any], Shape]] = {
    "box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask,
}  # fmt: skip

"""Pascal VOC: boxes as XML, and PNGs of classes and objects with its palette."""

from __future__ import annotations

import functools
import math
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from samcli.labels.class_names import complete
from samcli.labels.formats.base import Files, LabelFormat, Rendering, plain_text
from samcli.labels.formats.index_maps import (
    ExistingMap,
    class_map,
    draw_beside,
    map_png,
    masks_of,
    palette,
    read_map,
)
from samcli.labels.formats.sources import Failure, LabelSet, Source, first_file, label_files
from samcli.labels.label_texts import by_name, class_ids, label_of
from samcli.labels.objects import LabelEntry, LabelledObject, Pixels, ReadImage, Shape, gather
from samcli.labels.placed_shapes import PixelRings, turn_in_attribute, turned_box, turned_by
from samcli.labels.shapes import Floats, Placed, number, ring_of, side
from samcli.labels.xml_files import read_xml, text_of, with_children
from samcli.types import Annotation, Instance, Origin

_BOXES, _CLASSES, _OBJECTS = "Annotations/.xml", "SegmentationClass/.png", "SegmentationObject/.png"
_LABEL_MAP = "labelmap.txt"
_VOID = 255
"""In the PNGs: neither object nor background."""


class Voc(LabelFormat):
    """`Annotations`, `SegmentationClass`, `SegmentationObject`, a list of images, and CVAT's `labelmap.txt`.

    The i-th object of an XML file is i in `SegmentationObject`; class id + 1 is the number in
    `SegmentationClass`. Boxes count pixels from 1 and include the last, as VOC's do.
    """

    loses = frozenset({"overlaps", "empty", "scores", "crowded"})
    data_set_names = (_LABEL_MAP,)
    folded_name = "ImageSets/Segmentation/train.txt"
    has_pictures = True
    is_read = True

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Three trees."""
        return _BOXES, _CLASSES, _OBJECTS

    def render_all(self, rendering: Rendering) -> list[bytes | dict[str, bytes]]:
        """Small objects lie on top of large ones.

        Raises:
            ValueError: a class number is above 253: 255 is VOC's void.
        """
        annotation = rendering.annotation
        visible = tuple(instance for instance in annotation.instances if instance.mask.area)
        check_class_ids(visible)
        drawn = replace(rendering, annotation=replace(annotation, instances=visible[: _VOID - 1]))
        boxes = replace(rendering, annotation=replace(annotation, instances=visible))
        return [_xml(boxes), map_png(class_map(drawn)), map_png(drawn.label_map)]

    extends = True

    def extended_all(self, existing: Sequence[bytes | None], rendering: Rendering) -> list[Files]:
        """Objects as they were, then the added ones, whose pixels in the maps are those that were free.

        Where an image had no maps, the objects that it had are void in them: what class a pixel has is not known.

        Raises:
            ValueError: the annotation file was not there, or there are too many classes.
        """
        boxes, classes, objects = existing
        if boxes is None:
            raise ValueError("it had maps without an annotation file; expected both")
        added = tuple(one for one in rendering.added.annotation.instances if one.mask.area)
        check_class_ids(added)
        gone = [place + 1 for place in rendering.gone]
        nodes = [ElementTree.tostring(_object(one, rendering), "us-ascii") for one in added]
        text, kept = with_children(boxes, "object", nodes, gone)
        if classes and objects and not added and not gone:
            return [text, classes, objects]
        numbers = np.full(1 << 16, _VOID)
        numbers[[0, *gone]] = 0
        numbers[kept] = range(1, len(kept) + 1)
        drawn = added[: max(0, _VOID - 1 - len(kept))]
        return [text, *_extended_maps(classes, objects, rendering, drawn, numbers)]

    def fold_into(
        self, existing: Path, renderings: Iterable[Rendering], names: Mapping[int, str]
    ) -> Iterator[bytes]:
        """Yield the list as it was, then the images that it lacks."""
        data = existing.read_bytes()
        lines = [line.strip() for line in data.splitlines() if line.strip()]
        have = {name for line in lines for name in (line, line.split()[0])}
        yield data
        end = b"" if not data or data.endswith(b"\n") else b"\n"
        for line in self.fold(renderings, names):
            if line[:-1] not in have:
                yield end + line
                end = b""

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Names and colours of the classes, in order."""
        rows = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        for class_id, name in complete(names).items():
            colour = ",".join(map(str, palette()[(class_id + 1) % 256]))
            rows.append(f"{' '.join(name.replace(':', ' ').split())}:{colour}::")
        return {_LABEL_MAP: ("\n".join(rows) + "\n").encode()}

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """Yield the images' names without suffix, one a line."""
        for rendering in renderings:
            yield plain_text(posixpath.splitext(rendering.annotation.key)[0]).encode() + b"\n"

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder with `Annotations` or XML files in it."""
        files = [first_file(path, suffix) for suffix in (_BOXES, ".xml")] if path.is_dir() else []
        return any(file is not None and _is_annotation(file) for file in files)

    def read(self, source: Source) -> LabelSet:
        """Objects with their masks, polygons, rotated boxes (roLabelImg) or boxes, in this order.

        Classes are numbered as in `labelmap.txt`, and further ones by name.
        """
        suffix = _BOXES if (source.folder / "Annotations").is_dir() else ".xml"
        names, labels = _label_map(source.folder / _LABEL_MAP), set[str]()
        entries: list[LabelEntry] = []
        failures: list[Failure] = []
        for relative, file in sorted(label_files(source.folder, suffix)):
            try:
                root = _root(file)
            except ValueError as error:
                failures.append(Failure(relative, f"{file}: {error}"))
                continue
            labels |= {label_of(text_of(entry, "name")) for entry in root.findall("object")}
            stem = posixpath.splitext(relative)[0]
            drawing = source.folder / f"SegmentationObject/{stem}.png" if suffix == _BOXES else None
            read = functools.partial(_read, file=file, drawing=drawing, names=names)
            entries.append(_entry(root, stem, file, source, read))
        class_ids(names, labels, source.remarks)
        return LabelSet(names, entries=entries, failures=failures)


def check_class_ids(instances: Iterable[Instance]) -> None:
    """Refuse class ids that the PNGs cannot hold.

    Raises:
        ValueError: a class number is above 253: 255 is VOC's void.
    """
    if (highest := max((instance.class_id for instance in instances), default=0)) + 1 >= _VOID:
        raise ValueError(f"class {highest}; VOC has room for classes 0 to {_VOID - 2}")


def _extended_maps(
    classes: bytes | None,
    objects: bytes | None,
    rendering: Rendering,
    added: Sequence[Instance],
    numbers: NDArray[np.int64],
) -> list[Files]:
    """Return the maps of classes and objects with the added objects.

    `numbers`: of an object in the annotation file by its number there before: 0 where it is gone; void where there
    was none of that number.
    """
    maps = [_existing_map(data, rendering.found) for data in (classes, objects)]
    drawn = [one for one, data in zip(maps, (classes, objects), strict=True) if data is not None]
    of_classes, of_objects = maps
    if objects is not None:
        before, of_objects.numbers = of_objects.numbers, numbers[of_objects.numbers]
        if classes is not None:
            of_classes.numbers[(before != 0) & (of_objects.numbers == 0)] = 0
    free = np.ones(rendering.found.image_size, bool)
    for one in drawn:
        free &= one.numbers == 0
    first = int(numbers[numbers != _VOID].max()) + 1
    draw_beside(of_objects, of_classes, added, first, free)
    return [of_classes.png(), of_objects.png()]


def _existing_map(data: bytes | None, annotation: Annotation) -> ExistingMap:
    """Return a map as it was; where there was none, one in which the objects that were there are void."""
    if data is not None:
        return ExistingMap.of(data)
    numbers = np.zeros(annotation.image_size, np.int64)
    for one in annotation.instances:
        if one.source is Origin.EXISTING:
            pixels, (left, top, right, bottom) = one.mask.crop()
            numbers[top:bottom, left:right][pixels] = _VOID
    return ExistingMap(numbers, None)


def _root(file: str) -> ElementTree.Element:
    """Return the root of an annotation file.

    Raises:
        ValueError: it is none.
    """
    root = read_xml(file)
    if root.tag != "annotation":
        raise ValueError(f"its root is <{root.tag:.40}>; expected <annotation>")
    return root


def _entry(
    root: ElementTree.Element, stem: str, file: str, source: Source, read: Callable[[str], ReadImage]
) -> LabelEntry:
    """Return the image beside the file, or in the same folder below the images, by its name; else by the file's
    own.
    """
    name = (text_of(root, "filename") or "").replace("\\", "/")
    beside = posixpath.join(posixpath.dirname(stem), posixpath.basename(name)) if name else ""
    if source.images is None:
        return LabelEntry(beside, read, file, stems=(stem,))
    return LabelEntry(name or stem, read, file, keys=(beside,) if name else (), stems=(stem,))


def _read(key: str, *, file: str, drawing: Path | None, names: Mapping[int, str]) -> ReadImage:
    """Return the objects of the image of a file."""
    root, ids = _root(file), by_name(names)
    size = side(text_of(root, "size/height")), side(text_of(root, "size/width"))
    drawn = drawing is not None and drawing.is_file()
    masks = masks_of(read_map(drawing, size if all(size) else None), void=_VOID) if drawing and drawn else {}

    def parse(item: tuple[int, ElementTree.Element]) -> LabelledObject:
        number, entry = item
        shape: Shape = Pixels(masks[number]) if number in masks else _shape(entry)
        return LabelledObject(shape, ids[label_of(text_of(entry, "name"))], where=_where(*item))

    numbered = list(enumerate(root.findall("object"), 1))
    objects, omitted = gather(((_where(*item), item) for item in numbered), parse)
    return ReadImage(key, objects, size, omitted)


def _where(number: int, entry: ElementTree.Element) -> str:
    name = text_of(entry, "name")
    return f"object {number} '{name:.40}'" if name else f"object {number}"


def _shape(entry: ElementTree.Element) -> Shape:
    """Return the shape of an object without a mask.

    Raises:
        ValueError: it has none, or a damaged one.
    """
    rings = [ring for polygon in entry.findall("polygon") if (ring := _ring(polygon)) is not None]
    if rings:
        return PixelRings(tuple(rings))
    if (turned := entry.find("robndbox")) is not None:
        x, y, width, height, angle = (number(text_of(turned, tag), tag) for tag in ("cx", "cy", "w", "h", "angle"))
        return turned_box(Placed(x, y, width / 2, height / 2, math.degrees(angle)))
    if (box := entry.find("bndbox")) is None:
        raise ValueError("it has neither bndbox nor polygon")
    x1, y1, x2, y2 = (number(text_of(box, tag), tag) for tag in _SIDES)
    return turned_by((x1 - 1, y1 - 1, x2, y2), _turn(entry))


def _turn(entry: ElementTree.Element) -> float:
    """Degrees by which a box is turned about its centre, clockwise: CVAT writes them into the attributes."""
    named = {text_of(one, "name"): text_of(one, "value") for one in entry.iterfind("attributes/attribute")}
    return turn_in_attribute(named.get("rotation"))


def _ring(polygon: ElementTree.Element) -> Floats | None:
    """(K, 2) of `x1 y1 x2 y2 ...` or of elements such as `pt` with x and y; None of an empty element.

    Numbers count pixels from 1, as those of boxes.

    Raises:
        ValueError: it holds something else.
    """
    values = {child.tag: (child.text or "").strip() for child in polygon}
    count = sum(tag[:1] == "x" and tag[1:].isdecimal() for tag in values)
    pairs: list[list[str | None]] = [
        [values[f"x{i}"], values.get(f"y{i}")] for i in range(1, count + 1) if f"x{i}" in values
    ]
    pairs = pairs or [[text_of(point, "x"), text_of(point, "y")] for point in polygon]
    if not pairs and (polygon.text or "").strip():
        raise ValueError("a polygon that is text; expected <x1>, <y1>, ..., or <pt> with <x> and <y>")
    return ring_of(pairs) - 0.5 if pairs else None


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _xml(rendering: Rendering) -> bytes:
    annotation = rendering.annotation
    folder, _, name = annotation.key.rpartition("/")
    root = ElementTree.Element("annotation")
    _add(root, folder=folder, filename=name)
    _add(ElementTree.SubElement(root, "source"), database="samcli")
    height, width = annotation.image_size
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=1)
    root.extend(_object(instance, rendering) for instance in annotation.instances)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8")) + b"\n"


def _object(instance: Instance, rendering: Rendering) -> ElementTree.Element:
    entry = ElementTree.Element("object")
    _add(entry, name=" ".join(rendering.name_of(instance.class_id).split()))
    _add(entry, pose="Unspecified", truncated=0, difficult=0)
    left, top, right, bottom = instance.mask.box or (0, 0, 1, 1)
    box = dict(zip(_SIDES, (left + 1, top + 1, right, bottom), strict=True))
    _add(ElementTree.SubElement(entry, "bndbox"), **box)
    return entry


def _add(parent: ElementTree.Element, **values: str | int) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = plain_text(str(value))


def _is_annotation(file: Path) -> bool:
    try:
        return read_xml(file).tag == "annotation"
    except ValueError:
        return False


def _label_map(path: Path) -> dict[int, str]:
    """Names by class id; none where there is no such file. Background is no class."""
    if not path.is_file():
        return {}
    rows = [row.split(":")[0].strip() for row in path.read_text("utf-8-sig", "replace").splitlines()]
    return dict(enumerate(row for row in rows if row and not row.startswith("#") and row != "background"))

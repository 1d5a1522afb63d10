"""Pascal VOC: boxes as XML, and PNGs of classes and objects with its palette."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from samcli.labels.class_names import complete
from samcli.labels.formats.base import LabelFormat, Rendering, plain_text
from samcli.labels.formats.index_maps import class_map, map_png, masks_of, palette, read_map
from samcli.labels.formats.sources import LabelSet, Source, box_mask, first_file, label_files
from samcli.types import Annotation, Instance

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
        if (highest := max((instance.class_id for instance in visible), default=0)) + 1 >= _VOID:
            raise ValueError(f"class {highest}; VOC has room for classes 0 to {_VOID - 2}")
        drawn = replace(rendering, annotation=replace(annotation, instances=visible[: _VOID - 1]))
        boxes = replace(rendering, annotation=replace(annotation, instances=visible))
        return [_xml(boxes), map_png(class_map(drawn)), map_png(drawn.label_map)]

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Names and colours of the classes, in order."""
        rows = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        for class_id, name in complete(names).items():
            colour = ",".join(map(str, palette()[(class_id + 1) % 256]))
            rows.append(f"{' '.join(name.replace(':', ' ').split())}:{colour}::")
        return {_LABEL_MAP: ("\n".join(rows) + "\n").encode()}

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """The images' names without suffix, one a line."""
        for rendering in renderings:
            yield plain_text(posixpath.splitext(rendering.annotation.key)[0]).encode() + b"\n"

    def finds(self, path: Path) -> bool:
        """A folder with `Annotations` or XML files in it."""
        files = [first_file(path, suffix) for suffix in (_BOXES, ".xml")] if path.is_dir() else []
        return any(file is not None and _is_annotation(file) for file in files)

    def read(self, source: Source) -> LabelSet:
        """Objects with their masks; without `SegmentationObject` of an image, its boxes are filled.

        Classes are numbered as in `labelmap.txt`, and further ones by name.
        """
        suffix = _BOXES if (source.folder / "Annotations").is_dir() else ".xml"
        names = _label_map(source.folder / _LABEL_MAP)
        new = {name for _, file in label_files(source.folder, suffix) for name in _class_names(file)}
        names |= dict(enumerate(sorted(new - set(names.values())), max(names, default=-1) + 1))
        ids = {name: class_id for class_id, name in names.items()}

        def parse(relative: str, file: str) -> Annotation:
            root = ElementTree.parse(file).getroot()
            key = source.key_for(relative, _text(root, "filename").replace("\\", "/"))
            size = int(_text(root, "size/height")), int(_text(root, "size/width"))
            drawing = source.folder / "SegmentationObject" / posixpath.splitext(relative)[0]
            drawing = drawing.with_name(drawing.name + ".png")
            masks = masks_of(read_map(drawing), void=_VOID) if suffix == _BOXES and drawing.is_file() else {}
            instances = []
            for number, entry in enumerate(root.iter("object"), 1):
                mask = masks.get(number)
                if mask is None:
                    source.remarks["objects have no mask: their boxes were filled"] += 1
                    x1, y1, x2, y2 = (float(_text(entry, f"bndbox/{side}")) for side in _SIDES)
                    mask = box_mask((x1 - 1, y1 - 1, x2, y2), size)
                instances.append(Instance(mask, ids[_text(entry, "name")]))
            return Annotation(key, size, tuple(instances))

        return LabelSet(names, source.of_files(suffix, parse))


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
    for instance in annotation.instances:
        entry = ElementTree.SubElement(root, "object")
        _add(entry, name=" ".join(rendering.name_of(instance.class_id).split()))
        _add(entry, pose="Unspecified", truncated=0, difficult=0)
        left, top, right, bottom = instance.mask.box or (0, 0, 1, 1)
        box = dict(zip(_SIDES, (left + 1, top + 1, right, bottom), strict=True))
        _add(ElementTree.SubElement(entry, "bndbox"), **box)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8")) + b"\n"


def _add(parent: ElementTree.Element, **values: str | int) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = plain_text(str(value))


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None or not found.strip():
        raise ValueError(f"<{element.tag}> has no {path}")
    return found.strip()


def _is_annotation(file: Path) -> bool:
    try:
        return ElementTree.parse(file).getroot().tag == "annotation"
    except (OSError, ElementTree.ParseError, ValueError):
        return False


def _class_names(file: str) -> set[str]:
    """Those in one file; none of a damaged one, which fails when its turn comes."""
    try:
        return {(entry.findtext("name") or "").strip() for entry in ElementTree.parse(file).iter("object")} - {""}
    except (OSError, ElementTree.ParseError, ValueError):
        return set()


def _label_map(path: Path) -> dict[int, str]:
    """Names by class id; none where there is no such file. Background is no class."""
    if not path.is_file():
        return {}
    rows = [row.split(":")[0].strip() for row in path.read_text("utf-8-sig", "replace").splitlines()]
    return dict(enumerate(row for row in rows if row and not row.startswith("#") and row != "background"))

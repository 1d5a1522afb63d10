"""COCO instances: one `annotations.json` for all images, masks as compressed run lengths, nothing lost of them."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from samcli.errors import UsageError
from samcli.labels.class_names import usable_names
from samcli.labels.formats.base import SPOOL, LabelFormat, Rendering, box_inside
from samcli.labels.formats.sources import Failure, LabelSet, Source
from samcli.labels.json_splice import find_lists, spliced
from samcli.labels.json_stream import Shelf, beginning, shown, walk
from samcli.labels.objects import XYXY, LabelEntry, LabelledObject, Pixels, ReadImage, Shape, box_of, gather
from samcli.labels.placed_shapes import turn_in_attribute, turned_by
from samcli.labels.shapes import Floats, clip_ring, coco_mask, coco_polygon_mask, number, numbers
from samcli.masks import Mask, mask_iou
from samcli.types import Annotation, Instance, Quality, Size

FIGURES = {
    "score": "detector_score",
    "predicted_iou": "predicted_iou",
    "stability_score": "stability",
    "box_iou": "box_iou",
    "polygon_iou": "polygon_iou",
}
"""Names of quality figures in JSON formats -> in `Quality`."""


_FILE = "annotations.json"
ROBOFLOW = "_annotations.coco.json"
"""The file that Roboflow puts beside the images of a split."""
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Coco(LabelFormat):
    """`annotations.json`: `images` (numbered from 1, by key), `annotations` and `categories`.

    Category ids are class ids + 1: COCO's begin with 1. Segmentations are run lengths with `iscrowd` 0, which
    pycocotools and what is built on it take: polygons could hold neither holes nor, at this size, the border.
    `polygons`: polygons wherever they are within `min_polygon_iou`, for readers that know nothing else.
    `name`: of the file, where a reader expects another.
    """

    is_read = True

    def __init__(self, *, polygons: bool = False, name: str = _FILE) -> None:
        self._polygons = polygons
        self.folded_name = name

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """Annotations first, an image at a time; the images' own list is kept in a temporary file until then."""
        classes, annotation_id = dict(names), 0
        with tempfile.SpooledTemporaryFile(SPOOL) as images:
            yield b'{"info":{"description":"written by samcli"},"annotations":['
            for number, rendering in enumerate(renderings, 1):
                annotation = rendering.annotation
                height, width = annotation.image_size
                image = {"id": number, "file_name": annotation.key, "height": height, "width": width}
                images.write((",\n" if number > 1 else "\n").encode() + _dump(image))
                rows = []
                for instance in annotation.instances:
                    annotation_id += 1
                    classes.setdefault(instance.class_id, str(instance.class_id))
                    rows.append(_dump(self._row(instance, annotation_id, number, rendering)))
                if rows:
                    yield (b"\n" if annotation_id == len(rows) else b",\n") + b",\n".join(rows)
            yield b'\n],"images":['
            images.seek(0)
            yield from _blocks(images)
            categories = [{"id": i + 1, "name": classes[i], "supercategory": ""} for i in sorted(classes)]
            yield b'\n],"categories":' + _dump(categories) + b"}\n"

    def _row(self, instance: Instance, annotation_id: int, image_id: int, rendering: Rendering) -> dict[str, Any]:
        row = coco_annotation(instance, annotation_id, image_id)
        if self._polygons:
            row["segmentation"] = edge_polygons(instance.mask, rendering.polygon_options.min_iou)
        return row

    def fold_into(
        self, existing: Path, renderings: Iterable[Rendering], names: Mapping[int, str]
    ) -> Iterator[bytes]:
        """Images, annotations and categories that are new follow those of the file; ids go on from its largest."""
        file, data = _Reader(existing, Source(existing)).extension(names), existing.read_bytes()
        gone: set[int] = set()
        with tempfile.SpooledTemporaryFile(SPOOL) as images, tempfile.SpooledTemporaryFile(SPOOL) as rows:
            for rendering in renderings:
                annotation = rendering.found
                image_id = file.image_id(annotation)
                if image_id is None:
                    image_id, (height, width) = file.new_image_id(), annotation.image_size
                    image = {"id": image_id, "file_name": annotation.key, "height": height, "width": width}
                    images.write(_dump(image) + b"\n")
                if rendering.gone:
                    gone |= file.items_of(image_id, rendering.gone, data)
                for instance in rendering.added.annotation.instances:
                    row = self._row(instance, file.new_annotation_id(), image_id, rendering)
                    rows.write(_dump({**row, "category_id": file.category_id(instance.class_id)}) + b"\n")
            new: dict[str, Iterable[bytes]] = {"images": _lines(images), "annotations": _lines(rows)}
            new["categories"] = map(_dump, file.new_categories())
            yield from spliced(data, find_lists(data), new, {"annotations": gone})

    extends = True

    def finds(self, path: Path) -> bool:
        """Return whether it is a COCO file, or a folder with such files under their usual names."""
        files = self._files_in(path)
        if not files or self._polygons:  # one format is enough for files that are read alike
            return False
        if self.folded_name != _FILE and (path.is_file() or files[0].name != self.folded_name):
            return False
        items = beginning(files[0], 40)  # after those of the licences
        names = [item.name for item in items if not (item.name == "images" and _is_of_prompts(item.value))]
        return names[:1] != ["image"] and not {"images", "annotations", "categories"}.isdisjoint(names)

    def read(self, source: Source) -> LabelSet:
        """Categories become classes 0, 1, ... in the order of their ids; crowd regions are left out.

        CocoPolygons are rasterised as pycocotools does; a box without segmentation is a filled rectangle.
        """
        files = self._files_in(source.path)
        if not files:
            raise UsageError(f"{source.path} holds no {self.folded_name}; give the COCO file itself")
        return joined([read_coco(file, source, folder_of_split(source.path, file)) for file in files], source.path)

    def _files_in(self, path: Path) -> list[Path]:
        """Return the file itself; of a folder our own, Roboflow's, that of each of its splits, or COCO's
        `annotations`.
        """
        if not path.is_dir():
            return [path] if path.suffix.lower() == ".json" and path.is_file() else []
        usual = [file for name in (self.folded_name or "", ROBOFLOW) if (file := path / name).is_file()]
        splits = usual[:1] or sorted(path.glob(f"*/{ROBOFLOW}"))
        folder = path if path.name == "annotations" else path / "annotations"
        return splits or sorted(folder.glob("instances_*.json"))


def folder_of_split(top: Path, file: Path) -> str:
    """Return the folder that the images of a file lie in below `top`: Roboflow's file lies beside them."""
    return file.parent.relative_to(top).as_posix() if file.name == ROBOFLOW and top.is_dir() else ""


def read_coco(file: Path, source: Source, below: str = "") -> LabelSet:
    """Return the labels in one file; `below`: the folder of its images.

    Raises:
        UsageError: it cannot be read.
    """
    return _Reader(file, source, "" if below == "." else below).labels()


def joined(parts: Sequence[LabelSet], where: Path) -> LabelSet:
    """Return the labels of all subsets of a data set.

    Raises:
        UsageError: their classes are not the same.
    """
    first = parts[0]
    if any(labels.names != first.names for labels in parts):
        raise UsageError(f"{where}: its subsets have different classes; give the file of one of them")
    entries = [entry for labels in parts for entry in labels.entries]
    return replace(first, entries=entries, failures=[one for labels in parts for one in labels.failures])


def _is_of_prompts(value: Any) -> bool:
    """Return whether `images` is samcli's own object of image to prompts."""
    return isinstance(value, dict) and any(isinstance(one, list) for one in value.values())


def listed_names(file: Path) -> list[str]:
    """Return the names of the images that a COCO file lists, in its order.

    Raises:
        UsageError: the file is no JSON, or cannot be read.
    """
    images = (value for place, _, value in walk(file, levels=1) if place[:1] == ("images",))
    names = [image.get("file_name") for image in images if isinstance(image, dict)]
    return [name for name in names if isinstance(name, str) and name and "\0" not in name]


def coco_annotation(instance: Instance, annotation_id: int, image_id: int) -> dict[str, Any]:
    """Return an entry of `annotations`; box (xywh) and area are the mask's own, unless labels state a finer box."""
    left, top, right, bottom = box_inside(instance)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": instance.class_id + 1,
        "segmentation": instance.mask.to_coco(),
        "area": instance.mask.area,
        "bbox": [_short(value) for value in (left, top, right - left, bottom - top)],
        "iscrowd": 0,
        **figures(instance.quality),
    }


def _short(value: float) -> float:
    """Without the noise of sums; whole numbers as such."""
    return int(value) if value == int(value) else round(value, 6)


def edge_polygons(mask: Mask, min_iou: float) -> list[list[float]] | dict[str, Any]:
    """COCO's polygons of a mask, one a part: along the edges of pixels, as COCO has it, not through their centres.

    They have as few points as `min_iou` allows, as pycocotools rasterises them. Holes are filled. Where that
    costs too much, and for a mask without pixels, its run lengths.
    """
    pixels, (left, top, _, _) = mask.crop()
    if not pixels.size:
        return mask.to_coco()
    # In an image of twice the size the outermost pixels tell which edge of a pixel they lie at.
    twice = np.repeat(np.repeat(pixels.astype(np.uint8), 2, 0), 2, 1)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edges = [(contour.reshape(-1, 2) + 1) // 2 + (left, top) for contour in contours]
    for tolerance in (2.0, 1.0, 0.5, 0.0):
        simple = [cv2.approxPolyDP(edge.astype(np.int32), tolerance, True).reshape(-1, 2) for edge in edges]
        rings: list[list[float]] = [ring.ravel().tolist() for ring in simple if len(ring) >= 3]
        if rings and _iou_as_drawn(rings, mask) >= min_iou:
            return rings
    return mask.to_coco()


def _iou_as_drawn(rings: list[list[float]], mask: Mask) -> float:
    size = mask.height, mask.width
    return mask_iou(polygon_mask([np.array(ring, np.float64).reshape(-1, 2) for ring in rings], size), mask)


def figures(quality: Quality) -> dict[str, float]:
    """Return the quality figures that there are, by the names of `FIGURES`."""
    values = {name: getattr(quality, attribute) for name, attribute in FIGURES.items()}
    return {name: round(float(value), 8) for name, value in values.items() if value is not None}


def quality_of(item: Mapping[str, Any]) -> Quality:
    """Return the quality figures in a JSON object."""
    found = {attribute: item.get(name) for name, attribute in FIGURES.items()}
    return Quality(**{name: None if value is None else number(value, name) for name, value in found.items()})


@dataclass(frozen=True, slots=True)
class CocoPolygons:
    """COCO's polygons, drawn as pycocotools does: (K, 2) pixels each."""

    rings: tuple[Floats, ...]
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return polygon_mask(self.rings, image_size)

    def scaled(self, x: float, y: float) -> CocoPolygons:
        """See Shape."""
        return CocoPolygons(tuple(ring * (x, y) for ring in self.rings))


@dataclass(frozen=True, slots=True)
class Runs:
    """COCO's run lengths, as they are in the file."""

    rle: Any
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return coco_mask(self.rle, image_size)

    def scaled(self, x: float, y: float) -> Pixels:
        """See Shape."""
        height, width = (int(value) for value in numbers(self.rle["size"], "the size of a mask"))
        return Pixels(coco_mask(self.rle, (height, width))).scaled(x, y)


def polygon_mask(rings: Sequence[Floats], image_size: Size) -> Mask:
    """Return the pixels of polygons as pycocotools draws them.

    Raises:
        ValueError: a coordinate is not finite, or all of it lies outside the image.
    """
    near = [ring for ring in (clip_ring(ring, image_size) for ring in rings) if len(ring) >= _LEAST_POINTS]
    if not near:
        raise ValueError("a polygon lies outside the image")
    mask = coco_polygon_mask(near, image_size)
    if not mask.area and all((ring.max(0) <= 0).any() or (ring.min(0) >= image_size[::-1]).any() for ring in near):
        raise ValueError(f"a polygon lies outside the image of {image_size[1]} x {image_size[0]} pixels")
    return mask


def shape_of(item: Mapping[str, Any]) -> tuple[Shape, XYXY | None]:
    """Return the shape of an annotation, and the box that is stated beside it.

    Parts of polygons with fewer than three points draw nothing, and are passed over where others do.

    Raises:
        ValueError: it has none.
    """
    box, value = _stated_box(item.get("bbox")), item.get("segmentation")
    if isinstance(value, dict) and value:
        return Runs(value), box
    if value:
        if not isinstance(value, list):
            raise ValueError(f"segmentation is {shown(value)}; expected polygons or run lengths")
        parts = value if all(isinstance(part, list) for part in value) else [value]
        rings = [_ring(part) for part in parts if len(part) >= _LEAST_NUMBERS]
        if rings:
            return CocoPolygons(tuple(rings)), box
        if any(parts):
            raise ValueError(f"a polygon of {max(map(len, parts))} numbers; expected x, y of three points or more")
    if box is None:
        raise ValueError("neither segmentation nor bbox; expected one of them")
    return turned_by(box, _turn(item)), None


def _turn(item: Mapping[str, Any]) -> float:
    """Degrees by which a box is turned about its centre, clockwise: CVAT writes them into the attributes."""
    attributes = item.get("attributes")
    return turn_in_attribute(attributes.get("rotation")) if isinstance(attributes, dict) else 0.0


def _ring(values: Sequence[Any]) -> Floats:
    if len(values) % 2:
        raise ValueError(f"a polygon of {len(values)} numbers; expected x, y of each point")
    return np.array(numbers(values, "a coordinate of a polygon"), np.float64).reshape(-1, 2)


def _stated_box(value: Any) -> XYXY | None:
    """xyxy of COCO's x, y, width, height; None where there is none."""
    if value is None or value == []:
        return None
    found = numbers(value, "a number of bbox")
    if len(found) != 4:
        raise ValueError(f"bbox has {len(found)} numbers; expected x, y, width, height")
    x, y, width, height = found
    return x, y, x + width, y + height


_LEAST_POINTS, _LEAST_NUMBERS = 3, 6


def _dump(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(1 << 16):
        yield block


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return (line[:-1] for line in file)


@dataclass
class _Extension:
    """The ids of a file, to which others are added."""

    images: dict[str, int]
    """By file name, of those that can be told apart."""
    categories: list[Any]
    """By class id."""
    names: Mapping[int, str]
    last_image: int
    last_annotation: int
    last_category: int
    used: set[int] = field(default_factory=set)
    """Classes that the file does not have."""
    _items: dict[Any, list[int]] = field(default_factory=dict)

    def image_id(self, annotation: Annotation) -> Any:
        """Return the id of an image that the file has; None of another."""
        return self.images[annotation.existing.name] if annotation.existing else None

    def new_image_id(self) -> int:
        self.last_image += 1
        return self.last_image

    def new_annotation_id(self) -> int:
        self.last_annotation += 1
        return self.last_annotation

    def category_id(self, class_id: int) -> Any:
        """Return the id of a class; one that the file does not have gets one behind the largest."""
        if class_id < len(self.categories):
            return self.categories[class_id]
        self.used.add(class_id)
        return self.last_category + 1 + class_id - len(self.categories)

    def new_categories(self) -> Iterator[dict[str, Any]]:
        """Yield the classes that the file does not have and that objects have been added of."""
        for class_id in sorted(self.used):
            name = self.names.get(class_id, str(class_id))
            yield {"id": self.category_id(class_id), "name": name, "supercategory": ""}

    def items_of(self, image_id: Any, places: Iterable[int], data: bytes) -> set[int]:
        """Return the numbers, in the file's list of annotations, of some of an image's."""
        if not self._items:
            for number, (begin, end) in enumerate(find_lists(data).lists["annotations"].items):
                own = identity(json.loads(data[begin:end]).get("image_id"))
                self._items.setdefault(own, []).append(number)
        return {self._items[image_id][place] for place in places}


@dataclass
class _Image:
    """An image that a file lists."""

    id: Any
    name: str
    size: Size
    """(height, width) as stated, 0 where it is not."""


class _Reader:
    """Reader of a COCO file; annotations are stored and parsed when their image is read."""

    def __init__(self, file: Path, source: Source, below: str = "") -> None:
        self._file, self._source, self._shelf = file, source, Shelf()
        self._below = f"{below}/" if below else ""
        self._seen_categories: set[Any] = set()
        self._has_annotations = False
        self._images: dict[Any, list[_Image]] = {}
        self._places: dict[Any, array[int]] = {}
        """Of annotations, by the id of their image."""
        self._names: dict[Any, Any] = {}
        self._seen: set[Any] = set()
        self._lost: list[Failure] = []
        self._nameless: set[Any] = set()
        self._objects = self._crowds = 0
        take = {"images": self._image, "annotations": self._annotation, "categories": self._category}
        for place, line, value in walk(file, levels=1):
            self._has_annotations |= place[:1] == ("annotations",)
            if len(place) == 2 and place[0] in take:
                if not isinstance(value, dict):
                    raise UsageError(f"{file}:{line}: {place[0]} has {shown(value)}; expected objects")
                take[str(place[0])](value, line)
            elif len(place) == 1 and place[0] in take and value != []:
                raise UsageError(f"{file}:{line}: {place[0]} is {shown(value)}; expected a list of objects")
            elif len(place) == 1 and isinstance(place[0], int):
                raise UsageError(f"{file}:{line}: {what_list_is(value)}")
        if not self._images and not self._lost:
            raise UsageError(f"{file} lists no images; expected COCO's images, annotations and categories")
        self._remark()

    def labels(self) -> LabelSet:
        """Its classes and images.

        Raises:
            UsageError: nothing is said of the images.
        """
        if not self._has_annotations:  # an empty label would say that there is nothing in the images
            raise UsageError(f"{self._file} lists images and has no annotations: nothing is known of them")
        has_names = bool(self._names)
        if not has_names and self._objects:
            self._names = dict.fromkeys(self._seen_categories)
        ids = sorted(self._names, key=_order)
        self._class_ids = {key: index for index, key in enumerate(ids)}
        names = usable_names(
            [self._names[key] for key in ids],
            ["" if key is None else str(key) for key in ids],
            self._source.remarks,
        )
        return LabelSet(
            dict(enumerate(names)),
            entries=[
                LabelEntry(self._below + image.name, functools.partial(self._read, image=image), str(self._file))
                for images in self._images.values()
                if len(images) == 1
                for image in images
            ],
            failures=[*self._lost, *self._with_one_id(), *self._without_image()],
            declared=has_names,
            file_ids={index: key for index, key in enumerate(ids) if isinstance(key, int)},
        )

    def extension(self, names: Mapping[int, str]) -> _Extension:
        """Return the ids of the file; `names`: those of all classes, of which the file's own come first."""
        categories = sorted(self._names, key=_order)

        def last(ids: Iterable[Any]) -> int:
            return max((one for one in ids if isinstance(one, int)), default=0)

        return _Extension(
            {image.name: image.id for images in self._images.values() if len(images) == 1 for image in images},
            categories,
            names,
            last([*self._images, *self._places]),
            last(self._seen),
            last(categories),
        )

    def _image(self, value: dict[str, Any], line: int) -> None:
        image_id, name = identity(value.get("id")), value.get("file_name")
        if image_id is None or not isinstance(name, str) or not name:
            lack = "id" if image_id is None else "file_name"
            self._lost.append(Failure(f"image {shown(name or image_id)}", f"{self._file}:{line}: it has no {lack}"))
            self._nameless.add(image_id)
            return
        size = _side(value.get("height")), _side(value.get("width"))
        self._images.setdefault(image_id, []).append(_Image(image_id, name, size))

    def _annotation(self, value: dict[str, Any], line: int) -> None:
        image_id = identity(value.get("image_id"))
        self._places.setdefault(image_id, array("q")).append(self._shelf.put(value))
        self._seen_categories.add(identity(value.get("category_id")))
        if "segments_info" in value:
            raise UsageError(
                f"{self._file}:{line}: a file of panoptic segmentation, whose masks are PNG files, is not read"
            )
        self._objects += 1
        self._crowds += is_crowd(value)
        if (own := identity(value.get("id"))) is not None:
            if own in self._seen:
                self._source.remarks["annotation ids occur twice; all objects were read"] += 1
            self._seen.add(own)

    def _category(self, value: dict[str, Any], line: int) -> None:
        category_id = identity(value.get("id"))
        if category_id in self._names and self._names[category_id] != value.get("name"):
            first, second = self._names[category_id], value.get("name")
            raise UsageError(f"{self._file}:{line}: category id {category_id} is both '{first}' and '{second}'")
        self._names[category_id] = value.get("name")

    def _remark(self) -> None:
        if self._objects and self._crowds == self._objects and self._source.crowds == "drop":
            self._source.remarks[
                "file has iscrowd = 1 for all objects, as CVAT writes masks: --crowds keep reads each as one object"
            ] += 1

    def _with_one_id(self) -> Iterator[Failure]:
        """Images whose annotations cannot be told apart."""
        for image_id, images in self._images.items():
            others = " and ".join(f"'{image.name}'" for image in images[:3])
            for image in images if len(images) > 1 else ():
                yield Failure(
                    image.name, f"{self._file}: image id {image_id} is that of {others}; expected its own"
                )

    def _without_image(self) -> Iterator[Failure]:
        for image_id, places in self._places.items():
            if image_id not in self._images and image_id not in self._nameless:
                what = f"{len(places)} annotations of it, but not the image"
                yield Failure(f"image_id {image_id}", f"{self._file} has {what}")

    def _read(self, key: str, *, image: _Image) -> ReadImage:
        items = (self._shelf.take(place) for place in self._places.get(image.id, ()))
        objects, omitted = gather(((_where(item), item) for item in items), self._object)
        return ReadImage(key, objects, image.size, omitted)

    def _object(self, item: Mapping[str, Any]) -> LabelledObject:
        category_id = identity(item.get("category_id"))
        if category_id not in self._class_ids:
            raise ValueError(f"category_id {shown(item.get('category_id'))} is not among the categories")
        shape, box = shape_of(item)
        area = item.get("area")
        return LabelledObject(
            shape,
            self._class_ids[category_id],
            quality_of(item),
            crowd=is_crowd(item),
            stated_box=box,
            stated_area=None if area is None else number(area, "area"),
            where=_where(item),
        )


def _where(item: Mapping[str, Any]) -> str:
    return f"annotation {identity(item.get('id'))}" if "id" in item else "an annotation without id"


def identity(value: Any) -> int | str | None:
    """Return an id as files have it: 7, "7" and 7.0 are one. None: it is none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if type(value) is int else None


def _order(key: Any) -> tuple[int, Any]:
    """Numbers before text, and nothing last."""
    return (2, 0) if key is None else (1, key) if isinstance(key, str) else (0, key)


def is_crowd(item: Mapping[str, Any]) -> bool:
    """Return whether `iscrowd` says so: 1, true, or as text."""
    value = item.get("iscrowd")
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes") or bool(re.fullmatch(r"\s*0*1(\.0*)?\s*", value))
    return bool(value)


def what_list_is(first: Any) -> str:
    """Describe a list at the root of a file that is not COCO's images, annotations and categories."""
    if isinstance(first, dict) and {"image_id", "category_id"} <= first.keys():
        return (
            "a list of COCO results, which names images and categories by number alone. Put it as "
            "'annotations' (score and all) into a file that has 'images' and 'categories' too"
        )
    return "a list; expected an object with COCO's images, annotations and categories"


def _side(value: Any) -> int:
    """0 where the file does not say."""
    side = identity(value)
    return side if isinstance(side, int) and 0 < side < _FAR else 0


_FAR = 1 << 31

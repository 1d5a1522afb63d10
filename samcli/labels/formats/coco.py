"""COCO instances: one `annotations.json` for all images, masks as compressed run lengths, nothing lost of them."""

from __future__ import annotations

import functools
import json
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.errors import UsageError
from samcli.labels.formats.base import SPOOL, LabelFormat, Rendering
from samcli.labels.formats.json_items import Item, JsonFile, beginning
from samcli.labels.formats.sources import Failure, LabelSet, Source, box_mask, guarded, lack_of
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
                    row = coco_annotation(instance, annotation_id, number)
                    if self._polygons:
                        row["segmentation"] = edge_polygons(instance.mask, rendering.polygon_options.min_iou)
                    rows.append(_dump(row))
                if rows:
                    yield (b"\n" if annotation_id == len(rows) else b",\n") + b",\n".join(rows)
            yield b'\n],"images":['
            images.seek(0)
            yield from _blocks(images)
            categories = [{"id": i + 1, "name": classes[i], "supercategory": ""} for i in sorted(classes)]
            yield b'\n],"categories":' + _dump(categories) + b"}\n"

    def finds(self, path: Path) -> bool:
        """A file of COCO's, or a folder with that of the usual name, or with our own."""
        file = self._file_in(path)
        if file is None or self._polygons:  # one format is enough for files that are read alike
            return False
        if self.folded_name != _FILE and path.is_file():
            return False
        names = [item.name for item in beginning(file, 40)]  # after those of the licences
        return names[:1] != ["image"] and not {"images", "annotations", "categories"}.isdisjoint(names)

    def read(self, source: Source) -> LabelSet:
        """Categories become classes 0, 1, ... in the order of their ids; crowd regions are left out.

        Polygons are rasterised as pycocotools does; a box without segmentation is a filled rectangle.
        """
        file = self._file_in(source.path)
        if file is None:
            raise UsageError(f"{source.path} holds no {self.folded_name}; give the COCO file itself")
        reader = _Reader(file, source)
        return LabelSet(reader.names, reader.annotations())

    def _file_in(self, path: Path) -> Path | None:
        if path.is_dir():
            path = path / (self.folded_name or "")
        return path if path.suffix.lower() == ".json" and path.is_file() else None


def coco_annotation(instance: Instance, annotation_id: int, image_id: int) -> dict[str, Any]:
    """An entry of `annotations`; box (xywh) and area are the mask's own."""
    left, top, right, bottom = instance.mask.box or (0, 0, 0, 0)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": instance.class_id + 1,
        "segmentation": instance.mask.to_coco(),
        "area": instance.mask.area,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        **figures(instance.quality),
    }


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
        if rings and mask_iou(_polygon_mask(rings, (mask.height, mask.width)), mask) >= min_iou:
            return rings
    return mask.to_coco()


def figures(quality: Quality) -> dict[str, float]:
    """The quality figures that there are, by the names of `FIGURES`."""
    values = {name: getattr(quality, attribute) for name, attribute in FIGURES.items()}
    return {name: round(float(value), 8) for name, value in values.items() if value is not None}


def quality_of(item: Mapping[str, Any]) -> Quality:
    """The quality figures in a JSON object."""
    found = {attribute: item.get(name) for name, attribute in FIGURES.items()}
    return Quality(**{name: None if value is None else float(value) for name, value in found.items()})


def segmentation_mask(value: Any, box: Any, image_size: Size, source: Source) -> Mask:
    """The mask of a COCO segmentation: run lengths, polygons, or, without any, the filled box (xywh).

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, dict):
        return Mask.from_coco(value)
    if value:
        return _polygon_mask(value, image_size)
    if box is None:
        raise ValueError("an object has neither segmentation nor bbox")
    x, y, width, height = (float(number) for number in box)
    source.remarks["objects have no mask: their boxes were filled"] += 1
    return box_mask((x, y, x + width, y + height), image_size)


def _polygon_mask(rings: Any, image_size: Size) -> Mask:
    from pycocotools import mask as coco

    rings = [rings] if isinstance(rings[0], (int, float)) else rings
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2 or not all(math.isfinite(value) for value in ring):
            raise ValueError(f"a polygon of {len(ring)} numbers; expected x, y of three points or more")
    return Mask.from_coco(coco.merge(coco.frPyObjects(rings, *image_size)))


def _dump(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(1 << 16):
        yield block


class _Reader:
    """Where each image's annotations lie in the file; they are decoded when its turn comes."""

    def __init__(self, file: Path, source: Source) -> None:
        self._file, self._source = file, source
        self._json = JsonFile(file)
        self._images: dict[Any, dict[str, Any]] = {}
        self._numbers: dict[Any, int] = {}
        """Image id as annotations say it -> its number, in order of appearance."""
        self._places = array("q")
        """Number of the image, start, end of each annotation."""
        self._categories: dict[int, str] = {}
        for item in self._json.items():
            try:
                self._note(item)
            except (KeyError, TypeError, AttributeError) as error:
                verb = "has" if isinstance(error, KeyError) else "is"
                raise UsageError(f"{file}: an entry of {item.name} {verb} {lack_of(error)}") from error
        if not self._images and self._numbers:
            raise UsageError(f"{file} lists no images; expected COCO's images, annotations and categories")
        self.names = dict(enumerate(self._categories[key] for key in sorted(self._categories)))
        self._class_ids = {key: index for index, key in enumerate(sorted(self._categories))}

    def _note(self, item: Item) -> None:
        """Remember an image or a category, and of an annotation its place."""
        if item.name == "images":
            image = self._json.value(item)
            self._images[image["id"]] = image
            image["file_name"] = self._source.key_of(image["file_name"])
        elif item.name == "annotations":
            image_id = item.rough["image_id"]
            if isinstance(image_id, str):
                image_id = self._json.value(item)["image_id"]
            number = self._numbers.setdefault(image_id, len(self._numbers))
            self._places.extend((number, item.start, item.end))
        elif item.name == "categories":
            category = self._json.value(item)
            self._categories[category["id"]] = str(category["name"])

    def annotations(self) -> Iterator[Annotation | Failure]:
        places = np.frombuffer(self._places, np.int64).reshape(-1, 3)
        places = places[np.argsort(places[:, 0], kind="stable")]
        starts = np.searchsorted(places[:, 0], np.arange(len(self._numbers) + 1))
        for image in sorted(self._images.values(), key=lambda image: image["file_name"]):
            number = self._numbers.get(image["id"])
            own = places[starts[number] : starts[number + 1], 1:] if number is not None else places[:0, 1:]
            parse = functools.partial(self._image, image=image, places=own)
            yield guarded(image["file_name"], str(self._file), parse)
        for image_id in self._numbers.keys() - self._images.keys():
            yield Failure(f"image_id {image_id}", f"{self._file} has annotations of it, but not the image")

    def _image(self, key: str, file: str, *, image: Mapping[str, Any], places: NDArray[np.int64]) -> Annotation:
        if image.get("height") and image.get("width"):
            size = int(image["height"]), int(image["width"])
        else:
            size = self._source.size(key)
        items = (self._json.value_at(int(start), int(end)) for start, end in places)
        return Annotation(key, size, tuple(self._instance(item, size) for item in items if not self._crowd(item)))

    def _crowd(self, item: Mapping[str, Any]) -> bool:
        if item.get("iscrowd"):
            self._source.remarks["regions of crowds are no single objects and were left out"] += 1
        return bool(item.get("iscrowd"))

    def _instance(self, item: Mapping[str, Any], size: Size) -> Instance:
        if item["category_id"] not in self._class_ids:
            raise ValueError(f"category_id {item['category_id']} is not among the categories")
        mask = segmentation_mask(item.get("segmentation"), item.get("bbox"), size, self._source)
        return Instance(mask, self._class_ids[item["category_id"]], quality_of(item))

"""labelme: a JSON file for each image, to be opened and corrected there."""

from __future__ import annotations

import base64
import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samcli.labels.class_names import names_beside, write_class_names
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.coco import figures, quality_of
from samcli.labels.formats.json_items import beginning
from samcli.labels.formats.sources import LabelSet, Source, box_mask, first_file, label_files
from samcli.masks import Mask
from samcli.polygons import PolygonOptions, draw, label_points, mask_to_polygons
from samcli.types import Annotation, Instance, Size

_NAMES = "labels.txt"
_VERSION = "5.5.0"
"""Of labelme: the first whose files have masks as they are written here."""


class Labelme(LabelFormat):
    """`<image>.json`, with the image named and not embedded, and `labels.txt` for `labelme --labels`.

    A mask is one polygon, or several with one `group_id`, where that is within `min_polygon_iou`; else, as with
    holes, a shape of type `mask`. Figures are further members of a shape, which labelme keeps.
    """

    suffix = ".json"
    loses = frozenset({"empty"})
    data_set_names = (_NAMES,)
    is_read = True

    def render(self, rendering: Rendering) -> bytes:
        """Indented, as labelme itself writes."""
        height, width = rendering.annotation.image_size
        shapes = [
            shape
            for number, instance in enumerate(rendering.annotation.instances, 1)
            for shape in _shapes(instance, number, rendering)
        ]
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": rendering.image_path,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """The labels to choose from."""
        return {_NAMES: write_class_names(names)}

    def finds(self, path: Path) -> bool:
        """A folder of JSON files with shapes."""
        file = first_file(path, ".json") if path.is_dir() else None
        return file is not None and any(item.name in ("shapes", "imagePath") for item in beginning(file))

    def read(self, source: Source) -> LabelSet:
        """Polygons, rectangles and masks; shapes of one group and label are one object.

        Classes are numbered as in `labels.txt`, and further ones by name.
        """
        names = names_beside(source.folder, (_NAMES,))
        known = set(names.values())
        new = sorted({label for label in _labels(source.folder) if label not in known})
        names |= dict(enumerate(new, max(names, default=-1) + 1))
        ids = {name: class_id for class_id, name in names.items()}

        def parse(relative: str, file: str) -> Annotation:
            content = json.loads(Path(file).read_bytes())
            key = _key(relative, content["imagePath"], source)
            size = int(content["imageHeight"]), int(content["imageWidth"])
            objects: dict[Any, list[Any]] = {}
            for number, shape in enumerate(content["shapes"]):
                group = shape.get("group_id")
                own = ("shape", number) if group is None else (shape["label"], group)
                objects.setdefault(own, []).append(shape)
            instances = []
            for shapes in objects.values():
                masks = [mask for shape in shapes if (mask := _mask(shape, size, source)) is not None]
                if masks:
                    instances.append(Instance(_union(masks), ids[str(shapes[0]["label"])], quality_of(shapes[0])))
            return Annotation(key, size, tuple(instances))

        return LabelSet(names, source.of_files(".json", parse))


def _shapes(instance: Instance, number: int, rendering: Rendering) -> Iterator[dict[str, Any]]:
    mask, least = instance.mask, rendering.polygon_options.min_iou
    if mask.box is None:
        return
    polygons = mask_to_polygons(mask, PolygonOptions("fill", "separate", least))
    common = {"label": rendering.name_of(instance.class_id), "description": "", "flags": {}}
    if polygons.iou >= least:
        group = number if len(polygons.rings) > 1 else None
        for ring in polygons.rings:
            yield {
                **common, "points": ring.tolist(), "group_id": group, "shape_type": "polygon", "mask": None,
                **figures(instance.quality),
            }  # fmt: skip
        return
    left, top, right, bottom = mask.box
    yield {
        **common,
        "points": [[left, top], [right - 1, bottom - 1]],  # labelme's corners are pixels of the mask, both
        "group_id": None,
        "shape_type": "mask",
        "mask": base64.b64encode(_bits_png(mask)).decode(),
        **figures(instance.quality),
    }


def _bits_png(mask: Mask) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(mask.crop()[0]).save(file, "PNG")
    return file.getvalue()


def _mask(shape: Mapping[str, Any], size: Size, source: Source) -> Mask | None:
    """Of one shape; None for what is no area, such as a point."""
    from PIL import Image

    kind, points = shape.get("shape_type") or "polygon", np.asarray(shape["points"], np.float64)
    if kind == "polygon":
        if points.ndim != 2 or len(points) < 3 or points.shape[1] != 2:
            raise ValueError(f"a polygon of {len(points)} points; expected three or more")
        return draw([label_points(points, *size)], size)
    if kind == "mask":
        left, top = (int(value) for value in points[0])
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
            pixels = np.asarray(image.convert("L")) > 0
        if left < 0 or top < 0 or top + pixels.shape[0] > size[0] or left + pixels.shape[1] > size[1]:
            raise ValueError(f"a mask of {pixels.shape[1]} x {pixels.shape[0]} at {left}, {top}: outside the image")
        return Mask.from_pixels(pixels, (left, top), size)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        source.remarks["objects have no mask: their boxes were filled"] += 1
        return box_mask((x1, y1, x2, y2), size)
    source.remarks[f"shapes are of the type {kind}, and were left out"] += 1
    return None


def _union(masks: list[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    from pycocotools import mask as coco

    return Mask.from_coco(coco.merge([mask.to_coco() for mask in masks]))


def _key(relative: str, image_path: str, source: Source) -> str:
    """The image that lies as `imagePath` says, seen from the JSON file; else one of that name beside the labels."""
    image_path = image_path.replace("\\", "/")
    if source.images is not None:
        place = posixpath.normpath(posixpath.join(str(source.folder), posixpath.dirname(relative), image_path))
        root = str(source.images) + "/"
        if place.startswith(root) and place.removeprefix(root) in source.refs:
            return place.removeprefix(root)
    return source.key_for(relative, image_path)


def _labels(folder: Path) -> Iterator[str]:
    """All labels in all files; a damaged one fails when its turn comes."""
    for _, file in label_files(folder, ".json"):
        shapes = _members(Path(file)).get("shapes")
        for shape in shapes if isinstance(shapes, list) else ():
            if isinstance(shape, dict) and "label" in shape:
                yield str(shape["label"])


def _members(file: Path) -> dict[str, Any]:
    """The members of a JSON file's object; none of what is no such file."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

"""labelme: a JSON file for each image, to be opened and corrected there."""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import io
import json
import posixpath
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samcli.errors import one_line
from samcli.labels.class_names import names_beside, write_class_names
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.coco import figures, quality_of
from samcli.labels.formats.sources import Failure, LabelSet, Source, first_file, label_files
from samcli.labels.json_splice import find_lists, spliced
from samcli.labels.json_stream import beginning
from samcli.labels.label_texts import by_name, class_ids, label_of
from samcli.labels.objects import Box, LabelEntry, LabelledObject, NotUsedError, ReadImage, Shape, gather
from samcli.labels.placed_shapes import Ellipse, Encoded, PixelRings, quadrilateral, union_of
from samcli.labels.shapes import Placed, crop_mask, points_of, ring_of, shown, side
from samcli.masks import Mask
from samcli.polygons import PolygonOptions, mask_to_polygons
from samcli.types import Instance, Quality, Size

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
    extends = True

    def extended(self, existing: bytes, rendering: Rendering) -> bytes:
        """Shapes as they were, then those of the added objects, whose groups get numbers that are free."""
        shapes = json.loads(existing)["shapes"]
        parts = list(_parts_of(shapes).values())
        gone = {number for place in rendering.gone for number in parts[place]}
        groups = [group for shape in shapes if type(group := shape.get("group_id")) is int]
        added = rendering.added
        new = (
            textwrap.indent(json.dumps(shape, indent=2), " " * 4).encode()
            for number, instance in enumerate(added.annotation.instances, max(groups, default=0) + 1)
            for shape in _shapes(instance, number, added)
        )
        return b"".join(spliced(existing, find_lists(existing), {"shapes": new}, {"shapes": gone}))

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
        """Return the labels to choose from."""
        return {_NAMES: write_class_names(names)}

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder of JSON files with shapes."""
        file = first_file(path, ".json") if path.is_dir() else None
        return file is not None and any(item.name in ("shapes", "imagePath") for item in beginning(file))

    def read(self, source: Source) -> LabelSet:
        """Shapes that have an area; those of one group and label are one object. Others are counted by their type.

        Classes are numbered as in `labels.txt`, and further ones by name.
        """
        names, labels = names_beside(source.folder, (_NAMES,), remarks=source.remarks), set[str]()
        entries: list[LabelEntry] = []
        failures: list[Failure] = []
        for relative, file in sorted(label_files(source.folder, ".json")):
            try:
                content = _content(file)
            except ValueError as error:
                failures.append(Failure(relative, f"{file}: {error}"))
                continue
            labels |= _labels(content)
            read = functools.partial(_read, file=file, source=source, names=names)
            entries.append(_entry(relative, file, content.get("imagePath"), source, read))
        class_ids(names, labels, source.remarks)
        return LabelSet(names, entries=entries, failures=failures)


def _parts_of(shapes: Sequence[Mapping[str, Any]]) -> dict[Any, list[int]]:
    """Return the numbers, from 0, of the shapes that each object consists of."""
    found: dict[Any, list[int]] = {}
    for number, shape in enumerate(shapes):
        found.setdefault(_object_of(number, shape), []).append(number)
    return found


def _object_of(number: int, shape: Mapping[str, Any]) -> Any:
    """Return what is the same for all shapes of an object: those of one label and group."""
    group = shape.get("group_id")
    return number if group is None else (label_of(shape.get("label")), str(group))


def _shapes(instance: Instance, number: int, rendering: Rendering) -> Iterator[dict[str, Any]]:
    mask, least = instance.mask, rendering.polygon_options.min_iou
    if mask.box is None:
        return
    polygons = mask_to_polygons(mask, PolygonOptions("fill", "separate", least, at_centres=True))
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


def _content(file: str) -> dict[str, Any]:
    """Return the content of a file.

    Raises:
        ValueError: it is no file of labelme's.
    """
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise ValueError(error.strerror or one_line(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise ValueError("it has no list of shapes; expected a file that labelme saved")
    return content


def _labels(content: Mapping[str, Any]) -> set[str]:
    """Return all labels in a file; those that are no labels are told when their shape's turn comes."""
    found = set()
    for shape in content["shapes"]:
        with contextlib.suppress(ValueError):
            if isinstance(shape, dict):
                found.add(label_of(shape.get("label")))
    return found


def _entry(
    relative: str, file: str, image_path: Any, source: Source, read: Callable[[str], ReadImage]
) -> LabelEntry:
    """Return the entry of the image at `imagePath` from the JSON file, else of one with that or the file's name."""
    name = image_path.replace("\\", "/") if isinstance(image_path, str) else ""
    folder, stem = posixpath.dirname(relative), posixpath.splitext(relative)[0]
    beside = posixpath.join(folder, posixpath.basename(name)) if name else ""
    place = posixpath.normpath(posixpath.join(str(source.folder), folder, name))
    below, mirrored = (place.removeprefix(f"{top}/") for top in (source.images, source.folder))
    if source.images is None:
        return LabelEntry(beside if mirrored == place or not name else mirrored, read, file, stems=(stem,))
    return LabelEntry(name or stem, read, file, keys=(below, mirrored, beside) if name else (), stems=(stem,))


def _read(key: str, *, file: str, source: Source, names: Mapping[int, str]) -> ReadImage:
    """Return the objects of the image of a file."""
    content, ids = _content(file), by_name(names)
    size = side(content.get("imageHeight")), side(content.get("imageWidth"))
    stated = size if all(size) else None
    numbered = ((_where(number, shape), (number, shape)) for number, shape in enumerate(content["shapes"], 1))
    parts, omitted = gather(numbered, lambda item: _part(*item, stated))
    objects: dict[Any, list[_Part]] = {}
    for part in parts:
        objects.setdefault(part.group, []).append(part)
    found = (
        LabelledObject(
            union_of([part.shape for part in group]), ids[group[0].label], group[0].quality, where=group[0].where
        )
        for group in objects.values()
    )
    return ReadImage(key, tuple(found), size, omitted)


@dataclass(frozen=True, slots=True)
class _Part:
    """A shape of a file: an object, or one of several of its group."""

    group: Any
    label: str
    shape: Shape
    quality: Quality
    where: str


def _where(number: int, shape: Any) -> str:
    label = shape.get("label") if isinstance(shape, dict) else None
    return f"shape {number} '{label:.40}'" if isinstance(label, str) and label else f"shape {number}"


def _part(number: int, shape: Any, stated: Size | None) -> _Part:
    """One shape.

    Raises:
        NotUsedError: it has no area, such as a point.
        ValueError: it is damaged.
    """
    if not isinstance(shape, dict):
        raise ValueError(f"it is {shown(shape)}; expected a shape with label and points")
    return _Part(
        _object_of(number, shape),
        label_of(shape.get("label")),
        _shape(shape, stated),
        quality_of(shape),
        _where(number, shape),
    )


def _shape(shape: Mapping[str, Any], stated: Size | None) -> Shape:
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind in _WITHOUT_AREA:
        raise NotUsedError(f"a shape of the type {kind} has no area")
    if kind in ("polygon", "quadrilateral"):
        return PixelRings((ring_of(shape.get("points")) + 0.5,))
    if kind not in ("mask", "rectangle", "circle", *_TURNED):
        raise NotUsedError(f"a shape of the type {kind!s:.40} is not read")
    points = points_of(shape.get("points"), str(kind))
    if kind in _TURNED and len(points) == 4:
        return quadrilateral(points)
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*np.clip(points[1] - points[0], -_FAR, _FAR)))
        x, y = points[0].tolist()
        return Ellipse(Placed(x, y, radius, radius))
    if kind == "rectangle" and len(points) == 4 and len({*points[:, 0]}) > 2:  # not upright
        return quadrilateral(points)
    if kind == "rectangle" and len(points) in (2, 4):
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        return Box((x1, y1, x2, y2))
    if kind == "mask" and len(points):
        return _encoded(shape, points[0].tolist(), stated)
    raise ValueError(f"a {kind} of {len(points)} points")


def _encoded(shape: Mapping[str, Any], corner: Sequence[float], stated: Size | None) -> Encoded:
    text = shape.get("mask")
    if not isinstance(text, str):
        raise ValueError(f"a mask whose pixels are {shown(text)}; expected a PNG as base64")
    if max(map(abs, corner)) > _FAR:
        raise ValueError("a mask outside the image")
    left, top = (int(value) for value in corner)
    return Encoded(functools.partial(_decoded, text, (left, top)), stated)


def _decoded(text: str, corner: tuple[int, int], image_size: Size) -> Mask:
    """Return the mask in a PNG as base64."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            if image.width > 2 * image_size[1] + 2 or image.height > 2 * image_size[0] + 2:
                raise ValueError(f"a mask of {image.width} x {image.height} pixels: larger than the image")
            pixels = np.asarray(image.convert("L")) > 0
    except (UnidentifiedImageError, OSError, binascii.Error) as error:
        raise ValueError("a mask whose pixels are no PNG as base64") from error
    return crop_mask(pixels, corner, image_size)


_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_TURNED = ("rotation", "oriented_rectangle", "rotated_rectangle")
_FAR = 1e8

"""The two layouts of segment-anything's `amg.py`, byte for byte.

`<stem>/0.png, 1.png, ... metadata.csv`, or `<stem>.json`, a list of masks as COCO run lengths.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samcli.errors import UsageError
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.coco import Runs
from samcli.labels.formats.index_maps import read_map
from samcli.labels.formats.sources import LabelSet, Source, first_file, label_files
from samcli.labels.json_splice import find_lists, spliced
from samcli.labels.json_stream import beginning
from samcli.labels.objects import LabelledObject, ReadImage, Shape, gather
from samcli.labels.placed_shapes import Encoded
from samcli.labels.shapes import number, points_of, shown, whole_number
from samcli.masks import Mask
from samcli.types import UNNAMED, Annotation, Instance, Quality, Size

_HEADER = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,"
    "predicted_iou,stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
)


class AmgMasks(LabelFormat):
    """A folder for each image: one black and white PNG a mask, and `metadata.csv`."""

    suffix = ""
    has_pictures = True
    is_read = True
    loses = frozenset({"classes"})

    def render(self, rendering: Rendering) -> dict[str, bytes]:
        """Return the folder's files by name."""
        files, rows = {}, [_HEADER]
        for place, instance in enumerate(rendering.annotation.instances):
            files[f"{place}.png"] = png(instance.mask.pixels().astype(np.uint8) * 255)
            facts = amg_facts(instance, rendering.annotation)
            point = facts["point_coords"][0] if facts["point_coords"] else ["", ""]
            values = [
                place, facts["area"], *facts["bbox"], *point, facts["predicted_iou"], facts["stability_score"],
                *facts["crop_box"],
            ]  # fmt: skip
            rows.append(",".join("" if value is None else str(value) for value in values))
        return {**files, "metadata.csv": "\n".join(rows).encode()}  # amg.py ends its last row without a newline

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder of folders with `metadata.csv`."""
        return path.is_dir() and first_file(path, "") is not None

    def read(self, source: Source) -> LabelSet:
        """Read masks; all objects have one class."""

        def parse(key: str, folder: str) -> ReadImage:
            size = source.size(key)
            with (Path(folder) / "metadata.csv").open(newline="", encoding="utf-8") as file:
                rows = [(f"row {place}", row) for place, row in enumerate(csv.DictReader(file), 1)]
            objects, omitted = gather(rows, lambda row: amg_object(_facts_of(row), _png_shape(folder, row), size))
            return ReadImage(key, objects, omitted=omitted)

        return _of_images(source, self.suffix, parse)


def _of_images(source: Source, suffix: str, parse: Callable[[str, str], ReadImage]) -> LabelSet:
    """Return the labels of images that are at hand; all objects are of one class.

    Raises:
        UsageError: the images are not known.
    """
    if source.images is None and not source.sizes_elsewhere:
        raise UsageError(f"{source.path}: these labels do not name their images; give the folder with --images")
    entries, lost = source.image_entries(suffix, parse)
    return LabelSet({0: UNNAMED}, entries=entries, failures=lost)


def _png_shape(folder: str, row: Mapping[str, str]) -> Encoded:
    file = f"{folder}/{whole_number(row.get('id'), 'id')}.png"
    return Encoded(lambda image_size: Mask.from_pixels(read_map(file, image_size) > 0), None)


def _facts_of(row: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the facts in a row of `metadata.csv`; an empty cell means unknown."""
    point = [row.get("point_input_x"), row.get("point_input_y")]
    crop = [row.get(f"crop_box_{side}") for side in ("x0", "y0", "w", "h")]
    return {
        "predicted_iou": row.get("predicted_iou") or None,
        "stability_score": row.get("stability_score") or None,
        "point_coords": [point] if all(point) else [],
        "crop_box": crop if all(crop) else None,
    }


class AmgRle(LabelFormat):
    """A JSON file for each image: masks as COCO run lengths, with amg.py's figures."""

    suffix = ".json"
    is_read = True
    loses = frozenset({"classes"})

    def render(self, rendering: Rendering) -> bytes:
        """Return the list as amg.py dumps it."""
        return json.dumps(_facts(rendering.annotation)).encode()

    extends = True

    def extended(self, existing: bytes, rendering: Rendering) -> bytes:
        """Masks as they were, then the added ones."""
        new = map(str.encode, map(json.dumps, _facts(rendering.added.annotation)))
        return b"".join(spliced(existing, find_lists(existing), {"": new}, {"": rendering.gone}))

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder of JSON files with lists of masks; empty lists tell nothing."""
        files = itertools.islice(label_files(path, self.suffix), 100) if path.is_dir() else ()
        first = next(
            (items[0] for _, file in files if (items := beginning(Path(file), 1)) and items[0].value), None
        )
        return first is not None and not first.name and "segmentation" in (first.value or ())

    def read(self, source: Source) -> LabelSet:
        """Read masks; all objects have one class."""

        def parse(key: str, file: str) -> ReadImage:
            facts = json.loads(Path(file).read_bytes())
            if not isinstance(facts, list):
                raise ValueError(f"it is {shown(facts)}; expected a list of masks")
            size = source.size(key)
            objects, omitted = gather(
                _numbered(facts), lambda fact: amg_object(fact, Runs(fact["segmentation"]), size)
            )
            return ReadImage(key, objects, omitted=omitted)

        return _of_images(source, self.suffix, parse)


def _facts(annotation: Annotation) -> list[dict[str, Any]]:
    """Return each mask with what is known of it."""
    return [{"segmentation": one.mask.to_coco(), **known_facts(one, annotation)} for one in annotation.instances]


def _numbered(facts: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(f"mask {place}", fact) for place, fact in enumerate(facts, 1)]


def amg_facts(instance: Instance, annotation: Annotation) -> dict[str, Any]:
    """Return amg.py's facts of a mask, in its order. Its boxes (xywh) end at the last pixel, not behind it."""
    left, top, right, bottom = instance.mask.box or (0, 0, 1, 1)
    height, width = annotation.image_size
    crop = instance.crop_box or (0, 0, width, height)
    return {
        "area": instance.mask.area,
        "bbox": [left, top, right - 1 - left, bottom - 1 - top],
        "predicted_iou": _single(instance.quality.predicted_iou),
        "point_coords": [[x, y] for x, y, _ in instance.prompt_points],
        "stability_score": _single(instance.quality.stability),
        "crop_box": [crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1]],
    }


def known_facts(instance: Instance, annotation: Annotation) -> dict[str, Any]:
    """Return the same without figures that nobody knows: readers take numbers or nothing, and refuse null."""
    return {name: value for name, value in amg_facts(instance, annotation).items() if value is not None}


def amg_object(facts: Mapping[str, Any], shape: Shape, size: Size | None) -> LabelledObject:
    """Return an object out of the facts that amg.py and SA-1B have of a mask in an image of that size.

    Raises:
        ValueError: a figure is no number.
    """
    crop = [whole_number(value, "a number of crop_box") for value in facts.get("crop_box") or ()]
    whole = len(crop) != 4 or (size is not None and tuple(crop) == (0, 0, size[1], size[0]))
    points = [points_of([point], "prompt")[0].tolist() for point in facts.get("point_coords") or () if point]
    return LabelledObject(
        shape,
        0,
        Quality(predicted_iou=_figure(facts, "predicted_iou"), stability=_figure(facts, "stability_score")),
        prompt_points=tuple((x, y, 1) for x, y in points),
        crop_box=None if whole else (crop[0], crop[1], crop[0] + crop[2], crop[1] + crop[3]),
    )


def _figure(facts: Mapping[str, Any], name: str) -> float | None:
    return None if facts.get(name) is None else number(facts[name], name)


def _single(value: float | None) -> float | None:
    """Return the float32 that the figure was before a record rounded it, as a Python float."""
    return None if value is None else float(np.float32(value))


def png(pixels: np.ndarray) -> bytes:
    """Return a PNG file of uint8 or uint16 (H, W), or uint8 (H, W, 3 or 4) in OpenCV's order, as `cv2.imwrite`
    does.
    """
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{pixels.shape} {pixels.dtype} cannot be a PNG")
    return bytes(data.tobytes())

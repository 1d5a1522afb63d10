"""The two layouts of segment-anything's `amg.py`, byte for byte.

`<stem>/0.png, 1.png, ... metadata.csv`, or `<stem>.json`, a list of masks as COCO run lengths.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.index_maps import read_map
from samcli.labels.formats.sources import LabelSet, Source, first_file, label_files
from samcli.labels.json_stream import beginning
from samcli.masks import Mask
from samcli.types import UNNAMED, Annotation, Instance, Quality

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
        """The folder's files by name."""
        files, rows = {}, [_HEADER]
        for number, instance in enumerate(rendering.annotation.instances):
            files[f"{number}.png"] = png(instance.mask.pixels().astype(np.uint8) * 255)
            facts = amg_facts(instance, rendering.annotation)
            point = facts["point_coords"][0] if facts["point_coords"] else ["", ""]
            values = [
                number, facts["area"], *facts["bbox"], *point, facts["predicted_iou"], facts["stability_score"],
                *facts["crop_box"],
            ]  # fmt: skip
            rows.append(",".join("" if value is None else str(value) for value in values))
        return {**files, "metadata.csv": "\n".join(rows).encode()}  # amg.py ends its last row without a newline

    def finds(self, path: Path) -> bool:
        """A folder of folders with `metadata.csv`."""
        return path.is_dir() and first_file(path, "") is not None

    def read(self, source: Source) -> LabelSet:
        """All objects are of one class."""

        def parse(key: str, folder: str) -> Annotation:
            size, instances = source.size(key), []
            with (Path(folder) / "metadata.csv").open(newline="") as file:
                for row in csv.DictReader(file):
                    pixels = read_map(Path(folder) / f"{int(row['id'])}.png") > 0
                    instances.append(amg_instance(_facts_of(row), Mask.from_pixels(pixels)))
            return Annotation(key, size, tuple(instances))

        return LabelSet({0: UNNAMED}, source.of_images(self.suffix, parse))


def _facts_of(row: Mapping[str, str]) -> dict[str, Any]:
    """Of a row of `metadata.csv`, where an empty cell stands for what is not known."""
    point = [row["point_input_x"], row["point_input_y"]]
    crop = [row[f"crop_box_{side}"] for side in ("x0", "y0", "w", "h")]
    return {
        "predicted_iou": row["predicted_iou"] or None,
        "stability_score": row["stability_score"] or None,
        "point_coords": [[float(value) for value in point]] if all(point) else [],
        "crop_box": [float(value) for value in crop] if all(crop) else None,
    }


class AmgRle(LabelFormat):
    """A JSON file for each image: masks as COCO run lengths, with amg.py's figures."""

    suffix = ".json"
    is_read = True
    loses = frozenset({"classes"})

    def render(self, rendering: Rendering) -> bytes:
        """The list as amg.py dumps it."""
        annotation = rendering.annotation
        facts = [
            {"segmentation": instance.mask.to_coco(), **amg_facts(instance, annotation)}
            for instance in annotation.instances
        ]
        return json.dumps(facts).encode()

    def finds(self, path: Path) -> bool:
        """A folder of JSON files with lists of masks; those of images without masks tell nothing."""
        files = itertools.islice(label_files(path, self.suffix), 100) if path.is_dir() else ()
        first = next((items[0] for _, file in files if (items := beginning(Path(file), 1))), None)
        return first is not None and not first.name and "segmentation" in (first.value or ())

    def read(self, source: Source) -> LabelSet:
        """All objects are of one class."""

        def parse(key: str, file: str) -> Annotation:
            facts = json.loads(Path(file).read_bytes())
            masks = [amg_instance(fact, Mask.from_coco(fact["segmentation"])) for fact in facts]
            return Annotation(key, source.size(key), tuple(masks))

        return LabelSet({0: UNNAMED}, source.of_images(self.suffix, parse))


def amg_facts(instance: Instance, annotation: Annotation) -> dict[str, Any]:
    """What amg.py says of a mask, in its order. Its boxes (xywh) end at the last pixel, not behind it."""
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


def amg_instance(facts: Mapping[str, Any], mask: Mask) -> Instance:
    """An instance out of the facts that amg.py and SA-1B have of a mask."""
    predicted_iou, stability = facts.get("predicted_iou"), facts.get("stability_score")
    left, top, width, height = (int(value) for value in facts.get("crop_box") or (0, 0, mask.width, mask.height))
    whole = (left, top, width, height) == (0, 0, mask.width, mask.height)
    return Instance(
        mask,
        0,
        Quality(
            predicted_iou=None if predicted_iou is None else float(predicted_iou),
            stability=None if stability is None else float(stability),
        ),
        prompt_points=tuple((float(x), float(y), 1) for x, y in facts.get("point_coords") or ()),
        crop_box=None if whole else (left, top, left + width, top + height),
    )


def _single(value: float | None) -> float | None:
    """The float32 that the figure was before a record rounded it, as a Python float."""
    return None if value is None else float(np.float32(value))


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 or uint16 (H, W), or uint8 (H, W, 3 or 4) in OpenCV's order, as `cv2.imwrite` does."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{pixels.shape} {pixels.dtype} cannot be a PNG")
    return bytes(data.tobytes())

"""The two layouts of segment-anything's `amg.py`, byte for byte.

`<stem>/0.png, 1.png, ... metadata.csv`, or `<stem>.json`, a list of masks as COCO run lengths.
"""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np

from samcli.formats.base import LabelFormat, Rendering
from samcli.types import Annotation, Instance

_HEADER = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,"
    "predicted_iou,stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
)


class AmgMasks(LabelFormat):
    """A folder for each image: one black and white PNG a mask, and `metadata.csv`."""

    suffix = ""
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


class AmgRle(LabelFormat):
    """A JSON file for each image: masks as COCO run lengths, with amg.py's figures."""

    suffix = ".json"
    loses = frozenset({"classes"})

    def render(self, rendering: Rendering) -> bytes:
        """The list as amg.py dumps it."""
        annotation = rendering.annotation
        facts = [
            {"segmentation": instance.mask.to_coco(), **amg_facts(instance, annotation)}
            for instance in annotation.instances
        ]
        return json.dumps(facts).encode()


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


def _single(value: float | None) -> float | None:
    """The float32 that the figure was before a record rounded it, as a Python float."""
    return None if value is None else float(np.float32(value))


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 or uint16 (H, W), or uint8 (H, W, 3 or 4) in OpenCV's order, as `cv2.imwrite` does."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{pixels.shape} {pixels.dtype} cannot be a PNG")
    return bytes(data.tobytes())

"""samcli as an auto-annotation function of CVAT: a detector's objects with SAM's masks.

pip install samcli cvat-sdk cvat-cli
cvat-cli --server-host URL --auth USER task auto-annotate TASK --function-file cvat_function.py \\
    -p det=str:yolov8x.pt -p sam=str:sam_b.pt --allow-unmatched-labels

Labels of the task are matched with the detector's classes by name. `--conf-threshold` and `--conv-mask-to-poly` of
CVAT are heeded.
"""

from __future__ import annotations

from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk import models
from cvat_sdk.masks import encode_mask

import samcli
from samcli.labels.formats.coco import edge_polygons

_POLYGON_IOU = 0.98
"""Least IoU of a polygon with its mask, where CVAT asks for polygons."""


class SamcliFunction:
    """Detection function: `spec` names its labels, `detect` annotates one image."""

    def __init__(self, det: str, sam: str, **settings: Any) -> None:
        self._detector = samcli.load_detector(det, **settings)
        self._sam = samcli.load_sam(sam)
        labels = [cvataa.label_spec(name, class_id) for class_id, name in self._detector.names.items()]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[models.LabeledShapeRequest]:
        """Return a mask, or polygons, for each object."""
        picture = samcli.Image.from_array(np.asarray(image.convert("RGB")))
        found = self._detector.detect(picture)
        certain = found.scores >= (context.conf_threshold or 0)
        if not certain.any():
            return []
        (embedding,) = self._sam.encode([picture])
        class_ids = found.class_ids[certain].tolist()
        return [
            shape
            for segment in self._sam.segment(embedding, boxes=found.boxes[certain])
            if segment.mask.area
            for shape in _shapes(segment.mask, class_ids[segment.prompt], polygons=context.conv_mask_to_poly)
        ]


def _shapes(mask: samcli.Mask, label: int, *, polygons: bool) -> list[models.LabeledShapeRequest]:
    rings = edge_polygons(mask, _POLYGON_IOU) if polygons else None
    if isinstance(rings, list):
        return [cvataa.polygon(label, [float(value) for value in ring]) for ring in rings]
    return [cvataa.mask(label, encode_mask(mask.to_numpy(), list(mask.box)))]


def create(det: str = "yolov8x.pt", sam: str = "sam_b.pt", **settings: Any) -> SamcliFunction:
    """Return the function; `settings`: of the detector, e.g. `-p conf=float:0.4`."""
    return SamcliFunction(det, sam, **settings)

"""YOLO-seg: `class x1 y1 x2 y2 ...` a row, normalised; an image without objects has an empty file."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from samcli.formats.base import LabelFormat, Rendering
from samcli.polygons import normalise


class YoloFormat(LabelFormat):
    """Ultralytics' segmentation labels, and the `data.yaml` that its trainer is given."""

    suffix = ".txt"
    data_set_names = ("data.yaml",)

    def render(self, rendering: Rendering) -> bytes:
        """One row a ring, in the order of the instances. The same row is never written twice."""
        height, width = rendering.annotation.image_size
        rows: dict[str, None] = {}  # in order, each once: a trainer rejects repeated rows
        for instance, shape in zip(rendering.annotation.instances, rendering.polygons, strict=True):
            for ring in shape.rings:
                values = normalise(ring, height, width).ravel().tolist()
                rows[f"{instance.class_id}" + " %.6f" * len(values) % tuple(values)] = None
        return "".join(row + "\n" for row in rows).encode("ascii")

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """`data.yaml`; with the image folders where they lie so that a trainer finds these labels."""
        content: dict[str, object] = {**splits, "names": dict(names)}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        comment = "# Written by samcli."
        if splits and splits["train"] == splits["val"]:
            comment += " To train well, split off a validation set."
        return {"data.yaml": f"{comment}\n{text}".encode()}

"""Count what a format cannot store while labels are written, and report it in one line at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np

from samcli.errors import counted
from samcli.labels.formats.base import LabelFormat, Rendering

SENTENCES = {
    "masks": "{format} stores only boxes: masks dropped for {objects}",
    "overlaps": "{format} stores one object per pixel: {objects} partly or wholly covered by others",
    "borders": "{format}: {polygons} could not reach --min-polygon-iou {min_polygon_iou:g}",
    "crowded": "{format} stores 254 masks per image: only the box is stored for {objects}",
    "empty": "{format} cannot store masks without pixels: {objects} left out",
    "repeated": "{format} stores equal rows once: {objects} with the class and the pixels of another merged",
    "classes": "{format} has no field for classes: dropped for {objects}",
    "scores": "{format} has no field for scores and quality metrics: dropped for {objects}",
}
"""A line for each kind of loss, with the number of objects that it concerns."""


_WITH_IMAGE = {"borders"}
"""Losses of which the first image is named."""


def losses(fmt: LabelFormat, rendering: Rendering) -> Counter[str]:
    """Count the instances of an image that lose information, by the keys of `SENTENCES`."""
    instances = rendering.annotation.instances
    lost: Counter[str] = Counter()
    if not instances:
        return lost
    if "classes" in fmt.loses:
        lost["classes"] = len(instances)
    if "masks" in fmt.loses:
        lost["masks"] = sum(not instance.is_box for instance in instances)
    if "scores" in fmt.loses:
        lost["scores"] = sum(any(value is not None for value in astuple(i.quality)) for i in instances)
    if "empty" in fmt.loses:
        lost["empty"] = sum(not instance.mask.area for instance in instances)
    if "repeated" in fmt.loses:
        lost["repeated"] = len(instances) - len({(i.class_id, i.mask.counts) for i in instances})
    if "crowded" in fmt.loses:
        lost["crowded"] = max(0, len(instances) - 254)
    if "overlaps" in fmt.loses:
        left = np.bincount(rendering.label_map.ravel(), minlength=len(instances) + 1)[1:]
        lost["overlaps"] = sum(int(n) < i.mask.area for n, i in zip(left, instances, strict=True))
    if "borders" in fmt.loses:
        lost["borders"] = len(rendering.low_polygons)
    return +lost


def describe(
    format_name: str, lost: Counter[str], first: Mapping[str, str], *, min_polygon_iou: float
) -> list[str]:
    """Return a line for each kind of loss; `first`: kind of loss -> the first image, which some lines name."""
    lines = []
    for word, sentence in SENTENCES.items():
        if count := lost[word]:
            counts = {"objects": counted(count, "object"), "polygons": counted(count, "polygon")}
            line = sentence.format(format=format_name, min_polygon_iou=min_polygon_iou, **counts)
            lines.append(line + (f" (first: {first[word]})" if word in _WITH_IMAGE else ""))
    return lines

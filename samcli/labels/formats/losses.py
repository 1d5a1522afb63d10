"""Count what a format cannot store while labels are written, and report it in one line at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np

from samcli.labels.formats.base import LabelFormat, Rendering

SENTENCES = {
    "masks": "masks, of which {format} holds only the boxes",
    "overlaps": "masks lie partly or wholly under others: {format} has one object a pixel",
    "borders": "masks are not within --min-polygon-iou of their polygons in {format}",
    "crowded": "objects are beyond the 254th of their image, and have only boxes in {format}",
    "empty": "objects have no pixels, and {format} leaves them out",
    "repeated": "masks have the same pixels and class as another, and {format} holds one of them",
    "classes": "objects lose their class, which {format} cannot hold",
    "scores": "objects lose their scores and figures, which {format} cannot hold",
}


_WITH_IMAGE = {"borders"}
"""Losses that a person may wish to look at."""


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


def describe(format_name: str, lost: Counter[str], first: Mapping[str, str]) -> list[str]:
    """Return a line for each kind of loss; `first`: kind of loss -> the first image, which some lines name."""
    return [
        f"{count} {sentence.format(format=format_name)}"
        + (f", the first in {first[word]}" if word in _WITH_IMAGE else "")
        for word, sentence in SENTENCES.items()
        if (count := lost[word])
    ]

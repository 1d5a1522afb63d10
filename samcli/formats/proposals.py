"""Ranked object proposals as COCO results, one file for all images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from samcli.formats.base import LabelFormat, Rendering
from samcli.types import Annotation, Instance


class Proposals(LabelFormat):
    """`proposals.json`: every mask without a class, ranked by the mean of predicted IoU and stability.

    That is the SAM paper's ranking (section D.3 of Kirillov et al. 2023). `image_id` is the image's name where
    it is a number, as in COCO's own files, else its place among the keys, from 1; `file_name` names it anyway.
    """

    folded_name = "proposals.json"

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """One row a line, images in the order of their keys, best first in each."""
        yield b"["
        separator = b"\n"
        for number, rendering in enumerate(renderings, 1):
            annotation = rendering.annotation
            for instance in sorted(annotation.instances, key=_rank, reverse=True):
                yield separator + json.dumps(_row(annotation, instance, number)).encode()
                separator = b",\n"
        yield b"\n]\n"


def _rank(instance: Instance) -> float:
    figures = (instance.quality.predicted_iou, instance.quality.stability)
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else 0.0


def _row(annotation: Annotation, instance: Instance, number: int) -> dict[str, Any]:
    stem = annotation.key.rpartition("/")[2].rpartition(".")[0]
    left, top, right, bottom = instance.mask.box or (0, 0, 0, 0)
    return {
        "image_id": int(stem) if stem.isdecimal() else number,
        "file_name": annotation.key,
        "category_id": 1,
        "bbox": [left, top, right - left, bottom - top],
        "score": round(_rank(instance), 6),
        "segmentation": instance.mask.to_coco(),
    }

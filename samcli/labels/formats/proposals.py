"""Ranked object proposals as COCO results, one file for all images."""

from __future__ import annotations

import itertools
import json
import posixpath
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from samcli.labels.formats.base import SPOOL, LabelFormat, Rendering
from samcli.types import Annotation, Instance

_MOST_DIGITS = 15


class Proposals(LabelFormat):
    """`proposals.json`: every mask without a class, ranked by the mean of predicted IoU and stability.

    That is the SAM paper's ranking (section D.3 of Kirillov et al. 2023). `image_id` is the image's name if all
    images have numbers for names, and no two the same, as in COCO's own files; else all are numbered from 1 in
    the order of keys, as in `annotations.json`. `file_name` names the image anyway.
    """

    folded_name = "proposals.json"
    loses = frozenset({"classes"})

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """One row a line, images in the order of their keys, best first in each.

        Which ids the images have is known after the last one: rows wait without them in a temporary file, and two
        numbers an image in memory.
        """
        own_ids, counts = array("q"), array("L")
        with tempfile.SpooledTemporaryFile(SPOOL) as rows:
            for rendering in renderings:
                annotation = rendering.annotation
                own_ids.append(_own_id(annotation.key))
                counts.append(len(annotation.instances))
                for instance in sorted(annotation.instances, key=_rank, reverse=True):
                    rows.write(json.dumps(_row(annotation, instance)).encode() + b"\n")
            rows.seek(0)
            yield b"["
            separator = b"\n"
            for image_id, count in zip(_image_ids(own_ids), counts, strict=True):
                for row in itertools.islice(rows, count):
                    yield separator + b'{"image_id": %d, ' % image_id + row[1:-1]
                    separator = b",\n"
            yield b"\n]\n"


def _rank(instance: Instance) -> float:
    figures = (instance.quality.predicted_iou, instance.quality.stability)
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else 0.0


def _own_id(key: str) -> int:
    """Return the image's name as a number; -1 if it is none, or too large for every JSON reader."""
    stem = posixpath.splitext(posixpath.basename(key))[0]
    return int(stem) if stem.isascii() and stem.isdecimal() and len(stem) <= _MOST_DIGITS else -1


def _image_ids(own_ids: array[int]) -> Sequence[int]:
    in_order = np.sort(np.asarray(own_ids))
    return own_ids if np.all(in_order >= 0) and np.all(np.diff(in_order)) else range(1, len(own_ids) + 1)


def _row(annotation: Annotation, instance: Instance) -> dict[str, Any]:
    """Return all of an instance's row but its `image_id`."""
    left, top, right, bottom = instance.mask.box or (0, 0, 0, 0)
    return {
        "file_name": annotation.key,
        "category_id": 1,
        "bbox": [left, top, right - left, bottom - top],
        "score": round(_rank(instance), 6),
        "segmentation": instance.mask.to_coco(),
    }

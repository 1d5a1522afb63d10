"""YOLO labels: a row an object, shares of the image's size; an image without objects has an empty file.

`yolo`: `class x1 y1 x2 y2 ...`, polygons through the centres of pixels. `yolo-box`: `class x y w h`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from samcli.formats.base import LabelFormat, Rendering
from samcli.formats.class_names import find_class_names
from samcli.formats.sources import LabelSet, Source, box_mask, first_file
from samcli.masks import Mask
from samcli.polygons import normalise, rasterise
from samcli.types import Annotation, Instance, Quality, Size

_TOLERANCE = 0.01
"""Shares of the image may be out of 0..1 by so much, from rounding: the same as Ultralytics' trainer takes."""


class _Yolo(LabelFormat):
    suffix = ".txt"
    data_set_names = ("data.yaml",)
    is_read = True

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """`data.yaml`; with the image folders where they lie so that a trainer finds these labels."""
        content: dict[str, object] = {**splits, "names": dict(names)}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        comment = "# Written by samcli."
        if splits and splits["train"] == splits["val"]:
            comment += " To train well, split off a validation set."
        return {"data.yaml": f"{comment}\n{text}".encode()}

    def read(self, source: Source) -> LabelSet:
        """Rows of polygons, rasterised as Ultralytics' trainer does, and of boxes, filled; with or without score.

        Each row is an object: parts that were written as rows of their own stay apart.
        """
        folder = _label_folder(source.path)
        names = find_class_names(folder)
        if not names:
            source.remarks["folder of labels has no data.yaml or classes.txt: numbers stand for class names"] += 1

        def parse(key: str, file: str) -> Annotation:
            size = source.size(key)
            rows = Path(file).read_text(encoding="utf-8-sig").splitlines()
            instances = [_instance(row.split(), size, source) for row in rows if row.strip()]
            return Annotation(key, size, tuple(instances))

        return LabelSet(names, source.of_images(self.suffix or "", parse, folder))


class YoloFormat(_Yolo):
    """Ultralytics' segmentation labels, and the `data.yaml` that its trainer is given."""

    loses = frozenset({"borders", "empty", "repeated", "scores"})

    def render(self, rendering: Rendering) -> bytes:
        """One row a ring, in the order of the instances. The same row is never written twice."""
        return yolo_rows(rendering)

    def finds(self, path: Path) -> bool:
        """A folder of .txt files with rows of numbers."""
        if not path.is_dir():
            return False
        files = [first_file(_label_folder(path), ".txt")]
        words = files[0].read_text(errors="replace").split("\n")[0].split() if files[0] else ["?"]
        return len(words) in (0, 5, 6) or (len(words) > 6 and all(not math.isnan(_number(word)) for word in words))


class YoloBox(_Yolo):
    """Ultralytics' detection labels: the masks' own boxes."""

    loses = frozenset({"masks", "empty", "scores"})

    def render(self, rendering: Rendering) -> bytes:
        """One row a mask that has pixels. The same row is never written twice."""
        height, width = rendering.annotation.image_size
        rows: dict[str, None] = {}
        for instance in rendering.annotation.instances:
            if instance.mask.box is not None:
                left, top, right, bottom = instance.mask.box
                x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
                w, h = (right - left) / width, (bottom - top) / height
                rows[f"{instance.class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"] = None
        return "".join(row + "\n" for row in rows).encode("ascii")


def yolo_rows(rendering: Rendering) -> bytes:
    """The label file of an image."""
    height, width = rendering.annotation.image_size
    rows: dict[str, None] = {}  # in order, each once: a trainer rejects repeated rows
    for instance, shape in zip(rendering.annotation.instances, rendering.polygons, strict=True):
        for ring in shape.rings:
            values = normalise(ring, height, width).ravel().tolist()
            rows[f"{instance.class_id}" + " %.6f" * len(values) % tuple(values)] = None
    return "".join(row + "\n" for row in rows).encode("ascii")


def _label_folder(path: Path) -> Path:
    """`labels` in a data set that has it beside `images`; else the folder itself."""
    folder = path if path.is_dir() else path.parent
    return folder / "labels" if (folder / "labels").is_dir() and (folder / "images").is_dir() else folder


def _instance(words: list[str], image_size: Size, source: Source) -> Instance:
    class_id = _number(words[0])
    if not class_id >= 0 or class_id != int(class_id):
        raise ValueError(f"class '{words[0]}'; expected a whole number")
    shares = [_number(word) for word in words[1:]]
    score = shares.pop() if len(shares) % 2 else None  # as detectors write it with save_conf
    if any(not -_TOLERANCE <= share <= 1 + _TOLERANCE for share in shares):
        raise ValueError(f"'{' '.join(words)[:60]}'; expected numbers from 0 to 1, shares of the image's size")
    quality = Quality(detector_score=score)
    if len(shares) == 4:
        source.remarks["objects have no mask: their boxes were filled"] += 1
        return Instance(_box(shares, image_size), int(class_id), quality)
    if len(shares) < 6:
        raise ValueError(f"a row of {len(words)} values; expected 'class x y w h' or 'class x1 y1 x2 y2 x3 y3 ...'")
    return Instance(polygon_mask(np.array(shares).reshape(-1, 2), image_size), int(class_id), quality)


def _box(shares: list[float], image_size: Size) -> Mask:
    height, width = image_size
    x, y, w, h = shares
    return box_mask(
        ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height), image_size
    )


def polygon_mask(shares: NDArray[np.float64], image_size: Size) -> Mask:
    """(K, 2) shares of an image's size to a mask, as a YOLO trainer draws them."""
    height, width = image_size
    low, high = np.trunc(shares.min(0) * (width, height)), np.trunc(shares.max(0) * (width, height))
    left, top = int(max(low[0], 0)), int(max(low[1], 0))
    right, bottom = int(min(high[0] + 1, width)), int(min(high[1] + 1, height))
    if right <= left or bottom <= top:
        return Mask.from_pixels(np.zeros((height, width), bool))
    pixels = rasterise([shares], height, width, (left, top, right, bottom))
    return Mask.from_pixels(pixels, (left, top), image_size)


def _number(word: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(word)
    except ValueError:
        return math.nan

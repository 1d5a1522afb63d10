"""YOLO labels: a row an object, shares of the image's size; an image without objects has an empty file.

`yolo`: `class x1 y1 x2 y2 ...`, polygons through the centres of the outermost pixels. `yolo-box`: `class x y w h`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from samcli.errors import UsageError
from samcli.labels.class_names import DATA_YAML, load_yaml, names_beside
from samcli.labels.formats.base import Files, LabelFormat, Rendering, box_inside
from samcli.labels.formats.sources import LabelSet, Source, text_labels
from samcli.labels.objects import LabelledObject, ReadImage, gather
from samcli.labels.yolo_rows import numbered_rows, read_row
from samcli.output.layout import default_output
from samcli.polygons import label_points
from samcli.types import Quality


class _Yolo(LabelFormat):
    suffix = ".txt"
    data_set_names = ("data.yaml",)
    is_read = True

    def count_rows(self, files: Files) -> int | None:
        """Return the number of lines that say something: each row is an object to a trainer."""
        return sum(bool(line.strip()) for line in files.splitlines()) if isinstance(files, bytes) else None

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """`data.yaml`; with the image folders where they lie so that a trainer finds these labels."""
        content: dict[str, object] = {**splits, "names": dict(names)}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        comment = "# Written by samcli."
        if splits and splits["train"] == splits["val"]:
            comment += " To train well, split off a validation set."
        return {"data.yaml": f"{comment}\n{text}".encode()}

    extends = True

    def extended(self, existing: bytes, rendering: Rendering) -> bytes:
        """Rows as they were, then those of the added objects that are not there already."""
        lines = existing.splitlines(keepends=True)
        rows = [index for index, line in enumerate(lines) if line.strip()]
        gone = {rows[place] for place in rendering.gone}
        kept = [line for index, line in enumerate(lines) if index not in gone]
        have = {b" ".join(line.split()) for line in kept}
        new = [row for row in self.render(rendering.added).splitlines() if row not in have]
        end = b"\r\n" if kept and kept[-1].endswith(b"\r\n") else b"\n"
        if new and kept and not kept[-1].endswith((b"\n", b"\r")):
            kept.append(end)
        return b"".join([*kept, *(row + end for row in new)])

    def render(self, rendering: Rendering) -> bytes:
        """Return the rows of an image's objects."""
        raise NotImplementedError

    def read(self, source: Source) -> LabelSet:
        """Rows of polygons, rasterised as Ultralytics' trainer does, and of boxes, filled; with or without score.

        Each row is an object: parts that were written as rows of their own stay apart.
        """
        folder = label_folder(source.path, source.images)
        names = dict(source.names) if source.names is not None else names_beside(folder, remarks=source.remarks)
        if not names:
            source.remarks["label folder has no class names (data.yaml or classes.txt): using class ids"] += 1
        if source.keys is None and not source.sizes_elsewhere:
            raise UsageError(f"{source.path}: these labels do not name their images; give the folder with --images")

        def parse(key: str, file: str) -> ReadImage:
            return read_rows(key, Path(file).read_bytes(), names, file)

        entries, lost = source.image_entries(self.suffix or "", parse, folder)
        return LabelSet(names, entries=entries, failures=lost, declared=bool(names), reread=self.read)


class YoloFormat(_Yolo):
    """Ultralytics' segmentation labels, and the `data.yaml` that its trainer is given."""

    makes_polygons = True

    loses = frozenset({"borders", "empty", "repeated", "scores"})
    has_rings = True

    def render(self, rendering: Rendering) -> bytes:
        """One row a ring, in the order of the instances. The same row is never written twice."""
        return yolo_rows(rendering)

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder of .txt files with rows of numbers."""
        if not path.is_dir() or lists_images_elsewhere(path):
            return False
        files = itertools.islice(text_labels(label_folder(path)), _LOOKED_AT)
        rows = [row for file in files if (row := _first_row(file)) is not None]
        return bool(rows) and any(not row or (len(row) > 1 and _are_numbers(row)) for row in rows)


_LOOKED_AT = 10
"""Label files that are looked at to tell what they are: one may be damaged."""


def _first_row(file: Path) -> list[str] | None:
    """Return the words of a file's first line, of which a large file is not read whole; None where it cannot be
    read.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as opened:
            return opened.readline(1 << 16).split()
    except OSError:
        return None


class YoloBox(_Yolo):
    """Ultralytics' detection labels: the objects' own boxes, in sub-pixels where labels state them."""

    loses = frozenset({"masks", "empty", "scores"})

    def render(self, rendering: Rendering) -> bytes:
        """One row a mask that has pixels. The same row is never written twice."""
        height, width = rendering.annotation.image_size
        rows: dict[str, None] = {}
        for instance in rendering.annotation.instances:
            if instance.mask.box is not None:
                left, top, right, bottom = box_inside(instance)
                x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
                w, h = (right - left) / width, (bottom - top) / height
                rows[f"{instance.class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"] = None
        return "".join(row + "\n" for row in rows).encode("ascii")


def yolo_rows(rendering: Rendering) -> bytes:
    """Return the label file of an image."""
    height, width = rendering.annotation.image_size
    rows: dict[str, None] = {}  # in order, each once: a trainer rejects repeated rows
    for instance, shape in zip(rendering.annotation.instances, rendering.polygons, strict=True):
        for ring in shape.rings:
            values = label_points(ring, height, width).ravel().tolist()
            rows[f"{instance.class_id}" + " %.6f" * len(values) % tuple(values)] = None
    return "".join(row + "\n" for row in rows).encode("ascii")


def lists_images_elsewhere(folder: Path) -> bool:
    """Return whether it is a data set in which text files list the images, as CVAT exports it."""
    if (folder / "obj.names").is_file() and any(folder.glob("obj_*_data")) and any(folder.glob("*.txt")):
        return True
    if not (folder / "labels").is_dir() or (folder / "images").is_dir():
        return False
    try:
        content = load_yaml(folder / DATA_YAML)
    except UsageError:
        return False
    return any((folder / file).is_file() for file in image_lists(content))


def image_lists(data_yaml: Any) -> list[str]:
    """Return the text files that a `data.yaml` says its images are listed in, whatever the subsets are called."""
    said = data_yaml.values() if isinstance(data_yaml, dict) else []
    files = [file for value in said for file in (value if isinstance(value, list) else [value])]
    return [file for file in files if isinstance(file, str) and file.endswith(".txt")]


def _are_numbers(words: list[str]) -> bool:
    try:
        return all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def label_folder(path: Path, images: Path | None = None) -> Path:
    """Return the folder that mirrors the images': in a data set that of the images' own split, or its `labels`.

    `images`: the folder of the images, where it is known.
    """
    folder = path if path.is_dir() else path.parent
    if images is not None and (images == folder or images in folder.parents):
        return folder
    if images is not None and folder in images.parents and (own := default_output(images)).is_dir():
        return own if folder in own.parents else folder
    inner = folder / "labels"
    if not inner.is_dir() or not ((folder / "images").is_dir() or _holds_all_labels(inner, folder)):
        return folder
    return inner


def _holds_all_labels(inner: Path, folder: Path) -> bool:
    return all(inner in file.parents for file in text_labels(folder))


def read_rows(key: str, data: bytes, names: Mapping[int, str], file: str) -> ReadImage:
    """Return the objects in a label file, of which `data` is the content.

    `names`: of classes; where there are any, a row of another class is left out.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    rows = ((f"{file}:{number}", line) for number, line in numbered_rows(data))
    objects, omitted = gather(((where, (where, line)) for where, line in rows), lambda row: _object(*row, names))
    return ReadImage(key, objects, omitted=omitted)


def _object(where: str, line: str, names: Mapping[int, str]) -> LabelledObject:
    row = read_row(line)
    if names and row.class_id not in names:
        raise ValueError(f"class {row.class_id} has no name; names has {len(names)}, {min(names)} to {max(names)}")
    return LabelledObject(row, row.class_id, Quality(detector_score=row.score), where=where)

"""Prompts from a folder of YOLO label files that mirrors the images': boxes go to SAM, polygons are kept."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samcli.errors import ImageError, UsageError, one_line
from samcli.labels.class_names import find_names_file, read_names
from samcli.labels.yolo_rows import ROW, numbered_rows, read_class_id, read_row
from samcli.output.layout import Layout, Listing
from samcli.prompts.classes import complete_names
from samcli.prompts.objects import XY, ObjectPrompt, fit_to_image
from samcli.types import UNNAMED, Size


@dataclass(frozen=True, eq=False)
class YoloLabels:
    """Each image's own label file, read when its turn comes. See `PromptSource`."""

    folder: Path
    names: dict[int, str]
    declared: Collection[int] | None
    """Class ids that have a name; None where nothing says names, and they stand for the numbers found."""
    notes: tuple[str, ...] = ()
    _files: Mapping[str, str] = field(default_factory=dict)
    """Key -> label file."""
    _owners: Mapping[str, str] = field(default_factory=dict)
    """Label file -> the key it belongs to, where others' names fit it as well."""

    def recipe(self) -> dict[str, Any]:
        return {"prompts": "yolo", "names": None if self.declared is None else list(self.names.values())}

    def matched(self, keys: Iterable[str]) -> YoloLabels:
        """With the label file of each image, `a/1.txt` (or `a/1.jpg.txt`) for `a/1.jpg`."""
        ordered = sorted(keys)
        files, owners = self._find(ordered)
        if not files:
            example = self._layout.label(ordered[0], ".txt") if ordered else self.folder / "a.txt"
            raise UsageError(
                f"none of {len(ordered)} images has a label file in {self.folder}: "
                f"expected {example} and so on, the same tree as the images'"
            )
        silent = len(ordered) - len(files)
        notes = (f"{silent} of {len(ordered)} images have no label file in {self.folder}",) if silent else ()
        source = replace(self, _files=files, _owners=owners, notes=(*self.notes, *notes))
        return source if self.declared is not None else replace(source, names=source._names_of_numbers())

    @property
    def _layout(self) -> Layout:
        return Layout(Path(), self.folder)

    def _find(self, ordered: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The label file of each image that has one, and the owner of each that goes by a stem."""
        listing, layout = Listing(), self._layout
        files: dict[str, str] = {}
        owners: dict[str, str] = {}
        for key in ordered:
            own, shared = (layout.label(key, ".txt", whole_name=whole) for whole in (True, False))
            if listing.has(own):
                files[key] = own
            elif listing.has(shared):
                files[key] = shared
                owners.setdefault(shared, key)
        return files, owners

    def _names_of_numbers(self) -> dict[int, str]:
        """Names for all class ids in the files; those with bad rows fail when their turn comes."""
        found: set[int] = set()
        for file in self._files.values():
            with contextlib.suppress(OSError, ValueError):
                rows = numbered_rows(Path(file).read_bytes())
                found.update(read_class_id(line.split()[0]) for _, line in rows)
        return complete_names(dict.fromkeys(found, ""))

    def keys(self) -> Collection[str]:
        return self._files.keys()

    def digest(self, key: str) -> str:
        data = self._read(key)
        return "" if data is None else hashlib.sha256(data).hexdigest()[:16]

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        data = self._read(key)
        if data is None:
            return []
        file = self._files[key]
        try:
            return [self._object(line, f"{file}:{number}", image_size) for number, line in numbered_rows(data)]
        except UnicodeDecodeError as error:
            raise ImageError(f"{file} is not text; expected rows of {ROW}") from error
        except UsageError as error:  # of this image alone: the others have files of their own
            raise ImageError(str(error)) from error

    def _read(self, key: str) -> bytes | None:
        """The content of the image's label file; None where it has none."""
        file = self._files.get(key)
        if file is None:
            return None
        # A trainer would take one file for a/1.jpg and a/1.png; their objects are surely not in the same places.
        if (owner := self._owners.get(file, key)) != key:
            raise ImageError(f"{file} is the label file of {owner}; name this one's {Path(key).name}.txt")
        try:
            return Path(file).read_bytes()
        except OSError as error:
            raise ImageError(f"{file} cannot be read: {error.strerror or one_line(error)}") from error

    def _object(self, line: str, where: str, image_size: Size) -> ObjectPrompt:
        try:
            row = read_row(line)
        except ValueError as error:
            raise ImageError(f"{where}: {error}") from error
        if self.declared is not None and row.class_id not in self.declared:
            known = f"{min(self.declared)} to {max(self.declared)}"
            raise ImageError(f"{where}: class {row.class_id} has no name; names has {len(self.declared)}, {known}")
        if row.is_box:
            box = ObjectPrompt(row.box(image_size), class_id=row.class_id, score=row.score, where=where)
            return fit_to_image(box, image_size)
        rings = (_ring(row.values, image_size),)
        return ObjectPrompt(rings=rings, class_id=row.class_id, score=row.score, where=where)


def _ring(values: Sequence[float], image_size: Size) -> tuple[XY, ...]:
    """Positions of pixels: half a pixel less than the shares say, which are of pixels' centres."""
    height, width = image_size
    inside = [min(max(value, 0.0), 1.0) for value in values]
    return tuple((x * width - 0.5, y * height - 0.5) for x, y in zip(inside[::2], inside[1::2], strict=True))


def open_yolo_labels(folder: Path, names_file: Path | None = None) -> YoloLabels:
    """The label files in a folder; names from that file, or from `data.yaml` or `classes.txt` in it or above it.

    Raises:
        UsageError: the names cannot be read, or the labels are of key points.
    """
    if (path := names_file or find_names_file(folder)) is None:
        return YoloLabels(folder, {0: UNNAMED}, declared=None)
    names = read_names(path)
    return YoloLabels(folder, complete_names(names), frozenset(names), (f"class names from {path}",))

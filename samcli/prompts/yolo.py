"""Prompts from a folder of YOLO label files that mirrors the images': boxes go to SAM, polygons are kept."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samcli.errors import ImageError, UsageError, one_line
from samcli.outputs import Layout, Listing
from samcli.prompts.classes import MAX_CLASS_ID, complete_names, parse_names
from samcli.prompts.objects import XY, ObjectPrompt, fit_to_image, shown
from samcli.types import Size

_TOLERANCE = 0.01
"""Shares of the image may be out of 0..1 by so much, from rounding: the same as Ultralytics' trainer takes."""

_ROW = "'class x y w h' or 'class x1 y1 x2 y2 x3 y3 ...'"


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
            with contextlib.suppress(ImageError, OSError, UnicodeDecodeError):
                found.update(_class_id(line.split()[0], "") for _, line in _lines(Path(file).read_bytes()))
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
            return [self._object(line, f"{file}:{number}", image_size) for number, line in _lines(data)]
        except UnicodeDecodeError as error:
            raise ImageError(f"{file} is not text; expected rows of {_ROW}") from error
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
        words = line.split()
        class_id = _class_id(words[0], where)
        if self.declared is not None and class_id not in self.declared:
            known = f"{min(self.declared)} to {max(self.declared)}"
            raise ImageError(f"{where}: class {class_id} has no name; names has {len(self.declared)}, {known}")
        shares = _shares(words[1:], where)
        score = shares.pop() if len(shares) % 2 else None  # as detectors write it with save_conf
        if len(shares) == 4:
            return _box(shares, class_id, score, where, image_size)
        if len(shares) < 6:
            raise ImageError(f"{where}: {len(words)} values; expected {_ROW}")
        ring = _ring(shares, image_size)
        return ObjectPrompt(rings=(ring,), class_id=class_id, score=score, where=where)


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Line numbers and lines that are not blank."""
    for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line


def _class_id(word: str, where: str) -> int:
    """A whole number; some tools write it as `0.0`."""
    value = _number(word)
    if not 0 <= value <= MAX_CLASS_ID or value != int(value):
        raise ImageError(f"{where}: class '{word}'; expected a whole number from 0 to {MAX_CLASS_ID}")
    return int(value)


def _shares(words: list[str], where: str) -> list[float]:
    values = [_number(word) for word in words]
    for word, value in zip(words, values, strict=True):
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            raise ImageError(f"{where}: '{word}'; expected numbers from 0 to 1, shares of the image's size")
    return values


def _number(word: str) -> float:
    """NaN, which is in no range, for what is no number."""
    try:
        return float(word)
    except ValueError:
        return math.nan


def _box(values: list[float], class_id: int, score: float | None, where: str, image_size: Size) -> ObjectPrompt:
    height, width = image_size
    x, y, w, h = values
    if w <= 0 or h <= 0:
        raise ImageError(f"{where}: box of {shown((w, h))} of the image; expected a width and height above 0")
    box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return fit_to_image(ObjectPrompt(box, class_id=class_id, score=score, where=where), image_size)


def _ring(values: list[float], image_size: Size) -> tuple[XY, ...]:
    """Positions of pixels: half a pixel less than the shares say, which are of pixels' centres."""
    height, width = image_size
    inside = [min(max(value, 0.0), 1.0) for value in values]
    return tuple((x * width - 0.5, y * height - 0.5) for x, y in zip(inside[::2], inside[1::2], strict=True))


def open_yolo_labels(folder: Path) -> YoloLabels:
    """The label files in a folder, with names from `data.yaml` or `classes.txt` in it or above it.

    Raises:
        UsageError: the names cannot be read, or the labels are of key points.
    """
    for place in _where_names_are(folder):
        if (path := place / "data.yaml").is_file():
            return _named(folder, path, _names_of_data_yaml(path))
        if (path := place / "classes.txt").is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return _named(folder, path, parse_names([line.strip() for line in lines if line.strip()], str(path)))
    return YoloLabels(folder, {0: "object"}, declared=None)


def _named(folder: Path, path: Path, names: dict[int, str]) -> YoloLabels:
    return YoloLabels(folder, complete_names(names), frozenset(names), (f"class names from {path}",))


def _where_names_are(folder: Path) -> Iterator[Path]:
    """The folder, those above it up to the one that holds `labels`, or else the one above."""
    folder = folder.absolute()
    yield folder
    above = list(folder.parents)
    tops = [i for i, place in enumerate((folder, *above)) if place.name == "labels"]
    yield from above[: (tops[0] + 1) if tops else 1]


def _names_of_data_yaml(path: Path) -> dict[int, str]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error
    if not isinstance(content, dict) or "names" not in content:
        raise UsageError(f"{path} has no 'names'; expected e.g. names: [cat, dog]")
    if "kpt_shape" in content:
        raise UsageError(
            f"{path} has kpt_shape: labels of key points would be taken for polygons. Convert them first"
        )
    return parse_names(content["names"], str(path))

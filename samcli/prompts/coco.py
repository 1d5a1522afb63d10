"""Boxes of a COCO file: instances, or detections that come with their images and categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samcli.errors import UsageError
from samcli.prompts.json_files import numbers
from samcli.prompts.json_text import walk
from samcli.prompts.table import PromptTable, Row, TableBuilder
from samcli.types import UNNAMED

_FAR = 1 << 31
_PARTS = ("images", "annotations", "categories")


def is_coco(path: Path, text: str) -> bool:
    """Whether a JSON text is laid out as COCO's: `images` is a list there, or there are `annotations`."""
    for place, _, value in walk(path, text):
        match place:
            case ("images", int()) | ("annotations" | "categories", *_):
                return True
            case ("images",) if value == []:
                return True
            case ("images", *_) | (int(), *_):
                return False
    return False


def read_coco(path: Path, text: str) -> PromptTable:
    """Boxes from `images`, `annotations` and `categories`, whichever comes first; crowds are left out.

    Category ids become class ids 0, 1, ... in ascending order. The keys are the `file_name`s.

    Raises:
        UsageError: something in it is not as it should be; names file and line.
    """
    return _Reader(path).read(text)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.builder = TableBuilder(path, "coco")
        self.image_keys: dict[str, int] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.categories: dict[int, str] = {}
        self.first_line: dict[int, int] = {}
        """Number of an image -> the first line with an annotation of it."""
        self.crowds = self.empty = 0

    def read(self, text: str) -> PromptTable:
        take = {"images": self._image, "annotations": self._annotation, "categories": self._category}
        for place, line, value in walk(self.builder.path, text):
            if len(place) == 2 and place[0] in _PARTS:
                if not isinstance(value, dict):
                    raise self.builder.error(line, f"{place[0]} has {value!r:.40}; expected objects")
                take[str(place[0])](line, value)
        self._check_images()
        class_ids = self._class_ids()
        sizes = np.array([self.sizes.get(number, (0, 0)) for number in range(len(self.builder.images))], np.int64)
        names = dict(enumerate(self.categories[i] for i in sorted(self.categories))) or {0: UNNAMED}
        return self.builder.build(
            names, class_ids, image_keys=self.image_keys, named=True, sizes=sizes, notes=self._notes()
        )

    def _image(self, line: int, value: dict[str, Any]) -> None:
        image_id, name = value.get("id"), value.get("file_name")
        if not _is_id(image_id) or not isinstance(name, str) or not name:
            raise self.builder.error(line, "an image needs an id and a file_name")
        number = self.builder.image(image_id)
        if number in self.sizes:
            raise self.builder.error(line, f"image id {image_id} is there twice")
        if name in self.image_keys:
            raise self.builder.error(line, f"file_name '{name}' is there twice")
        self.image_keys[name] = number
        height, width = (_side(value.get(name)) for name in ("height", "width"))
        self.sizes[number] = height, width

    def _category(self, line: int, value: dict[str, Any]) -> None:
        category_id, name = value.get("id"), value.get("name")
        if type(category_id) is not int or not isinstance(name, str) or not name.strip():
            raise self.builder.error(line, "a category needs an id (a whole number) and a name")
        if category_id in self.categories:
            raise self.builder.error(line, f"category id {category_id} is there twice")
        self.categories[category_id] = name

    def _annotation(self, line: int, value: dict[str, Any]) -> None:
        image_id, category_id = value.get("image_id"), value.get("category_id")
        if not _is_id(image_id) or type(category_id) is not int:
            raise self.builder.error(line, "an annotation needs an image_id and a category_id")
        if value.get("iscrowd"):
            self.crowds += 1
            return
        x, y, width, height = numbers(self.builder, line, "bbox", value.get("bbox"), 4)
        if width <= 0 or height <= 0:
            self.empty += 1  # the original train2017 has some: no reason to refuse all of it
            return
        number = self.builder.image(image_id)
        self.first_line.setdefault(number, line)
        score = value.get("score")
        row = Row(
            line,
            box=(x, y, x + width, y + height),
            class_name=category_id,
            score=None if score is None else numbers(self.builder, line, "score", [score], 1)[0],
        )
        self.builder.add(number, self.builder.new_object(), row)

    def _check_images(self) -> None:
        for image_id, number in self.builder.images.items():
            if number not in self.sizes:
                raise self.builder.error(self.first_line[number], f"image_id {image_id} is not among its images")
        if not self.image_keys:
            raise UsageError(
                f"{self.builder.path} has no images; expected a COCO file with images, annotations, categories"
            )

    def _class_ids(self) -> list[int]:
        """For each category that annotations speak of."""
        places = {category_id: place for place, category_id in enumerate(sorted(self.categories))}
        for category_id, (_, line) in self.builder.classes.items():
            if category_id not in places:
                raise self.builder.error(line, f"category_id {category_id} is not among its categories")
        return [places[int(category_id or 0)] for category_id in self.builder.classes]

    def _notes(self) -> tuple[str, ...]:
        path = self.builder.path
        return (
            *((f"{self.crowds} crowd regions of {path} are left out",) if self.crowds else ()),
            *((f"{self.empty} boxes of {path} without area are left out",) if self.empty else ()),
        )


def _side(value: Any) -> int:
    """0 where the file does not say."""
    return value if type(value) is int and 0 < value < _FAR else 0


def _is_id(value: Any) -> bool:
    """Numbers by the format; some tools write text."""
    return type(value) in (int, str)

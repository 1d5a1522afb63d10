"""Prompts of many images in one table of numbers: a million rows take a tenth of what as many objects would."""

from __future__ import annotations

import hashlib
import itertools
import json
from array import array
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError
from samcli.prompts.matching import by_key, check_known
from samcli.prompts.objects import XY, XYXY, ObjectPrompt, fit_to_image, mask_identity, shown
from samcli.types import Size

_IMAGE, _OBJECT, _LINE, _BOX, _XY, _LABEL, _CLASS, _SCORE = 0, 1, 2, slice(3, 7), slice(7, 9), 9, 10, 11
_WIDTH = 12
"""Columns of a row. A row is a box, a point or both; rows with one object number make up one object. NaN: none."""

_NONE = float("nan")
_NO_BOX = (_NONE,) * 4
_NO_POINT = (_NONE,) * 3


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row of a prompts file; an object of several points takes several rows."""

    line: int
    box: XYXY | None = None
    point: tuple[float, float, int] | None = None
    """x, y, label."""
    mask_input: str | None = None
    class_name: int | str | None = None
    """As the file says it: an id or a name."""
    score: float | None = None


class TableBuilder:
    """Takes rows in any order, then makes the table."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.images: dict[Hashable, int] = {}
        self.classes: dict[int | str | None, tuple[int, int]] = {}
        """As the file says it -> its number here, and the line that says it first."""
        self._rows = array("d")
        self._masks: dict[int, str] = {}
        self._objects = itertools.count()

    def error(self, line: int, problem: str) -> UsageError:
        """Return an error about a line of the file."""
        return UsageError(f"{self.path}:{line}: {problem}")

    def image(self, name: Hashable) -> int:
        """Return the number of an image; a new one for a new name."""
        return self.images.setdefault(name, len(self.images))

    def new_object(self) -> int:
        """Return the number of an object nobody spoke of before."""
        return next(self._objects)

    def add(self, image: int, number: int, row: PromptRow) -> None:
        """A row of the object of that number."""
        mask = row.mask_input
        if mask is not None and self._masks.setdefault(number, mask) != mask:
            raise self.error(row.line, "the object has another mask_input in an earlier row")
        class_number, _ = self.classes.setdefault(row.class_name, (len(self.classes), row.line))
        point, box = row.point or _NO_POINT, row.box or _NO_BOX
        score = _NONE if row.score is None else row.score
        self._rows.extend((image, number, row.line, *box, *point, class_number, score))

    def build(
        self,
        names: dict[int, str],
        class_ids: Sequence[int],
        *,
        image_keys: Mapping[str, int],
        named: bool,
        sizes: NDArray[np.int64] | None = None,
        notes: tuple[str, ...] = (),
    ) -> PromptTable:
        """Return the table, every object of it checked.

        `class_ids`: for each number in `classes`. `named`: the ids mean something through `names` alone.
        `sizes`: (I, 2) height, width of each image as the file states them, 0 where it does not.

        Raises:
            UsageError: naming the line of the first object that asks for nothing, or for the impossible.
        """
        rows = np.frombuffer(self._rows, np.float64).reshape(-1, _WIDTH)
        order = np.lexsort((rows[:, _OBJECT], rows[:, _IMAGE]))  # stable: rows of an object stay in order
        if (np.diff(order) != 1).any():
            rows = rows[order]
        rows[:, _CLASS] = np.asarray([*class_ids, 0], np.int64)[rows[:, _CLASS].astype(np.int64)]
        starts = np.searchsorted(rows[:, _IMAGE], np.arange(len(self.images) + 1))
        table = PromptTable(self.path, self.kind, names, notes, named, image_keys, rows, starts, self._masks, sizes)
        for number in np.unique(rows[~_surely_right(rows), _IMAGE].astype(np.int64)).tolist():
            for _ in table.objects(number):
                pass  # made once to be checked
        return table


def _surely_right(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(R,): objects of one row that is a sound box, or a point on the object. Most are: no need to look closer."""
    edges = np.concatenate([[True], np.diff(rows[:, _OBJECT]) != 0, [True]])
    box, label = rows[:, _BOX], rows[:, _LABEL]
    sound = (box[:, 0] < box[:, 2]) & (box[:, 1] < box[:, 3])
    right: NDArray[np.bool_] = edges[:-1] & edges[1:] & (sound | (np.isnan(box[:, 0]) & (label == 1)))
    return right


@dataclass(frozen=True, eq=False)
class PromptTable:
    """Prompts out of one file, checked when it was read. See `PromptSource`."""

    path: Path
    kind: str
    names: dict[int, str]
    notes: tuple[str, ...]
    _named: bool
    _images: Mapping[str, int]
    """Key -> number of the image."""
    _rows: NDArray[np.float64]
    """(R, 12), by image, then by object."""
    _starts: NDArray[np.int64]
    """(I + 1): where the rows of each image begin."""
    _masks: dict[int, str] = field(default_factory=dict)
    """Number of an object -> its mask_input as the file says it."""
    _sizes: NDArray[np.int64] | None = None
    lost: Mapping[str, str] = field(default_factory=dict)
    """None: a file that lists another image is refused."""

    def recipe(self) -> dict[str, Any]:
        return {"prompts": self.kind, "names": list(self.names.values()) if self._named else None}

    def keys(self) -> Collection[str]:
        return self._images.keys()

    def matched(self, keys: Iterable[str]) -> PromptTable:
        ordered = sorted(keys)
        images = by_key(self.path, self._images, ordered)
        notes: tuple[str, ...] = ()
        check_known(self.path, images, ordered)
        if silent := len(ordered) - len(images):
            notes = (*notes, f"{silent} of {len(ordered)} images are not in {self.path}")
        return replace(self, _images=images, notes=(*self.notes, *notes))

    def digest(self, key: str) -> str:
        number = self._images.get(key)
        if number is None:
            return ""
        said = [
            (o.box, o.points, o.point_labels, mask_identity(o.mask_input), o.class_id, o.score)
            for o in self.objects(number)
        ]
        return hashlib.sha256(json.dumps([said, self._stated_size(number)]).encode()).hexdigest()[:16]

    def omitted(self, key: str) -> int:
        return 0

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        number = self._images.get(key)
        if number is None:
            return []
        self._check_size(number, image_size)
        return [self._fit(prompt, image_size) for prompt in self.objects(number)]

    def _fit(self, prompt: ObjectPrompt, image_size: Size) -> ObjectPrompt:
        if prompt.box is not None and max(prompt.box) <= 1 < max(image_size):
            raise ImageError(
                f"{prompt.where}: box ({shown(prompt.box)}) looks normalised; "
                "expected pixels of the original, upright image"
            )
        return fit_to_image(prompt, image_size)

    def _stated_size(self, number: int) -> Size | None:
        if self._sizes is None or not self._sizes[number].all():
            return None
        height, width = self._sizes[number].tolist()
        return height, width

    def _check_size(self, number: int, image_size: Size) -> None:
        """Boxes for another size, or for the image as it lies in the file before it is turned, are all wrong."""
        stated = self._stated_size(number)
        if stated is not None and stated != image_size:
            (height, width), (own_height, own_width) = stated, image_size
            raise ImageError(
                f"{self.path} states an image size of {width} x {height} pixels; "
                f"this one has {own_width} x {own_height}, upright"
            )

    def objects(self, number: int) -> Iterator[ObjectPrompt]:
        """Yield the objects of the image of that number, as the file has them."""
        rows = self._rows[self._starts[number] : self._starts[number + 1]].tolist()
        for index, members in itertools.groupby(rows, key=lambda row: row[_OBJECT]):
            yield self._object(int(index), list(members))

    def _object(self, index: int, rows: list[list[float]]) -> ObjectPrompt:
        where = f"{self.path}:{int(rows[0][_LINE])}"
        points = [row for row in rows if row[_LABEL] == row[_LABEL]]  # NaN, the empty one, is no equal of itself
        boxes = [row[_BOX] for row in rows if row[_BOX][0] == row[_BOX][0]]
        if len(rows) > 1:
            self._check_agreement(rows, len(boxes))
        mask = self._masks.get(index)
        score = rows[0][_SCORE]
        return ObjectPrompt(
            box=_xyxy(boxes[0]) if boxes else None,
            points=tuple(_xy(row[_XY]) for row in points),
            point_labels=tuple(int(row[_LABEL]) for row in points),
            mask_input=self.path.parent / mask if mask is not None else None,
            class_id=int(rows[0][_CLASS]),
            score=score if score == score else None,
            where=where,
        )

    def _check_agreement(self, rows: list[list[float]], boxes: int) -> None:
        """Rows of one object may share its box and points out, but not contradict each other."""
        line = int(rows[-1][_LINE])
        if boxes > 1:
            raise UsageError(f"{self.path}:{line}: the object has {boxes} boxes; expected one at most")
        if len({row[_CLASS] for row in rows}) > 1:
            raise UsageError(f"{self.path}:{line}: the object has another class in an earlier row")
        if len({str(row[_SCORE]) for row in rows}) > 1:
            raise UsageError(f"{self.path}:{line}: the object has another score in an earlier row")


def _xyxy(values: Sequence[float]) -> XYXY:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def _xy(values: Sequence[float]) -> XY:
    x, y = values
    return x, y

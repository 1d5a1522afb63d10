"""Check rows of YOLO label files as Ultralytics' trainer does, and fix what is safe to fix.

A trainer reads a label file whole: one bad row, and it goes on without the image. So what is called an error
here is exactly what `ultralytics.data.utils.verify_image_label` rejects, in the same float32 arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samcli.labels.yolo_rows import TOLERANCE, numbered_rows

_BOX_EDGE = 1e-4
"""A box may reach so far over the edge without a word: centre and size are rounded apart."""

_BOX_WORDS = 5
_POINT_WORDS = 3
_MOST_BOX_WORDS = 6
"""A row of more values makes its file one of polygons."""

Shape = Literal["boxes", "polygons"]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowKind:
    """A kind of problem. An error: the trainer goes on without the image, or does not begin at all."""

    severity: Literal["error", "warning"]
    meaning: str


ROW_KINDS = {
    "unreadable": RowKind("error", "the label file cannot be read, or is not UTF-8 text"),
    "not-a-number": RowKind("error", "a value is not a number"),
    "not-finite": RowKind("error", "a value is nan or infinite"),
    "mixed-rows": RowKind("error", "boxes (5 values) in a file of polygons; --fix makes them polygons of 4 points"),
    "odd-coordinates": RowKind("error", "a polygon with an odd number of coordinates, or a score at its end"),
    "wrong-count": RowKind(
        "error", "a row that has not 5 values in a file of boxes, or only a class id; --fix removes the latter"
    ),
    "class-invalid": RowKind("error", "a class id that is negative or not an integer"),
    "class-unknown": RowKind("error", "a class id beyond the names in data.yaml"),
    "out-of-range": RowKind(
        "error",
        "more than 1 % outside 0 to 1 (box, or polygon's box): absolute pixels instead of normalised coordinates?",
    ),
    "negative-size": RowKind("error", "a box of negative width or height"),
    "over-the-edge": RowKind(
        "warning", "extends beyond the image; the trainer accepts it. --fix clips it if it is within 1 %"
    ),
    "too-few-points": RowKind("warning", "a polygon of one point; --fix removes it"),
    "no-area": RowKind("warning", "width or height is 0; --fix removes it"),
    "sliver": RowKind("warning", "a polygon of almost no area (--min-area)"),
    "duplicate-row": RowKind("warning", "a repeated row; the trainer uses it once. --fix removes the repetition"),
}
"""What can be wrong with a row or a whole label file, the worst first."""


_WITH_GEOMETRY = ("class-invalid", "class-unknown", "too-few-points")
"""Rows with these problems still have a place in the image that can be judged."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a label file; `line` counts from 1, None: the file as a whole."""

    kind: str
    line: int | None
    detail: str

    @property
    def is_error(self) -> bool:
        """Return whether the trainer goes on without the image because of it."""
        return ROW_KINDS[self.kind].severity == "error"


@dataclass(frozen=True)
class Judgement:
    """The trainer's verdict on one label file."""

    problems: tuple[Problem, ...]
    rows: int
    shape: Shape | None
    """Of its rows; None where it has none."""

    @property
    def rejected(self) -> bool:
        """Return whether the trainer goes on without the image."""
        return any(problem.is_error for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    text: str
    words: list[str]


def judge(data: bytes, class_count: int | None = None, min_area: float = 0.0) -> Judgement:
    """Judge the content of a label file.

    `class_count`: of data.yaml; None leaves class ids unchecked. `min_area`: polygons of a smaller share of
    the image are slivers.
    """
    try:
        rows = _split(data)
    except UnicodeDecodeError as error:
        return Judgement((Problem("unreadable", None, f"byte {error.start} is not UTF-8"),), 0, None)
    shape = _shape(rows)
    if shape is None:
        return Judgement((), 0, None)
    problems, whole = [], []
    for row in rows:
        problem = _structure(row, shape)
        if problem:
            problems.append(problem)
    numbers, failed = _numbers(rows)
    problems += failed
    for row, values in zip(rows, numbers, strict=True):
        if values is not None:
            whole.append((row, values))
    problems += _values(whole, class_count)
    bad = {problem.line for problem in problems if problem.kind not in _WITH_GEOMETRY}
    sound = [(row, values) for row, values in whole if row.line not in bad]
    problems += _geometry(sound, shape, min_area)
    problems += _duplicates(sound, shape)
    return Judgement(tuple(sorted(problems, key=lambda problem: problem.line or 0)), len(rows), shape)


def _split(data: bytes) -> list[_Row]:
    return [_Row(number, line, line.split()) for number, line in numbered_rows(data)]


def _shape(rows: Sequence[_Row]) -> Shape | None:
    if not rows:
        return None
    return "polygons" if any(len(row.words) > _MOST_BOX_WORDS for row in rows) else "boxes"


def _structure(row: _Row, shape: Shape) -> Problem | None:
    """Return the problem with the number of values in a row."""
    count = len(row.words)
    if shape == "boxes":
        if count == _BOX_WORDS:
            return None
        hint = ": a score at the end?" if count == _MOST_BOX_WORDS else ""
        return Problem("wrong-count", row.line, f"{count} values, expected class x y w h{hint}")
    if count == _BOX_WORDS:
        return Problem("mixed-rows", row.line, "a box among polygons")
    if count == 1:
        return Problem("wrong-count", row.line, "a class and nothing else")
    if count % 2 == 0:
        return Problem("odd-coordinates", row.line, f"{count - 1} coordinates")
    return Problem("too-few-points", row.line, "one point") if count == _POINT_WORDS else None


def _numbers(rows: Sequence[_Row]) -> tuple[list[Floats | None], list[Problem]]:
    """Return the values of each row in the trainer's arithmetic; None if one is no number, which is a problem."""
    try:
        flat = _parse([word for row in rows for word in row.words])
    except ValueError:
        return _numbers_one_by_one(rows)
    ends = np.cumsum([len(row.words) for row in rows])
    return list(np.split(flat, ends[:-1])), []


def _numbers_one_by_one(rows: Sequence[_Row]) -> tuple[list[Floats | None], list[Problem]]:
    numbers: list[Floats | None] = []
    problems = []
    for row in rows:
        try:
            numbers.append(_parse(row.words))
        except ValueError:
            numbers.append(None)
            word = next(word for word in row.words if not _is_number(word))
            problems.append(Problem("not-a-number", row.line, f"'{word:.20}'"))
    return numbers, problems


def _parse(words: list[str]) -> Floats:
    with np.errstate(over="ignore"):  # 1e39 is infinite in float32, which is told as such
        return np.array(words, np.float32)


def _is_number(word: str) -> bool:
    try:
        _parse([word])
    except ValueError:
        return False
    return True


def _values(rows: Sequence[tuple[_Row, Floats]], class_count: int | None) -> Iterator[Problem]:
    """Rows with values that are no good whatever they stand for."""
    for row, values in rows:
        if not np.isfinite(values).all():
            word = row.words[int(np.flatnonzero(~np.isfinite(values))[0])]
            yield Problem("not-finite", row.line, f"'{word:.20}'")
        elif values[0] < 0 or values[0] % 1:
            yield Problem("class-invalid", row.line, f"class {row.words[0]:.20}")
        elif class_count is not None and values[0] >= class_count:
            yield Problem("class-unknown", row.line, f"class {row.words[0]:.20} of 0 to {class_count - 1}")


def _geometry(rows: Sequence[tuple[_Row, Floats]], shape: Shape, min_area: float) -> Iterator[Problem]:
    """Yield the problems of coordinates. All rows have the number of values that their shape asks for."""
    if not rows:
        return
    coordinates = [values[1:] for _, values in rows]
    if shape == "boxes":
        boxes, low, high, areas = _of_boxes(np.stack(coordinates))
    else:
        boxes, low, high, areas = _of_polygons(coordinates)
    negative: NDArray[np.bool_] = np.min(boxes[:, 2:], axis=1) < 0
    outside: NDArray[np.bool_] = (np.min(boxes, axis=1) < -TOLERANCE) | (np.max(boxes, axis=1) > 1 + TOLERANCE)
    over: NDArray[np.bool_] = (low < 0) | (high > 1)
    flat = (boxes[:, 2:] == 0).any(1)
    for index in np.flatnonzero(negative | outside | over | flat | (areas < min_area)).tolist():
        line, is_point = rows[index][0].line, len(rows[index][1]) == _POINT_WORDS
        if negative[index]:
            yield Problem("negative-size", line, f"width {boxes[index, 2]:g}, height {boxes[index, 3]:g}")
            continue
        reach = f"from {low[index]:g} to {high[index]:g}"
        if outside[index]:
            yield Problem("out-of-range", line, reach)
        elif over[index]:
            yield Problem("over-the-edge", line, reach)
        if flat[index] and not is_point:
            yield Problem("no-area", line, f"width {boxes[index, 2]:g}, height {boxes[index, 3]:g}")
        elif areas[index] < min_area and not is_point:
            yield Problem("sliver", line, f"{areas[index]:.2g} of the image")


def _of_boxes(boxes: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.float64]]:
    """Boxes (N, 4) xywh, the least and greatest coordinate they reach (N,), and areas: infinite, so no slivers."""
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    low, high = (centres - halves).min(1), (centres + halves).max(1)
    low[low >= -_BOX_EDGE] = 0
    high[high <= 1 + _BOX_EDGE] = 1
    return boxes, low, high, np.full(len(boxes), math.inf)


def _of_polygons(polygons: Sequence[Floats]) -> tuple[Floats, Floats, Floats, NDArray[np.float64]]:
    """Their boxes (N, 4) xywh as the trainer makes them, the least and greatest coordinate (N,), areas (N,)."""
    points = np.concatenate(polygons).reshape(-1, 2)
    counts = np.array([len(polygon) // 2 for polygon in polygons])
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    boxes = np.concatenate([(low + high) / 2, high - low], 1)
    after = np.arange(1, len(points) + 1)
    after[starts + counts - 1] = starts
    own = points.astype(np.float64) - np.repeat(low.astype(np.float64), counts, 0)  # near 0, nothing cancels
    crosses = own[:, 0] * own[after, 1] - own[after, 0] * own[:, 1]
    areas = np.abs(np.add.reduceat(crosses, starts)) / 2
    return boxes, low.min(1), high.max(1), areas


def _duplicates(rows: Sequence[tuple[_Row, Floats]], shape: Shape) -> Iterator[Problem]:
    first: dict[bytes, int] = {}
    for row, values in rows:
        line = first.setdefault(_identity(values, shape), row.line)
        if line != row.line:
            yield Problem("duplicate-row", row.line, f"the same as line {line}")


def _identity(values: Floats, shape: Shape | None) -> bytes:
    """Equal for rows that are equal to the trainer: it compares boxes as numbers, and polygons byte by byte."""
    if shape == "polygons":
        return values.tobytes()
    positive: Floats = values + np.float32(0)  # -0 becomes 0
    return positive.tobytes()


def mend(data: bytes) -> tuple[bytes, Counter[str]]:
    """Return the repaired content of a label file, and the number of repairs by kind of problem.

    Rows that reach over the edge by rounding (at most 1%) are cut there, boxes in a file of polygons become
    polygons; rows without area, of one point or of a class alone, and repeated ones go. What is neither safe nor
    needed stays, to the byte.
    """
    done: Counter[str] = Counter()
    try:
        rows = _split(data)
    except UnicodeDecodeError:
        return data, done
    shape = _shape(rows)
    kept: dict[bytes, str] = {}
    for row in rows:
        text, kind = _mended(row, shape)
        if kind and text and _mended(_Row(row.line, text, text.split()), shape)[0] is None:
            text = None  # nothing of it is left
        if kind:
            done[kind] += 1
        if text is None:
            continue
        identity = _identity_of(text, shape)
        if identity in kept:
            done["duplicate-row"] += 1
        else:
            kept[identity] = text
    return ("".join(f"{text}\n" for text in kept.values()).encode() if done else data), done


def _identity_of(text: str, shape: Shape | None) -> bytes:
    """Return a key that is equal for equal rows; for rows that cannot be read, their text."""
    try:
        return _identity(_parse(text.split()), shape)
    except ValueError:
        return b"?" + text.encode()


def _mended(row: _Row, shape: Shape | None) -> tuple[str | None, str | None]:
    """Return the row's text (None: it goes), and the kind of problem that was repaired."""
    count = len(row.words)
    try:
        numbers = _parse(row.words)
    except ValueError:
        return row.text, None
    if not np.isfinite(numbers).all():
        return row.text, None
    values = [float(word) for word in row.words[1:]]
    if not values:
        return None, "wrong-count"
    if count == _POINT_WORDS and shape == "polygons":
        return None, "too-few-points"
    if count == _BOX_WORDS:
        return _mended_box(row, values, shape)
    if shape == "polygons" and count % 2:
        return _mended_polygon(row, values)
    return row.text, None


def _mended_box(row: _Row, values: list[float], shape: Shape | None) -> tuple[str | None, str | None]:
    x, y, width, height = values
    if width < 0 or height < 0:
        return row.text, None
    if 0 in np.array([width, height], np.float32):
        return None, "no-area"
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    inside = _cut(corners)
    left, top, right, bottom = inside
    if shape == "polygons":
        return _written(row, [left, top, right, top, right, bottom, left, bottom]), "mixed-rows"
    if max(abs(a - b) for a, b in zip(corners, inside, strict=True)) <= _BOX_EDGE:
        return row.text, None
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return _written(row, box), "over-the-edge"


def _mended_polygon(row: _Row, values: list[float]) -> tuple[str | None, str | None]:
    points = np.array(values, np.float32).reshape(-1, 2)
    if (points.max(0) == points.min(0)).any():
        return None, "no-area"
    inside = _cut(values)
    return (row.text, None) if inside == values else (_written(row, inside), "over-the-edge")


def _cut(values: list[float]) -> list[float]:
    """Values cut to 0..1, if all are out by rounding at most; else as they are."""
    if any(not -TOLERANCE <= value <= 1 + TOLERANCE for value in values):
        return values
    return [min(max(value, 0.0), 1.0) for value in values]


def _written(row: _Row, values: list[float]) -> str:
    return row.words[0] + "".join(f" {value:.6f}" for value in values)

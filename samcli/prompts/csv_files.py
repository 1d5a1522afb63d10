"""Prompts in a table: a row is a box, or a point; rows with one object id make up one object."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from samcli.errors import UsageError, nearest
from samcli.prompts.classes import resolve_classes
from samcli.prompts.objects import XYXY
from samcli.prompts.table import PromptRow, PromptTable, TableBuilder

_BOX = ("x1", "y1", "x2", "y2")
_POINT = ("x", "y")
_COLUMNS = ("image", *_BOX, *_POINT, "label", "object", "class", "score", "mask_input")
_EXAMPLE = "image,x1,y1,x2,y2,class or image,x,y,label,object,class"


_Objects = dict[str, tuple[int, "int | str | None", "float | None"]]
"""Image and object id -> number of the object, and the class and score of its first row."""


def read_csv(path: Path) -> PromptTable:
    """Prompts from a table whose first line names its columns, in any order.

    Raises:
        UsageError: something in it is not as it should be; names file and line.
    """
    builder = TableBuilder(path, "csv")
    objects: _Objects = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _header(path, [name.strip() for name in next(reader, [])])
            for fields in reader:
                if any(map(str.strip, fields)):
                    _add(builder, objects, columns, fields, reader.line_num)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    names, ids, named = resolve_classes(builder, None)
    return builder.build(names, ids, image_keys=cast("dict[str, int]", builder.images), named=named)


def _header(path: Path, names: list[str]) -> list[str]:
    if len(names) < 2:
        raise UsageError(f"{path}:1: '{''.join(names)}' are no columns; expected them by comma, e.g. {_EXAMPLE}")
    for index, name in enumerate(names):
        if name not in _COLUMNS:
            raise UsageError(
                f"{path}:1: unknown column '{name}'.{nearest(name, _COLUMNS)} Known: {', '.join(_COLUMNS)}"
            )
        if name in names[:index]:
            raise UsageError(f"{path}:1: column '{name}' is there twice")
    missing = [
        *(name for name in ("image",) if name not in names),
        *(name for part in (_BOX, _POINT) if set(part) & set(names) for name in part if name not in names),
    ]
    if missing:
        raise UsageError(f"{path}:1: no column '{missing[0]}'; expected e.g. {_EXAMPLE}")
    if "label" in names and "x" not in names:
        raise UsageError(f"{path}:1: column 'label' says whether a point is object (1) or background (0); "
                         "there are no points here. For classes it is 'class'")  # fmt: skip
    if not {"x", "x1", "mask_input"} & set(names):
        raise UsageError(f"{path}:1: neither boxes nor points; expected e.g. {_EXAMPLE}")
    return names


def _add(
    builder: TableBuilder, objects: _Objects, columns: Sequence[str], fields: Sequence[str], line: int
) -> None:
    if len(fields) != len(columns):
        raise builder.error(line, f"{len(fields)} fields; the first line names {len(columns)} columns")
    given = {name: text for name, text in zip(columns, map(str.strip, fields), strict=True) if text}
    if "image" not in given:
        raise builder.error(line, "no image given")
    image = builder.image(given["image"])
    row = _row(builder, given, line)
    if "object" not in given:
        builder.add(image, builder.new_object(), row)
        return
    name = f"{image} {given['object']}"
    if name not in objects:
        objects[name] = (builder.new_object(), row.class_name, row.score)
    number, class_name, score = objects[name]
    # What the first row of an object says need not be said again.
    row = replace(
        row,
        class_name=class_name if row.class_name is None else row.class_name,
        score=score if row.score is None else row.score,
    )
    builder.add(image, number, row)


def _row(builder: TableBuilder, given: dict[str, str], line: int) -> PromptRow:
    box = _numbers(builder, line, _BOX, given)
    point = _numbers(builder, line, _POINT, given)
    if box is None and point is None and "mask_input" not in given:
        raise builder.error(line, "neither a box nor a point")
    label = given.get("label", "1")
    if label not in ("0", "1") or ("label" in given and point is None):
        problem = f"label '{label}'" if point else f"label '{label}' without a point"
        raise builder.error(line, f"{problem}; expected 1 (object) or 0 (background) beside x and y")
    score = _numbers(builder, line, ("score",), given)
    return PromptRow(
        line,
        box=cast("XYXY | None", box),
        point=(point[0], point[1], int(label)) if point else None,
        mask_input=given.get("mask_input"),
        class_name=_class(builder, line, given.get("class")),
        score=score[0] if score else None,
    )


def _class(builder: TableBuilder, line: int, text: str | None) -> int | str | None:
    """Return an id or a name; spreadsheets write ids as `2.0`."""
    if text is None or not re.fullmatch(r"[0-9.]+([eE][+-]?[0-9]+)?", text):
        return text
    try:
        value = float(text)
    except ValueError:
        return text  # such as 1.2.3
    if not value.is_integer():
        raise builder.error(line, f"class {text}; expected a name or a whole number")
    return int(value)


def _numbers(
    builder: TableBuilder, line: int, names: Sequence[str], given: dict[str, str]
) -> tuple[float, ...] | None:
    """Return the fields of those names as finite numbers; None where all are empty."""
    texts = [given[name] for name in names if name in given]
    if not texts:
        return None
    if len(texts) < len(names):
        missing = next(name for name in names if name not in given)
        raise builder.error(line, f"{missing} is empty; expected all of {', '.join(names)}")
    try:
        values = tuple(map(float, texts))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise builder.error(line, f"{','.join(names)} are '{','.join(texts)}'; expected numbers")
    return values

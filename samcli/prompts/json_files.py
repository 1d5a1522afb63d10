"""Prompts in samcli's own JSON: by image, as a list, or an object a line (JSONL)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from samcli.errors import UsageError, nearest, one_line
from samcli.labels.class_names import parse_names
from samcli.labels.json_stream import Place, walk
from samcli.prompts.classes import resolve_classes
from samcli.prompts.objects import XYXY
from samcli.prompts.table import PromptRow, PromptTable, TableBuilder

_MEMBERS = ("image", "box", "points", "labels", "mask_input", "class", "score")
_TOP = ("names", "images")
_FAR = 1e12
_EXAMPLE = '{"images": {"a/1.jpg": [{"box": [10, 20, 110, 220]}]}}'


def is_own_json(path: Path) -> bool:
    """Return whether a JSON file is to be read as prompts, and not as labels of another format."""
    try:
        for place, _, value in walk(path):
            match place:
                case ("images", int()) | ("annotations" | "categories", *_):
                    return False
                case ("images",) if value == []:
                    return False
                case ("images", *_):
                    return True
                case (int(), *_):
                    return not isinstance(value, dict) or "data" not in value
    except UsageError:
        pass  # read_json says what is wrong
    return True


def read_json(path: Path) -> PromptTable:
    """Prompts from `{"names": ..., "images": {key: [object, ...]}}`, or a list of objects with `image`.

    Raises:
        UsageError: something in it is not as it should be; names file and line.
    """
    builder, names = TableBuilder(path, "json"), cast("dict[str, Any]", {})
    for place, line, value in walk(path):
        if place and place[0] == "names":
            names.update(_names_in(place, value))
        else:
            _take(builder, place, line, value)
    return _table(builder, parse_names(names, str(path)) if names else None)


def _names_in(place: Place, value: Any) -> dict[str, Any]:
    if len(place) == 2:
        return {str(place[1]): value}
    return {".".join(map(str, place[1:])): value}  # not a class id, and so refused


def _take(builder: TableBuilder, place: Place, line: int, value: Any) -> None:
    match place:
        case (int(),):  # a plain list
            _add(builder, _image_of(builder, line, value), line, value)
        case ("images", str(key)) if value == []:
            builder.image(key)  # known to have no objects
        case ("images", str(key), int()):
            if isinstance(value, dict) and "image" in value:
                raise builder.error(line, f"'image' inside the list of '{key}'; it is that list's name already")
            _add(builder, builder.image(key), line, value)
        case ("images", str(key), *_):
            raise builder.error(line, f"what is said of '{key}' is not a list of objects; expected {_EXAMPLE}")
        case () if value == []:
            pass
        case ("images",) if value == {}:
            pass
        case (str(name), *_) if name not in _TOP:
            raise builder.error(line, f"unknown '{name}'.{nearest(name, _TOP)} Expected {_EXAMPLE}")
        case _:
            raise builder.error(line, f"expected {_EXAMPLE}")


def read_jsonl(path: Path) -> PromptTable:
    """Prompts from a JSON object a line, each with `image`; the first line may be `{"names": ...}` alone.

    Raises:
        UsageError: something in it is not as it should be; names file and line.
    """
    builder, names = TableBuilder(path, "jsonl"), None
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, 1):
                value = _parsed(builder, line, text)
                if line == 1 and isinstance(value, dict) and value.keys() == {"names"}:
                    names = parse_names(value["names"], f"{path}:1")
                elif value is not None:
                    _add(builder, _image_of(builder, line, value), line, value)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    return _table(builder, names)


def _parsed(builder: TableBuilder, line: int, text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (
            f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else one_line(error)
        )
        raise builder.error(line, f"not JSON: {reason}; expected one object a line") from error


def _table(builder: TableBuilder, declared: dict[int, str] | None) -> PromptTable:
    names, ids, named = resolve_classes(builder, declared)
    return builder.build(names, ids, image_keys=cast("dict[str, int]", builder.images), named=named)


def _image_of(builder: TableBuilder, line: int, value: Any) -> int:
    key = value.get("image") if isinstance(value, dict) else None
    if not isinstance(key, str) or not key:
        if isinstance(value, dict) and "image_id" in value:
            raise builder.error(line, _RESULTS)
        raise builder.error(line, 'no image given; expected e.g. {"image": "a/1.jpg", "box": [10, 20, 110, 220]}')
    return builder.image(key)


_RESULTS = (
    "this is a list of COCO results, which names images and categories by number alone. Put it as 'annotations' "
    "(score and all) into a file that has 'images' and 'categories' too"
)


def _add(builder: TableBuilder, image: int, line: int, value: Any) -> None:
    """One object: as many rows as it has points, the box with the first."""
    if not isinstance(value, dict):
        raise builder.error(line, f'expected an object such as {{"box": [10, 20, 110, 220]}}, got {_brief(value)}')
    for name in value:
        if name not in _MEMBERS:
            raise builder.error(line, f"unknown '{name}'.{nearest(name, _MEMBERS)} Known: {', '.join(_MEMBERS)}")
    given = {name: entry for name, entry in value.items() if entry is not None}
    points = _points(builder, line, given)
    row = PromptRow(
        line,
        box=cast("XYXY", numbers(builder, line, "box", given["box"], 4)) if "box" in given else None,
        point=points[0] if points else None,
        mask_input=_mask_input(builder, line, given.get("mask_input")),
        class_name=_class(builder, line, given.get("class")),
        score=numbers(builder, line, "score", [given["score"]], 1)[0] if "score" in given else None,
    )
    number = builder.new_object()
    builder.add(image, number, row)
    for point in points[1:]:
        builder.add(image, number, PromptRow(line, point=point, class_name=row.class_name, score=row.score))


def _points(builder: TableBuilder, line: int, given: dict[str, Any]) -> list[tuple[float, float, int]]:
    points, labels = given.get("points", []), given.get("labels")
    if not isinstance(points, list):
        raise builder.error(line, f"points is {_brief(points)}; expected [[x, y], ...]")
    labels = [1] * len(points) if labels is None else labels
    if not isinstance(labels, list) or len(labels) != len(points):
        count = f"{len(labels)} labels" if isinstance(labels, list) else f"labels {_brief(labels)}"
        raise builder.error(line, f"{count} for {len(points)} points; expected one for each")
    result = []
    for point, label in zip(points, labels, strict=True):
        if label not in (0, 1) or isinstance(label, bool):
            raise builder.error(line, f"label {_brief(label)}; expected 1 (object) or 0 (background)")
        x, y = numbers(builder, line, "a point", point, 2)
        result.append((x, y, int(label)))
    return result


def _mask_input(builder: TableBuilder, line: int, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise builder.error(line, f"mask_input is {_brief(value)}; expected the path of a .npy file")
    return value


def _class(builder: TableBuilder, line: int, value: Any) -> int | str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip():
        return value
    raise builder.error(line, f"class is {_brief(value)}; expected a name or an id")


def numbers(builder: TableBuilder, line: int, name: str, values: Any, count: int) -> tuple[float, ...]:
    """Return a list of this many finite numbers.

    Raises:
        UsageError: they are not.
    """
    if isinstance(values, list) and len(values) == count and _all_finite(values):
        return tuple(map(float, values))
    raise builder.error(line, f"{name} is {_brief(values)}; expected {count} number{'s' * (count > 1)}")


def _all_finite(values: Iterable[Any]) -> bool:
    """Also of whole numbers that are too long for a float; NaN compares to nothing."""
    return all(type(value) in (int, float) and -_FAR < value < _FAR for value in values)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."

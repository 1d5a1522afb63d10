"""Class ids and names, as prompts files say them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from samcli.errors import nearest
from samcli.labels.class_names import MAX_CLASS_ID
from samcli.prompts.matching import listed
from samcli.prompts.table import TableBuilder
from samcli.types import UNNAMED


def resolve_classes(
    builder: TableBuilder, declared: dict[int, str] | None
) -> tuple[dict[int, str], list[int], bool]:
    """Names, the class id for each number in `builder.classes`, and whether the ids mean something by name only.

    With declared names, each class is one of them. Without, classes are all ids, or all names, which are
    numbered in the order in which they come.

    Raises:
        UsageError: an unknown class, or ids and names mixed.
    """
    if declared is not None:
        return complete_names(declared), [_declared_id(builder, v, declared) for v in builder.classes], True
    spoken = {value: line for value, (_, line) in builder.classes.items()}
    by_name = [value for value in spoken if isinstance(value, str) and _number(value) is None]
    if not by_name:
        ids = [_checked_id(builder, _number(value) or 0, spoken[value]) for value in spoken]
        return complete_names(dict.fromkeys(ids, "")), ids, False
    by_name = [value for value in spoken if isinstance(value, str)]
    if len(by_name) < len(spoken):
        other = next(value for value in spoken if not isinstance(value, str))
        what = "no class" if other is None else f"class {other}"
        raise builder.error(
            spoken[other],
            f"{what}, but line {spoken[by_name[0]]} has class '{by_name[0]}'; expected names throughout",
        )
    return dict(enumerate(by_name)), list(range(len(by_name))), True


def _number(value: int | str | None) -> int | None:
    """Return an id, maybe as text."""
    return (
        int(value)
        if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value.strip())
        else (None if isinstance(value, str) else value)
    )


def _declared_id(builder: TableBuilder, value: int | str | None, declared: dict[int, str]) -> int:
    line = builder.classes[value][1]
    if isinstance(value, str):
        ids = {name: class_id for class_id, name in declared.items()}
        if value not in ids and _number(value) in declared:
            return _number(value) or 0
        if value not in ids:
            raise builder.error(line, f"unknown class '{value}'.{nearest(value, ids)} names has: {listed(ids)}")
        return ids[value]
    if (value or 0) not in declared:
        what = f"class {value}" if value is not None else "no class given, and class 0"
        raise builder.error(line, f"{what} is not in names; it has {listed(map(str, sorted(declared)))}")
    return value or 0


def _checked_id(builder: TableBuilder, value: int | str, line: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= MAX_CLASS_ID:
        raise builder.error(line, f"class {value}; expected a name or an id from 0 to {MAX_CLASS_ID}")
    return value


def complete_names(names: Mapping[int, str]) -> dict[int, str]:
    """Names from 0 without gaps, as trainers need them; `{0: "object"}` where nothing has a name."""
    if not any(names.values()) and max(names, default=0) == 0:
        return {0: UNNAMED}
    return {i: names.get(i) or f"class{i}" for i in range(max(names) + 1)}

"""Labels of shapes as tools save them: text, numbers, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from samcli.labels.shapes import shown

UNNAMED_CLASS = "unnamed"
"""What the class of shapes without a label is called."""


def label_of(value: Any) -> str:
    """Return the class name that a label stands for.

    Raises:
        ValueError: it is neither text nor a number.
    """
    if value is None:
        return UNNAMED_CLASS
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"its label is {shown(value)}; expected text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if str(value).strip() else UNNAMED_CLASS


def class_ids(names: dict[int, str], labels: Iterable[str], remarks: Counter[str]) -> dict[str, int]:
    """Class ids by name; labels that `names` lacks are added to it in their order.

    `remarks`: gets a line if there are shapes without a label.
    """
    new = sorted(set(labels) - set(names.values()))
    names |= dict(enumerate(new, max(names, default=-1) + 1))
    if UNNAMED_CLASS in new:
        remarks[f"class is named '{UNNAMED_CLASS}': the class of shapes without a label"] += 1
    return by_name(names)


def by_name(names: Mapping[int, str]) -> dict[str, int]:
    """Class ids by name, the first of those that have one name."""
    found: dict[str, int] = {}
    for class_id, name in names.items():
        found.setdefault(name, class_id)
    return found

"""Class maps: classes renamed, merged and dropped, by a small YAML file of `old: new` lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from samcli.errors import ImageError, UsageError, nearest
from samcli.labels.class_names import load_yaml
from samcli.types import Annotation, Dropped, Instance

_ALL_OTHERS = "*"
T = TypeVar("T", Instance, Dropped)


@dataclass(frozen=True)
class ClassMap:
    """Mapping of classes: old name or id -> new name, or None to drop it. `*`: all that are not named.

    Classes that nothing is said of keep their name.
    """

    rules: Mapping[str | int, str | None]
    where: str = "the class map"
    """The file it was read from, for messages."""

    def apply(self, names: Mapping[int, str]) -> MappedClasses:
        """Return the new classes, numbered from 0 in the order of the old ids.

        Raises:
            UsageError: it lists a class that is not among `names`, or nothing is left.
        """
        ids = {name: class_id for class_id, name in names.items()}
        by_id: dict[int, str | None] = {}
        for old, new in self.rules.items():
            if old != _ALL_OTHERS:
                by_id[self._id_of(old, names, ids)] = new
        new_names: dict[str, int] = {}
        new_ids: dict[int, int | None] = {}
        for class_id in sorted(names):
            name = by_id[class_id] if class_id in by_id else self.rules.get(_ALL_OTHERS, names[class_id])
            new_ids[class_id] = None if name is None else new_names.setdefault(name, len(new_names))
        if not new_names:
            raise UsageError(f"{self.where} drops all {len(names)} classes; expected at least one to stay")
        return MappedClasses({new_id: name for name, new_id in new_names.items()}, new_ids)

    def _id_of(self, old: str | int, names: Mapping[int, str], ids: Mapping[str, int]) -> int:
        if isinstance(old, str) and old in ids:
            return ids[old]
        if isinstance(old, int) and old in names:
            return old
        raise UsageError(
            f"{self.where} lists class {old!r}, which is none of the {len(names)} classes.{nearest(str(old), ids)}"
        )


@dataclass(frozen=True)
class MappedClasses:
    """New classes, and which old class is which of them."""

    names: dict[int, str]
    """New class id -> name, from 0 without gaps."""
    ids: dict[int, int | None]
    """Old class id -> new one; None: dropped."""

    def annotation(self, annotation: Annotation) -> Annotation:
        """With the new class ids, without the objects of dropped classes.

        Raises:
            ImageError: an object's class has no name.
        """
        instances = self._mapped(annotation.instances)
        return replace(annotation, instances=instances, dropped=self._mapped(annotation.dropped))

    def _mapped(self, objects: Iterable[T]) -> tuple[T, ...]:
        new = [(one, self._new_id(one.class_id)) for one in objects]
        return tuple(replace(one, class_id=class_id) for one, class_id in new if class_id is not None)

    def _new_id(self, old: int) -> int | None:
        if old not in self.ids:
            raise ImageError(f"class {old} has no name, which --class-map needs; named are {len(self.ids)} classes")
        return self.ids[old]


def read_class_map(path: Path) -> ClassMap:
    """Return a class map out of YAML: `old: new` renames, two to one name merges, `old:` (or null) drops.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    content = load_yaml(path)
    if not isinstance(content, dict) or not content:
        raise UsageError(
            f"--class-map {path}: expected lines of 'old: new', e.g. 'lorry: truck', or 'bird:' to drop"
        )
    rules: dict[str | int, str | None] = {}
    for old, new in content.items():
        if type(old) not in (str, int) or not (new is None or (type(new) in (str, int) and str(new).strip())):
            raise UsageError(
                f"--class-map {path}: {old!r}: {new!r}; expected names (in quotes if need be), or nothing to drop"
            )
        rules[old] = None if new is None else str(new)
    return ClassMap(rules, f"--class-map {path}")


IDENTITY = ClassMap({})
"""Leaves every class as it is, but numbers them from 0 without gaps."""

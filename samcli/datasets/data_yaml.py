"""`data.yaml`: found, read, and held to what Ultralytics' trainer asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.errors import UsageError
from samcli.labels.class_names import SPLITS, load_yaml, refuse_key_points

_NEEDED = ("train", "val")


@dataclass(frozen=True)
class DataYaml:
    """What a trainer takes from `data.yaml`."""

    path: Path
    names: dict[int, str]
    """Class id to class name; empty where the file says none that a trainer accepts."""
    problems: tuple[str, ...]
    """Why a trainer would not begin: about its keys and names."""
    missing: Mapping[str, str]
    """Split -> path that does not exist."""


def read_data_yaml(path: Path) -> DataYaml:
    """Read it and look for what a trainer would trip over.

    Raises:
        UsageError: it cannot be read, is no YAML mapping, or is about key points.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}; expected train, val and names")
    refuse_key_points(content, path)
    names, name_problems = _names(content)
    problems = [*_absent(content), *name_problems]
    return DataYaml(path, names, tuple(problems), dict(_missing(path, content)))


def _absent(content: Mapping[str, Any]) -> Iterator[str]:
    for key in _NEEDED:
        if key not in content and not (key == "val" and "validation" in content):
            yield f"'{key}' is missing; a trainer needs train and val"
        elif content.get(key) is not None and not isinstance(content[key], (str, list)):
            yield f"'{key}' is {content[key]!r:.40}; expected a path or a list of paths"


def _names(content: Mapping[str, Any]) -> tuple[dict[int, str], list[str]]:
    names, count = content.get("names"), content.get("nc")
    if names is None and type(count) is int and count > 0:
        return {index: f"class_{index}" for index in range(count)}, []  # as the trainer calls them
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        return {}, ["it has no names; expected e.g. names: [cat, dog]"]
    try:
        found = {int(key): str(name) for key, name in names.items()}
    except (TypeError, ValueError):
        return {}, ["names has an id that is no whole number"]
    problems = []
    if sorted(found) != list(range(len(found))):
        problems.append(
            f"names has {len(found)} classes with ids {min(found)} to {max(found)}; expected 0 on, no gap"
        )
    if count is not None and count != len(found):
        problems.append(f"nc is {count}, but there are {len(found)} names")
    return ({} if problems else found), problems


def _missing(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Splits whose images are nowhere: neither seen from the file nor, as trainers do, from where one stands."""
    for split in SPLITS:
        given = content.get(split)
        for place in given if isinstance(given, list) else [given]:
            if isinstance(place, str) and not any(root.joinpath(place).exists() for root in _roots(path, content)):
                yield split, place


def _roots(path: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """Where the paths in it start from."""
    root = content.get("path")
    yield path.parent / (root if isinstance(root, str) else "")
    if isinstance(root, str):
        yield Path(root)

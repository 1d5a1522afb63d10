"""`data.yaml`: found, read, and judged as Ultralytics' `check_det_dataset` judges it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.errors import UsageError, one_line
from samcli.files import parse_yaml
from samcli.labels.class_names import refuse_key_points
from samcli.labels.data_splits import candidates, said_places

_NEEDED = ("train", "val")
_FOLDERS = (*_NEEDED, "test", "minival")
"""Keys that name images; training looks at `train` and `val` alone."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "path": (str,), "train": (str, list), "val": (str, list), "test": (str, list), "names": (list, dict),
}  # fmt: skip
_EXPECTED = {
    "path": "a folder",
    "names": "e.g. names: [cat, dog]",
    **dict.fromkeys(_FOLDERS, "a path or a list of paths"),
}

_NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


@dataclass(frozen=True)
class DataYaml:
    """Contents of `data.yaml` as a trainer reads them."""

    path: Path
    names: dict[int, str]
    """Class id to class name; empty where the file says none that a trainer accepts."""
    problems: tuple[str, ...]
    """Why a trainer would not begin: about its keys and names."""
    missing: Mapping[str, str]
    """Split that training needs -> path that does not exist."""
    notes: tuple[str, ...] = ()
    """What does not stop a training."""
    absent: tuple[str, ...] = ()
    """Those of `problems` that are about keys of images which are not there."""
    is_names_only: bool = False
    """Whether it names no images at all."""


def read_data_yaml(path: Path) -> DataYaml:
    """Read a data.yaml and judge it.

    Raises:
        UsageError: it cannot be read, is no YAML mapping, or is about key points.
    """
    content = _load(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no YAML mapping; expected the keys train, val and names")
    refuse_key_points(content, path)
    absent = tuple(_absent(content))
    problems = [*_of_another_type(content), *absent]
    names, name_problems = _names(content)
    missing = {} if problems else dict(_missing(path, content))
    needed, notes = _weighed(missing, content)
    return DataYaml(
        path,
        names,
        (*problems, *name_problems),
        needed,
        (*notes, *_of_root(content)),
        absent,
        is_names_only=not {*_FOLDERS, "validation"} & {*content},
    )


def _load(path: Path) -> Any:
    """Return the content, read as forgivingly as a trainer reads it.

    What is no UTF-8, or no text, is passed over.
    """
    try:
        text = path.read_bytes().decode("utf-8", "ignore")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error
    try:
        return parse_yaml(text.encode(), str(path))
    except UsageError:
        return parse_yaml(_NOT_IN_YAML.sub("", text).encode(), str(path))


def _of_another_type(content: Mapping[str, Any]) -> Iterator[str]:
    for key, types in _TYPES.items():
        if content.get(key) is not None and not isinstance(content[key], types):
            yield f"'{key}' is {str(content[key])!r:.40}; expected {_EXPECTED[key]}"
    for key in _FOLDERS:
        places = content.get(key)
        if isinstance(places, list) and not all(isinstance(place, str) for place in places):
            yield f"'{key}' has an entry that is not a path; expected {_EXPECTED[key]}"


def _absent(content: Mapping[str, Any]) -> Iterator[str]:
    for key in _NEEDED:
        if key not in content and not (key == "val" and "validation" in content):
            yield f"'{key}' is missing; a trainer needs train and val"


def _names(content: Mapping[str, Any]) -> tuple[dict[int, str], list[str]]:
    """Names by class id, and why a trainer would refuse them."""
    names, count = content.get("names"), content.get("nc")
    if "nc" in content and (count := _whole(count)) is None:
        return {}, [f"nc is {str(content['nc'])!r:.40}; expected a whole number"]
    if names is None:
        if count is None or count < 1:
            return {}, ["it has no names; expected e.g. names: [cat, dog]"]
        return {index: f"class_{index}" for index in range(count)}, []  # as the trainer calls them
    if not isinstance(names, (list, dict)):
        return {}, []  # told with the types
    if not names:
        return {}, ["it has no names; expected e.g. names: [cat, dog]"]
    problems = [] if count in (None, len(names)) else [f"nc is {count}, but there are {len(names)} names"]
    try:
        found = {
            int(key): str(name)
            for key, name in (names if isinstance(names, dict) else dict(enumerate(names))).items()
        }
    except (TypeError, ValueError, OverflowError):
        return {}, ["names has an id that is not an integer", *problems]
    if max(found) >= len(found) or 0 not in found:
        ids = f"{min(found)} to {max(found)}"
        problems.insert(0, f"names has {len(found)} classes with ids {ids}; expected ids from 0 without gaps")
    return ({} if problems else found), problems


def _whole(value: Any) -> int | None:
    """Return the whole number that a value stands for, maybe as text; None for others."""
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _missing(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Splits whose images are nowhere: neither seen from the file nor, as trainers do, from where one stands."""
    for split in _FOLDERS:
        for place in said_places(content, split):
            if not any(found.exists() for found in candidates(path, content, split, place)):
                yield split, place


def _of_root(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note where the folder of the data set is found from the file alone, as no trainer looks for it."""
    root = content.get("path")
    if isinstance(root, str) and root and not Path(root).exists():
        yield (
            f"data.yaml: path is '{root}'; a trainer resolves it from its working directory or its folder of data "
            "sets. An absolute path always works"
        )


def _weighed(missing: Mapping[str, str], content: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Sort what is missing into problems that stop a training and notes."""
    downloads = isinstance(content.get("download"), str) and bool(content["download"])
    needed = {split: place for split, place in missing.items() if split in _NEEDED and not downloads}
    notes = [f"data.yaml: no {split} images in {place}" for split, place in missing.items() if split not in needed]
    return needed, tuple(notes)

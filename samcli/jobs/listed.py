"""Files that name the images of a run: lists of paths, a data set's `data.yaml`, COCO files."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from samcli.errors import UsageError
from samcli.labels.class_names import load_yaml
from samcli.labels.data_splits import SPLITS, candidates, said_places
from samcli.labels.formats.sources import find_image_folder

log = logging.getLogger("samcli")

LIST_SUFFIXES = (".txt", ".lst", ".list")
YAML_SUFFIXES = (".yaml", ".yml")
COCO_SUFFIX = ".json"

_LARGEST = 1 << 30
_LONGEST = 1 << 16
"""Bytes of a line: no path is longer."""
_TRIED = 1000
"""Lines of a list that are looked for, to know where its relative paths start from."""


def listed_paths(file: BinaryIO, path: Path, bases: Sequence[Path]) -> Iterator[str]:
    """Yield the paths in a list as absolute paths: one a line, or separated by NUL. Empty lines are passed over.

    Relative paths start from the first of `bases` in which one of them is there.

    Raises:
        UsageError: it is no text, or a line is too long for a path.
    """
    lines = _lines(file, path)
    first = list(itertools.islice(lines, _TRIED))
    relative = [line for line in first if not line.startswith("/")]
    base = next(
        (str(base) for base in bases for line in relative if os.path.exists(f"{base}/{line}")),  # noqa: PTH110
        str(bases[0]),
    )
    for line in itertools.chain(first, lines):
        yield _normal(line if line.startswith("/") else f"{base}/{line}")


def _normal(path: str) -> str:
    """Return the path without `.`, `..` and doubled slashes; nearly all of a million have none."""
    return os.path.normpath(path) if "/." in path or "//" in path or path.endswith("/") else path


def _lines(file: BinaryIO, path: Path) -> Iterator[str]:
    data = file.read(_LARGEST).removeprefix(b"\xef\xbb\xbf")
    if len(data) == _LARGEST:
        raise UsageError(f"{path} is too large for a list of paths: expected less than {_LARGEST >> 30} GiB")
    by_null = b"\0" in data
    for line in data.split(b"\0" if by_null else b"\n"):
        if len(line) > _LONGEST:
            raise UsageError(f"{path} is no list of paths: it has a line of more than {_LONGEST} bytes")
        if line.strip():
            yield os.fsdecode(line if by_null else line.rstrip(b"\r"))


def places_of_yaml(path: Path, split: str | None) -> list[Path]:
    """Return the folders, lists and images that a data.yaml names for the splits, each as it is found.

    `split`: names of splits, separated by commas; None: train, val and test, as far as there are any.

    Raises:
        UsageError: it has no such split, or what a split names is not there.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no data.yaml; expected the keys train and val")
    present = [name for name in (*SPLITS, *map(str, content)) if said_places(content, name)]
    wanted = [word.strip() for word in split.split(",")] if split else [name for name in SPLITS if name in present]
    if lacking := [name for name in wanted if name not in present]:
        has = ", ".join(name for name in SPLITS if name in present) or "none"
        raise UsageError(f"{path} has no split '{lacking[0]}'; it has: {has}")
    if not wanted:
        raise UsageError(f"{path} names no images: expected the keys train and val, with paths")
    places, missing = [], []
    for name in wanted:
        for place in said_places(content, name):
            tried = list(candidates(path, content, name, place))
            found = next((one for one in tried if one.exists()), None)
            if found is None:
                missing.append(f"{path}: the images of '{name}' are not there: {place} (looked for {tried[0]})")
            else:
                places.append(found)
    if missing and (split or not places):
        raise UsageError(missing[0])
    for line in missing:  # most files name a test split, and few have one
        log.warning("%s", line)
    return places


def paths_of_coco(path: Path) -> list[str]:
    """Return the paths of the images that a COCO file lists.

    They are looked for in the file's folder, in the usual folder of its images, and in a folder beside the file's
    that the file is named after (`annotations/instances_val2017.json`, `val2017`).

    Raises:
        UsageError: it is no COCO file, or none of its images is there.
    """
    from samcli.labels.formats.coco import listed_names  # brings OpenCV

    if not (names := listed_names(path)):
        raise UsageError(f"{path} is no COCO file: it lists no images; expected 'images' with file_name")
    folders = list(_folders_of_coco(path))
    for folder in folders:
        paths = [os.path.normpath(f"{folder}/{_inside(name)}") for name in names]
        if any(map(os.path.exists, paths)):
            return paths
    raise UsageError(
        f"{path}: none of its {len(names)} images is there, e.g. {names[0]}; looked for in "
        f"{', '.join(map(str, folders))}"
    )


def _inside(name: str) -> str:
    """Return a name that stays in its folder: of one that leads out of it, the last part."""
    name = name.replace("\\", "/")
    leaves = name.startswith("/") or ".." in name.split("/") or "://" in name
    return name.rpartition("/")[2] if leaves else name


def _folders_of_coco(path: Path) -> Iterator[Path]:
    yield path.parent
    if usual := find_image_folder(path, itself=False):
        yield usual
    for folder in (path.parent, path.parent.parent):
        yield folder / path.stem
        yield folder / path.stem.rpartition("_")[2]

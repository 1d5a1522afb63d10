"""Class names beside label files: `data.yaml`, or a text file with a name a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samcli.errors import UsageError, one_line


def find_class_names(folder: Path, files: tuple[str, ...] = ("data.yaml", "classes.txt")) -> dict[int, str]:
    """Names by class id out of the first of `files` in a folder of labels or in the two above it, else none.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    for place in (folder, *folder.absolute().parents[:2]):
        for name in files:
            if (path := place / name).is_file():
                return _of_yaml(path) if path.suffix == ".yaml" else _of_text(path)
    return {}


def _of_yaml(path: Path) -> dict[int, str]:
    import yaml

    try:
        names = yaml.safe_load(path.read_text(encoding="utf-8-sig"))["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(key): str(name) for key, name in pairs}
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"cannot read the names in {path}: {one_line(error)}") from error


def _of_text(path: Path) -> dict[int, str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the names in {path}: {one_line(error)}") from error
    return dict(enumerate(line.strip() for line in lines if line.strip()))


def complete(names: Mapping[int, str]) -> dict[int, str]:
    """Names from 0 on without gaps; a number stands for a missing one."""
    return {index: names.get(index, str(index)) for index in range(max(names, default=-1) + 1)}


def write_class_names(names: Mapping[int, str]) -> bytes:
    """A name a line, the first of class 0; numbers where there is no name."""
    return "".join(" ".join(name.split()) + "\n" for name in complete(names).values()).encode()

"""Class names beside labels: where they lie, what may be a name, and how they are written as text."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from samcli.errors import UsageError, one_line
from samcli.files import parse_yaml

MAX_CLASS_ID = 65_535
"""More classes than anyone has: a larger number is in the wrong column."""

DATA_YAML = "data.yaml"
CLASSES_TXT = "classes.txt"

NAMES_FILES = (DATA_YAML, CLASSES_TXT, "obj.names", "labels.txt", "notes.json", "*.yaml", "*.yml")
"""Files that tools put class names into, beside labels; of other YAML files, one that has `names`."""

SPLITS = ("train", "val", "test")
"""The parts of a data set, as a data.yaml names them."""

SPLIT_FOLDERS = (*SPLITS, "valid")
"""What data sets call their parts, folders and keys alike."""


def find_names_file(labels: Path, files: Iterable[str] = NAMES_FILES) -> Path | None:
    """Return the first of `files` that goes with a folder of labels: in it, or above it as far as its data set
    reaches.

    That is up to the folder that holds `labels`, else the one above; and above a split's own folder
    (`train/labels`, as some services export it) once more.
    """
    folder = labels.absolute()
    above = [folder, *folder.parents]
    tops = [index for index, place in enumerate(above) if place.name == "labels"]
    last = tops[0] + 1 if tops else 1
    if above[min(last, len(above) - 1)].name in SPLIT_FOLDERS or (not tops and folder.name in SPLIT_FOLDERS):
        last += 1
    found = (path for place in above[: last + 1] for name in files for path in _files_named(place, name))
    return next(found, None)


def _files_named(folder: Path, name: str) -> list[Path]:
    """Return the file of that name; of a pattern the only one that has names.

    Of several, nothing says which is meant.
    """
    if not name.startswith("*"):
        return [path] if (path := folder / name).is_file() else []
    found = [path for path in folder.glob(name) if path.is_file() and _has_names(path)]
    return found if len(found) == 1 else []


def _has_names(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return re.search(rb"^names\s*:", file.read(1 << 20), re.MULTILINE) is not None
    except OSError:
        return False


def read_names(path: Path, remarks: Counter[str] | None = None) -> dict[int, str]:
    """Class id to class name, out of YAML with `names` (ids may have gaps) or a text file with a name a line.

    `remarks`: see `parse_names`.

    Raises:
        UsageError: it cannot be read, names nothing, or is about key points.
    """
    return parse_names(_said_names(path), str(path), remarks)


def names_beside(
    labels: Path, files: Iterable[str] = NAMES_FILES, *, remarks: Counter[str] | None = None
) -> dict[int, str]:
    """Names by class id out of the file that goes with a folder of labels; none where it or what it says is absent.

    `remarks`: see `parse_names`.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    path = find_names_file(labels, files)
    said = _said_names(path) if path else None
    return parse_names(said, str(path), remarks) if said else {}


def _said_names(path: Path) -> Any:
    """Return the names in a file, unchecked."""
    if path.suffix.lower() == ".json":
        return _names_in_notes(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UsageError(f"cannot read {path}: it is not UTF-8 text") from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
        names = [line.strip() for line in "\n".join(lines).rstrip().split("\n")]
        if "" in names and names != [""]:  # the line's number is the class's id: what follows would shift
            number = names.index("")
            raise UsageError(f"{path}: line {number + 1} is empty; expected the name of class {number}")
        return [name for name in names if name]
    content = load_yaml(path)
    if not isinstance(content, dict) or "names" not in content:
        raise UsageError(f"{path} has no 'names'; expected e.g. names: [cat, dog]")
    refuse_key_points(content, path)
    return content["names"]


def _names_in_notes(path: Path) -> Any:
    """Names out of Label Studio's `notes.json`: `{"categories": [{"id": 0, "name": "cat"}, ...]}`."""
    try:
        content = json.loads(path.read_bytes()[: 1 << 24])
        return {str(entry["id"]): entry["name"] for entry in content["categories"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} has no categories with id and name; expected Label Studio's notes.json"
        ) from error


def refuse_key_points(content: Mapping[str, Any], path: Path) -> None:
    """Rows of key points look like polygons with a score.

    Raises:
        UsageError: a `data.yaml` with this content is about key points.
    """
    if "kpt_shape" in content:
        raise UsageError(
            f"{path} has kpt_shape: labels of key points would be taken for polygons. Convert them first"
        )


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return parse_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error


def parse_names(value: Any, where: str, remarks: Counter[str] | None = None) -> dict[int, str]:
    """Class names from a list, or from an object of id to name.

    `remarks`: given, a class without a name or with another's gets one of its own, and a line here.

    Raises:
        UsageError: ids are not numbers; without `remarks` also: names are not text, or two classes have one name.
    """
    pairs = list(enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ())
    if not pairs:
        raise UsageError(f'{where}: names is {_brief(value)}; expected e.g. {{"0": "cat", "1": "dog"}}')
    names: dict[int, Any] = {}
    for key, name in pairs:
        class_id = int(key) if re.fullmatch("[0-9]{1,9}", str(key)) else -1
        name = str(name) if type(name) is int else name  # as in a data set of digits
        known = isinstance(name, str) and name.strip()
        usable = known or (remarks is not None and not isinstance(name, (list, dict)))
        if not 0 <= class_id <= MAX_CLASS_ID or not usable:
            raise UsageError(f"{where}: names has {key!r}: {_brief(name)}; expected a class id and its name")
        if class_id in names:
            raise UsageError(f"{where}: names has class {class_id} twice")
        names[class_id] = name
    if remarks is not None:
        return dict(zip(names, usable_names([*names.values()], [*map(str, names)], remarks), strict=True))
    if twice := next((name for name, count in Counter(names.values()).items() if count > 1), None):
        raise UsageError(f"{where}: names has '{twice}' twice")
    return names


def usable_names(said: Sequence[Any], ids: Sequence[str], remarks: Counter[str]) -> list[str]:
    """Return the names of classes, each there and each once: what labels say where they can be used, else made of
    ids.

    `remarks`: gets a line for each that is another than the labels say.
    """
    names: list[str] = []
    taken = {name for name in said if isinstance(name, str)}
    seen: set[str] = set()  # without the white space that some formats cannot keep
    for name, class_id in zip(said, ids, strict=True):
        is_name = isinstance(name, (str, int, float)) and not isinstance(name, bool)
        text = " ".join(str(name).split()) if is_name else ""
        usable = str(name) if text and text not in seen else ""
        if not usable:
            usable = _new_name(f"{text}-{class_id}" if text else f"class{class_id}", taken)
            what = f"the name '{text}' is there twice" if text else "it has no name"
            remarks[f"class is called '{usable}': {what} ({f'id {class_id}' if class_id else 'and no id'})"] += 1
        seen.add(" ".join(usable.split()))
        taken.add(usable)
        names.append(usable)
    return names


def _new_name(wanted: str, taken: Set[str]) -> str:
    """Return the name, or with a number after it, if others have it."""
    numbered = (f"{wanted}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([wanted], numbered) if name not in taken)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def complete(names: Mapping[int, str]) -> dict[int, str]:
    """Names from 0 on without gaps; a number stands for a missing one."""
    return {index: names.get(index, str(index)) for index in range(max(names, default=-1) + 1)}


def write_class_names(names: Mapping[int, str]) -> bytes:
    """Return a name a line, the first of class 0; numbers where there is no name."""
    return "".join(" ".join(name.split()) + "\n" for name in complete(names).values()).encode()

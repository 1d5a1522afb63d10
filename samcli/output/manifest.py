"""The manifest `run.json`: the recipe of a run, and what the run began from."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from samcli.config import fingerprint
from samcli.errors import SamcliError, UsageError, one_line
from samcli.files import write_atomic
from samcli.output.own_files import check_key, parse_object, read_own, typed
from samcli.output.shards import MOST_SHARDS
from samcli.stores.addresses import is_address

_LARGEST = 1 << 30
"""Bytes: of the reasons of a million images that have no label of their own."""

_LISTED = 5
_LONGEST = 80
"""Entries and characters of an option's value in a message."""

_SHORT = 16
"""Digits of the fingerprint that a line carries."""


class Product(Enum):
    """Kind of output of a run for each image."""

    LABELS = "labels"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Model:
    """A checkpoint as a recipe knows it: it counts by its content, not by its name."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """Every option that changes what a run writes. `values`: plain JSON values by name, as on disk.

    Raises:
        ValueError: an entry that has a property here is of another kind.
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            if self.values.get(name) is not None and not isinstance(self.values[name], kinds):
                raise ValueError(f"{name} is not what it should be")
        if not all(isinstance(name, str) for name in self.formats):
            raise ValueError("format is not what it should be")
        for value in self.values.values():
            is_model = isinstance(value, dict) and "sha256" in value
            if is_model and not (isinstance(value["sha256"], str) and isinstance(value.get("name"), str)):
                raise ValueError("a model is not what it should be")

    @property
    def command(self) -> str | None:
        """Return the command whose recipe it is."""
        return self.values.get("command")

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the label formats."""
        return tuple(self.values.get("format") or ())

    @property
    def precision(self) -> str | None:
        """Return the precision of the networks, never `auto`."""
        return self.values.get("precision")

    @property
    def dtype(self) -> str | None:
        """Number format of stored embeddings; None: the run makes none."""
        return self.values.get("dtype")

    @property
    def polygons(self) -> tuple[str, str, float]:
        """Return the handling of holes and parts, and the minimum polygon IoU.

        Raises:
            UsageError: the recipe does not say: it is of no run that makes labels.
        """
        try:
            return self.values["holes"], self.values["parts"], self.values["min_polygon_iou"]
        except KeyError as error:
            raise UsageError(f"the recipe of this run lacks {error}: it makes no labels") from error

    def model(self, role: str) -> Model | None:
        """Return the checkpoint in that role (`det`, `sam`); None: there is none."""
        value = self.values.get(role)
        return Model(value["name"], value["sha256"]) if isinstance(value, dict) and "sha256" in value else None

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256: equal if and only if the same images give the same labels."""
        return fingerprint({k: v.get("sha256", v) if isinstance(v, dict) else v for k, v in self.values.items()})


_KINDS: dict[str, type | tuple[type, ...]] = {
    "command": str,
    "format": list,
    "precision": str,
    "dtype": str,
    "holes": str,
    "parts": str,
    "min_polygon_iou": (int, float),
    "embeddings": dict,
}


@dataclass(frozen=True)
class Manifest:
    """`run.json`: the recipe of the run, whose fingerprint its journal lines carry, and what it began from."""

    recipe: Recipe
    fingerprint: str
    input_root: str
    """Relative to the output folder, so that a data set can be moved as a whole."""
    versions: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    """Class id to class name, once the detector was loaded."""
    total: int = 0
    """Images found when the run last started."""
    collisions: dict[str, str] = field(default_factory=dict)
    """Images that can have no label file, by key, and why; they depend on the other images, not on a run."""

    unasked: int = 0
    """Images found that the prompts say nothing about; they are not in `total`."""
    shards: int = 0
    """Shards of the run; 0: it has none."""

    kept: int = 0
    """Images found that had labels before the run and are left alone; they are not in `total`."""

    @property
    def product(self) -> Product:
        """Return the product of the run: only a recipe of embeddings has a number format for storage."""
        return Product.EMBEDDINGS if self.recipe.dtype is not None else Product.LABELS

    @property
    def run(self) -> str:
        """Return the short fingerprint in journal lines."""
        return short(self.fingerprint)


def short(fingerprint: str) -> str:
    """Return the part of a fingerprint that journal lines carry."""
    return fingerprint[:_SHORT]


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest, or None where no run was begun.

    Raises:
        SamcliError: it is damaged.
    """
    try:
        return _checked(parse_object(read_own(path, _LARGEST)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise SamcliError(f"{path} is damaged ({one_line(error)}); --overwrite starts over") from error
    except OSError as error:
        raise SamcliError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error


def _checked(content: dict[str, Any]) -> Manifest:
    """Return the manifest that a JSON object holds.

    Raises:
        ValueError: it is none, or of a later version.
    """
    if unknown := sorted(content.keys() - {entry.name for entry in fields(Manifest)}):
        raise ValueError(f"it has an unknown entry {unknown[0][:100]!r}")
    root = typed(content, "input_root", str)
    if "\0" in root:
        raise ValueError("input_root is no path")
    return Manifest(
        recipe=Recipe(typed(content, "recipe", dict)),
        fingerprint=typed(content, "fingerprint", str),
        input_root=root,
        versions=_texts(typed(content, "versions", dict, {})),
        names={int(key): name for key, name in _texts(typed(content, "names", dict)).items()},
        total=typed(content, "total", int, 0),
        collisions={check_key(key): why for key, why in _texts(typed(content, "collisions", dict, {})).items()},
        unasked=typed(content, "unasked", int, 0),
        shards=_shards(typed(content, "shards", int, 0)),
        kept=typed(content, "kept", int, 0),
    )


def _shards(count: int) -> int:
    if not 0 <= count <= MOST_SHARDS:
        raise ValueError("shards is not what it should be")
    return count


def _texts(content: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in content.values()):
        raise ValueError("names, versions or reasons are no text")
    return content


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Atomically; nothing is written where nothing changed."""
    content = {**vars(manifest), "recipe": dict(manifest.recipe.values)}
    for name in ("kept", "shards"):  # of few runs: the others' files stay as they always were
        if not content[name]:
            del content[name]
    data = json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def check_same_run(found: Manifest, wanted: Manifest, output: Path) -> None:
    """Refuse to mix two recipes or two inputs in one folder.

    Raises:
        UsageError: it says which options differ, and what to do.
    """
    if found.input_root != wanted.input_root:
        own, other = (_images_of(m, output) for m in (found, wanted))
        apart = shlex.quote(str(output.with_name(f"{output.name}-{Path(other).name}")))
        raise UsageError(f"{output} holds what was made of {own}, not of {other}: give this one --output {apart}")
    if found.shards != wanted.shards:
        was, now = (f"in {run.shards} shards" if run.shards else "without --shard" for run in (found, wanted))
        raise UsageError(
            f"{output} was begun {was}, and this is a run {now}: go on as before, or choose another --output"
        )
    if found.fingerprint != wanted.fingerprint:
        raise UsageError(f"{output} {_difference(found.recipe.values, wanted.recipe.values)}")


def _images_of(manifest: Manifest, output: Path) -> str:
    """Return the folder or the address of the images."""
    root = manifest.input_root
    return root if is_address(root) else os.path.normpath(output / root)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Explain why a run cannot continue with another recipe, and what to do."""
    commands = found.get("command"), wanted.get("command")
    if commands[0] != commands[1]:
        return (
            f"holds what samcli {commands[0]} wrote: give samcli {commands[1]} another --output, "
            "or --overwrite to start over"
        )
    changes = [
        _change(name, found, wanted)
        for name in sorted({*found, *wanted} - {"polygons"})  # a version, no option
        if _shown(found.get(name)) != _shown(wanted.get(name))
    ]
    return (
        f"was begun with other options ({'; '.join(changes) or 'by an earlier version of samcli'}). "
        "Use those, or --overwrite to start over, or another --output"
    )


def _change(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say how an option differs, in the words of the command line."""
    if name == "objects":  # of --point, --box and --mask-input
        before = _prompts(found.get(name))
        return (
            f"the prompts were {before}, now {_prompts(wanted.get(name))}" if before else "the prompts are others"
        )
    return f"--{name.replace('_', '-')} was {_brief(name, found.get(name))}, now {_brief(name, wanted.get(name))}"


def _prompts(objects: Any) -> str:
    """Return recorded prompts as options of `samcli prompt`; empty for those that are not recorded."""
    words = []
    for box, points, labels, mask in objects or ():
        words += [f"--box {','.join(f'{value:g}' for value in box)}"] if box else []
        words += [
            f"--point {x:g},{y:g}" + ("" if label else ",0") for (x, y), label in zip(points, labels, strict=False)
        ]
        words += ["--mask-input"] if mask else []
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return " ".join(words[:_LISTED]) + more


def _brief(name: str, value: Any) -> str:
    """Return an option's value as `_shown`, but long lists as their length."""
    if isinstance(value, (list, tuple, dict)) and "sha256" not in value and len(value) > _LISTED:
        return f"{len(value)} {'classes' if name == 'names' else 'values'}"
    text = _shown(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _shown(value: Any) -> str:
    """Return an option's value as one would type it."""
    if value is None:
        return "not given"
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('name')} ({value['sha256'][:8]})"
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return ",".join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value)  # to which tuples are as lists from a file

"""The manifest `run.json`: the recipe of a run, and what the run began from."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from samcli.errors import SamcliError, UsageError
from samcli.files import write_atomic

_SHORT = 16
"""Digits of the fingerprint that a line carries."""


class Product(Enum):
    """What a run makes of each image."""

    LABELS = "labels"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Manifest:
    """`run.json`: the recipe of the run, whose fingerprint its journal lines carry, and what it began from."""

    recipe: dict[str, Any]
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

    @property
    def product(self) -> Product:
        """What the run makes: only a recipe of embeddings says in which number format they are stored."""
        return Product.EMBEDDINGS if "dtype" in self.recipe else Product.LABELS

    @property
    def run(self) -> str:
        """The short fingerprint in journal lines."""
        return self.fingerprint[:_SHORT]


def read_manifest(path: Path) -> Manifest | None:
    """The manifest, or None where no run was begun.

    Raises:
        SamcliError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["names"] = {int(key): name for key, name in content["names"].items()}
        return Manifest(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SamcliError(f"{path} is damaged ({error}); --overwrite begins anew") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Atomically; nothing is written where nothing changed."""
    data = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n"
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def check_same_run(found: Manifest, wanted: Manifest, output: Path) -> None:
    """Refuse to mix two recipes or two inputs in one folder.

    Raises:
        UsageError: it says which options differ, and what to do.
    """
    if found.input_root != wanted.input_root:
        own, other = (os.path.normpath(output / m.input_root) for m in (found, wanted))
        apart = shlex.quote(str(output.with_name(f"{output.name}-{Path(other).name}")))
        raise UsageError(f"{output} holds what was made of {own}, not of {other}: give this one --output {apart}")
    if found.fingerprint != wanted.fingerprint:
        raise UsageError(f"{output} {_difference(found.recipe, wanted.recipe)}")


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What keeps the one recipe from going on with what the other has begun, and what to do."""
    commands = found.get("command"), wanted.get("command")
    if commands[0] != commands[1]:
        return (
            f"holds what samcli {commands[0]} wrote: give samcli {commands[1]} another --output, "
            "or --overwrite to begin anew"
        )
    changes = [
        f"--{name.replace('_', '-')} was {_shown(found.get(name))}, now {_shown(wanted.get(name))}"
        for name in sorted({*found, *wanted} - {"polygons"})  # a version, no option
        if _shown(found.get(name)) != _shown(wanted.get(name))
    ]
    return (
        f"was begun with other options ({'; '.join(changes) or 'by an earlier version of samcli'}). "
        "Use those, or --overwrite to begin anew, or another --output"
    )


def _shown(value: Any) -> str:
    """An option's value as one would type it."""
    if value is None:
        return "not given"
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('name')} ({value['sha256'][:8]})"
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return ",".join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value)  # to which tuples are as lists from a file

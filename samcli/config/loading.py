"""Options from the command line, the environment, a YAML file and the defaults, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from samcli.config.commands import COMMANDS
from samcli.config.options import (
    ENVIRONMENT_PREFIX,
    YES_NO,
    C,
    CommandOptions,
    declared,
    flag_of,
    types_of,
    variables_of,
)
from samcli.errors import UsageError, nearest
from samcli.files import parse_yaml

_OTHER_VARIABLES = {"SAMCLI_CACHE"}


def resolve(
    kind: type[C], given: Mapping[str, Any], config: Path | None = None, *, environment: Iterable[str] = ()
) -> C:
    """Options from what was given (command line or environment), else the YAML file, else the defaults.

    `given`: values by field name; None means not given. `environment`: the names of those of them that the
    environment gave. They and those of the file are `implied`.

    Raises:
        UsageError: an unknown key (the nearest known one is named), or a value that does not fit.
    """
    check_environment(os.environ)
    values = {name: value for name, value in given.items() if value is not None and value != []}
    of_file = _read_yaml(kind, config) if config else {}
    merged = {**of_file, **values}
    for entry in declared(kind):
        if entry.metadata.get("many") and entry.name in merged:
            merged[entry.name] = tuple(dict.fromkeys(merged[entry.name]))
    return kind.of(**merged).imply({*(of_file.keys() - values.keys()), *(values.keys() & set(environment))})


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse a SAMCLI_* variable that no option reads: it is almost surely a typing error.

    Raises:
        UsageError: naming the nearest known variable.
    """
    known = {name for kind in COMMANDS.values() for entry in declared(kind) for name in variables_of(entry)}
    known |= _OTHER_VARIABLES | {ENVIRONMENT_PREFIX + "CONFIG"}
    for name in environment:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            raise UsageError(f"unknown environment variable {name}.{nearest(name, known)}")


def _read_yaml(kind: type[CommandOptions], path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_bytes(), f"--config {path}")
    except OSError as error:
        raise UsageError(f"cannot read --config {path}: {error.strerror}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} holds a {type(content).__name__}; expected 'option: value' lines")
    types, entries = types_of(kind), declared(kind)
    fields = {flag_of(entry)[2:].replace("-", "_"): entry.name for entry in entries}  # e.g. `to` is `format`
    fields |= {entry.name: entry.name for entry in entries}
    fields |= {former: entry.name for entry in entries if (former := entry.metadata["formerly"])}
    switches = {entry.name for entry in entries if entry.metadata["metavar"] == YES_NO}
    keys: dict[str, Any] = {}
    values = {}
    for key, value in content.items():
        word = str(key).replace("-", "_")
        if word not in fields:
            raise UsageError(f"unknown option '{key}' in {path}.{nearest(word, fields)}")
        name = fields[word]
        if name in keys:
            raise UsageError(f"'{keys[name]}' and '{key}' in {path} are the same option; give one")
        keys[name] = key
        if name in switches and isinstance(value, bool):  # YAML takes a bare `no` for false
            value = "yes" if value else "no"
        values[name] = _typed(value, types[name], f"'{key}' in {path}")
    return values


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return a YAML value as its field's type: a number may be written without a point, a list as one value."""
    accepted = get_args(hint) or (hint,)
    if get_origin(hint) is tuple:
        return tuple(_typed(item, accepted[0], where) for item in (value if isinstance(value, list) else [value]))
    if type(value) in accepted:  # not isinstance: True is no number here
        return value
    if float in accepted and type(value) is int:
        return float(value)
    if str in accepted and type(value) in (int, float):
        return str(value)
    if str in accepted and isinstance(value, list):
        return ",".join(str(item) for item in value)
    names = " or ".join(kind.__name__ for kind in accepted if kind is not type(None))
    raise UsageError(f"{where} is {value!r}; expected {names}")

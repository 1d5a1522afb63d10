"""The machinery of options: each is declared once, with its default, its help and its limits.

A command's options are composed of groups; `declared` lists them flat, for the command line, YAML and docs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from samcli.errors import UsageError, nearest

ENVIRONMENT_PREFIX = "SAMCLI_"


RECIPE_VERSION = 2
"""Part of every fingerprint: raised when the same options give other labels than before."""


YES_NO = "no,yes"
"""How an option is shown that takes these words, or a list of them."""


O = TypeVar("O", bound="Options")  # noqa: E741
C = TypeVar("C", bound="CommandOptions")


def option(
    default: Any,
    help: str,
    *,
    recipe: bool = False,
    only_given: bool = False,
    choices: Iterable[str] = (),
    low: float | None = None,
    high: float | None = None,
    panel: str = "Options",
    flag: str | None = None,
    many: bool = False,
    metavar: str | None = None,
    formerly: str | None = None,
    variable: str | None = None,
) -> Any:
    """Return a dataclass field that is an option.

    `recipe`: it changes what is written. `only_given`: the recipe leaves it out where it is None. `low`, `high`:
    inclusive limits. `flag`: its name on the command line where the usual one (underscores to dashes) does not
    do. `many`: it may be repeated. `formerly`: the option's earlier name, which is still read and no longer shown.
    `variable`: its environment variable where the usual one belongs to another command's option of that name.
    """
    metadata = {
        "help": help,
        "recipe": recipe,
        "only_given": only_given,
        "choices": tuple(choices),
        "low": low,
        "high": high,
        "panel": panel,
        "flag": flag,
        "metavar": metavar,
        "many": many,
        "formerly": formerly,
        "variable": variable,
    }
    if many:
        return field(default_factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def group(kind: type[O], *, without: Collection[str] = ()) -> O:
    """Return a dataclass field of a command that holds a group of options.

    `without`: options of the group that the command does not offer; they keep their defaults.
    """
    metadata = {"group": kind, "without": frozenset(without)}
    return field(default_factory=kind, metadata=metadata)


def declared(kind: type[Options]) -> tuple[dataclasses.Field[Any], ...]:
    """Return the options of a command, or of a group alone, in the order of its help."""
    return tuple(entry for part in dataclasses.fields(kind) for entry in _offered(part))


def types_of(kind: type[Options]) -> dict[str, Any]:
    """Return the type of each option of a command, or of a group alone, by the option's name."""
    return {
        entry.name: hint
        for part in dataclasses.fields(kind)
        for entry in _offered(part)
        for hint in [get_type_hints(part.metadata.get("group", kind))[entry.name]]
    }


def _offered(part: dataclasses.Field[Any]) -> tuple[dataclasses.Field[Any], ...]:
    """Return the options that a field stands for: itself, those of its group, or none."""
    if kind := part.metadata.get("group"):
        return tuple(entry for entry in declared(kind) if entry.name not in part.metadata["without"])
    return (part,) if "help" in part.metadata else ()


@dataclass(frozen=True)
class Options:
    """A group of options. Each value is checked against its declaration.

    Raises:
        UsageError: a value is outside its limits or not among its choices.
    """

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            if "help" in entry.metadata:
                _check(entry, getattr(self, entry.name))

    def values(self) -> dict[str, Any]:
        """Return the value of every option by name, those of the groups included."""
        return {
            entry.name: getattr(getattr(self, part.name) if "group" in part.metadata else self, entry.name)
            for part in dataclasses.fields(self)
            for entry in _offered(part)
        }

    def recipe(self) -> dict[str, Any]:
        """Return the options that change what is written, as plain values by name."""
        values = self.values()
        return {
            entry.name: list(value) if isinstance(value := values[entry.name], tuple) else value
            for entry in declared(type(self))
            if entry.metadata["recipe"] and not (entry.metadata["only_given"] and values[entry.name] is None)
        }


@dataclass(frozen=True)
class CommandOptions(Options):
    """All options of a command: groups, and options of its own, in the order of its help.

    Code reads an option through its group (`options.detector.conf`). People do not see groups: the command
    line, YAML files and the methods below know an option by its name alone.
    """

    implied: frozenset[str] = field(default=frozenset(), compare=False, repr=False, kw_only=True)
    """Names of the options that the environment or a config file has set, not the command line."""

    @classmethod
    def of(cls: type[C], **values: Any) -> C:
        """Build the options from values by name; the others keep their defaults.

        Raises:
            TypeError: the command has no option of this name.
            UsageError: a value is outside its limits or not among its choices.
        """
        if unknown := values.keys() - {entry.name for entry in declared(cls)}:
            raise TypeError(f"{cls.__name__} has no option '{min(unknown)}'")
        arguments = {}
        for part in dataclasses.fields(cls):
            given = {entry.name: values[entry.name] for entry in _offered(part) if entry.name in values}
            if kind := part.metadata.get("group"):
                arguments[part.name] = kind(**given)
            else:
                arguments |= given
        return cls(**arguments)

    def imply(self: C, names: Iterable[str]) -> C:
        """Return the same options, of which those of these names are `implied`."""
        return dataclasses.replace(self, implied=frozenset(names))

    def with_values(self: C, **values: Any) -> C:
        """Return a copy with other values of the options of these names."""
        return type(self).of(**{**self.values(), **values}).imply(self.implied)

    def without_implied(self: C, names: Iterable[str]) -> C:
        """Return a copy in which those of these names that are `implied` are back at their defaults."""
        defaults, back = type(self)().values(), self.implied & set(names)
        return self.with_values(**{name: defaults[name] for name in back}).imply(self.implied - back)

    def changed(self, names: Iterable[str]) -> list[str]:
        """Return the flags of those options of these names that are not at their defaults."""
        flags = {entry.name: flag_of(entry) for entry in declared(type(self))}
        values, defaults = self.values(), type(self)().values()
        return [flags[name] for name in names if name in flags and values[name] != defaults[name]]


def _check(entry: dataclasses.Field[Any], value: Any) -> None:
    if not entry.metadata["many"]:
        _check_one(entry, value)
        return
    if not value and default_of(entry):
        raise UsageError(f"{flag_of(entry)} is empty; expected at least one value")
    for one in value:
        _check_one(entry, one)


def _check_one(entry: dataclasses.Field[Any], value: Any) -> None:
    if value is None:
        return
    name, rules = flag_of(entry), entry.metadata
    if rules.get("choices") and value not in rules["choices"]:
        words = str(value).split(",")
        if rules.get("many") and len(words) > 1 and {word.strip() for word in words} <= set(rules["choices"]):
            again = " ".join(f"{name} {word.strip()}" for word in words)
            raise UsageError(f"{name} is '{value}'; one value at a time: {again}")
        raise UsageError(
            f"{name} is '{value}'; expected one of {', '.join(rules['choices'])}."
            + nearest(str(value), rules["choices"])
        )
    low, high = rules.get("low"), rules.get("high")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"{low:g} to {high:g}" if high is not None else f"at least {low:g}"
        raise UsageError(f"{name} is {value}; expected {span}")


def flag_of(entry: dataclasses.Field[Any]) -> str:
    """Return the option's name on the command line, e.g. `--max-det`."""
    return str(entry.metadata.get("flag") or "--" + entry.name.replace("_", "-"))


def former_flag_of(entry: dataclasses.Field[Any]) -> str | None:
    """Return the option's earlier name on the command line, or None where it had no other."""
    former = entry.metadata["formerly"]
    return "--" + former.replace("_", "-") if former else None


def default_of(entry: dataclasses.Field[Any]) -> str | None:
    """Return the option's default as people write it; None where it has none or is a switch."""
    if isinstance(entry.default_factory, dataclasses._MISSING_TYPE):
        return None if entry.default is None or isinstance(entry.default, bool) else str(entry.default)
    return ",".join(entry.default_factory())


def variables_of(entry: dataclasses.Field[Any]) -> list[str]:
    """Return the environment variables of an option, e.g. `SAMCLI_MAX_DET`; one of an earlier name comes last."""
    if variable := entry.metadata["variable"]:
        return [variable]
    flags = [flag for flag in (flag_of(entry), former_flag_of(entry)) if flag]
    return [ENVIRONMENT_PREFIX + flag[2:].replace("-", "_").upper() for flag in flags]


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a recipe: equal if and only if the same images give the same labels."""
    text = json.dumps({"version": RECIPE_VERSION, **recipe}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

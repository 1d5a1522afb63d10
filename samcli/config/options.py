"""The machinery of options: each is declared once, with its default, its help and its limits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from samcli.errors import UsageError, nearest

ENVIRONMENT_PREFIX = "SAMCLI_"


RECIPE_VERSION = 2
"""Part of every fingerprint: raised when the same options give other labels than before."""


YES_NO = "no,yes"
"""How an option is shown that takes these words, or a list of them."""


O = TypeVar("O", bound="Options")  # noqa: E741


def option(
    default: Any,
    help: str,
    *,
    recipe: bool = False,
    choices: Iterable[str] = (),
    low: float | None = None,
    high: float | None = None,
    panel: str = "Options",
    flag: str | None = None,
    many: bool = False,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that is an option.

    `recipe`: it changes what is written. `low`, `high`: inclusive limits. `flag`: its name on the command
    line where the usual one (underscores to dashes) does not do. `many`: it may be repeated.
    """
    metadata = {
        "help": help,
        "recipe": recipe,
        "choices": tuple(choices),
        "low": low,
        "high": high,
        "panel": panel,
        "flag": flag,
        "metavar": metavar,
        "many": many,
    }
    if many:
        return field(default_factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base of all option groups: checks every value against what its field declares.

    Raises:
        UsageError: a value is outside its limits or not among its choices.
    """

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            values = getattr(self, entry.name)
            if entry.metadata.get("many") and not values and default_of(entry):
                raise UsageError(f"{flag_of(entry)} is empty; expected at least one value")
            for value in values if entry.metadata.get("many") else (values,):
                _check(entry, value)

    def recipe(self) -> dict[str, Any]:
        """The options that change what is written, as plain values by name."""
        return {
            entry.name: list(value) if isinstance(value := getattr(self, entry.name), tuple) else value
            for entry in dataclasses.fields(self)
            if entry.metadata.get("recipe")
        }

    @property
    def implied(self) -> frozenset[str]:
        """Names of the options that the environment or a config file has set, not the command line."""
        found: frozenset[str] = vars(self).get("_implied", frozenset())
        return found

    def imply(self: O, names: Iterable[str]) -> O:
        """The same options, of which those of these names are `implied`."""
        options = dataclasses.replace(self)
        vars(options)["_implied"] = frozenset(names)  # no field: it is no option
        return options

    def without_implied(self: O, names: Iterable[str]) -> O:
        """With those of these names that are `implied` back at their defaults."""
        defaults, back = type(self)(), self.implied & set(names)
        options = dataclasses.replace(self, **{name: getattr(defaults, name) for name in back})
        return options.imply(self.implied - back)

    def changed(self, names: Iterable[str]) -> list[str]:
        """Of the options of these names, the flags of those that are not at their defaults."""
        entries = {entry.name: entry for entry in dataclasses.fields(self)}
        defaults = type(self)()
        return [flag_of(entries[n]) for n in names if n in entries and getattr(self, n) != getattr(defaults, n)]


def _check(entry: dataclasses.Field[Any], value: Any) -> None:
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
    """The option's name on the command line, e.g. `--max-det`."""
    return str(entry.metadata.get("flag") or "--" + entry.name.replace("_", "-"))


def default_of(entry: dataclasses.Field[Any]) -> str | None:
    """The option's default as people write it; None where it has none or is a switch."""
    if isinstance(entry.default_factory, dataclasses._MISSING_TYPE):
        return None if entry.default is None or isinstance(entry.default, bool) else str(entry.default)
    return ",".join(entry.default_factory())


def variable_of(entry: dataclasses.Field[Any]) -> str:
    """The environment variable of an option, e.g. `SAMCLI_MAX_DET`."""
    return ENVIRONMENT_PREFIX + flag_of(entry)[2:].replace("-", "_").upper()


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a recipe: equal if and only if the same images give the same labels."""
    text = json.dumps({"version": RECIPE_VERSION, **recipe}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

"""Vocabularies: classes described in words, as `--text` takes them, for detectors that find what a text names."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from samcli.errors import UsageError
from samcli.labels.class_names import MAX_CLASS_ID, load_yaml

MAX_PROMPT_LENGTH = 500
"""Characters of a prompt. Text encoders read about as many tokens at most; a longer text is in the wrong place."""

_YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class TextClass:
    """A class and the prompts that describe it, at least one."""

    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Classes in the order of their ids. No two have the same name, and no two prompts differ in case alone."""

    classes: tuple[TextClass, ...]

    @cached_property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        return {index: one.name for index, one in enumerate(self.classes)}

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Return all prompts, class by class."""
        return tuple(prompt for one in self.classes for prompt in one.prompts)

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """Return the class id of each prompt."""
        return tuple(index for index, one in enumerate(self.classes) for _ in one.prompts)

    def recipe(self) -> list[list[Any]]:
        """Plain values for a recipe: class names with their prompts, in order."""
        return [[one.name, list(one.prompts)] for one in self.classes]


def read_vocabulary(text: str) -> Vocabulary:
    """Return the vocabulary that `--text` gives: `person, red car`, or the path of a YAML file.

    In a text, commas separate prompts, each a class of its own; a prompt that has a comma stands in double
    quotes. Empty prompts are skipped, and a repeated one counts once. A YAML file is a list of prompts, or maps
    classes to their prompts: `class: [prompt, prompt]`, `class: prompt`, or `class:` for the name itself.

    Raises:
        UsageError: it has no prompt, a prompt is too long, stands under two classes, or the file cannot be read.
    """
    if text.strip().lower().endswith(_YAML_SUFFIXES):
        path = Path(text.strip()).expanduser()
        return parse_vocabulary(load_yaml(path), f"--text {path}")
    try:
        entries = next(csv.reader([" ".join(text.split())], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise UsageError(
            f"--text {text!r} has a quotation mark out of place; expected e.g. 'person, \"salt, pepper\"'"
        ) from error
    return _vocabulary(((name, (name,)) for name in _distinct(entries, "--text")), "--text")


def parse_vocabulary(content: Any, where: str) -> Vocabulary:
    """Return a vocabulary from YAML: see `read_vocabulary`. `where`: the file, for messages.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(content, list):
        return _vocabulary(((name, (name,)) for name in _distinct(content, where)), where)
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected lines of 'class: [prompt, prompt]', e.g. 'car: [red car, lorry]'")
    return _vocabulary(
        ((_words(name, where), _prompts_of(name, said, where)) for name, said in content.items()), where
    )


def _prompts_of(name: Any, said: Any, where: str) -> Sequence[str]:
    """Return the prompts that a YAML file gives a class; the name itself where it gives none."""
    return _distinct(said if isinstance(said, list) else [said], where) or [_words(name, where)]


def _distinct(entries: Iterable[Any], where: str) -> list[str]:
    """Prompts without the empty ones, and without those that repeat an earlier one but for case."""
    found: dict[str, str] = {}
    for entry in entries:
        words = _words(entry, where)
        if words:
            found.setdefault(words.casefold(), words)
    return list(found.values())


def _words(entry: Any, where: str) -> str:
    """One prompt or name: composed Unicode characters, single spaces, no others at its ends.

    Raises:
        UsageError: it is no text, too long, or has control characters.
    """
    if entry is None:
        return ""
    if type(entry) not in (str, int):  # numbers: a data set of digits; but yes and no are booleans in YAML
        raise UsageError(f"{where}: {entry!r} is no text; put it in quotes if it is a prompt")
    words = " ".join(unicodedata.normalize("NFC", str(entry)).split())
    if len(words) > MAX_PROMPT_LENGTH:
        raise UsageError(f"{where}: '{words[:40]}...' has {len(words)} characters; at most {MAX_PROMPT_LENGTH}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in words):
        raise UsageError(f"{where}: {words[:40]!r} has control characters; expected words")
    return words


def _vocabulary(classes: Iterable[tuple[str, Sequence[str]]], where: str) -> Vocabulary:
    made = tuple(TextClass(name, tuple(prompts)) for name, prompts in classes)
    if not made:
        raise UsageError(f"{where} names nothing; expected prompts, e.g. --text 'person, red car'")
    if len(made) > MAX_CLASS_ID:
        raise UsageError(f"{where} has {len(made)} classes; at most {MAX_CLASS_ID}")
    owners: dict[str, str] = {}
    names: set[str] = set()
    for one in made:
        if not one.name or one.name in names:
            raise UsageError(
                f"{where}: " + (f"class '{one.name}' stands there twice" if one.name else "a class has no name")
            )
        names.add(one.name)
        for prompt in one.prompts:
            if (owner := owners.setdefault(prompt.casefold(), one.name)) != one.name:
                raise UsageError(f"{where}: the prompt '{prompt}' stands under two classes, {owner} and {one.name}")
    return Vocabulary(made)

"""Match the image names of a prompts file to the images of a run."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from pathlib import Path

from samcli.errors import UsageError, nearest
from samcli.labels.image_names import ImageNames


def check_known(path: Path, images: Mapping[str, int], ordered: list[str]) -> None:
    """Refuse a prompts file that lists an image that is not among `ordered`, the sorted keys of a run.

    Raises:
        UsageError: names the nearest key.
    """
    known = set(ordered)
    unknown = [key for key in images if key not in known]
    if unknown:
        several = "an image that is" if len(unknown) == 1 else f"{len(unknown)} images that are"
        raise UsageError(
            f"{path} lists {several} not in the input: {listed(map(repr, unknown), 3)}."
            + nearest_key(unknown[0], ordered)
        )


def by_key(path: Path, images: Mapping[str, int], ordered: list[str]) -> dict[str, int]:
    """Return the images under their keys, where a file writes them with `\\`, `./` or in another form of Unicode.

    Raises:
        UsageError: two names are one image.
    """
    names = ImageNames(ordered)
    found: dict[str, int] = {}
    for name, number in images.items():
        near = names.exact(name)
        key = near[0] if len(near) == 1 else name
        if key in found:
            raise UsageError(f"{path} lists the image {key} under two names, one of them '{name}'")
        found[key] = number
    return found


def _base_name(key: str) -> str:
    """Return the last part, also of a path that Windows wrote."""
    return key.replace("\\", "/").rpartition("/")[2]


def nearest_key(key: str, ordered: list[str]) -> str:
    """`" Did you mean 'x'?"` for the image key nearest to `key`, or an empty string; quick for a million keys."""
    stem = _base_name(key).rpartition(".")[0].casefold()
    alike = [other for other in ordered if _base_name(other).rpartition(".")[0].casefold() == stem]
    if alike:
        return nearest(key, alike) or f" Did you mean '{alike[0]}'?"
    place = bisect.bisect(ordered, key)
    return nearest(key, ordered[max(0, place - 200) : place + 200])


def listed(words: Iterable[str], most: int = 10) -> str:
    """Return the first of them, by comma, and how many more there are."""
    words = list(words)
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")

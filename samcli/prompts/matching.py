"""Which image of a run a prompts file means."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from pathlib import Path

from samcli.errors import UsageError, nearest


def check_known(path: Path, images: Mapping[str, int], ordered: list[str]) -> None:
    """Refuse a prompts file that speaks of an image that is not among `ordered`, the sorted keys of a run.

    Raises:
        UsageError: names the nearest key.
    """
    known = set(ordered)
    unknown = [key for key in images if key not in known]
    if unknown:
        several = "an image that is" if len(unknown) == 1 else f"{len(unknown)} images that are"
        raise UsageError(
            f"{path} speaks of {several} not in the input: {listed(map(repr, unknown), 3)}."
            + nearest_key(unknown[0], ordered)
        )


def match_file_names(
    path: Path, images: Mapping[str, int], ordered: list[str]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Key -> number for the images of the run; by base name where no `file_name` is a key.

    A COCO file mostly speaks of a whole data set: images that are not in the run are left out and counted.

    Raises:
        UsageError: none of the images is in it, or two have the same base name.
    """
    found = {key: images[key] for key in ordered if key in images}
    if not found:
        found = _match_base_names(path, images, ordered)
    if not found:
        first = next(iter(images), None)
        raise UsageError(f"{path} speaks of none of the images" + (f"; its first is '{first}'" if first else ""))
    left = len(images) - len(found)
    return found, (f"{left} images of {path} are not in the input",) if left else ()


def _match_base_names(path: Path, images: Mapping[str, int], ordered: list[str]) -> dict[str, int]:
    by_name: dict[str, list[str]] = {}
    for file_name in images:
        by_name.setdefault(_base_name(file_name), []).append(file_name)
    found: dict[str, int] = {}
    owner: dict[str, str] = {}
    for key in ordered:
        candidates = by_name.get(_base_name(key), [])
        if not candidates:
            continue
        name = candidates[0]
        if len(candidates) > 1 or name in owner:
            several = candidates[:2] if len(candidates) > 1 else [owner[name], key]
            raise UsageError(
                f"{path} cannot be matched by file name alone: '{several[0]}' and '{several[1]}' "
                "have the same. Make its file_name the path below the input folder"
            )
        owner[name] = key
        found[key] = images[name]
    return found


def _base_name(key: str) -> str:
    """The last part, also of a path that Windows wrote."""
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
    """The first of them, by comma, and how many more there are."""
    words = list(words)
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")

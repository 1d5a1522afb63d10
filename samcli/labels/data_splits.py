"""Find the image folders of a data set's splits from its `data.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")


def said_places(content: Mapping[str, Any], split: str) -> list[str]:
    """Return the paths that a data.yaml gives for a split, as they are written there."""
    said = _said(content, split)
    places = said if isinstance(said, list) else [said]
    return [place for place in places if isinstance(place, str) and place and "\0" not in place]


def candidates(path: Path, content: Mapping[str, Any], split: str, place: str) -> Iterator[Path]:
    """Yield where a path of a split may lead, the likeliest first: from the file, and from the current folder."""
    # A trainer that does not find '../train/images' looks for 'train/images', as some services mean it.
    forms = [place] if isinstance(_said(content, split), list) else [place, place.removeprefix("../")]
    root = content.get("path") if isinstance(content.get("path"), str) else ""
    for folder in [path.parent / (root or ""), *([Path(root)] if root else [])]:
        for form in forms:
            yield folder / form


def _said(content: Mapping[str, Any], split: str) -> Any:
    return content.get("validation" if split == "val" and "val" not in content else split) or []

"""Split groups of images into train, val and test so that every class is spread as the whole is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from samcli.errors import UsageError
from samcli.labels.class_names import SPLITS


@dataclass(frozen=True)
class ImageGroup:
    """Images that stay together."""

    name: str
    images: int
    classes: Mapping[int, int]
    """Class id -> how many of the images show it."""


def parse_shares(text: str) -> dict[str, float]:
    """Return the ratios of train, val and maybe test from `0.8/0.1/0.1`, `80/20` or the like; they sum to 1.

    Raises:
        UsageError: it is something else.
    """
    try:
        numbers = [float(word) for word in text.split("/")]
    except ValueError:
        numbers = []
    if not (len(numbers) in (2, 3) and all(0 <= n < 1e9 for n in numbers) and numbers[0] > 0 and numbers[1] > 0):
        raise UsageError(f"--split {text}: expected shares of train, val and maybe test, e.g. .8/.1/.1 or 80/20")
    total = sum(numbers)
    if all(number < 1 for number in numbers) and not 0.98 < total < 1.02:
        raise UsageError(f"--split {text}: the shares sum to {total:g}; expected 1, or whole numbers, e.g. 8/1/1")
    return {name: number / total for name, number in zip(SPLITS, numbers, strict=False) if number}


def group_of(key: str, pattern: re.Pattern[str] | None) -> str:
    """Return the group of an image: what the pattern's first group finds in its key, or else itself alone."""
    found = pattern.search(key) if pattern else None
    text = found.group(1) if found else None
    return key if text is None else f"group {text}"


def parse_pattern(text: str) -> re.Pattern[str]:
    """Return a pattern with a group.

    Raises:
        UsageError: it is none, or has no group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--group-by {text!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise UsageError(f"--group-by {text!r} has no group; put what images share in brackets, e.g. '^([^/]+)/'")
    return pattern


def split_groups(groups: Sequence[ImageGroup], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Group name -> split. The same groups, shares and seed give the same, in whatever order they come.

    The rarest class is spread first, each group to the split that still wants most of it (iterative
    stratification, Sechidis et al. 2011); what shows no class comes last. No split stays empty.

    Raises:
        UsageError: there are fewer groups than splits.
    """
    if len(groups) < len(shares):
        raise UsageError(
            f"{len(groups)} groups of images cannot make {len(shares)} splits; give more, or --split 1/1"
        )
    # By a hash of the name: a seed's order, and a large group before what can make up for it.
    ordered = sorted(groups, key=lambda group: (-group.images, _rank(group.name, seed)))
    wanted = _Wanted(ordered, shares)
    placed: dict[str, str] = {}
    by_class: dict[int, list[ImageGroup]] = {}
    for group in ordered:
        for class_id in group.classes:
            by_class.setdefault(class_id, []).append(group)
    while by_class:
        left = {class_id: [g for g in members if g.name not in placed] for class_id, members in by_class.items()}
        by_class = {class_id: members for class_id, members in left.items() if members}
        if by_class:
            rarest = min(
                by_class, key=lambda class_id: (sum(g.classes[class_id] for g in by_class[class_id]), class_id)
            )
            for group in by_class.pop(rarest):
                placed[group.name] = wanted.take(group, rarest)
    for group in ordered:
        if group.name not in placed:
            placed[group.name] = wanted.take(group, None)
    return _fill_empty(placed, ordered, shares)


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


class _Wanted:
    """Numbers of images, in all and per class, that each split still needs."""

    def __init__(self, groups: Collection[ImageGroup], shares: Mapping[str, float]) -> None:
        total = sum(group.images for group in groups)
        classes: dict[int, int] = {}
        for group in groups:
            for class_id, count in group.classes.items():
                classes[class_id] = classes.get(class_id, 0) + count
        self.images = {split: share * total for split, share in shares.items()}
        self.classes = {split: {c: share * n for c, n in classes.items()} for split, share in shares.items()}

    def take(self, group: ImageGroup, class_id: int | None) -> str:
        """Give a group to the split that wants most of the class, then most images."""

        def want(split: str) -> tuple[float, float]:
            # Rounded: sums of shares that are equal on paper must not be told apart by their last bit.
            of_class = round(self.classes[split][class_id], 9) if class_id is not None else 0.0
            return of_class, round(self.images[split], 9)

        split = max(self.images, key=want)
        self.images[split] -= group.images
        for other, count in group.classes.items():
            self.classes[split][other] -= count
        return split


def _fill_empty(
    placed: dict[str, str], ordered: Sequence[ImageGroup], shares: Mapping[str, float]
) -> dict[str, str]:
    """Give each empty split the smallest group of the split that has most of them."""
    for split in shares:
        members = {name: [g for g in ordered if placed[g.name] == name] for name in shares}
        if not members[split]:
            donor = max(shares, key=lambda name: len(members[name]))
            placed[members[donor][-1].name] = split
    return placed

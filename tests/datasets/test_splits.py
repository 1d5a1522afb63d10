"""Splits have the shares asked for, spread every class, and keep groups whole."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from samcli.datasets.splits import ImageGroup, group_of, parse_pattern, parse_shares, split_groups
from samcli.errors import UsageError

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def images(count: int, *classes: int, name: str = "i") -> list[ImageGroup]:
    return [ImageGroup(f"{name}{number}", 1, dict.fromkeys(classes, 1)) for number in range(count)]


def counts(groups: list[ImageGroup], placed: dict[str, str], class_id: int | None = None) -> Counter[str]:
    found: Counter[str] = Counter()
    for group in groups:
        found[placed[group.name]] += group.images if class_id is None else group.classes.get(class_id, 0)
    return found


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        (".8/.1/.1", SHARES),
        ("80/10/10", SHARES),
        ("3/1", {"train": 0.75, "val": 0.25}),
        (".33/.33/.33", dict.fromkeys(SHARES, 1 / 3)),
        ("0.5/0.5/0", {"train": 0.5, "val": 0.5}),
    ],
)
def test_shares__are_numbers_in_proportion(text, shares) -> None:
    assert parse_shares(text) == pytest.approx(shares)


@pytest.mark.parametrize("text", ["1", "1/0/1", "0/1", "a/b", "1/1/1/1", "-1/2", "nan/1", "inf/1", "", ".8/.1"])
def test_shares__that_make_no_sense_are_refused(text) -> None:
    with pytest.raises(UsageError, match="--split"):
        parse_shares(text)


def test_each_class__is_spread_as_the_whole_is() -> None:
    groups = images(100, 0, name="a") + images(50, 1, name="b") + images(20, 0, 1, name="c") + images(30, name="d")
    placed = split_groups(groups, SHARES, seed=0)
    assert counts(groups, placed) == {"train": 160, "val": 20, "test": 20}
    for class_id, total in ((0, 120), (1, 70)):
        spread = counts(groups, placed, class_id)
        for split, share in SHARES.items():
            assert spread[split] == pytest.approx(share * total, abs=1)


def test_rare_class__reaches_val_and_test() -> None:
    groups = images(200, 0, name="a") + images(10, 0, 1, name="b")
    spread = counts(groups, split_groups(groups, SHARES, seed=5), 1)
    assert spread == {"train": 8, "val": 1, "test": 1}


def test_groups__of_many_sizes_still_come_near_the_shares() -> None:
    groups = [ImageGroup(f"g{n}", n % 7 + 1, {n % 3: n % 7 + 1}) for n in range(100)]
    placed = split_groups(groups, SHARES, seed=1)
    total = sum(group.images for group in groups)
    for split, share in SHARES.items():
        assert counts(groups, placed)[split] == pytest.approx(share * total, abs=8)


def test_split__depends_on_the_seed_and_not_on_the_order() -> None:
    groups = images(60, 0, name="a") + images(40, 1, name="b")
    first = split_groups(groups, SHARES, seed=0)
    assert split_groups(groups[::-1], SHARES, seed=0) == first
    assert split_groups(groups, SHARES, seed=1) != first


def test_split__leaves_none_empty() -> None:
    for count in (3, 4, 5):
        placed = split_groups(images(count, 0), SHARES, seed=0)
        assert set(placed.values()) == {"train", "val", "test"}
    with pytest.raises(UsageError, match="2 groups"):
        split_groups(images(2, 0), SHARES, seed=0)


def test_group__is_the_pattern_s_first_group_or_the_image_alone() -> None:
    pattern = re.compile(r"^(clip\d+)_")
    assert group_of("clip1_001.jpg", pattern) == group_of("clip1_002.jpg", pattern)
    assert group_of("clip1_001.jpg", pattern) != group_of("clip2_001.jpg", pattern)
    assert group_of("other.jpg", pattern) == "other.jpg"
    assert group_of("a.jpg", None) == "a.jpg"


def test_group__of_an_optional_part_that_is_not_there_is_the_image_alone() -> None:
    assert group_of("a.jpg", re.compile(r"^(clip\d+)?")) == "a.jpg"


@pytest.mark.parametrize(("text", "message"), [("(", "no regular expression"), ("clip", "has no group")])
def test_pattern__needs_a_group(text, message) -> None:
    with pytest.raises(UsageError, match=message):
        parse_pattern(text)

"""The shard of an image follows from its key alone, and `--shard` is checked."""

from __future__ import annotations

import pytest

from samcli.errors import UsageError
from samcli.output.shards import Shard, parse_shard, shard_of, shards_of

KEYS = [f"folder/{number:05}.jpg" for number in range(2000)] + ["é.png", "\udcff.png"]


def test_every_image__is_in_one_shard_and_shards_are_of_like_size() -> None:
    shares = [sum(shard.has(key) for key in KEYS) for shard in shards_of(8)]
    assert sum(shares) == len(KEYS)
    assert min(shares) > 0.8 * len(KEYS) / 8


def test_shard__is_the_same_in_every_version() -> None:
    assert [shard_of(key, 7).index for key in ("a.png", "b/c.png", "é.png")] == [2, 6, 6]


def test_parse_shard__takes_what_counts_from_one() -> None:
    assert parse_shard("2/8") == Shard(2, 8)
    assert parse_shard("2/8").name == "2-of-8"


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "1/0", "-1/8", "1/10001", "a/b", "1/8/2", "1.0/8"])
def test_parse_shard__refuses_anything_else(text: str) -> None:
    with pytest.raises(UsageError, match="expected I/N with 1 <= I <= N") as caught:
        parse_shard(text)
    assert ("count from 1" in str(caught.value)) == (text == "0/8")

"""Shards: a run over one data set in n processes, on any machines that share the output folder.

The shard of an image follows from its key alone, so new images do not move others.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from samcli.errors import UsageError

MOST_SHARDS = 10_000
_FORM = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a data set; `index` counts from 1."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """Return the shard as a part of file names, e.g. `2-of-8`."""
        return f"{self.index}-of-{self.count}"

    def has(self, key: str) -> bool:
        """Return whether the image of this key belongs to the shard."""
        return shard_of(key, self.count) == self


def shard_of(key: str, count: int) -> Shard:
    """Return the shard of an image out of `count` shards: the same on every machine and in every version."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return Shard(int.from_bytes(digest[:8], "big") % count + 1, count)


def shards_of(count: int) -> list[Shard]:
    """Return all shards of a data set in `count` shards."""
    return [Shard(index, count) for index in range(1, count + 1)]


def parse_shard(text: str) -> Shard:
    """Return the shard that `--shard` names, e.g. `2/8`.

    Raises:
        UsageError: it is none.
    """
    found = _FORM.fullmatch(text.strip())
    index, count = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= index <= count <= MOST_SHARDS:
        of_zero = " Shards count from 1: add 1 to an index that counts from 0." if found and index == 0 else ""
        raise UsageError(
            f"--shard is '{text}'; expected I/N with 1 <= I <= N <= {MOST_SHARDS}, for example 2/8.{of_zero}"
        )
    return Shard(index, count)

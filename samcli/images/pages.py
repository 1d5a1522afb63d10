"""Files of several pages: TIFF and GIF.

The first page has the key of the file, the third of `a/scan.tif` the key `a/scan#3.tif`. A file of that very name
goes before (see `ImageRef`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from samcli.errors import UsageError
from samcli.images import page_count
from samcli.types import ImageRef

PAGED = (".tif", ".tiff", ".gif")
"""Suffixes of files that may have several pages."""


def with_all_pages(refs: Sequence[ImageRef]) -> list[ImageRef]:
    """Return the images with all pages of their files, by key. A file that cannot be read has one, and fails later.

    Raises:
        UsageError: a page has the key of another file.
    """
    pages = list(_further(refs))
    if not pages:
        return list(refs)
    known = {ref.key for ref in refs}
    for page in pages:
        if page.key in known:
            number = page.key.rpartition("#")[2].partition(".")[0]
            raise UsageError(
                f"{page.root / page.key} has the name by which page {number} of another file is known "
                "(--pages all): rename it"
            )
    return sorted([*refs, *pages], key=operator.attrgetter("key"))


def _further(refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
    for ref in refs:
        stem, dot, suffix = ref.key.rpartition(".")
        if f"{dot}{suffix}".lower() in PAGED:
            for number in range(2, page_count(ref) + 1):
                yield replace(ref, key=f"{stem}#{number}.{suffix}")

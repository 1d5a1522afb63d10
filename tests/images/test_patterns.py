"""Quoted patterns find what a shell would have found, and all in the folders that match."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from samcli.images import search
from samcli.images.patterns import is_pattern, split_pattern

FILES = ("1.jpg", "2.PNG", "a/3.jpg", "a/b/4.jpg", "a/b/notes.txt", "c/5.png", "c/.hidden/6.jpg")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.jpg", {"1.jpg"}),
        ("**/*.jpg", {"1.jpg", "a/3.jpg", "a/b/4.jpg"}),
        ("**", {"1.jpg", "2.PNG", "a/3.jpg", "a/b/4.jpg", "c/5.png"}),
        ("a/**", {"a/3.jpg", "a/b/4.jpg"}),
        ("*/*.jpg", {"a/3.jpg"}),
        ("[ac]", {"a/3.jpg", "a/b/4.jpg", "c/5.png"}),
        ("**/b/*", {"a/b/4.jpg"}),
        ("?.PNG", {"2.PNG"}),
        ("**/**/4*", {"a/b/4.jpg"}),
        ("x*", set()),
    ],
)
def test_search__finds_what_matches(data: Path, pattern: str, wanted: set[str]) -> None:
    top, parts = split_pattern(str(data / pattern))
    found = {(top / ref.key).relative_to(data).as_posix() for ref in search(top, pattern=parts)}
    assert found == wanted


def test_search__counts_files_that_match_and_are_no_images(data: Path) -> None:
    counts = Counter[str]()
    assert not list(search(data, pattern=split_pattern(str(data / "**/*.txt"))[1], passed_over=counts))
    assert counts == {".txt": 1}
    assert not list(search(data, pattern=split_pattern(str(data / "*.txt"))[1], passed_over=counts))
    assert counts == {".txt": 1}


def test_is_pattern__only_with_a_special_character() -> None:
    assert [is_pattern(text) for text in ("a/*.jpg", "a?", "[1]", "a b.jpg", "{a,b}")] == [
        True,
        True,
        True,
        False,
        False,
    ]

"""Which image labels mean: one order of rules, nothing guessed."""

from __future__ import annotations

import pytest

from samcli.labels.image_names import ImageNames, key_of_unseen


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.jpg", ["a/1.jpg"]),
        ("./a//1.jpg", ["a/1.jpg"]),
        ("a\\1.jpg", ["a/1.jpg"]),
        ("cafe\u0301.jpg", ["caf\u00e9.jpg"]),
        ("100%25#?.jpg", ["100%25#?.jpg"]),
        ("100%2525%23%3F.jpg", ["100%25#?.jpg"]),
        ("https://host:8080/a/1.jpg?token=x/y#z", ["a/1.jpg"]),
        ("/data/local-files/?d=a%2F1.jpg", ["a/1.jpg"]),
        ("1.jpg", []),
    ],
)
def test_exact__is_the_key_in_any_way_of_writing_it(name: str, found: list[str]) -> None:
    names = ImageNames(["a/1.jpg", "b/1.jpg", "caf\u00e9.jpg", "100%25#?.jpg"])
    assert names.exact(name) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/home/ann/a/1.jpg", ["a/1.jpg"]),
        ("C:\\ann\\b\\1.jpg", ["b/1.jpg"]),
        ("1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("c/1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("upload/2/0123abcd-lone.jpg", ["lone.jpg"]),
        ("0123abcd-1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("none.jpg", []),
    ],
)
def test_alike__is_the_longest_common_tail_and_several_where_it_is_as_long(name: str, found: list[str]) -> None:
    assert ImageNames(["a/1.jpg", "b/1.jpg", "lone.jpg"]).alike(name) == found


def test_alike__as_a_whole_takes_no_image_of_another_folder() -> None:
    names = ImageNames(["y/b.jpg"])
    assert names.alike("x/b.jpg") == ["y/b.jpg"]
    assert names.alike("x/b.jpg", whole=True) == []
    assert names.alike("/data/y/b.jpg", whole=True) == names.alike("b.jpg", whole=True) == ["y/b.jpg"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train/1.jpg", "train/1.jpg"),
        ("/home/ann/1.jpg", "1.jpg"),
        ("../../1.jpg", "1.jpg"),
        ("C:\\ann\\1.jpg", "1.jpg"),
        ("https://h/x/a.jpg?s=1", "a.jpg"),
        ("..", ""),
    ],
)
def test_key_of_unseen__never_leads_out_of_the_folder(name: str, key: str) -> None:
    assert key_of_unseen(name) == key

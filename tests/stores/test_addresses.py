"""Addresses: what names a store, what is refused, and what braces stand for."""

from __future__ import annotations

import pytest

from samcli.errors import UsageError
from samcli.stores.addresses import expand_braces, is_address, local_path, split_address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/a", "ftp:// URLs are not supported: give s3://"),
        ("https://host/a.jpg", "https:// URLs are not supported"),
        ("s3://", "lacks the name of a bucket"),
    ],
)
def test_address__of_no_store_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_address(url)


def test_address__with_a_secret_is_refused_without_saying_it() -> None:
    with pytest.raises(UsageError) as error:
        split_address("s3://me:hunter2@bucket/photos")
    assert "hunter2" not in str(error.value)


def test_package_that_is_missing__is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package gcsfs: pip install 'samcli\[gs\]'"):
        split_address("gcs://bucket/photos")


def test_file_urls__are_paths() -> None:
    assert local_path("file:///data/my%20photos") == "/data/my photos"
    assert local_path("/data/a%20b") == "/data/a%20b"
    assert not is_address("C:/photos")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a/{008..010}.tar", ["a/008.tar", "a/009.tar", "a/010.tar"]),
        ("{2..0}.tar", ["2.tar", "1.tar", "0.tar"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
        ("a{b}.tar", ["a{b}.tar"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces__stand_for_numbers_and_alternatives(text: str, names: list[str]) -> None:
    assert expand_braces(text) == names


def test_braces__of_too_many_names_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("samcli.stores.addresses._MOST_NAMES", 1000)
    with pytest.raises(UsageError, match="stands for more than"):
        expand_braces("{0..9999}{0..9999}.tar")

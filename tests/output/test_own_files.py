"""Files of ours are read as if a stranger had written them: bounded, typed, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samcli.output.own_files import check_key, open_own, parse_object, read_own, typed


@pytest.mark.parametrize(
    "key", ["a.jpg", "a/b.jpg", "..a/b..c.jpg", "a b\n.jpg", os.fsdecode(b"caf\xe9.jpg"), "C:.jpg"]
)
def test_check_key__takes_every_path_below_the_root(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "./a", "a/", "a\0b", "x" * 5000, None, 7, ["a"]],
)
def test_check_key__refuses_what_leads_elsewhere(key: object) -> None:
    with pytest.raises(ValueError, match="key"):
        check_key(key)


@pytest.mark.parametrize("mode", ["rb", "ab"])
def test_open_own__follows_no_link_and_waits_for_no_pipe(tmp_path: Path, mode: str) -> None:
    (tmp_path / "file").write_bytes(b"somebody's")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(ValueError, match="symbolic link"):
            open_own(tmp_path / name, mode)
    assert not (tmp_path / "nowhere").exists()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((ValueError, OSError)):  # a pipe without a reader cannot even be opened to be written
        open_own(tmp_path / "pipe", mode)


def test_read_own__refuses_more_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_own(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(ValueError, match="it has more than"):
        read_own(tmp_path / "file", 9)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 9999]
)
def test_parse_object__refuses_what_is_no_object(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(data)


def test_typed__takes_the_kind_asked_for_and_a_default() -> None:
    assert typed({"a": 1}, "a", int) == 1
    assert typed({}, "a", int, 0) == 0
    for content, kind in (({"a": True}, int), ({"a": "1"}, int), ({"a": None}, str), ({}, str)):
        with pytest.raises(ValueError, match=r"a is not what it should be|it has no a"):
            typed(content, "a", kind)

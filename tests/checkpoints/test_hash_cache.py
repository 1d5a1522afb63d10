"""A checkpoint is hashed once, and again as soon as it is another file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from samcli.checkpoints import hash_cache
from samcli.checkpoints.hash_cache import remembered_sha256


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that were read to be hashed; even small ones are remembered."""
    read: list[Path] = []
    original = hash_cache.sha256_of
    monkeypatch.setattr(hash_cache, "_FEW_BYTES", 0)
    monkeypatch.setattr(hash_cache, "sha256_of", lambda path: (read.append(path), original(path))[1])
    return read


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_second_time__reads_nothing(tmp_path, reads) -> None:
    file, store = tmp_path / "a.pt", tmp_path / "cache" / "hashes.json"
    store.parent.mkdir()
    file.write_bytes(b"weights")
    assert [remembered_sha256(file, store) for _ in range(3)] == [sha256(file)] * 3
    assert len(reads) == 1


def test_exchanged_file__of_the_same_size_and_time_is_read_again(tmp_path, reads) -> None:
    file, store = tmp_path / "a.pt", tmp_path / "hashes.json"
    file.write_bytes(b"weights")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    remembered_sha256(file, store)
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=times)
    assert remembered_sha256(file, store) == sha256(file)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b'{"x": 1}'])
def test_damaged_list__is_an_empty_one(tmp_path, reads, content) -> None:
    file, store = tmp_path / "a.pt", tmp_path / "hashes.json"
    file.write_bytes(b"weights")
    store.write_bytes(content)
    assert remembered_sha256(file, store) == sha256(file)


def test_list_that_cannot_be_written__is_done_without(tmp_path, reads) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(b"weights")
    assert remembered_sha256(file, file / "hashes.json") == sha256(file)

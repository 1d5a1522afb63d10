"""A store: requests are tried again where that may help, and what fails in the end says why, without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from samcli.errors import StorageError
from samcli.stores import store as module
from samcli.stores.store import Store, reason


@pytest.fixture
def store(monkeypatch) -> Store:
    """A store in this process's memory, without pauses between tries."""
    monkeypatch.setattr(module, "_PAUSES", (0.0,) * 3)
    module._client.cache_clear()
    made = Store("memory://bucket/photos")
    made._client.store.clear()
    return made


def failing(store: Store, monkeypatch, name: str, *errors: Exception) -> list[int]:
    """Make the first requests of a kind fail; return the list that counts them."""
    real, calls, pending = getattr(store._client, name), [], list(errors)

    def request(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if pending:
            raise pending.pop(0)
        return real(*arguments, **options)

    monkeypatch.setattr(store._client, name, request)
    return calls


def test_objects__are_listed_read_and_removed(store) -> None:
    for name in ("a.jpg", "b/c.jpg", "b/d/e.jpg"):
        store.put(name, name.encode())
    assert sorted(entry.name for entry in store.entries()) == ["a.jpg", "b/c.jpg", "b/d/e.jpg"]
    assert sorted(entry.name for entry in store.names("")) == ["a.jpg", "b/"]
    assert sorted(entry.name for entry in store.names("b")) == ["b/c.jpg", "b/d/"]
    assert store.names("nothing") == []
    assert store.get("b/c.jpg", 2, 5) == b"c.j"
    assert store.entry("b/c.jpg").size == 7
    store.delete("a.jpg")
    store.delete("a.jpg")
    with pytest.raises(FileNotFoundError):
        store.get("a.jpg")


def test_create__writes_once(store) -> None:
    assert store.create("lease", b"1")
    assert not store.create("lease", b"2")
    assert store.get("lease") == b"1"


def test_failures__that_may_pass_are_tried_again(store, monkeypatch) -> None:
    store.put("a", b"1234")
    calls = failing(store, monkeypatch, "cat_file", OSError(5, "slow down"), TimeoutError(), ConnectionError("cut"))
    assert store.get_whole("a", 4) == b"1234"
    assert len(calls) == 4


def test_content_that_breaks_off__is_a_failure(store, monkeypatch) -> None:
    store.put("a", b"12")
    with pytest.raises(StorageError, match="cannot read memory://bucket/photos/a: 2 of 4 bytes"):
        store.get_whole("a", 4)


def test_access_denied__is_not_tried_again(store, monkeypatch) -> None:
    calls = failing(store, monkeypatch, "cat_file", PermissionError("key AKIA refused"))
    with pytest.raises(StorageError, match="access denied") as error:
        store.get("a")
    assert "AKIA" not in str(error.value)
    assert len(calls) == 1


def test_reason__leaves_signatures_out() -> None:
    assert reason(OSError("GET https://host/a?X-Amz-Signature=123 failed")) == "GET https://host/a"

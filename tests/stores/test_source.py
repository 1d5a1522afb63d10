"""Images of stores and of tar files: which there are, by which keys, and what is in them."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from samcli.errors import ImageError, UsageError
from samcli.stores import store as module
from samcli.stores.source import ImageSource, is_source, open_source
from samcli.stores.store import Store

ROOT = Path("/nowhere")


@pytest.fixture
def store(monkeypatch) -> Store:
    monkeypatch.setattr(module, "_PAUSES", ())
    module._client.cache_clear()
    made = Store("memory://bucket/photos")
    made._client.store.clear()
    for name in ("b.jpg", "a/1.png", "a/2.txt", ".hidden/x.jpg", "run/.samcli/run.json", "run/overlay.png"):
        made.put(name, name.encode())
    return made


def keys(source: ImageSource, exclude: str = "memory://other") -> list[str]:
    return [ref.key for ref in source.find(ROOT, exclude=exclude, passed_over=Counter())]


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_store__gives_images_without_hidden_files_runs_and_the_output(store) -> None:
    passed_over: Counter[str] = Counter()
    source = open_source(["memory://bucket/photos/"], 1.0)
    refs = source.find(ROOT, exclude="memory://bucket/photos/a", passed_over=passed_over)
    assert [ref.key for ref in refs] == ["b.jpg"]
    assert keys(source) == keys(source, exclude=source.url) == ["a/1.png", "b.jpg"]
    assert not source.is_part
    assert source.open(refs[0]).read() == b"b.jpg"


def test_pattern_and_single_image__name_some(store) -> None:
    assert keys(open_source(["memory://bucket/photos/**/*.png"], 1.0)) == [
        "a/1.png",
    ]
    assert keys(open_source(["memory://bucket/photos/a/1.png"], 1.0)) == ["1.png"]


def test_names_that_leave_the_folder__are_passed_over(store) -> None:
    for name in ("x/../../y.jpg", "z//w.jpg"):
        store._client.store[f"/bucket/photos/{name}"] = store._client.store["/bucket/photos/b.jpg"]
    assert all(".." not in key and "//" not in key for key in keys(open_source(["memory://bucket/photos"], 1.0)))


def test_empty_store__is_refused(store) -> None:
    with pytest.raises(UsageError, match="no images in memory://bucket/nothing"):
        keys(open_source(["memory://bucket/nothing"], 1.0))


def test_image_that_is_gone__fails_alone(store) -> None:
    source = open_source(["memory://bucket/photos"], 1.0)
    ref = source.find(ROOT, exclude="-", passed_over=Counter())[0]
    store.delete(ref.key)
    with pytest.raises(ImageError, match=r"a/1\.png is gone"):
        source.open(ref)


def test_tar_files__are_folders_of_their_names(tmp_path) -> None:
    write_tar(
        tmp_path / "train" / "000.tar", {"b.jpg": b"B", "b.json": b"{}", "./a/c.png": b"CC", "../x.jpg": b"X"}
    )
    write_tar(tmp_path / "train" / "001.tar", {"b.jpg": b"other", "b.jpg ": b""})
    write_tar(tmp_path / "val" / "000.tar", {"b.jpg": b"old"})
    with tarfile.open(tmp_path / "val" / "000.tar", "a") as tar:  # of two of one name the last counts
        member = tarfile.TarInfo("b.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"new"))
    source = open_source([f"{tmp_path}/train/{{000..001}}.tar", f"{tmp_path}/val/*.tar"], 1.0)
    passed_over: Counter[str] = Counter()
    refs = source.find(ROOT, exclude="-", passed_over=passed_over)
    content = {ref.key: source.open(ref).read() for ref in refs}
    assert content == {
        "train/000/a/c.png": b"CC", "train/000/b.jpg": b"B", "train/001/b.jpg": b"other", "val/000/b.jpg": b"new",
    }  # fmt: skip
    assert passed_over[".json"] == 1


@pytest.mark.parametrize(("mode", "cut"), [("w:gz", 0), ("w", 3000)])
def test_tar_file__that_is_compressed_or_breaks_off_is_refused(tmp_path, mode: str, cut: int) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.jpg": b"a" * 4000}, mode)
    if cut:
        path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"a\.tar (cannot be read as a tar file|breaks off)"):
        keys(open_source([str(path)], 1.0))


def test_tar_files__beside_other_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match="tar files alone"):
        open_source(["a.tar", "photos"], 1.0)
    assert is_source("data/0.tar")
    assert is_source("s3://bucket/a")
    assert not is_source("file:///data")

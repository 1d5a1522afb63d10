"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from samcli.errors import StorageError, UsageError, WriteError
from samcli.files import (
    check_writable,
    fit_name,
    move_atomic,
    new_folder,
    parse_yaml,
    read_array,
    sha256_of,
    storage_errors,
    write_atomic,
    write_folder_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic__writes_and_replaces_and_makes_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "label.txt"
    write_atomic(path, b"old and longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["label.txt"]


def test_write_atomic__an_empty_file_is_a_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "label.txt", b"")
    assert (tmp_path / "label.txt").read_bytes() == b""


def test_move_atomic__replaces_with_the_permissions_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "label.txt").write_bytes(b"old")
    (tmp_path / "other").touch()
    (tmp_path / "made").write_bytes(b"new")
    (tmp_path / "made").chmod(0o600)
    move_atomic(tmp_path / "made", tmp_path / "label.txt")
    assert (tmp_path / "label.txt").read_bytes() == b"new"
    assert (tmp_path / "label.txt").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert names(tmp_path) == ["label.txt", "other"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_write_atomic__a_failure_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "label.txt"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="not permitted") as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert not isinstance(caught.value, StorageError)  # it concerns this file alone
    assert names(tmp_path) == ([] if before is None else ["label.txt"])
    assert before is None or path.read_bytes() == before


def test_write_atomic__an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "label.txt", b"new")
    assert names(tmp_path) == []


def test_write_atomic__is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power failure can leave the name with an empty file."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        steps.append("flush folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "flush file")
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent  # another folder could be another file system
        assert self.read_bytes() == b"new"
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr("os.fsync", watched_fsync)
    monkeypatch.setattr("pathlib.Path.replace", watched_replace)
    write_atomic(tmp_path / "label.txt", b"new")
    assert steps == ["flush file", "rename", "flush folder"]


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_write_atomic__gives_ordinary_permissions(tmp_path: Path, umask: str, mode: int) -> None:
    """In a process of its own: the umask is the whole process's."""
    code = "import pathlib, sys, samcli.files as f; f.write_atomic(pathlib.Path(sys.argv[1]), b'')"
    subprocess.run(
        ["sh", "-c", f'umask {umask}; exec "$@"', "sh", sys.executable, "-c", code, str(tmp_path / "a.txt")],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_write_atomic__a_full_or_broken_disk_is_a_storage_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "label.txt", b"new")
    message = str(caught.value)
    assert os.strerror(number) in message
    assert str(tmp_path) in message
    assert "same command again" in message
    assert names(tmp_path) == []


def test_storage_errors__leaves_other_errors_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()
    with pytest.raises(ValueError, match="mine"), storage_errors(tmp_path / "a"):
        raise ValueError("mine")


def test_storage_errors__of_what_is_read_meanwhile_are_no_errors_of_writing(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "photo.jpg"
    with pytest.raises(PermissionError) as caught, storage_errors(tmp_path / "out" / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", str(elsewhere))
    assert not isinstance(caught.value, WriteError)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "Permission denied"), (errno.EPERM, "Operation not permitted")]
)
def test_write_atomic__where_it_may_not_names_the_folder_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(**options: object) -> None:
        raise OSError(number, words, f"{options['dir']}/.samcli-abc.tmp")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(WriteError) as caught:
        write_atomic(tmp_path / "label.txt", b"new")
    assert str(caught.value).startswith(f"cannot write in {tmp_path}: {words}. ")
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("write", [lambda path: write_atomic(path, b""), check_writable])
@pytest.mark.parametrize("name", ["a.txt", "deeper/a.txt"])
def test_below_a_file__nothing_can_be_written(tmp_path: Path, write, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"cannot write in .*/file: (Not a directory|File exists)"):
        write(tmp_path / "file" / name)


def test_check_writable__looks_at_the_nearest_folder_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "a" / "b" / "c.png")
    assert names(tmp_path) == []
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(WriteError, match=f"cannot write in {tmp_path}: Permission denied"):
        check_writable(tmp_path / "a" / "b" / "c.png")


@pytest.mark.parametrize("length", [1, 254, 255])
def test_fit_name__leaves_names_that_fit(length: int) -> None:
    name = ("x" * length)[:-4] + ".txt" if length > 4 else "x"
    assert fit_name(name) == name


@pytest.mark.parametrize("stem", ["x" * 252, "x" * 400, "ż" * 200, "汉" * 90, "🐈" * 70])
def test_fit_name__makes_any_name_fit(tmp_path: Path, stem: str) -> None:
    name = fit_name(stem + ".txt")
    assert len(os.fsencode(name)) <= 255
    assert name.endswith(".txt")
    assert name.startswith(stem[:50])
    write_atomic(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


def test_fit_name__keeps_names_that_differ_at_their_end_apart() -> None:
    assert fit_name("x" * 300 + "1.txt") != fit_name("x" * 300 + "2.txt")
    assert fit_name("x" * 300 + "1.txt") == fit_name("x" * 300 + "1.txt")


def test_sha256_of__is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert sha256_of(tmp_path / "a") == expected
    monkeypatch.delattr(hashlib, "file_digest", raising=False)  # as in Python 3.10
    assert sha256_of(tmp_path / "a") == expected


def test_file_system_without_permissions__takes_files_all_the_same(tmp_path, monkeypatch) -> None:
    """FAT and some network shares refuse every change of permissions."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    write_atomic(tmp_path / "a.txt", b"text")
    write_folder_atomic(tmp_path / "masks", {"0.png": b"mask"})
    (tmp_path / "moved.tmp").write_bytes(b"large")
    move_atomic(tmp_path / "moved.tmp", tmp_path / "moved")
    assert (tmp_path / "a.txt").read_bytes() == b"text"
    assert (tmp_path / "masks" / "0.png").read_bytes() == b"mask"
    assert (tmp_path / "moved").read_bytes() == b"large"


BILLION_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BILLION_LAUGHS + "names: *i", "aliases stand for more than"),
        ("names: &a [*a]", "aliases stand for more than"),
        ("a: &a {x: 1}\n" + "b: &b {<<: [*a, *a]}\n" * 3 + "names: [", "cannot read"),
        ("[" * 100_000, "too deep"),
        ("{a: " * 5000 + "1" + "}" * 5000, "too deep"),
        ("names: " + "9" * 5000, "cannot read"),
        ("when: 2020-99-99", "cannot read"),
        ("!!python/object/apply:os.system [ls]", "cannot read"),
        ("\xff\xfe", "cannot read"),
        ("? [a]: b", "cannot read"),
    ],
    ids=range(10),
)
def test_yaml__that_is_too_much_is_refused_in_a_line(text, reason) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_yaml(text.encode("latin-1"), "data.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_yaml__gives_plain_values_and_follows_ordinary_aliases() -> None:
    text = b"\xef\xbb\xbfbase: &b {a: 1}\nnames: {0: cat, 1: dog}\nmore: {<<: *b, c: [*b, *b]}\n"
    assert parse_yaml(text, "x") == {
        "base": {"a": 1}, "names": {0: "cat", 1: "dog"}, "more": {"a": 1, "c": [{"a": 1}, {"a": 1}]},
    }  # fmt: skip
    assert parse_yaml(b"", "x") is None


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592, 8589934592)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", bytes(400)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", bytes(400)),
        npy("{'descr': '|V0', 'fortran_order': False, 'shape': (3,)}", bytes(400)),
        npy("((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("),
        npy("{'descr': '<f4'}"),
        b"\x93NUMPY\x09\x00",
        b"",
        b"text",
    ],
    ids=range(10),
)
def test_array__whose_header_lies_takes_no_memory(tmp_path, content) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no \.npy file of numbers"):
        read_array(tmp_path / "a.npy")


def test_new_folder__appears_whole_or_leaves_nothing(tmp_path: Path) -> None:
    for place in ("there", "not there"):
        target = tmp_path / place
        if place == "there":
            target.mkdir()
        with pytest.raises(RuntimeError), new_folder(target) as building:
            (building / "a").write_bytes(b"half")
            raise RuntimeError
        assert names(tmp_path) == ["there"]
    with new_folder(tmp_path / "there") as building:
        (building / "b").mkdir()
        (building / "b" / "c").write_bytes(b"whole")
        (building / "link").symlink_to("b/c")
        assert names(tmp_path / "there") == []
    assert (tmp_path / "there" / "link").read_bytes() == b"whole"
    assert names(tmp_path) == ["there"]


def test_new_folder__does_not_take_the_place_of_anything(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "work").touch()
    with pytest.raises(OSError), new_folder(tmp_path / "there") as building:
        (building / "a").touch()
    assert names(tmp_path) == ["there"] and names(tmp_path / "there") == ["work"]

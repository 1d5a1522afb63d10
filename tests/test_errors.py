"""Errors: exit status, and messages that help."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from samcli.errors import (
    ImageError,
    SamcliError,
    StorageError,
    UnknownModelError,
    UsageError,
    WeightsError,
    WriteError,
    is_out_of_memory,
    is_transient,
    is_worth_retrying,
    nearest,
    one_line,
)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (SamcliError, 1),
        (UsageError, 2),
        (WeightsError, 1),
        (UnknownModelError, 2),
        (StorageError, 1),
        (ImageError, 1),
    ],
)
def test_exit_status__is_2_for_usage_and_1_for_what_could_not_run(kind: type[SamcliError], status: int) -> None:
    assert kind("why").exit_status == status
    assert issubclass(kind, SamcliError)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("yolov8x.p", " Did you mean 'yolov8x.pt'?"),
        ("yolo8x.pt", " Did you mean 'yolov8x.pt'?"),
        ("mobilesam.pt", " Did you mean 'mobile_sam.pt'?"),
        ("qqq", ""),
    ],
)
def test_nearest__names_a_word_only_if_it_is_near(word: str, hint: str) -> None:
    assert nearest(word, ["yolov8x.pt", "mobile_sam.pt"]) == hint


def test_nearest__of_nothing_is_no_hint() -> None:
    assert nearest("conf", []) == ""


def test_one_line__joins_the_lines_of_a_message() -> None:
    assert one_line(ValueError("first\n   second\tthird\n")) == "first second third"


def test_one_line__of_an_error_without_a_message_is_its_type() -> None:
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line(ValueError(" \n")) == "ValueError"


def raised(cause: BaseException) -> ImageError:
    """An error about an image, raised from what the system said."""
    try:
        raise ImageError("cannot be decoded") from cause
    except ImageError as error:
        return error


@pytest.mark.parametrize(
    "name", ["EMFILE", "ENFILE", "ENOMEM", "ESTALE", "EIO", "ENOTCONN", "ETIMEDOUT", "ENODEV", "EBUSY", "EINTR"]
)
def test_failure_of_the_machine__is_transient(name: str) -> None:
    cause = OSError(getattr(errno, name), "said the system", "/images/a.jpg")
    assert is_transient(cause)
    assert is_transient(raised(cause))
    assert is_worth_retrying(raised(cause))


def test_missing_file__is_transient_where_its_folder_is_missing_too(tmp_path: Path) -> None:
    gone = FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "mount" / "a.jpg"))
    assert is_transient(raised(gone))
    (tmp_path / "mount").mkdir()
    assert not is_transient(raised(gone))
    assert not is_worth_retrying(raised(gone))


def test_verdict_on_an_image__is_for_good() -> None:
    for error in (ImageError("no image"), raised(ValueError("bad header")), raised(OSError("truncated"))):
        assert not is_transient(error)
        assert not is_worth_retrying(error)


def test_denied_access__is_tried_by_the_next_run_but_not_in_this_one() -> None:
    denied = raised(PermissionError(errno.EACCES, "Permission denied", "/images/a.jpg"))
    assert is_worth_retrying(denied)
    assert not is_transient(denied)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libgomp.so.1: cannot allocate memory in static TLS block"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
def test_too_little_memory__is_known_whoever_says_so(error: Exception, samcli_run, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    assert is_out_of_memory(error)
    monkeypatch.setattr("samcli.jobs.status.read_status", fail)
    result = samcli_run("status", ".")
    assert result.exit_code == 1
    assert result.stderr.startswith("samcli: the machine's memory is too small or in use by others")
    assert result.stderr.count("\n") == 1


def test_missing_library__is_not_taken_for_too_little_memory() -> None:
    assert not is_out_of_memory(ImportError("libGL.so.1: cannot open shared object file: No such file"))


def test_one_line__an_error_of_the_system_is_without_python_s_text() -> None:
    assert one_line(OSError(errno.EIO, "Input/output error", "a/b.txt")) == "a/b.txt: Input/output error"
    assert one_line(OSError(errno.ENOMEM, "Cannot allocate memory")) == "Cannot allocate memory"
    assert one_line(OSError("no number")) == "no number"
    assert one_line(WriteError(errno.EACCES, Path("a"))).startswith("cannot write in a")

"""Errors: exit status, and messages that help."""

from __future__ import annotations

import pytest

from samcli.errors import (
    ImageError,
    SamcliError,
    StorageError,
    UnknownModelError,
    UsageError,
    WeightsError,
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

"""Work that hangs is given up, and what could hang is not begun."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from samcli.errors import ImageError, is_worth_retrying
from samcli.images import read_image
from samcli.images.hanging import within


def test_work_that_hangs__fails_after_the_limit_and_is_worth_another_try() -> None:
    held = threading.Event()
    with pytest.raises(ImageError, match=r"not decoded after 0\.05 s \(--image-timeout\)") as caught:
        within(0.05, held.wait)
    assert is_worth_retrying(caught.value)
    held.set()


@pytest.mark.parametrize("seconds", [0, 60])
def test_work_in_time__gives_its_result_or_its_error(seconds) -> None:
    assert within(seconds, lambda: "result") == "result"
    with pytest.raises(ZeroDivisionError):
        within(seconds, lambda: 1 // 0)


def test_pipe_socket_and_device__are_refused_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.jpg"))
        for name in ("pipe.jpg", "device.jpg", "s.jpg", "folder.jpg"):
            with pytest.raises(ImageError, match=r"not a regular file|No such device"):
                read_image(tmp_path / name)

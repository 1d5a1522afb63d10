"""Kill it, and nothing is lost: a run killed many times ends byte-equal to one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from runs import files, journal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory, photos, request) -> Path:
    """The 128 photos where they are present; else 40 cuts of those that ship with ultralytics."""
    shared = Path(__file__).parents[3] / "shared" / "data" / "coco128" / "images"
    if shared.is_dir():
        return shared
    folder = tmp_path_factory.mktemp("cuts") / "images"
    folder.mkdir()
    for index in range(40):
        whole = Image.open(photos[index % 2])
        left, top = 13 * index % 300, 7 * index % 200
        whole.crop((left, top, left + 320 + index, top + 300)).save(folder / f"{index:03}.jpg")
    return folder


class Runs:
    """Starts `samcli auto-annotate` as a process of its own."""

    def __init__(self, photos: Path, yolo: Path, sam: Path, log: Path) -> None:
        self._command = [
            sys.executable, "-m", "samcli", "auto-annotate", str(photos),
            "--det", str(yolo), "--sam", str(sam), "--precision", "fp32",
            "--imgsz", "128", "--max-det", "2", "--conf", "0.01", "--quiet",
        ]  # fmt: skip
        self._log = log

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, "-o", str(output)], stdout=self._log.open("ab"), stderr=subprocess.STDOUT
        )

    def kill_after(self, output: Path, lines: int, pause: float, how: signal.Signals) -> int:
        """Start, wait for so many more lines in the journal and a moment, kill; the exit status."""
        known, process = count_lines(output), self.start(output)
        wait_until(lambda: process.poll() is not None or count_lines(output) >= known + lines)
        time.sleep(pause)  # a random moment within an image, not just after one
        process.send_signal(how)
        return process.wait(timeout=120)


def count_lines(output: Path) -> int:
    path = output / ".samcli" / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(reached: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "nothing happens any more"
        time.sleep(0.01)


@pytest.fixture
def runs(many_photos, yolo, small_sam, tmp_path) -> Runs:
    return Runs(many_photos, yolo, small_sam, tmp_path / "log")


@pytest.fixture(scope="module")
def undisturbed(many_photos, yolo, small_sam, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    runs = Runs(many_photos, yolo, small_sam, folder / "log")
    assert runs.start(folder / "labels").wait(timeout=600) == 0, (folder / "log").read_text()
    return folder / "labels"


def without_paths(content: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in content.items() if name != "data.yaml"}


def test_killed_ten_times__ends_byte_equal_and_no_finished_image_is_computed_twice(
    runs, many_photos, undisturbed, tmp_path
) -> None:
    rng, output = random.Random(7), tmp_path / "labels"
    total = len(list(many_photos.iterdir()))
    for _ in range(10):
        lines = rng.randint(0, total // 12)
        assert runs.kill_after(output, lines, rng.uniform(0, 0.2), signal.SIGKILL) == -signal.SIGKILL
    assert 0 < count_lines(output) < total
    (output / ".samcli-torn.tmp").touch()  # as a kill in the middle of a write leaves it
    assert runs.start(output).wait(timeout=600) == 0

    assert without_paths(files(output)) == without_paths(files(undisturbed))
    lines = []
    for line in (output / ".samcli" / "journal.jsonl").read_bytes().splitlines():
        try:
            lines.append(json.loads(line)["key"])
        except ValueError:
            continue  # torn by a kill
    assert Counter(lines) == Counter(path.name for path in many_photos.iterdir())
    assert not [path for path in output.rglob("*") if path.suffix == ".tmp"]


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal__finishes_what_is_in_flight_and_the_next_run_goes_on(
    runs, many_photos, undisturbed, tmp_path, how, status
) -> None:
    output = tmp_path / "labels"
    assert runs.kill_after(output, 5, 0.0, how) == status
    done = journal(output)  # every line whole
    assert 5 <= len(done) < len(list(many_photos.iterdir()))
    assert all((output / Path(row["key"]).with_suffix(".txt")).is_file() for row in done)
    assert not list(output.rglob("*.tmp"))
    assert runs.start(output).wait(timeout=600) == 0
    assert without_paths(files(output)) == without_paths(files(undisturbed))
    assert len(journal(output)) == len(list(many_photos.iterdir()))


def test_second_run_at_the_same_time__is_refused(runs, tmp_path) -> None:
    output = tmp_path / "labels"
    first = runs.start(output)
    try:
        wait_until(lambda: first.poll() is not None or count_lines(output) >= 1)
        first.send_signal(signal.SIGSTOP)  # else it may be done before the second has begun
        assert runs.start(output).wait(timeout=120) == 1
        assert "another samcli is at work" in (tmp_path / "log").read_text()
    finally:
        first.kill()
        first.wait()


def test_home__is_left_alone(many_photos, tmp_path) -> None:
    """Neither ultralytics' settings nor anything else is written outside the cache and the output."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "SAMCLI_CACHE": str(cache),
    }
    code = (
        "from samcli.checkpoints.ultralytics_setup import prepare_ultralytics; prepare_ultralytics();"
        "import ultralytics; ultralytics.YOLO"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(home.iterdir()) == []

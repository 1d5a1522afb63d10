"""Large images are decoded one at a time, and only where they fit."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from samcli import images
from samcli.errors import MemoryShortageError
from samcli.images import memory, read_image
from samcli.images.memory import LARGE, available_memory, room_for


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_available_memory__is_what_the_machine_says_at_most() -> None:
    total = next(ln for ln in Path("/proc/meminfo").read_text().splitlines() if ln.startswith("MemTotal"))
    assert 0 < available_memory() <= int(total.split()[1]) << 10


@pytest.mark.parametrize("version", [1, 2])
def test_control_group__limits_it_and_gives_back_what_is_cached(tmp_path, monkeypatch, version) -> None:
    name = next(iter(Path("/proc/self/cgroup").read_text().splitlines())).split(":", 2)[2].lstrip("/")
    controllers = "" if version == 2 else "memory"
    lines = memory._lines

    def of_this_process(path: Path) -> list[str]:
        return [f"0:{controllers}:/{name}"] if path == Path("/proc/self/cgroup") else lines(path)

    monkeypatch.setattr(memory, "_lines", of_this_process)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    if version == 2:
        group(tmp_path / name, memory__max="max", memory__current="5")
        group(
            tmp_path, memory__max="1000000", memory__current="700000", memory__stat="anon 9\ninactive_file 200000"
        )
    else:
        group(tmp_path / "memory", memory__limit_in_bytes="1000000", memory__usage_in_bytes="700000")
        group(tmp_path / "memory", memory__stat="inactive_file 1\ntotal_inactive_file 200000")
    assert available_memory() == 500_000


def test_limit_of_the_shell__counts() -> None:
    program = (
        "import resource; from samcli.images.memory import available_memory as a; import os\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2); print(a() <= 100 << 20)"
    )
    assert resource.getrlimit(resource.RLIMIT_AS)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


def test_image__that_does_not_fit_says_what_it_takes(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: LARGE)
    with (
        pytest.raises(MemoryShortageError, match=r"takes 0\.3 GB of memory to decode, 0\.3 GB are available"),
        room_for(LARGE),
    ):
        pytest.fail("there is no room")
    with room_for(LARGE - 1):
        pass  # small ones are not counted


def test_large_images__are_decoded_one_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    inside, most = [], []

    def decode() -> None:
        with room_for(LARGE):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=decode) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


@pytest.mark.slow
def test_sixteen_bit_bomb__is_refused_by_its_header_or_decoded_within_its_estimate(tmp_path) -> None:
    """The decoder's peak stays below what is announced: 6,000 x 6,000 pixels of 16-bit colour."""
    import cv2

    path = tmp_path / "bomb.png"
    cv2.imwrite(str(path), np.zeros((6000, 6000, 3), np.uint16))
    with PIL.Image.open(path) as opened:
        cost = images.decoding_cost(opened, path.stat().st_size, wide=True)
    assert path.stat().st_size < 1 << 20
    program = (
        "import sys, cv2, PIL.Image; from samcli.images import read_image\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) << 10\n"
        "read_image(sys.argv[2])\n"
        "before = peak(); read_image(sys.argv[1]); print(peak() - before)"
    )
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "small.png")
    arguments = [sys.executable, "-c", program, path, tmp_path / "small.png"]
    peak = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert cost / 3 < peak < cost


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".jpg", {}), (".jpg", {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),
     (".tif", {"compression": "tiff_lzw", "tiffinfo": {278: 5000}}),
     (".webp", {"method": 0}), pytest.param(".jp2", {}, marks=pytest.mark.slow),
     pytest.param(".avif", {"speed": 10}, marks=pytest.mark.slow)],
    ids=["jpeg", "turned", "one strip", "webp", "jpeg 2000", "avif"],
)  # fmt: skip
def test_cost__is_more_than_decoding_takes_and_not_far_more(tmp_path, suffix, options) -> None:
    path = tmp_path / f"large{suffix}"
    PIL.Image.fromarray(np.zeros((5000, 6000, 3), np.uint8)).save(path, **options)
    with PIL.Image.open(path) as opened:
        cost = images.decoding_cost(opened, path.stat().st_size, wide=False)
    program = (
        "import sys, PIL.Image; from samcli.images import read_image\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) << 10\n"
        "before = peak(); read_image(sys.argv[1]); print(peak() - before)"
    )
    peak = int(
        subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    )
    assert cost / 2 < peak < cost


def test_strips__give_the_same_pixels(tmp_path, monkeypatch) -> None:
    import cv2

    random = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "wide.png"), random.integers(100, 5000, (91, 53, 3)).astype(np.uint16))
    PIL.Image.fromarray(random.integers(0, 255, (91, 53, 3), dtype=np.uint8)).convert("P").save(tmp_path / "p.png")
    PIL.Image.fromarray(random.normal(size=(91, 53)).astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("wide.png", "p.png", "float.tif"):
        whole = read_image(tmp_path / name).pixels
        with monkeypatch.context() as patch:
            patch.setattr(images, "_STRIP", 53 * 7)
            assert np.array_equal(read_image(tmp_path / name).pixels, whole)

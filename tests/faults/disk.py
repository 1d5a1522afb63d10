"""A disk that is really full: a small tmpfs where one can be mounted, else a limit on the size of files."""

from __future__ import annotations

import contextlib
import functools
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.campaign import Campaign, Tally
from faults.forked import all_forked
from faults.injection import Fault

FULL = "full disk"
LIMIT = "file size limit"

_PAGE = 4096


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Callable[[int], bool]]:
    """Mount a tmpfs there; what is yielded sets its size in bytes, or says that none can be mounted."""
    folder.mkdir()

    def sized(size: int) -> bool:
        how = "remount," if folder.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(folder)]
        return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0

    try:
        yield sized
    finally:
        if folder.is_mount():
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def _used(folder: Path) -> int:
    """The bytes that a folder takes on a disk of pages."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // _PAGE) * _PAGE for path in files)


def full_disk(campaign: Campaign, spare: int) -> Tally:
    """Run the command where `spare` pages are free; then make room and run it again."""
    place, tally = campaign.work / f"{campaign.name.replace(' ', '-')}-disk-{spare}", Tally()
    where = f"{campaign.name}: {spare} free pages on the disk"
    with _small_disk(place) as sized:
        if not sized(1 << 28):
            return _limited(campaign, spare)
        folder = place / "trial"
        shutil.copytree(campaign.start, folder)
        sized(_used(place) + spare * _PAGE)
        result = campaign.run(Fault(folder))
        sized(1 << 28)
        _count(FULL, result.status, tally)
        campaign.judge(folder, result, where, tally)
        campaign.again(folder, where, tally)
    return tally


def _limited(campaign: Campaign, spare: int) -> Tally:
    """Run the command where no file may have more than `spare` times 64 bytes; then without that limit."""
    tally, folder = Tally(), campaign.fresh(f"limit-{spare}")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spare * 64, before[1]))
    try:
        result = campaign.run(Fault(folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    where = f"{campaign.name}: files of at most {spare * 64} bytes"
    _count(LIMIT, result.status, tally)
    campaign.judge(folder, result, where, tally)
    campaign.again(folder, where, tally)
    shutil.rmtree(folder, ignore_errors=True)
    return tally


def _count(kind: str, status: int, tally: Tally) -> None:
    if status:
        tally.faults[kind] += 1
        tally.operations["any"] += 1
    else:
        tally.outcomes["had room"] += 1


def run_full_disks(campaign: Campaign, sizes: list[int], jobs: int) -> Tally:
    """Try disks of several sizes, and limits on the size of files."""
    tally = Tally()
    works = [functools.partial(full_disk, campaign, spare) for spare in sizes]
    works += [functools.partial(_limited, campaign, spare) for spare in sizes]
    for ended in all_forked(works, jobs):
        if ended.result is None:
            tally.problem("hang or crash", f"{campaign.name}: full disk", ended.death)
        else:
            tally.add(ended.result)
    return tally

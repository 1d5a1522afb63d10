"""Time commands where people run them: alone, beside a busy process, and under a CPU quota.

    python tests/benchmarks/conditions.py PHOTOS [--sam tiny] [--det tiny] [--rounds 3] [--condition busy quota-1]
        [--peers] [--compare 'NAME=COMMAND'] [--json FILE]

Runs `encode`, `everything` and `auto-annotate`, the same work by the peers (--peers), and any further command
given by --compare (samcli with other settings, say), in turn, round by round, so that a machine whose speed drifts
is fair to all. Prints median wall and CPU seconds per condition, the ratio of the medians to the same command
alone, and how many times as fast as its peer each command is.

The peers are segment-anything (`encode`, `everything`) and Ultralytics (`auto-annotate`). They take checkpoints
that they know: `--sam sam_b.pt --det yolov8n.pt`, with random weights where those are not stored here.

Quotas are set with a cgroup (version 1 or 2) where the user may write there, which takes root or a delegated
group; otherwise those conditions are left out and named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from samcli.bench.models import random_file
from samcli.checkpoints.registry import is_here, known_checkpoint

PERIOD = 100_000
"""Microseconds over which a quota counts."""

GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"))


@dataclass(frozen=True)
class Measured:
    """Median seconds of one command under one condition."""

    command: str
    condition: str
    wall: float
    cpu: float


class NoQuotaError(Exception):
    """No cgroup of this machine may be written."""


@contextlib.contextmanager
def busy() -> Iterator[Callable[[], None]]:
    """Keep one core busy meanwhile."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield lambda: None
        finally:
            process.kill()


@contextlib.contextmanager
def quota(cores: float) -> Iterator[Callable[[], None]]:
    """Give what a child process runs, after it calls what this yields, so many cores at most."""
    group = make_group(cores)
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def make_group(cores: float) -> Path:
    """A new cgroup with a CPU quota.

    Raises:
        NoQuotaError: none can be made.
    """
    for parent in GROUPS:
        group = parent / f"samcli-conditions-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        with contextlib.suppress(OSError):
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text(f"{int(cores * PERIOD)} {PERIOD}")
                return group
            if (group / "cpu.cfs_quota_us").exists():
                (group / "cpu.cfs_period_us").write_text(str(PERIOD))
                (group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD)))
                return group
        group.rmdir()
    raise NoQuotaError("no cgroup with a CPU quota can be made here")


CONDITIONS: dict[str, Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]] = {
    "alone": lambda: contextlib.nullcontext(lambda: None),
    "busy": busy,
    "quota-0.5": lambda: quota(0.5),
    "quota-1": lambda: quota(1.0),
    "quota-1.5": lambda: quota(1.5),
}


PEER = " by peer"
"""Ends the name of a command that does the same work as ours of the name before it."""

POINTS = "16"
"""Clicks a side of `everything`, for both."""

MAX_DET = "10"


def commands_of(given: argparse.Namespace) -> dict[str, list[str]]:
    """The commands by name; `{out}` in them is a new folder for each run."""
    samcli, sam = [sys.executable, "-m", "samcli"], ["--sam", given.sam, "--quiet", "--output", "{out}"]
    photos = str(given.photos)
    own = {
        "encode": [*samcli, "encode", photos, *sam],
        "everything": [*samcli, "everything", photos, *sam, "--points-per-side", POINTS],
        "auto-annotate": [*samcli, "auto-annotate", photos, "--det", given.det, "--max-det", MAX_DET, *sam],
    }
    if given.peers:
        peer = [sys.executable, str(Path(__file__).with_name("peer_commands.py"))]
        own |= {
            f"encode{PEER}": [*peer, "encode", photos, given.sam, "{out}", "cpu"],
            f"everything{PEER}": [*peer, "amg", photos, given.sam, "{out}", POINTS, "cpu"],
            f"auto-annotate{PEER}": [*peer, "auto-annotate", photos, given.det, given.sam, "{out}", MAX_DET, "cpu"],
        }
    return own | {name: shlex.split(line) for name, _, line in (text.partition("=") for text in given.compare)}


def weights(name: str, folder: Path) -> str:
    """A checkpoint's file: as given, stored here, or with random weights."""
    if Path(name).is_file() or name == "tiny":
        return name
    return str(known_checkpoint(name).stored if is_here(name) else random_file(name, folder))


def run(command: list[str], enter: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of a command, that of its children included."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word.replace("{out}", f"{folder}/out") for word in command]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(words, preexec_fn=enter, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(given: argparse.Namespace) -> list[Measured]:
    """Every command under every condition, in turn."""
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(given.rounds):
        for condition in given.condition:
            for name, command in commands_of(given).items():
                try:
                    with CONDITIONS[condition]() as enter:
                        times.setdefault((name, condition), []).append(run(command, enter))
                        print(name, condition, *times[name, condition][-1], file=sys.stderr, flush=True)
                except NoQuotaError as error:
                    print(f"{condition} is left out: {error}", file=sys.stderr)
                    break
    return [
        Measured(name, condition, *(statistics.median(column) for column in zip(*found, strict=True)))
        for (name, condition), found in times.items()
    ]


def show(found: list[Measured]) -> None:
    """A line for each command and condition."""
    walls = {(one.command, one.condition): one.wall for one in found}
    print(f"{'command':22}{'condition':12}{'wall s':>8}{'CPU s':>8}{'x alone':>9}{'x peer':>9}")
    for one in sorted(found, key=lambda one: (one.command, list(CONDITIONS).index(one.condition))):
        alone = walls.get((one.command, "alone"))
        peer = walls.get((one.command + PEER, one.condition))
        print(
            f"{one.command:22}{one.condition:12}{one.wall:8.2f}{one.cpu:8.2f}"
            + (f"{one.wall / alone:9.2f}" if alone else " " * 9)
            + (f"{peer / one.wall:9.2f}" if peer else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--sam", default="tiny")
    parser.add_argument("--det", default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--condition", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--peers", action="store_true", help="also time the same work by the peers")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given.sam, given.det = (weights(name, Path(folder)) for name in (given.sam, given.det))
        found = measure(given)
    show(found)
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=1))


if __name__ == "__main__":
    main()

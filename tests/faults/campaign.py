"""Commands under fault: run each, let one call fail, look at what is left, run again, compare."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from faults.injection import Fault, injected

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
MODELS = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--imgsz", "160"]
SAM = ["--sam", "tiny", "--precision", "fp32"]
OWN = ("journal.jsonl", "run.json", "lock", "running", "large.json", "unfolded")
"""Files that differ from run to run, or that are there only during one."""

COMMANDS: dict[str, list[str]] = {
    "auto-annotate": ["auto-annotate", "images", *MODELS, "-o", "out", "--format", "yolo", "--format", "coco"],
    "auto-annotate masks": ["auto-annotate", "images", *MODELS, "-o", "out", "--format", "masks"],
    "encode": ["encode", "images", *SAM, "-o", "out"],
    "everything": ["everything", "images", *SAM, "-o", "out", "--points-per-side", "2", "--convert-to-rle"],
    "prompt": ["prompt", "images", *SAM, "-o", "out", "--box", "10,10,90,80"],
    "convert": ["convert", "labels", "--to", "coco", "-o", "out"],
    "apply-review": ["apply-review", "labels", "review.json"],
    "dataset": ["dataset", "out", "--images", "images", "--labels", "labels", "--split", ".5/.5"],
}
"""Each on a folder with three small images and their finished labels."""


@dataclass
class Tally:
    """What was tried, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take over what another counted."""
        self.faults += other.faults
        self.operations += other.operations
        self.outcomes += other.outcomes
        self.problems += other.problems


@functools.cache
def _network(path: Path) -> Any:
    from samcli.sam.networks import build_network, read_checkpoint

    return build_network(read_checkpoint(path), path)


def _call(arguments: list[str]) -> tuple[int, str, BaseException | None]:
    """Exit status, standard error, and the exception where it is a bug."""
    from typer.testing import CliRunner

    from samcli.cli import app

    result = CliRunner().invoke(app, arguments)
    bug = result.exception if not isinstance(result.exception, (SystemExit, type(None))) else None
    return result.exit_code, result.stderr, bug


def prepare(folder: Path) -> Path:
    """A folder with images, labels of theirs, and a review of these."""
    from PIL import Image

    images = folder / "images"
    (images / "more").mkdir(parents=True)
    for name, target in (("beads.jpg", "a.png"), ("grey.jpg", "b.png"), ("tiles.webp", "more/c.png")):
        with Image.open(SHAPES / name) as opened:
            opened.convert("RGB").resize((96, 72)).save(images / target)
    with at(folder):
        arguments = ["auto-annotate", "images", *MODELS, "-o", "labels", "--format", "yolo", "--format", "coco"]
        assert _call(arguments)[0] == 0
        manifest = json.loads((folder / "labels" / ".samcli" / "run.json").read_text())
        review = {"format": "samcli-review", "version": 1, "fingerprint": manifest["fingerprint"], "marks": []}
        (folder / "review.json").write_text(json.dumps(review))
    return folder


class at:  # noqa: N801 - reads as a statement: with at(folder)
    """Work in a folder, with networks that are loaded once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._patch = mock.patch("samcli.sam.networks.load_network", _network)

    def __enter__(self) -> None:
        self._before = Path.cwd()
        os.chdir(self._folder)
        self._patch.start()

    def __exit__(self, *error: object) -> None:
        self._patch.stop()
        os.chdir(self._before)


def contents(folder: Path) -> dict[str, bytes]:
    """Files under final names, but for those that differ from run to run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in OWN and not path.name.startswith(".samcli-")
    }


class Campaign:
    """One command, its result without faults, and the trials."""

    def __init__(self, name: str, start: Path, work: Path) -> None:
        self.name, self._start, self._work = name, start, work
        self._arguments = COMMANDS[name]
        fault = Fault(self._fresh())
        status = self._run(fault)[0]
        assert status == 0, f"{name} fails without any fault"
        self.calls = fault.calls
        self._wanted = contents(fault.root)
        self._before = contents(start)

    def _fresh(self) -> Path:
        folder = self._work / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._start, folder)
        return folder

    def _run(self, fault: Fault, extra: tuple[str, ...] = ()) -> tuple[int, str, BaseException | None]:
        pauses = mock.patch("samcli.jobs.executor.time.sleep", lambda seconds: None)
        with at(fault.root), pauses, injected(fault):
            return _call([*self._arguments, *extra])

    def trial(self, nth: int, kind: str, *, lasting: bool = False) -> Tally:
        """Let the `nth` call fail, once or from then on; then run again without."""
        tally, fault = Tally(), Fault(self._fresh(), nth, kind, lasting)
        status, text, bug = self._run(fault)
        if not fault.hit:
            tally.outcomes["not reached"] += 1
            return tally
        tally.faults[kind] += 1
        tally.operations.update(fault.hit.keys())
        where = f"{self.name}: call {nth}, {kind}{' from then on' if lasting else ''}"
        if bug is not None:
            shown = "".join(traceback.format_exception(bug)[-3:])
            tally.problems.append(f"traceback: {where}: {shown}")
        tally.outcomes[f"exit {status}"] += 1
        if status and len(text) > 2000:
            tally.problems.append(f"message: {where}: {text[:200]}")
        self._check(fault.root, status, where, tally)
        self._again(fault.root, where, tally)
        return tally

    def killed(self, nth: int) -> Tally:
        """Let a process of its own be killed at the `nth` call; then run again without."""
        tally, folder = Tally(), self._fresh()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "faults.kill", str(nth), *self._arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != -9:
            tally.outcomes["not reached"] += 1
            return tally
        tally.faults["SIGKILL"] += 1
        where = f"{self.name}: killed at call {nth}"
        self._check(folder, 1, where, tally)
        self._again(folder, where, tally)
        return tally

    def _check(self, folder: Path, status: int, where: str, tally: Tally) -> None:
        """No half file, nothing claimed that is not there."""
        found = contents(folder)
        for name, data in found.items():
            whole = data in (self._wanted.get(name), self._before.get(name)) or _is_partial_whole(name)
            if name.startswith(("out", "labels")) and not whole:
                tally.problems.append(f"half file: {where}: {name} ({len(data)} bytes)")
        if status == 0 and found != self._wanted:
            missing = sorted(name for name in self._wanted if found.get(name) != self._wanted[name])
            tally.problems.append(f"wrong 'all done': {where}: {', '.join(missing)[:300]}")

    def _again(self, folder: Path, where: str, tally: Tally) -> None:
        """The same command ends with the same files, after at most one word of the user's."""
        for extra in ((), ("--retry-failed",), ("--overwrite",)):
            if extra and extra[0] not in _takes(self.name):
                continue
            status, text, bug = self._run(Fault(folder), extra)
            if bug is not None:
                tally.problems.append(f"traceback: {where}: when run again: {bug!r}")
            if status == 0:
                if contents(folder) != self._wanted:
                    tally.problems.append(f"loss: {where}: other files when run again {' '.join(extra)}")
                tally.outcomes[f"whole when run again{' with ' + extra[0] if extra else ''}"] += 1
                return
        tally.problems.append(f"loss: {where}: cannot be run again ({status}): {text[:300]}")


def _is_partial_whole(name: str) -> bool:
    """Files that hold all images: written of those that are done, until all are."""
    return name.endswith(("annotations.json", "data.yaml"))


def _takes(name: str) -> tuple[str, ...]:
    words = name.split()[0]
    jobs = ("auto-annotate", "encode", "everything", "prompt")
    return ("--retry-failed", "--overwrite") if words in jobs else ("--overwrite",) if words == "convert" else ()


def trials(calls: int, step: int, kinds: tuple[str, ...]) -> Iterator[tuple[int, str, bool]]:
    """Every `step`-th call, each with the kinds in turn, and every second one for good."""
    for index, nth in enumerate(range(1, calls + 1, step)):
        for kind in kinds if step == 1 else (kinds[index % len(kinds)],):
            yield nth, kind, False
            if step == 1 or index % 2:
                yield nth, kind, True


def run_campaign(name: str, start: Path, work: Path, step: int, kinds: tuple[str, ...], kills: int) -> Tally:
    """All trials of one command. `kills`: processes that are killed, evenly over the calls."""
    campaign, tally = Campaign(name, start, work), Tally()
    for nth, kind, lasting in trials(campaign.calls, step, kinds):
        tally.add(campaign.trial(nth, kind, lasting=lasting))
    for index in range(kills):
        tally.add(campaign.killed(1 + index * campaign.calls // kills))
    return tally


Report = Callable[[str], None]

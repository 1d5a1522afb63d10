"""Commands under fault: run each, let one call fail, look at what is left, run again, compare.

Each trial has a process of its own (see `forked`), so that one that hangs or dies is known as such. What the
networks make of an image is remembered from the run without faults: the trials are about files.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import re
import shutil
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from faults.forked import all_forked, forked
from faults.injection import KILL, KINDS, Fault, injected

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
MODELS = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--imgsz", "160"]
SAM = ["--sam", "tiny", "--precision", "fp32"]
_CHANGING = ("journal.jsonl", "run.json", "lock", "running", "large.json", "unfolded")
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

PROBLEMS = (
    "loss",
    "half file",
    "wrong 'all done'",
    "wrong claim",
    "litter",
    "hang or crash",
    "traceback",
    "message",
)
"""What a trial can find. All are to be zero."""

PYTHON_TEXT = re.compile(r"Traceback|\[Errno|\b(?!ONNXRuntime)[A-Z]\w+(?:Error|Exception)\b|<class |object at 0x")
"""What no message may show."""


@dataclass
class Tally:
    """What was tried, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    inputs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take over what another counted."""
        self.faults += other.faults
        self.operations += other.operations
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.problems += other.problems

    def problem(self, kind: str, where: str, what: str = "") -> None:
        """Note what is not as promised."""
        self.problems.append(f"{kind}: {where}: {what}"[:2000])


@dataclass(frozen=True)
class Result:
    """What a command ended with; `bug`: the traceback where it is none of our errors."""

    status: int
    text: str
    bug: str = ""
    hit: Counter[str] = field(default_factory=Counter)
    calls: int = 0


@functools.cache
def _built(app: Any) -> Any:
    """The command line, which takes longer to be put together than a small run."""
    import typer.main

    return typer.main.get_command(app)


def call(arguments: list[str]) -> Result:
    """Run a command in this process."""
    from typer.testing import CliRunner

    from samcli.cli import app

    with mock.patch("typer.testing._get_command", _built):
        result = CliRunner().invoke(app, arguments)
    error = result.exception if not isinstance(result.exception, (SystemExit, type(None))) else None
    return Result(
        result.exit_code,
        result.output,
        "".join(traceback.format_exception(error)[-3:]) if error is not None else "",
    )


def prepare(folder: Path) -> Path:
    """A folder with images, labels of theirs, and a review of these."""
    from PIL import Image

    images = folder / "images"
    (images / "more").mkdir(parents=True)
    for name, target in (("beads.jpg", "a.png"), ("grey.jpg", "b.png"), ("tiles.webp", "more/c.png")):
        with Image.open(SHAPES / name) as opened:
            opened.convert("RGB").resize((96, 72)).save(images / target)
    with at(folder, "prepare"):
        arguments = ["auto-annotate", "images", *MODELS, "-o", "labels", "--format", "yolo", "--format", "coco"]
        assert call(arguments).status == 0
        (folder / "review.json").write_text(json.dumps(_review(folder / "labels")))
    return folder


def _review(labels: Path) -> dict[str, Any]:
    """A review that rejects one object of each image, for either reason."""
    from samcli.output.run_folder import RunFolder
    from samcli.review.apply import instance_hash

    run = RunFolder.open(labels)
    marks = [
        {"key": key, "index": 0, "hash": instance_hash(run.record(key).instances[0]), "mark": verdict}
        for key, verdict in zip(run.done(), ("no_object", "bad_mask", "no_object"), strict=True)
    ]
    return {"format": "samcli-review", "version": 2, "fingerprint": run.manifest.fingerprint, "marks": marks}


@functools.cache
def _network(path: Path) -> Any:
    from samcli.sam.networks import build_network, read_checkpoint

    return build_network(read_checkpoint(path), path)


_known: dict[tuple[str, str, int], Any] = {}
"""What the networks have made of an image, by command, key and size of the file."""


def _remembering(name: str, annotate: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A worker's `annotate` that asks its networks once for each image."""

    def remembered(self: Any, images: Any) -> list[Any]:
        for image in images:
            place = name, image.ref.key, image.ref.size
            if place not in _known:
                _known[place] = annotate(self, [image])[0]
        return [_known[name, image.ref.key, image.ref.size] for image in images]

    return remembered


@contextlib.contextmanager
def at(folder: Path, name: str) -> Iterator[None]:
    """Work in a folder, with networks that are loaded once, ask once, and do not pause before they try again."""
    import samcli.jobs.auto_annotate as auto_annotate
    from samcli.jobs.encode import EncodeWorker
    from samcli.jobs.executor import Patience
    from samcli.jobs.worker import Worker

    load_detector = _detector_loader(auto_annotate.load_detector)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch("samcli.sam.networks.load_network", _network),
            mock.patch.object(auto_annotate, "load_detector", load_detector),
            mock.patch.object(Worker, "annotate", _remembering(name, Worker.annotate)),
            mock.patch.object(EncodeWorker, "annotate", _remembering(name, EncodeWorker.annotate)),
            mock.patch.object(Patience, "__init__", _without_pauses),
        ):
            yield
    finally:
        os.chdir(before)


_detectors: dict[Any, Any] = {}


def _detector_loader(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(weights: Any, settings: Any) -> Any:
        if (weights, settings) not in _detectors:
            _detectors[weights, settings] = load(weights, settings)
        return _detectors[weights, settings]

    return loaded


def _without_pauses(self: Any) -> None:
    object.__setattr__(self, "pauses", (0.0, 0.0))
    object.__setattr__(self, "most_in_a_row", 10)


def contents(folder: Path) -> dict[str, bytes]:
    """Files under final names, but for those that differ from run to run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _CHANGING and not _is_temporary(path.relative_to(folder))
    }


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(".samcli-") for part in path.parts)


class Campaign:
    """One command, its result without faults, and the trials."""

    def __init__(self, name: str, start: Path, work: Path) -> None:
        self.name, self.start, self.work = name, start, work
        self._arguments = COMMANDS[name]
        self._before = contents(start)
        folder = self.fresh("reference")
        result = self.run(Fault(folder))
        assert result.status == 0, f"{name} fails without any fault: {result.text}{result.bug}"
        self.calls = result.calls
        self._wanted = contents(folder)
        self._whole: defaultdict[str, set[bytes]] = defaultdict(set)
        """Whole contents by the name of a file, wherever it lies: labels are moved aside as they are."""
        for name, data in (*self._before.items(), *self._wanted.items()):
            self._whole[Path(name).name].add(data)

    def fresh(self, trial: str) -> Path:
        """A copy of the folder that the command works in."""
        folder = self.work / f"{self.name.replace(' ', '-')}-{trial}"
        shutil.copytree(self.start, folder)
        return folder

    def run(self, fault: Fault, *extra: str) -> Result:
        """Run the command once, in this process."""
        with at(fault.root, self.name), injected(fault):
            result = call([*self._arguments, *extra])
        return Result(result.status, result.text, result.bug, fault.hit, fault.calls)

    def trial(self, nth: int, kind: str, *, lasting: bool = False) -> Tally:
        """Let the `nth` call fail, once or from then on; then run again without."""
        where = f"{self.name}: call {nth}, {kind}{' from then on' if lasting else ''}"
        folder, tally = self.fresh(f"{nth}-{kind}-{lasting}"), Tally()
        try:
            fault = Fault(folder, nth, kind, lasting)
            result = self._killed(fault) if kind == KILL else self.run(fault)
            if not result.hit:
                tally.outcomes["not reached, or not such a call"] += 1
                return tally
            tally.faults[kind] += 1
            tally.operations.update(result.hit.keys())
            self.judge(folder, result, where, tally)
            self.again(folder, where, tally)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return tally

    def _killed(self, fault: Fault) -> Result:
        ended = forked(lambda: self.run(fault))
        if ended.result is not None:
            return ended.result
        return Result(137, "killed", hit=Counter({"any": 1}))

    def judge(self, folder: Path, result: Result, where: str, tally: Tally) -> None:
        """No traceback, a message that says something, no half file, nothing claimed that is not there."""
        tally.outcomes[f"exit {result.status}"] += 1
        if result.bug:
            tally.problem("traceback", where, result.bug)
        if result.status and (len(result.text) > 4000 or not result.text.strip()):
            tally.problem("message", where, result.text[:200] or "none")
        if found := PYTHON_TEXT.search(result.text):
            tally.problem("message", where, result.text[max(0, found.start() - 100) : found.end() + 100])
        found = contents(folder)
        for name, data in found.items():
            if data not in self._whole[Path(name).name] and not _is_whole_of_some(name, data):
                tally.problem("half file", where, f"{name} ({len(data)} bytes)")
        if result.status == 0 and found != self._wanted:
            missing = sorted(name for name in self._wanted if found.get(name) != self._wanted[name])
            tally.problem("wrong 'all done'", where, ", ".join(missing)[:300])
        for missing in self._claimed(folder) - {
            name for name, data in found.items() if data == self._wanted.get(name)
        }:
            tally.problem("wrong claim", where, f"the journal says that an image is done; {missing} is not there")

    def _claimed(self, folder: Path) -> set[str]:
        """The files of the images that the journal of a run in `out` says are done."""
        from samcli.output.journal import read_journal

        done = [
            key for key, entry in read_journal(folder / "out" / ".samcli" / "journal.jsonl").items() if entry.done
        ]
        stems = tuple(f"out/{key.rpartition('.')[0]}{end}" for key in done for end in (".", "/"))
        records = {f"out/.samcli/records/{key}.json" for key in done}
        return {name for name in self._wanted if name.startswith(stems)} | records

    def again(self, folder: Path, where: str, tally: Tally) -> None:
        """The same command ends with the same files, after at most one word of the user's."""
        if self.name == "dataset" and contents(folder) == self._wanted:
            tally.outcomes["whole at once"] += 1
            return  # it never goes on in a folder that is not empty
        for extra in ((), ("--retry-failed",), ("--overwrite",)):
            if extra and extra[0] not in _takes(self.name):
                continue
            gc.collect()  # a lock that the fault kept from being given back goes with its process otherwise
            result = self.run(Fault(folder), *extra)
            if result.bug:
                tally.problem("traceback", where, f"when run again: {result.bug}")
            if result.status == 0:
                if (found := contents(folder)) != self._wanted:
                    names = sorted(n for n in {*found, *self._wanted} if found.get(n) != self._wanted.get(n))
                    tally.problem("loss", where, f"other files when run again {' '.join(extra)}: {names[:5]}")
                tally.outcomes[f"whole when run again{' with ' + extra[0] if extra else ''}"] += 1
                return
        tally.problem("loss", where, f"cannot be run again ({result.status}): {result.text[:300]}")


def _is_whole_of_some(name: str, data: bytes) -> bool:
    """Files that hold all images: written of those that are done, until all are."""
    if name.endswith("annotations.json"):
        with contextlib.suppress(ValueError):
            return {"images", "annotations"} <= json.loads(data).keys()
    return name.endswith("data.yaml") and data.endswith(b"\n")


def _takes(name: str) -> tuple[str, ...]:
    command = name.split()[0]
    if command in ("auto-annotate", "encode", "everything", "prompt"):
        return "--retry-failed", "--overwrite"
    return ("--overwrite",) if command == "convert" else ()


MODES = [*((kind, lasting) for kind in KINDS for lasting in (False, True)), (KILL, False)]
"""17 of them, a prime number: a sample of every few trials meets all modes and all calls."""


def trials(calls: int, step: int) -> list[tuple[int, str, bool]]:
    """Return every `step`-th of all pairs of a call and a mode."""
    return [(nth, kind, lasting) for nth in range(1, calls + 1) for kind, lasting in MODES][::step]


def run_campaign(campaign: Campaign, step: int, jobs: int) -> Tally:
    """Make every `step`-th trial of one command, `jobs` of them at once."""
    tally, chosen = Tally(), trials(campaign.calls, step)
    works = [functools.partial(campaign.trial, nth, kind, lasting=lasting) for nth, kind, lasting in chosen]
    for ended in all_forked(works, jobs):
        if ended.result is None:
            tally.problem("hang or crash", f"{campaign.name}: {chosen[ended.number]}", ended.death)
        else:
            tally.add(ended.result)
    return tally

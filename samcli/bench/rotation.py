"""Contenders in turn, each in a process of its own, round by round: a drift of the machine hits all alike."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samcli.bench.commands import environment, last_line
from samcli.bench.setup import Setup
from samcli.errors import SamcliError

Watch = Callable[[str], None]
"""Told, in a line, of what is being measured."""


@dataclass(frozen=True)
class Spread:
    """Least, median and most of some figures."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the statistics of one or more figures."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass
class TaskFigures:
    """Measurements of one task by one contender: a figure per round, averaged over the images."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    masks: int = 0
    """In all images together."""


@dataclass
class ContenderFigures:
    """Measurements of one tool with one model. `missing`: why it was not."""

    tool: str
    load_seconds: float = 0.0
    tasks: dict[str, TaskFigures] = field(default_factory=dict)
    missing: str | None = None

    @property
    def peak_mb(self) -> float | None:
        """Return the peak memory of the task that needs the most, in megabytes."""
        return max((figures.peak_mb for figures in self.tasks.values()), default=None)


class WorkerProcess:
    """A contender's process, seen from outside."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, *setup.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(setup.threads),
            encoding="utf-8",
        )

    def load(self) -> dict[str, Any]:
        """Let it load its model; what it can do. See `ask`."""
        return self._exchange(self.setup.as_json())

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer; one that has the key `unsupported` or `error` is its last.

        Raises:
            SamcliError: it has died.
        """
        return self._exchange(json.dumps(request))

    def _exchange(self, line: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SamcliError("the worker has no pipes")
        with contextlib.suppress(BrokenPipeError):  # then it has nothing to answer either
            stdin.write(line + "\n")
            stdin.flush()
        answer = stdout.readline()
        if not answer:
            self._process.wait()
            reason = last_line(self._errors.read, self._errors.seek)
            raise SamcliError(f"{self.setup.tool} with {self.setup.model} died: {reason[:300]}")
        content: dict[str, Any] = json.loads(answer)
        return content

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()


@contextlib.contextmanager
def started(setups: Sequence[Setup]) -> Iterator[list[WorkerProcess]]:
    """Processes for contenders, ended whatever happens."""
    workers: list[WorkerProcess] = []
    try:
        for setup in setups:
            workers.append(WorkerProcess(setup))
        yield workers
    finally:
        for worker in workers:
            worker.close()


def run_rotation(
    setups: Sequence[Setup], tasks: Sequence[str], rounds: int, watch: Watch = lambda line: None
) -> list[ContenderFigures]:
    """Measure contenders, which share their images: in each round each task on each image, one after the other.

    Before the first round each warms up, unmeasured. One that cannot run its model,
    or fails, is left out from there on, with the reason.
    """
    figures = [ContenderFigures(setup.tool) for setup in setups]
    with started(setups) as workers:
        pairs = list(zip(workers, figures, strict=True))
        for worker, own in pairs:
            watch(f"{worker.setup.model}: {worker.setup.tool} loads")
            loaded = _or_missing(own, worker.load)
            if loaded is not None:
                own.load_seconds = loaded["load_seconds"]
                own.tasks = {task: TaskFigures() for task in tasks if task in loaded["tasks"]}
                _or_missing(own, lambda worker=worker: worker.ask(warm_up=0))  # type: ignore[misc]
        for number in range(rounds):
            _one_round(pairs, number, rounds, watch)
    return figures


def _or_missing(own: ContenderFigures, answer: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return a worker's answer, or None, with the reason noted, if it has none."""
    if own.missing is not None:
        return None
    try:
        content = answer()
    except SamcliError as error:
        content = {"error": str(error)}
    own.missing = content.get("unsupported") or content.get("error")
    if own.missing is not None:
        own.tasks = {}
    return None if own.missing is not None else content


def _one_round(
    pairs: Sequence[tuple[WorkerProcess, ContenderFigures]], number: int, rounds: int, watch: Watch
) -> None:
    """Each task of each image by all in turn; another begins in each round."""
    order = [*pairs[number % len(pairs) :], *pairs[: number % len(pairs)]]
    images = len(pairs[0][0].setup.images)
    sums: dict[tuple[int, str], list[dict[str, Any]]] = {}
    tasks = list(dict.fromkeys(task for _, own in pairs for task in own.tasks))
    for image in range(images):
        for task in tasks:
            for worker, own in order:
                if task not in own.tasks:
                    continue
                watch(f"{worker.setup.model}: round {number + 1} of {rounds}, {worker.setup.tool}, {task}")
                answer = _or_missing(own, lambda w=worker, t=task, i=image: w.ask(task=t, image=i))  # type: ignore[misc]
                if answer is not None:
                    sums.setdefault((id(own), task), []).append(answer)
    for _, own in pairs:
        for task, figures in own.tasks.items():
            _add(figures, sums[id(own), task])


def _add(figures: TaskFigures, answers: Sequence[Mapping[str, Any]]) -> None:
    figures.seconds.append(statistics.fmean(answer["seconds"] for answer in answers))
    figures.cpu_seconds.append(statistics.fmean(answer["cpu_seconds"] for answer in answers))
    figures.peak_mb = max(figures.peak_mb, *(answer["peak_mb"] for answer in answers))
    figures.masks = sum(answer["masks"] for answer in answers)


def ratios(own: ContenderFigures, other: ContenderFigures) -> dict[str, Spread]:
    """Return the slowdown of the other tool, by task: a ratio per round."""
    return {
        task: Spread.of(
            [theirs / ours for ours, theirs in zip(figures.seconds, other.tasks[task].seconds, strict=True)]
        )
        for task, figures in own.tasks.items()
        if task in other.tasks and figures.seconds
    }

"""Measure what the driver takes for very many images: memory and processor time to list, plan, run and resume.

    python tests/benchmarks/scale.py [--images 1000000] [--shard 1/8]

The listing of the store, the labels in it and the outcomes of the networks are simulated; everything else is what a
run does: refs, plan, journal, summary. Nothing is computed, and nothing but the journal is written.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from samcli.config import PromptOptions
from samcli.jobs.inputs import Inputs
from samcli.jobs.plan import Plan, find_scope, make_plan
from samcli.jobs.prompt import Prompt
from samcli.jobs.summary import Summary
from samcli.output.journal import Journal
from samcli.output.layout import label_name, record_name
from samcli.output.manifest import write_manifest
from samcli.output.remote import RemoteFolder
from samcli.stores.source import ImageSource
from samcli.stores.store import Entry, Store
from samcli.types import Outcome, Status

PER_FOLDER = 10_000
_URL = "memory://simulated/photos"


def names(folder: int, count: int) -> Iterator[str]:
    """Names of the images in a folder."""
    return (f"{number:010}.jpg" for number in range(folder * PER_FOLDER, min((folder + 1) * PER_FOLDER, count)))


@dataclass(frozen=True)
class SimulatedSource(ImageSource):
    """Lists `count` images, as a store would page by page."""

    count: int = 0

    def _files(self) -> Iterator[tuple[Entry, int | None]]:
        for folder in range(-(-self.count // PER_FOLDER)):
            for name in names(folder, self.count):
                number = int(name[:10])
                yield (
                    Entry(f"{folder:06}/{name}", 100_000 + number % 50_000, 1_700_000_000_000_000_000 + number),
                    None,
                )


@dataclass(frozen=True)
class SimulatedFolder(RemoteFolder):
    """Has the label and the record of every image, once there is a manifest."""

    count: int = 0

    def names_in(self, folder: str) -> frozenset[str]:
        name = Path(folder).name
        if not name.isdecimal() or not (self.local / ".samcli" / "run.json").exists():
            return frozenset()
        of_record = "/records/" in folder
        return frozenset(
            record_name(one) if of_record else label_name(one, ".txt", False)
            for one in names(int(name), self.count)
        )


@dataclass(frozen=True)
class Phase:
    """What a part of a run took: wall and processor seconds, and the most memory until its end."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def measured(name: str, start: tuple[float, float]) -> Phase:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    phase = Phase(name, time.perf_counter() - start[0], time.process_time() - start[1], peak)
    print(f"{name:<8} {phase.seconds:8.1f} s {phase.cpu_seconds:8.1f} CPU s {phase.peak_mb:8.0f} MB", flush=True)
    return phase


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def plan_of(folder: Path, count: int, shard: str | None, label: str) -> tuple[Plan, list[Phase]]:
    """List the images and plan the run, as `samcli prompt` does."""
    remote = SimulatedFolder(Store(_URL + "-labels"), folder, "1", count=count)
    job = Prompt(PromptOptions.of(box=("1,1,9,9",), sam="tiny", precision="fp32", shard=shard))
    start = now()
    inputs = Inputs(_URL, source=SimulatedSource(Store(_URL), count=count))
    scope = find_scope(inputs, remote, job)
    phases = [measured(f"list{label}", start)]
    start = now()
    plan = make_plan(scope, {})
    return plan, [*phases, measured(f"plan{label}", start)]


def settle_all(plan: Plan) -> Phase:
    """Write the journal and the summary of a run whose workers cost nothing."""
    start = now()
    write_manifest(plan.layout.manifest, plan.manifest)
    summary = Summary(plan.layout.place, {}, plan.total)
    with Journal(plan.layout.journal, plan.manifest.run) as journal:
        for number, ref in enumerate(plan.todo):
            outcome = Outcome(ref, Status.DONE, {number % 7: 1 + number % 50}, seconds=number % 997 / 1000)
            journal.append(replace(outcome, digest=plan.digests.get(ref.key, "")))
            summary.add(outcome)
    return measured("settle", start)


def measure(count: int, shard: str | None) -> Mapping[str, object]:
    """Return the figures of a run and of the one that goes on with it, one after the other in this process."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        (output / ".samcli").mkdir(parents=True)
        plan, phases = plan_of(output, count, shard, "")
        assert len(plan.todo) == plan.total
        phases.append(settle_all(plan))
        size = plan.layout.journal.stat().st_size
        todo = len(plan.todo)
        del plan
        plan, resumed = plan_of(output, count, shard, " again")
        assert (len(plan.done), len(plan.todo)) == (todo, 0)
        start = now()
        Summary(plan.layout.place, {}, plan.total).add_earlier(plan.done, plan.failed)
        phases += [*resumed, measured("summary", start)]
    return {"images": count, "shard": shard, "journal_mb": size / 1e6, "phases": [vars(phase) for phase in phases]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shard")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.images, arguments.shard)))

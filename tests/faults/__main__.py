"""Run the whole suite of faults and hostile inputs, and print what was tried and what came of it.

PYTHONPATH=tests python -m faults [--step N] [--mutants N] [--all]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the trials share the cores

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.campaign import COMMANDS, Campaign, Tally, prepare, run_campaign
from faults.corpus import corpus, prepare_corpus, run_corpus
from faults.disk import run_full_disks

STEP = 29
"""No multiple of the number of modes: see `campaign.MODES`."""

MUTANTS = 5
"""Of each good file."""

SPARE_PAGES = [0, 1, 3, 8, 15]
"""Free pages of the small disks."""

_COUNTED = {
    "losses": ("loss", "changed"),
    "half files": ("half file",),
    "wrong 'all done'": ("wrong 'all done'", "wrong claim"),
    "code executed": ("code executed",),
    "tracebacks": ("traceback",),
    "hangs and crashes": ("hang or crash",),
    "messages that do not help, or steer the terminal": ("message", "terminal"),
}


def suite(step: int, mutants: int, jobs: int, commands: list[str]) -> Iterator[tuple[str, Tally]]:
    """Yield what came of each part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SAMCLI_CACHE"] = f"{folder}/cache"
        start = prepare(folder / "start")
        for command in commands:
            campaign = Campaign(command, start, folder)
            tally = run_campaign(campaign, step, jobs)
            tally.add(run_full_disks(campaign, SPARE_PAGES, jobs))
            yield command, tally
        if mutants:
            prepare_corpus(start)
            yield "hostile inputs", run_corpus(corpus(start, mutants), start, folder, jobs)


def main(step: int, mutants: int, jobs: int, commands: list[str]) -> int:
    """Print the figures; return the exit status: 1 where anything is not as promised."""
    total, begun = Tally(), time.monotonic()
    for name, tally in suite(step, mutants, jobs, commands):
        tried = sum(tally.faults.values()) + sum(tally.inputs.values())
        print(f"{name}: {tried} tried, {len(tally.problems)} problems", flush=True)
        print("".join(f"  {problem}\n" for problem in tally.problems), end="", flush=True)
        total.add(tally)
    _show("faults by kind", total.faults)
    _show("faults by operation", total.operations)
    _show("inputs by kind", total.inputs)
    _show("outcomes", total.outcomes)
    for title, kinds in _COUNTED.items():
        print(f"{title} = {sum(problem.startswith(kinds) for problem in total.problems)}")
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    print(f"seconds: {time.monotonic() - begun:.0f}, of processors: {spent:.0f}")
    return int(bool(total.problems))


def _show(title: str, counts: Counter[str]) -> None:
    print(f"{title}: {sum(counts.values())}: " + ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--step", type=int, default=STEP, help="try every so many faults (%(default)s)")
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="damaged versions of each file (%(default)s)")
    parser.add_argument("--all", action="store_true", help="every fault, and 100 mutants: takes hours")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (%(default)s)")
    parser.add_argument("--command", choices=COMMANDS, action="append", help="only this one; can be repeated")
    given = parser.parse_args()
    if given.all:
        given.step, given.mutants = 1, 100
    sys.exit(main(given.step, 0 if given.command else given.mutants, given.jobs, given.command or list(COMMANDS)))

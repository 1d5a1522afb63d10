"""Run the whole suite of faults and print what was tried and what came of it.

PYTHONPATH=tests python -m faults [--step N]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the trials share the cores

import argparse
import sys
import tempfile
import time
from pathlib import Path

from faults.campaign import COMMANDS, PROBLEMS, Campaign, Tally, prepare, run_campaign
from faults.disk import run_full_disks

STEP = 19
"""No multiple of the number of modes: see `campaign.MODES`."""

SPARE_PAGES = [0, 1, 3, 8, 15]


def main(step: int, jobs: int, commands: list[str]) -> int:
    """Return the exit status: 1 where anything is not as promised."""
    total, begun = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMCLI_CACHE"] = f"{folder}/cache"
        start = prepare(Path(folder) / "start")
        for name in commands:
            campaign = Campaign(name, start, Path(folder))
            tally = run_campaign(campaign, step, jobs)
            tally.add(run_full_disks(campaign, SPARE_PAGES, jobs))
            print(f"{name}: {sum(tally.faults.values())} faults, {len(tally.problems)} problems", flush=True)
            print("".join(f"  {problem}\n" for problem in tally.problems), end="", flush=True)
            total.add(tally)
    for title, counts in (("faults", total.faults), ("operations", total.operations), ("outcomes", total.outcomes)):
        print(f"{title}: {sum(counts.values())}: " + ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))
    for kind in PROBLEMS:
        print(f"{kind}: {sum(problem.startswith(kind) for problem in total.problems)}")
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    print(f"seconds: {time.monotonic() - begun:.0f}, of processors: {spent:.0f}")
    return int(bool(total.problems))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--step", type=int, default=STEP, help="try every so many faults; 1: all (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (%(default)s)")
    parser.add_argument("--command", choices=COMMANDS, action="append", help="only this one; can be repeated")
    given = parser.parse_args()
    sys.exit(main(given.step, given.jobs, given.command or list(COMMANDS)))

"""Run the whole suite of faults and print what was tried and what came of it.

    PYTHONPATH=tests python -m faults [STEP]

STEP: every so many calls, 1 for all of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from faults.campaign import COMMANDS, Tally, prepare, run_campaign
from faults.injection import KINDS


def main(step: int) -> int:
    total = Tally()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMCLI_CACHE"] = f"{folder}/cache"
        start = prepare(Path(folder) / "start")
        for name in COMMANDS:
            tally = run_campaign(name, start, Path(folder), step, KINDS, kills=4)
            print(f"{name}: {sum(tally.faults.values())} faults, {len(tally.problems)} problems", flush=True)
            total.add(tally)
    for title, counts in (("faults", total.faults), ("operations", total.operations), ("outcomes", total.outcomes)):
        print(f"{title}: " + ", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    for kind in ("loss", "half file", "wrong 'all done'", "traceback", "message"):
        print(f"{kind}: {sum(problem.startswith(kind) for problem in total.problems)}")
    for problem in total.problems[:40]:
        print(problem)
    return int(bool(total.problems))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))

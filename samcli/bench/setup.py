"""Define what a contender is told: plain values that can be sent through a pipe to its process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from samcli.errors import UsageError

TASKS = ("encode", "box", "everything")
"""The image encoder; masks of boxes for an image that is encoded; masks of everything, encoding included."""

OWN = "samcli"


class UnsupportedError(UsageError):
    """A tool has no way to run this model: not an error of the run, but a gap in the table."""


@dataclass(frozen=True)
class Setup:
    """One tool with one model, and what it is asked.

    `tool`: `samcli`, or another tool that `program` serves: a script, for Python to run, that calls `worker.main`
    with a loader of its own. `model`: its name in the table; `weights`: its file. `boxes`: prompts of
    the task `box`. `points_per_side`: of the grid of the task `everything`. `device` and `threads` hold for all
    tools, `precision` for samcli: the others compute as they come, in fp32. `det`: a detector whose boxes take the
    place of the drawn ones when samcli is taken apart into stages.
    """

    tool: str
    model: str
    weights: str
    images: tuple[str, ...]
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    boxes: int = 10
    det: str | None = None
    points_per_side: int = 32
    program: tuple[str, ...] = ("-m", "samcli.bench.worker")

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Setup:
        """Read what `as_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, **{name: tuple(values[name]) for name in ("images", "program")}})

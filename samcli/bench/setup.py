"""What a contender is told: plain values, so that they go through a pipe to its process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from samcli.errors import UsageError

TASKS = ("encode", "box", "everything")
"""The image encoder; masks of boxes for an image that is encoded; masks of everything, encoding included."""

PEERS = {
    "segment-anything": "segment_anything",
    "ultralytics": "ultralytics",
    "transformers": "transformers",
}
"""What samcli can be held against, and the module that it is."""

OWN = "samcli"


class UnsupportedError(UsageError):
    """A tool has no way to run this model: not an error of the run, but a gap in the table."""


def check_peer(tool: str) -> None:
    """Refuse a peer that is not installed.

    Raises:
        UsageError: it names the extra.
    """
    if find_spec(PEERS[tool]) is None:
        raise UsageError(f"{tool} is not installed: pip install 'samcli[bench]'")


@dataclass(frozen=True)
class Setup:
    """One tool with one model, and what it is asked.

    `tool`: `samcli` or one of the peers. `model`: its name in the table; `weights`: its file. `boxes`: prompts of
    the task `box`. `points_per_side`: of the grid of the task `everything`. `device` and `threads` hold for all
    tools, `precision` for samcli: the others compute as they come, in fp32.
    """

    tool: str
    model: str
    weights: str
    images: tuple[str, ...]
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    boxes: int = 10
    points_per_side: int = 32

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Setup:
        """What `as_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, "images": tuple(values["images"])})

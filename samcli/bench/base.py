"""Define the interface of a tool under measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from samcli.checkpoints.pickles import PickledNetwork, inspect_pickle
from samcli.errors import WeightsError
from samcli.types import Image


class Contender(Protocol):
    """A tool with a model loaded. `tasks`: those that it can do; each returns how many masks came of it."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order in which they are to be run on an image."""
        ...

    def warm_up(self, image: Image) -> None:
        """Every task once, as small as it can be: first calls import, allocate and choose."""
        ...

    def prepare(self, task: str, image: Image) -> None:
        """Do what precedes the task and is not measured, such as encoding the image before a box prompt."""
        ...

    def run(self, task: str, image: Image) -> int:
        """Do it, to the end."""
        ...


def pickled_network(path: Path) -> PickledNetwork | None:
    """Return the network stored whole in a .pt file, as Ultralytics saves detectors; None for tensors alone."""
    try:
        return inspect_pickle(path) if path.suffix == ".pt" else None
    except WeightsError:
        return None

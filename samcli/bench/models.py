"""From the names on the command line to files that can be measured, and what is known of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from samcli.bench.commands import run_command
from samcli.checkpoints.registry import is_here, known_checkpoint
from samcli.errors import UsageError
from samcli.models import describe_model

TINY = "tiny"


@dataclass(frozen=True)
class BenchModel:
    """A model to measure. `weights`: its file, or `tiny`. `megabytes` of the file, `parameters` in it."""

    name: str
    weights: str
    megabytes: float
    parameters: int | None
    random: bool = False


def find_model(name: str, folder: Path, *, random_weights: bool, watch: Callable[[str], None]) -> BenchModel:
    """Return the model's file: given, in the cache, embedded, or made in `folder` with random weights.

    Raises:
        UsageError: it is not here, and random weights were not asked for.
        WeightsError: no such name is known, or the file is not what it should be.
    """
    weights, random = name, False
    if not is_here(name):
        if not random_weights:
            raise UsageError(
                f"{name} is not here: `samcli models fetch {name}` downloads it, --random-weights does without"
            )
        watch(f"{name}: making random weights")
        weights, random = str(random_file(name, folder)), True
    elif name != TINY and not Path(name).expanduser().exists():
        weights = str(known_checkpoint(name).stored)
    facts = describe_model(weights)[0]
    return BenchModel(Path(name).name, weights, facts.bytes / 1e6, facts.parameters, random)


def random_file(name: str, folder: Path) -> Path:
    """Return a file with random weights, made by a process of its own: building a network takes memory."""
    folder.mkdir(parents=True, exist_ok=True)
    run_command([sys.executable, "-m", "samcli.bench.random_weights", name, str(folder)])
    return folder / name

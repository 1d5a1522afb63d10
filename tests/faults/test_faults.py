"""A call of the system fails: no half file, no wrong claim, no traceback, and the next run mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.campaign import COMMANDS, prepare, run_campaign
from faults.injection import KINDS


@pytest.fixture(scope="session")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small images with finished labels."""
    return prepare(tmp_path_factory.mktemp("faults") / "start")


@pytest.mark.parametrize(("name", "step"), [("auto-annotate", 41), ("convert", 4)])
def test_fault__at_some_calls_costs_nothing(name, step, start, tmp_path) -> None:
    tally = run_campaign(name, start, tmp_path, step, KINDS, kills=0)
    assert sum(tally.faults.values()) > 2
    assert tally.problems == []


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_fault__at_any_call_costs_nothing(name, start, tmp_path) -> None:
    tally = run_campaign(name, start, tmp_path, 3, KINDS, kills=4)
    assert tally.problems == []

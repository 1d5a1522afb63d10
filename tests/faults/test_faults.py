"""Whatever call of the system fails: no half file, no wrong claim, no traceback, and the next run mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.__main__ import SPARE_PAGES, STEP
from faults.campaign import COMMANDS, Campaign, prepare, run_campaign
from faults.disk import run_full_disks


@pytest.fixture(scope="session")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small images with finished labels."""
    return prepare(tmp_path_factory.mktemp("faults") / "start")


@pytest.mark.parametrize(("name", "step"), [("auto-annotate", 151), ("convert", 31)])
def test_fault__at_some_calls_costs_nothing(name, step, start, tmp_path) -> None:
    tally = run_campaign(Campaign(name, start, tmp_path), step, jobs=1)
    assert sum(tally.faults.values()) > 2
    assert tally.problems == []


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_fault__at_any_call_costs_nothing(name, start, tmp_path) -> None:
    campaign = Campaign(name, start, tmp_path)
    tally = run_campaign(campaign, step=STEP, jobs=2)
    tally.add(run_full_disks(campaign, SPARE_PAGES, jobs=2))
    assert tally.problems == []

"""Whatever call of the system fails, and whatever a file holds: no loss, no wrong claim, no traceback."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from faults.__main__ import MUTANTS, SPARE_PAGES, STEP
from faults.campaign import COMMANDS, Campaign, prepare, run_campaign
from faults.corpus import corpus, prepare_corpus, run_corpus
from faults.disk import run_full_disks
from faults.forked import forked


@pytest.fixture(scope="session")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small images with finished labels, and good files of every kind that is read."""
    folder = prepare(tmp_path_factory.mktemp("faults") / "start")
    prepare_corpus(folder)
    return folder


@pytest.mark.parametrize(("name", "step"), [("auto-annotate", 401), ("convert", 101)])
def test_fault__at_some_calls_costs_nothing(name, step, start, tmp_path) -> None:
    tally = run_campaign(Campaign(name, start, tmp_path), step, jobs=1)
    assert sum(tally.faults.values()) > 3
    assert tally.problems == []


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_fault__at_any_call_costs_nothing(name, start, tmp_path) -> None:
    campaign = Campaign(name, start, tmp_path)
    tally = run_campaign(campaign, step=STEP, jobs=2)
    tally.add(run_full_disks(campaign, SPARE_PAGES, jobs=2))
    assert tally.problems == []


def test_hostile_input__of_some_kinds_is_refused_in_a_line(start, tmp_path) -> None:
    tally = run_corpus(corpus(start, 1)[::11], start, tmp_path, jobs=1)
    assert len(tally.inputs) > 12
    assert tally.problems == []


@pytest.mark.faults
def test_hostile_input__of_any_kind_is_refused_in_a_line(start, tmp_path) -> None:
    assert run_corpus(corpus(start, MUTANTS), start, tmp_path, jobs=2).problems == []


def test_trial__that_hangs_or_dies_is_a_problem() -> None:
    assert forked(lambda: time.sleep(30), patience=0.2).death == "hung"
    assert forked(lambda: os.kill(os.getpid(), signal.SIGTERM)).death == "ended by SIGTERM"
    assert forked(lambda: 7).result == 7


def test_campaign__sees_a_half_file(start, tmp_path, monkeypatch) -> None:
    """The judge itself: a file that is written in place, without a temporary one, is caught."""
    campaign = Campaign("convert", start, tmp_path)
    monkeypatch.setattr("samcli.labels.convert.write_atomic_pieces", _write_in_place)
    tallies = (campaign.trial(nth, "short") for nth in range(campaign.calls, 0, -1))
    assert any(problem.startswith("half file") for tally in tallies for problem in tally.problems)


def _write_in_place(path: Path, pieces: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in pieces:  # type: ignore[attr-defined]
            file.write(piece)

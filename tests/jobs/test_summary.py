"""Summary and status: what became of a run, from its outcomes and from its journal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samcli.errors import UsageError
from samcli.jobs.status import read_status
from samcli.jobs.summary import Summary
from samcli.output.journal import Journal, JournalEntry
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.types import ImageRef, Outcome, Status, Withheld

NAMES = {0: "person", 5: "bus"}


def done(key: str, instances: dict[int, int] | None = None, seconds: float = 0.5) -> Outcome:
    return Outcome(ImageRef(Path("/in"), key, 100, 5), Status.DONE, instances or {}, seconds)


def failed(key: str, error: str | None = "truncated") -> Outcome:
    return Outcome(ImageRef(Path("/in"), key, 100, 5), Status.FAILED, error=error)


def entry(key_done: bool, instances: tuple[tuple[int, int], ...] = (), error: str | None = None) -> JournalEntry:
    return JournalEntry(100, 5, "run", key_done, instances, 0.5, error)


def summary(total: int = 10, **more: Any) -> Summary:
    return Summary(Path("/out"), NAMES, total, **more)


# Summary


def test_summary__counts_this_run() -> None:
    found = summary()
    for outcome in (done("1.jpg", {0: 2, 5: 1}), done("2.jpg", {0: 1}), done("3.jpg"), failed("4.jpg")):
        found.add(outcome)
    assert (found.done, found.empty, found.new_failures, found.remaining) == (3, 1, 1, 6)
    assert found.instances == {0: 3, 5: 1}
    assert found.failures == {"4.jpg": "truncated"}


def test_summary__counts_earlier_runs_apart_from_this_one() -> None:
    found = summary()
    found.add_earlier(
        {"1.jpg": entry(True, ((0, 2),)), "2.jpg": entry(True)}, {"3.jpg": entry(False, error="truncated")}
    )
    found.add(done("4.jpg", {0: 1}))
    assert (found.skipped, found.done, found.new_failures, found.remaining) == (2, 1, 0, 6)
    assert found.instances == {0: 3}
    assert found.failures == {"3.jpg": "truncated"}


def test_summary__a_failure_without_a_reason_is_still_a_failure() -> None:
    found = summary()
    found.add(failed("1.jpg", None))
    found.add_earlier({}, {"2.jpg": entry(False)})
    assert found.failures == {"1.jpg": "unknown", "2.jpg": "unknown"}


@pytest.mark.parametrize(
    ("failures", "stopped_by", "status"),
    [
        ({}, None, 0),
        ({"1.jpg": "truncated"}, None, 3),
        ({}, "SIGINT", 130),
        ({"1.jpg": "truncated"}, "SIGINT", 130),
        ({}, "SIGTERM", 143),
        ({"1.jpg": "truncated"}, "--max-failures 1", 3),
    ],
)
def test_exit_status__says_how_it_ended(failures: dict[str, str], stopped_by: str | None, status: int) -> None:
    assert summary(failures=failures, stopped_by=stopped_by).exit_status == status


def test_exit_status__counts_failures_of_earlier_runs_too() -> None:
    found = summary()
    found.add_earlier({}, {"1.jpg": entry(False, error="truncated")})
    assert found.exit_status == 3


def test_as_json__is_one_document_with_class_names() -> None:
    found = summary(seconds=1.23456, stages={"decode": 0.98765})
    found.add(done("1.jpg", {5: 2, 0: 1, 7: 4}))
    found.add(failed("zażółć\n.jpg", "truncated"))
    text = found.as_json()
    assert "\n" not in text
    assert json.loads(text) == {
        "output": "/out",
        "images": 10,
        "done": 1,
        "skipped": 0,
        "empty": 0,
        "rows": 7,
        "low_polygon_iou": {},
        "dropped": 0,
        "incomplete": [],
        "excluded": [],
        "failed": 1,
        "remaining": 8,
        "without_prompts": 0,
        "passed_over": {},
        "instances": 7,
        "instances_by_class": {"person": 1, "bus": 2, "7": 4},
        "instances_by_author": {"machine": 7, "existing": 0, "corrected": 0, "human": 0},
        "failures": {"zażółć\n.jpg": "truncated"},
        "seconds": 1.235,
        "stages": {"decode": 0.988},
        "notes": [],
        "precision": None,
        "threads": None,
        "stopped_by": None,
    }


def test_withheld_images__of_this_run_and_earlier_ones_are_listed() -> None:
    found = summary()
    earlier = JournalEntry(1, 2, "run", True, ((0, 1),), withheld=Withheld.EXCLUDED)
    found.add_earlier({"1.jpg": earlier, "2.jpg": earlier._replace(withheld=None)}, {})
    found.add(replace(done("3.jpg", {0: 1}), withheld=Withheld.INCOMPLETE))
    assert (found.as_dict()["incomplete"], found.as_dict()["excluded"]) == (["3.jpg"], ["1.jpg"])


# Status


def begin(output: Path, fingerprint: str = "f" * 64, total: int = 5) -> Manifest:
    manifest = Manifest(Recipe({"conf": 0.25}), fingerprint, "../images", names=NAMES, total=total)
    write_manifest(Layout(output, output).manifest, manifest)
    return manifest


def write(output: Path, run: str, *outcomes: Outcome) -> None:
    with Journal(Layout(output, output).journal, run) as journal:
        for outcome in outcomes:
            journal.append(outcome)


def test_status__is_read_from_the_output_folder_alone(tmp_path: Path) -> None:
    run = begin(tmp_path).run
    write(tmp_path, run, done("1.jpg", {0: 2}), done("2.jpg"), failed("3.jpg"))
    status = read_status(tmp_path)
    assert (status.total, status.done, status.empty, status.skipped, status.remaining) == (5, 2, 1, 0, 2)
    assert status.instances == {0: 2}
    assert status.failures == {"3.jpg": "truncated"}
    assert status.names == NAMES
    assert status.seconds == 1.0


def test_status__counts_an_image_that_was_tried_again_once(tmp_path: Path) -> None:
    run = begin(tmp_path).run
    write(tmp_path, run, failed("1.jpg"), done("1.jpg", {0: 1}), done("1.jpg", {0: 4}))
    status = read_status(tmp_path)
    assert (status.done, status.remaining, status.failures) == (1, 4, {})
    assert status.instances == {0: 4}


def test_status__does_not_count_lines_of_another_recipe(tmp_path: Path) -> None:
    begin(tmp_path)
    write(tmp_path, "another recipe", done("1.jpg", {0: 2}), failed("2.jpg"))
    status = read_status(tmp_path)
    assert (status.done, status.failures, status.remaining) == (0, {}, 5)
    assert not status.instances


def test_status__of_a_run_that_has_just_begun_is_all_to_do(tmp_path: Path) -> None:
    begin(tmp_path)
    assert read_status(tmp_path).remaining == 5


def test_status__disturbs_nothing(tmp_path: Path) -> None:
    write(tmp_path, begin(tmp_path).run, done("1.jpg"))
    journal = Layout(tmp_path, tmp_path).journal
    journal.write_bytes(journal.read_bytes()[:-5])  # a line that is being written
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    read_status(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_status__takes_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path / "labels")
    monkeypatch.chdir(tmp_path / "labels")
    assert read_status(Path()).output == tmp_path / "labels"


def test_status__where_no_run_was_begun_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no run in {tmp_path}: it has no \.samcli/run\.json"):
        read_status(tmp_path)


def test_prompts_without_image__make_the_exit_status_3(tmp_path) -> None:
    summary = Summary(tmp_path, {}, 1, done=1, lost={"b.jpg": "no image of that name"})
    assert (summary.exit_status, summary.as_dict()["prompts_without_image"]) == (3, dict(summary.lost))
    assert "prompts_without_image" not in Summary(tmp_path, {}, 1).as_dict()

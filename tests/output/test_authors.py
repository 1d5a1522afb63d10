"""Every command counts the objects of the machine, of earlier labels, and of people alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finding import make_images, mask_of, run
from runs import journal

from samcli.output.authors import authors_but_machine, authors_of
from samcli.output.journal import read_journal
from samcli.output.run_folder import RunFolder
from samcli.review import editing
from samcli.review.apply import Publisher
from samcli.types import Author, Instance, Origin

COUNTS = {"machine": 4, "existing": 1, "corrected": 2, "human": 1}
"""Of the labels that `labels` makes: 1 existing, 6 found of which 2 are corrected, 1 drawn."""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two images have labels; of the run's objects one gets another class, one another mask, and one is drawn."""
    folder = make_images(tmp_path / "data")
    output = folder / "labels"
    output.mkdir()
    (output / "data.yaml").write_text("names: [disc, ring, cross]\n")
    (output / "a.txt").write_text("0 0.025 0.0333 0.25 0.0333 0.25 0.3333 0.025 0.3333\n")
    (output / "d.txt").write_text("")
    run(folder, existing="add")
    found = RunFolder.open(output)
    publisher, entries = Publisher(found), found.entries()
    a = editing.with_class(found.record("a.png"), 2, 2)
    publisher.publish_one(editing.with_object(a, mask_of(60, 2, 78, 20), 1), entries["a.png"])
    publisher.publish_one(editing.with_mask(found.record("b.png"), 0, mask_of(5, 5, 38, 38)), entries["b.png"])
    publisher.finish()
    return output


def test_authors__of_an_instance_and_of_its_journal_line(tmp_path: Path, labels) -> None:
    mask = mask_of(0, 0, 5, 5)
    machine, existing = Instance(mask, 0), Instance(mask, 1, source=Origin.EXISTING)
    changed = Instance(mask, 1, source=Origin.HUMAN, before=existing)
    instances = [machine, existing, changed, Instance(mask, 2, source=Origin.HUMAN)]
    assert [one.author for one in instances] == list(Author)
    assert authors_but_machine(instances) == {
        Author.EXISTING: {1: 1}, Author.CORRECTED: {1: 1}, Author.HUMAN: {2: 1}
    }  # fmt: skip
    entry = read_journal(labels / ".samcli" / "journal.jsonl")["a.png"]
    assert authors_of(entry) == {
        Author.MACHINE: {0: 1, 2: 1}, Author.EXISTING: {0: 1}, Author.CORRECTED: {2: 1}, Author.HUMAN: {1: 1}
    }  # fmt: skip


def test_authors__are_counted_alike_by_every_command(labels, samcli_run, tmp_path) -> None:
    def said(*words: object) -> dict[str, Any]:
        return json.loads(samcli_run(*words, "--json").stdout)

    assert said("status", labels)["instances_by_author"] == COUNTS
    assert "4 machine, 1 existing, 2 corrected, 1 human" in samcli_run("status", labels).stdout
    assert said("preview", labels)["instances_by_author"] == COUNTS
    assert "2 corrected" in samcli_run("preview", labels).stderr
    evaluated = said("eval", labels, "--truth", labels)
    assert evaluated["predicted_by_author"] == evaluated["truth_by_author"] == COUNTS
    assert (
        "objects of the ground truth by author: 4 machine" in samcli_run("eval", labels, "--truth", labels).stdout
    )
    data_set = ("--images", labels.parent / "images", "--labels", labels, "--split", "0.5/0.5")
    splits = said("dataset", tmp_path / "set", *data_set)["splits"].values()
    counts = [one["objects_by_author"] for one in splits]
    assert {name: sum(one[name] for one in counts) for name in counts[0]} == {**COUNTS, "unknown": 0}
    (labels / "c.txt").write_text("0 0.1 0.1 0.3 0.1 0.3 0.3\n0 0.5 0.5 0.7 0.5 0.7 0.7\n")
    table = samcli_run("dataset", tmp_path / "again", *data_set).stdout
    assert "corrected" in table and "of unknown author" in table


def test_authors__of_a_run_that_nobody_has_touched_are_no_news(tmp_path: Path, samcli_run) -> None:
    folder = make_images(tmp_path / "data")
    run(folder)
    assert all("authors" not in line for line in journal(folder / "labels"))
    assert "machine" not in samcli_run("status", folder / "labels").stdout
    assert json.loads(samcli_run("status", folder / "labels", "--json").stdout)["instances_by_author"] == {
        "machine": 7, "existing": 0, "corrected": 0, "human": 0
    }  # fmt: skip

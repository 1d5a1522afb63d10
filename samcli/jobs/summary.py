"""Summarise a run from its outcomes and the journal of earlier runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samcli.output.authors import author_counts, count_authors, with_machine
from samcli.output.journal import JournalEntry
from samcli.output.manifest import Product
from samcli.types import Author, Outcome, Status, Withheld

_SIGNAL_STATUS = {"SIGINT": 130, "SIGTERM": 143}


@dataclass
class Summary:
    """Summary of a run, made from its outcomes and the journal."""

    output: Path | str
    """The output folder, or its address in an object store."""
    names: Mapping[int, str]
    total: int
    skipped: int = 0
    """Done in an earlier run."""
    done: int = 0
    empty: int = 0
    """Done, without any object."""
    instances: Counter[int] = field(default_factory=Counter)
    """By class id, over all runs in this folder."""
    authors_but_machine: Counter[Author] = field(default_factory=Counter)
    """Objects by their author, over all runs in this folder."""
    further_rows: int = 0
    """Rows of YOLO labels beyond one an object (below 0: fewer), over all runs in this folder."""
    low_polygons: dict[str, int] = field(default_factory=dict)
    """Images with objects whose polygon IoU is below the bound, and how many, over all runs in this folder."""
    dropped: int = 0
    """Objects found and not labelled, over all runs in this folder; the reasons are in the records."""
    failures: dict[str, str] = field(default_factory=dict)
    """Key to reason, over all runs in this folder."""
    withheld: dict[str, Withheld] = field(default_factory=dict)
    """Images that trainers do not get, and why, over all runs in this folder."""
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    precision: str | None = None
    """Of the networks, by its real name; None where no network ran."""
    threads: int | None = None
    """Threads of each network on a CPU; None where no network ran."""
    stopped_by: str | None = None
    """The signal or the limit that ended the run early."""
    new_failures: int = 0
    """Of this run alone."""
    unasked: int = 0
    """Images of the input that the prompts say nothing about; not in `total`."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Images that the prompts list and that are not in the input, by their names, and why."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files of the input that are no images, by suffix."""
    kept: int = 0
    """Images that had labels before the run and are left alone; not in `total`."""
    train_command: str | None = None
    notes: list[str] = field(default_factory=list)
    """What the user should bear in mind."""
    product: Product = Product.LABELS
    formats: tuple[str, ...] = ()
    """Names of the label formats that are written."""
    remedy: str = ""
    """What can be done about failed images."""

    def add_earlier(self, done: Mapping[str, JournalEntry], failed: Mapping[str, JournalEntry]) -> None:
        """Count what earlier runs in this folder have left."""
        self.skipped += len(done)
        for counts, images in Counter(entry.instances for entry in done.values()).items():
            self.instances.update({class_id: images * count for class_id, count in counts})
        authors = count_authors(done.values())
        self.authors_but_machine.update(
            {author: authors[author] for author in authors if author is not Author.MACHINE}
        )
        self.dropped += sum(entry.dropped for entry in done.values())
        self.further_rows += sum(entry.rows - entry.objects for entry in done.values() if entry.rows is not None)
        self.low_polygons.update((key, entry.low_polygons) for key, entry in done.items() if entry.low_polygons)
        self.withheld.update((key, entry.withheld) for key, entry in done.items() if entry.withheld)
        self.failures.update((key, entry.error or "unknown") for key, entry in failed.items())

    def add(self, outcome: Outcome) -> None:
        """Count one outcome of this run."""
        if outcome.status is Status.FAILED:
            self.failures[outcome.ref.key] = outcome.error or "unknown"
            self.new_failures += 1
            return
        self.done += 1
        self.empty += not outcome.instance_count
        self.instances.update(outcome.instances)
        self.authors_but_machine.update({one: sum(counts.values()) for one, counts in outcome.authors.items()})
        self.dropped += outcome.dropped
        if outcome.rows is not None:
            self.further_rows += outcome.rows - outcome.instance_count
        if outcome.low_polygons:
            self.low_polygons[outcome.ref.key] = outcome.low_polygons
        if outcome.withheld:
            self.withheld[outcome.ref.key] = outcome.withheld

    def add_unreadable(self, reasons: Mapping[str, str], earlier: Collection[str], now: Collection[str]) -> None:
        """Count images as failed that a file that holds all images lacks, as their records cannot be read.

        `earlier`, `now`: the keys of those that were done before this run, and of those it had to do.
        """
        self.failures.update(reasons)
        self.skipped -= sum(key in earlier for key in reasons)
        self.done -= sum(key in now for key in reasons)

    def withheld_as(self, why: Withheld) -> list[str]:
        """Return the keys of the images that trainers do not get for this reason."""
        return [key for key, reason in self.withheld.items() if reason is why]

    @property
    def authors(self) -> Counter[Author]:
        """Return the numbers of objects by author."""
        return with_machine(sum(self.instances.values()), self.authors_but_machine)

    @property
    def remaining(self) -> int:
        """Images of which nothing is known yet."""
        return self.total - self.skipped - self.done - len(self.failures)

    @property
    def exit_status(self) -> int:
        """0 all done; 3 some failed, or prompts have no image; 130 or 143 stopped by a signal."""
        if self.stopped_by in _SIGNAL_STATUS:
            return _SIGNAL_STATUS[self.stopped_by]
        return 3 if self.failures or self.lost else 0

    def as_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "output": str(self.output),
            "images": self.total,
            "done": self.done,
            "skipped": self.skipped,
            "empty": self.empty,
            "failed": len(self.failures),
            "remaining": self.remaining,
            "without_prompts": self.unasked,
            **({"prompts_without_image": dict(self.lost)} if self.lost else {}),
            "passed_over": dict(sorted(self.passed_over.items())),
            **({"kept": self.kept} if self.kept else {}),
            "instances": sum(self.instances.values()),
            "rows": sum(self.instances.values()) + self.further_rows,
            "instances_by_author": author_counts(self.authors),
            "low_polygon_iou": self.low_polygons,
            "dropped": self.dropped,
            "incomplete": self.withheld_as(Withheld.INCOMPLETE),
            "excluded": self.withheld_as(Withheld.EXCLUDED),
            "instances_by_class": {
                self.names.get(key, str(key)): count for key, count in sorted(self.instances.items())
            },
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "stages": {name: round(value, 3) for name, value in self.stages.items()},
            "notes": self.notes,
            "precision": self.precision,
            "threads": self.threads,
            "stopped_by": self.stopped_by,
        }

"""Read the progress of a run from its manifest, journal and records, without disturbing it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from samcli.errors import RecordError
from samcli.jobs.summary import Summary
from samcli.output.run_folder import RunFolder

_EXAMPLES = 3
_FLAG = re.compile(r"(--[\w-]+ \S+)")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)*")
_PATH = re.compile(r"(?<![\w.])/[^\s:;,']*")


@dataclass
class Reason:
    """Why images failed, or objects were dropped, that have this in common."""

    what: str
    """The reason with `#` for numbers and `...` for names of files, which differ."""
    count: int = 0
    """Of images, or of objects."""
    images: int = 0
    examples: list[str] = field(default_factory=list)
    """Keys of the first images."""

    def add(self, key: str, count: int = 1) -> None:
        """Count what happened in one image."""
        self.count += count
        self.images += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


@dataclass
class Reasons:
    """All reasons of a run, the most frequent first."""

    failed: list[Reason]
    dropped: list[Reason]


def read_reasons(output: Path) -> Reasons:
    """Why images of a run failed, and why objects were dropped, as the journal and the records say.

    Raises:
        UsageError: no run was begun there.
    """
    run = RunFolder.open(output)
    manifest, entries = run.manifest, run.entries()
    failed: dict[str, Reason] = {}
    dropped: dict[str, Reason] = {}
    reasons = {key: entry.error or "unknown" for key, entry in entries.items() if not entry.done}
    for key, reason in sorted({**reasons, **manifest.collisions}.items()):
        _of(failed, reason, key).add(key)
    for key in sorted(key for key, entry in entries.items() if entry.done and entry.dropped):
        try:
            found = run.record(key).dropped
        except RecordError:
            _of(dropped, "the record cannot be read", key).add(key, entries[key].dropped)
            continue
        for what, count in Counter(common_part(one.reason, key) for one in found).items():
            dropped.setdefault(what, Reason(what)).add(key, count)
    return Reasons(*(sorted(found.values(), key=lambda one: -one.count) for found in (failed, dropped)))


def _of(reasons: dict[str, Reason], reason: str, key: str) -> Reason:
    what = common_part(reason, key)
    return reasons.setdefault(what, Reason(what))


def common_part(reason: str, key: str) -> str:
    """Return a reason without what is of one image alone: its name, paths, numbers; values of options stay."""
    parts = _FLAG.split(reason.replace(key, "..."))
    parts[::2] = [_NUMBER.sub("#", _PATH.sub("...", part)) for part in parts[::2]]
    return "".join(parts)


def read_status(output: Path) -> Summary:
    """Return the summary of the run in an output folder.

    Raises:
        UsageError: no run was begun there.
    """
    run = RunFolder.open(output)
    manifest, entries = run.manifest, run.entries()
    done = {key: entry for key, entry in entries.items() if entry.done}
    summary = Summary(run.output, manifest.names, max(manifest.total, len(entries) + len(manifest.collisions)))
    summary.product = manifest.product
    summary.unasked, summary.kept = manifest.unasked, manifest.kept
    summary.add_earlier(done, {key: entry for key, entry in entries.items() if not entry.done})
    summary.failures.update(manifest.collisions)
    summary.done, summary.skipped = summary.skipped, 0
    summary.empty = sum(not entry.instances for entry in done.values())
    summary.seconds = sum(entry.seconds for entry in entries.values())
    return summary

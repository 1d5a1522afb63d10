"""How far a run is, read from its manifest and journal; the run itself is not disturbed."""

from __future__ import annotations

import os
from pathlib import Path

from samcli.errors import UsageError
from samcli.journal import read_journal, read_manifest
from samcli.outputs import Layout
from samcli.summary import Summary


def read_status(output: Path) -> Summary:
    """The summary of the run in an output folder.

    Raises:
        UsageError: no run was begun there.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow links
    layout = Layout(output, output)
    manifest = read_manifest(layout.manifest)
    if manifest is None:
        raise UsageError(f"no run in {output}: it has no {layout.manifest.relative_to(output)}")
    entries = {key: e for key, e in read_journal(layout.journal).items() if e.run == manifest.run}
    done = {key: entry for key, entry in entries.items() if entry.done}
    summary = Summary(output, manifest.names, max(manifest.total, len(entries) + len(manifest.collisions)))
    summary.command = manifest.recipe.get("command", summary.command)
    summary.unasked = manifest.unasked
    summary.add_earlier(done, {key: entry for key, entry in entries.items() if not entry.done})
    summary.failures.update(manifest.collisions)
    summary.done, summary.skipped = summary.skipped, 0
    summary.empty = sum(not entry.instances for entry in done.values())
    summary.seconds = sum(entry.seconds for entry in entries.values())
    return summary

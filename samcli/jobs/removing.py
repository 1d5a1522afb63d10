"""Remove what a run has written; labels that were there before it are again as they were."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from samcli.errors import UsageError
from samcli.labels.formats import FORMATS
from samcli.output.embeddings import NPY_SUFFIX, SUFFIX, TILES_SUFFIX
from samcli.output.layout import LabelFiles, Layout
from samcli.output.locks import locked
from samcli.output.manifest import Manifest, Product
from samcli.output.preserving import is_changed, restore
from samcli.output.run_folder import EarlierRun, RunFolder
from samcli.types import Origin


def remove_labels(
    layout: Layout, manifest: Manifest, suffixes: Iterable[str] = (), *, discard_changes: bool = False
) -> int:
    """Remove labels, records and journal of the run in an output folder; return how many images had labels.

    `manifest`: of the run that comes next, or of this one. `suffixes`: of further label files. `discard_changes`:
    restore label files that somebody has changed since, too.
    """
    earlier = EarlierRun.read(layout)
    whole_names = frozenset(key for key, entry in earlier.done.items() if entry.whole_name)
    found = earlier.manifest
    formats = [FORMATS[name] for name in (found.recipe.formats if found else ()) if name in FORMATS]
    every = {*suffixes, *(suffix for fmt in formats for suffix in fmt.suffixes)}
    if found is not None and found.product is Product.EMBEDDINGS:
        every |= {SUFFIX, NPY_SUFFIX, TILES_SUFFIX}
    labels = LabelFiles(layout, tuple(sorted(every)), whole_names, {})
    run = RunFolder(layout, manifest)
    for key in earlier.done:
        run.withdraw(key, labels.paths(key), discard_changes=discard_changes)
    for file in {file for fmt in formats for file in fmt.own_files}:
        if not restore(layout, layout.own_file(file), discard_changes=discard_changes):
            (layout.output / file).unlink(missing_ok=True)
    for journal in layout.journals(found.shards if found else 0):
        journal.unlink(missing_ok=True)
    return len(earlier.done)


@dataclass(frozen=True)
class TakenBack:
    """Result of `take_back`."""

    images: int
    """Images whose labels were removed."""
    restored: int
    """Files that have the content from before the run again."""
    changed: tuple[str, ...] = ()
    """Files that somebody has changed since, and that were left as they are."""


def take_back(output: Path, *, discard_human: bool = False) -> TakenBack:
    """Remove what a run has added to labels that were there before, and the run with it.

    Label files that somebody else has changed since stay as they are, unless `discard_human` is given.

    Interrupted, the same again completes it.

    Raises:
        UsageError: the run was not begun beside labels, or people have corrected its objects.
        SamcliError: a run is at work in the folder, or it cannot be written.
    """
    run = RunFolder.open(output, Product.LABELS)
    layout = run.layout
    if not layout.preserved_root.is_dir():
        raise UsageError(
            f"{run.output} held no labels before its run (see --existing): there is nothing to go back to"
        )
    with locked(layout, "Make it writable"):
        if not discard_human and (key := _first_corrected(run)) is not None:
            raise UsageError(
                f"people have corrected objects of this run, the first in {key}: --discard-human removes these too"
            )
        files = [file for file in sorted(layout.preserved_root.rglob("*")) if file.is_file()]
        paths = [layout.own_file(file.relative_to(layout.preserved_root).as_posix()) for file in files]
        changed = () if discard_human else tuple(path for path in paths if is_changed(layout, path))
        images = remove_labels(layout, run.manifest, discard_changes=discard_human)
        for entry in layout.run_folder.iterdir():
            if entry.name not in ("lock", "running", layout.manifest.name):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        layout.manifest.unlink()  # last: until then the same command finds the run
    with contextlib.suppress(OSError):
        (layout.run_folder / "lock").unlink()
        layout.run_folder.rmdir()
    return TakenBack(images, len(paths) - len(changed), changed)


def _first_corrected(run: RunFolder) -> str | None:
    """Return an image with an object that a person has drawn or changed, if there is one."""
    found = run.annotations({})
    return next((one.key for one in found if any(i.source is Origin.HUMAN for i in one.instances)), None)

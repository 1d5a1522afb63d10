"""Look into the output folder of a run, and write reviews of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers import ODD_NAMES

from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, read_manifest
from samcli.output.records import read_record
from samcli.review.apply import as_labelled, instance_hash
from samcli.types import Annotation

KEY = ODD_NAMES[0]


def layout_of(folder: Path) -> Layout:
    return Layout(folder / "images", folder / "labels")


def manifest_of(folder: Path) -> Manifest:
    manifest = read_manifest(layout_of(folder).manifest)
    assert manifest is not None
    return manifest


def annotation_of(folder: Path, key: str = KEY) -> Annotation:
    return read_record(Path(layout_of(folder).record(key)).read_bytes())


def label_of(folder: Path, key: str = KEY) -> Path:
    return Path(layout_of(folder).label(key, ".txt"))


def marks(folder: Path, verdicts: dict[int, str], key: str = KEY) -> list[dict[str, Any]]:
    labelled = as_labelled(annotation_of(folder, key))
    return [
        {"key": key, "index": index, "hash": instance_hash(labelled[index][0]), "mark": mark}
        for index, mark in verdicts.items()
    ]


def write_review(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    review = {
        "format": "samcli-review",
        "version": 2,
        "fingerprint": manifest_of(folder).fingerprint,
        "marks": rows,
    }
    path = folder / "review.json"
    path.write_text(json.dumps({**review, **changes}))
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Labels and records by relative name: what a run promises to reproduce."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("journal.jsonl", "lock", "run.json")
    }


def journal(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / ".samcli" / "journal.jsonl").read_text().splitlines()]

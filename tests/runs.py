"""Look into the output folder of a run, and write reviews of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from helpers import ODD_NAMES
from label_samples import write_images

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.base import recorded_polygon_options
from samcli.labels.writing import write_annotation
from samcli.output.authors import authors_but_machine
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, read_manifest, write_manifest
from samcli.output.records import read_record
from samcli.output.run_folder import RunFolder
from samcli.polygons import POLYGONS_VERSION
from samcli.review.apply import as_labelled, instance_hash
from samcli.types import Annotation, ImageRef, Outcome, Status

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


def write_run(folder: Path, annotations: list[Annotation], *formats: str, **options: Any) -> Path:
    """A finished run in `folder/labels` of black images in `folder/images`, made of annotations alone.

    `options`: entries of its recipe that are not the defaults.
    """
    names = {i: f"class{i}" for one in annotations for i in {0, *(found.class_id for found in one.instances)}}
    recipe = Recipe(
        {
            "holes": "bridge",
            "parts": "bridge",
            "min_polygon_iou": 0.98,
            "polygons": POLYGONS_VERSION,
            **options,
            "format": [*formats],
        }
    )
    write_images(folder / "images", annotations)
    layout = layout_of(folder)
    run = RunFolder(layout, Manifest(recipe, recipe.fingerprint, "../images", names=names, total=len(annotations)))
    write_manifest(layout.manifest, run.manifest)
    shapes, writers = recorded_polygon_options(recipe.values), [FORMATS[name] for name in formats]
    for fmt in writers:
        for name, data in fmt.data_set_files(names, layout.splits_from_output()).items():
            (folder / "labels" / name).write_bytes(data)
    with Journal(layout.journal, run.manifest.run) as journal:
        for one in annotations:
            written = write_annotation(Rendering(one, names, shapes), writers, layout)
            file = (folder / "images" / one.key).stat()
            journal.append(
                Outcome(
                    ImageRef(layout.input_root, one.key, file.st_size, file.st_mtime_ns),
                    Status.DONE,
                    Counter(found.class_id for found in one.instances),
                    dropped=len(one.dropped),
                    withheld=one.withheld,
                    rows=written.rows,
                    low_polygons=written.low_polygons,
                    authors=authors_but_machine(one.instances),
                )
            )
    return folder / "labels"

"""Records with objects that people have corrected, which outlive the run that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from samcli.files import write_atomic
from samcli.output.layout import Layout
from samcli.output.own_files import read_own
from samcli.output.records import LARGEST, read_record
from samcli.types import Annotation, Instance, Origin

_MARK = b'"source":"human"'
"""In the bytes of a record with a corrected object."""


def keep_corrected(layout: Layout, key: str) -> None:
    """Copy the record of an image that is about to be removed, if people have corrected an object of it.

    Raises:
        StorageError: the copy cannot be written.
    """
    copy = layout.corrected(key)
    data = Path(layout.record(key)).read_bytes()
    if _MARK in data:
        write_atomic(copy, data)
    else:
        copy.unlink(missing_ok=True)


def corrected_objects(layout: Layout, key: str) -> tuple[Annotation, Mapping[int, str]] | None:
    """Return what people have corrected in an image, and the names of the classes; None where that is nothing.

    The record counts, where there is one; else the copy of an earlier one.
    """
    record = Path(layout.record(key))
    path = record if record.is_file() else layout.corrected(key)
    if not path.is_file():
        return None
    data = read_own(path, LARGEST)
    if _MARK not in data:
        return None
    rows = json.loads(data)["instances"]
    names = {row["class_id"]: row["class_name"] for row in rows if row.get("class_name") is not None}
    return read_record(data), names


def is_corrected(instance: Instance) -> bool:
    """Return whether a person has drawn or changed an object."""
    return instance.source is Origin.HUMAN

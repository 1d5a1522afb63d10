"""Files that hold no labels, or not on their own: what they are, and what to do with them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samcli.errors import UsageError
from samcli.images import SUFFIXES
from samcli.labels.formats.coco import what_list_is
from samcli.labels.json_stream import Item, beginning, walk
from samcli.labels.xml_files import read_xml

_BY_SUFFIX = {
    ".txt": "one text file; for YOLO labels give their folder",
    **dict.fromkeys(
        (".csv", ".jsonl", ".ndjson"), "a file of prompts by its name: samcli prompt IMAGES --prompts takes it"
    ),
    **dict.fromkeys((".yaml", ".yml"), "a YAML file, which names classes; give the folder of the labels"),
    **dict.fromkeys(SUFFIXES, "an image; give the labels"),
}

_PROMPTS = "a file of prompts in samcli's own JSON: samcli prompt IMAGES --prompts takes it"


def what_it_is(path: Path, *, prompts: bool = True) -> str | None:
    """Return what a file is that holds no labels, or not on its own, and what to do; None: it is not known.

    `prompts`: whether to tell files of prompts as well.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        return None
    if suffix == ".json":
        known = _json(path)
        return None if known == _PROMPTS and not prompts else known
    if suffix == ".xml":
        return _xml(path)
    if suffix == ".zip":
        return _zip(path)
    return _BY_SUFFIX.get(suffix)


def _json(path: Path) -> str | None:
    items = beginning(path, 40)
    if not items:
        return _empty_or_damaged(path)
    names, first = {item.name for item in items}, items[0].value
    if names == {""}:
        return _list(first)
    if names & {"shapes", "imagePath"}:
        return "labelme's file of one image; give the folder that it lies in"
    if "image" in names and "annotations" in names:
        return "SA-1B's file of one image; give the folder that it lies in"
    if "images" in names and names <= {"images", "names"} and any(_is_by_image(item) for item in items):
        return _PROMPTS
    if first == "FeatureCollection" or "features" in names:
        return "GeoJSON, which is not read; export COCO instead"
    if "_via_img_metadata" in names or (isinstance(first, dict) and {"filename", "regions"} <= first.keys()):
        return "a project of the VGG Image Annotator, which is not read; export COCO there"
    return None


def _is_by_image(item: Item) -> bool:
    return item.name == "images" and isinstance(item.value, dict)


def _list(first: Any) -> str | None:
    """Describe a file with a list at its root."""
    if not first:
        return "JSON that holds nothing"
    if not isinstance(first, dict):
        return None
    if {"image_id", "category_id"} <= first.keys():
        return what_list_is(first)
    if "segmentation" in first:
        return "amg.py's file of one image; give the folder that it lies in"
    if _is_minimal_task(first):
        return "Label Studio's JSON-MIN; export its JSON instead"
    return _PROMPTS if "image" in first else None


def _is_minimal_task(first: Mapping[str, Any]) -> bool:
    """Return whether it is what Label Studio calls JSON-MIN: no `data`, and members of the labelling itself."""
    return (
        "id" in first
        and "data" not in first
        and bool({"annotator", "annotation_id", "label", "lead_time"} & first.keys())
    )


def _empty_or_damaged(path: Path) -> str:
    try:
        for _ in walk(path, levels=1):
            pass
        return "JSON that holds nothing"
    except UsageError as error:
        return f"damaged: {str(error).removeprefix(str(path)).lstrip(':')}"


def _xml(path: Path) -> str | None:
    try:
        root = read_xml(path).tag
    except ValueError as error:
        return f"damaged: {error}"
    if root == "annotation":
        return "Pascal VOC's file of one image; give the folder that it lies in"
    return f"XML whose root is <{root:.40}>; expected CVAT's <annotations>, or a folder of Pascal VOC's files"


def _zip(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "damaged: no labels found in a zip file that cannot be opened"
    return "a zip without an export of CVAT (its XML, Ultralytics YOLO, YOLO 1.1, COCO); unpack it, give the folder"

"""SA-1B: a JSON file for each image, as Meta's data set has them."""

from __future__ import annotations

import functools
import json
import posixpath
import re
import zlib
from pathlib import Path
from typing import Any

from samcli.labels.formats.amg import amg_object, known_facts
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.coco import Runs
from samcli.labels.formats.sources import Failure, LabelSet, Source, first_file, label_files
from samcli.labels.json_splice import find_lists, spliced
from samcli.labels.json_stream import beginning
from samcli.labels.objects import LabelEntry, ReadImage, gather
from samcli.labels.shapes import shown, side
from samcli.types import UNNAMED, Annotation


class Sa1b(LabelFormat):
    """`<image>.json`: `image`, and `annotations` with run lengths, SAM's figures, points and crop; no classes.

    Ids are numbers there: an image's is the one that its name ends with, or else a checksum of its key.
    """

    suffix = ".json"
    loses = frozenset({"classes"})
    is_read = True

    def render(self, rendering: Rendering) -> bytes:
        """In the order of SA-1B's own members."""
        annotation = rendering.annotation
        height, width = annotation.image_size
        image = {
            "image_id": _image_id(annotation.key),
            "width": width,
            "height": height,
            "file_name": annotation.key.rpartition("/")[2],
        }
        return json.dumps({"image": image, "annotations": _entries(annotation, 1)}).encode()

    extends = True

    def extended(self, existing: bytes, rendering: Rendering) -> bytes:
        """Masks as they were, then the added ones; their ids go on from the largest."""
        ids = [entry["id"] for entry in json.loads(existing)["annotations"] if type(entry.get("id")) is int]
        new = map(str.encode, map(json.dumps, _entries(rendering.added.annotation, max(ids, default=0) + 1)))
        spans = find_lists(existing)
        return b"".join(spliced(existing, spans, {"annotations": new}, {"annotations": rendering.gone}))

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder of JSON files with an image and its annotations."""
        file = first_file(path, ".json") if path.is_dir() else None
        items = beginning(file, 1) if file is not None else []
        return bool(items) and items[0].name == "image" and "file_name" in items[0].value

    def read(self, source: Source) -> LabelSet:
        """Read masks; all objects have one class."""

        entries: list[LabelEntry] = []
        failures: list[Failure] = []
        for relative, file in sorted(label_files(source.folder, ".json")):
            image = next((item.value for item in beginning(Path(file)) if item.name == "image"), None)
            if isinstance(image, dict):
                entries.append(_entry(relative, file, image.get("file_name"), source))
            else:
                failures.append(Failure(relative, f"{file}: not of this format: it has no object 'image'"))
        return LabelSet({0: UNNAMED}, entries=entries, failures=failures)


def _entries(annotation: Annotation, first: int) -> list[dict[str, Any]]:
    """Return the masks of an annotation, numbered from `first`."""
    return [
        {"id": number, "segmentation": instance.mask.to_coco(), **known_facts(instance, annotation)}
        for number, instance in enumerate(annotation.instances, first)
    ]


def _entry(relative: str, file: str, name: Any, source: Source) -> LabelEntry:
    """Return the image beside the file, or in the same folder below the images, by its name; else by the file's
    own.
    """
    name = name.replace("\\", "/") if isinstance(name, str) else ""
    stem = posixpath.splitext(relative)[0]
    beside = posixpath.join(posixpath.dirname(relative), posixpath.basename(name)) if name else stem
    read = functools.partial(_read, file=file)
    if source.images is None:
        return LabelEntry(beside, read, file, stems=(stem,))
    return LabelEntry(name or stem, read, file, keys=(beside,), stems=(stem,))


def _read(key: str, *, file: str) -> ReadImage:
    """Return the objects of the image of a file."""
    content = json.loads(Path(file).read_bytes())
    if not isinstance(content, dict) or not isinstance(content.get("image"), dict):
        raise ValueError("it has no 'image'; expected a file of SA-1B")
    entries = content.get("annotations")
    if not isinstance(entries, list):
        raise ValueError(f"annotations is {shown(entries)}; expected a list")
    size = side(content["image"].get("height")), side(content["image"].get("width"))
    stated = size if all(size) else None
    items = [(f"mask {place}", entry) for place, entry in enumerate(entries, 1)]
    objects, omitted = gather(items, lambda entry: amg_object(entry, Runs(entry["segmentation"]), stated))
    return ReadImage(key, objects, size, omitted)


def _image_id(key: str) -> int:
    found = re.search(r"(\d{1,15})(\.[^.]*)?$", key)
    return int(found[1]) if found else zlib.crc32(key.encode("utf-8", "surrogateescape"))

"""SA-1B: a JSON file for each image, as Meta's data set has them."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from samcli.labels.formats.amg import amg_facts, amg_instance
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.sources import LabelSet, Source, first_file
from samcli.labels.json_stream import beginning
from samcli.masks import Mask
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
        entries = [
            {"id": number, "segmentation": instance.mask.to_coco(), **amg_facts(instance, annotation)}
            for number, instance in enumerate(annotation.instances, 1)
        ]
        return json.dumps({"image": image, "annotations": entries}).encode()

    def finds(self, path: Path) -> bool:
        """A folder of JSON files with an image and its annotations."""
        file = first_file(path, ".json") if path.is_dir() else None
        items = beginning(file, 1) if file is not None else []
        return bool(items) and items[0].name == "image" and "file_name" in items[0].value

    def read(self, source: Source) -> LabelSet:
        """All objects are of one class."""

        def parse(relative: str, file: str) -> Annotation:
            content = json.loads(Path(file).read_bytes())
            image = content["image"]
            key = source.key_for(relative, image["file_name"].replace("\\", "/"))
            size = int(image["height"]), int(image["width"])
            entries = content["annotations"]
            instances = tuple(amg_instance(entry, Mask.from_coco(entry["segmentation"])) for entry in entries)
            return Annotation(key, size, instances)

        return LabelSet({0: UNNAMED}, source.of_files(".json", parse))


def _image_id(key: str) -> int:
    found = re.search(r"(\d{1,15})(\.[^.]*)?$", key)
    return int(found[1]) if found else zlib.crc32(key.encode("utf-8", "surrogateescape"))

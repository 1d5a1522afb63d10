"""Label Studio: a file of tasks with masks as predictions, to be corrected there with the brush."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from samcli.errors import UsageError
from samcli.labels.class_names import complete
from samcli.labels.formats.base import LabelFormat, Rendering, plain_text
from samcli.labels.formats.brush import decode_brush, encode_brush
from samcli.labels.formats.coco import figures, quality_of
from samcli.labels.formats.json_items import JsonFile, beginning
from samcli.labels.formats.sources import Failure, LabelSet, Source, box_mask, guarded
from samcli.masks import Mask
from samcli.polygons import draw
from samcli.types import Annotation, Instance, Quality, Size

_FILE, _CONFIG = "labelstudio.json", "label_config.xml"
_LOCAL = "/data/local-files/?d="
"""Where Label Studio serves local files: with LOCAL_FILES_DOCUMENT_ROOT set to the images' folder."""


class LabelStudio(LabelFormat):
    """`labelstudio.json`: a task an image, each mask a brush region with its score; and the labeling config.

    The image is named as Label Studio's local storage serves it, below its LOCAL_FILES_DOCUMENT_ROOT.
    """

    folded_name = _FILE
    data_set_names = (_CONFIG,)
    is_read = True

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """The labeling interface that the predictions speak of."""
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
        labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
        for name in complete(names).values():
            ElementTree.SubElement(labels, "Label", value=plain_text(name))
        ElementTree.indent(view)
        return {_CONFIG: ElementTree.tostring(view, "utf-8") + b"\n"}

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """A task a line."""
        separator = b"[\n"
        for rendering in renderings:
            yield separator + json.dumps(_task(rendering), separators=(",", ":")).encode()
            separator = b",\n"
        yield b"\n]\n" if separator == b",\n" else b"[]\n"

    def finds(self, path: Path) -> bool:
        """A JSON file of tasks, or a folder with `labelstudio.json`."""
        file = path / _FILE if path.is_dir() else path
        if file.suffix.lower() != ".json" or not file.is_file():
            return False
        items = beginning(file, 1)
        return bool(items) and not items[0].name and isinstance(items[0].rough, dict) and "data" in items[0].rough

    def read(self, source: Source) -> LabelSet:
        """What people have made (`annotations`), else `predictions`: brush regions, polygons, boxes.

        Classes are numbered as in `label_config.xml` beside the file, and further ones by name.

        Raises:
            UsageError: it is no list of tasks.
        """
        file = source.path / _FILE if source.path.is_dir() else source.path
        tasks, places, found = JsonFile(file), [], set()
        for item in tasks.items():
            task = tasks.value(item)
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise UsageError(f"{file} has an entry that is no task; expected Label Studio's JSON, not JSON-MIN")
            places.append((source.key_of(_file_name(task["data"])), item.start, item.end))
            found |= {name for region in _regions(task) for name in _labels(region)}
        names = _names_of(file.parent / _CONFIG)
        names |= dict(enumerate(sorted(found - set(names.values())), max(names, default=-1) + 1))
        ids = {name: class_id for class_id, name in names.items()}

        def annotations() -> Iterator[Annotation | Failure]:
            for key, start, end in sorted(places):
                parse = functools.partial(_annotation, task=tasks.value_at(start, end), ids=ids, source=source)
                yield guarded(key, str(file), parse)

        return LabelSet(names, annotations())


def _task(rendering: Rendering) -> dict[str, Any]:
    annotation = rendering.annotation
    height, width = annotation.image_size
    regions, scores = [], []
    for number, instance in enumerate(annotation.instances, 1):
        score = _score(instance.quality)
        scores += [score] if score is not None else []
        regions.append(
            {
                "id": f"m{number}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                **({} if score is None else {"score": score}),
                "meta": figures(instance.quality),
                "value": {
                    "format": "rle",
                    "rle": encode_brush(instance.mask),
                    "brushlabels": [plain_text(rendering.name_of(instance.class_id))],
                },
            }
        )
    prediction: dict[str, Any] = {"model_version": "samcli", "result": regions}
    if scores:
        prediction["score"] = round(float(np.mean(scores)), 6)
    path = quote(annotation.key.encode("utf-8", "surrogateescape"))
    return {"data": {"image": _LOCAL + path, "width": width, "height": height}, "predictions": [prediction]}


def _score(quality: Quality) -> float | None:
    """The detector's, else SAM's own; Label Studio wants 0..1."""
    value = quality.detector_score if quality.detector_score is not None else quality.predicted_iou
    return None if value is None else round(min(max(float(value), 0.0), 1.0), 6)


def _file_name(data: Mapping[str, Any]) -> str:
    """The image of a task: below the local storage's folder, or the last part of an address."""
    url = next((str(data[name]) for name in ("image", "img", "photo", "url") if name in data), None)
    if url is None:
        url = next((value for value in data.values() if isinstance(value, str)), "")
    parts = urlsplit(url)
    if "local-files" in parts.path:
        return parse_qs(parts.query, errors="surrogateescape")["d"][0]
    return unquote(parts.path, errors="surrogateescape").rpartition("/")[2]


def _regions(task: Mapping[str, Any]) -> list[Any]:
    """Of the first annotation that was not cancelled, else of the first prediction."""
    answers = [a for a in task.get("annotations") or [] if isinstance(a, dict) and not a.get("was_cancelled")]
    answers += [p for p in task.get("predictions") or [] if isinstance(p, dict)]
    return [region for region in (answers[0].get("result") or [] if answers else []) if isinstance(region, dict)]


def _labels(region: Mapping[str, Any]) -> list[str]:
    value = region.get("value")
    labels = value.get(region.get("type", "")) if isinstance(value, dict) else None
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _annotation(
    key: str, file: str, *, task: Mapping[str, Any], ids: Mapping[str, int], source: Source
) -> Annotation:
    regions, data = _regions(task), task["data"]
    sizes = [(int(r["original_height"]), int(r["original_width"])) for r in regions if "original_width" in r]
    if sizes:
        size = sizes[0]
    elif isinstance(data.get("width"), int) and isinstance(data.get("height"), int):
        size = data["height"], data["width"]
    else:
        size = source.size(key)
    if size[0] * size[1] > source.max_pixels:
        raise ValueError(f"{size[1]} x {size[0]} pixels are more than --max-pixels {source.max_pixels}")
    instances = []
    for region in regions:
        mask, labels = _mask(region, size, source), _labels(region)
        if mask is None:
            continue
        if len(labels) != 1:
            raise ValueError(f"region {region.get('id')} has {len(labels)} labels; expected one")
        meta = region.get("meta") or {}
        score = region.get("score")
        quality = quality_of(meta) if meta else Quality(detector_score=None if score is None else float(score))
        instances.append(Instance(mask, ids[labels[0]], quality))
    return Annotation(key, size, tuple(instances))


def _mask(region: Mapping[str, Any], size: Size, source: Source) -> Mask | None:
    """None for what is no area, such as a key point or a choice."""
    kind, value = region.get("type"), region.get("value") or {}
    if kind == "brushlabels":
        return decode_brush(value["rle"], *size)
    if kind == "polygonlabels":
        points = np.array(value["points"], np.float64)
        if points.ndim != 2 or len(points) < 3:
            raise ValueError(f"a polygon of {len(points)} points; expected three or more")
        return draw([points / 100], size)
    if kind == "rectanglelabels" and not value.get("rotation"):
        height, width = size
        x, y = value["x"] / 100 * width, value["y"] / 100 * height
        source.remarks["objects have no mask: their boxes were filled"] += 1
        return box_mask((x, y, x + value["width"] / 100 * width, y + value["height"] / 100 * height), size)
    source.remarks[f"regions are of the type {kind}, and were left out"] += 1
    return None


def _names_of(config: Path) -> dict[int, str]:
    if not config.is_file():
        return {}
    try:
        root = ElementTree.parse(config).getroot()
    except (ElementTree.ParseError, ValueError) as error:
        raise UsageError(f"{config} is no labeling config: {error}") from error
    values = [label.get("value") or "" for label in root.iter("Label")]
    return dict(enumerate(dict.fromkeys(values)))

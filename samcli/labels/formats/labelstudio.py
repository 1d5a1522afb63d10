"""Label Studio: a file of tasks with masks as predictions, to be corrected there with the brush."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from samcli.errors import UsageError
from samcli.labels.class_names import complete
from samcli.labels.formats.base import SPOOL, LabelFormat, Rendering, plain_text
from samcli.labels.formats.brush import decode_brush, encode_brush
from samcli.labels.formats.coco import figures, identity, quality_of
from samcli.labels.formats.sources import Failure, LabelSet, Source
from samcli.labels.image_names import ImageNames
from samcli.labels.json_splice import find_lists, spliced, with_items
from samcli.labels.json_stream import Shelf, beginning, walk
from samcli.labels.label_texts import by_name, class_ids, label_of
from samcli.labels.objects import XYXY, LabelEntry, LabelledObject, NotUsedError, ReadImage, Rings, Shape, gather
from samcli.labels.placed_shapes import Ellipse, Encoded, turned_box
from samcli.labels.shapes import Floats, Placed, number, ring_of, rotated_box, shown, side
from samcli.labels.xml_files import read_xml
from samcli.masks import Mask
from samcli.types import Quality, Size

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
        """Return the labeling interface that the predictions use."""
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
        labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
        for name in complete(names).values():
            ElementTree.SubElement(labels, "Label", value=plain_text(name))
        ElementTree.indent(view)
        return {_CONFIG: ElementTree.tostring(view, "utf-8") + b"\n"}

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """Yield a task a line."""
        separator = b"[\n"
        for rendering in renderings:
            yield separator + json.dumps(_task(rendering), separators=(",", ":")).encode()
            separator = b",\n"
        yield b"\n]\n" if separator == b",\n" else b"[]\n"

    extends = True

    def fold_into(
        self, existing: Path, renderings: Iterable[Rendering], names: Mapping[int, str]
    ) -> Iterator[bytes]:
        """Tasks as they were; the result that is read of a task gets the regions that were added.

        A task that nobody has labelled gets a prediction; images without a task get one.
        """
        data = existing.read_bytes()
        tasks, changed, new_keys = _Tasks(data), dict[int, bytes](), list[str]()
        with tempfile.SpooledTemporaryFile(SPOOL) as new:
            for rendering in renderings:
                annotation = rendering.found
                if annotation.existing is None:
                    new_keys.append(annotation.key)
                    new.write(_dump(_task(rendering)) + b"\n")
                elif rendering.added.annotation.instances or rendering.gone:
                    place = tasks.places[annotation.existing.name]
                    changed[place] = _extended(tasks.data(place), rendering)
            answered = tasks.unlabelled_of(new_keys)
            for key, line in zip(new_keys, _lines(new), strict=True):
                if key in answered:
                    changed[answered[key]] = _with_prediction(tasks.data(answered[key]), json.loads(line))
            others = (line for key, line in zip(new_keys, _lines(new), strict=True) if key not in answered)
            yield from with_items(data, tasks.span, changed, others)

    def finds(self, path: Path) -> bool:
        """Return whether it is a JSON file of tasks, or a folder with `labelstudio.json`."""
        file = path / _FILE if path.is_dir() else path
        if file.suffix.lower() != ".json" or not file.is_file():
            return False
        items = beginning(file, 1)
        return bool(items) and not items[0].name and isinstance(items[0].value, dict) and "data" in items[0].value

    def read(self, source: Source) -> LabelSet:
        """Read people's `annotations`, else `predictions`: brush regions, polygons, rectangles, ellipses.

        Classes are numbered as in `label_config.xml` beside the file, and further ones by name. A task that nobody
        has labelled, or that was skipped, is no image without objects: it is listed.

        Raises:
            UsageError: it is no list of tasks.
        """
        file = source.path / _FILE if source.path.is_dir() else source.path
        shelf, labels = Shelf(), set[str]()
        names = _names_of(file.parent / _CONFIG)
        entries: list[LabelEntry] = []
        failures: list[Failure] = []
        for place, line, task in walk(file, levels=1):
            if len(place) != 1 or not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise UsageError(f"{file}:{line}: this is no task; expected Label Studio's JSON, not JSON-MIN")
            name, where = _file_name(task["data"]), f"{file}: task {task.get('id', line)}"
            regions = _regions(task, source.remarks)
            if regions is None:
                failures.append(Failure(name or where, f"{where}: {_silence(task)}", expected=True))
                continue
            labels |= _labels_in(regions)
            read = functools.partial(_read, shelf=shelf, place=shelf.put((task["data"], regions)), names=names)
            entries.append(LabelEntry(name, read, where))
        class_ids(names, labels, source.remarks)
        return LabelSet(names, entries=entries, failures=failures)


class _Tasks:
    """The tasks of a file that was there before a run."""

    def __init__(self, data: bytes) -> None:
        self._data, self.span = data, find_lists(data).lists[""]
        self.places: dict[str, int] = {}
        """Of tasks by the names of their images."""
        self._unlabelled: dict[str, int] = {}
        for place in range(len(self.span.items)):
            task = json.loads(self.data(place))
            places = self._unlabelled if _regions(task, Counter()) is None else self.places
            places.setdefault(_file_name(task["data"]), place)

    def data(self, place: int) -> bytes:
        """Return the text of a task."""
        begin, end = self.span.items[place]
        return self._data[begin:end]

    def unlabelled_of(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the places of the tasks of images that nobody has labelled, by key."""
        names = ImageNames(keys)
        found = {
            place: names.exact(name) or names.alike(name, whole=True) for name, place in self._unlabelled.items()
        }
        return {alike[0]: place for place, alike in found.items() if len(alike) == 1}


def _extended(data: bytes, rendering: Rendering) -> bytes:
    """Return the text of a task with the added regions behind the others, without those that are gone."""
    task, spans = json.loads(data), find_lists(data)
    kind = "annotations" if _made(task) else "predictions"
    own = (_made(task) or _answers(task[kind]))[0]
    nested = [one for one in task[kind] if isinstance(one, (dict, list))]  # as `find_lists` counts them
    begin, end = spans.lists[kind].items[next(number for number, one in enumerate(nested) if one is own)]
    answer, results = data[begin:end], own.get("result") or []
    regions = _grouped(results)
    gone = [number for index in rendering.gone for number in regions[index].places]
    taken = {result.get("id") for result in results if isinstance(result, dict)}
    free = (name for number in itertools.count(1) if (name := f"m{number}") not in taken)
    new = ({**region, "id": next(free)} for region in brush_regions(rendering.added))
    spliced_answer = spliced(answer, find_lists(answer), {"result": map(_dump, new)}, {"result": gone})
    return b"".join([data[:begin], *spliced_answer, data[end:]])


def _with_prediction(data: bytes, task: Mapping[str, Any]) -> bytes:
    """Return the text of a task that nobody has labelled with the predictions of ours."""
    return b"".join(spliced(data, find_lists(data), {"predictions": map(_dump, task["predictions"])}, {}))


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return (line[:-1] for line in file)


def _task(rendering: Rendering) -> dict[str, Any]:
    annotation = rendering.annotation
    height, width = annotation.image_size
    regions = brush_regions(rendering)
    scores = [region["score"] for region in regions if "score" in region]
    prediction: dict[str, Any] = {"model_version": "samcli", "result": regions}
    if scores:
        prediction["score"] = round(float(np.mean(scores)), 6)
    path = quote(annotation.key.encode("utf-8", "surrogateescape"))
    return {"data": {"image": _LOCAL + path, "width": width, "height": height}, "predictions": [prediction]}


def brush_regions(rendering: Rendering) -> list[dict[str, Any]]:
    """Return a brush region for each instance."""
    height, width = rendering.annotation.image_size
    regions = []
    for place, instance in enumerate(rendering.annotation.instances, 1):
        score = _score(instance.quality)
        regions.append(
            {
                "id": f"m{place}",
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
    return regions


def _score(quality: Quality) -> float | None:
    """Return the detector's, else SAM's own; Label Studio wants 0..1."""
    value = quality.detector_score if quality.detector_score is not None else quality.predicted_iou
    return None if value is None else round(min(max(float(value), 0.0), 1.0), 6)


def _file_name(data: Mapping[str, Any]) -> str:
    """Return the image name of a task: a path or an address."""
    named = [data[name] for name in ("image", "img", "photo", "url") if isinstance(data.get(name), str)]
    return str(next(iter([*named, *(value for value in data.values() if isinstance(value, str))]), ""))


def _regions(task: Mapping[str, Any], remarks: Counter[str]) -> list[Any] | None:
    """Return the regions of the first annotation that was not cancelled, or of the first prediction, or None."""
    answers = _made(task)
    if len(answers) > 1:
        remarks["tasks have several annotations, of which the first is read"] += 1
    if not (answers := answers or _answers(task.get("predictions"))):
        return None
    result = answers[0].get("result")
    return result if isinstance(result, list) else []


def _made(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations that people have made, without cancelled ones."""
    return [answer for answer in _answers(task.get("annotations")) if not answer.get("was_cancelled")]


def _answers(value: Any) -> list[dict[str, Any]]:
    return [answer for answer in value if isinstance(answer, dict)] if isinstance(value, list) else []


def _silence(task: Mapping[str, Any]) -> str:
    """Why nothing is known of a task's image."""
    return "it was skipped" if _answers(task.get("annotations")) else "nobody has labelled it"


@dataclass
class _Region:
    """A shape with its labels, which may lie in results of their own under the same id."""

    number: int
    shape: Mapping[str, Any] | None = None
    kind: str = ""
    labels: list[Any] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Types of results that are no shape."""
    places: list[int] = field(default_factory=list)
    """Of its results, from 0."""

    def takes(self, result: Mapping[str, Any]) -> bool:
        """Return whether a shape with the same id is this region's."""
        return self.shape is None or _geometry(self.shape) == _geometry(result)

    def add_labels(self, kind: str, value: Any) -> None:
        """The labels in the value of a result of that type."""
        for name in dict.fromkeys((kind, "labels")) if isinstance(value, dict) else ():
            if name.endswith("labels") and isinstance(value.get(name), list):
                self.labels += [label for label in value[name] if label not in self.labels]

    @property
    def where(self) -> str:
        """For messages."""
        own = (self.shape or {}).get("id")
        return f"region '{own:.40}'" if isinstance(own, str) else f"region {self.number}"


def _geometry(result: Mapping[str, Any]) -> Any:
    value = result.get("value")
    return (
        {name: own for name, own in value.items() if not name.endswith("labels")}
        if isinstance(value, dict)
        else value
    )


def _grouped(results: Sequence[Any]) -> list[_Region]:
    """Return the regions of an annotation: results of one id are one, unless they have different shapes."""
    regions: list[_Region] = []
    latest: dict[int | str, _Region] = {}
    for place, result in enumerate(results, 1):
        members = result if isinstance(result, dict) else {}
        kind, own, value = str(members.get("type") or "no type"), identity(members.get("id")), members.get("value")
        base = kind.removesuffix("labels")
        has_shape = base in _SHAPES or base in _WITHOUT_AREA
        region = None if own is None else latest.get(own)
        if region is None or (has_shape and not region.takes(members)):
            region = _Region(place)
            regions.append(region)
            if own is not None:
                latest[own] = region
        region.places.append(place - 1)
        if has_shape:
            region.shape, region.kind = members, base
        elif kind != "labels":
            region.others.append(kind)
        region.add_labels(kind, value)
    return regions


def _labels_in(results: Sequence[Any]) -> set[str]:
    found = set()
    for region in _grouped(results):
        with contextlib.suppress(ValueError):
            if region.shape is not None:
                found.add(_label(region))
    return found


def _label(region: _Region) -> str:
    if len(region.labels) > 1:
        raise ValueError(f"it has {len(region.labels)} labels; expected one")
    return label_of(region.labels[0] if region.labels else None)


def _read(key: str, *, shelf: Shelf, place: int, names: Mapping[int, str]) -> ReadImage:
    """Return the objects of the image of a task."""
    (data, results), ids = shelf.take(place), by_name(names)
    size = next((size for result in results if all(size := _size_of(result))), _size_of_task(data))

    def parse(region: _Region) -> LabelledObject | None:
        shape = _shape(region, size if all(size) else None)
        return LabelledObject(shape, ids[_label(region)], _quality(region.shape or {}), where=region.where)

    objects, omitted = gather(((region.where, region) for region in _grouped(results)), parse)
    return ReadImage(key, objects, size, omitted)


def _size_of(result: Any) -> Size:
    """(height, width) as a result states them, 0 where it does not; before any turn."""
    if not isinstance(result, dict):
        return 0, 0
    return side(result.get("original_height")), side(result.get("original_width"))


def _size_of_task(data: Mapping[str, Any]) -> Size:
    return side(data.get("height")), side(data.get("width"))


def _quality(region: Mapping[str, Any]) -> Quality:
    meta, score = region.get("meta"), region.get("score")
    if isinstance(meta, dict) and meta:
        return quality_of(meta)
    return Quality(detector_score=None if score is None else number(score, "score"))


def _shape(region: _Region, stated: Size | None) -> Shape:
    """Return the shape of a region.

    Raises:
        NotUsedError: it has none, or none with an area, such as a key point or a choice.
        ValueError: it is damaged.
    """
    if region.shape is None:
        kinds = ", ".join(dict.fromkeys(region.others)) or "labels"
        lack = "has no shape" if {*region.others} <= _WITHOUT_SHAPE else "is not read"
        raise NotUsedError(f"a result of the type {kinds:.60} {lack}")
    if region.kind in _WITHOUT_AREA:
        raise NotUsedError(f"a region of the type {region.kind} has no area")
    value, turn = region.shape.get("value"), number(region.shape.get("image_rotation") or 0, "image_rotation")
    if not isinstance(value, dict):
        raise ValueError(f"its value is {shown(value)}; expected a shape")
    if turn % 90:
        raise ValueError(f"image_rotation is {turn:g}; expected a multiple of 90")
    if region.kind == "brush":
        if turn % 360:
            raise ValueError("a brush stroke in an image that was turned in Label Studio: turn it back there")
        return Encoded(lambda image_size: decode_brush(value.get("rle"), *image_size), stated)
    if region.kind == "polygon":
        return Rings((_turned_back(ring_of(value.get("points")) / 100, turn),))
    return _percent(region.kind, value, turn)


def _turned_back(shares: Floats, turn: float) -> Floats:
    """(K, 2) shares of an image that was shown turned clockwise by so many degrees, in the image as it is."""
    x, y = shares.T
    sides = {0: (x, y), 90: (y, 1 - x), 180: (1 - x, 1 - y), 270: (1 - y, x)}
    return np.stack(sides[int(turn % 360)], 1)


def _percent(kind: str, value: Mapping[str, Any], turn: float) -> Percent:
    """Return a rectangle or an ellipse.

    Raises:
        ValueError: it is damaged.
    """
    names = ("x", "y", "width", "height") if kind == "rectangle" else ("x", "y", "radiusX", "radiusY")
    x, y, across, down = (number(value.get(name), name) / 100 for name in names)
    return Percent(kind == "ellipse", (x, y), (across, down), number(value.get("rotation") or 0, "rotation"), turn)


@dataclass(frozen=True, slots=True)
class Percent:
    """A rectangle or an ellipse in shares of the image's size, as the image was shown: turned clockwise by `turn`.

    `place`: x, y of the upper left corner, or of the ellipse's centre. `extent`: width and height, or radii.
    `degrees`: its own turn, a rectangle's about that corner; on pixels, which are square, not on shares.
    """

    is_ellipse: bool
    place: tuple[float, float]
    extent: tuple[float, float]
    degrees: float
    turn: float

    @property
    def is_box(self) -> bool:
        """See Shape."""
        return not self.is_ellipse and not self.degrees % 90

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return self._placed(image_size).box(image_size)

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return self._placed(image_size).mask(image_size)

    def scaled(self, x: float, y: float) -> Percent:
        """See Shape."""
        return self

    def _placed(self, image_size: Size) -> Shape:
        """In pixels of the image."""
        height, width = image_size if not self.turn % 180 else image_size[::-1]
        place = self.place[0] * width, self.place[1] * height
        extent = self.extent[0] * width, self.extent[1] * height
        if self.is_ellipse:
            shown = Placed(*place, *extent, self.degrees)
        else:
            shown = rotated_box(place, extent, self.degrees)
        x, y = _turned_back(np.array([[shown.x / width, shown.y / height]]), self.turn)[0].tolist()
        placed = replace(shown, x=x * image_size[1], y=y * image_size[0], degrees=(self.degrees - self.turn) % 360)
        return Ellipse(placed) if self.is_ellipse else turned_box(placed)


_SHAPES = ("rectangle", "polygon", "ellipse", "brush")
_WITHOUT_AREA = ("keypoint", "vector", "line")
_WITHOUT_SHAPE = frozenset(
    {"choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "textarea"}
)


def _names_of(config: Path) -> dict[int, str]:
    if not config.is_file():
        return {}
    try:
        root = read_xml(config)
    except ValueError as error:
        raise UsageError(f"{config} is no labeling config: {error}") from error
    values = [label_of(label.get("value")) for label in root.iter("Label")]
    return dict(enumerate(dict.fromkeys(values)))

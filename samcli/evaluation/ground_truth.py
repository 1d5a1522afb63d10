"""Labels as they are evaluated: read from a run's records, YOLO label files or a COCO file, and paired up.

The one interface is `LabelSet`: which images it speaks of, how large they are, and what is in each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from samcli.errors import ImageError, UsageError, one_line
from samcli.images import SUFFIXES
from samcli.labels.class_names import read_names
from samcli.masks import Mask
from samcli.output.layout import stem_of
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.polygons import draw
from samcli.prompts.objects import ObjectPrompt
from samcli.prompts.yolo import YoloLabels, open_yolo_labels
from samcli.types import Instance, Size

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelledObject:
    """One object that somebody or something has labelled, xyxy in pixels of the original, upright image."""

    class_id: int
    box: XYXY
    mask: Mask | None = None
    """None: only the box is known."""
    score: float | None = None
    crowd: bool = False
    """COCO's `iscrowd`: many objects in one region; what is found there is neither right nor wrong."""
    stated_area: float | None = None
    """In pixels, where the labels state it: COCO's classes of size go by it."""


class LabelSet(Protocol):
    """Labels of many images."""

    @property
    def names(self) -> Mapping[int, str] | None:
        """Class id to class name; None where nothing says names."""
        ...

    @property
    def image_root(self) -> Path | None:
        """Where its images are, if it knows."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should bear in mind."""
        ...

    def keys(self) -> Sequence[str]:
        """The images it speaks of, maybe to say that nothing is there: keys, or keys without their suffix."""
        ...

    def image_size(self, key: str) -> Size | None:
        """(height, width), if it knows."""
        ...

    def objects(self, key: str, image_size: Size) -> list[LabelledObject]:
        """What is in an image.

        Raises:
            ImageError: its labels cannot be read.
        """
        ...


def open_labels(path: Path, names: Path | None = None) -> LabelSet:
    """Labels from a run's output folder, a folder of YOLO label files, or a COCO file.

    `names`: a file of class names (`names:` in YAML, or a name a line), where the labels say none.

    Raises:
        UsageError: there is nothing of the kind.
    """
    given = read_names(names) if names else None
    if path.is_dir():
        root = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        run = RunFolder.find(root)
        if run is None:
            return YoloFolder(root, given)
        run.check(Product.LABELS)
        return RunLabels(run, given)
    if path.suffix.lower() == ".json" and path.is_file():
        return CocoFile(path, given)
    what = "is no COCO .json" if path.is_file() else "does not exist"
    raise UsageError(f"{path} {what}; expected a run's output folder, a folder of YOLO labels, or a COCO .json")


class RunLabels:
    """What a run has labelled, from its records. An image that failed is one in which nothing was found."""

    def __init__(self, run: RunFolder, names: Mapping[int, str] | None) -> None:
        self.names = names or run.manifest.names or None
        self.image_root = run.layout.input_root
        self._run = run
        self._done = {key: entry.done for key, entry in run.entries().items()}
        failed = sum(not done for done in self._done.values())
        self.notes = (f"{failed} images failed in this run: they count as such in which nothing was found",)[
            :failed
        ]
        self._sizes: dict[str, Size] = {}

    def keys(self) -> Sequence[str]:
        return sorted(self._done)

    def image_size(self, key: str) -> Size | None:
        if not self._done[key]:
            return None
        if key not in self._sizes:
            self._read(key)
        return self._sizes[key]

    def objects(self, key: str, image_size: Size) -> list[LabelledObject]:
        return [object_of(instance) for instance in self._read(key)] if self._done[key] else []

    def _read(self, key: str) -> tuple[Instance, ...]:
        annotation = self._run.record(key)
        self._sizes[key] = annotation.image_size
        return annotation.instances


def object_of(instance: Instance) -> LabelledObject:
    """What a run has found, as it is evaluated: the mask's own box, the detector's score or else SAM's."""
    quality = instance.quality
    score = quality.detector_score if quality.detector_score is not None else quality.predicted_iou
    return LabelledObject(instance.class_id, _box_of(instance.mask), instance.mask, score)


def _box_of(mask: Mask) -> XYXY:
    x1, y1, x2, y2 = mask.box or (0, 0, 0, 0)
    return float(x1), float(y1), float(x2), float(y2)


class YoloFolder:
    """YOLO label files, each of which stands for an image of its name."""

    def __init__(self, folder: Path, names: Mapping[int, str] | None) -> None:
        keys = sorted(_label_keys(folder))
        if not keys:
            raise UsageError(f"no label files in {folder}; expected .txt files of YOLO rows")
        source = open_yolo_labels(folder)
        self.names = names or ({i: source.names[i] for i in source.declared} if source.declared else None)
        self._images = {key: f"{key}.image" for key in keys}  # any suffix: only the stem is looked at
        self._source: YoloLabels = source.matched(self._images.values())
        self.image_root = None
        self.notes: tuple[str, ...] = ()

    def keys(self) -> Sequence[str]:
        return list(self._images)

    def image_size(self, key: str) -> Size | None:
        return None

    def objects(self, key: str, image_size: Size) -> list[LabelledObject]:
        prompts = self._source.for_image(self._images[key], image_size)
        return [_of_row(prompt, image_size) for prompt in prompts]


def _label_keys(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name).relative_to(folder)
            if name.endswith(".txt") and not name.startswith(".") and path != Path("classes.txt"):
                yield stem_of(path.as_posix())


def _of_row(prompt: ObjectPrompt, image_size: Size) -> LabelledObject:
    if prompt.box is not None:
        return LabelledObject(prompt.class_id, prompt.box, score=prompt.score)
    height, width = image_size
    mask = draw([(np.array(ring) + 0.5) / (width, height) for ring in prompt.rings], image_size)
    return LabelledObject(prompt.class_id, _box_of(mask), mask, prompt.score)


@dataclass(frozen=True)
class _CocoImage:
    size: Size
    annotations: list[dict[str, Any]] = field(default_factory=list)


class CocoFile:
    """COCO instances: `images`, `annotations`, `categories`. Class ids are its category ids."""

    def __init__(self, path: Path, names: Mapping[int, str] | None) -> None:
        self._path = path
        self.image_root = None
        self.notes: tuple[str, ...] = ()
        try:
            content = json.loads(path.read_bytes())
            self._images = _coco_images(content)
            declared = {int(category["id"]): str(category["name"]) for category in content.get("categories", ())}
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {one_line(error)}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is no COCO instances file ({type(error).__name__} {one_line(error)}); "
                "expected images, annotations and categories"
            ) from error
        self.names = names or declared or None

    def keys(self) -> Sequence[str]:
        return sorted(self._images)

    def image_size(self, key: str) -> Size | None:
        return self._images[key].size

    def objects(self, key: str, image_size: Size) -> list[LabelledObject]:
        if image_size != self._images[key].size:
            height, width = self._images[key].size
            raise ImageError(f"{self._path.name} says {width} x {height} pixels (width x height)")
        try:
            return [_of_annotation(value, image_size) for value in self._images[key].annotations]
        except Exception as error:  # pycocotools raises plain Exception, among others
            raise ImageError(f"its annotations in {self._path.name} are damaged: {one_line(error)}") from error


def _coco_images(content: Mapping[str, Any]) -> dict[str, _CocoImage]:
    by_id: dict[Any, _CocoImage] = {}
    images: dict[str, _CocoImage] = {}
    for value in content["images"]:
        name = PurePosixPath(value["file_name"]).as_posix()
        if name in images or value["id"] in by_id:
            raise UsageError(f"the image {name}, or its id, is there twice")
        images[name] = by_id[value["id"]] = _CocoImage((int(value["height"]), int(value["width"])))
    for value in content["annotations"]:
        if value["image_id"] not in by_id:
            raise UsageError(f"image_id {value['image_id']} of an annotation is not among its images")
        by_id[value["image_id"]].annotations.append(value)
    if not images:
        raise UsageError("it has no images")
    return images


def _of_annotation(value: Mapping[str, Any], image_size: Size) -> LabelledObject:
    mask = _coco_mask(value.get("segmentation"), image_size)
    if (given := value.get("bbox")) is not None:
        x, y, width, height = map(float, given)
        box = (x, y, x + width, y + height)
    elif mask is not None:
        box = _box_of(mask)
    else:
        raise ValueError("an annotation has neither segmentation nor bbox")
    return LabelledObject(
        int(value["category_id"]), box, mask, value.get("score"), bool(value.get("iscrowd")), value.get("area")
    )


def _coco_mask(segmentation: Any, image_size: Size) -> Mask | None:
    """Polygons or RLE to a mask, as pycocotools draws them; None where there is neither."""
    from pycocotools import mask as coco

    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return Mask.from_coco(segmentation)
    parts = coco.frPyObjects([ring for ring in segmentation if len(ring) >= 6], *image_size)
    return Mask.from_coco(coco.merge(parts)) if parts else None


def match_keys(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Which of `theirs` each of `ours` is: by key, else by key without suffix, else (for all) by base name.

    A name that two of a side have is left out rather than guessed.
    """
    known = set(theirs)
    found = {key: key for key in ours if key in known}
    taken = set(found.values())
    found |= _unique_matches(
        [key for key in ours if key not in found], [k for k in theirs if k not in taken], _stem
    )
    return found or _unique_matches(ours, theirs, lambda key: _stem(key).replace("\\", "/").rpartition("/")[2])


def _unique_matches(ours: Sequence[str], theirs: Sequence[str], short: Any) -> dict[str, str]:
    sides: list[dict[str, list[str]]] = [{}, {}]
    for side, keys in zip(sides, (ours, theirs), strict=True):
        for key in keys:
            side.setdefault(short(key), []).append(key)
    mine, others = sides
    return {
        keys[0]: others[name][0] for name, keys in mine.items() if len(keys) == 1 and len(others.get(name, ())) == 1
    }


def _stem(key: str) -> str:
    """A key without the suffix of an image."""
    return stem_of(key) if key.lower().endswith(SUFFIXES) else key

"""Define a label format, and what it is given of an image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from samcli.config import LabelOptions, SpeckOptions
from samcli.errors import UsageError
from samcli.files import Files as Files
from samcli.labels.formats.sources import LabelSet, Source
from samcli.masks import KEEP_ALL, Mask, PartLimit, parse_part_limit, without_specks
from samcli.polygons import PolygonOptions, Polygons, mask_to_polygons, restated
from samcli.types import Annotation, Instance, Origin

T = TypeVar("T", bound=np.generic)

SPOOL = 1 << 24
"""Bytes that `fold` holds in memory before what must wait goes to a temporary file."""


@dataclass(frozen=True)
class Rendering:
    """One image's annotation and all that a writer may need beside it.

    It is given the annotation as it was found, and keeps that as `found`, for the record. `annotation` is the one
    that labels are made of: without the specks that `polygon_options.part_limit` tells.

    `pixels`: uint8 (H, W, 3) RGB; `logits`: float32 (N, h, w), low-resolution, one for each instance; `edges`:
    uint8 (H, W). Each is there only for a run with a format that `needs` it. `images`: their folder as seen from
    the output folder.
    """

    annotation: Annotation
    names: Mapping[int, str] = field(default_factory=dict)
    polygon_options: PolygonOptions = field(default_factory=PolygonOptions)
    pixels: NDArray[np.uint8] | None = None
    logits: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None
    images: str = ""
    fingerprint: str = ""
    """Of the run's recipe; empty where labels are no run's."""
    outline: Callable[[Mask, PolygonOptions], Polygons] = field(default=mask_to_polygons, repr=False, compare=False)
    """Makes the polygons of one mask; whoever writes the same masks again and again gives one that remembers."""
    found: Annotation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", self.annotation)
        object.__setattr__(self, "annotation", cleaned(self.annotation, self.polygon_options.part_limit))

    @cached_property
    def added(self) -> Rendering:
        """Return the objects that were not in the labels before the run, alone."""
        instances = tuple(one for one in self.found.instances if one.source is not Origin.EXISTING)
        return replace(self, annotation=replace(self.found, instances=instances))

    @cached_property
    def gone(self) -> frozenset[int]:
        """Places, in the labels before the run, of the objects that a person has changed or deleted since."""
        count = self.found.existing.count if self.found.existing else 0
        left = {one.place for one in self.found.instances if one.source is Origin.EXISTING}
        return frozenset() if None in left else frozenset(range(count)) - left

    def name_of(self, class_id: int) -> str:
        """Return the class's name; its number where it has none."""
        return self.names.get(class_id, str(class_id))

    @property
    def image_path(self) -> str:
        """Return the image as seen from the folder of its label file."""
        key = self.annotation.key
        if self.images in ("", "."):
            return posixpath.basename(key)
        return posixpath.normpath("../" * key.count("/") + f"{self.images}/{key}")

    @cached_property
    def label_map(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Instance numbers (from 1) by pixel, 0 where there is none; small instances lie on top of large ones.

        8 bits, or 16 where there are more than 255 instances.
        """
        instances = self.annotation.instances
        labels = np.zeros(self.annotation.image_size, np.uint8 if len(instances) <= 255 else np.uint16)
        for index in sorted(range(len(instances)), key=lambda i: -instances[i].mask.area):
            pixels, (left, top, right, bottom) = instances[index].mask.crop()
            labels[top:bottom, left:right][pixels] = index + 1
        return labels

    @cached_property
    def polygons(self) -> list[Polygons]:
        """Return the instances' polygons, in order; made once, by the first writer that asks."""
        masks = [instance.mask for instance in self.annotation.instances]
        return restated([self.outline(mask, self.polygon_options) for mask in masks], masks)

    @property
    def low_polygons(self) -> list[int]:
        """Numbers of the instances that are not within `min_iou` of the polygons that are written of them."""
        least, instances = self.polygon_options.min_iou, self.annotation.instances
        return [
            number
            for number, (one, shape) in enumerate(zip(instances, self.polygons, strict=True))
            if shape.iou < least and one.mask.area and one.source is not Origin.EXISTING
        ]


def cleaned(annotation: Annotation, limit: PartLimit) -> Annotation:
    """Return the annotation that labels hold: without specks; itself where there are none."""
    if limit == KEEP_ALL:
        return annotation
    masks = [without_specks(instance.mask, limit) for instance in annotation.instances]
    instances = tuple(
        instance if mask is instance.mask else replace(instance, mask=mask)
        for instance, mask in zip(annotation.instances, masks, strict=True)
    )
    return replace(annotation, instances=instances)


def polygon_options(options: LabelOptions, specks: SpeckOptions | None = None) -> PolygonOptions:
    """Return what the options of a command say about masks in labels."""
    return recorded_polygon_options({**options.recipe(), **(specks.recipe() if specks else {})})


def recorded_polygon_options(recipe: Mapping[str, Any]) -> PolygonOptions:
    """Return what the recipe of a run says about masks in labels; older ones do not have all of it."""
    return PolygonOptions(
        recipe["holes"],
        recipe["parts"],
        recipe["min_polygon_iou"],
        recipe.get("max_points", PolygonOptions.max_points),
        part_limit=recorded_part_limit(recipe),
    )


def recorded_part_limit(recipe: Mapping[str, Any]) -> PartLimit:
    """Return which specks the labels of a run leave out; none where its recipe does not say."""
    return parse_part_limit(recipe.get("min_part_area", "0"))


def plain_text(text: str) -> str:
    """Text that XML and UTF-8 can hold: other characters, as in names that are no UTF-8, become U+FFFD."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def box_inside(instance: Instance) -> tuple[float, float, float, float]:
    """Return the object's box (xyxy), cut at the image: in sub-pixels where its labels state it so, else the mask's
    own.

    All zeros for a mask without pixels.
    """
    mask = instance.mask
    x1, y1, x2, y2 = instance.box or mask.box or (0, 0, 0, 0)
    return max(x1, 0), max(y1, 0), min(x2, mask.width), min(y2, mask.height)


def given(value: NDArray[T] | None) -> NDArray[T]:
    """Return a value that a format `needs`, which the run must have provided.

    Raises:
        ValueError: it did not: records alone do not hold it.
    """
    if value is None:
        raise ValueError("this format needs more than the records hold: name it when the masks are made")
    return value


class LabelFormat:
    """Writes something for each image, perhaps some files for the whole data set, or only one file for all."""

    suffix: str | None = None
    """Of one image's label file; "" for a folder named as the image; None where images have none."""

    needs: frozenset[str] = frozenset()
    """Which of a rendering's `pixels`, `logits` and `edges` it reads."""

    data_set_names: Sequence[str] = ()
    """Names of the files for the whole data set that are written when a run begins."""

    folded_name: str | None = None
    """Name of the one file for all images, made from the records when a run ends."""

    loses: frozenset[str] = frozenset()
    """What it cannot hold of a mask; the words are those of `losses`."""

    has_rings = False
    """Whether it writes `Rendering.polygons`."""

    one_per_stem = False
    """Whether images that differ in their suffix alone are in each other's way within the file for all."""

    has_pictures = False
    """Whether its labels are pictures themselves, which must not be taken for the images."""

    makes_polygons = False
    """Whether its labels are a rendering's `polygons`: their IoU with the mask is a figure of the record then."""

    is_read = False
    """Whether `read` is there."""

    package: str | None = None
    """The package that an extra of the same name as the format brings."""

    extends = False
    """Whether `extended` or `extended_all` is there, or `fold_into` where all images have one file."""

    def check_package(self) -> None:
        """Refuse to go on without the package that the format needs.

        Raises:
            UsageError: it is not installed; the command that installs it is named.
        """
        if self.package is not None and find_spec(self.package) is None:
            extra = type(self).__name__.lower()
            raise UsageError(f"the format {extra} needs the package {self.package}: pip install 'samcli[{extra}]'")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Return the suffixes of all label files of one image. `Annotations/.xml`: a tree of .xml files below
        `Annotations`.
        """
        return () if self.suffix is None else (self.suffix,)

    @property
    def own_files(self) -> tuple[str, ...]:
        """Names of all files for the whole data set."""
        return (*self.data_set_names, *((self.folded_name,) if self.folded_name else ()))

    def render(self, rendering: Rendering) -> Files:
        """Return the files of one image."""
        raise NotImplementedError(f"{type(self).__name__} writes nothing for one image")

    def render_all(self, rendering: Rendering) -> list[Files]:
        """One for each of `suffixes`."""
        return [self.render(rendering)] if self.suffixes else []

    def count_rows(self, files: Files) -> int | None:
        """Return how many objects a trainer finds in what `render` made; None where no trainer reads it."""
        return None

    def extended_all(self, existing: Sequence[bytes | None], rendering: Rendering) -> Sequence[Files]:
        """Return the label files of an image that had some before the run, one for each of `suffixes`.

        `existing`: their content then; None where there was no such file. See `extended`.
        """
        return [self.extended(data, rendering) for data in existing if data is not None]

    def extended(self, existing: bytes, rendering: Rendering) -> bytes:
        """Return the label file of an image that had one before the run: its content as it was, and the objects
        added.

        Objects that it had and that a person has changed or deleted since leave it.
        """
        raise NotImplementedError(f"{type(self).__name__} adds nothing to a file")

    def fold_into(
        self, existing: Path, renderings: Iterable[Rendering], names: Mapping[int, str]
    ) -> Iterable[bytes]:
        """Return the pieces of the file for all images where there was one before the run; see `extended`."""
        raise NotImplementedError(f"{type(self).__name__} adds nothing to a file")

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Files for the whole data set by name; `splits`: image folders as seen from there, by `train`, `val`."""
        return {}

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterable[bytes]:
        """Return the pieces of the file for all images, in constant memory; images come in the order of keys."""
        raise NotImplementedError(f"{type(self).__name__} folds nothing")

    def finds(self, path: Path) -> bool:
        """Return whether the file or folder looks like this format's; quick, and sure to be False for others'."""
        return False

    def read(self, source: Source) -> LabelSet:
        """Return the labels in a file or folder of this format; images are read one at a time.

        Raises:
            UsageError: none of it can be read.
        """
        raise UsageError(f"{type(self).__name__} cannot be read back")

"""Define what every reader of labels returns: valid objects per image, and what was left out and why.

A reader (`LabelFormat.read`) lists the images that the labels list as `LabelEntry` values, before anything of
them is read; `LabelEntry.read` then gives one `ReadImage`. Its objects are `LabelledObject`s: class, figures, and a
`Shape`, which knows its sub-pixel box and draws its mask only when somebody asks. So `prompt` takes boxes
without drawing, box formats keep them as they were, `eval` compares the same objects that `convert` writes.

An object that cannot be used costs itself alone: it is left out as an `Omission`, and the image's others stay.
Only an image of which nothing is known fails, and only a file that is no labels at all is refused.
`formats.reading` does for all formats what comes after: which image is meant, whether its size is that of the
labels, and what lies outside of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from samcli.errors import one_line
from samcli.labels.shapes import Floats, box_mask, polygon_mask
from samcli.masks import Mask
from samcli.types import Annotation, Instance, PromptPoint, Quality, Size

T = TypeVar("T")
V = TypeVar("V")
XYXY = tuple[float, float, float, float]

_SAME_BOX = 1.0
"""Pixels that a stated box may be off the mask's own at each side: polygons are drawn to whole pixels."""


class Shape(Protocol):
    """Shape of an object: a box, polygons or pixels."""

    @property
    def is_box(self) -> bool:
        """Return whether only its box is known."""
        ...

    def box(self, image_size: Size) -> XYXY | None:
        """xyxy in sub-pixels, not cut at the image; None of a mask without pixels.

        Raises:
            ValueError: it is no shape.
        """
        ...

    def mask(self, image_size: Size) -> Mask:
        """Its pixels; those of a box are all within it.

        Raises:
            ValueError: it is no shape, or lies outside the image.
        """
        ...

    def scaled(self, x: float, y: float) -> Shape:
        """Return the shape for an image so many times as wide and as high."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels: xyxy, any numbers."""

    xyxy: XYXY
    is_box = True

    def box(self, image_size: Size) -> XYXY:
        """See Shape."""
        return self.xyxy

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return box_mask(self.xyxy, image_size)

    def scaled(self, x: float, y: float) -> Box:
        """See Shape."""
        x1, y1, x2, y2 = self.xyxy
        return Box((x1 * x, y1 * y, x2 * x, y2 * y))


@dataclass(frozen=True, slots=True)
class Rings:
    """Polygons in shares of the image's size, (K, 2) each, drawn as a YOLO trainer does."""

    rings: tuple[Floats, ...]
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        return polygon_mask(self.rings, image_size)

    def scaled(self, x: float, y: float) -> Rings:
        """See Shape."""
        return self


@dataclass(frozen=True, slots=True)
class Pixels:
    """A mask that is known already."""

    known: Mask
    is_box = False

    def box(self, image_size: Size) -> XYXY | None:
        """See Shape."""
        return box_of(self.mask(image_size))

    def mask(self, image_size: Size) -> Mask:
        """See Shape."""
        mask = self.known
        if (mask.height, mask.width) != image_size:
            raise ValueError(
                f"a mask of {mask.width} x {mask.height} pixels in an image of {image_size[1]} x {image_size[0]}"
            )
        return mask

    def scaled(self, x: float, y: float) -> Pixels:
        """See Shape."""
        return Pixels(resized(self.known, round(self.known.height * y), round(self.known.width * x)))


def box_of(mask: Mask) -> XYXY | None:
    """Return the mask's own box, as floats."""
    if mask.box is None:
        return None
    x1, y1, x2, y2 = mask.box
    return float(x1), float(y1), float(x2), float(y2)


def resized(mask: Mask, height: int, width: int) -> Mask:
    """Return the mask in an image of another size: the nearest pixels."""
    import cv2
    import numpy as np

    pixels = cv2.resize(mask.pixels().astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return Mask.from_pixels(pixels.astype(bool))


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as labels have it, in pixels of the image as they state its size."""

    shape: Shape
    class_id: int
    quality: Quality = field(default_factory=Quality)
    crowd: bool = False
    """COCO's `iscrowd`: many objects in one region."""
    stated_box: XYXY | None = None
    """xyxy in pixels, where the labels state a box beside the shape."""
    stated_area: float | None = None
    where: str = ""
    """Which object of its file it is, for messages."""
    prompt_points: tuple[PromptPoint, ...] = ()
    crop_box: tuple[int, int, int, int] | None = None

    def box(self, image_size: Size) -> XYXY | None:
        """xyxy in sub-pixels: the stated one, else the shape's.

        Raises:
            ValueError: it has none.
        """
        return self.stated_box or self.shape.box(image_size)

    def instance(self, image_size: Size) -> Instance:
        """With the mask drawn.

        Raises:
            ValueError: the shape cannot be drawn.
        """
        mask = self.shape.mask(image_size)
        box = self.shape.box(image_size) if self.shape.is_box else _if_fitting(self.stated_box, mask)
        box = None if box == mask.box else box
        return Instance(
            mask,
            self.class_id,
            self.quality,
            prompt_points=self.prompt_points,
            crop_box=self.crop_box,
            box=box,
            is_box=self.shape.is_box,
        )

    def scaled(self, x: float, y: float) -> LabelledObject:
        """For an image so many times as wide and as high."""
        box, area = self.stated_box, self.stated_area
        return replace(
            self,
            shape=self.shape.scaled(x, y),
            stated_box=None if box is None else Box(box).scaled(x, y).xyxy,
            stated_area=None if area is None else area * x * y,
            prompt_points=tuple((px * x, py * y, label) for px, py, label in self.prompt_points),
            crop_box=None,
        )


def _if_fitting(stated: XYXY | None, mask: Mask) -> XYXY | None:
    """Return a stated box, unless it is that of something else."""
    if stated is None or mask.box is None:
        return None
    return stated if all(abs(a - b) <= _SAME_BOX for a, b in zip(stated, mask.box, strict=True)) else None


@dataclass(frozen=True, slots=True)
class Omission:
    """An object that was left out."""

    reason: str
    where: str = ""
    """Which object of its file."""
    expected: bool = False
    """Nothing is wrong with it: it is of a kind that is not asked for or has no area."""

    @property
    def kind(self) -> str:
        """Return the reason without its numbers and names: alike for objects that are left out for one reason."""
        return re.sub(r"'[^']*'|[-+]?[0-9][0-9.e+-]*", "?", self.reason)


class NotUsedError(ValueError):
    """Raised by a parser for an object that is sound and of a kind that is not used, such as a point."""


@dataclass(frozen=True)
class ReadImage:
    """Labels of one image."""

    key: str
    objects: tuple[LabelledObject, ...] = ()
    size: Size | None = None
    """(height, width) as the labels state it; 0 or None: they do not."""
    omitted: tuple[Omission, ...] = ()
    annotation: Annotation | None = None
    """All that is known, where the labels are lossless records: nothing is checked or drawn anew."""

    @classmethod
    def of(cls, annotation: Annotation) -> ReadImage:
        """Return the objects of an annotation, whose masks are drawn."""
        objects = tuple(
            LabelledObject(
                Pixels(one.mask),
                one.class_id,
                one.quality,
                stated_box=one.box,
                prompt_points=one.prompt_points,
                crop_box=one.crop_box,
            )
            for one in annotation.instances
        )
        return cls(annotation.key, objects, annotation.image_size)

    def drawn(self) -> tuple[Annotation, tuple[Omission, ...]]:
        """Return the annotation, and what could not be drawn; the size is known."""
        if self.annotation is not None:
            return self.annotation, ()
        size = self.size
        if size is None:
            raise ValueError(f"the size of {self.key} is not known")
        instances, omitted = gather(((one.where, one) for one in self.objects), lambda one: one.instance(size))
        return Annotation(self.key, size, instances), omitted


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """An image that labels list, not read yet."""

    name: str
    """The image as the labels name it."""
    read: Callable[[str], ReadImage]
    """What they say of it, given its key.

    Raises: any `Exception`, where nothing of it can be read.
    """
    where: str = ""
    """File of the labels, for messages."""
    keys: tuple[str, ...] = ()
    """Keys that the labels' own place stands for, the likeliest first: to be tried before the name."""
    stems: tuple[str, ...] = ()
    """Keys without suffix that the label file's own place stands for, to be tried in this order after the name."""
    exact: bool = False
    """The name is the key already, of an image that need not be there."""


def gather(
    items: Iterable[tuple[str, T]], parse: Callable[[T], V | None]
) -> tuple[tuple[V, ...], tuple[Omission, ...]]:
    """Parse each item with `parse`; return the results and what could not be used.

    `items`: where each lies in its file, and the item. None of a parser: an item that is no object at all.
    """
    found: list[V] = []
    omitted: list[Omission] = []
    for where, item in items:
        try:
            if (one := parse(item)) is not None:
                found.append(one)
        except NotUsedError as error:
            omitted.append(Omission(one_line(error), where, expected=True))
        except Exception as error:  # a damaged object may make a parser raise anything
            omitted.append(Omission(lack_of(error), where))
    return tuple(found), tuple(omitted)


_OF_ANOTHER_KIND = (TypeError, AttributeError, IndexError, OverflowError)


def lack_of(error: Exception) -> str:
    """Describe what an item lacks that its format requires, from the error raised when reading it."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, _OF_ANOTHER_KIND):  # Python's words would be about Python
        return "a value is of another kind than expected"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or one_line(error)}"
    return one_line(error)


def lack_of_file(error: Exception) -> str:
    """Return the same of a whole file, which may be of another format."""
    text = lack_of(error)
    return f"not of this format: {text} (--from says which it is)" if isinstance(error, _OF_ANOTHER_KIND) else text


class Omissions:
    """Counts of what was left out of many images, by kind, with the first place."""

    def __init__(self) -> None:
        self.images: dict[str, int] = {}
        """Key of an image -> how many of its objects were left out."""
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[str, Omission]] = {}

    def add(self, key: str, omitted: Sequence[Omission]) -> None:
        """Add what was left out of one image."""
        if omitted:
            self.images[key] = self.images.get(key, 0) + len(omitted)
        for one in omitted:
            self._counts[one.kind] += 1
            self._first.setdefault(one.kind, (key, one))

    def lines(self) -> list[str]:
        """One for each kind: how many, why, and the first of them."""
        return [_line(self._counts[kind], *first) for kind, first in self._first.items()]


def lines_of(omitted: Iterable[tuple[str, Omission]]) -> list[str]:
    """One for each kind of omission; pairs of an image's key, or nothing, and what was left out of it."""
    together = Omissions()
    for key, one in omitted:
        together.add(key, [one])
    return together.lines()


def _line(count: int, key: str, first: Omission) -> str:
    """`2 objects were left out: REASON (first: IMAGE, OBJECT)`."""
    objects = "1 object was" if count == 1 else f"{count} objects were"
    place = ", ".join(part for part in (key, first.where) if part)
    more = f" ({'first: ' if count > 1 else ''}{place})" if place else ""
    return f"{objects} left out: {first.reason}{more}"

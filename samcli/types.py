"""The values that flow through samcli. All are frozen and checked when made.

Coordinates are xyxy floats in pixels of the original, upright image; sizes are (height, width).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samcli.errors import UsageError
from samcli.masks import Mask

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]
"""(height, width) in pixels."""


PromptPoint = tuple[float, float, int]
"""x, y in pixels of the original, upright image, and the label: 1 object, 0 background."""


_PAGE = re.compile(r"(.+)#([2-9]|[1-9][0-9]{1,6})(\.tiff?|\.gif)", re.IGNORECASE | re.DOTALL)
"""Key of a further page: that of the file with the page's number, from 1."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A path plus its key: the POSIX path relative to the input root, suffix included.

    The key is the identity of an image everywhere; never its stem. `size` (bytes) and `mtime_ns` tell one
    version of the file from another. `offset`: of its first byte in a tar file; None: it is a file of its own. Of a
    file of several pages the third is `scan#3.tif`, unless there is a file of that name.
    """

    root: Path
    key: str
    size: int = 0
    mtime_ns: int = 0
    offset: int | None = None

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        return self._place[0]

    @property
    def page(self) -> int:
        """Return the number of the page in its file, from 0."""
        return self._place[1]

    @property
    def _place(self) -> tuple[Path, int]:
        path = self.root / self.key
        if "#" not in self.key or (match := _PAGE.fullmatch(self.key)) is None or os.path.lexists(path):
            return path, 0
        return self.root / (match[1] + match[3]), int(match[2]) - 1


@dataclass(frozen=True)
class Image:
    """Decoded pixels: uint8 (H, W, 3) RGB, EXIF orientation applied."""

    ref: ImageRef
    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        _check_pixels(self.ref, self.pixels)

    @classmethod
    def from_array(cls, pixels: ArrayLike, name: str = "array") -> Image:
        """Return the image of an array: uint8 (H, W, 3) RGB, or (H, W) grey. `name`: for messages.

        Raises:
            ValueError: another dtype or shape, or no pixels.
        """
        array = np.asarray(pixels)
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, axis=2)
        return cls(ImageRef(Path(), name), np.ascontiguousarray(array))

    @property
    def image_size(self) -> Size:
        """(height, width) of the original, upright image."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def _check_pixels(ref: ImageRef, pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels of {ref.key!r} are {pixels.dtype} {pixels.shape}; expected uint8 (H, W, 3) RGB")
    if not pixels.size:
        raise ValueError(f"{ref.key!r} has no pixels")


class UndecodedImage(Image):
    """An image of known size whose pixels are decoded when, and only if, somebody asks for them.

    `decode`: gives its pixels as `Image` has them; called once, and what it raises is raised to who asked.

    Raises:
        ValueError: the size is none; or, when they are asked for, the pixels are not of that size or form.
    """

    def __init__(self, ref: ImageRef, image_size: Size, decode: Callable[[], NDArray[np.uint8]]) -> None:
        if min(image_size) < 1:
            raise ValueError(f"{ref.key!r} has no pixels")
        vars(self).update(ref=ref, _image_size=image_size, _decode=decode)

    @functools.cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """See Image."""
        pixels: NDArray[np.uint8] = vars(self)["_decode"]()
        _check_pixels(self.ref, pixels)
        if pixels.shape[:2] != self.image_size:
            (height, width), (found_height, found_width) = self.image_size, pixels.shape[:2]
            raise ValueError(
                f"{self.ref.key!r} has {found_width} x {found_height} pixels (width x height); "
                f"{width} x {height} were stated"
            )
        return pixels

    @property
    def image_size(self) -> Size:
        """See Image."""
        size: Size = vars(self)["_image_size"]
        return size


@dataclass(frozen=True)
class Embedding:
    """Output of the image encoder for one image, with all that is needed to prompt it later.

    `features`: (C, h, w) float tensor on the engine's device.
    `image_size`: the original, upright image; `input_size`: the resized one inside the padded square.
    `model`: identity of the encoder's weights; an engine refuses another model's embedding.
    `high_res`: finer levels (C', h', w'), the finest first, of a network whose decoder takes them (SAM 2).
    """

    features: torch.Tensor
    image_size: Size
    input_size: Size
    model: str
    high_res: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Detections:
    """Boxes (N, 4) float32 xyxy, class ids (N,) int64, scores (N,) float32 of one image, in pixels.

    `masks`: the N objects' own, some maybe empty, from a detector that was asked for them.
    """

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: tuple[Mask, ...] | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        class_ids = np.asarray(self.class_ids, np.int64).reshape(-1)
        scores = np.asarray(self.scores, np.float32).reshape(-1)
        if not len(boxes) == len(class_ids) == len(scores):
            raise ValueError(f"{len(boxes)} boxes, {len(class_ids)} class ids, {len(scores)} scores: not one each")
        if self.masks is not None and len(self.masks) != len(boxes):
            raise ValueError(f"{len(self.masks)} masks for {len(boxes)} boxes: not one each")
        for name, value in (("boxes", boxes), ("class_ids", class_ids), ("scores", scores)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Prompts:
    """N objects' prompts of one image, in pixels of the original image.

    `boxes`: (N, 4) xyxy. `points`: (N, K, 2) x, y with `point_labels` (N, K): 1 object, 0 background,
    -1 padding. `mask_logits`: (N, h, w) low-resolution logits of an earlier answer.
    All arrays that are given belong to the same N objects.

    Raises:
        UsageError: shapes do not fit each other, a box is empty or inside out, or nothing was given.
    """

    boxes: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    point_labels: NDArray[np.int64] | None = None
    mask_logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        boxes = _array(self.boxes, np.float32, (None, 4), "boxes")
        points = _array(self.points, np.float32, (None, None, 2), "points")
        labels = _array(self.point_labels, np.int64, (None, None), "point_labels")
        logits = _array(self.mask_logits, np.float32, (None, None, None), "mask_logits")
        given = [value for value in (boxes, points, logits) if value is not None]
        if not given:
            raise UsageError("no prompt was given; expected boxes, points or mask logits")
        if len({len(value) for value in given}) != 1:
            raise UsageError(f"prompts for {[len(v) for v in given]} objects; expected the same number in each")
        if (points is None) != (labels is None) or (
            points is not None and labels is not None and points.shape[:2] != labels.shape
        ):
            raise UsageError("point_labels must hold one label (1 object, 0 background) for each point")
        if boxes is not None:
            self._check_boxes(boxes)
        for name, value in (
            ("boxes", boxes), ("points", points), ("point_labels", labels), ("mask_logits", logits),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls, boxes: ArrayLike | None, points: ArrayLike | None, point_labels: ArrayLike | None = None
    ) -> Prompts:
        """Return prompts from arrays without needless brackets.

        `boxes`: one box (4,) or (N, 4). `points`: one point (2,), several of one object (K, 2), or (N, K, 2).
        `point_labels`: of the same shape without the last axis; None: all points are on the object.

        Raises:
            UsageError: see `Prompts`.
        """
        table = None if boxes is None else np.atleast_2d(np.asarray(boxes, np.float32))
        if points is None:
            return cls(boxes=table, point_labels=point_labels)  # type: ignore[arg-type]
        places = np.asarray(points, np.float32)
        if 1 <= places.ndim < 3:
            places = places.reshape(1, -1, places.shape[-1])
        labels = np.ones(places.shape[:-1]) if point_labels is None else np.asarray(point_labels)
        if labels.ndim < 2 and places.ndim == 3:
            labels = labels.reshape(1, -1)
        return cls(boxes=table, points=places, point_labels=labels)  # type: ignore[arg-type]

    @staticmethod
    def _check_boxes(boxes: NDArray[Any]) -> None:
        bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
        if bad.any():
            box = ", ".join(f"{v:g}" for v in boxes[bad][0])
            raise UsageError(f"box ({box}) is empty; expected x1,y1,x2,y2 with x1 < x2 and y1 < y2")

    def __len__(self) -> int:
        for value in (self.boxes, self.points, self.mask_logits):
            if value is not None:
                return len(value)
        raise AssertionError("unreachable: checked when made")

    def __getitem__(self, index: slice) -> Prompts:
        """Return the prompts of some of the objects."""
        part = {name: None if v is None else v[index] for name, v in vars(self).items()}
        return Prompts(**part)


def _array(
    value: ArrayLike | None, dtype: type[np.generic], shape: Sequence[int | None], name: str
) -> NDArray[Any] | None:
    """`value` as an array of that dtype and number of dimensions (None: any length), or None."""
    if value is None:
        return None
    array = np.asarray(value, dtype)
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise UsageError(f"{name} have shape {array.shape}; expected ({wanted})")
    return array


@dataclass(frozen=True)
class Segment:
    """One mask that SAM answered: for which prompt, from which output token, and how good it is.

    `predicted_iou`: SAM's own estimate. `stability`: IoU of the masks thresholded at +/- an offset.
    FastSAM's: `token` is the mask's rank among its answers, `predicted_iou` its score, and stability is not known.
    `low_res_logits`: (h, w) float32, only when asked for; may be fed back as `Prompts.mask_logits`.
    """

    prompt: int
    token: int
    mask: Mask
    predicted_iou: float
    stability: float | None
    low_res_logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Quality:
    """Figures that tell a doubtful instance from a good one; None where they do not apply."""

    detector_score: float | None = None
    predicted_iou: float | None = None
    stability: float | None = None
    box_iou: float | None = None
    """IoU of the mask's own box with the box that prompted it."""
    polygon_iou: float | None = None
    """IoU of the written polygon, rasterised as a trainer does, with the mask that labels are made of."""
    label_iou: float | None = None
    """IoU of the mask that labels are made of, without specks, with the mask as found; None where they are one."""


class Origin(str, Enum):
    """Author of an object's label."""

    MACHINE = "machine"
    EXISTING = "existing"
    """It was in the labels before the run."""
    HUMAN = "human"
    """A person has drawn or changed it."""


class Author(str, Enum):
    """Author of an object as it is counted."""

    MACHINE = "machine"
    EXISTING = "existing"
    """It was in the labels before the run, and nobody has changed it since."""
    CORRECTED = "corrected"
    """A person has changed an object that a machine or earlier labels had."""
    HUMAN = "human"
    """A person has drawn it."""


@dataclass(frozen=True)
class Instance:
    """One object: its mask, class id and quality figures, and what prompted it."""

    mask: Mask
    class_id: int
    quality: Quality = field(default_factory=Quality)
    prompt_box: tuple[float, float, float, float] | None = None
    prompt_points: tuple[PromptPoint, ...] = ()
    crop_box: tuple[int, int, int, int] | None = None
    """The part of the image (xyxy) that the network saw, where it was not the whole."""
    box: tuple[float, float, float, float] | None = None
    """Its box in sub-pixels, where labels state a finer one than the mask's own."""
    is_box: bool = False
    """Its mask is nothing but its box, filled."""
    source: Origin = Origin.MACHINE
    place: int | None = None
    """Of one that existed: its place among the objects of its image in the labels before the run, from 0."""
    changed: str | None = None
    """Of a person's: when it was drawn or last changed (ISO 8601, UTC)."""
    before: Instance | None = None
    """Of one that a person has changed: what it was before, whatever was changed since."""

    @property
    def author(self) -> Author:
        """Return who made the object: the machine, a person, a person who corrected one, or the earlier labels."""
        return Author.CORRECTED if self.before is not None else Author(self.source.value)


class Verdict(str, Enum):
    """Why a person took an object out of the labels."""

    NO_OBJECT = "no_object"
    """A false detection: the image shows no such object."""
    BAD_MASK = "bad_mask"
    """The image shows the object and its outline is wrong: the object is left without a label."""


class ImageMark(str, Enum):
    """A person's verdict on a whole image."""

    COMPLETE = "complete"
    """Every object has its label."""
    EXCLUDE = "exclude"
    """The image is never to be trained on."""


class Withheld(str, Enum):
    """Why trainers do not get an image."""

    INCOMPLETE = "incomplete"
    """It shows objects without a label, which a trainer would take for background."""
    EXCLUDED = "excluded"
    """A person excluded it."""


@dataclass(frozen=True)
class Dropped:
    """An object that was found or asked for and not labelled, and why."""

    reason: str
    class_id: int
    prompt_box: tuple[float, float, float, float] | None = None
    detector_score: float | None = None
    prompt_points: tuple[PromptPoint, ...] = ()
    instance: Instance | None = None
    """The whole of it, where a person rejected what was labelled: a later review may restore it."""
    index: int | None = None
    """With `instance`: its place among the instances as the run labelled them."""
    verdict: Verdict | None = None
    """With `instance`: what the person said of it."""


@dataclass(frozen=True)
class ExistingObjects:
    """Number of objects of an image in labels that existed before the run, and the image's name there."""

    count: int
    name: str


@dataclass(frozen=True)
class Annotation:
    """All instances of one image. What was dropped is kept beside them, with the reason."""

    key: str
    image_size: Size
    instances: tuple[Instance, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    omitted: int = 0
    """Objects of others' labels that could not be read and were left out."""
    mark: ImageMark | None = None
    existing: ExistingObjects | None = None
    """None: the image had no labels before the run."""

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO annotations: `category_id` is the class id, `bbox` xywh in pixels, masks are RLE."""
        return [
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": one.class_id,
                "segmentation": one.mask.to_coco(),
                "area": one.mask.area,
                "bbox": _xywh(one.mask),
                "iscrowd": 0,
            }
            for index, one in enumerate(self.instances)
        ]

    def save(self, path: str | Path, format: str = "yolo", names: Mapping[int, str] | None = None) -> None:
        """Write the labels of the image to a file; see `samcli.api.save_annotation`."""
        from importlib import import_module

        # By name: formats are built on these types, and are imported only where labels are written.
        import_module("samcli.api").save_annotation(self, path, format, names)

    def to_supervision(self, names: Mapping[int, str] | None = None) -> Any:
        """Return `supervision.Detections`: xyxy (N, 4) in pixels, mask (N, H, W), class_id and confidence (N,).

        Confidence is the detector's score, else SAM's predicted IoU. `names`: for `data["class_name"]`.

        Raises:
            ImportError: supervision is not installed.
        """
        import supervision

        kept = [one for one in self.instances if one.mask.box is not None]
        scores = [
            q.detector_score if q.detector_score is not None else q.predicted_iou for q in (o.quality for o in kept)
        ]
        labels = np.array([(names or {}).get(one.class_id, str(one.class_id)) for one in kept])
        return supervision.Detections(
            xyxy=np.array([one.mask.box for one in kept], np.float32).reshape(-1, 4),
            mask=np.array([one.mask.pixels() for one in kept], bool).reshape(-1, *self.image_size),
            class_id=np.array([one.class_id for one in kept], int),
            confidence=np.array(scores, np.float32) if None not in scores else None,
            data={"class_name": labels} if names is not None else {},
        )

    @property
    def withheld(self) -> Withheld | None:
        """Return why trainers do not get the image; None: they do.

        Objects that thresholds have filtered out leave an image complete.
        """
        if self.mark is ImageMark.EXCLUDE:
            return Withheld.EXCLUDED
        lacks = self.omitted > 0 or any(one.verdict is Verdict.BAD_MASK for one in self.dropped)
        return Withheld.INCOMPLETE if lacks and self.mark is not ImageMark.COMPLETE else None


def _xywh(mask: Mask) -> list[int]:
    left, top, right, bottom = mask.box or (0, 0, 0, 0)
    return [left, top, right - left, bottom - top]


class Status(str, Enum):
    """Status of an image."""

    DONE = "done"
    FAILED = "failed"
    GONE = "gone"
    """Labelled once; the image is no longer there, and another now has its label name."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one image: done, with the number of instances of each class, or failed, with the reason."""

    ref: ImageRef
    status: Status
    instances: Mapping[int, int] = field(default_factory=dict)
    """Class id to number of instances."""
    seconds: float = 0.0
    error: str | None = None
    whole_name: bool = False
    """Its label files are named after the whole file name, because another image holds the plain one."""
    dropped: int = 0
    """Objects that were found and not labelled; the reasons are in the record."""
    digest: str = ""
    """Of what else it depends on beside the image and the recipe, e.g. the image's own prompts."""
    withheld: Withheld | None = None
    """Why trainers do not get the image; its label files are kept aside then."""
    passing: bool = False
    """It failed for a reason that may pass: the next run tries again unasked."""
    rows: int | None = None
    """Rows of its YOLO label file, where they are not as many as its objects."""
    low_polygons: int = 0
    """Objects whose polygon IoU is below `--min-polygon-iou`."""
    authors: Mapping[Author, Mapping[int, int]] = field(default_factory=dict)
    """Class id to number of instances, of each author but the machine."""

    @property
    def instance_count(self) -> int:
        """Number of instances over all classes."""
        return sum(self.instances.values())


UNNAMED = "object"
"""What the only class is called where nobody has named any."""

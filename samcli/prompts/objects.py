"""Define the prompt for an object, check it against its image, and batch prompts for the engine."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError, one_line
from samcli.files import read_array
from samcli.types import Prompts, Size

if TYPE_CHECKING:
    from samcli.masks import Mask

XYXY = tuple[float, float, float, float]
XY = tuple[float, float]

_MAX_LOGITS_SIDE = 4096
"""Of a mask to start from. SAM's are 256 x 256: far larger ones are photos by mistake."""


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """Prompt for one object: any combination of a box, points and a mask, or else a polygon that is kept.

    Raises:
        UsageError: it asks for nothing, a box is empty or inside out, or labels do not fit the points.
    """

    box: XYXY | None = None
    """xyxy in pixels of the original, upright image."""
    points: tuple[XY, ...] = ()
    point_labels: tuple[int, ...] = ()
    """One for each point: 1 object, 0 background."""
    mask_input: Path | None = None
    """A .npy file of low-resolution logits, (h, w) or (1, h, w)."""
    rings: tuple[tuple[XY, ...], ...] = ()
    """A polygon that is the mask already, and never goes to SAM: positions of pixels as in `polygons.Ring`."""
    class_id: int = 0
    score: float | None = None
    where: str = ""
    """File and line, for messages."""

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise UsageError(f"{self.where}: {problem}" if self.where else problem)

    def _problem(self) -> str | None:
        if self.rings:
            if self.box or self.points or self.mask_input:
                return "a polygon that is kept takes no box, point or mask"
            if min(map(len, self.rings)) < 3:
                return "a polygon has at least three points"
            return None
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            if not (math.isfinite(sum(self.box)) and x1 < x2 and y1 < y2):
                return f"box ({shown(self.box)}) is empty; expected x1,y1,x2,y2 with x1 < x2 and y1 < y2"
        if len(self.points) != len(self.point_labels):
            return f"{len(self.point_labels)} labels for {len(self.points)} points; expected one for each"
        for point, label in zip(self.points, self.point_labels, strict=True):
            if label not in (0, 1):
                return f"label {label} of point ({shown(point)}); expected 1 (object) or 0 (background)"
            if not math.isfinite(sum(point)):
                return f"point ({shown(point)}) is not finite"
        if self.box is None and self.mask_input is None and 1 not in self.point_labels:
            given = "only background points" if self.points else "nothing"
            return f"{given} given; an object needs a box, a point with label 1, or a mask"
        return None


class PromptSource(Protocol):
    """Tells what to look for in each image. Immutable; may be asked from many threads."""

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name, without gaps: `{0: "object"}` where no class was named."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes for the user: what was left out, and the number of images without prompts."""
        ...

    @property
    def lost(self) -> Mapping[str, str]:
        """Images that it lists and that are not in the input, or cannot be told, by their names, and why."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Return what concerns every image, as plain values; what concerns one image is in its `digest`."""
        ...

    def matched(self, keys: Iterable[str]) -> PromptSource:
        """This source, held against the keys of a run's images; to be called once, before any other question.

        Raises:
            UsageError: it lists an image that is not there (the nearest key is named), or of none of them.
        """
        ...

    def keys(self) -> Collection[str] | None:
        """Return the images that the prompts are about, even to say that there is none; None: all images."""
        ...

    def digest(self, key: str) -> str:
        """Return a short hash of what it says about an image; empty if it says nothing.

        To be taken before the prompts are: a file that changes in between is then seen by the next run.

        Raises:
            ImageError: what it says cannot be read.
        """
        ...

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        """Return the objects to look for in an image, in the order of the source; boxes cut to the image.

        Raises:
            ImageError: something lies outside the image, or this image's own file cannot be read.
        """
        ...

    def omitted(self, key: str) -> int:
        """Number of objects of an image that could not be used and are not among those of `for_image`.

        To be asked after `for_image`.
        """
        ...


def fit_to_image(prompt: ObjectPrompt, image_size: Size) -> ObjectPrompt:
    """Return the prompt for an image of (height, width): a box that reaches over an edge is cut there.

    Raises:
        ImageError: the box has no part in the image, or a point is outside.
    """
    height, width = image_size
    for x, y in prompt.points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise _outside(prompt, f"point ({shown((x, y))}) is", image_size)
    if prompt.box is None:
        return prompt
    x1, y1, x2, y2 = prompt.box
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    left, top, right, bottom = np.asarray(inside, np.float32)  # as the engine will have it
    if left >= right or top >= bottom:
        raise _outside(prompt, f"box ({shown(prompt.box)}) is", image_size)
    return prompt if inside == prompt.box else replace(prompt, box=inside)


def _outside(prompt: ObjectPrompt, what: str, image_size: Size) -> ImageError:
    height, width = image_size
    where = f"{prompt.where}: " if prompt.where else ""
    return ImageError(f"{where}{what} outside the image of {width} x {height} pixels (width x height)")


def group(objects: Sequence[ObjectPrompt]) -> list[tuple[list[int], Prompts]]:
    """Objects with the same kinds of prompt together, as the engine takes them, each group with its indices.

    Nothing is padded, so the answer for an object is that to the object alone. Polygons that are kept are in
    no group.

    Raises:
        ImageError: a mask to start from cannot be read.
    """
    logits = {i: read_mask_input(o.mask_input, o.where) for i, o in enumerate(objects) if o.mask_input}
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, prompt in enumerate(objects):
        if not prompt.rings:
            shape = logits[index].shape if index in logits else None
            groups.setdefault((prompt.box is not None, len(prompt.points), shape), []).append(index)
    return [(members, _together(objects, members, logits)) for members in groups.values()]


def _together(
    objects: Sequence[ObjectPrompt], members: list[int], logits: dict[int, NDArray[np.float32]]
) -> Prompts:
    chosen = [objects[index] for index in members]
    first = chosen[0]
    return Prompts(
        boxes=np.array([o.box for o in chosen], np.float32) if first.box else None,
        points=np.array([o.points for o in chosen], np.float32) if first.points else None,
        point_labels=np.array([o.point_labels for o in chosen], np.int64) if first.points else None,
        mask_logits=np.stack([logits[index] for index in members]) if first.mask_input else None,
    )


def read_mask_input(path: Path, where: str = "") -> NDArray[np.float32]:
    """Low-resolution logits (h, w) out of a .npy file that holds (h, w) or (1, h, w) numbers.

    Raises:
        ImageError: there is no such file, or something else is in it.
    """
    name = f"{where}: mask_input {path}" if where else f"mask_input {path}"
    try:
        stored = read_array(path)
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror or one_line(error)}") from error
    except ValueError as error:
        raise ImageError(f"{name} {error}") from error
    shape = stored.shape[1:] if stored.ndim == 3 and stored.shape[0] == 1 else stored.shape
    if stored.ndim == 3 and len(stored) > 1 and stored.dtype.kind == "f":
        raise ImageError(
            f"{name} holds the logits of {len(stored)} masks; expected those of one: numpy.save(FILE, logits[i])"
        )
    if len(shape) != 2 or not stored.size or max(shape) > _MAX_LOGITS_SIDE or stored.dtype.kind != "f":
        raise ImageError(
            f"{name} holds {stored.dtype} {stored.shape}; expected the logits of an earlier answer, float (h, w)"
        )
    logits = np.array(stored.reshape(shape), np.float32)
    if not np.isfinite(logits).all():
        raise ImageError(f"{name} has values that are not finite")
    return logits


def mask_identity(path: Path | None) -> tuple[str, int, int] | None:
    """Return the version of a mask_input, as for images: name, size and time; -1, 0 if it is missing."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return path.name, -1, 0
    return path.name, status.st_size, status.st_mtime_ns


def kept_mask(prompt: ObjectPrompt, image_size: Size) -> Mask:
    """Return the mask of a polygon that is kept.

    Its pixels as a YOLO trainer draws them, (height, width) of them.
    """
    from samcli.polygons import draw_rings

    return draw_rings([np.array(ring) for ring in prompt.rings], image_size)


def shown(numbers: Iterable[float]) -> str:
    """Numbers as people write them: `1, 2.5`."""
    return ", ".join(f"{number:g}" for number in numbers)

"""Prompts from the command line: `--point`, `--box` and `--mask-input`, the same for every image."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samcli.errors import ImageError, UsageError
from samcli.prompts.objects import XYXY, ObjectPrompt, fit_to_image, mask_identity
from samcli.types import UNNAMED, Size


@dataclass(frozen=True)
class CommandLinePrompts:
    """The same objects in every image. See `PromptSource`.

    `one_image`: the input is a single image, so that other prompts for it replace its labels; for a folder they
    would be another run.
    """

    objects: tuple[ObjectPrompt, ...]
    names: dict[int, str] = field(default_factory=lambda: {0: UNNAMED})
    notes: tuple[str, ...] = ()
    one_image: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        shared = {"prompts": "command line", "names": None}
        return shared if self.one_image else {**shared, "objects": self._said()}

    def matched(self, keys: Iterable[str]) -> CommandLinePrompts:
        return self

    def keys(self) -> None:
        return None

    def digest(self, key: str) -> str:
        return hashlib.sha256(json.dumps(self._said()).encode()).hexdigest()[:16]

    def _said(self) -> list[Any]:
        return [
            [o.box, o.points, o.point_labels, mask_identity(o.mask_input)] for o in self.objects
        ]  # fmt: skip

    def omitted(self, key: str) -> int:
        return 0

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        return [_fit(prompt, image_size) for prompt in self.objects]


def _fit(prompt: ObjectPrompt, image_size: Size) -> ObjectPrompt:
    """Fit a prompt to the image.

    Raises:
        ImageError: it is outside the image, or has normalised coordinates.
    """
    corners = [*prompt.points, *([prompt.box[:2], prompt.box[2:]] if prompt.box else [])]
    values = [value for corner in corners for value in corner]
    if values and max(values) <= 1 < max(image_size) and any(value % 1 for value in values):
        height, width = image_size
        raise ImageError(
            f"{prompt.where} looks normalised (0 to 1); expected pixels of the upright image, {width} x {height}"
        )
    return fit_to_image(prompt, image_size)


def command_line_prompts(
    points: Sequence[str], boxes: Sequence[str], mask_input: Path | None = None
) -> CommandLinePrompts:
    """Return all points belong to one object; each box is an object. One box and points are one object together.

    `points`: `x,y` or `x,y,label` (1 object, 0 background). `boxes`: `x1,y1,x2,y2`. Both in pixels.
    `mask_input`: goes with that one object.

    Raises:
        UsageError: nothing was given, it cannot be read, or it is not clear what belongs together.
    """
    if not points and not boxes and mask_input is None:
        raise UsageError("no prompt: give --point x,y or --box x1,y1,x2,y2, or --prompts FILE for many images")
    if len(boxes) > 1 and (points or mask_input):
        other = "--point" if points else "--mask-input"
        raise UsageError(
            f"{len(boxes)} boxes and {other}: which box does it belong to? "
            "Give one box with it, or put the objects into a file for --prompts"
        )
    parsed = [_point(text) for text in points]
    prompt = {
        "points": tuple((x, y) for x, y, _ in parsed),
        "point_labels": tuple(label for _, _, label in parsed),
        "mask_input": mask_input,
    }
    objects = [ObjectPrompt(box=_box(text), **prompt, where=f"--box {text}") for text in boxes]  # type: ignore[arg-type]
    if not boxes:
        objects = [ObjectPrompt(**prompt, where="--point" if points else "--mask-input")]  # type: ignore[arg-type]
    return CommandLinePrompts(tuple(objects))


def _point(text: str) -> tuple[float, float, int]:
    values = _numbers(text)
    if len(values) not in (2, 3) or (len(values) == 3 and values[2] not in (0, 1)):
        raise UsageError(
            f"--point {text}: expected x,y or x,y,label with label 1 (object) or 0 (background), "
            "e.g. --point 320,240"
        )
    return values[0], values[1], int(values[2]) if len(values) == 3 else 1


def _box(text: str) -> XYXY:
    values = _numbers(text)
    if len(values) != 4:
        raise UsageError(f"--box {text}: expected x1,y1,x2,y2 in pixels, e.g. --box 10,20,110,220")
    return values


def _numbers(text: str) -> tuple[float, ...]:
    """Return the finite numbers between commas; none where one is not."""
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()

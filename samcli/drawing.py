"""Masks drawn over an image, in colours that are always the same for a class, or else for an object."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.masks import Mask
from samcli.types import UNNAMED, Annotation, Instance

Color = tuple[int, int, int]
"""RGB, 0 to 255."""

Plate = tuple[int, int, int]
"""Of a line of text: left, lower and right edge in pixels of the canvas."""

_OPACITY = 0.45
_TEXT_HEIGHT = 13
_GOLDEN = 0.618034
_PLAIN_SIDE = 1280
"""Pixels of the longer side up to which text and lines have their plain size; beyond, they grow with the image."""

PALETTE: tuple[Color, ...] = (
    (119, 221, 204), (85, 51, 255), (221, 255, 0), (136, 85, 0), (0, 102, 153), (187, 255, 153),
    (17, 119, 102), (0, 204, 255), (68, 136, 255), (204, 153, 17), (119, 170, 102), (34, 153, 170),
    (238, 238, 102), (187, 255, 204), (85, 170, 136), (51, 119, 68), (68, 85, 187), (68, 238, 255),
    (0, 153, 221), (0, 85, 221), (170, 136, 51), (153, 204, 102),
)  # fmt: skip
"""Colours of the first classes. Each pair differs by more than 17 in CIE Lab, also to eyes without red or green
cones (Machado et al., 2009, severity 1): chosen farthest first among such colours."""


def overlay(
    pixels: NDArray[np.uint8], annotation: Annotation, names: Mapping[int, str], side: int | None = None
) -> NDArray[np.uint8]:
    """Translucent masks, their outlines, class and score over an image, uint8 (H, W, 3) RGB; the same again.

    `side`: the longer side of the result; None keeps the photo's size.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width) if side else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    of_one_class = len(names) == 1  # as in everything mode: colours tell the objects apart
    order = sorted(enumerate(annotation.instances), key=lambda item: -item[1].mask.area)  # small ones stay visible
    for number, instance in order:
        _paint(canvas, instance.mask, class_color(number if of_one_class else instance.class_id), scale)
    plates: list[Plate] = []
    for _, instance in order:  # above all masks
        left, top, _, _ = instance.mask.crop()[1]
        text = _text(instance, names)
        if text and instance.mask.area:
            lower = max(_TEXT_HEIGHT * _growth(canvas), int(top * scale) - 2)
            plates.append(_write(canvas, text, int(left * scale), lower, plates))
    return np.asarray(canvas)


def _text(instance: Instance, names: Mapping[int, str]) -> str:
    """Class and score; nothing of a class that only says that it is one."""
    name = names.get(instance.class_id, str(instance.class_id))
    score = instance.quality.detector_score
    words = [name] if name != UNNAMED else []
    return " ".join(words + ([f"{score:.2f}"] if score is not None else []))


def _paint(canvas: NDArray[np.uint8], mask: Mask, color: Color, scale: float) -> None:
    pixels, (left, top, right, bottom) = mask.crop()
    if not pixels.size:
        return
    x1, y1 = min(int(left * scale), canvas.shape[1] - 1), min(int(top * scale), canvas.shape[0] - 1)
    x2, y2 = (
        min(max(x1 + 1, round(right * scale)), canvas.shape[1]),
        min(max(y1 + 1, round(bottom * scale)), canvas.shape[0]),
    )
    small = cv2.resize(pixels.astype(np.uint8), (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
    part = canvas[y1:y2, x1:x2]
    inside = small > 0
    part[inside] = (part[inside] * (1 - _OPACITY) + np.array(color) * _OPACITY).astype(np.uint8)
    outlines, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(part, outlines, -1, color, _growth(canvas), cv2.LINE_AA)


def _growth(canvas: NDArray[np.uint8]) -> int:
    """Return how many times their plain size text and lines have on a canvas."""
    return max(1, round(int(max(canvas.shape[:2])) / _PLAIN_SIDE))


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, taken: Sequence[Plate] = ()) -> Plate:
    """White on a dark plate, so that it reads on any ground, and where the plate is.

    `y` is its lower edge, or further down where the plates in `taken` leave room.
    """
    growth = _growth(canvas)
    font, size, high = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * growth, _TEXT_HEIGHT * growth
    (width, _), _ = cv2.getTextSize(text, font, size, growth)
    x = max(0, min(x, canvas.shape[1] - width))
    places = [(x, lower, x + width) for lower in range(y, canvas.shape[0], high)]
    free = (place for place in places if not any(_touch(place, other, high) for other in taken))
    plate = next(free, (x, y, x + width))
    y = plate[1]
    canvas[max(0, y - high) : y, x : x + width] //= 4
    cv2.putText(canvas, text, (x, y - 3 * growth), font, size, (255, 255, 255), growth, cv2.LINE_AA)
    return plate


def _touch(plate: Plate, other: Plate, high: int) -> bool:
    return plate[0] < other[2] and other[0] < plate[2] and abs(plate[1] - other[1]) < high


def class_color(class_id: int) -> tuple[int, int, int]:
    """Return an RGB colour, always the same for a class: of the palette, then hues by the golden ratio."""
    if 0 <= class_id < len(PALETTE):
        return PALETTE[class_id]
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def outlined(
    pixels: NDArray[np.uint8], shapes: Sequence[tuple[Mask | Sequence[float], Color, int]], side: int
) -> NDArray[np.uint8]:
    """Outlines of masks and boxes (xyxy) over an image, uint8 (H, W, 3) RGB; later ones over earlier ones.

    `shapes`: each with its RGB colour and the width of its line in pixels of the result. `side`: the longer
    side of the result.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.array(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    for shape, color, line in shapes:
        if isinstance(shape, Mask):
            cv2.polylines(canvas, _contours(shape, scale), True, color, line, cv2.LINE_AA)
        else:
            x1, y1, x2, y2 = (round(value * scale) for value in shape)
            cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
    return canvas


def _contours(mask: Mask, scale: float) -> list[NDArray[np.int32]]:
    """Borders of a mask, at the scale of the canvas."""
    part, (left, top, _, _) = mask.crop()
    if not part.size:
        return []
    found, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.round((ring + (left + 0.5, top + 0.5)) * scale - 0.5).astype(np.int32) for ring in found]


def caption(canvas: NDArray[np.uint8], text: str) -> None:
    """Write a line into the upper left corner."""
    _write(canvas, text, 0, _TEXT_HEIGHT + 2)


def titled(canvas: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return the picture, uint8 (H, W, 3), with a dark bar below that shows the text, or its end where it is too
    long.
    """
    bar = np.full((_TEXT_HEIGHT + 3, canvas.shape[1], 3), 20, np.uint8)
    shown = text
    while shown and cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] > canvas.shape[1]:
        shown = "..." + shown.removeprefix("...")[1:] if len(shown) > 4 else ""
    _write(bar, shown, 2, _TEXT_HEIGHT)
    return np.concatenate([canvas, bar])

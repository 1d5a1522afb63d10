"""Masks drawn over an image, in colours that are always the same for a class, or else for an object."""

from __future__ import annotations

import colorsys
import itertools
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
_TEXT_SIZE = 0.4
_GOLDEN = 0.618034
_PLAIN_SIDE = 1000
"""Pixels of the longer side up to which text and lines have their plain size; beyond, they grow with the image."""

_DARK, _LIGHT, _WHITE = (20, 20, 20), (230, 230, 230), (255, 255, 255)
"""Edges of lines: a dark one for light colours, a light one for dark colours. Text is white."""

_FOREGROUND, _BACKGROUND = (0, 158, 60), (220, 20, 60)
"""Colours of point prompts with label 1 and 0, which also differ by their signs: plus and minus."""

_DASH = 10
"""Length of the dashes of prompt boxes, in pixels of the plain size."""

_GRID = 20
"""More objects than this with a single point each come from a sampling grid, whose points would hide the image."""

PALETTE: tuple[Color, ...] = (
    (255, 34, 68), (102, 34, 255), (255, 170, 255), (238, 255, 0), (170, 255, 204), (170, 34, 102),
    (170, 0, 170), (204, 255, 136), (136, 136, 255), (255, 136, 0), (238, 102, 136), (68, 102, 0),
    (204, 102, 170), (255, 170, 136), (170, 34, 68), (102, 255, 238), (0, 102, 238), (170, 34, 136),
    (0, 238, 68), (204, 102, 204),
)  # fmt: skip
"""Colours of the first classes. Each pair differs by more than 15 in CIE Lab, also to eyes without red or green
cones (Machado et al., 2009, severity 1). The order is farthest first, so that few classes differ most."""


def overlay(
    pixels: NDArray[np.uint8],
    annotation: Annotation,
    names: Mapping[int, str],
    side: int | None = None,
    *,
    prompts: bool = False,
) -> NDArray[np.uint8]:
    """Draw translucent masks, their outlines, class and score on an image.

    `pixels`: uint8 (H, W, 3) RGB; so is the result. `side`: the longer side of the result in pixels; None: that of
    the image. `prompts`: also draw the boxes and points that prompted the masks, but not those of a sampling grid.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width) if side else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    of_one_class = len(names) == 1  # as in everything mode: colours tell the objects apart
    order = sorted(enumerate(annotation.instances), key=lambda item: -item[1].mask.area)  # small ones stay visible
    for number, instance in order:
        _paint(canvas, instance.mask, class_color(number if of_one_class else instance.class_id), scale)
    if prompts and not _is_grid(annotation):
        for number, instance in order:
            color = class_color(number if of_one_class else instance.class_id)
            _draw_prompts(canvas, instance, color, scale)
    plates: list[Plate] = []
    for _, instance in order:  # above all masks
        left, top, _, _ = instance.mask.crop()[1]
        text = _text(instance, names)
        if text and instance.mask.area:
            lower = max(_grown(canvas, _TEXT_HEIGHT), int(top * scale) - 2)
            plates.append(_write(canvas, text, int(left * scale), lower, plates))
    return np.asarray(canvas)


def _is_grid(annotation: Annotation) -> bool:
    single = [one for one in annotation.instances if len(one.prompt_points) == 1 and one.prompt_box is None]
    return len(single) > _GRID


def _text(instance: Instance, names: Mapping[int, str]) -> str:
    """Return class and score; without the name of a class that only says that it is one."""
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
    for line, shade in edged(color, _grown(canvas, 1)):
        cv2.drawContours(canvas, outlines, -1, shade, line, cv2.LINE_AA, offset=(x1, y1))


def edged(color: Color, line: int) -> tuple[tuple[int, Color], ...]:
    """Return the widths and colours of the two strokes of a line that is visible on any ground.

    The wider stroke comes first: a dark or a light edge, whichever differs more from the colour. White lines have
    no edge: they are drawn on others.
    """
    if color == _WHITE:
        return ((line, color),)
    red, green, blue = color
    edge = _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 115 else _LIGHT
    return (line + 2 * max(1, round(line / 2)), edge), (line, color)


def _draw_prompts(canvas: NDArray[np.uint8], instance: Instance, color: Color, scale: float) -> None:
    """Draw the box of an object's prompt as a dashed line, and its points as discs with a plus or a minus."""
    if instance.prompt_box is not None:
        x1, y1, x2, y2 = (round(value * scale) for value in instance.prompt_box)
        corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
            _dash(canvas, start, end, color)
    radius = _grown(canvas, 6)
    for x, y, label in instance.prompt_points:
        centre = round(x * scale), round(y * scale)
        cv2.circle(canvas, centre, radius + _grown(canvas, 3), _DARK, -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius + _grown(canvas, 2), _WHITE, -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, _FOREGROUND if label else _BACKGROUND, -1, cv2.LINE_AA)
        arm = radius // 2 + 1
        ends = [(arm, 0)] + ([(0, arm)] if label else [])
        for dx, dy in ends:
            first, last = (centre[0] - dx, centre[1] - dy), (centre[0] + dx, centre[1] + dy)
            cv2.line(canvas, first, last, _WHITE, _grown(canvas, 2), cv2.LINE_AA)


def _dash(canvas: NDArray[np.uint8], start: tuple[int, int], end: tuple[int, int], color: Color) -> None:
    """Draw a dashed line with edges."""
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    count = max(1, round(length / _grown(canvas, _DASH) / 2)) * 2 + 1  # begins and ends with a dash
    places = np.linspace(start, end, count + 1).round().astype(int).tolist()
    for line, shade in edged(color, _grown(canvas, 2)):
        for first, last in list(itertools.pairwise(places))[::2]:
            cv2.line(canvas, first, last, shade, line, cv2.LINE_AA)


def _growth(canvas: NDArray[np.uint8]) -> float:
    """Return the size of text and lines on a canvas as a multiple of their plain size."""
    return max(1.0, int(max(canvas.shape[:2])) / _PLAIN_SIDE)


def _grown(canvas: NDArray[np.uint8], length: int) -> int:
    """Return a length in pixels of the plain size as it is on a canvas."""
    return max(1, round(length * _growth(canvas)))


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, taken: Sequence[Plate] = ()) -> Plate:
    """Write white text on a dark plate, which is legible on any ground. Return the place of the plate.

    `y` is its lower edge, or further down where the plates in `taken` leave room.
    """
    font, size, line, high = (
        cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SIZE * _growth(canvas), _grown(canvas, 1), _grown(canvas, _TEXT_HEIGHT)
    )  # fmt: skip
    text = _drawable(text)
    (width, _), _ = cv2.getTextSize(text, font, size, line)
    x = max(0, min(x, canvas.shape[1] - width))
    places = [(x, lower, x + width) for lower in range(y, canvas.shape[0], high)]
    free = (place for place in places if not any(_touch(place, other, high) for other in taken))
    plate = next(free, (x, y, x + width))
    y = plate[1]
    canvas[max(0, y - high) : y, x : x + width] //= 4
    cv2.putText(canvas, text, (x, y - round(high / 4)), font, size, _WHITE, line, cv2.LINE_AA)
    return plate


def _touch(plate: Plate, other: Plate, high: int) -> bool:
    return plate[0] < other[2] and other[0] < plate[2] and abs(plate[1] - other[1]) < high


def class_color(class_id: int) -> tuple[int, int, int]:
    """Return an RGB colour, always the same for a class: of the palette, then hues by the golden ratio."""
    if 0 <= class_id < len(PALETTE):
        return PALETTE[class_id]
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


Stroke = tuple[Color, int]
"""Colour (RGB) and width (pixels) of a line."""


def outlined(
    pixels: NDArray[np.uint8], shapes: Sequence[tuple[Mask | Sequence[float], Stroke]], side: int
) -> NDArray[np.uint8]:
    """Draw the outlines of masks and boxes (xyxy) on an image; later shapes are drawn over earlier ones.

    `pixels`: uint8 (H, W, 3) RGB; so is the result. `side`: the longer side of the result in pixels.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.array(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    for shape, (color, width_of_line) in shapes:
        for line, shade in edged(color, width_of_line):
            if isinstance(shape, Mask):
                cv2.polylines(canvas, _contours(shape, scale), True, shade, line, cv2.LINE_AA)
            else:
                x1, y1, x2, y2 = (round(value * scale) for value in shape)
                cv2.rectangle(canvas, (x1, y1), (x2, y2), shade, line, cv2.LINE_AA)
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
    _write(canvas, _fitted(text, canvas.shape[1]), 0, _grown(canvas, _TEXT_HEIGHT) + 2)


def titled(canvas: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return the picture, uint8 (H, W, 3), with a dark bar below that shows the text, or its end where it is too
    long.
    """
    bar = np.full((_TEXT_HEIGHT + 3, canvas.shape[1], 3), 20, np.uint8)
    _write(bar, _fitted(text, canvas.shape[1]), 2, _TEXT_HEIGHT)
    return np.concatenate([canvas, bar])


def legend(width: int, entries: Sequence[tuple[str, Stroke]]) -> NDArray[np.uint8]:
    """Return a dark bar, uint8 (H, `width`, 3), that explains lines: a sample of each and its meaning.

    Entries that do not fit beside the others go into a further row.
    """
    places, left, row = [], 8, 0
    for text, stroke in entries:
        needed = 44 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _LEGEND_SIZE, 1)[0][0] + 20
        if left > 8 and left + needed > width:
            left, row = 8, row + 1
        places.append((left, row, text, stroke))
        left += needed
    bar = np.full(((row + 1) * _LEGEND_ROW + 4, width, 3), 60, np.uint8)
    for left, row, text, (color, width_of_line) in places:
        middle = row * _LEGEND_ROW + _LEGEND_ROW // 2 + 2
        for line, shade in edged(color, width_of_line):
            cv2.line(bar, (left + 2, middle), (left + 34, middle), shade, line, cv2.LINE_AA)
        place = left + 44, middle + 6
        cv2.putText(bar, text, place, cv2.FONT_HERSHEY_SIMPLEX, _LEGEND_SIZE, _WHITE, 1, cv2.LINE_AA)
    return bar


_LEGEND_ROW, _LEGEND_SIZE = 30, 0.6
"""Height of a row in pixels, and size of its text."""


def _fitted(text: str, width: int) -> str:
    """Return the text, or its end where it is wider than that many pixels of the plain size."""
    shown = text = _drawable(text)
    while shown and cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SIZE, 1)[0][0] > width:
        shown = "..." + shown.removeprefix("...")[1:] if len(shown) > 4 else ""
    return shown


def _drawable(text: str) -> str:
    """Return the text with `?` for characters that OpenCV cannot draw: halves of pairs would end the process."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

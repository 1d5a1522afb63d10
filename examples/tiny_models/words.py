"""What words say of the objects of a scene: its shape, its colour, or both.

A scene's colours are drawn at random and have no name in `scenes.py`: `colour_name` names what an object looks
like in the finished picture. Colours between two names have none, and no word of colour is then right or wrong.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from scenes import CLASSES

HUES = {
    "orange": (20, 40),
    "yellow": (48, 68),
    "green": (85, 160),
    "cyan": (172, 196),
    "blue": (208, 255),
    "purple": (266, 295),
    "pink": (306, 338),
    "red": (350, 372),
}
"""Degrees. Red goes over the end of the circle."""

COLOURS = (*HUES, "black", "white", "grey")
PAIRS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in CLASSES)
PROMPTS = (*CLASSES, *COLOURS, *PAIRS)

RIGHT, WRONG, UNKNOWN = 1, 0, -1


def colour_name(rgb: NDArray[np.floating]) -> str | None:
    """Return the name of a colour (3,), 0..255; None between two names."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(channel) / 255 for channel in rgb))
    if value < 0.16:
        return "black"
    if saturation < 0.12:
        return "white" if value > 0.88 else "grey" if 0.28 < value < 0.75 else None
    if saturation < 0.35 or value < 0.35:
        return None
    degrees = hue * 360 if hue * 360 > HUES["red"][1] - 360 else hue * 360 + 360
    return next((name for name, (first, last) in HUES.items() if first <= degrees <= last), None)


def object_colour(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> str | None:
    """Return the name of the median colour of a mask's pixels: image (H, W, 3), mask (H, W)."""
    return colour_name(np.median(image[mask], 0))


def meanings(shape: int, colour: str | None) -> NDArray[np.int8]:
    """Return for every prompt whether it is said of an object: RIGHT, WRONG or UNKNOWN, int8 (P,)."""
    shapes = np.eye(len(CLASSES), dtype=np.int8)[shape]
    colours = np.array([UNKNOWN if colour is None else int(name == colour) for name in COLOURS], np.int8)
    return np.concatenate([shapes, colours, (colours[:, None] * shapes[None]).ravel()])

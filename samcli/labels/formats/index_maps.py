"""PNG files whose pixels are numbers of instances or classes, with the Pascal VOC palette to be looked at."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samcli.labels.formats.base import Rendering
from samcli.masks import Mask
from samcli.types import Instance, Size

if TYPE_CHECKING:
    from PIL.Image import Image as PngImage

Map = NDArray[np.uint8] | NDArray[np.uint16]


@functools.cache
def palette() -> list[tuple[int, int, int]]:
    """Return the 256 colours of Pascal VOC.

    The bits of a number, dealt to red, green and blue from the highest on.
    """
    colours = []
    for number in range(256):
        channels = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
        colours.append((channels[0], channels[1], channels[2]))
    return colours


def map_png(labels: Map, colours: Sequence[int] | None = None) -> bytes:
    """8 bits with palette; 16 bits grey for uint16. `colours`: of another palette than VOC's."""
    from PIL import Image

    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image.putpalette(colours or [value for colour in palette() for value in colour])  # makes it mode P
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass
class ExistingMap:
    """A map that was there before a run: its numbers, int64 (H, W), and its palette; None where it has none."""

    numbers: NDArray[np.int64]
    colours: Sequence[int] | None

    @classmethod
    def of(cls, data: bytes) -> ExistingMap:
        """Return the map in a PNG.

        Raises:
            ValueError: it is none.
        """
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            colours = image.getpalette() if image.mode == "P" else None
            return cls(_numbers_in(image, None), colours)

    def png(self) -> bytes:
        """Return it as a PNG, of 16 bits where a number does not fit in 8."""
        dtype = np.uint8 if self.numbers.max(initial=0) <= 255 else np.uint16
        numbers: Map = self.numbers.astype(dtype)
        return map_png(numbers, self.colours)


def draw_beside(
    objects: ExistingMap, classes: ExistingMap, instances: Sequence[Instance], first: int, free: NDArray[np.bool_]
) -> None:
    """Draw instances into the maps where these are `free`, (H, W), small ones on top; `first`: number of the first.

    Numbers of classes are class ids + 1.
    """
    for place in sorted(range(len(instances)), key=lambda place: -instances[place].mask.area):
        pixels, (left, top, right, bottom) = instances[place].mask.crop()
        part = slice(top, bottom), slice(left, right)
        pixels = pixels & free[part]
        objects.numbers[part][pixels] = first + place
        classes.numbers[part][pixels] = instances[place].class_id + 1


def read_map(path: Path | str, size: Size | None = None) -> NDArray[np.int64]:
    """(H, W) numbers in a PNG with palette, or grey of 8 or 16 bits.

    `size`: (height, width) that it must have, if that is known.

    Raises:
        ValueError: it is neither, of another size, or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return _numbers_in(Image.open(path), size)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{Path(path).name} cannot be decoded as a PNG") from error


def _numbers_in(opened: PngImage, size: Size | None) -> NDArray[np.int64]:
    with opened as image:
        if size is not None and size != (image.height, image.width):
            own = f"{image.width} x {image.height}"
            raise ValueError(f"a map of {own} pixels in an image of {size[1]} x {size[0]}")
        if image.mode not in ("P", "L", "I;16", "I", "1"):
            raise ValueError(f"pixels are {image.mode}; expected numbers: a palette, or grey")
        return np.asarray(image).astype(np.int64)


def class_map(rendering: Rendering) -> Map:
    """Class id + 1 by pixel, 0 where there is no object; where masks overlap, that of the label map's object."""
    values = np.array([0, *(instance.class_id + 1 for instance in rendering.annotation.instances)])
    if values.max() > 65_535:
        raise ValueError(f"class {values.max() - 1}; a PNG has numbers up to 65535")
    dtype = np.uint8 if values.max() <= 255 else np.uint16
    mapped: Map = values.astype(dtype)[rendering.label_map]
    return mapped


def masks_of(labels: NDArray[np.int64], *, void: int | None = None) -> dict[int, Mask]:
    """Return the mask of each number in a map, but for 0 and `void`."""
    import cv2

    size = labels.shape[0], labels.shape[1]
    found = {}
    for number in np.unique(labels).tolist():
        if number in (0, void):
            continue
        pixels = labels == number
        left, top, width, height = cv2.boundingRect(pixels.astype(np.uint8))
        found[number] = Mask.from_pixels(pixels[top : top + height, left : left + width], (left, top), size)
    return found

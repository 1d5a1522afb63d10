"""Masks of the shapes that label tools know: polygons, boxes, rotated rectangles, ellipses, run lengths.

Coordinates come from files and may be anything. A shape that is not finite, has no extent or lies outside the
image is a ValueError; what reaches out of the image is cut there before any pixel is drawn, so that time and
memory depend on the image and on the number of points, never on how large the numbers are. Positions are
continuous: 0 is the left or upper edge of the first pixel, whose centre is at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.masks import Mask
from samcli.types import Size

Floats = NDArray[np.float64]

_MARGIN = 2.0
"""Pixels around the image that far polygons keep: no edge along the cut may touch a pixel of the image."""

_LARGEST = 1e307
"""Greater coordinates are taken for this: differences of two are then finite."""

_FARTHEST = 1e7
"""Centres of ellipses and rotated rectangles farther away, in pixels, are damage and not shapes of the image."""

_LONGEST = 1e9
"""Greater radii and sides make no difference to an image within `_FARTHEST`."""


_LONGEST_OUTLINE = 4.0
"""Pixels of a polygon's outline for each pixel of the image; no mask has a longer one than this."""

_ALWAYS_DRAWN = 100_000.0
"""Pixels of outline that are drawn in an image of any size."""

_DRAWN_AT_ONCE = 500_000.0
"""Pixels of outline that pycocotools is given at once: about 50 MB."""


def numbers(values: Any, what: str = "value") -> list[float]:
    """Return the values as finite floats.

    Raises:
        ValueError: one is no number, or is not finite; says which, calling it `what`.
    """
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{shown(values)} where a list of numbers is expected")
    return [number(value, what) for value in values]


def number(value: Any, what: str = "value") -> float:
    """Return the value as a finite float; text that spells a number is one.

    Raises:
        ValueError: it is no number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, np.number)):
        raise ValueError(f"{what} is {shown(value)}; expected a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{what} is {shown(value)}; expected a number") from None
    if not math.isfinite(found):
        raise ValueError(f"{what} is {found}; expected a finite number")
    return found


def whole_number(value: Any, what: str = "value") -> int:
    """Return the value as a whole number; 2.0 and "2" are some.

    Raises:
        ValueError: it is none.
    """
    found = number(value, what)
    if found != int(found):
        raise ValueError(f"{what} is {found:g}; expected a whole number")
    return int(found)


def side(value: Any) -> int:
    """Return a stated width or height of an image in pixels; 0 if it is missing or not usable."""
    try:
        found = whole_number(value)
    except ValueError:
        return 0
    return found if 0 < found < _LONGEST else 0


def ring_of(points: Any, what: str = "polygon") -> Floats:
    """(K, 2) of a list of x, y pairs.

    Raises:
        ValueError: fewer than three points, or one that is no pair of finite numbers.
    """
    ring = points_of(points, what)
    if len(ring) < 3:
        raise ValueError(f"a {what} of {len(ring)} points; expected three or more")
    return ring


def points_of(points: Any, what: str) -> Floats:
    """(K, 2) of a list of x, y pairs, maybe none.

    Raises:
        ValueError: it is no list, or one of them is no pair of finite numbers.
    """
    if not isinstance(points, (list, tuple)):
        raise ValueError(f"a {what} whose points are {shown(points)}; expected a list of x, y pairs")
    found = []
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise ValueError(f"a {what} with a point {shown(point)}; expected x, y")
        found.append([number(value, f"a coordinate of a {what}") for value in point])
    return np.array(found, np.float64).reshape(-1, 2)


def shown(value: Any) -> str:
    """Return a short form of a value out of a file, in JSON's words."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)} values"
    return (
        f"'{value:.40}'" if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else "a number"
    )


def clip_ring(ring: Floats, image_size: Size) -> Floats:
    """(K, 2) pixels of a polygon, cut at a margin around the image if it reaches farther than the image is large.

    Others are returned as they are, to the bit. What lies inside the image is the same (Sutherland and Hodgman,
    1974); (0, 2) where nothing is left.

    Raises:
        ValueError: a coordinate is not finite.
    """
    if not np.isfinite(ring).all():
        raise ValueError("a polygon has a coordinate that is not finite")
    size = np.array(image_size[::-1], np.float64)
    if not ((ring < -size) | (ring > 2 * size)).any():
        return ring
    ring = np.clip(ring, -_LARGEST, _LARGEST)
    for axis, limit in enumerate(size + _MARGIN):
        ring = _cut(ring, axis, -_MARGIN, -1)
        ring = _cut(ring, axis, float(limit), 1)
    return ring


def _cut(ring: Floats, axis: int, limit: float, sign: int) -> Floats:
    """Return the part of a ring below (sign 1) or above (sign -1) a limit on an axis."""
    if not len(ring):
        return ring
    after = np.roll(ring, -1, axis=0)
    inside = sign * ring[:, axis] <= sign * limit
    crosses = inside != np.roll(inside, -1)
    # From the end that lies inside: near the image no digits are lost, however far away the other end is.
    start = np.where(inside[:, None], ring, after)
    step = np.where(inside[:, None], after, ring) - start
    share = np.zeros(len(ring))
    np.divide(limit - start[:, axis], step[:, axis], out=share, where=crosses)
    met = start + share[:, None] * step
    met[:, axis] = limit
    both = np.stack([ring, met], 1).reshape(-1, 2)
    kept: Floats = both[np.stack([inside, crosses], 1).ravel()]
    return kept


def polygon_mask(rings: Sequence[Floats], image_size: Size) -> Mask:
    """Return the pixels of rings in shares of the image's size, as a YOLO trainer draws them.

    Raises:
        ValueError: a coordinate is not finite, or all of it lies outside the image.
    """
    from samcli.polygons import draw

    size = np.array(image_size[::-1], np.float64)
    near = [ring if _is_near(ring) else clip_ring(_scaled(ring, size), image_size) / size for ring in rings]
    near = [ring for ring in near if len(ring)]
    check_outline([ring * size for ring in near], image_size)
    mask = draw(near, image_size) if near else None
    if mask is None or not mask.area:
        raise ValueError("a polygon lies outside the image")
    return mask


def check_outline(rings: Sequence[Floats], image_size: Size) -> None:
    """Raise an error for polygons so long that drawing them would take far longer than the image is large.

    Raises:
        ValueError: so they are; rings (K, 2) in pixels.
    """
    most = _LONGEST_OUTLINE * image_size[0] * image_size[1] + _ALWAYS_DRAWN
    if sum(map(len, rings)) * 3 * max(image_size) <= most:  # no edge is longer once it is cut
        return
    length = sum(float(_edges(ring).sum()) for ring in rings)
    if length > most:
        raise ValueError(f"a polygon whose outline is {length:.3g} pixels long; expected at most {most:.3g}")


def _edges(ring: Floats) -> Floats:
    """(K,): pixels that each edge crosses, the last one back to the start."""
    lengths: Floats = np.abs(np.roll(ring, -1, axis=0) - ring).max(1)
    return lengths


def coco_polygon_mask(rings: Sequence[Floats], image_size: Size) -> Mask:
    """Return the pixels of rings (K, 2) near the image, as pycocotools draws them.

    pycocotools keeps five points for each pixel of an outline. Long rings are drawn in pieces, each closed through
    the ring's first point: edges between pieces are drawn twice and cancel, so the result is the same.

    Raises:
        ValueError: the outline is far too long for the image.
    """
    from pycocotools import mask as coco

    check_outline(rings, image_size)
    masks = []
    for ring in rings:
        whole, *others = coco.frPyObjects([piece.ravel().tolist() for piece in _pieces(ring)], *image_size)
        if others:
            pixels = coco.decode(whole)
            for other in others:
                pixels ^= coco.decode(other)
            whole = coco.encode(pixels)
        masks.append(whole)
    return Mask.from_coco(coco.merge(masks))


def _pieces(ring: Floats) -> list[Floats]:
    """Return the ring, or fans of at most `_DRAWN_AT_ONCE` pixels of outline that are the ring together."""
    piece = (np.cumsum(_edges(ring)) // _DRAWN_AT_ONCE).astype(np.int64)
    if piece[-1] == 0:
        return [ring]
    closed = np.concatenate([ring, ring[:1]])
    ends = [*(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(ring)]
    starts = [0, *ends[:-1]]
    return [np.concatenate([ring[:1], closed[start : end + 1]]) for start, end in zip(starts, ends, strict=True)]


def _is_near(ring: Floats) -> bool:
    """Return whether a ring in shares lies within an image's size of the image."""
    return bool(((ring >= -1) & (ring <= 2)).all())


def _scaled(ring: Floats, size: Floats) -> Floats:
    if not np.isfinite(ring).all():
        raise ValueError("a polygon has a coordinate that is not finite")
    return np.clip(ring, -_LARGEST / size, _LARGEST / size) * size


def box_mask(box: tuple[float, float, float, float], image_size: Size) -> Mask:
    """Return a filled rectangle: the box (xyxy) to whole pixels, one at least, inside the image.

    Raises:
        ValueError: the box has no extent, lies outside the image, or is not finite.
    """
    height, width = image_size
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0 and np.isfinite(box).all()):
        raise ValueError(f"box {x1:g}, {y1:g}, {x2:g}, {y2:g} in an image of {width} x {height} pixels")
    left, top = min(max(round(x1), 0), width - 1), min(max(round(y1), 0), height - 1)
    right, bottom = max(min(round(x2), width), left + 1), max(min(round(y2), height), top + 1)
    return Mask.from_pixels(np.ones((bottom - top, right - left), bool), (left, top), image_size)


@dataclass(frozen=True)
class Placed:
    """An ellipse or a rectangle: its centre, half its extent before it is turned, and the turn.

    Pixels; `degrees` clockwise as seen in the image (from the x axis to the y axis).

    Raises:
        ValueError: it is not finite, has no extent, or lies far from any image.
    """

    x: float
    y: float
    half_width: float
    half_height: float
    degrees: float = 0.0

    def __post_init__(self) -> None:
        values = (self.x, self.y, self.half_width, self.half_height, self.degrees)
        if not all(map(math.isfinite, values)):
            raise ValueError("a shape has a coordinate that is not finite")
        if self.half_width <= 0 or self.half_height <= 0:
            extent = f"{2 * self.half_width:g} x {2 * self.half_height:g}"
            raise ValueError(f"a shape of {extent} pixels; expected a width and height above 0")
        if max(abs(self.x), abs(self.y)) > _FARTHEST:
            raise ValueError(f"a shape at {self.x:g}, {self.y:g}: outside the image")

    @property
    def axes(self) -> Floats:
        """(2, 2): unit vectors along its width and its height, divided by half the extent."""
        turn = math.radians(self.degrees % 360)
        cos, sin = math.cos(turn), math.sin(turn)
        lengths: Floats = np.minimum([[self.half_width], [self.half_height]], _LONGEST)
        axes: Floats = np.array([[cos, sin], [-sin, cos]], np.float64) / lengths
        return axes


def rotated_box(corner: tuple[float, float], extent: tuple[float, float], degrees: float) -> Placed:
    """Return a rectangle turned about its own upper left corner, as Label Studio stores it.

    Raises:
        ValueError: see `Placed`.
    """
    turn = math.radians(degrees % 360)
    cos, sin = math.cos(turn), math.sin(turn)
    half_width, half_height = extent[0] / 2, extent[1] / 2
    x = corner[0] + half_width * cos - half_height * sin
    y = corner[1] + half_width * sin + half_height * cos
    return Placed(x, y, half_width, half_height, degrees)


def rectangle_mask(shape: Placed, image_size: Size) -> Mask:
    """Return the pixels whose centres lie in a rectangle that may be turned.

    Raises:
        ValueError: it lies outside the image.
    """
    if not shape.degrees % 180:
        left, top = shape.x - shape.half_width, shape.y - shape.half_height
        return box_mask((left, top, shape.x + shape.half_width, shape.y + shape.half_height), image_size)
    if not shape.degrees % 90:
        upright = Placed(shape.x, shape.y, shape.half_height, shape.half_width)
        return rectangle_mask(upright, image_size)
    dy = _rows(image_size) - shape.y
    low, high = np.full(len(dy), -np.inf), np.full(len(dy), np.inf)
    for along_x, along_y in shape.axes.tolist():  # within the strip -1 <= along_x * dx + along_y * dy <= 1
        ends = (np.array([[-1.0], [1.0]]) - along_y * dy) / along_x
        low, high = np.maximum(low, ends.min(0)), np.minimum(high, ends.max(0))
    return _rows_mask(shape, low, high, image_size)


def ellipse_mask(shape: Placed, image_size: Size) -> Mask:
    """Return the pixels whose centres lie in an ellipse.

    Raises:
        ValueError: it lies outside the image.
    """
    dy = _rows(image_size) - shape.y
    (a, b), (c, d) = shape.axes.tolist()
    # (a dx + b dy)^2 + (c dx + d dy)^2 <= 1, solved for dx.
    square, linear = a * a + c * c, (a * b + c * d) * dy
    inner = linear * linear - square * ((b * b + d * d) * dy * dy - 1)
    root = np.sqrt(np.maximum(inner, 0))
    low = np.where(inner > 0, (-linear - root) / square, np.inf)
    high = np.where(inner > 0, (-linear + root) / square, -np.inf)
    return _rows_mask(shape, low, high, image_size)


def _rows(image_size: Size) -> Floats:
    """Return the y of the pixels' centres."""
    return np.linspace(0.5, image_size[0] - 0.5, image_size[0], dtype=np.float64)


def _rows_mask(shape: Placed, low: Floats, high: Floats, image_size: Size) -> Mask:
    """Return the pixels whose centres lie from `low` to `high` (H,), seen from the shape's centre, in each row."""
    height, width = image_size
    first = np.ceil(np.clip(low + shape.x - 0.5, 0, width)).astype(np.int64)
    end = np.ceil(np.clip(high + shape.x - 0.5, 0, width)).astype(np.int64)
    rows = np.flatnonzero(end > first)
    if not len(rows):
        column, row = math.floor(shape.x), math.floor(shape.y)
        if not (0 <= column < width and 0 <= row < height):
            raise ValueError(f"a shape at {shape.x:g}, {shape.y:g}: outside the image")
        return Mask.from_pixels(np.ones((1, 1), bool), (column, row), image_size)
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(first[rows].min()), int(end[rows].max())
    columns = np.arange(left, right)
    pixels = (columns >= first[top:bottom, None]) & (columns < end[top:bottom, None])
    return Mask.from_pixels(pixels, (left, top), image_size)


def crop_mask(pixels: NDArray[np.bool_], corner: tuple[int, int], image_size: Size) -> Mask:
    """Return the mask of pixels (h, w) whose upper left corner lies at `corner` (x, y); cut at the image.

    Raises:
        ValueError: they lie outside the image.
    """
    (left, top), (height, width) = corner, image_size
    inside = pixels[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    if not inside.size:
        own = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ValueError(f"a mask of {own} pixels at {left:.6g}, {top:.6g}: outside the image")
    return Mask.from_pixels(inside, (max(left, 0), max(top, 0)), image_size)


def runs_mask(runs: Sequence[int], box: tuple[int, int, int, int], image_size: Size) -> Mask:
    """Return the mask of run lengths along the rows of a box (left, top, width, height), background first.

    Raises:
        ValueError: the box is not inside the image, or the runs do not fill it.
    """
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image_size[1] or top + height > image_size[0]:
        raise ValueError(f"a mask of {width:.6g} x {height:.6g} pixels at {left:.6g}, {top:.6g}: outside the image")
    total = sum(runs)
    if total != width * height or min(runs, default=0) < 0:
        covered = f"{min(total, _LONGEST):.6g} pixels{' or more' * (total > _LONGEST)}"
        raise ValueError(f"the run lengths of a mask cover {covered}; expected {width:.6g} x {height:.6g}")
    values = np.arange(len(runs)) % 2 == 1
    pixels = np.repeat(values, np.array(runs, np.int64)).reshape(height, width)
    return Mask.from_pixels(pixels, (left, top), image_size)


def coco_mask(rle: Any, image_size: Size) -> Mask:
    """Return the mask of COCO's run lengths, compressed or not.

    Raises:
        ValueError: they are of another size than the image, torn, or no run lengths.
    """
    if not isinstance(rle, Mapping) or "counts" not in rle or "size" not in rle:
        raise ValueError(f"a mask that is {shown(rle)}; expected run lengths with size and counts")
    stated = numbers(rle["size"], "the size of a mask")
    if stated != list(image_size):
        own = " x ".join(f"{value:g}" for value in reversed(stated))
        raise ValueError(f"a mask of {own} pixels in an image of {image_size[1]} x {image_size[0]}")
    counts = rle["counts"]
    if isinstance(counts, list):
        lengths = numbers(counts, "a run length")
        if any(length < 0 for length in lengths) or sum(lengths) != image_size[0] * image_size[1]:
            raise ValueError(
                f"the run lengths of a mask cover {sum(lengths):.6g} pixels or have a negative one; "
                f"expected {image_size[1]} x {image_size[0]}"
            )
        counts = [int(length) for length in lengths]
    elif not isinstance(counts, str) or not counts.isascii():
        raise ValueError(f"the run lengths of a mask are {shown(counts)}; expected text or a list")
    return Mask.from_coco({"size": image_size, "counts": counts})

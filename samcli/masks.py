"""Masks: a mask is kept as COCO run-length encoding, and opened only as the crop of its own box.

That keeps 300 masks of a 50-megapixel image small, lossless and ready to be written. Run lengths go down
the columns (Fortran order), background first, as in the COCO format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from samcli.errors import UsageError

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels, x2 and y2 exclusive."""


@dataclass(frozen=True)
class Mask:
    """One object's pixels in an image of `height` x `width`: compressed COCO run lengths.

    Raises:
        ValueError: the run lengths do not cover exactly height x width pixels.
    """

    height: int
    width: int
    counts: bytes

    def __post_init__(self) -> None:
        total = int(self._runs.sum())
        if total != self.height * self.width or self._runs.min(initial=0) < 0:
            raise ValueError(f"run lengths cover {total} pixels; expected {self.height} x {self.width}")

    @cached_property
    def _runs(self) -> NDArray[np.int64]:
        return decompress_counts(self.counts)

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """(R, 2): start and end (exclusive) of each foreground run, in column-major pixel numbers."""
        edges = self._runs.cumsum()
        pairs = edges[: len(edges) // 2 * 2].reshape(-1, 2)
        filled = pairs[:, 1] > pairs[:, 0]
        return pairs if filled.all() else pairs[filled]

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(self._runs[1::2].sum())

    @cached_property
    def box(self) -> Box | None:
        """Return the smallest box that holds the mask; None when it is empty."""
        if not self.area:
            return None
        starts, ends = self._bounds[:, 0], self._bounds[:, 1]
        tops = starts % self.height
        top, bottom = int(tops.min()), int((tops + (ends - starts)).max())
        if bottom > self.height:  # a run that goes on in the next column fills both edges
            top, bottom = 0, self.height
        return int(starts[0]) // self.height, top, (int(ends[-1]) - 1) // self.height + 1, bottom

    def crop(self) -> tuple[NDArray[np.bool_], Box]:
        """Return the pixels inside the mask's own box, bool (h, w), and that box (an empty mask: 0 x 0)."""
        if self.box is None:
            return np.zeros((0, 0), bool), (0, 0, 0, 0)
        left, top, right, bottom = self.box
        offset = left * self.height
        change = np.zeros((right - left) * self.height + 1, np.int8)
        change[self._bounds[:, 0] - offset] = 1
        change[self._bounds[:, 1] - offset] -= 1
        columns = np.cumsum(change[:-1], dtype=np.int8).reshape(right - left, self.height)
        return _transposed(columns[:, top:bottom].view(bool)), self.box

    def pixels(self) -> NDArray[np.bool_]:
        """Return the whole mask, bool (height, width)."""
        whole = np.zeros((self.height, self.width), bool)
        part, (left, top, right, bottom) = self.crop()
        whole[top:bottom, left:right] = part
        return whole

    def holds(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which points (N, 2) x, y lie in a pixel of the mask, bool (N,). No pixels are drawn."""
        places = np.floor(points).astype(np.int64)
        inside = ((places >= 0) & (places < (self.width, self.height))).all(1)
        numbers = places[:, 0] * self.height + places[:, 1]
        runs = np.searchsorted(self._bounds[:, 0], numbers, side="right") - 1
        ends = np.append(self._bounds[:, 1], -1)  # the last stands for no run at all: index -1
        return np.asarray(inside & (numbers < ends[runs]))

    def to_numpy(self) -> NDArray[np.bool_]:
        """Return the whole mask, bool (height, width); the same as `numpy.asarray(mask)`."""
        return self.pixels()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole mask, (height, width); bool unless `dtype` says otherwise.

        Raises:
            ValueError: `copy` is False: the pixels are not stored.
        """
        if copy is False:
            raise ValueError("a mask stores run lengths: its pixels are always a new array")
        return self.pixels() if dtype is None else self.pixels().astype(dtype)

    def placed(self, offset: tuple[int, int], size: tuple[int, int]) -> Mask:
        """Return the same mask with its (left, top) corner at `offset` in an image of `size` (height, width)."""
        pixels, (left, top, _, _) = self.crop()
        return Mask.from_pixels(pixels, (left + offset[0], top + offset[1]), size)

    def to_coco(self) -> dict[str, Any]:
        """COCO's compressed RLE: `{"size": [height, width], "counts": str}`."""
        return {"size": [self.height, self.width], "counts": self.counts.decode("ascii")}

    @classmethod
    def from_coco(cls, rle: Mapping[str, Any]) -> Mask:
        """From COCO's RLE, compressed (str or bytes) or not (a list of run lengths).

        Raises:
            ValueError: sizes and run lengths do not fit.
        """
        height, width = (int(v) for v in rle["size"])
        counts = rle["counts"]
        if isinstance(counts, str):
            counts = counts.encode("ascii")
        if not isinstance(counts, bytes):
            runs = np.asarray(counts, np.int64)
            if (runs < 0).any():
                raise ValueError("run lengths are negative")
            counts = compress_counts(runs, height, width)
        return cls(height, width, counts)

    @classmethod
    def from_pixels(
        cls, pixels: NDArray[np.bool_], offset: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
    ) -> Mask:
        """From bool (h, w) pixels, which may be a crop: `offset` is its (left, top) in an image of `size`."""
        height, width = size or pixels.shape
        left, top = offset
        padded = np.zeros((pixels.shape[1], pixels.shape[0] + 2), bool)
        padded[:, 1:-1] = _transposed(pixels)
        change = np.flatnonzero(padded[:, 1:] != padded[:, :-1])  # in each column a start, an end, a start ...
        columns, rows = np.divmod(change, pixels.shape[0] + 1)
        edges = (columns + left) * height + rows + top
        starts, ends = edges[::2], edges[1::2]
        joined = starts[1:] == ends[:-1]  # a run that reaches the bottom goes on at the top of the next column
        starts, ends = starts[np.r_[True, ~joined][: len(starts)]], ends[np.r_[~joined, True][: len(ends)]]
        edges = np.empty(2 * len(starts) + 2, np.int64)
        edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = 0, starts, ends, height * width
        runs = np.diff(edges)
        if len(runs) > 1 and runs[-1] == 0:
            runs = runs[:-1]
        return cls._of_runs(height, width, runs)

    @classmethod
    def _of_runs(cls, height: int, width: int, runs: NDArray[np.int64]) -> Mask:
        """From run lengths that are known to be right: they need not be read back out of their compressed form."""
        mask = object.__new__(cls)
        vars(mask).update(height=height, width=width, counts=compress_counts(runs, height, width), _runs=runs)
        return mask


def _transposed(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Columns as rows, one after the other in memory. OpenCV goes block by block, numpy line by line: a tenth."""
    import cv2

    if not pixels.size:
        return np.zeros(pixels.shape[::-1], bool)
    columns: NDArray[np.uint8] = cv2.transpose(pixels.view(np.uint8))
    turned: NDArray[np.bool_] = columns.view(np.bool_)
    return turned


_CODES = bytes(range(48, 112))
"""The characters of COCO's compressed run lengths."""


def compress_counts(runs: NDArray[np.int64], height: int, width: int) -> bytes:
    """COCO's compressed form of run lengths."""
    from pycocotools import mask as coco

    rle = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return bytes(rle["counts"])


def decompress_counts(counts: bytes) -> NDArray[np.int64]:
    """Run lengths out of COCO's compressed form.

    Five bits a character, least significant first, bit 5 set while more follow, bit 4 of the last one the
    sign; from the fourth run on, each is the difference to the one two before (pycocotools' `rleToString`).
    """
    if not counts:
        return np.zeros(0, np.int64)
    codes: NDArray[np.uint8] = np.frombuffer(counts, np.uint8) - np.uint8(48)
    if codes[-1] >= 0x20 or counts.translate(None, _CODES):
        raise ValueError("run lengths are torn or not COCO's compressed form")
    # From the last character of each number, which has the sign, to the first: few have more than two. What is
    # before the very first is, by numpy's counting, the very last, and that begins no number.
    more = codes >= 0x20
    places = np.flatnonzero(~more)
    values = codes[places].astype(np.int64)
    values -= (values & 0x10) << 1
    places -= 1
    longer = np.flatnonzero(more[places])
    while len(longer):
        before = places[longer]
        values[longer] = (values[longer] << 5) + (codes[before] & 0x1F)
        places[longer] = before = before - 1
        longer = longer[more[before]]
    values[1::2].cumsum(out=values[1::2])
    values[2::2].cumsum(out=values[2::2])
    return values


_FORMS = re.compile(r"\s*(?:(?P<pixels>\d+)|(?P<share>\d+(?:\.\d+)?)\s*%)\s*")


@dataclass(frozen=True)
class PartLimit:
    """Parts and holes of fewer pixels than `pixels`, and of less than `share` of the object, are specks."""

    pixels: float = math.inf
    share: float = math.inf

    def least_area(self, area: int) -> float:
        """Return the pixels that a part or hole of an object of `area` pixels must have; 0 keeps all."""
        least = min(self.pixels, self.share * area)
        return 0.0 if math.isinf(least) else least


KEEP_ALL = PartLimit(pixels=0)


def parse_part_limit(text: str) -> PartLimit:
    """Return the limit that `16` (pixels), `1%` (of the object) or `1%,16` (below both) stands for.

    Raises:
        UsageError: it is none of these.
    """
    found = [_FORMS.fullmatch(word) for word in text.split(",")]
    pixels = [float(match["pixels"]) for match in found if match and match["pixels"]]
    shares = [float(match["share"]) / 100 for match in found if match and match["share"]]
    if not all(found) or len(pixels) > 1 or len(shares) > 1 or max(shares, default=0) > 1:
        raise UsageError(
            f"--min-part-area is '{text}'; expected pixels (16), a share of the object (1%), both (1%,16), or 0"
        )
    return PartLimit(*pixels, **({"share": shares[0]} if shares else {}))


def without_specks(mask: Mask, limit: PartLimit) -> Mask:
    """Return the mask without its specks and with its pinholes filled; the mask itself where there are none.

    Parts are 8-connected, holes 4-connected. The largest part always stays.
    """
    least = limit.least_area(mask.area)
    if least <= 1 or not mask.area:  # nothing has fewer pixels than one
        return mask
    pixels, (left, top, _, _) = mask.crop()
    padded = np.pad(pixels, 1)
    small = _small(padded, least, connectivity=8)
    padded &= ~small
    padded |= _small(~padded, least, connectivity=4)
    cleaned = padded[1:-1, 1:-1]
    if np.array_equal(cleaned, pixels):
        return mask
    return Mask.from_pixels(cleaned, (left, top), (mask.height, mask.width))


def _small(pixels: NDArray[np.bool_], least: float, *, connectivity: int) -> NDArray[np.bool_]:
    """Return the pixels of all components with fewer than `least` pixels, but never those of the largest one."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.view(np.uint8), connectivity=connectivity)
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = least  # what is no component
    areas[1 + areas[1:].argmax()] = least
    small: NDArray[np.bool_] = (areas < least)[labels]
    return small


def mask_iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks of one image; 1 for two empty ones."""
    from pycocotools import mask as coco

    if not first.area and not second.area:
        return 1.0
    return float(coco.iou([first.to_coco()], [second.to_coco()], [0])[0, 0])


def box_iou(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Intersection over union of two xyxy boxes; 0 where both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return float(inter / (sum(areas) - inter))

"""Label Studio's run lengths of brush strokes: those of thi.ng/rle-pack over the RGBA values of an image.

A stream of bits: the number of values (32), bits of a value - 1 (5), four widths - 1 (4 each); then pieces,
each one bit (run or single values), two bits (which width), its length - 1 in so many bits, and the value or
values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.masks import Mask

_WIDTHS = (3, 4, 8, 16)
_LONGEST = 1 << _WIDTHS[-1]
_CHANNELS = 4
_ALPHA = 3


def encode_brush(mask: Mask) -> list[int]:
    """Return the bytes of a mask: white and opaque where it is, transparent black elsewhere."""
    lengths, values = _runs(mask)
    pieces = -(-lengths // _LONGEST)
    values = np.repeat(values, pieces)
    last = np.cumsum(pieces) - 1
    split = np.full(int(pieces.sum()), _LONGEST, np.int64)
    split[last] = lengths - (pieces - 1) * _LONGEST
    widths = np.array(_WIDTHS)
    which = np.searchsorted(1 << widths, split)
    codes = (((0b100 | which) << widths[which] | (split - 1)) << 8) | values
    sizes = 3 + widths[which] + 8
    longest = 3 + _WIDTHS[-1] + 8
    places = np.arange(longest - 1, -1, -1)
    body = (codes[:, None] >> places & 1).astype(np.uint8)[places < sizes[:, None]]
    head = f"{mask.height * mask.width * _CHANNELS:032b}{8 - 1:05b}" + "".join(f"{w - 1:04b}" for w in _WIDTHS)
    bits = np.concatenate([np.frombuffer(head.encode(), np.uint8) - ord("0"), body])
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and values of the runs of equal RGBA values, row by row."""
    pixels, (left, top, _, _) = mask.crop()
    padded = np.zeros((pixels.shape[0], pixels.shape[1] + 2), np.int8)
    padded[:, 1:-1] = pixels
    change = np.diff(padded, axis=1)
    first, last = np.nonzero(change > 0), np.nonzero(change < 0)
    starts = (first[0] + top) * mask.width + first[1] + left
    ends = (last[0] + top) * mask.width + last[1] + left
    edges = np.concatenate([[0], np.stack([starts, ends], 1).ravel(), [mask.height * mask.width]])
    lengths = np.diff(edges) * _CHANNELS
    values = np.resize([0, 255], len(lengths))
    return lengths[lengths > 0], values[lengths > 0]


def decode_brush(data: Any, height: int, width: int) -> Mask:
    """Return the mask of a brush stroke: where it is more opaque than not.

    Raises:
        ValueError: it is torn, or of an image of another size.
    """
    total = height * width * _CHANNELS
    if not isinstance(data, list) or not all(type(value) is int and 0 <= value <= 255 for value in data):
        raise ValueError("the brush's run lengths are no list of bytes")
    bits = _Bits(np.array(data, np.uint8))
    if bits.read(32) != total:
        raise ValueError(f"the brush's run lengths are not of {width} x {height} pixels")
    word = bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    if word != 8:
        raise ValueError(f"brush values of {word} bits; expected 8")
    values, at = np.zeros(total, np.uint8), 0
    while at < total:
        is_run = bits.read(1)
        length = bits.read(widths[bits.read(2)]) + 1
        if at + length > total:
            raise ValueError("the brush's run lengths are longer than the image")
        values[at : at + length] = bits.read(word) if is_run else bits.bytes(length)
        at += length
    return Mask.from_pixels(values[_ALPHA::_CHANNELS].reshape(height, width) >= 128)


class _Bits:
    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._bits = np.unpackbits(data)
        self._text = (self._bits + ord("0")).tobytes()
        self._at = 0

    def read(self, count: int) -> int:
        text = self._text[self._at : self._at + count]
        if len(text) < count:
            raise ValueError("the brush's run lengths are torn")
        self._at += count
        return int(text, 2)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        part = self._bits[self._at : self._at + 8 * count]
        if len(part) < 8 * count:
            raise ValueError("the brush's run lengths are torn")
        self._at += 8 * count
        return np.packbits(part)

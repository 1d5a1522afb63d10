"""Masks of YOLO segmentation models: each is a weighted sum of the image's prototypes, inside its own box.

Bolya et al. 2019, "YOLACT". The arithmetic is that of Ultralytics' `retina_masks=True` (`process_mask_native`):
the sum is resized to the original image before it is cut at 0. Here only the pixels of the box are made, so that
memory does not grow with the number of objects times the size of the image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from samcli.masks import Mask
from samcli.sam.resampling import Axis, AxisBuilder, resized
from samcli.types import Size

_STRIDE = 4
"""Pixels of the network's input for each pixel of a prototype."""

_FLOATS = 16 << 20
"""Logits held at once, whatever the number of objects and pixels."""


def cut_masks(prototypes: Tensor, coefficients: Tensor, boxes: Tensor, size: Size) -> Iterator[Mask]:
    """Yield the masks of N objects at the size of the original image, which may be empty.

    `prototypes`: (C, h, w) of the padded input. `coefficients`: (N, C). `boxes`: (N, 4) xyxy in pixels of the
    original image, whose (height, width) is `size`; nothing outside an object's box is in its mask.
    """
    if not len(boxes):
        return
    channels, height, width = prototypes.shape
    padding = _padding((_STRIDE * height, _STRIDE * width), size)
    vertical, horizontal = (
        _axis(length, pad, _magnification(padding), new, prototypes.device)
        for length, pad, new in zip((height, width), padding, size, strict=True)
    )
    at_once = max(1, _FLOATS // (height * width))
    table = prototypes.float().reshape(channels, -1)
    for part, corners in zip(
        torch.split(coefficients.float(), at_once), torch.split(boxes.float().cpu(), at_once), strict=True
    ):
        logits = (part @ table).view(len(part), height, width)
        for one, box in zip(logits, corners.tolist(), strict=True):
            yield _cut(one, box, vertical, horizontal)


def _padding(padded: Size, size: Size) -> tuple[int, int]:
    """Return the total padding of the network's input in pixels, vertically and horizontally."""
    gain = min(padded[0] / size[0], padded[1] / size[1])
    down, across = (side - max(round(length * gain), 1) for side, length in zip(padded, size, strict=True))
    return down, across


def _magnification(padding: tuple[int, int]) -> int:
    """By how much prototypes are enlarged first, so that the padding is a whole number of pixels on each side."""
    for factor in (1, 2):
        if all(pad % (2 * _STRIDE // factor) == 0 for pad in padding):
            return factor
    return _STRIDE


@functools.lru_cache(maxsize=8)  # images of one size follow one another
def _axis(length: int, padding: int, factor: int, new: int, device: torch.device) -> Axis:
    """From prototypes to the image: enlarged, cut to what is not padding, resized."""
    start, end = _content(factor * length, padding * factor / _STRIDE)
    return AxisBuilder.of(length).resize(factor * length).cut(start, end).resize(new).axis(device)


def _content(length: int, padding: float) -> tuple[int, int]:
    """Return the first and last position of the image on an axis with this total padding."""
    start = round(padding / 2 - 0.1)  # an odd one has less before than after: as the image was padded
    return start, start + round(length - padding)


def _cut(logits: Tensor, box: list[float], vertical: Axis, horizontal: Axis) -> Mask:
    """Return the mask of the logits (h, w) of the padded input: where they are above 0 inside a box."""
    size = len(vertical), len(horizontal)
    left, right = _span(box[0], box[2], size[1])
    top, bottom = _span(box[1], box[3], size[0])
    if left >= right or top >= bottom:
        return Mask.from_pixels(np.zeros((0, 0), bool), size=size)
    strips = resized(logits[None], vertical.part(top, bottom), horizontal.part(left, right))
    return Mask.from_pixels(torch.cat([strip[0] > 0 for strip in strips]).cpu().numpy(), (left, top), size)


def _span(start: float, end: float, length: int) -> tuple[int, int]:
    """Return the pixels from `start` to before `end`, no others than 0..length."""
    return max(0, math.ceil(start)), min(length, math.ceil(end))

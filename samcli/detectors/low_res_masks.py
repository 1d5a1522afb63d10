"""Masks at the size of the image from a network's low-resolution answers, one object at a time.

Memory grows with one mask, not with the number of objects times the size of the image; the pixels are those of
`torch.nn.functional.interpolate` of all of them together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from samcli.masks import Mask
from samcli.sam.resampling import Axis, AxisBuilder, resized
from samcli.types import Size


def bilinear_masks(values: Tensor, size: Size) -> Iterator[Mask]:
    """Resize values (N, h, w) bilinearly to an image of `size`; return N masks of where they exceed 0."""
    axes = _axis(values.shape[1], size[0], values.device), _axis(values.shape[2], size[1], values.device)
    for one in values.float():
        above = (one > 0).cpu().numpy()
        rows, columns = axes[0].reach(above.any(1)), axes[1].reach(above.any(0))
        if rows is None or columns is None:
            yield Mask.from_pixels(np.zeros((0, 0), bool), size=size)
            continue
        strips = resized(one[None], axes[0].part(rows.start, rows.stop), axes[1].part(columns.start, columns.stop))
        pixels = torch.cat([strip[0] > 0 for strip in strips])
        yield Mask.from_pixels(pixels.cpu().numpy(), (columns.start, rows.start), size)


@functools.lru_cache(maxsize=8)  # images of one size follow one another
def _axis(length: int, new: int, device: torch.device) -> Axis:
    return AxisBuilder.of(length).resize(new).axis(device)


def nearest_masks(present: Tensor, size: Size) -> Iterator[Mask]:
    """Bool masks (N, h, w), resized to an image of `size` by taking the nearest pixel: N masks."""
    rows, columns = (_nearest(length, new) for length, new in zip(present.shape[1:], size, strict=True))
    for one in present.cpu():
        across, down = one.any(0)[columns], one.any(1)[rows]
        if not bool(across.any()):
            yield Mask.from_pixels(np.zeros((0, 0), bool), size=size)
            continue
        (left, right), (top, bottom) = _span(across), _span(down)
        pixels = one[rows[top:bottom]][:, columns[left:right]]
        yield Mask.from_pixels(pixels.numpy(), (left, top), size)


def _nearest(length: int, new: int) -> Tensor:
    """Return the source pixel of each new pixel: torch's nearest interpolation, with its rounding."""
    numbers = torch.arange(length, dtype=torch.float64)[None, None]
    return torch.nn.functional.interpolate(numbers, size=new, mode="nearest")[0, 0].long()


def _span(present: Tensor) -> tuple[int, int]:
    places = present.nonzero()[:, 0]
    return int(places[0]), int(places[-1]) + 1

"""Bilinear resizing of a part: only the positions that are wanted, as torch's `interpolate` resizes the whole."""

from __future__ import annotations

import torch
from torch import Tensor


def bilinear_taps(
    start: int, end: int, old: float, new: int, length: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For positions start..end of an axis resized bilinearly from the first `old` of `length` positions to
    `new`: the two positions that each is read from and the weight of the second, as torch's `interpolate` has
    them (align_corners=False)."""
    at = torch.arange(start, end, dtype=torch.float32, device=device)
    source = ((at + 0.5) * (old / new) - 0.5).clamp(min=0)
    first = source.long().clamp(max=length - 1)
    return first, (first + 1).clamp(max=length - 1), source - first

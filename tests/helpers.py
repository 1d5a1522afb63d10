"""What several test modules compare with and build from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[..., Any]


ODD_NAMES = (os.fsdecode(b"caf\xe9 100%.jpg"), "<\"'&lt;/script>#?.jpg", "</script/<!--/<script/x.jpg")
"""A name that is no UTF-8, and names that would end or open a tag in a page."""


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 1 where both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def same(mask: np.ndarray, wanted: np.ndarray) -> bool:
    """IoU of .9999, or two pixels of a small mask: where a logit is 1e-6, rounding decides."""
    return iou(mask, wanted) >= 0.9999 or (mask != wanted).sum() <= 2


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))

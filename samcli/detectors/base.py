"""The detector protocol: images to boxes, class ids and scores, and from segmentation models to masks too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from samcli.types import Detections, Image


class Detector(Protocol):
    """Anything that finds objects. `names`: class id to class name."""

    names: dict[int, str]

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One Detections for each image, best score first; boxes in pixels of the original image."""
        ...

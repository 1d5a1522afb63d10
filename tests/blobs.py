"""An engine without a network, whose masks are known beforehand: areas of one colour."""

from __future__ import annotations

import numpy as np
import torch

from samcli.masks import Mask
from samcli.types import Embedding, Image, Prompts, Segment


class Blobs:
    """An engine whose masks are the pixels of the colour under the middle of the box or the first point."""

    model = "blobs"
    device = torch.device("cpu")
    defaults: dict[str, float] = {}  # noqa: RUF012 - never written to

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self._pixels: dict[int, np.ndarray] = {}

    def encode(self, images: list[Image]) -> list[Embedding]:
        found = []
        for image in images:
            self.sizes.append(image.image_size)
            embedding = Embedding(None, image.image_size, image.image_size, self.model)  # type: ignore[arg-type]
            self._pixels[id(embedding)] = image.pixels[..., 0]
            found.append(embedding)
        return found

    def segment(self, embedding: Embedding, prompts: Prompts, **_: object) -> list[Segment]:
        pixels = self._pixels[id(embedding)]
        places = prompts.points[:, 0] if prompts.boxes is None else prompts.boxes.reshape(-1, 2, 2).mean(1)
        masks = [Mask.from_pixels(pixels == pixels[int(y), int(x)]) for x, y in places]
        return [Segment(index, 0, mask, 0.9, 0.9) for index, mask in enumerate(masks)]

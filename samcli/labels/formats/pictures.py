"""Pictures and arrays beside the labels: label maps, overlays, cut-outs, edge maps, logits."""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import overlay
from samcli.labels.formats.amg import png
from samcli.labels.formats.base import LabelFormat, Rendering, given

_JPEG_QUALITY = 92
_JPEG_SIDE = 65500
"""Longest side that a JPEG can have, in pixels, as libjpeg sees it."""


class LabelMap(LabelFormat):
    """One PNG an image: 0 is background, i + 1 the i-th instance."""

    suffix = ".png"
    loses = frozenset({"classes", "overlaps", "scores"})

    def render(self, rendering: Rendering) -> bytes:
        """8 bits, or 16 where an image has more than 255 instances."""
        return png(rendering.label_map)


class Overlay(LabelFormat):
    """The image with its masks and their prompts drawn over it, as JPEG."""

    suffix = ".overlay.jpg"
    needs = frozenset({"pixels"})

    def render(self, rendering: Rendering) -> bytes:
        """At the image's own size, or as large as a JPEG can be.

        Raises:
            ValueError: it cannot be encoded.
        """
        image = given(rendering.pixels)
        drawn = _fit(overlay(image, rendering.annotation, rendering.names, prompts=True))
        done, data = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise ValueError(f"{drawn.shape[1]} x {drawn.shape[0]} pixels cannot be a JPEG")
        return bytes(data.tobytes())


def _fit(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture, or a smaller one where its longer side is too long for JPEG."""
    height, width = drawn.shape[:2]
    scale = _JPEG_SIDE / max(height, width)
    if scale >= 1:
        return drawn
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)


class Cutouts(LabelFormat):
    """A folder for each image: every object cut out on transparency, RGBA, at its own box."""

    suffix = ".cutouts"
    needs = frozenset({"pixels"})

    def render(self, rendering: Rendering) -> dict[str, bytes]:
        """`<number>_<class>.png` each."""
        image = given(rendering.pixels)
        files = {}
        for number, instance in enumerate(rendering.annotation.instances):
            if not instance.mask.area:
                continue
            inside, (left, top, right, bottom) = instance.mask.crop()
            part = image[top:bottom, left:right]
            alpha = inside.astype(np.uint8) * 255
            name = re.sub(r"[^\w-]+", "_", rendering.names.get(instance.class_id, str(instance.class_id)))
            files[f"{number}_{name}.png"] = png(np.dstack([part[..., ::-1], alpha]))
        return files


class EdgeMap(LabelFormat):
    """Edges of everything as one grey PNG (`everything --edges`)."""

    suffix = ".edges.png"
    needs = frozenset({"edges"})

    def render(self, rendering: Rendering) -> bytes:
        """White is a sure edge."""
        return png(given(rendering.edges))


class Logits(LabelFormat):
    """Low-resolution logits as `.npy`, float32 (N, h, w) in the order of the instances: a later mask prompt."""

    suffix = ".logits.npy"
    needs = frozenset({"logits"})

    def render(self, rendering: Rendering) -> bytes:
        """Return the array as `numpy.save` writes it."""
        file = io.BytesIO()
        np.save(file, given(rendering.logits))
        return file.getvalue()

"""FastSAM: a YOLO segmentation model of one class finds all objects of an image; prompts choose among them.

Zhao et al. 2023, "Fast Segment Anything". What is found and what boxes and points choose is what Ultralytics'
`FastSAM` gives with `retina_masks=True`; where `choose` differs on purpose, it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.checkpoints.pickles import inspect_pickle
from samcli.checkpoints.registry import CHECKPOINTS, WeightsFile
from samcli.config import FastSamOptions
from samcli.detectors.base import Detector
from samcli.detectors.ultralytics import load_detector
from samcli.errors import WeightsError
from samcli.masks import Mask, box_iou
from samcli.prompts import ObjectPrompt
from samcli.types import Detections, Image, Size

DEFAULTS: dict[str, Any] = {"conf": 0.25, "iou": 0.7, "imgsz": None, "max_det": 300}
"""Ultralytics'; an `imgsz` of None is what the file was trained with."""

_NEAR_BORDER = 20
"""Pixels from the image's border within which a box is taken to end there."""

_WHOLE_IMAGE = 0.9
"""Boxes of a larger IoU with the whole image are the whole image."""


def is_fastsam(name: str) -> bool:
    """Return whether a checkpoint (a known name, or a file) is a YOLO segmentation model, of any number of classes.

    A file is looked into without running it. What was exported from a model counts: no SAM is loaded from such.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        return name in CHECKPOINTS and CHECKPOINTS[name].role == "fastsam"
    if path.suffix in (".onnx", ".torchscript"):
        return True
    try:
        return path.suffix == ".pt" and inspect_pickle(path).network.endswith(".SegmentationModel")
    except WeightsError:
        return False


def load_fastsam(weights: WeightsFile, options: FastSamOptions, *, device: str, precision: str) -> FastSam:
    """FastSAM, or any YOLO segmentation model of one class.

    Raises:
        WeightsError: the file is refused, damaged, has no masks, or more than one class.
    """
    settings = {name: _or_default(getattr(options, name), name) for name in DEFAULTS}
    detector = load_detector(
        weights, **settings, device=device, precision=precision, masks=True, trust_weights=options.trust_weights
    )
    if len(detector.names) != 1:
        raise WeightsError(
            f"{weights.path.name} knows {len(detector.names)} classes; expected FastSAM, which knows one. "
            "To label its classes: samcli auto-annotate --det with --sam none"
        )
    return FastSam(detector)


def _or_default(value: Any, name: str) -> Any:
    return DEFAULTS[name] if value is None else value


class FastSam:
    """Finds all objects of images."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @property
    def names(self) -> dict[int, str]:
        """Its one class."""
        return self._detector.names

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """Every object's box, score and mask, best first; boxes at the image's border end on it."""
        return [
            _with_masks(found, image.image_size)
            for found, image in zip(self._detector.detect(images), images, strict=True)
        ]


def _with_masks(found: Detections, size: Size) -> Detections:
    """Without the objects whose masks are empty."""
    masks = found.masks or ()
    keep = np.array([mask.area > 0 for mask in masks], bool)
    return Detections(
        to_border(found.boxes[keep], size),
        found.class_ids[keep],
        found.scores[keep],
        tuple(mask for mask in masks if mask.area),
    )


def to_border(boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Boxes (N, 4) xyxy with the sides that are near the border of an image of `size` moved onto it."""
    height, width = size
    adjusted: NDArray[np.float32] = boxes.copy()
    adjusted[:, :2][boxes[:, :2] < _NEAR_BORDER] = 0
    for side, length in ((2, width), (3, height)):
        adjusted[boxes[:, side] > length - _NEAR_BORDER, side] = length
    whole = (0, 0, width, height)
    adjusted[np.array([box_iou(box, whole) > _WHOLE_IMAGE for box in adjusted.tolist()], bool)] = whole
    return adjusted


def choose(masks: Sequence[Mask], objects: Sequence[ObjectPrompt]) -> list[list[int]]:
    """For each object, which of the masks (none of them empty) are its answer, in their order; maybe none.

    Points choose every mask that holds one of those with label 1 and none of those with label 0. A box chooses
    the one mask that fits it best: the part of the mask inside the box over their union. Box and points: of
    those that the points choose the one that fits the box best; Ultralytics would take both answers. And where
    no mask reaches into the box it takes the first mask; here there is no answer.
    """
    fits = np.zeros((len(objects), len(masks)), np.float32)
    chosen = np.zeros((len(objects), len(masks)), bool)
    for j, mask in enumerate(masks):
        part = _Part(mask)
        for i, prompt in enumerate(objects):
            fits[i, j] = part.fit(prompt.box) if prompt.box else 0
            chosen[i, j] = part.agrees(prompt)
    return [_answer(prompt, chosen[i], fits[i]) for i, prompt in enumerate(objects)]


def _answer(prompt: ObjectPrompt, chosen: NDArray[np.bool_], fits: NDArray[np.float32]) -> list[int]:
    if prompt.box is None:
        return [int(index) for index in np.flatnonzero(chosen)]
    fits = np.where(chosen, fits, 0)
    return [int(fits.argmax())] if fits.any() else []


class _Part:
    """A mask opened as the crop of its box, to be asked about coordinates in the image. They are whole pixels:
    fractions are cut off, as Ultralytics does."""

    def __init__(self, mask: Mask) -> None:
        self._size = mask.height, mask.width
        self._area = mask.area
        self._pixels, (self._left, self._top, self._right, self._bottom) = mask.crop()

    def fit(self, box: tuple[float, float, float, float]) -> float:
        """Pixels of the mask inside a box, over those of the mask or of the box."""
        left, right = (min(max(int(x), 0), self._size[1]) for x in box[::2])
        top, bottom = (min(max(int(y), 0), self._size[0]) for y in box[1::2])
        rows = slice(max(top - self._top, 0), max(bottom - self._top, 0))
        columns = slice(max(left - self._left, 0), max(right - self._left, 0))
        inside = np.count_nonzero(self._pixels[rows, columns])
        union = (right - left) * (bottom - top) + self._area - inside
        return float(np.float32(inside) / np.float32(union))

    def agrees(self, prompt: ObjectPrompt) -> bool:
        """Return whether it holds a point of the object, if there is any, and none of the background."""
        held = [self._holds(x, y) for x, y in prompt.points]
        of_object = [on for on, label in zip(held, prompt.point_labels, strict=True) if label]
        of_background = [on for on, label in zip(held, prompt.point_labels, strict=True) if not label]
        return (any(of_object) or not of_object) and not any(of_background)

    def _holds(self, x: float, y: float) -> bool:
        column, row = (min(int(at), length - 1) for at, length in ((x, self._size[1]), (y, self._size[0])))
        if not (self._left <= column < self._right and self._top <= row < self._bottom):
            return False
        return bool(self._pixels[row - self._top, column - self._left])

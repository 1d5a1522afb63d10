"""Detectors of the transformers library that know their classes: DETR, RT-DETR, D-FINE, RF-DETR, YOLOS.

Boxes, scores and labels are those of the library's `post_process_object_detection`. These networks find each object
once by themselves: no NMS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcli.detectors.base import DetectorSettings
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.types import Image

_NO_CLASS = ("n/a", "")
"""Names of the gaps in COCO's numbering, as models trained with it carry them along."""


class ModelClasses:
    """The classes of a model, numbered from 0 without the gaps that its own numbers may have."""

    def __init__(self, id2label: Mapping[Any, Any]) -> None:
        """`id2label`: the model's numbers and names, as its config.json has them."""
        by_name: dict[str, int] = {}
        self._ids: dict[int, int] = {}
        for number, name in sorted((int(number), str(name)) for number, name in id2label.items()):
            if name.strip().lower() not in _NO_CLASS:
                self._ids[number] = by_name.setdefault(name, len(by_name))
        self.names = {class_id: name for name, class_id in by_name.items()}

    def of(self, labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Class ids of the model's labels (N,), and which of those are classes at all."""
        ids = np.asarray([self._ids.get(label, -1) for label in labels.tolist()], np.int64)
        return ids, ids >= 0


class ClosedDetector(PretrainedDetector):
    """A detector of fixed classes."""

    def __init__(self, model: Pretrained, settings: DetectorSettings) -> None:
        self._classes = ModelClasses(model.network.config.id2label)
        super().__init__(model, settings, self._classes.names)

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        outputs = self.model.network(**self.pixels(images))
        found = self.model.image_processor.post_process_object_detection(
            outputs, threshold=self.settings.conf, target_sizes=[image.image_size for image in images]
        )
        return [self._answer(one) for one in found]

    def _answer(self, found: Mapping[str, Any]) -> Answer:
        ids, known = self._classes.of(found["labels"].cpu().numpy())
        return Answer(found["boxes"].cpu().numpy()[known], ids[known], found["scores"].cpu().numpy()[known])

"""OmDet-Turbo: boxes of what a list of class names and a task, `Detect person, car.`, ask for.

Zhao et al. 2024, "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head". Boxes, scores
and labels are those of transformers' `post_process_grounded_object_detection`, its NMS included (`--iou`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from samcli.detectors.base import DetectorSettings
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.labels.vocabulary import Vocabulary
from samcli.types import Image

_TEXT_FIELDS = ("classes_input_ids", "classes_attention_mask", "tasks_input_ids", "tasks_attention_mask")


class OmDetDetector(PretrainedDetector):
    """All prompts of a vocabulary in one forward."""

    def __init__(self, model: Pretrained, settings: DetectorSettings, vocabulary: Vocabulary) -> None:
        super().__init__(model, settings, vocabulary.names, nms_iou=settings.iou)
        self._class_ids = np.asarray(vocabulary.class_ids, np.int64)
        blank = np.zeros((32, 32, 3), np.uint8)  # the processor takes no text without an image
        encoded = model.processor(images=[blank], text=[list(vocabulary.prompts)], return_tensors="pt")
        self._text = {name: encoded[name].to(model.device) for name in (*_TEXT_FIELDS, "classes_structure")}
        # The model keeps what it has read of each class, but of no more classes than a limit that the folder sets.
        model.network.language_cache_class.capacity = max(
            model.network.language_cache_class.capacity, len(vocabulary.prompts)
        )

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        text = {name: _repeated(values, len(images)) for name, values in self._text.items()}
        outputs = self.model.network(**self.pixels(images), **text)
        found = self.model.processor.post_process_grounded_object_detection(
            outputs,
            threshold=self.settings.conf,
            nms_threshold=self.settings.iou,
            target_sizes=[image.image_size for image in images],
        )
        return [Answer.of(one, self._class_ids) for one in found]


def _repeated(values: torch.Tensor, count: int) -> torch.Tensor:
    return values.repeat(count, *([1] * (values.ndim - 1)))

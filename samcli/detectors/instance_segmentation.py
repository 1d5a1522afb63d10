"""Instance segmenters of the transformers library, boxes with masks: Mask2Former, MaskFormer, RF-DETR-Seg.

What is found is what the library's `post_process_instance_segmentation` finds with `return_binary_maps=True`. That
holds all masks of all queries at the size of the image at once; here they are made one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from samcli.detectors.base import DetectorSettings
from samcli.detectors.closed_vocabulary import ModelClasses
from samcli.detectors.low_res_masks import bilinear_masks, nearest_masks
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.masks import Mask
from samcli.types import Image, Size

_MASK2FORMER_SIDE = 384
"""Pixels a side to which the library resizes Mask2Former's logits before it cuts them."""


class InstanceSegmenter(PretrainedDetector):
    """A segmenter of fixed classes. Its boxes are those of its masks where the model gives none of its own."""

    def __init__(self, model: Pretrained, settings: DetectorSettings) -> None:
        self._classes = ModelClasses(model.network.config.id2label)
        super().__init__(model, settings, self._classes.names)

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        outputs = self.model.network(**self.pixels(images))
        read = self._by_box if "pred_boxes" in outputs else self._by_mask
        return [read(outputs, index, image.image_size) for index, image in enumerate(images)]

    def _by_mask(self, outputs: Any, index: int, size: Size) -> Answer:
        """Mask2Former and MaskFormer: the best pairs of a mask and a class, as many as there are masks."""
        logits = outputs.masks_queries_logits[index : index + 1]
        if self.model.network.config.model_type == "mask2former":
            logits = F.interpolate(logits, size=(_MASK2FORMER_SIDE,) * 2, mode="bilinear", align_corners=False)
        by_class = outputs.class_queries_logits[index].softmax(-1)[:, :-1]
        scores, labels, queries = _best_pairs(by_class, len(by_class))
        logits = logits[0][queries]
        present = logits > 0
        inside = (logits.sigmoid() * present).flatten(1).sum(1) / (present.flatten(1).sum(1) + 1e-6)
        scores = scores * inside
        kept = (scores >= self.settings.conf) & present.flatten(1).any(1)
        masks = tuple(nearest_masks(present[kept], size))
        boxes = np.asarray([mask.box or (0, 0, 0, 0) for mask in masks], np.float32).reshape(-1, 4)
        return self._answer(boxes, labels[kept], scores[kept], masks)

    def _by_box(self, outputs: Any, index: int, size: Size) -> Answer:
        """RF-DETR-Seg: as many pairs of a query and a class as there are queries, above the threshold."""
        logits = outputs.logits[index].sigmoid()
        scores, labels, queries = _best_pairs(logits, len(logits))
        kept = scores > self.settings.conf
        masks = tuple(bilinear_masks(outputs.pred_masks[index][queries[kept]], size))
        centre, sides = outputs.pred_boxes[index][queries[kept]].split(2, -1)
        height, width = size
        scale = torch.tensor((width, height, width, height), device=centre.device)
        boxes = torch.cat([centre - sides / 2, centre + sides / 2], -1) * scale
        return self._answer(boxes.cpu().numpy(), labels[kept], scores[kept], masks)

    def _answer(self, boxes: np.ndarray, labels: Tensor, scores: Tensor, masks: tuple[Mask, ...]) -> Answer:
        ids, known = self._classes.of(labels.cpu().numpy())
        known &= np.asarray([mask.area > 0 for mask in masks], bool)
        kept = tuple(mask for mask, good in zip(masks, known.tolist(), strict=True) if good)
        return Answer(boxes[known], ids[known], scores.cpu().numpy()[known], kept if self.settings.masks else None)


def _best_pairs(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the highest scores of (Q, C) queries and classes: scores, classes and queries (count,)."""
    best, places = scores.flatten().topk(min(count, scores.numel()))
    return best, places % scores.shape[1], places // scores.shape[1]

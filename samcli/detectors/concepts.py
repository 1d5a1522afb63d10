"""SAM 3: boxes and masks of all that a prompt names, each prompt asked for by itself.

Carion et al. 2025, "SAM 3: Segment Anything with Concepts". Boxes, scores and masks are those of transformers'
`post_process_instance_segmentation`, whose masks take 8 bytes for each pixel of the image and each object; here
they are made one by one. A text is read once, an image is looked at once, whatever the number of prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samcli.detectors.base import DetectorSettings
from samcli.detectors.low_res_masks import bilinear_masks
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.errors import UsageError
from samcli.labels.vocabulary import Vocabulary
from samcli.types import Image, Size

_LONGEST = 32
"""Tokens of a prompt, as the library's processor pads them."""

_PROMPTS_AT_ONCE = 4
"""Each has 200 masks of 288 x 288 pixels: 66 MB."""


@dataclass(frozen=True)
class _Prompts:
    """A few prompts: what the text encoder has read of them, which tokens are words (P, T), their classes."""

    features: Any
    words: Tensor
    class_ids: tuple[int, ...]


class ConceptDetector(PretrainedDetector):
    """All prompts of a vocabulary, a few at a time."""

    @torch.inference_mode()
    def __init__(self, model: Pretrained, settings: DetectorSettings, vocabulary: Vocabulary) -> None:
        super().__init__(model, settings, vocabulary.names, nms_iou=settings.iou)
        wanted = settings.class_ids(vocabulary.names)
        asked = [
            (prompt, class_id)
            for prompt, class_id in zip(vocabulary.prompts, vocabulary.class_ids, strict=True)
            if wanted is None or class_id in wanted
        ]
        self._prompts = [
            self._read(asked[start : start + _PROMPTS_AT_ONCE]) for start in range(0, len(asked), _PROMPTS_AT_ONCE)
        ]

    def _read(self, asked: Sequence[tuple[str, int]]) -> _Prompts:
        """Let the text encoder read a few prompts.

        Raises:
            UsageError: a prompt has more tokens than the model reads.
        """
        texts = [prompt for prompt, _ in asked]
        tokens = self.model.processor.tokenizer(
            texts, padding="max_length", max_length=_LONGEST, return_tensors="pt", return_attention_mask=True
        )
        if (count := tokens["input_ids"].shape[1]) > _LONGEST:
            longest = max(texts, key=len)
            raise UsageError(
                f"--text: the prompt '{longest[:40]}...' has {count} tokens; the model reads {_LONGEST}"
            )
        ids, words = (tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask"))
        read = self.model.network.get_text_features(input_ids=ids, attention_mask=words)
        return _Prompts(read, words, tuple(class_id for _, class_id in asked))

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        pixels = self.pixels(images)["pixel_values"]
        seen = self.model.network.get_vision_features(pixel_values=pixels)
        return [Answer.joined(list(self._answers(seen, i, image.image_size))) for i, image in enumerate(images)]

    def _answers(self, seen: Any, index: int, size: Size) -> Iterator[Answer]:
        """Return the detections of each prompt in one image."""
        number = 0
        for prompts in self._prompts:
            outputs = self.model.network(
                vision_embeds=_repeated(seen, index, len(prompts.class_ids)),
                text_embeds=prompts.features,
                attention_mask=prompts.words,
            )
            for row, class_id in enumerate(prompts.class_ids):
                yield self._answer(outputs, row, size, class_id, number)
                number += 1

    def _answer(self, outputs: Any, row: int, size: Size, class_id: int, number: int) -> Answer:
        scores = outputs.pred_logits[row].sigmoid()
        if outputs.presence_logits is not None:
            scores = scores * outputs.presence_logits[row].sigmoid()
        kept = scores > self.settings.conf
        height, width = size
        boxes = outputs.pred_boxes[row][kept] * torch.tensor((width, height, width, height), device=kept.device)
        masks = None
        if self.settings.masks:  # the library resizes probabilities, and cuts them at a half
            masks = tuple(bilinear_masks(outputs.pred_masks[row][kept].sigmoid() - 0.5, size))
        count = int(kept.sum())
        return Answer(
            boxes.cpu().numpy(),
            np.full(count, class_id, np.int64),
            scores[kept].cpu().numpy(),
            masks,
            prompts=np.full(count, number, np.int64),
        )


def _repeated(seen: Any, index: int, count: int) -> Any:
    """Repeat the features of one image, once for each prompt."""
    levels = {
        name: tuple(level[index : index + 1].expand(count, *level.shape[1:]) for level in getattr(seen, name))
        for name in ("fpn_hidden_states", "fpn_position_encoding")
    }
    return type(seen)(**levels)

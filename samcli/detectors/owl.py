"""OWL-ViT and OWLv2: boxes of what prompts describe, each prompt a query of its own.

Minderer et al. 2022, "Simple Open-Vocabulary Object Detection with Vision Transformers". Boxes, scores and labels
are those of transformers' `post_process_grounded_object_detection`; every patch of the image answers, so that
boxes of one class that overlap become one (`--iou`), which the library leaves to its users.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from samcli.detectors.base import DetectorSettings
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.errors import UsageError
from samcli.labels.vocabulary import Vocabulary
from samcli.types import Image


class OwlDetector(PretrainedDetector):
    """All prompts of a vocabulary in one forward. Prompts are read as they are given, e.g. `a photo of a cat`."""

    def __init__(self, model: Pretrained, settings: DetectorSettings, vocabulary: Vocabulary) -> None:
        super().__init__(model, settings, vocabulary.names, nms_iou=settings.iou)
        self._class_ids = np.asarray(vocabulary.class_ids, np.int64)
        self._tokens = _tokens(model, vocabulary.prompts)
        base = getattr(model.network, model.network.base_model_prefix)
        model.remember(base.text_model)

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        tokens = {name: ids.repeat(len(images), 1) for name, ids in self._tokens.items()}
        outputs = self.model.network(**self.pixels(images), **tokens)
        found = self.model.processor.post_process_grounded_object_detection(
            outputs, threshold=self.settings.conf, target_sizes=[image.image_size for image in images]
        )
        return [Answer.of(one, self._class_ids) for one in found]


def _tokens(model: Pretrained, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Token ids and attention mask (P, T) of all prompts.

    Raises:
        UsageError: a prompt has more tokens than the model reads.
    """
    longest = model.network.config.text_config.max_position_embeddings
    encoded = model.processor.tokenizer(
        list(prompts), padding="max_length", max_length=longest, return_tensors="pt", return_attention_mask=True
    )
    if encoded["input_ids"].shape[1] > longest:
        counts = encoded["attention_mask"].sum(1)
        prompt, count = prompts[int(counts.argmax())], int(counts.max())
        raise UsageError(f"--text: the prompt '{prompt[:40]}...' has {count} tokens; the model reads {longest}")
    return {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}

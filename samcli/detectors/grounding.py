"""Grounding DINO and MM Grounding DINO: boxes of what a caption names, `red car. person.`

Liu et al. 2023, "Grounding DINO". Boxes and scores are those of transformers'
`post_process_grounded_object_detection`. Its labels are pieces of the caption; here a box has the class of the
prompt whose tokens it fits best.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samcli.detectors.base import DetectorSettings
from samcli.detectors.transformers_models import Answer, Pretrained, PretrainedDetector
from samcli.errors import UsageError
from samcli.labels.vocabulary import Vocabulary
from samcli.types import Image, Size

log = logging.getLogger("samcli")

_SEPARATORS = str.maketrans(".?", "  ")
"""Characters that end a phrase in a caption."""


@dataclass(frozen=True)
class Caption:
    """A part of a vocabulary as one text: `tokens` as the model takes them, (1, T) each.

    `spans`: for each prompt in it, the positions of its tokens. `class_ids`: the class of each.
    """

    tokens: dict[str, torch.Tensor]
    spans: tuple[tuple[int, ...], ...]
    class_ids: tuple[int, ...]

    def repeated(self, count: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the tokens for so many images."""
        return {name: ids.to(device).expand(count, -1) for name, ids in self.tokens.items()}

    def best_prompts(self, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For boxes with these (N, tokens): the class of the prompt with the best token, and that token's value."""
        by_prompt = np.stack([probabilities[:, list(span)].max(1) for span in self.spans], 1)
        best = by_prompt.argmax(1)
        return np.asarray(self.class_ids, np.int64)[best], by_prompt.max(1)


class GroundingDetector(PretrainedDetector):
    """The captions of a vocabulary, one after the other where they are more than the model reads at once."""

    def __init__(self, model: Pretrained, settings: DetectorSettings, vocabulary: Vocabulary) -> None:
        super().__init__(model, settings, vocabulary.names, nms_iou=settings.iou)
        longest = min(model.network.config.max_text_len, model.processor.tokenizer.model_max_length)
        self._captions = tuple(captions(vocabulary, model.processor.tokenizer, longest))
        base = model.network.model
        model.remember(base.text_backbone, len(self._captions))
        model.remember(base.backbone)

    def find(self, images: Sequence[Image]) -> list[Answer]:
        """See PretrainedDetector."""
        pixels = self.pixels(images)
        sizes = [image.image_size for image in images]
        parts = [self._answers(caption, pixels, sizes) for caption in self._captions]
        return [Answer.joined(own) for own in zip(*parts, strict=True)]

    def _answers(self, caption: Caption, pixels: dict[str, Any], sizes: Sequence[Size]) -> list[Answer]:
        tokens = caption.repeated(len(sizes), self.model.device)
        outputs = self.model.network(**pixels, **tokens)
        found = self.model.processor.post_process_grounded_object_detection(
            outputs,
            tokens["input_ids"],
            threshold=self.settings.conf,
            text_threshold=self.settings.text_threshold,
            target_sizes=list(sizes),
        )
        return [
            self._answer(caption, one, logits.sigmoid()) for one, logits in zip(found, outputs.logits, strict=True)
        ]

    def _answer(self, caption: Caption, found: dict[str, Any], probabilities: torch.Tensor) -> Answer:
        """Without boxes whose tokens are all below the text threshold: the library gives them no name."""
        kept = probabilities[probabilities.max(-1).values > self.settings.conf]
        class_ids, best = caption.best_prompts(kept.cpu().numpy())
        named = best > self.settings.text_threshold
        return Answer(found["boxes"].cpu().numpy()[named], class_ids[named], found["scores"].cpu().numpy()[named])


def captions(vocabulary: Vocabulary, tokenizer: Any, longest: int) -> Iterator[Caption]:
    """Return the fewest captions that hold all prompts in order, none with more than `longest` tokens.

    Raises:
        UsageError: a prompt alone is longer, or has no word.
    """
    part: list[str] = []
    ids: list[int] = []
    used = 2  # the tokens that begin and end a caption
    for prompt, class_id in zip(vocabulary.prompts, vocabulary.class_ids, strict=True):
        words = " ".join(prompt.lower().translate(_SEPARATORS).split())
        tokens = tokenizer(words, add_special_tokens=False)["input_ids"]
        _check(prompt, tokens, longest - 3, tokenizer)
        if used + len(tokens) + 1 > longest:
            yield _caption(part, ids, tokenizer)
            part, ids, used = [], [], 2
        part.append(words)
        ids.append(class_id)
        used += len(tokens) + 1
    yield _caption(part, ids, tokenizer)


def _check(prompt: str, tokens: Sequence[int], longest: int, tokenizer: Any) -> None:
    if not tokens:
        raise UsageError(f"--text: the prompt '{prompt}' has no word that the model reads")
    if len(tokens) > longest:
        raise UsageError(
            f"--text: the prompt '{prompt[:40]}...' has {len(tokens)} tokens; the model reads {longest}"
        )
    if all(token == tokenizer.unk_token_id for token in tokens):
        log.warning("--text: the model's vocabulary has no word of '%s'; it is unlikely to find any", prompt)


def _caption(prompts: Sequence[str], class_ids: Sequence[int], tokenizer: Any) -> Caption:
    text = ". ".join(prompts) + "."
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    spans, start = [], 0
    for prompt in prompts:
        end = start + len(prompt)
        spans.append(tuple(i for i, (first, last) in enumerate(offsets) if start <= first < last <= end))
        start = end + len(". ")
    return Caption(dict(encoded), tuple(spans), tuple(class_ids))

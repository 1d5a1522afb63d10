"""The tiny text detector: transformers' own OWLv2 classes and a CLIP tokenizer of few words, other numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPTokenizer,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
)
from words import PROMPTS

IMAGE_SIZE, PATCH = 320, 16
GREY = 128  # what OWLv2's processor pads with
VISION = {"hidden_size": 192, "intermediate_size": 576, "num_hidden_layers": 5, "num_attention_heads": 6}
TEXT = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}


def make_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer that has a token for each word of the prompts, and reads others letter by letter."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\p{L}+"), behavior="removed", invert=True)
    trainer = trainers.BpeTrainer(vocab_size=4000, min_frequency=1, show_progress=False, end_of_word_suffix="</w>")
    learner.train_from_iterator(PROMPTS, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    # The text encoder answers at the token with the highest number: the end has to be last.
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=16)


def make_processor() -> Owlv2Processor:
    """Return what turns pictures and prompts into the network's input."""
    half = [0.5, 0.5, 0.5]
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return Owlv2Processor(Owlv2ImageProcessor(size=size, image_mean=half, image_std=half), make_tokenizer())


def build(tokenizer: CLIPTokenizer) -> Owlv2ForObjectDetection:
    """Return an untrained network that reads prompts of that tokenizer."""
    last = len(tokenizer) - 1
    ends = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    config = Owlv2Config(
        text_config={**TEXT, **ends, "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": IMAGE_SIZE, "patch_size": PATCH},
        projection_dim=TEXT["hidden_size"],
    )
    model = Owlv2ForObjectDetection(config)
    _calm_heads(model)
    return model


@torch.no_grad()
def _calm_heads(model: Owlv2ForObjectDetection) -> None:
    """Start the heads anew: the library draws their weights with a standard deviation of 1, for it loads them."""
    for layer in [*model.class_head.modules(), *model.box_head.modules()]:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    torch.nn.init.zeros_(model.box_head.dense2.weight)
    for layer in (model.class_head.logit_shift, model.class_head.logit_scale):
        torch.nn.init.zeros_(layer.weight)
    # Most patches show no object: training begins with scores near 0.03 and not near 0.5.
    torch.nn.init.constant_(model.class_head.logit_shift.bias, -0.5)
    torch.nn.init.constant_(model.class_head.logit_scale.bias, 6.0)


def export(model: Owlv2ForObjectDetection, folder: Path) -> None:
    """Write the folder that `--det` takes: weights in fp16, processor, vocabulary."""
    copy.deepcopy(model).half().save_pretrained(folder)
    make_processor().save_pretrained(folder)

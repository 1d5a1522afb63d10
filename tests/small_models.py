"""Small models of the transformers library with seeded random weights, saved by its own classes: no network."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import torch

SWIN: dict[str, Any] = {
    "image_size": 64, "window_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4],
}  # fmt: skip

WORDS = ("red", "blue", "car", "person", "cat", "dog", "bus", "a", "the", "##s")


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Coloured rectangles, so that neither the image nor its parts are all alike."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(6):
        top, left = random.integers(0, height), random.integers(0, width)
        image[top : top + height // 3 + 1, left : left + width // 3 + 1] = random.integers(0, 256, 3)
    return image


def bert_tokenizer(folder: Path) -> Any:
    """BERT's tokenizer with a few words and all letters; special tokens where Grounding DINO expects them."""
    from transformers import BertTokenizer

    vocabulary = [f"[unused{index}]" for index in range(1100)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for index, word in special.items():
        vocabulary[index] = word
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    for index, word in enumerate((*WORDS, *letters), 200):
        vocabulary[index] = word
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vocab.txt"
    file.write_text("\n".join(vocabulary) + "\n")
    return BertTokenizer(str(file), model_max_length=256)


def save_grounding_dino(folder: Path, *, kind: str = "GroundingDino", max_text_len: int = 64) -> Path:
    """Grounding DINO, or with `kind` MMGroundingDino: its scores raised so that it finds boxes."""
    import transformers
    from transformers import GroundingDinoImageProcessor, GroundingDinoProcessor, SwinConfig

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=SwinConfig(**SWIN),
        text_config={
            "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "vocab_size": 1100, "max_position_embeddings": 256,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=20, max_text_len=max_text_len,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    _enliven(model)
    image_processor = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 200})
    GroundingDinoProcessor(image_processor, bert_tokenizer(folder)).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _enliven(model: torch.nn.Module) -> None:
    """Weights that are zero when a network is made, as those of box heads are, get small random values."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)

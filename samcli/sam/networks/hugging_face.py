"""SAM 1 as the transformers library names it (`SamModel`), in the names of Meta's files.

Only names differ, so the networks are the same to the last bit. Which names stand for which was read off
transformers' `modeling_sam.py` and Meta's modules; every tensor must be one that is listed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from samcli.errors import WeightsError

Tensors = Mapping[str, torch.Tensor]

_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

_RULES: tuple[tuple[str, str], ...] = (
    (r"vision_encoder\.pos_embed", r"image_encoder.pos_embed"),
    (r"vision_encoder\.patch_embed\.projection\.(\w+)", r"image_encoder.patch_embed.proj.\1"),
    (r"vision_encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)", r"image_encoder.blocks.\1.norm\2.\3"),
    (r"vision_encoder\.layers\.(\d+)\.(attn\.rel_pos_[hw])", r"image_encoder.blocks.\1.\2"),
    (r"vision_encoder\.layers\.(\d+)\.(attn|mlp)\.(\w+\.\w+)", r"image_encoder.blocks.\1.\2.\3"),
    (r"vision_encoder\.neck\.conv1\.(\w+)", r"image_encoder.neck.0.\1"),
    (r"vision_encoder\.neck\.layer_norm1\.(\w+)", r"image_encoder.neck.1.\1"),
    (r"vision_encoder\.neck\.conv2\.(\w+)", r"image_encoder.neck.2.\1"),
    (r"vision_encoder\.neck\.layer_norm2\.(\w+)", r"image_encoder.neck.3.\1"),
    (r"shared_image_embedding\.positional_embedding", _POSITIONS),
    (r"prompt_encoder\.shared_embedding\.positional_embedding", _POSITIONS),  # the same once more
    (r"prompt_encoder\.point_embed\.(\d+)\.weight", r"prompt_encoder.point_embeddings.\1.weight"),
    (r"(prompt_encoder\.(?:not_a_point|no_mask)_embed\.weight)", r"\1"),
    (r"prompt_encoder\.mask_embed\.conv1\.(\w+)", r"prompt_encoder.mask_downscaling.0.\1"),
    (r"prompt_encoder\.mask_embed\.layer_norm1\.(\w+)", r"prompt_encoder.mask_downscaling.1.\1"),
    (r"prompt_encoder\.mask_embed\.conv2\.(\w+)", r"prompt_encoder.mask_downscaling.3.\1"),
    (r"prompt_encoder\.mask_embed\.layer_norm2\.(\w+)", r"prompt_encoder.mask_downscaling.4.\1"),
    (r"prompt_encoder\.mask_embed\.conv3\.(\w+)", r"prompt_encoder.mask_downscaling.6.\1"),
    (r"(mask_decoder\.(?:iou_token|mask_tokens)\.weight)", r"\1"),
    (r"mask_decoder\.upscale_conv1\.(\w+)", r"mask_decoder.output_upscaling.0.\1"),
    (r"mask_decoder\.upscale_layer_norm\.(\w+)", r"mask_decoder.output_upscaling.1.\1"),
    (r"mask_decoder\.upscale_conv2\.(\w+)", r"mask_decoder.output_upscaling.3.\1"),
    (r"(mask_decoder\.transformer\.layers\.\d+)\.layer_norm([1-4])\.(\w+)", r"\1.norm\2.\3"),
    (r"(mask_decoder\.transformer\.layers\.\d+\.(?:self_attn|cross_attn_\w+|mlp)\.\w+\.\w+)", r"\1"),
    (r"(mask_decoder\.transformer\.final_attn_token_to_image\.\w+\.\w+)", r"\1"),
    (r"mask_decoder\.transformer\.layer_norm_final_attn\.(\w+)", r"mask_decoder.transformer.norm_final_attn.\1"),
)
"""Patterns of whole names, and Meta's names for them; the first that matches counts."""

_HEADS = re.compile(
    r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))"
    r"\.(?:(proj_in)|layers\.(\d+)|(proj_out))\.(\w+)"
)
"""Layers of a small MLP: transformers names the first and the last apart from those between."""

_ASSUMED: Mapping[tuple[str, str], object] = {
    ("mask_decoder_config", "num_attention_heads"): 8,
    ("mask_decoder_config", "hidden_act"): "relu",
    ("prompt_encoder_config", "hidden_act"): "gelu",
    ("vision_config", "hidden_act"): "gelu",
    ("vision_config", "layer_norm_eps"): 1e-6,
}
"""What no tensor's shape shows, and what the networks here have, as all published checkpoints do."""


def is_hugging_face_sam(tensors: Tensors) -> bool:
    """Return whether these tensors include those of a transformers `SamModel`."""
    return "vision_encoder.patch_embed.projection.weight" in tensors and "mask_decoder.iou_token.weight" in tensors


def to_meta_names(tensors: Tensors, name: str) -> dict[str, torch.Tensor]:
    """Return the same tensors under the names of Meta's files. `name`: of the checkpoint, for messages.

    Raises:
        WeightsError: a tensor is none of SAM 1's, or two that must be the same differ.
    """
    found: dict[str, torch.Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        meta = meta_name(key, tensors)
        if meta is None:
            unknown.append(key)
        elif meta in found and not torch.equal(found[meta], tensor):
            raise WeightsError(f"{name} is damaged: {key} differs from the other tensor that means the same")
        else:
            found[meta] = tensor
    if unknown:
        raise WeightsError(
            f"{name} looks like a SAM 1 checkpoint of transformers (SamModel), but {len(unknown)} of its "
            f"{len(tensors)} tensors are not SAM 1's: {', '.join(sorted(unknown)[:3])}"
        )
    return found


def meta_name(key: str, tensors: Tensors) -> str | None:
    """Meta's name for what transformers calls `key`, one of `tensors`; None where it is none of SAM 1's."""
    for pattern, replacement in _RULES:
        if found := re.fullmatch(pattern, key):
            return found.expand(replacement)
    if not (head := _HEADS.fullmatch(key)):
        return None
    stem, first, between, _, kind = head.groups()
    if first:
        return f"{stem}.layers.0.{kind}"
    if between:
        return f"{stem}.layers.{int(between) + 1}.{kind}"
    count = sum(other.startswith(f"{stem}.layers.") and other.endswith(".weight") for other in tensors)
    return f"{stem}.layers.{count + 1}.{kind}"


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Refuse a checkpoint whose `config.json` asks for what the networks here do not do.

    All else that it says is read off the tensors' shapes. What it leaves out has transformers' defaults.

    Raises:
        WeightsError: it would be loaded without an error, and give other masks.
    """
    if (kind := config.get("model_type", "sam")) != "sam":
        raise WeightsError(f"{name} is a transformers model of type '{kind}' (config.json); expected 'sam'")
    for (part, key), expected in _ASSUMED.items():
        section = config.get(part)
        found = section.get(key, expected) if isinstance(section, Mapping) else expected
        if found != expected:
            raise WeightsError(f"{name}: config.json has {key} {found} in {part}; only {expected} is supported")

"""SAM 2 as the transformers library names it (`Sam2Model`, `Sam2VideoModel`), in the names of Meta's files.

Only names differ. What no tensor's shape shows is read from the folder's config.json, where it says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from samcli.errors import WeightsError
from samcli.sam.networks.hugging_face import meta_name

Tensors = Mapping[str, torch.Tensor]

_POINTS = "prompt_encoder.point_embed.weight"

_RULES: tuple[tuple[str, str], ...] = (
    (r"no_memory_embedding", r"no_mem_embed"),
    (r"vision_encoder\.backbone\.patch_embed\.projection\.(\w+)", r"image_encoder.trunk.patch_embed.proj.\1"),
    (r"vision_encoder\.backbone\.(pos_embed\w*)", r"image_encoder.trunk.\1"),
    (r"vision_encoder\.backbone\.(blocks\.\d+)\.layer_norm([12])\.(\w+)", r"image_encoder.trunk.\1.norm\2.\3"),
    (r"vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_in\.(\w+)", r"image_encoder.trunk.\1.layers.0.\2"),
    (r"vision_encoder\.backbone\.(blocks\.\d+\.mlp)\.proj_out\.(\w+)", r"image_encoder.trunk.\1.layers.1.\2"),
    (r"vision_encoder\.backbone\.(blocks\.\d+\.(?:attn\.\w+|proj)\.\w+)", r"image_encoder.trunk.\1"),
    (r"vision_encoder\.neck\.(convs\.\d+)\.(\w+)", r"image_encoder.neck.\1.conv.\2"),
    (r"mask_decoder\.(transformer\.layers\.\d+\.mlp)\.proj_in\.(\w+)", r"sam_mask_decoder.\1.layers.0.\2"),
    (r"mask_decoder\.(transformer\.layers\.\d+\.mlp)\.proj_out\.(\w+)", r"sam_mask_decoder.\1.layers.1.\2"),
    (r"mask_decoder\.(transformer\..*attn\w*)\.o_proj\.(\w+)", r"sam_mask_decoder.\1.out_proj.\2"),
    (r"mask_decoder\.((?:conv_s[01]|obj_score_token)\.\w+)", r"sam_mask_decoder.\1"),
    (r"mask_decoder\.(pred_obj_score_head)\.proj_in\.(\w+)", r"sam_mask_decoder.\1.layers.0.\2"),
    (r"mask_decoder\.(pred_obj_score_head)\.layers\.0\.(\w+)", r"sam_mask_decoder.\1.layers.1.\2"),
    (r"mask_decoder\.(pred_obj_score_head)\.proj_out\.(\w+)", r"sam_mask_decoder.\1.layers.2.\2"),
)
"""Patterns of whole names, and Meta's names for them. All others are as in SAM 1, whose names begin otherwise."""

_VIDEO_ONLY = re.compile(
    r"(memory_|mask_downsample|object_pointer_proj|temporal_positional_encoding|no_memory_positional_encoding"
    r"|no_object_pointer|occlusion_spatial_embedding).*"
)
"""What remembers objects from frame to frame of a video."""


def is_hugging_face_sam2(tensors: Tensors) -> bool:
    """Return whether these are the tensors of a transformers `Sam2Model`, alone or as a part of the model for
    videos.
    """
    return "vision_encoder.backbone.pos_embed_window" in tensors and "mask_decoder.conv_s0.weight" in tensors


def sam2_to_meta_names(tensors: Tensors, name: str) -> dict[str, torch.Tensor]:
    """Return the same tensors under the names of Meta's files. `name`: of the checkpoint, for messages.

    Raises:
        WeightsError: a tensor is none of SAM 2's, or two that must be the same differ.
    """
    found: dict[str, torch.Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        if _VIDEO_ONLY.fullmatch(key):
            continue
        if key == _POINTS:  # one table here, a tensor for each kind of point there
            rows = {f"sam_prompt_encoder.point_embeddings.{i}.weight": row[None] for i, row in enumerate(tensor)}
            found |= rows
            continue
        meta = _meta_name(key, tensors)
        if meta is None:
            unknown.append(key)
        elif meta in found and not torch.equal(found[meta], tensor):
            raise WeightsError(f"{name} is damaged: {key} differs from the other tensor that means the same")
        else:
            found[meta] = tensor
    if unknown:
        raise WeightsError(
            f"{name} looks like a SAM 2 checkpoint of transformers (Sam2Model), but {len(unknown)} of its "
            f"{len(tensors)} tensors are not SAM 2's: {', '.join(sorted(unknown)[:3])}"
        )
    return found


def _meta_name(key: str, tensors: Tensors) -> str | None:
    for pattern, replacement in _RULES:
        if match := re.fullmatch(pattern, key):
            return match.expand(replacement)
    sam1 = meta_name(key, tensors)
    return None if sam1 is None or sam1.startswith("image_encoder.") else f"sam_{sam1}"


_UNSEEN = ("num_attention_heads", "window_size_per_stage", "global_attention_blocks")


def sam2_metadata(config: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return what shapes do not show, as metadata of a safetensors file (see `networks.sam2`); may be empty.

    Raises:
        WeightsError: config.json is another model's.
    """
    if (kind := config.get("model_type", "sam2")) not in ("sam2", "sam2_video"):
        raise WeightsError(f"{name} is a transformers model of type '{kind}' (config.json); expected 'sam2'")
    vision = config.get("vision_config")
    backbone = vision.get("backbone_config") if isinstance(vision, Mapping) else None
    if not isinstance(backbone, Mapping) or any(key not in backbone for key in _UNSEEN):
        return {}
    heads, windows, blocks = (backbone[key] for key in _UNSEEN)
    side = backbone.get("image_size", 1024)
    return {
        "heads": str(heads),
        "windows": _listed(windows),
        "global_blocks": _listed(blocks),
        "img_size": str(side[0] if isinstance(side, list) and side else side),
    }


def _listed(values: Any) -> str:
    return ",".join(map(str, values)) if isinstance(values, list) else str(values)

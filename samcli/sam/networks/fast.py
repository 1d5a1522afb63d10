"""Replace the forward of some modules by a faster equivalent; the others keep theirs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from samcli.sam.networks.base import promising
from samcli.sam.networks.compiled import Compiled
from samcli.sam.networks.fast_decoder import decode_masks
from samcli.sam.networks.fast_tinyvit import encode_tinyvit
from samcli.sam.networks.fast_vit import encode_vit


def encoder_forward(encoder: nn.Module, *, compiled: bool = False) -> Callable[[Tensor], Tensor]:
    """From images (B, 3, H, W) to embeddings (B, C, h, w), in evaluation mode.

    `compiled`: the stock forward, compiled; the fast one only where that fails.
    """
    if compiled:
        return Compiled(lambda: torch.compile(encoder), encoder_forward(encoder), "image encoder")
    from ultralytics.models.sam.modules.encoders import ImageEncoderViT
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT

    if type(encoder) is ImageEncoderViT and hasattr(encoder.get_submodule("blocks.0.attn"), "rel_pos_h"):
        return functools.partial(encode_vit, encoder)
    if type(encoder) is TinyViT:
        return functools.partial(encode_tinyvit, encoder)
    return encoder


def decoder_forward(decoder: nn.Module, *, compiled: bool = False) -> Callable[..., tuple[Tensor, Tensor]]:
    """From embedding, its position, sparse and dense prompts, multimask or not, and the predicted IoU above which
    an answer counts, to logits of the promising prompts and predicted IoU of all: as `decode_masks`.

    `compiled`: as in `encoder_forward`.
    """
    if compiled:
        make = functools.partial(torch.compile, decoder)
        return Compiled(lambda: functools.partial(_decode_all, make()), decoder_forward(decoder), "mask decoder")
    from ultralytics.models.sam.modules.decoders import MaskDecoder

    return functools.partial(decode_masks if type(decoder) is MaskDecoder else _decode_all, decoder)


def _decode_all(
    decoder: Callable[..., tuple[Tensor, Tensor]], *inputs: Tensor | bool, pred_iou_thresh: float = -math.inf
) -> tuple[Tensor, Tensor]:
    """By a decoder that makes the masks of all prompts."""
    masks, quality = decoder(*inputs)
    kept = promising(quality, pred_iou_thresh)
    return masks if kept is None else masks[kept], quality

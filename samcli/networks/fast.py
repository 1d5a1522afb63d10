"""Which modules have a faster forward than their own, of the same meaning: the rest keep theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn

from samcli.networks.fast_decoder import decode_masks
from samcli.networks.fast_tinyvit import encode_tinyvit
from samcli.networks.fast_vit import encode_vit


def encoder_forward(encoder: nn.Module) -> Callable[[Tensor], Tensor]:
    """From images (B, 3, H, W) to embeddings (B, C, h, w), in evaluation mode."""
    from ultralytics.models.sam.modules.encoders import ImageEncoderViT
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT

    if type(encoder) is ImageEncoderViT and hasattr(encoder.get_submodule("blocks.0.attn"), "rel_pos_h"):
        return functools.partial(encode_vit, encoder)
    if type(encoder) is TinyViT:
        return functools.partial(encode_tinyvit, encoder)
    return encoder


def decoder_forward(decoder: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """From embedding, its position, sparse and dense prompts, multimask or not, to logits and predicted IoU."""
    from ultralytics.models.sam.modules.decoders import MaskDecoder

    return functools.partial(decode_masks, decoder) if type(decoder) is MaskDecoder else decoder

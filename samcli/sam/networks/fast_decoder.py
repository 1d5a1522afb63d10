"""The forward of SAM's mask decoder with less work per prompt, over the stock module's own parameters.

Two rearrangements, both exact but for the order of sums. In attention between a few tokens and the image's
thousands, the projection of the image is a matrix between the two sides of a product, and is applied to the
tokens instead: half the arithmetic, and nothing of the image's size but the scores is ever made. And a transposed
convolution whose stride is its size is a linear layer of each place: places keep their order in memory, finer ones
inside coarser ones, until the masks are made.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samcli.sam.networks.base import promising
from samcli.sam.networks.kernels import linear, products

_TILE_BYTES = 8 << 20
"""Image tokens that go through the decoder at once on a CPU, in bytes: flat from half to twice as many."""


def decode_masks(
    decoder: Any,
    image: Tensor,
    position: Tensor,
    sparse: Tensor,
    dense: Tensor,
    multimask: bool,
    pred_iou_thresh: float = -math.inf,
) -> tuple[Tensor, Tensor]:
    """Low-resolution logits (K, M, 4h, 4w) and predicted IoU (P, M) by an Ultralytics `MaskDecoder`.

    The logits are those of the K prompts that are `promising`: predicted IoU comes from the tokens alone, and for
    the other prompts the image is never upscaled.

    `image` and `position` (1, C, h, w), of one image; prompts `sparse` (P, T, C) and `dense` (P, C, h, w), or
    (1, C, h, w) where it is the same for all. On a CPU as many prompts at once as have tokens that fit the cache.
    """
    height, width = image.shape[-2:]
    wanted = slice(1, decoder.num_mask_tokens) if multimask else slice(0, 1)
    places = _tokens(position)
    at_once = len(sparse)
    if image.device.type == "cpu":
        at_once = max(1, _TILE_BYTES // (places.numel() * places.element_size()))
    shared = _tokens(image + dense) if len(dense) == 1 else None
    masks: list[Tensor] = []
    quality: list[Tensor] = []
    for part in torch.split(sparse, at_once):
        own = dense[at_once * len(quality) :][: len(part)]
        tokens, seen = _transform(decoder, _tokens(image + own) if shared is None else shared, places, part)
        quality.append(decoder.iou_prediction_head(tokens[:, 0])[:, wanted])
        if (kept := promising(quality[-1], pred_iou_thresh)) is not None:
            tokens, seen = tokens[kept], seen[kept]
        masks.append(_masks(decoder, tokens, seen, (height, width), wanted))
    return torch.cat(masks), torch.cat(quality)


def _tokens(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h x w, C)."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def _transform(decoder: Any, image: Tensor, places: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two-way transformer: output and prompt tokens (B, T, C) and image tokens (B, N, C) after it.

    `image` (B, N, C), or (1, N, C) for all prompts; `places` (1, N, C).
    """
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(sparse), -1, -1)
    tokens = asked = torch.cat([own, sparse], 1)
    transformer = decoder.transformer
    placed = image + places
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
        else:
            query = tokens + asked
            tokens = layer.norm1(tokens + layer.self_attn(q=query, k=query, v=tokens))
        tokens = layer.norm2(
            tokens + _tokens_to_image(layer.cross_attn_token_to_image, tokens + asked, placed, image)
        )
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        image = layer.norm4(
            _image_to_tokens(layer.cross_attn_image_to_token, placed, tokens + asked, tokens, image)
        )
        placed = image + places
    last = _tokens_to_image(transformer.final_attn_token_to_image, tokens + asked, placed, image)
    return transformer.norm_final_attn(tokens + last), image


def _heads(attn: Any, projection: Any) -> Tensor:
    """Return a projection's weight (heads, d, C)."""
    return projection.weight.view(attn.num_heads, -1, projection.in_features)  # type: ignore[no-any-return]


def _tokens_to_image(attn: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Few queries (B, T, C) attend to an image's keys and values (B or 1, N, C), neither of them projected yet."""
    batch, count, _ = queries.shape
    heads = attn.num_heads
    q = linear(queries, attn.q_proj.weight, attn.q_proj.bias).view(batch, count, heads, -1)
    asked = torch.einsum("bthd,hdc->bhtc", q * q.shape[-1] ** -0.5, _heads(attn, attn.k_proj)).flatten(1, 2)
    # The keys' bias would add the same to all scores of a query: the softmax takes it out again.
    weights = products(asked, keys).softmax(-1)
    seen = products(weights, values.transpose(1, 2)).view(batch, heads, count, -1)
    out = torch.einsum("bhtc,hdc->bthd", seen, _heads(attn, attn.v_proj)).flatten(2) + attn.v_proj.bias
    return linear(out, attn.out_proj.weight, attn.out_proj.bias)


def _image_to_tokens(attn: Any, queries: Tensor, keys: Tensor, values: Tensor, image: Tensor) -> Tensor:
    """`image` plus what its queries (B or 1, N, C), not projected yet, see in few keys and values (B, T, C)."""
    batch, count, channels = keys.shape
    heads = attn.num_heads
    k = linear(keys, attn.k_proj.weight, attn.k_proj.bias).view(batch, count, heads, -1)
    k = k * k.shape[-1] ** -0.5
    asked = torch.einsum("bthd,hdc->bhtc", k, _heads(attn, attn.q_proj)).flatten(1, 2)
    offsets = torch.einsum("bthd,hd->bht", k, attn.q_proj.bias.view(heads, -1))
    scores = products(asked, queries).view(batch, heads, count, -1)
    weights = (scores + offsets[..., None]).softmax(2).flatten(1, 2)
    v = linear(values, attn.v_proj.weight, attn.v_proj.bias).view(batch, count, heads, -1)
    out = attn.out_proj.weight.view(channels, heads, -1)
    # Each head's weights sum to one, so a share of the bias in each head's values sums to the bias.
    given = torch.einsum("bthd,chd->bhtc", v, out) + attn.out_proj.bias / heads
    return torch.baddbmm(image, weights.transpose(1, 2), given.flatten(1, 2))


def _masks(decoder: Any, tokens: Tensor, image: Tensor, size: tuple[int, int], wanted: slice) -> Tensor:
    """Logits (B, M, 4h, 4w) of the wanted mask tokens."""
    height, width = size
    indices = range(decoder.num_mask_tokens)[wanted]
    if not len(tokens):
        return tokens.new_empty(0, len(indices), 4 * height, 4 * width)
    first, norm, _, second, _ = decoder.output_upscaling
    fine = _upscale(image, first)
    fine = F.gelu(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    fine = _upscale(fine, second, gelu=True)
    kernels = torch.stack([decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in indices], 1)
    nested = products(kernels, fine).view(len(tokens), len(indices), height, width, 2, 2, 2, 2)
    masks = nested.new_empty(len(tokens), len(indices), height, 2, 2, width, 2, 2)
    for left, finer in itertools.product(range(2), range(2)):  # long rows: six times as fast as one permutation
        masks[..., left, finer] = nested[..., left, :, finer].permute(0, 1, 2, 4, 5, 3)
    return masks.view(len(tokens), len(indices), 4 * height, 4 * width)


def _upscale(x: Tensor, convolution: Any, *, gelu: bool = False) -> Tensor:
    """Return a transposed convolution of size and stride 2 on places (B, N, C).

    (B, 4N, D), a place's four in a row.
    """
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return linear(x, weight, convolution.bias.repeat(4), gelu=gelu).view(len(x), -1, convolution.out_channels)

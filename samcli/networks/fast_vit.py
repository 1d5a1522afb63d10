"""The forward of Meta's ViT image encoder, arranged for the cache, over the stock module's own parameters.

Same arithmetic as the stock forward but for the order of sums. Attention with decomposed relative position
(MViTv2, https://arxiv.org/abs/2112.01526) is bound by memory when a block's scores are all held at once (800 MB
for ViT-B); here they are made, biased, normalised and used up in tiles of query rows that stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samcli.networks.kernels import CACHE_BYTES, linear


def encode_vit(encoder: Any, images: Tensor) -> Tensor:
    """Embeddings (B, C, h, w) of images (B, 3, H, W) by an Ultralytics `ImageEncoderViT`."""
    x = encoder.patch_embed(images)
    positions = encoder.pos_embed
    if positions is not None:
        if positions.shape[1:3] != x.shape[1:3]:
            positions = F.interpolate(positions.permute(0, 3, 1, 2), size=x.shape[1:3]).permute(0, 2, 3, 1)
        x = x + positions
    for block in encoder.blocks:
        x = _block(block, x.contiguous())
    return encoder.neck(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def _block(block: Any, x: Tensor) -> Tensor:
    """One transformer block on tokens (B, h, w, C)."""
    normal = block.norm1(x)
    if block.window_size:
        windows = _into_windows(normal, block.window_size)
        attended = _out_of_windows(_attention(block.attn, windows), x.shape)
    else:
        attended = _attention(block.attn, normal)
    x = linear(attended, block.attn.proj.weight, block.attn.proj.bias, add=x)
    hidden = linear(block.norm2(x), block.mlp.lin1.weight, block.mlp.lin1.bias, gelu=True)
    return linear(hidden, block.mlp.lin2.weight, block.mlp.lin2.bias, add=x)


def _into_windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C) to (windows, side, side, C). The padding is zeros, and takes part in attention as keys."""
    _, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    batch, height, width, _ = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side, side, channels)


def _out_of_windows(windows: Tensor, shape: torch.Size) -> Tensor:
    """Back to (B, h, w, C), without the padding."""
    batch, height, width, channels = shape
    side = windows.shape[1]
    rows, columns = -(-height // side), -(-width // side)
    x = windows.view(batch, rows, columns, side, side, channels).transpose(2, 3)
    return x.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


def _attention(attn: Any, x: Tensor) -> Tensor:
    """Multi-head attention over each map of tokens (G, h, w, C), before the output projection."""
    groups, height, width, channels = x.shape
    heads = attn.num_heads
    qkv = linear(x, attn.qkv.weight, attn.qkv.bias).view(groups, height * width, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, groups * heads, height * width, -1).unbind(0)
    by_row, by_column = _relative(attn, q, height, width)
    q = q * attn.scale
    attend = _attend_in_tiles if x.device.type == "cpu" else _attend_folded
    out = attend(q, k, v, by_row, by_column)
    return out.view(groups, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(x.shape)


def _relative(attn: Any, q: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What each query (G, N, d) adds to the scores of the keys of each row (G, N, h) and each column (G, N, w)."""
    maps = q.view(-1, height, width, q.shape[-1])
    rows, columns = _table(attn.rel_pos_h, height), _table(attn.rel_pos_w, width)
    by_row = torch.einsum("ghwc,hkc->ghwk", maps, rows)
    by_column = torch.einsum("ghwc,wkc->ghwk", maps, columns)
    return by_row.reshape(*q.shape[:2], height), by_column.reshape(*q.shape[:2], width)


def _table(positions: Tensor, length: int) -> Tensor:
    """Embedding (length, length, d) of the distance from each place to each, from all distances (2 length - 1, d)."""
    if positions.shape[0] != 2 * length - 1:  # trained for another size
        resized = F.interpolate(positions.t()[None], size=2 * length - 1, mode="linear")
        positions = resized[0].t()
    places = torch.arange(length, device=positions.device)
    return positions[places[:, None] - places + length - 1]


def _attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """softmax(q k^T + relative) v for G heads of N tokens (G, N, d), never more scores than the cache holds."""
    groups, count, _ = q.shape
    height, width = by_row.shape[-1], by_column.shape[-1]
    rows = max(1, CACHE_BYTES // (count * q.element_size()))
    out = torch.empty_like(q)
    if rows >= count:  # several heads fit at once
        for part in torch.arange(groups).split(rows // count):
            at = slice(int(part[0]), int(part[-1]) + 1)
            scores = torch.bmm(q[at], k[at].transpose(1, 2))
            _add_relative(scores.view(-1, count, height, width), by_row[at], by_column[at])
            torch.bmm(scores.softmax(-1), v[at], out=out[at])
        return out
    for head in range(groups):
        keys, values = k[head], v[head].t().contiguous()
        for start in range(0, count, rows):
            at = slice(start, start + rows)
            scores = linear(q[head, at], keys)
            _add_relative(scores.view(-1, height, width), by_row[head, at], by_column[head, at])
            out[head, at] = linear(scores.softmax(-1), values)
    return out


def _add_relative(scores: Tensor, by_row: Tensor, by_column: Tensor) -> None:
    """Add to scores (..., h, w) in place."""
    scores += by_row[..., :, None]
    scores += by_column[..., None, :]


def _attend_folded(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The same by one fused kernel, which knows no such bias: it rides along in further dimensions of the heads.

    A query's relative terms times a key's one-hot row and column are exactly its bias: no rounding, no mask.
    """
    dim, height, width = q.shape[-1], by_row.shape[-1], by_column.shape[-1]
    places = torch.arange(height * width, device=q.device)
    one_hot = torch.cat([F.one_hot(places // width, height), F.one_hot(places % width, width)], -1).to(q.dtype)
    spare = -(dim + height + width) % 8  # fused kernels want multiples of eight
    queries = F.pad(torch.cat([q, by_row, by_column], -1), (0, spare))
    keys = F.pad(torch.cat([k, one_hot.expand(len(k), -1, -1)], -1), (0, spare))
    values = F.pad(v, (0, queries.shape[-1] - dim))
    return F.scaled_dot_product_attention(queries[None], keys[None], values[None], scale=1.0)[0, ..., :dim]

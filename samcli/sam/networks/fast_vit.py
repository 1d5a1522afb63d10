"""The forward of Meta's ViT image encoder, arranged for the cache, over the stock module's own parameters.

Same arithmetic as the stock forward but for the order of sums. Attention with decomposed relative position
(MViTv2, https://arxiv.org/abs/2112.01526) is bound by memory when a block's scores are all held at once (800 MB
for ViT-B); here they are made, biased, normalised and used up in tiles of query rows that stay in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samcli.sam.networks.kernels import CACHE_BYTES, linear


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
    attended = _attention(block.attn, block.norm1(x), block.window_size)
    x = linear(attended, block.attn.proj.weight, block.attn.proj.bias, add=x)
    hidden = linear(block.norm2(x), block.mlp.lin1.weight, block.mlp.lin1.bias, gelu=True)
    return linear(hidden, block.mlp.lin2.weight, block.mlp.lin2.bias, add=x)


def _attention(attn: Any, x: Tensor, window: int) -> Tensor:
    """Multi-head attention in each window of tokens (B, h, w, C), or over all of them where the window is 0.

    Before the output projection. The reference pads its windows with zero tokens and attends to those as well:
    after the projection to queries, keys and values they are nothing but its bias.
    """
    heads = attn.num_heads
    windows = _Windows(x.shape[1], x.shape[2], window)
    qkv = linear(x, attn.qkv.weight, attn.qkv.bias).view(*x.shape[:3], 3, heads, -1)
    bias = torch.zeros_like(qkv[0, 0, 0]) if attn.qkv.bias is None else attn.qkv.bias.view(3, heads, -1)
    q, k, v = windows.gather(qkv, bias).unbind(0)
    by_row, by_column = _relative(attn, q)
    q.mul_(attn.scale)
    attend = _attend_in_tiles if x.device.type == "cpu" else _attend_folded
    return windows.scatter(attend(q, k, v, by_row, by_column), heads).view(x.shape)


class _Windows:
    """A grid of tokens cut into windows of equal size, the last ones padded; or into one that is the grid."""

    def __init__(self, height: int, width: int, side: int) -> None:
        self.grid = height, width
        self.size = (side, side) if side else (height, width)
        self.counts = -(-height // self.size[0]), -(-width // self.size[1])

    def gather(self, qkv: Tensor, padding: Tensor) -> Tensor:
        """(B, h, w, 3, heads, d) to (3, B x windows x heads, window height, window width, d)."""
        batch, *_, heads, dim = qkv.shape
        out = qkv.new_empty(3, batch, *self.counts, heads, *self.size, dim)
        edge = padding[:, None, :, None, None]
        for row, column, rows, columns in self._parts():
            part = qkv[:, rows, columns].permute(3, 0, 4, 1, 2, 5)
            height, width = part.shape[3:5]
            window = out[:, :, row, column]
            window[:, :, :, :height, :width] = part
            window[:, :, :, height:] = edge
            window[:, :, :, :height, width:] = edge
        return out.view(3, -1, *self.size, dim)

    def scatter(self, out: Tensor, heads: int) -> Tensor:
        """(B x windows x heads, window height, window width, d) to (B, h, w, heads, d), without the padding."""
        dim = out.shape[-1]
        windows = out.view(-1, *self.counts, heads, *self.size, dim)
        joined = out.new_empty(len(windows), *self.grid, heads, dim)
        for row, column, rows, columns in self._parts():
            part = joined[:, rows, columns]
            part.copy_(windows[:, row, column, :, : part.shape[1], : part.shape[2]].permute(0, 2, 3, 1, 4))
        return joined

    def _parts(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each window's place among them, and its tokens' rows and columns in the grid."""
        height, width = self.size
        for row, column in itertools.product(*map(range, self.counts)):
            yield (
                row,
                column,
                slice(row * height, (row + 1) * height),
                slice(column * width, (column + 1) * width),
            )


def _relative(attn: Any, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return what queries (G, h, w, d) add to the scores of keys by row (G, h, w, h) and column (G, h, w, w).

    One product with the embeddings of all distances; the distances of a query's own row, say, are a stretch of
    its products that begins one earlier with each row: a view whose step from row to row is one short.
    """
    groups, height, width, _ = q.shape
    distances = torch.cat([_distances(attn.rel_pos_h, height), _distances(attn.rel_pos_w, width)])
    products = linear(q, distances)
    count = len(distances)
    steps = height * width * count, width * count, count, 1
    start = products.storage_offset()
    by_row = products.as_strided(
        (groups, height, width, height), (steps[0], steps[1] - 1, steps[2], 1), start + height - 1
    )
    by_column = products.as_strided(
        (groups, height, width, width), (steps[0], steps[1], steps[2] - 1, 1), start + 2 * height - 1 + width - 1
    )
    return by_row, by_column


def _distances(positions: Tensor, length: int) -> Tensor:
    """Embeddings (2 length - 1, d) of the distances from length - 1 down to 1 - length."""
    if positions.shape[0] != 2 * length - 1:  # trained for another size
        positions = F.interpolate(positions.t()[None], size=2 * length - 1, mode="linear")[0].t()
    return positions.flip(0)


def _attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """softmax(q k^T + relative) v for heads (G, h, w, d), never more scores at once than the cache holds."""
    groups, height, width, dim = q.shape
    count = height * width
    out = torch.empty_like(q)
    keys, values = k.view(groups, count, dim), v.view(groups, count, dim)
    at_once = max(1, CACHE_BYTES // (count**2 * q.element_size()))
    rows = min(height, max(1, CACHE_BYTES // (count * width * q.element_size())))
    if rows == height:  # whole heads, or several at once
        for start in range(0, groups, at_once):
            at = slice(start, start + at_once)
            relative = _sum(by_row[at], by_column[at]).view(-1, count, count)
            scores = torch.baddbmm(relative, q[at].view(-1, count, dim), keys[at].transpose(1, 2))
            torch.bmm(scores.softmax(-1), values[at], out=out[at].view(-1, count, dim))
        return out
    for head in range(groups):
        turned = values[head].t().contiguous()
        for start in range(0, height, rows):
            at = slice(start, start + rows)
            relative = _sum(by_row[head, at], by_column[head, at]).view(-1, count)
            scores = linear(q[head, at].view(-1, dim), keys[head], add=relative)
            out[head, at] = linear(scores.softmax(-1), turned).view(-1, width, dim)
    return out


def _sum(by_row: Tensor, by_column: Tensor) -> Tensor:
    """(..., h) and (..., w) to (..., h, w)."""
    return by_row[..., :, None] + by_column[..., None, :]


def _attend_folded(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Return the same by one fused kernel, which knows no such bias: it rides along in further dimensions of the
    heads.

    A query's relative terms times a key's one-hot row and column are exactly its bias: no rounding, no mask.
    """
    groups, height, width, dim = q.shape
    places = torch.arange(height * width, device=q.device).view(height, width)
    one_hot = torch.cat([F.one_hot(places // width, height), F.one_hot(places % width, width)], -1).to(q.dtype)
    spare = -(dim + height + width) % 8  # fused kernels want multiples of eight
    queries = F.pad(torch.cat([q, by_row, by_column], -1), (0, spare)).flatten(1, 2)
    keys = F.pad(torch.cat([k, one_hot.expand(groups, -1, -1, -1)], -1), (0, spare)).flatten(1, 2)
    values = F.pad(v.flatten(1, 2), (0, queries.shape[-1] - dim))
    out = F.scaled_dot_product_attention(queries[None], keys[None], values[None], scale=1.0)
    return out[0, ..., :dim].reshape(q.shape)

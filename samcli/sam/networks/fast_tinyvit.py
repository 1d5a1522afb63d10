"""The forward of MobileSAM's TinyViT with channels last throughout, over the stock module's own parameters.

Batch norms are folded into their convolutions, those of one pixel are linear layers, and activations are applied
while results are still in registers: the stock forward spends most of its time passing over its maps again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samcli.sam.networks.kernels import CACHE_BYTES, convolution, linear


def encode_tinyvit(encoder: Any, images: Tensor) -> Tensor:
    """Embeddings (B, C, h, w) of images (B, 3, H, W) by an Ultralytics `TinyViT`."""
    first, _, second = encoder.patch_embed.seq
    x = _convolve(first, images.permute(0, 2, 3, 1), gelu=True)
    x = _convolve(second, x)
    for stage, layer in enumerate(encoder.layers):
        for block in layer.blocks:
            x = _bottleneck(block, x) if stage == 0 else _block(block, x)
        if layer.downsample is not None:
            x = _merge(layer.downsample, x)
    return encoder.neck(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def _convolve(pair: Any, x: Tensor, *, gelu: bool = False) -> Tensor:
    """Return a convolution and its batch norm as one, on x (B, h, w, C)."""
    conv, norm = pair.c, pair.bn
    scale = norm.weight.float() * (norm.running_var.float() + norm.eps).rsqrt()
    weight = (conv.weight.float() * scale[:, None, None, None]).to(x.dtype)
    bias = (norm.bias.float() - norm.running_mean.float() * scale).to(x.dtype)
    return convolution(
        x, weight, bias, stride=conv.stride[0], padding=conv.padding[0], groups=conv.groups, gelu=gelu
    )


def _bottleneck(block: Any, x: Tensor) -> Tensor:
    """Inverted bottleneck of the first stage."""
    inside = _convolve(block.conv2, _convolve(block.conv1, x, gelu=True), gelu=True)
    return F.gelu(_convolve(block.conv3, inside) + x)


def _merge(merging: Any, x: Tensor) -> Tensor:
    """To the next stage's channels, and half the size where the stage's step is two."""
    inside = _convolve(merging.conv2, _convolve(merging.conv1, x, gelu=True), gelu=True)
    return _convolve(merging.conv3, inside)


def _block(block: Any, x: Tensor) -> Tensor:
    """Window attention, local convolution, and multi-layer perceptron on x (B, h, w, C)."""
    side = block.window_size
    batch, height, width, channels = x.shape
    padded = F.pad(
        x, (0, 0, 0, -width % side, 0, -height % side)
    )  # zeros take part in attention, as in the reference
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side**2, channels)
    seen = _attention(block.attn, windows).view(batch, rows, columns, side, side, channels).transpose(2, 3)
    x = x + seen.reshape(padded.shape)[:, :height, :width]
    x = _convolve(block.local_conv, x)
    mlp = block.mlp
    hidden = linear(mlp.norm(x), mlp.fc1.weight, mlp.fc1.bias, gelu=True)
    return linear(hidden, mlp.fc2.weight, mlp.fc2.bias, add=x)


def _attention(attn: Any, x: Tensor) -> Tensor:
    """Multi-head attention within each window (G, N, C), by distance as well."""
    groups, count, _ = x.shape
    qkv = linear(attn.norm(x), attn.qkv.weight, attn.qkv.bias).view(groups, count, attn.num_heads, -1)
    q, k, v = torch.split(qkv.transpose(1, 2), [attn.key_dim, attn.key_dim, attn.d], dim=-1)
    bias = attn.attention_biases[:, attn.attention_bias_idxs]
    at_once = groups
    if x.device.type == "cpu":
        at_once = max(1, CACHE_BYTES // (bias.numel() * bias.element_size()))
    out = x.new_empty(groups, count, attn.num_heads, attn.d)
    for start in range(0, groups, at_once):
        at = slice(start, start + at_once)
        scores = (q[at] * attn.scale) @ k[at].transpose(2, 3)
        scores += bias
        out[at] = (scores.softmax(-1) @ v[at]).transpose(1, 2)
    return linear(out.flatten(2), attn.proj.weight, attn.proj.bias)

"""The tiny SAM: ultralytics' own SAM 1 classes with a TinyViT encoder, other numbers only.

The one departure from `ultralytics.models.sam.build` is the neck, which that class hard-codes to 256
channels: the same four layers, `WIDTH` wide. An image of side S gives an embedding (WIDTH, S/16, S/16) and
masks of side S/4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from ultralytics.models.sam.modules.decoders import MaskDecoder
from ultralytics.models.sam.modules.encoders import PromptEncoder
from ultralytics.models.sam.modules.sam import SAMModel
from ultralytics.models.sam.modules.tiny_encoder import TinyViT
from ultralytics.models.sam.modules.transformer import TwoWayTransformer
from ultralytics.nn.modules import LayerNorm2d

IMAGE_SIZE = 768
STRIDE = 16
MASK_STRIDE = 4
WIDTH = 128


@dataclass(frozen=True)
class EncoderNumbers:
    """TinyViT's numbers. The last stage must be 320 wide: that keeps PatchMerging at stride 16."""

    embed_dims: tuple[int, int, int, int] = (32, 64, 128, 320)
    depths: tuple[int, int, int, int] = (2, 2, 4, 1)
    num_heads: tuple[int, int, int, int] = (1, 2, 4, 5)
    window_sizes: tuple[int, int, int, int] = (7, 8, 16, 16)
    mlp_ratio: float = 3.0
    mbconv_expand_ratio: float = 2.0


def build(image_size: int = IMAGE_SIZE, numbers: EncoderNumbers | None = None) -> SAMModel:
    """Return an untrained tiny SAM for square inputs of `image_size` pixels."""
    numbers = numbers or EncoderNumbers()
    encoder = TinyViT(
        img_size=image_size,
        num_classes=0,  # no classification layer; `norm_head` stays, unused, as in MobileSAM
        embed_dims=numbers.embed_dims,
        depths=numbers.depths,
        num_heads=numbers.num_heads,
        window_sizes=numbers.window_sizes,
        mlp_ratio=numbers.mlp_ratio,
        mbconv_expand_ratio=numbers.mbconv_expand_ratio,
        drop_path_rate=0.0,
    )
    encoder.neck = nn.Sequential(
        nn.Conv2d(numbers.embed_dims[-1], WIDTH, kernel_size=1, bias=False),
        LayerNorm2d(WIDTH),
        nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(WIDTH),
    )
    grid = image_size // STRIDE
    prompt_encoder = PromptEncoder(WIDTH, (grid, grid), (image_size, image_size), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=8, mlp_dim=4 * WIDTH)
    decoder = MaskDecoder(WIDTH, transformer, 3, iou_head_depth=3, iou_head_hidden_dim=WIDTH)
    _spread_frequencies(prompt_encoder)
    return SAMModel(encoder, prompt_encoder, decoder)


def _spread_frequencies(prompt_encoder: PromptEncoder) -> None:
    """Half of the random positional frequencies as in SAM, a quarter 3 and a quarter 8 times as fine.

    SAM's own tell places apart that are a sixth of the frame apart; objects here are as small as a fortieth.
    """
    matrix = prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    quarter = matrix.shape[1] // 4
    scale = torch.ones(matrix.shape[1])
    scale[2 * quarter : 3 * quarter] = 3.0
    scale[3 * quarter :] = 8.0
    with torch.no_grad():
        matrix.copy_(torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0)) * scale)


def encode(model: SAMModel, frames: Tensor, inside: Tensor) -> Tensor:
    """Embed frames uint8 (B, 3, S, S), bool `inside` (B, 1, S, S) where a picture is: (B, WIDTH, S/16, S/16).

    The padding is zero *after* normalisation, as Meta has it.
    """
    normalised = (frames.float() - model.pixel_mean) / model.pixel_std * inside
    embedding: Tensor = model.image_encoder(normalised.to(memory_format=torch.channels_last))
    return embedding


def set_image_size(model: SAMModel, image_size: int) -> None:
    """Make the encoder and the prompt encoder ready for square inputs of another size; no tensor changes."""
    model.image_encoder.set_imgsz([image_size, image_size])
    grid = image_size // STRIDE
    model.prompt_encoder.image_embedding_size = (grid, grid)
    model.prompt_encoder.input_image_size = (image_size, image_size)
    model.prompt_encoder.mask_input_size = (4 * grid, 4 * grid)


def decode(
    model: SAMModel, embeddings: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """MaskDecoder.predict_masks for several images at once (the stock method takes one image only).

    Args:
        embeddings: (B, C, h, w), one per image.
        positions: dense positional encoding, (B or 1, C, h, w).
        sparse: prompt tokens (B * P, T, C), P prompts of an image after each other.
        dense: mask prompt embeddings (B * P, C, h, w) or (1, C, 1, 1).

    Returns:
        Mask logits (B * P, 4, 4h, 4w), predicted IoU (B * P, 4), and the upscaled embedding that the masks
        are read from (B * P, C / 8, 4h, 4w), all float32.
    """
    decoder = model.mask_decoder
    prompts = sparse.shape[0] // embeddings.shape[0]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens[None].expand(len(sparse), -1, -1), sparse], 1)
    source = embeddings.repeat_interleave(prompts, 0) + dense
    if len(positions) > 1:
        positions = positions.repeat_interleave(prompts, 0)
    batch, channels, rows, columns = source.shape
    tokens, source = decoder.transformer(source, positions.expand(batch, -1, -1, -1), tokens)
    source = decoder.output_upscaling(source.transpose(1, 2).reshape(batch, channels, rows, columns))
    weights = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    masks = (torch.stack(weights, 1) @ source.flatten(2)).view(batch, -1, *source.shape[-2:])
    return masks.float(), decoder.iou_prediction_head(tokens[:, 0]).float(), source.float()

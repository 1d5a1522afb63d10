"""The SAM 1 family: ViT-B, ViT-L, ViT-H, MobileSAM's TinyViT, and others of other numbers.

The classes are Ultralytics' (the same networks as Meta's, key by key); their loader is not used. All numbers
are read off the tensors' shapes, except those that no shape shows: the heads of the mask decoder (8 in every
published checkpoint) and, for TinyViT, the image size (1024, or what the file's metadata says).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samcli.sam.networks.base import (
    PIXEL_MEAN,
    Frame,
    PromptTensors,
    SamNetwork,
    Tensors,
    count,
    first_shape,
    fitting,
)
from samcli.sam.networks.fast import decoder_forward, encoder_forward
from samcli.sam.resampling import Axis, AxisBuilder
from samcli.types import Size

_DECODER_HEADS = 8
_TINYVIT_IMAGE_SIZE = 1024
_DEFAULTS = ("points_per_side", "pred_iou_thresh", "stability_score_thresh")


class Sam(SamNetwork):
    """A SAM 1 network, used as Meta's segment-anything does."""

    padding = PIXEL_MEAN  # Meta pads with zeros after normalising: that is the mean colour

    def frame(self, image_size: Size) -> Frame:
        """See SamNetwork."""
        return longest_side(image_size, self.image_size)

    def resize(self, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """Pillow's bilinear resize, which averages where it shrinks."""
        import PIL.Image

        return np.asarray(PIL.Image.fromarray(pixels).resize(size[::-1], PIL.Image.Resampling.BILINEAR))

    minds_the_cache = True

    # Made at first use: by then the modules are where, and in the precision, they stay.

    @functools.cached_property
    def _embed(self) -> Callable[[Tensor], Tensor]:
        return encoder_forward(self.image_encoder, compiled=self.compiled)

    @functools.cached_property
    def _predict(self) -> Callable[..., tuple[Tensor, Tensor]]:
        return decoder_forward(self.mask_decoder, compiled=self.compiled)

    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features only."""
        return self._embed(batch), ()

    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        points = None if prompts.points is None else (prompts.points, prompts.labels)
        sparse, dense = self.prompt_encoder(points=points, boxes=prompts.boxes, masks=prompts.mask_logits)
        return sparse, dense if prompts.mask_logits is not None else dense[:1]  # without masks, the same for all

    def decode(
        self,
        features: Tensor,
        high_res: tuple[Tensor, ...],
        position: Tensor,
        embedded: tuple[Tensor, Tensor],
        multimask: bool,
        pred_iou_thresh: float = -math.inf,
    ) -> tuple[Tensor, Tensor]:
        """See SamNetwork; there are no finer levels."""
        return self._predict(features, position, *embedded, multimask, pred_iou_thresh=pred_iou_thresh)

    def axis(self, length: int, input_length: int, image_length: int, device: torch.device) -> Axis:
        """First to the padded square, then cut to the image: masks are resized twice, as Meta does."""
        return _axis(length, self.image_size, input_length, image_length, device)


@functools.lru_cache(maxsize=8)  # images of one size follow one another
def _axis(length: int, side: int, input_length: int, image_length: int, device: torch.device) -> Axis:
    return _square(length, side).cut(0, input_length).resize(image_length).axis(device)


@functools.lru_cache(maxsize=8)  # the same for images of all sizes
def _square(length: int, side: int) -> AxisBuilder:
    return AxisBuilder.of(length).resize(side)


def longest_side(image_size: Size, side: int) -> Frame:
    """Return the frame of Meta's ResizeLongestSide: sizes rounded up at one half, and each axis' own scale."""
    scale = side / max(image_size)
    height, width = (max(1, int(length * scale + 0.5)) for length in image_size)
    return Frame(image_size, (height, width), (width / image_size[1], height / image_size[0]))


def is_sam(tensors: Tensors) -> bool:
    """Return whether these are the tensors of a SAM 1 network."""
    groups = {name.partition(".")[0] for name in tensors}
    return {"image_encoder", "prompt_encoder", "mask_decoder"} <= groups and (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in tensors
    )


def build_sam(tensors: Tensors, metadata: Mapping[str, str], name: str) -> Sam:
    """Return the network for these tensors, loaded strictly, fp32, in evaluation mode.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape than the others imply.
    """
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.models.sam.modules.decoders import MaskDecoder
    from ultralytics.models.sam.modules.encoders import PromptEncoder
    from ultralytics.models.sam.modules.sam import SAMModel
    from ultralytics.models.sam.modules.transformer import TwoWayTransformer

    with fitting(name, "SAM"):
        if "image_encoder.pos_embed" in tensors or "image_encoder.patch_embed.proj.weight" in tensors:
            family, image_size, encoder = "sam-vit", *_vit(tensors)
        else:
            image_size = int(metadata.get("img_size", _TINYVIT_IMAGE_SIZE))
            family, encoder = "sam-tinyvit", _tinyvit(tensors, image_size)
        dim = tensors["mask_decoder.iou_token.weight"].shape[1]
        grid = image_size // 16
        decoder = "mask_decoder."
        mlp = decoder + r"transformer\.layers\.0\.mlp\.(lin1|layers\.0)\.weight"
        network = SAMModel(
            encoder,
            PromptEncoder(
                embed_dim=dim,
                image_embedding_size=(grid, grid),
                input_image_size=(image_size, image_size),
                mask_in_chans=tensors["prompt_encoder.mask_downscaling.3.weight"].shape[0],
            ),
            MaskDecoder(
                transformer_dim=dim,
                transformer=TwoWayTransformer(
                    depth=count(tensors, decoder + r"transformer\.layers\.(\d+)\."),
                    embedding_dim=dim,
                    num_heads=_DECODER_HEADS,
                    mlp_dim=first_shape(tensors, mlp)[0],
                ),
                num_multimask_outputs=tensors[decoder + "mask_tokens.weight"].shape[0] - 1,
                iou_head_depth=count(tensors, decoder + r"iou_prediction_head\.layers\.(\d+)\."),
                iou_head_hidden_dim=tensors[decoder + "iou_prediction_head.layers.0.weight"].shape[0],
            ),
        )
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    network.eval().requires_grad_(False)
    defaults = {key: float(metadata[key]) for key in _DEFAULTS if key in metadata}
    return Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder, image_size, family, defaults)


def _vit(tensors: Tensors) -> tuple[int, nn.Module]:
    """Image size and encoder of Meta's ViT."""
    from ultralytics.models.sam.modules.encoders import ImageEncoderViT

    encoder = "image_encoder."
    patch = tensors[encoder + "patch_embed.proj.weight"]
    dim, patch_size = patch.shape[0], patch.shape[-1]
    image_size = tensors[encoder + "pos_embed"].shape[1] * patch_size
    depth = count(tensors, encoder + r"blocks\.(\d+)\.")
    # Relative positions of a window of n: 2n - 1. A block that spans just the grid is a global one: a window
    # of that size would do the same. A wider one is a window, into which the grid is padded.
    spans = [(tensors[f"{encoder}blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    grid = image_size // patch_size
    windows = {span for span in spans if span != grid}
    return image_size, ImageEncoderViT(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=dim,
        depth=depth,
        num_heads=dim // tensors[encoder + "blocks.0.attn.rel_pos_h"].shape[1],
        mlp_ratio=tensors[encoder + "blocks.0.mlp.lin1.weight"].shape[0] / dim,
        out_chans=tensors[encoder + "neck.0.weight"].shape[0],
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=encoder + "blocks.0.attn.qkv.bias" in tensors,
        use_rel_pos=True,
        window_size=min(windows) if windows else 0,
        global_attn_indexes=tuple(i for i, span in enumerate(spans) if span == grid),
    )


def _tinyvit(tensors: Tensors, image_size: int) -> nn.Module:
    """Encoder of MobileSAM, or one of its classes with other numbers."""
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT
    from ultralytics.nn.modules import LayerNorm2d

    layers = "image_encoder.layers."
    stages = count(tensors, r"image_encoder\.layers\.(\d+)\.")
    depths = [count(tensors, rf"image_encoder\.layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)]
    first = tensors[layers + "0.blocks.0.conv1.c.weight"]
    dims, heads, windows = [first.shape[1]], [1], [7]
    for i in range(1, stages):
        biases = tensors[f"{layers}{i}.blocks.0.attn.attention_biases"]  # (heads, window squared)
        dims.append(tensors[f"{layers}{i}.blocks.0.attn.proj.weight"].shape[0])
        heads.append(biases.shape[0])
        windows.append(round(biases.shape[1] ** 0.5))
    hidden = tensors[f"{layers}1.blocks.0.mlp.fc1.weight"].shape[0]
    head = tensors.get("image_encoder.head.weight")
    encoder: nn.Module = TinyViT(
        img_size=image_size,
        num_classes=0 if head is None else head.shape[0],
        embed_dims=tuple(dims),
        depths=tuple(depths),
        num_heads=tuple(heads),
        window_sizes=tuple(windows),
        mlp_ratio=hidden / dims[1],
        mbconv_expand_ratio=first.shape[0] / first.shape[1],
        drop_path_rate=0.0,
    )
    width = tensors["image_encoder.neck.0.weight"].shape[0]
    if width != 256:  # the class fixes the width of its neck
        encoder.neck = nn.Sequential(
            nn.Conv2d(dims[-1], width, 1, bias=False),
            LayerNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            LayerNorm2d(width),
        )
    return encoder

"""Promptable networks that run on the transformers library's own forward: SAM-HQ, EdgeTAM and SAM 3's tracker.

One adapter from the engine's `SamNetwork` to the library's modules. SAM-HQ sees images as SAM 1 does, in Meta's
way (the library resizes otherwise); the others take the whole square, whatever the image's shape, by the library's
own resize.
"""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samcli.checkpoints.model_folder import PROMPTABLE, ModelFolder, read_model_folder
from samcli.checkpoints.transformers_loading import load_pretrained, load_processor
from samcli.errors import WeightsError
from samcli.sam.networks.base import Frame, PromptTensors, SamNetwork, promising
from samcli.sam.networks.sam import Sam
from samcli.sam.resampling import Axis, AxisBuilder
from samcli.types import Size


def load_promptable(path: Path) -> SamNetwork:
    """Return the network of a folder, in fp32 on the CPU, in evaluation mode.

    Raises:
        WeightsError: the folder is refused, damaged, of another kind, or something is not installed.
    """
    folder = read_model_folder(path)
    model = load_pretrained(folder, PROMPTABLE[folder.model_type])
    model.requires_grad_(False)
    parts = _Encoder(model), _PromptEncoder(model), _MaskDecoder(model.mask_decoder)
    if folder.model_type == "sam_hq":
        return SamHq(*parts, image_size=model.config.vision_config.image_size, family="sam-hq")
    side, mean, std = _square_of(folder)
    return SquareSam(*parts, side, folder.model_type.removesuffix("_video"), mean=mean, std=std)


def _square_of(folder: ModelFolder) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Side of the square, and mean and deviation of its pixels in 0..255, from the folder's image processor.

    Raises:
        WeightsError: it does something else than to resize to a square and to normalise.
    """
    images = load_processor(folder, "AutoImageProcessor")  # a folder's own may be that for videos
    height, width = images.size["height"], images.size["width"]
    if height != width or not math.isclose(images.rescale_factor, 1 / 255):
        raise WeightsError(f"{folder.path}: its image processor makes {height} x {width} pixels; expected a square")
    mean, std = (tuple(255 * value for value in values) for values in (images.image_mean, images.image_std))
    return height, mean, std


class _Encoder(nn.Module):
    """Squares to features and what else the decoder reads, by the library's `get_image_embeddings`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, side, side) to features (B, C, h, w) and other levels (B, C', h', w')."""
        found = self.model.get_image_embeddings(batch)
        if isinstance(found, tuple):  # SAM-HQ: its decoder reads the first of the blocks that attend to everything
            features, blocks = found
            return features, blocks[0].permute(0, 3, 1, 2).contiguous()
        *high_res, features = found
        return features, *high_res


class _PromptEncoder(nn.Module):
    """The library's prompt encoder, a copy: it computes in fp32, whatever the rest is cast to."""

    position: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embed = copy.deepcopy(model.prompt_encoder)
        self.register_buffer("position", model.get_image_wide_positional_embeddings().clone())

    def get_dense_pe(self) -> Tensor:
        """Embedded positions (1, C, h, w)."""
        return self.position

    def forward(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """Sparse (N, tokens, C) and dense (N or 1, C, h, w) embeddings; each object is an image of its own."""
        if prompts.points is None and prompts.boxes is None:
            raise ValueError("a mask alone is no prompt for this network")
        sparse, dense = self.embed(
            input_points=None if prompts.points is None else prompts.points[:, None],
            input_labels=None if prompts.labels is None else prompts.labels[:, None],
            input_boxes=None if prompts.boxes is None else prompts.boxes[:, None],
            input_masks=prompts.mask_logits,
        )
        return sparse[:, 0], dense


class _MaskDecoder(nn.Module):
    """The library's mask decoder, asked about N objects of one image."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, features: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, M, h, w) and predicted IoU (N, M)."""
        count = len(sparse)
        masks, quality, *_ = self.decoder(
            image_embeddings=features.expand(count, -1, -1, -1),
            image_positional_embeddings=position.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            **options,
        )
        return masks[:, 0], quality[:, 0]


def _chosen(answer: tuple[Tensor, Tensor], pred_iou_thresh: float) -> tuple[Tensor, Tensor]:
    masks, quality = answer
    kept = promising(quality, pred_iou_thresh)
    return masks if kept is None else masks[kept], quality


class SamHq(Sam):
    """SAM-HQ: SAM 1's frame and resampling, and a decoder that reads an early level of the encoder too."""

    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features, and the output of the encoder's first block that attends to everything."""
        features, *early = self.image_encoder(batch)
        return features, tuple(early)

    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        sparse, dense = self.prompt_encoder(prompts)
        return sparse, dense

    def decode(
        self,
        features: Tensor,
        high_res: tuple[Tensor, ...],
        position: Tensor,
        embedded: tuple[Tensor, Tensor],
        multimask: bool,
        pred_iou_thresh: float = -math.inf,
    ) -> tuple[Tensor, Tensor]:
        """See SamNetwork: SAM's own masks plus that of the high-quality token, the library's default."""
        early = [level.permute(0, 2, 3, 1).expand(len(embedded[0]), -1, -1, -1) for level in high_res]
        answer = self.mask_decoder(
            features,
            position,
            *embedded,
            multimask_output=multimask,
            hq_token_only=False,
            intermediate_embeddings=early,
        )
        return _chosen(answer, pred_iou_thresh)


class SquareSam(SamNetwork):
    """A network of SAM 2's kind that sees the image squeezed into its square."""

    padding = (0.0, 0.0, 0.0)  # of which there is none

    def frame(self, image_size: Size) -> Frame:
        """Return the whole square; one scale for each axis."""
        height, width = image_size
        return Frame(
            image_size, (self.image_size, self.image_size), (self.image_size / width, self.image_size / height)
        )

    def resize(self, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """Return the library's resize: bilinear, antialiased, rounded to whole numbers."""
        from torchvision.transforms.v2 import functional

        image = torch.tensor(pixels).permute(2, 0, 1)
        resized: Tensor = functional.resize(image, list(size), antialias=True)
        return np.ascontiguousarray(resized.permute(1, 2, 0).numpy())

    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features, and finer levels, the finest first."""
        features, *high_res = self.image_encoder(batch)
        return features, tuple(high_res)

    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        sparse, dense = self.prompt_encoder(prompts)
        return sparse, dense

    def decode(
        self,
        features: Tensor,
        high_res: tuple[Tensor, ...],
        position: Tensor,
        embedded: tuple[Tensor, Tensor],
        multimask: bool,
        pred_iou_thresh: float = -math.inf,
    ) -> tuple[Tensor, Tensor]:
        """See SamNetwork."""
        count = len(embedded[0])
        levels = [level.expand(count, -1, -1, -1) for level in high_res]
        answer = self.mask_decoder(
            features, position, *embedded, multimask_output=multimask, high_resolution_features=levels
        )
        return _chosen(answer, pred_iou_thresh)

    def axis(self, length: int, input_length: int, image_length: int, device: torch.device) -> Axis:
        """Return the resampling of the whole square to the whole image."""
        return _axis(length, image_length, device)


@functools.lru_cache(maxsize=8)  # images of one size follow one another
def _axis(length: int, image_length: int, device: torch.device) -> Axis:
    return AxisBuilder.of(length).resize(image_length).axis(device)

"""SAM 2 and SAM 2.1 on still images: Hiera tiny, small, base plus, large, and others of other numbers.

The classes are Ultralytics' (the same networks as Meta's, key by key); their loader is not used. Numbers are
read off the tensors' shapes. What no shape shows is in a table for the published sizes; for others it stands in
a safetensors file's metadata: `heads`, `windows`, `global_blocks` and, if it is not 1024, `img_size`.

The reference is Ultralytics' SAM2Predictor. Meta's own sam2 package differs from it in one thing: it squeezes
an image into the square, whatever its shape, with an antialiased resize. Here as in Ultralytics the image keeps
its shape (`cv2.resize`, no antialiasing) and the rest of the square is grey. Everything after that is equal.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samcli.errors import WeightsError
from samcli.sam.networks.base import (
    Frame,
    PromptTensors,
    SamNetwork,
    Tensors,
    count,
    first_shape,
    fitting,
    promising,
)
from samcli.sam.networks.compiled import Compiled
from samcli.sam.resampling import Axis, AxisBuilder
from samcli.types import Size

_DECODER_HEADS = 8
_IMAGE_SIZE = 1024
_STRIDE = 16
"""Pixels of the square to one position of the features."""


@dataclass(frozen=True)
class _Unseen:
    """Parameters of a Hiera encoder that its tensor shapes do not show.

    `heads`: of the first stage; each later one has twice as many. `windows`: side of each stage's attention
    windows. `global_blocks`: the blocks that attend to everything instead.
    """

    heads: int
    windows: tuple[int, ...]
    global_blocks: tuple[int, ...]


_PUBLISHED: dict[tuple[int, tuple[int, ...]], _Unseen] = {
    (96, (1, 2, 7, 2)): _Unseen(1, (8, 4, 14, 7), (5, 7, 9)),
    (96, (1, 2, 11, 2)): _Unseen(1, (8, 4, 14, 7), (7, 10, 13)),
    (112, (2, 3, 16, 3)): _Unseen(2, (8, 4, 14, 7), (12, 16, 20)),
    (144, (2, 6, 36, 4)): _Unseen(2, (8, 4, 16, 8), (23, 33, 43)),
}
"""By channels of the first stage and blocks of each: tiny, small, base plus and large, as in Meta's
`sam2_hiera_*.yaml` and, unchanged, `sam2.1_hiera_*.yaml`."""

_VIDEO_ONLY = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "mask_downsample.",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
"""Names of what remembers objects from frame to frame of a video. A still image has no earlier frame: these are
neither needed nor loaded, and may be missing. Of the memory only `no_mem_embed` is needed: the sign of none."""


class Sam2(SamNetwork):
    """A SAM 2 network, used as Ultralytics' SAM2Predictor does.

    Asked for one mask, its decoder answers with the best of the other three where the first is not stable.
    """

    padding = (114.0, 114.0, 114.0)

    def frame(self, image_size: Size) -> Frame:
        """See SamNetwork."""
        return letterbox(image_size, self.image_size)

    def resize(self, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """OpenCV's bilinear resize, which skips pixels where it shrinks."""
        import cv2

        if pixels.shape[:2] == size:
            return pixels
        resized: NDArray[np.uint8] = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
        return resized

    @functools.cached_property
    def _embed(self) -> Callable[..., tuple[Tensor, ...]]:
        return self._forward(self.image_encoder, "image encoder")

    @functools.cached_property
    def _predict(self) -> Callable[..., tuple[Tensor, ...]]:
        return self._forward(self.mask_decoder, "mask decoder")

    def _forward(self, module: nn.Module, name: str) -> Callable[..., tuple[Tensor, ...]]:
        return Compiled(lambda: torch.compile(module), module, name) if self.compiled else module

    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features at a stride of 16, and two finer levels at 4 and 8."""
        features, *high_res = self._embed(batch)
        return features, tuple(high_res)

    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """See SamNetwork. A box is two points before the others; their labels 2 and 3 say which corner."""
        points, labels = prompts.points, prompts.labels
        if prompts.boxes is not None:
            corners = prompts.boxes.reshape(-1, 2, 2)
            kinds = torch.tensor([[2, 3]], device=corners.device).expand(len(corners), -1)
            points = corners if points is None else torch.cat([corners, points], dim=1)
            labels = kinds if labels is None else torch.cat([kinds, labels], dim=1)
        given = None if points is None else (points, labels)
        sparse, dense = self.prompt_encoder(points=given, boxes=None, masks=prompts.mask_logits)
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
        """See SamNetwork. Whether an object is there at all, the decoder says for videos; it is not used."""
        masks, quality, _, _ = self._predict(
            image_embeddings=features,
            image_pe=position,
            sparse_prompt_embeddings=embedded[0],
            dense_prompt_embeddings=embedded[1],
            multimask_output=multimask,
            repeat_image=True,
            high_res_features=list(high_res),
        )
        kept = promising(quality, pred_iou_thresh)
        return masks if kept is None else masks[kept], quality

    def axis(self, length: int, input_length: int, image_length: int, device: torch.device) -> Axis:
        """Return the logits themselves, cut to the image: masks are resized once."""
        return _axis(length, input_length * length / self.image_size, image_length, device)


@functools.lru_cache(maxsize=8)  # images of one size follow one another
def _axis(length: int, extent: float, image_length: int, device: torch.device) -> Axis:
    return AxisBuilder.of(length).cut(0, _positions_read(extent)).resize(image_length, extent).axis(device)


def _positions_read(extent: float) -> int:
    """Return the number of positions that a bilinear resize of the first `extent` of a longer axis reads.

    Where the image ends within a position, also what lies behind it counts, as far as the reference looks.
    """
    return int(extent) if extent.is_integer() else math.ceil(extent - 0.5) + 1


def letterbox(image_size: Size, side: int) -> Frame:
    """Return the frame of Ultralytics' LetterBox.

    Sizes rounded to the nearest, one half to even; one scale for both.
    """
    scale = min(side / length for length in image_size)
    height, width = (max(1, round(length * scale)) for length in image_size)
    return Frame(image_size, (height, width), (scale, scale))


class ImageEncoder(nn.Module):
    """Squares to features and finer levels: the trunk, its neck, and what is the same for every prompt."""

    def __init__(self, trunk_and_neck: nn.Module, mask_decoder: nn.Module, no_memory: Tensor) -> None:
        super().__init__()
        self.trunk_and_neck = trunk_and_neck
        self.conv_s0 = mask_decoder.get_submodule("conv_s0")
        self.conv_s1 = mask_decoder.get_submodule("conv_s1")
        self.no_memory = nn.Parameter(no_memory.reshape(1, -1, 1, 1), requires_grad=False)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, side, side) to levels of stride 16, 4 and 8."""
        finest, finer, features = self.trunk_and_neck(batch)["backbone_fpn"]
        return features + self.no_memory, self.conv_s0(finest), self.conv_s1(finer)


def is_sam2(tensors: Tensors) -> bool:
    """Return whether these are the tensors of a SAM 2 or SAM 2.1 network."""
    groups = {name.partition(".")[0] for name in tensors}
    return {"image_encoder", "sam_prompt_encoder", "sam_mask_decoder"} <= groups


def build_sam2(tensors: Tensors, metadata: Mapping[str, str], name: str) -> Sam2:
    """Return the network for these tensors, loaded strictly, fp32, in evaluation mode.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape than the others imply, or what no
            shape shows is not known for this network.
    """
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    with fitting(name, "SAM 2"):
        encoder, image_size = _image_encoder(tensors, metadata, name)
        network = nn.Module()
        network.image_encoder = encoder
        network.sam_prompt_encoder = _prompt_encoder(tensors, image_size)
        network.sam_mask_decoder = _mask_decoder(tensors)
        network.no_mem_embed = nn.Parameter(torch.zeros(1, 1, tensors["no_mem_embed"].shape[-1]))
        needed = {key: value.float() for key, value in tensors.items() if not key.startswith(_VIDEO_ONLY)}
        network.load_state_dict(needed, strict=True)
    network.eval().requires_grad_(False)
    decoder = network.sam_mask_decoder
    whole = ImageEncoder(encoder, decoder, network.no_mem_embed)
    return Sam2(whole, network.sam_prompt_encoder, decoder, image_size, "sam2-hiera")


def _image_encoder(tensors: Tensors, metadata: Mapping[str, str], name: str) -> tuple[nn.Module, int]:
    """Hiera and its neck, and the side of the square they take."""
    from ultralytics.models.sam.modules.encoders import FpnNeck, Hiera
    from ultralytics.models.sam.modules.encoders import ImageEncoder as TrunkAndNeck

    trunk = "image_encoder.trunk."
    position = tensors[trunk + "pos_embed"]
    stages = _stages(tensors)
    unseen, image_size = _unseen(position.shape[1], stages, metadata, name)
    hiera = Hiera(
        embed_dim=position.shape[1],
        num_heads=unseen.heads,
        q_pool=len(stages) - 1,
        stages=stages,
        window_pos_embed_bkg_spatial_size=tuple(position.shape[2:]),
        window_spec=unseen.windows,
        global_att_blocks=unseen.global_blocks,
    )
    neck = FpnNeck(
        d_model=tensors["image_encoder.neck.convs.0.conv.weight"].shape[0],
        backbone_channel_list=hiera.channel_list,
        # As in every published checkpoint: the two coarsest levels are joined, and the last is then dropped.
        fpn_interp_model="nearest",
        fpn_top_down_levels=[2, 3],
    )
    neck.position_encoding = nn.Identity()  # for the memory of videos, and 100 MB of sines per image
    return TrunkAndNeck(hiera, neck, scalp=1), image_size


def _stages(tensors: Tensors) -> tuple[int, ...]:
    """Number of blocks in each stage: a stage begins with the block that widens its input."""
    block = r"image_encoder\.trunk\.blocks\.(\d+)\."
    depth = count(tensors, block)
    starts = [0, *(i for i in range(depth) if f"image_encoder.trunk.blocks.{i}.proj.weight" in tensors), depth]
    return tuple(end - start for start, end in itertools.pairwise(starts))


def _unseen(dim: int, stages: tuple[int, ...], metadata: Mapping[str, str], name: str) -> tuple[_Unseen, int]:
    """Return what shapes do not show, and the side of the square: from the metadata, else from the table.

    Raises:
        WeightsError: neither knows it, or the metadata make no network.
    """
    found = f"{name} is a SAM 2 network of {dim} channels and {'+'.join(map(str, stages))} blocks"
    try:
        image_size = int(metadata.get("img_size", _IMAGE_SIZE))
        if "heads" in metadata:
            windows, blocks = (_integers(metadata[key]) for key in ("windows", "global_blocks"))
            unseen = _Unseen(int(metadata["heads"]), windows, blocks)
        else:
            unseen = _PUBLISHED[dim, stages]
        if not _fits(unseen, dim, stages, image_size):
            raise ValueError(f"{image_size} pixels, {unseen}")
    except KeyError as error:
        known = ", ".join(f"{channels} with {'+'.join(map(str, blocks))}" for channels, blocks in _PUBLISHED)
        raise WeightsError(
            f"{found}; known are {known}. Others need a .safetensors file with metadata heads, windows and "
            "global_blocks"
        ) from error
    except ValueError as error:
        raise WeightsError(f"{found}; what its metadata say does not fit it: {error}") from error
    return unseen, image_size


def _fits(unseen: _Unseen, dim: int, stages: tuple[int, ...], image_size: int) -> bool:
    """Return whether a network of these numbers can be built and run.

    Each would fail otherwise, in its own odd way.
    """
    if not len(unseen.windows) == len(stages) == 4 or min(unseen.windows) < 1 or unseen.heads < 1 or image_size < 1:
        return False
    in_range = all(0 <= block < sum(stages) for block in unseen.global_blocks)
    # The position of a window is repeated over the patches of 4 pixels; the neck doubles levels of up to 32.
    return in_range and dim % unseen.heads == 0 and image_size % math.lcm(32, 4 * unseen.windows[0]) == 0


def _integers(text: str) -> tuple[int, ...]:
    """`8,4,14,7` as numbers; nothing for an empty text."""
    return tuple(int(part) for part in text.split(",") if part.strip())


def _prompt_encoder(tensors: Tensors, image_size: int) -> nn.Module:
    from ultralytics.models.sam.modules.encoders import PromptEncoder

    grid = image_size // _STRIDE
    encoder: nn.Module = PromptEncoder(
        embed_dim=tensors["sam_prompt_encoder.no_mask_embed.weight"].shape[1],
        image_embedding_size=(grid, grid),
        input_image_size=(image_size, image_size),
        mask_in_chans=tensors["sam_prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    return encoder


def _mask_decoder(tensors: Tensors) -> nn.Module:
    from ultralytics.models.sam.modules.blocks import SAM2TwoWayTransformer
    from ultralytics.models.sam.modules.decoders import SAM2MaskDecoder

    name = "sam_mask_decoder."
    dim = tensors[name + "iou_token.weight"].shape[1]
    decoder: nn.Module = SAM2MaskDecoder(
        transformer_dim=dim,
        transformer=SAM2TwoWayTransformer(
            depth=count(tensors, name + r"transformer\.layers\.(\d+)\."),
            embedding_dim=dim,
            num_heads=_DECODER_HEADS,
            mlp_dim=first_shape(tensors, name + r"transformer\.layers\.0\.mlp\.layers\.0\.weight")[0],
        ),
        num_multimask_outputs=tensors[name + "mask_tokens.weight"].shape[0] - 1,
        iou_head_depth=count(tensors, name + r"iou_prediction_head\.layers\.(\d+)\."),
        iou_head_hidden_dim=tensors[name + "iou_prediction_head.layers.0.weight"].shape[0],
        # No shape shows the rest. It is so in every published configuration, and in Ultralytics' builder.
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        dynamic_multimask_via_stability=True,
        dynamic_multimask_stability_delta=0.05,
        dynamic_multimask_stability_thresh=0.98,
    )
    return decoder

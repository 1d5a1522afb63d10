"""Define what every family of networks shares and provides to the engine.

The engine's algorithm is one; how a family resizes an image into its square, what its encoder returns, how
its prompts are embedded and which part of its answer is the image: that is behind `SamNetwork`.
"""

from __future__ import annotations

import abc
import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samcli.errors import WeightsError
from samcli.sam.resampling import Axis
from samcli.types import Size

Tensors = Mapping[str, Tensor]
"""A checkpoint's tensors by name."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet's, RGB: most families were trained with them."""


@dataclass(frozen=True)
class Frame:
    """Placement of an image in the network's square: at the top left, resized to `input_size`.

    `scale`: x and y, from pixels of the image to pixels of the square.
    """

    image_size: Size
    input_size: Size
    scale: tuple[float, float]

    def to_network(self, xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """(..., 2) x, y from pixels of the image to pixels of the square."""
        return (xy.astype(np.float64) * self.scale).astype(np.float32)


@dataclass(frozen=True)
class PromptTensors:
    """N objects' prompts in pixels of the network's square, on its device.

    `points`: (N, K, 2) with `labels` (N, K). `boxes`: (N, 4). `mask_logits`: (N, 1, h, w).
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    mask_logits: Tensor | None = None


@dataclass(frozen=True)
class SamNetwork(abc.ABC):
    """A promptable network and what is its family's own. Its modules are moved and cast by the engine."""

    image_encoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module
    image_size: int
    """Side of the padded square that the image encoder takes, in pixels."""
    family: str
    defaults: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of everything mode that suit these weights, where their file names any."""
    compiled: bool = False
    """Its image encoder and mask decoder are to be compiled at first use."""

    mean: tuple[float, ...] = PIXEL_MEAN
    std: tuple[float, ...] = PIXEL_STD
    """Of the pixels that it was trained with, RGB in 0..255."""

    padding: ClassVar[tuple[float, float, float]]
    """RGB of the square's pixels that are not the image."""

    minds_the_cache: ClassVar[bool] = False
    """Its `decode` takes any number of prompts and holds no more at once than a CPU's cache does."""

    @abc.abstractmethod
    def frame(self, image_size: Size) -> Frame:
        """Return the placement of an image of that size in the square."""

    @abc.abstractmethod
    def resize(self, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """(H, W, 3) RGB to (height, width, 3), as in the family's reference."""

    @abc.abstractmethod
    def encode(self, batch: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Normalised squares (B, 3, side, side) to features (B, C, h, w) and finer levels, the finest first."""

    @abc.abstractmethod
    def embed_prompts(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """Sparse (N, tokens, C) and dense (N, C, h, w) embeddings."""

    @abc.abstractmethod
    def decode(
        self,
        features: Tensor,
        high_res: tuple[Tensor, ...],
        position: Tensor,
        embedded: tuple[Tensor, Tensor],
        multimask: bool,
        pred_iou_thresh: float = -math.inf,
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits (K, M, h, w) and predicted IoU (N, M) for one image's features (1, C, h, w).

        The logits are those of the K of N prompts that are `promising`, in their order.
        """

    @abc.abstractmethod
    def axis(self, length: int, input_length: int, image_length: int, device: torch.device) -> Axis:
        """Return the resampling of logits of `length` rows (or columns) to the image's, as the family's reference
        does.

        `input_length`: of the image in the network's square.
        """


def promising(quality: Tensor, pred_iou_thresh: float) -> Tensor | None:
    """Positions (K,) of the prompts with an answer whose predicted IoU (N, M) is above it; None: all of them."""
    if pred_iou_thresh == -math.inf:  # a GPU need not be waited for
        return None
    kept = (quality.float() > pred_iou_thresh).any(1).nonzero()[:, 0]
    return None if len(kept) == len(quality) else kept


@contextlib.contextmanager
def fitting(name: str, family: str) -> Iterator[None]:
    """Build and load a network in it; what does not fit is an error about the checkpoint called `name`.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape than the others imply.
    """
    try:
        yield
    except KeyError as error:
        raise WeightsError(f"{name} looks like a {family} network but lacks the tensor {error}") from error
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise WeightsError(f"{name} does not fit its own architecture: {reasons[0][:300]}") from error


def count(tensors: Tensors, pattern: str) -> int:
    """One more than the highest number that the pattern's group matches among the names."""
    numbers = [int(found[1]) for name in tensors if (found := re.match(pattern, name))]
    if not numbers:
        raise KeyError(pattern)
    return max(numbers) + 1


def first_shape(tensors: Tensors, pattern: str) -> torch.Size:
    """Shape of the first tensor whose name the pattern matches."""
    for name, tensor in tensors.items():
        if re.match(pattern, name):
            return tensor.shape
    raise KeyError(pattern)

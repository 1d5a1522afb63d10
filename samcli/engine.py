"""The engine: images to embeddings, embeddings and prompts to masks. Every mask samcli makes passes here.

Coordinates are pixels of the original image outside; inside, each image is resized so that its longer side
fills the network's square, and padded to the right and below. That frame never leaves this module.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcli.errors import ImageError, UsageError
from samcli.masks import Mask
from samcli.networks import load_network
from samcli.networks.fast import decoder_forward, encoder_forward
from samcli.networks.sam import SamNetwork
from samcli.types import Embedding, Image, Prompts, Segment, Size
from samcli.weights import find_weights

log = logging.getLogger("samcli")
T = TypeVar("T")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)

_CHUNK = 64
"""Prompts whose logits are held at once, unless the device's memory says fewer."""

_SQUARE_BYTES = 64 << 20
"""Logits held at the size of the network's square at once, in bytes."""

_STRIP_BYTES = 64 << 20
"""Logits held at the size of the image at once, in bytes: the same for any number of prompts and pixels."""


def load_sam(name: str = "sam_b.pt", device: str = "auto", precision: str = "auto") -> Engine:
    """An engine for a checkpoint: a known name, a path, or `tiny`.

    Raises:
        WeightsError: the checkpoint cannot be had, was refused, or is of an unknown family.
        UsageError: the device or precision cannot be had here.
    """
    weights = find_weights(name, "sam", log.info)
    return Engine(load_network(weights.path), weights.sha256, device=device, precision=precision)


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA GPU, else the CPU.

    Raises:
        UsageError: the device is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdigit() else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise UsageError(f"no device '{name}' here; found {', '.join(found)}") from error
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` is what the device does fastest without harm: bf16 where it is in hardware, else fp32.

    Raises:
        UsageError: fp16 on a CPU, which has no arithmetic for it.
    """
    if name == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    return name


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # older ones emulate it
    if device.type != "cpu":
        return False
    abilities = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, ability, bool)() for ability in abilities)


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the network's square of `side` pixels."""

    image_size: Size
    side: int

    @functools.cached_property
    def input_size(self) -> Size:
        """(height, width) of the resized image, rounded as Meta's ResizeLongestSide does."""
        scale = self.side / max(self.image_size)
        height, width = (int(length * scale + 0.5) for length in self.image_size)
        return max(1, height), max(1, width)

    def to_network(self, xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """(..., 2) x, y from pixels of the image to pixels of the square."""
        scale = [new / old for new, old in zip(self.input_size, self.image_size, strict=True)]
        return (xy.astype(np.float64) * (scale[1], scale[0])).astype(np.float32)


class Engine:
    """A SAM network on a device. Immutable to its users: no image is ever set.

    `model` is the SHA-256 of the weights; embeddings carry it, and another model's are refused.
    """

    def __init__(self, network: SamNetwork, model: str, *, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.family = network.family
        self.side = network.image_size
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._dtype = DTYPES[self.precision]
        if self.precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # else convolutions keep ten bits of mantissa: not exact
        # eval() anew: TinyViT caches its attention biases then, and a cast does not reach that cache.
        self._encoder = network.image_encoder.to(self.device, self._dtype).eval()
        self._decoder = network.mask_decoder.to(self.device, self._dtype)
        # Stays fp32: its sines of pixel positions would be noise in eight bits of mantissa.
        self._prompt_encoder = network.prompt_encoder.to(self.device)
        self._position: Tensor = self._prompt_encoder.get_dense_pe().to(self._dtype)  # type: ignore[operator]
        self._mean = torch.tensor(_PIXEL_MEAN, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(_PIXEL_STD, device=self.device).view(3, 1, 1)
        self._embed, self._predict = encoder_forward(self._encoder), decoder_forward(self._decoder)
        self._chunk = _CHUNK
        self._batch: int | None = None  # no limit known yet

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> list[Embedding]:
        """One embedding for each image.

        On a GPU the images go through together. On a CPU one by one: that is as fast, and makes an
        embedding independent of its neighbours to the last bit.
        """
        limit = 1 if self.device.type == "cpu" else (self._batch or len(images))
        embeddings: list[Embedding] = []
        while len(embeddings) < len(images):
            part = images[len(embeddings) : len(embeddings) + limit]
            done = self._within_memory(self._encode_together, part)
            if done is None:
                limit = self._batch = max(1, len(part) // 2)
                log.warning("the GPU's memory is full: encoding %d images at once from here on", limit)
                continue
            embeddings += done
        return embeddings

    def _encode_together(self, images: Sequence[Image]) -> list[Embedding]:
        frames = [Frame(image.image_size, self.side) for image in images]
        batch = torch.stack([self._preprocess(image, frame) for image, frame in zip(images, frames, strict=True)])
        features = self._embed(batch.to(self._dtype))
        return [
            Embedding(one, frame.image_size, frame.input_size, self.model)
            for one, frame in zip(features, frames, strict=True)
        ]

    def _preprocess(self, image: Image, frame: Frame) -> Tensor:
        """(3, side, side) float32: Pillow's bilinear resize, normalised, then padded with zeros."""
        import PIL.Image

        height, width = frame.input_size
        resized = PIL.Image.fromarray(image.pixels).resize((width, height), PIL.Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)
        normal = (pixels - self._mean) / self._std
        return F.pad(normal, (0, self.side - width, 0, self.side - height))

    @torch.inference_mode()
    def segment(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = False,
        stability_offset: float = 1.0,
        return_logits: bool = False,
    ) -> list[Segment]:
        """Masks at the original size for N prompts: one each, or with `multimask` all of the ambiguous ones.

        `stability_offset`: in logits, as Meta's. `return_logits`: keep each mask's low-resolution logits.
        Prompts go through in chunks, and each chunk's masks are finished before the next begins.

        Raises:
            UsageError: the embedding is another model's.
        """
        if embedding.model != self.model:
            raise UsageError(
                f"the embedding was made by model {embedding.model[:12]}, this is {self.model[:12]}: encode anew"
            )
        segments: list[Segment] = []
        start = 0
        while start < len(prompts):
            part = prompts[start : start + self._chunk]
            work = functools.partial(self._segment_chunk, embedding, part, multimask, stability_offset)
            decoded = self._within_memory(work)
            if decoded is None:
                self._chunk = max(1, len(part) // 2)
                log.warning("the GPU's memory is full: %d prompts at once from here on", self._chunk)
                continue
            logits, quality, flat = decoded
            tokens = range(1, logits.shape[1] + 1) if multimask else range(1)
            for index, (mask, stability) in enumerate(flat):
                prompt, token = divmod(index, len(tokens))
                kept = logits[prompt, token].float().cpu().numpy() if return_logits else None
                iou = float(quality[prompt, token])
                segments.append(Segment(start + prompt, tokens[token], mask, iou, stability, kept))
            start += len(part)
        return segments

    def _segment_chunk(
        self, embedding: Embedding, prompts: Prompts, multimask: bool, offset: float
    ) -> tuple[Tensor, Tensor, list[tuple[Mask, float]]]:
        """Logits (N, M, h, w), predicted IoU (N, M) on the CPU, and the N x M finished masks.

        Raises:
            ImageError: the network's answer is not finite; no mask at all would be the wrong label.
        """
        logits, quality = self._decode(embedding, prompts, multimask)
        quality = quality.cpu()
        if not bool(torch.isfinite(quality).all() & torch.isfinite(logits).all()):
            raise ImageError(f"SAM's answer is not finite in {self.precision}; try --precision fp32")
        return logits, quality, list(self._finish(embedding, logits.flatten(0, 1), offset))

    def _decode(self, embedding: Embedding, prompts: Prompts, multimask: bool) -> tuple[Tensor, Tensor]:
        """Low-resolution logits (N, M, h, w) and predicted IoU (N, M), float32 on the device."""
        frame = Frame(embedding.image_size, self.side)
        points = boxes = logits = None
        if prompts.points is not None:
            at = torch.from_numpy(frame.to_network(prompts.points)).to(self.device)
            points = (at, torch.from_numpy(prompts.point_labels).to(self.device))
        if prompts.boxes is not None:
            corners = frame.to_network(prompts.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
            boxes = torch.from_numpy(corners).to(self.device)
        if prompts.mask_logits is not None:
            logits = torch.from_numpy(prompts.mask_logits)[:, None].to(self.device)
        sparse, dense = self._prompt_encoder(points=points, boxes=boxes, masks=logits)
        masks, quality = self._predict(
            embedding.features[None].to(self.device, self._dtype),
            self._position,
            sparse.to(self._dtype),
            (dense[:1] if logits is None else dense).to(self._dtype),  # the same for all where no mask is given
            multimask,
        )
        return masks.float(), quality.float()

    def _finish(self, embedding: Embedding, logits: Tensor, offset: float) -> Iterator[tuple[Mask, float]]:
        """Masks at the original size and their stability, for logits (M, h, w), as Meta makes them.

        First to the padded square, cut to the image, then to the original size, threshold 0. The last step
        is done only where anything can come of it: bilinear values never exceed those they lie between.
        """
        height, width = embedding.input_size
        at_once = max(1, _SQUARE_BYTES // (4 * self.side**2))
        for part in torch.split(logits, at_once):
            square = F.interpolate(part[:, None], (self.side, self.side), mode="bilinear", align_corners=False)
            for inside in square[:, 0, :height, :width]:
                rows, columns = _span(inside.amax(1) > -offset), _span(inside.amax(0) > -offset)
                if rows is None or columns is None:
                    yield Mask.from_pixels(np.zeros((0, 0), bool), size=embedding.image_size), 0.0
                    continue
                yield _threshold(inside, rows, columns, embedding.image_size, offset)

    def _within_memory(self, work: Callable[..., T], *arguments: object) -> T | None:
        """What `work` returns, or None when the device ran out of memory and less at once may still do."""
        try:
            return work(*arguments)
        except torch.OutOfMemoryError:
            smallest = len(arguments[0]) <= 1 if arguments else self._chunk <= 1  # type: ignore[arg-type]
            if smallest:
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return None


def _span(present: Tensor) -> tuple[int, int] | None:
    """First and last index where it is true, or None."""
    found = present.nonzero()
    return (int(found[0]), int(found[-1])) if len(found) else None


def _threshold(
    inside: Tensor, rows: tuple[int, int], columns: tuple[int, int], size: Size, offset: float
) -> tuple[Mask, float]:
    """Mask and stability of one image's logits (h, w); outside the rows and columns they are all too low.

    In strips of bounded size, however large the image.
    """
    (top, bottom), (left, right) = (
        _reach(span, old, new) for span, old, new in zip((rows, columns), inside.shape, size, strict=True)
    )
    first, second, weight = _taps(left, right, inside.shape[1], size[1], inside.device)
    strip = max(1, _STRIP_BYTES // (4 * (right - left)))
    pixels, certain, possible = [], 0, 0
    for start in range(top, bottom, strip):
        above, below, share = _taps(start, min(start + strip, bottom), inside.shape[0], size[0], inside.device)
        base = int(above[0])
        needed = inside[base : int(below[-1]) + 1]
        wide = torch.lerp(needed[:, first], needed[:, second], weight)
        full = torch.lerp(wide[above - base], wide[below - base], share[:, None])
        certain += int(torch.count_nonzero(full > offset))
        possible += int(torch.count_nonzero(full > -offset))
        pixels.append((full > 0).cpu().numpy())
    mask = Mask.from_pixels(np.concatenate(pixels), (left, top), size)
    return mask, certain / possible if possible else 0.0


def _reach(span: tuple[int, int], old: int, new: int) -> tuple[int, int]:
    """Positions of an axis resized from `old` to `new` that read from within `span` (end exclusive)."""
    first = math.floor((span[0] - 0.5) * new / old - 0.5)
    last = math.ceil((span[1] + 1.5) * new / old - 0.5)
    return max(0, first), min(new, last + 1)


def _taps(start: int, end: int, old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For positions start..end of an axis resized bilinearly from `old` to `new`: the two positions that each
    is read from and the weight of the second, as torch's `interpolate` has them (align_corners=False)."""
    at = torch.arange(start, end, dtype=torch.float32, device=device)
    source = ((at + 0.5) * (old / new) - 0.5).clamp(min=0)
    first = source.long().clamp(max=old - 1)
    return first, (first + 1).clamp(max=old - 1), source - first

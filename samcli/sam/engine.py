"""The engine: images to embeddings, embeddings and prompts to masks. Every mask samcli makes passes here.

Coordinates are pixels of the original image outside; inside, each image is resized so that its longer side
fills the network's square, and padded to the right and below. That frame leaves this module only downward, to
the network, which knows what is its family's own.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samcli.checkpoints.registry import find_weights
from samcli.errors import ImageError, UsageError
from samcli.masks import Mask
from samcli.sam.devices import DTYPES, choose_device, choose_precision, compute_exactly
from samcli.sam.networks import load_network
from samcli.sam.networks.base import Frame, PromptTensors, SamNetwork
from samcli.sam.resampling import Axis, resized
from samcli.types import Embedding, Image, Prompts, Segment, Size

log = logging.getLogger("samcli")
T = TypeVar("T")


_CHUNK = 64
"""Prompts whose logits are held at once, unless the device's memory says fewer."""

_CPU_CHUNK_BYTES = 4 << 20
"""On a CPU a decoder that does not mind its cache gets chunks whose image tokens fit it, in bytes."""

_WAITING_PIXELS = 16 << 20
"""Pixels of finished masks that stay on the device until they are fetched together."""


def load_sam(name: str = "sam_b.pt", device: str = "auto", precision: str = "auto") -> Engine:
    """Return an engine for a checkpoint: a known name, a path, or `tiny`.

    Raises:
        WeightsError: the checkpoint cannot be had, was refused, or is of an unknown family.
        UsageError: the device or precision cannot be had here.
    """
    weights = find_weights(name, "sam", log.info)
    return Engine(load_network(weights.path), weights.sha256, device=device, precision=precision)


@dataclass(frozen=True)
class _Wanted:
    """Requested answers to prompts, and their parts: see `Engine.segment`."""

    multimask: bool
    stability_offset: float
    return_logits: bool
    pred_iou_thresh: float
    stability_score_thresh: float


class Engine:
    """A SAM network on a device. Immutable to its users: no image is ever set.

    `model` is the SHA-256 of the weights; embeddings carry it, and another model's are refused.
    """

    def __init__(self, network: SamNetwork, model: str, *, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.family = network.family
        self.side = network.image_size
        self.defaults = network.defaults
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._dtype = DTYPES[self.precision]
        if self.precision == "fp32":
            compute_exactly()
        self._network = network
        # eval() anew: TinyViT caches its attention biases then, and a cast does not reach that cache.
        network.image_encoder.to(self.device, self._dtype).eval()
        network.mask_decoder.to(self.device, self._dtype)
        # Stays fp32: its sines of pixel positions would be noise in eight bits of mantissa.
        network.prompt_encoder.to(self.device)
        self._position: Tensor = network.prompt_encoder.get_dense_pe().to(self._dtype)  # type: ignore[operator]
        self._mean, self._std, padding = (
            torch.tensor(rgb, device=self.device).view(3, 1, 1)
            for rgb in (network.mean, network.std, network.padding)
        )
        self._padding = (padding - self._mean) / self._std
        self._chunk = self._first_chunk()
        self._batch: int | None = None  # no limit known yet

    def _first_chunk(self) -> int:
        if self.device.type != "cpu" or self._network.minds_the_cache:
            return _CHUNK
        return max(1, _CPU_CHUNK_BYTES // (self._position.numel() * self._position.element_size()))

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
            done = self._within_memory(functools.partial(self._encode_together, part), len(part))
            if done is None:
                limit = self._batch = max(1, len(part) // 2)
                log.warning("the GPU's memory is full: encoding %d images at once from here on", limit)
                continue
            embeddings += done
        return embeddings

    def _encode_together(self, images: Sequence[Image]) -> list[Embedding]:
        frames = [self._network.frame(image.image_size) for image in images]
        batch = torch.stack([self._preprocess(image, frame) for image, frame in zip(images, frames, strict=True)])
        features, high_res = self._network.encode(batch.to(self._dtype))
        return [
            Embedding(
                features[i], frame.image_size, frame.input_size, self.model, tuple(level[i] for level in high_res)
            )
            for i, frame in enumerate(frames)
        ]

    def _preprocess(self, image: Image, frame: Frame) -> Tensor:
        """(3, side, side) float32: resized, padded and normalised."""
        height, width = frame.input_size
        resized = torch.tensor(self._network.resize(image.pixels, frame.input_size))  # a copy: may be read-only
        square = self._padding.repeat(1, self.side, self.side)
        square[:, :height, :width] = (resized.to(self.device).permute(2, 0, 1) - self._mean) / self._std
        return square

    @torch.inference_mode()
    def segment(
        self,
        embedding: Embedding,
        prompts: Prompts | None = None,
        *,
        boxes: ArrayLike | None = None,
        points: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        multimask: bool = False,
        stability_offset: float = 1.0,
        return_logits: bool = False,
        pred_iou_thresh: float = -math.inf,
        stability_score_thresh: float = -math.inf,
        at_once: int | None = None,
    ) -> list[Segment]:
        """Return masks at the original size for N prompts: one each, or with `multimask` all ambiguous ones.

        Prompts are given as `Prompts`, or as `boxes` (4,) or (N, 4) xyxy and `points` (2,), (K, 2) or (N, K, 2) in
        pixels with `point_labels` (see `Prompts.of`).
        `stability_offset`: in logits, as Meta's. `return_logits`: keep each mask's low-resolution logits.
        Only masks whose predicted IoU is above `pred_iou_thresh` and whose stability is at least
        `stability_score_thresh` are returned; those below the former cost no more than the decoder. `at_once`:
        no more prompts than these together. Prompts go through in chunks, and each chunk's masks are finished
        before the next begins.

        Raises:
            UsageError: the embedding is another model's, or prompts are missing, given twice, or of a wrong shape.
            ImageError: the network's answer is not finite; no mask at all would be the wrong label.
        """
        if prompts is not None and not (boxes is None and points is None and point_labels is None):
            raise UsageError("give prompts, or boxes and points, not both")
        prompts = Prompts.of(boxes, points, point_labels) if prompts is None else prompts
        if embedding.model != self.model:
            raise UsageError(
                f"the embedding was made by model {embedding.model[:12]}, this is {self.model[:12]}: encode again"
            )
        wanted = _Wanted(multimask, stability_offset, return_logits, pred_iou_thresh, stability_score_thresh)
        segments: list[Segment] = []
        start = 0
        while start < len(prompts):
            part = prompts[start : start + min(self._chunk, at_once or self._chunk)]
            found = self._within_memory(functools.partial(self._segment_chunk, embedding, part, wanted), len(part))
            if found is None:
                self._chunk = max(1, len(part) // 2)
                log.warning("the GPU's memory is full: %d prompts at once from here on", self._chunk)
                continue
            segments += (replace(segment, prompt=start + segment.prompt) for segment in found)
            start += len(part)
        return segments

    def _segment_chunk(self, embedding: Embedding, prompts: Prompts, wanted: _Wanted) -> list[Segment]:
        """Return the finished masks of a few prompts; masks below the predicted-IoU threshold are not upsampled."""
        logits, quality = self._decode(embedding, prompts, wanted.multimask, wanted.pred_iou_thresh)
        quality = quality.cpu()
        if not (bool(torch.isfinite(quality).all()) and _is_finite(logits)):
            raise ImageError(f"SAM's answer is not finite in {self.precision}; try --precision fp32")
        tokens = logits.shape[1]
        good = quality > wanted.pred_iou_thresh
        kept = good.flatten().nonzero()[:, 0]
        chosen = logits.flatten(0, 1)  # of the prompts with any good mask
        if len(kept) < len(chosen):
            chosen = chosen[good[good.any(1)].flatten().to(chosen.device)]
        chosen = chosen.float()
        finished = self._finish(embedding, chosen, wanted.stability_offset, wanted.stability_score_thresh)
        return [
            Segment(
                prompt=index // tokens,
                token=index % tokens + (1 if wanted.multimask else 0),
                mask=mask,
                predicted_iou=float(quality.flatten()[index]),
                stability=stability,
                low_res_logits=chosen[place].cpu().numpy() if wanted.return_logits else None,
            )
            for place, (index, (mask, stability)) in enumerate(zip(kept.tolist(), finished, strict=True))
            if mask is not None
        ]

    def _decode(
        self, embedding: Embedding, prompts: Prompts, multimask: bool, pred_iou_thresh: float
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits (K, M, h, w) of prompts with an answer above `pred_iou_thresh`, and predicted IoU
        (N, M) in float32, on the device."""
        frame = self._network.frame(embedding.image_size)
        sparse, dense = self._network.embed_prompts(self._in_frame(prompts, frame))
        features, *high_res = (
            level[None].to(self.device, self._dtype) for level in (embedding.features, *embedding.high_res)
        )
        masks, quality = self._network.decode(
            features,
            tuple(high_res),
            self._position,
            (sparse.to(self._dtype), dense.to(self._dtype)),
            multimask,
            pred_iou_thresh,
        )
        return masks, quality.float()

    def _in_frame(self, prompts: Prompts, frame: Frame) -> PromptTensors:
        """Prompts in pixels of the network's square, on the device."""
        points = labels = boxes = logits = None
        if prompts.points is not None:
            points = torch.from_numpy(frame.to_network(prompts.points)).to(self.device)
            labels = torch.from_numpy(prompts.point_labels).to(self.device)
        if prompts.boxes is not None:
            corners = frame.to_network(prompts.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
            boxes = torch.from_numpy(corners).to(self.device)
        if prompts.mask_logits is not None:
            logits = torch.from_numpy(prompts.mask_logits)[:, None].to(self.device)
        return PromptTensors(points, labels, boxes, logits)

    def _finish(
        self, embedding: Embedding, logits: Tensor, offset: float, stability_score_thresh: float
    ) -> Iterator[tuple[Mask | None, float]]:
        """Masks at the original size and their stability, for logits (M, h, w), as the family's reference does.

        Cut to the image, resized to the original size, threshold 0. The resize is done only where anything
        can come of it: bilinear values never exceed those they lie between. No mask is made where the stability
        is too low.
        """
        axes = self._axes(embedding, logits)
        reached = _reached(logits, axes, -offset)
        at_once = self._masks_at_once(embedding.image_size)
        waiting: list[_Thresholded | None] = []
        pixels = 0
        for start in range(0, len(logits), at_once):
            part = slice(start, start + at_once)
            found = _threshold(logits[part], reached[part], axes, offset)
            waiting += found
            pixels += sum(one.pixels.numel() for one in found if one)
            if pixels > _WAITING_PIXELS:
                yield from _fetch(waiting, embedding.image_size, stability_score_thresh)
                waiting, pixels = [], 0
        yield from _fetch(waiting, embedding.image_size, stability_score_thresh)

    def _axes(self, embedding: Embedding, logits: Tensor) -> tuple[Axis, Axis]:
        """Vertical and horizontal: from logits (M, h, w) to the image."""
        lengths = zip(logits.shape[1:], embedding.input_size, embedding.image_size, strict=True)
        vertical, horizontal = (self._network.axis(*three, logits.device) for three in lengths)
        return vertical, horizontal

    def _masks_at_once(self, size: Size) -> int:
        """On a CPU one, made where there is something of it; on a GPU as many as may wait there together."""
        return 1 if self.device.type == "cpu" else max(1, _WAITING_PIXELS // math.prod(size))

    @torch.inference_mode()
    def probabilities(self, embedding: Embedding, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """One mask's probability at every pixel of the original image, (H, W), from its logits (h, w)."""
        low = torch.from_numpy(logits)[None].to(self.device)
        strips = resized(low, *self._axes(embedding, low))
        return torch.cat([strip[0].sigmoid() for strip in strips]).cpu().numpy()

    def _within_memory(self, work: Callable[[], T], at_once: int) -> T | None:
        """Return what `work` on so many at once returns; None where the device's memory is too small for so many.

        Raises:
            torch.OutOfMemoryError: it is too small for a single one.
        """
        try:
            return work()
        except torch.OutOfMemoryError:
            if at_once <= 1:
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return None


def _is_finite(logits: Tensor) -> bool:
    """In one pass: not a number is neither the least nor the most."""
    return not logits.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(logits))).all())


def _reached(logits: Tensor, axes: tuple[Axis, Axis], low: float) -> list[tuple[slice, slice] | None]:
    """Rows and columns of the image outside which none of a mask's logits (of M, h, w) is above `low`.

    Of all masks at once: whatever is asked of a GPU waits until it has done all that it was told before.
    """
    height = logits.shape[1]
    present = (torch.cat([logits.amax(2), logits.amax(1)], 1) > low).cpu().numpy()
    rows = [axes[0].reach(one) for one in present[:, :height]]
    columns = [axes[1].reach(one) for one in present[:, height:]]
    return [(down, across) if down and across else None for down, across in zip(rows, columns, strict=True)]


@dataclass(frozen=True)
class _Thresholded:
    """A mask still on the device: `pixels`, bool (h, w), from `corner` (left, top) on, and two `counts`: of the
    logits that are certainly, and of those that are possibly, the object's."""

    pixels: Tensor
    corner: tuple[int, int]
    counts: Tensor


def _threshold(
    logits: Tensor, reached: Sequence[tuple[slice, slice] | None], axes: tuple[Axis, Axis], offset: float
) -> list[_Thresholded | None]:
    """Masks' logits (M, h, w) at the image's size, cut at 0: all as far as any of them reaches, each kept as far as
    it does itself."""
    there = [one for one in reached if one]
    if not there:
        return [None] * len(reached)
    (top, bottom), (left, right) = (
        (min(one[i].start for one in there), max(one[i].stop for one in there)) for i in range(2)
    )
    pixels, counts = [], []
    for strip in resized(logits, axes[0].part(top, bottom), axes[1].part(left, right)):
        counts.append(torch.stack([_count(_above(strip, limit)) for limit in (offset, -offset)], 1))
        pixels.append(_above(strip, 0))
    whole, totals = torch.cat(pixels, 1), torch.stack(counts).sum(0)
    found: list[_Thresholded | None] = []
    for mine, total, one in zip(whole, totals, reached, strict=True):
        if one is None:
            found.append(None)
            continue
        rows, columns = one
        inside = mine[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        if len(reached) > 1:  # else what all of them reach would be kept for each
            inside = inside.clone()
        found.append(_Thresholded(inside, (columns.start, rows.start), total))
    return found


def _above(values: Tensor, limit: float) -> Tensor:
    """Return where values exceed the threshold. On a CPU numpy compares, and counts, in a fifth of torch's time."""
    return torch.from_numpy(values.numpy() > limit) if values.device.type == "cpu" else values > limit


def _count(found: Tensor) -> Tensor:
    """Count the true values of each mask of (M, h, w); return (M,)."""
    if found.device.type == "cpu":
        return torch.tensor([np.count_nonzero(one) for one in found.numpy()])
    return found.sum((1, 2))


def _fetch(
    found: Sequence[_Thresholded | None], size: Size, stability_score_thresh: float
) -> Iterator[tuple[Mask | None, float]]:
    """Masks and their stability from the device, in two transfers; what is not stable enough is left there."""
    there = [one for one in found if one is not None]
    counts = torch.stack([one.counts for one in there]).cpu().numpy() if there else np.zeros((0, 2), np.int64)
    # In float32, as the reference divides and compares: 0.95 itself has to fall on its side.
    certain, possible = counts.T.astype(np.float32)
    stabilities = certain / np.maximum(possible, 1)
    stable = (stabilities >= np.float32(stability_score_thresh)).tolist()
    kept = [one.pixels for one, enough in zip(there, stable, strict=True) if enough]
    flat = torch.cat([pixels.flatten() for pixels in kept]).cpu().numpy() if kept else np.zeros(0, bool)
    start, answers = 0, zip(there, stabilities.tolist(), stable, strict=True)
    for one in found:
        if one is None:
            empty = Mask.from_pixels(np.zeros((0, 0), bool), size=size)
            yield None if stability_score_thresh > 0 else empty, 0.0
            continue
        _, stability, enough = next(answers)
        if not enough:
            yield None, stability
            continue
        end = start + one.pixels.numel()
        yield Mask.from_pixels(flat[start:end].reshape(one.pixels.shape), one.corner, size), stability
        start = end

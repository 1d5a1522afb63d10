"""Compare an exported ONNX file with the engine: onnxruntime and torch on seeded random prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from samcli.config import ExportOnnxOptions
from samcli.errors import SamcliError, UsageError, one_line
from samcli.sam.engine import Engine
from samcli.sam.networks.sam import longest_side
from samcli.types import Embedding, Prompts, Segment, Size

Arrays = dict[str, NDArray[Any]]

ENCODER_INPUT, ENCODER_OUTPUT = "image", "image_embeddings"

MOST_POINTS_FOR_BEST = 2
"""With so few points (padding counts) a prompt is ambiguous: the best of the masks that SAM makes for that is
taken, with more points the single one. Segment-anything's rule."""

_STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class Agreement:
    """Differences between a file's answers and torch's.

    `max_difference`: the largest of any logit, score or feature, as a share of the largest magnitude (at least
    1) among torch's. `mask_iou`: of all masks at the original size taken together; None for an encoder.
    """

    max_difference: float
    mask_iou: float | None


@dataclass(frozen=True)
class Limits:
    """Maximum differences between a file's answers and torch's."""

    max_difference: float
    mask_iou: float


EXACT = Limits(1e-3, 0.999)
APPROXIMATE = Limits(5e-2, 0.98)  # another GELU
QUANTIZED = Limits(float("inf"), 0.5)  # what eight bits do to a network is its own; far worse is broken


def decoder_inputs(embedding: Embedding, prompts: Prompts, side: int) -> Arrays:
    """Return the decoder's ONNX inputs by name, for one object.

    `prompts` in pixels of the original image, as ever; `side` is the engine's.

    Raises:
        UsageError: `prompts` are for several objects.
    """
    if len(prompts) != 1:
        raise UsageError(f"prompts for {len(prompts)} objects; an ONNX decoder takes one at a time")
    frame = longest_side(embedding.image_size, side)
    coords, labels = [np.zeros((0, 2), np.float32)], [np.zeros(0, np.int64)]
    if prompts.points is not None and prompts.point_labels is not None:
        coords.append(frame.to_network(prompts.points[0]))
        labels.append(prompts.point_labels[0])
    if prompts.boxes is not None:
        coords.append(frame.to_network(prompts.boxes[0].reshape(2, 2)))
        labels.append(np.array([2, 3]))
    else:  # padding: without a box the network expects it, with one it does not
        coords.append(np.zeros((1, 2), np.float32))
        labels.append(np.array([-1]))
    height, width = embedding.features.shape[-2:]
    mask = prompts.mask_logits
    return {
        "image_embeddings": embedding.features[None].float().cpu().numpy(),
        "point_coords": np.concatenate(coords)[None],
        "point_labels": np.concatenate(labels)[None].astype(np.float32),
        "mask_input": np.zeros((1, 1, 4 * height, 4 * width), np.float32) if mask is None else mask[None],
        "has_mask_input": np.array([mask is not None], np.float32),
        "orig_im_size": np.array(embedding.image_size, np.float32),
    }


@dataclass(frozen=True)
class _Trial:
    """A prompt to check with: an image of `size`, points with these labels, a box, a mask."""

    size: Size
    labels: tuple[int, ...] = ()
    box: bool = False
    mask: bool = False


_TRIALS = (
    _Trial((480, 640), labels=(1,)),
    _Trial((640, 427), labels=(1, 0, 1)),
    _Trial((97, 131), box=True),
    _Trial((1200, 800), labels=(0, 1), box=True),
    _Trial((333, 333), labels=(1,), mask=True),
    _Trial((60, 1024), box=True, mask=True),
)


def make_trials(shape: Sequence[int], side: int, model: str) -> list[tuple[Embedding, Prompts]]:
    """Seeded random embeddings of `shape` (C, h, w), with prompts of every kind, each for one object."""
    random = np.random.default_rng(0)
    trials = []
    for trial in _TRIALS:
        extent = np.array(trial.size[::-1])  # x, y
        features = torch.from_numpy(random.normal(size=shape).astype(np.float32))
        points = random.uniform(size=(1, len(trial.labels), 2)) * extent
        corners = np.concatenate([random.uniform(0, 0.45, 2), random.uniform(0.55, 1, 2)])
        mask = random.normal(scale=5, size=(1, 4 * shape[1], 4 * shape[2]))
        prompts = Prompts(
            boxes=(corners * np.tile(extent, 2)).astype(np.float32)[None] if trial.box else None,
            points=points.astype(np.float32) if trial.labels else None,
            point_labels=np.array([trial.labels]) if trial.labels else None,
            mask_logits=mask.astype(np.float32) if trial.mask else None,
        )
        trials.append((Embedding(features, trial.size, longest_side(trial.size, side).input_size, model), prompts))
    return trials


@dataclass(frozen=True)
class DecoderCheck:
    """A decoder's file beside the engine, on every trial."""

    engine: Engine
    options: ExportOnnxOptions
    trials: Sequence[tuple[Embedding, Prompts]]

    def __call__(self, path: Path, limits: Limits) -> Agreement:
        """Return the agreement.

        Raises:
            SamcliError: the file does not run, contradicts itself, or is further off than the limits.
        """
        session = _Session(path)
        worst, shared, either = 0.0, 0, 0
        for embedding, prompts in self.trials:
            answer = session.run(decoder_inputs(embedding, prompts, self.engine.side))
            self._check_claims(path, answer)
            expected = self._expected(embedding, prompts, answer["low_res_masks"], limits)
            logits = np.stack([_logits(segment) for segment in expected])
            worst = max(worst, _difference(answer["low_res_masks"][0], logits))
            if not self.options.use_stability_score:
                scores = np.array([segment.predicted_iou for segment in expected])
                worst = max(worst, _difference(answer["iou_predictions"][0], scores))
            for got, segment in zip(answer["masks"][0] > 0, expected, strict=True):
                wanted = segment.mask.pixels()
                shared += int(np.count_nonzero(got & wanted))
                either += int(np.count_nonzero(got | wanted))
        return _within(path, Agreement(worst, shared / either if either else 1.0), limits)

    def _check_claims(self, path: Path, answer: Arrays) -> None:
        """Check that scores and areas are those of the masks beside them, which needs almost no tolerance."""
        claims: Arrays = {}
        if self.options.use_stability_score:
            claims["iou_predictions"] = _stability(answer["low_res_masks"])
        if self.options.return_extra_metrics:
            claims["stability_scores"] = _stability(answer["masks"])
            claims["areas"] = np.count_nonzero(answer["masks"] > 0, axis=(-2, -1))
        for name, true in claims.items():
            if not np.allclose(answer[name], true, rtol=0, atol=1e-5):
                raise SamcliError(f"{path.name} was not kept: its {name} are not those of its own masks")

    def _expected(
        self, embedding: Embedding, prompts: Prompts, answer: NDArray[Any], limits: Limits
    ) -> list[Segment]:
        """Return the engine's masks that the file should have returned.

        Where the best few score alike within the limits, either is right: the one nearest to `answer`, the
        low-resolution logits (1, 1, h, w) that were returned.
        """
        single = self.engine.segment(embedding, prompts, return_logits=True)
        several = self.engine.segment(embedding, prompts, multimask=True, return_logits=True)
        if not self.options.return_single_mask:
            return single + several
        if decoder_inputs(embedding, prompts, self.engine.side)["point_labels"].size > MOST_POINTS_FOR_BEST:
            return single
        scores = [self._score(segment) for segment in several]
        least = max(scores) - limits.max_difference
        best = [segment for segment, score in zip(several, scores, strict=True) if score >= least]
        return [min(best, key=lambda segment: _difference(answer[0, 0], _logits(segment)))]

    def _score(self, segment: Segment) -> float:
        return float(_stability(_logits(segment))) if self.options.use_stability_score else segment.predicted_iou


@dataclass(frozen=True)
class EncoderCheck:
    """An image encoder's file beside the encoder, on a seeded random image."""

    encoder: nn.Module
    side: int

    def __call__(self, path: Path, limits: Limits) -> Agreement:
        """Return the agreement.

        Raises:
            SamcliError: the file does not run, or is further off than the limits.
        """
        image = np.random.default_rng(0).normal(size=(1, 3, self.side, self.side)).astype(np.float32)
        features = _Session(path).run({ENCODER_INPUT: image})[ENCODER_OUTPUT]
        with torch.inference_mode():
            expected = self.encoder(torch.from_numpy(image)).numpy()
        return _within(path, Agreement(_difference(features, expected), None), limits)


class _Runtime(Protocol):
    """The part of onnxruntime.InferenceSession that is used."""

    def run(self, names: list[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...
    def get_outputs(self) -> Sequence[Any]: ...


class _Session:
    """A file in onnxruntime, on the CPU: inputs by name to outputs by name."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # its warnings are for those who make runtimes
        try:
            self._runtime: _Runtime = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
        except Exception as error:
            raise SamcliError(f"onnxruntime does not take {path.name}: {one_line(error)[:300]}") from error
        self._path = path
        self._outputs = [output.name for output in self._runtime.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        try:
            return dict(zip(self._outputs, self._runtime.run(self._outputs, inputs), strict=True))
        except Exception as error:
            raise SamcliError(f"{self._path.name} does not run in onnxruntime: {one_line(error)[:300]}") from error


def _stability(logits: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of the masks cut at +/- the offset, for logits (..., h, w); 0 where there is none at all."""
    certain = np.count_nonzero(logits > _STABILITY_OFFSET, axis=(-2, -1))
    possible = np.count_nonzero(logits > -_STABILITY_OFFSET, axis=(-2, -1))
    ratio: NDArray[np.float64] = np.divide(certain, np.maximum(possible, 1))
    return ratio


def _logits(segment: Segment) -> NDArray[np.float32]:
    if segment.low_res_logits is None:
        raise ValueError("the segment was made without return_logits")
    return segment.low_res_logits


def _difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference as a share of the largest expected magnitude (at least 1); infinite for another shape."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))


def _within(path: Path, found: Agreement, limits: Limits) -> Agreement:
    """Return the agreement if it is within the limits.

    Raises:
        SamcliError: it is not.
    """
    near = found.max_difference <= limits.max_difference and np.isfinite(found.max_difference)
    if near and (found.mask_iou is None or found.mask_iou >= limits.mask_iou):
        return found
    iou = "" if found.mask_iou is None else f", mask IoU {found.mask_iou:.4f} (at least {limits.mask_iou:g})"
    raise SamcliError(
        f"{path.name} was not kept: in onnxruntime it differs from torch by {found.max_difference:.2g} "
        f"(expected at most {limits.max_difference:g}){iou}. Try another --opset"
        f"{', or leave out --quantize' if limits is QUANTIZED else ''}."
    )

"""SAM 1 as ONNX: prompts to masks in one file, and the image encoder in another, checked before they appear.

The decoder's inputs and outputs have the names, shapes and meanings of segment-anything's own export, so that
what was written for that (browser demos, labelling tools) takes ours unchanged. docs/onnx.md describes them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samcli import __version__
from samcli.checkpoints.registry import find_all_weights
from samcli.config import ExportOnnxOptions
from samcli.errors import SamcliError, UsageError, WeightsError, one_line
from samcli.files import check_writable, move_atomic, storage_errors
from samcli.sam.engine import Engine
from samcli.sam.networks import load_network
from samcli.sam.networks.base import SamNetwork
from samcli.sam.networks.sam import Sam
from samcli.sam.onnx_check import (
    APPROXIMATE,
    ENCODER_INPUT,
    ENCODER_OUTPUT,
    EXACT,
    MOST_POINTS_FOR_BEST,
    QUANTIZED,
    Agreement,
    Arrays,
    DecoderCheck,
    EncoderCheck,
    Limits,
    decoder_inputs,
    make_trials,
)

log = logging.getLogger("samcli")

INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
OUTPUTS_WITH_METRICS = ("masks", "iou_predictions", "stability_scores", "areas", "low_res_masks")

_STABILITY_OFFSET = 1.0
_LARGEST_FILE = 1_800_000_000
"""Weights of more bytes go to a file beside: one ONNX file holds at most 2 GiB. Only ViT-H's encoder is larger."""

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written, and how near onnxruntime's answers with it are to torch's."""

    path: Path
    bytes: int
    agreement: Agreement


def export_onnx(output: Path, options: ExportOnnxOptions) -> list[ExportedFile]:
    """Write a SAM 1 network's prompt encoder and mask decoder to `output`, and what else the options ask for.

    `<name>.encoder.onnx` and `<name>.quantized.onnx` lie beside it. All files are made and run by onnxruntime
    in a temporary folder first; they appear when every one of them agrees with torch, or none does.

    Raises:
        SamcliError: a package of the extra `onnx` is missing, the export failed, or its check did.
        UsageError: `output` is no name for an ONNX file.
        WeightsError: the checkpoint cannot be had, or is not of the SAM 1 family.
    """
    _require_packages()
    if output.suffix != ".onnx" or output.is_dir():
        raise UsageError(f"--output is {output}; expected a file name that ends in .onnx")
    check_writable(output)
    weights = find_all_weights({"sam": options.sam}, log.info)["sam"]
    network = _sam_1(load_network(weights.path), options.sam)
    decoder = OnnxDecoder(network, options).eval()
    encoder = copy.deepcopy(network.image_encoder) if options.encoder else None
    # After the copies: what an engine does to its network is its own affair.
    engine = Engine(network, weights.sha256, device="cpu", precision="fp32")
    trials = make_trials(decoder.embedding_shape, engine.side, weights.sha256)
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with storage_errors(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=".samcli-") as folder:
        writer = _Writer(Path(folder), options, engine.side, weights.sha256)
        written = writer.decoder(output.name, decoder, DecoderCheck(engine, options, trials))
        if encoder is not None:
            written += writer.encoder(output.with_suffix(".encoder.onnx").name, encoder)
        return [_publish(file, output.parent) for file in written]


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SamcliError(f"export-onnx needs {', '.join(missing)}: pip install 'samcli[onnx]'")


def _sam_1(network: SamNetwork, name: str) -> Sam:
    """Return the network, if it is one whose parts this export knows.

    Raises:
        WeightsError: it is of another family.
    """
    if not isinstance(network, Sam):
        raise WeightsError(
            f"{name} is of the family {network.family}; export-onnx takes SAM 1 (sam_b.pt, sam_l.pt, "
            "mobile_sam.pt, sam_vit_*.pth, tiny)"
        )
    return network


def _publish(file: ExportedFile, folder: Path) -> ExportedFile:
    """Move a file that passed its check to where it was asked for; its weights, where they are apart, first."""
    if (weights := _external_weights(file.path)).exists():
        move_atomic(weights, folder / weights.name)
    target = folder / file.path.name
    move_atomic(file.path, target)
    return dataclasses.replace(file, path=target)


def _external_weights(path: Path) -> Path:
    """Return the path of the weights that the exporter stores beside a large file."""
    return path.with_name(path.name + ".data")


class OnnxDecoder(nn.Module):
    """Prompt encoder and mask decoder as one graph without branches, for one object of one image.

    Works on copies: approximating GELU leaves the network as it was.
    """

    _labels: Tensor
    _label_embeddings: Tensor
    _no_mask: Tensor
    _positions: Tensor

    def __init__(self, network: Sam, options: ExportOnnxOptions) -> None:
        super().__init__()
        prompt_encoder: Any = copy.deepcopy(network.prompt_encoder)
        self._decoder: Any = copy.deepcopy(network.mask_decoder)
        self._side = network.image_size
        self._options = options
        self._position_encoding = prompt_encoder.pe_layer
        self._mask_downscaling = prompt_encoder.mask_downscaling
        by_label = [prompt_encoder.not_a_point_embed, *prompt_encoder.point_embeddings]  # -1, 0, 1, 2, 3
        self.register_buffer("_labels", torch.arange(-1.0, len(by_label) - 1))
        self.register_buffer("_label_embeddings", torch.cat([embedding.weight for embedding in by_label]))
        self.register_buffer("_no_mask", prompt_encoder.no_mask_embed.weight[:, :, None, None])
        self.register_buffer("_positions", prompt_encoder.get_dense_pe())
        self.embedding_shape = tuple(self._positions.shape[1:])
        if options.gelu_approximate:
            approximate_gelu(self)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the outputs, in the order of `OUTPUTS` or `OUTPUTS_WITH_METRICS`. All inputs are float32.

        `image_embeddings` (1, C, h, w); `point_coords` (1, N, 2) x, y in pixels of the network's square;
        `point_labels` (1, N): 0 background, 1 object, 2 and 3 a box's top left and bottom right, -1 padding;
        `mask_input` (1, 1, 4h, 4w) logits, of effect where `has_mask_input` (1,) is 1, not 0;
        `orig_im_size` (2,): height, width.
        """
        logits, scores = self._decoder.predict_masks(
            image_embeddings=image_embeddings,
            image_pe=self._positions,
            sparse_prompt_embeddings=self._embed_points(point_coords, point_labels),
            dense_prompt_embeddings=self._embed_mask(mask_input, has_mask_input),
        )
        if self._options.use_stability_score:
            scores = _stability(logits)
        if self._options.return_single_mask:
            best = self._best(scores, point_labels)
            logits, scores = logits.index_select(1, best), scores.index_select(1, best)
        masks = self._at_original_size(logits, orig_im_size)
        if self._options.return_extra_metrics:
            return masks, scores, _stability(masks), (masks > 0).sum((-2, -1)), logits
        return masks, scores, logits

    def _embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """(1, N, C): where a point is (padding is nowhere) plus what it is, by its label."""
        positions: Tensor = self._position_encoding._pe_encoding((coords + 0.5) / self._side)
        labels = labels[..., None]
        return positions * (labels != -1) + (labels == self._labels).float() @ self._label_embeddings

    def _embed_mask(self, mask: Tensor, present: Tensor) -> Tensor:
        """(1, C, h, w): the mask's embedding, or the learned one of no mask."""
        embedded: Tensor = self._mask_downscaling(mask)
        return present * embedded + (1 - present) * self._no_mask

    def _best(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(1,) index of the one mask to return."""
        # Counted by the graph: the length as a number would freeze the choice at export.
        unambiguous = torch.ones_like(labels).sum(1, keepdim=True) > MOST_POINTS_FOR_BEST
        first = torch.arange(scores.shape[1]) == 0
        return torch.where(first, torch.where(unambiguous, torch.inf, -torch.inf), scores).argmax(1)

    def _at_original_size(self, logits: Tensor, size: Tensor) -> Tensor:
        """(1, M, H, W): to the padded square, cut to the image, then to the original size, as the engine does."""
        square = F.interpolate(logits, (self._side, self._side), mode="bilinear", align_corners=False)
        size = size.to(torch.int64)
        longest = torch.maximum(size[0], size[1])
        # round(side * size / longest), halves up, without a rounding error: in integers.
        inner = torch.div(2 * self._side * size + longest, 2 * longest, rounding_mode="trunc").clamp(min=1)
        height, width = inner.tolist()
        return F.interpolate(square[..., :height, :width], size.tolist(), mode="bilinear", align_corners=False)


def _stability(logits: Tensor) -> Tensor:
    """(1, M): IoU of the masks cut at +/- the offset; 0 where there is none at all."""
    certain = (logits > _STABILITY_OFFSET).sum((-2, -1))
    possible = (logits > -_STABILITY_OFFSET).sum((-2, -1))
    return certain / possible.clamp(min=1)


def approximate_gelu(module: nn.Module) -> None:
    """Switch every GELU in a module to its tanh approximation, for runtimes whose erf is slow or missing."""
    for part in module.modules():
        if isinstance(part, nn.GELU):
            part.approximate = "tanh"


@dataclass(frozen=True)
class _Writer:
    """Writes files into a folder, each with its quantised twin if that is asked for, and checks them."""

    folder: Path
    options: ExportOnnxOptions
    side: int
    model: str

    def decoder(self, name: str, decoder: OnnxDecoder, check: DecoderCheck) -> list[ExportedFile]:
        """Export the prompt encoder and mask decoder."""
        example = decoder_inputs(*check.trials[0], self.side)
        points = torch.export.Dim("num_points")
        free = {"point_coords": {1: points}, "point_labels": {1: points}}
        outputs = OUTPUTS_WITH_METRICS if self.options.return_extra_metrics else OUTPUTS
        path = self._export(name, decoder, example, outputs, {key: free.get(key) for key in INPUTS})
        return self._checked(path, check)

    def encoder(self, name: str, encoder: nn.Module) -> list[ExportedFile]:
        """Image encoder."""
        exported = encoder
        if self.options.gelu_approximate:
            approximate_gelu(exported := copy.deepcopy(encoder))
        example = {ENCODER_INPUT: np.zeros((1, 3, self.side, self.side), np.float32)}
        path = self._export(name, exported, example, (ENCODER_OUTPUT,), None)
        return self._checked(path, EncoderCheck(encoder, self.side))

    def _checked(self, path: Path, check: Callable[[Path, Limits], Agreement]) -> list[ExportedFile]:
        """Return the file, and its quantised twin, with what the check found."""
        limits = APPROXIMATE if self.options.gelu_approximate else EXACT
        files = [ExportedFile(path, _size(path), check(path, limits))]
        if self.options.quantize:
            twin = path.with_suffix(".quantized.onnx")
            _quantize(path, twin)
            files.append(ExportedFile(twin, _size(twin), check(twin, QUANTIZED)))
        return files

    def _export(
        self,
        name: str,
        module: nn.Module,
        example: Arrays,
        outputs: tuple[str, ...],
        dynamic: dict[str, Any] | None,
    ) -> Path:
        log.info("exporting %s", name)
        try:
            with _quiet():
                program = torch.onnx.export(
                    module,
                    tuple(torch.from_numpy(example[key]) for key in example),
                    dynamo=True,
                    verbose=False,
                    opset_version=self.options.opset,
                    input_names=list(example),
                    output_names=list(outputs),
                    dynamic_shapes=dynamic,
                )
        except Exception as error:
            raise SamcliError(f"torch could not export {name}: {one_line(error)[:300]}") from error
        if program is None:
            raise SamcliError(f"torch exported nothing for {name}")
        self._tidy(program.model)
        path = self.folder / name
        program.save(path, external_data=_weight_bytes(module) > _LARGEST_FILE)
        return path

    def _tidy(self, model: Any) -> None:
        """Name the free sizes, say where the file comes from, and drop the exporter's notes on our source.

        The oldest format that the operators allow: a runtime refuses a newer one than itself, and browsers
        often have an old one.

        Raises:
            SamcliError: the operators are not of the opset that was asked for.
        """
        from onnx import helper

        if (made := model.opset_imports[""]) != self.options.opset:
            raise SamcliError(f"--opset is {self.options.opset}, but torch can only make {made} of this network")
        model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", made)])
        model.producer_name, model.producer_version = "samcli", __version__
        model.metadata_props.update({"image_size": str(self.side), "model_sha256": self.model})
        graph = model.graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        for noted in (graph, *graph, *values):
            noted.metadata_props.clear()
        for output in graph.outputs:
            if output.name == "masks":
                output.shape = type(output.shape)([*output.shape[:2], "height", "width"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's and the quantiser's chatter, which is for those who write them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _quantize(source: Path, target: Path) -> None:
    """Write a copy with eight-bit weights in its matrix products; activations are scaled as they come.

    A scale for each channel, and convolutions left alone: of the masks' pixels five times fewer change than with
    one scale for each tensor and everything in eight bits, in a file of the same size.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    del model.graph.value_info[:]  # torch's notes on inner shapes; onnxruntime infers its own and quarrels
    with _quiet():
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QUInt8,  # signed ones overflow on CPUs without VNNI
        )


def _weight_bytes(module: nn.Module) -> int:
    return sum(weight.nbytes for weight in module.state_dict().values())


def _size(path: Path) -> int:
    weights = _external_weights(path)
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)

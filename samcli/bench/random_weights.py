"""Checkpoints of known architectures with seeded random weights: networks are as fast whatever they know.

Built with Ultralytics' own builders, whose tensors have the names of the published files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samcli.bench.pictures import draw_picture
from samcli.checkpoints.registry import known_checkpoint
from samcli.checkpoints.ultralytics_setup import prepare_ultralytics
from samcli.sam.networks.base import PIXEL_MEAN, PIXEL_STD
from samcli.sam.networks.fast import decoder_forward, encoder_forward

_COCO_CLASSES = tuple(f"class {number}" for number in range(80))
_TYPICAL_LOGIT = 30.0
_HIGH_QUALITY, _RATED_HIGH, _QUALITY_SPREAD = 0.88, 2 / 3, 0.06
"""What a trained SAM's answers look like on a photo: the median logit; the share of masks rated below everything
mode's threshold, and how far ratings lie apart."""

_FASTSAM_SIDE = 1024
"""Pixels that the published FastSAM was trained with."""


def save_random(name: str, folder: Path) -> Path:
    """Save random weights of a known checkpoint's architecture in `folder` under its name; return the path.

    Raises:
        WeightsError: no such name is known.
    """
    checkpoint = known_checkpoint(name)
    role, path = checkpoint.role, folder / name
    if path.is_file():
        return path
    if checkpoint.publisher == "PyTorch":
        return save_torchvision(path, name)
    architecture = architecture_of(name)
    if role == "sam":
        return save_sam(path, architecture, settled=True)
    if architecture.startswith("rtdetr"):
        return save_rtdetr(path, architecture, names=_COCO_CLASSES)
    if role == "fastsam":
        return save_yolo(path, architecture, names=("object",), imgsz=_FASTSAM_SIDE)
    return save_yolo(path, architecture, names=_COCO_CLASSES)


def save_torchvision(path: Path, name: str) -> Path:
    """Save a detector of torchvision with random weights, as PyTorch publishes it: its tensors alone."""
    import torch
    from torchvision.models import detection

    torch.save(getattr(detection, name)(weights=None, weights_backbone=None).state_dict(), path)
    return path


def architecture_of(name: str) -> str:
    """Return Ultralytics' name of a known checkpoint: a builder of a SAM, or the YAML file of a detector.

    Raises:
        WeightsError: no such name is known.
    """
    role, stem = known_checkpoint(name).role, name.rpartition(".")[0]
    if role == "fastsam":
        return f"yolov8{stem.rpartition('-')[2]}-seg"
    if role == "det":
        return re.sub(r"^(yolov5\w)u$", r"\1", stem)
    if found := re.match(r"sam2(?:\.1)?_(?:hiera_)?([tsbl])", name):
        return f"build_sam2_{found[1]}"
    if found := re.match(r"sam_(?:vit_)?([blh])", name):
        return f"build_sam_vit_{found[1]}"
    return f"build_{stem}"


def save_sam(path: Path, builder: str, *, settled: bool = False) -> Path:
    """Save a SAM or SAM 2 of one of Ultralytics' builders as its makers do. `settled`: see `settle_sam`."""
    prepare_ultralytics()
    from ultralytics.models.sam import build

    torch.manual_seed(0)
    model = getattr(build, builder)()
    enliven(model)
    if settled and hasattr(model, "mask_decoder"):
        settle_sam(model)
    tensors = model.state_dict()
    torch.save({"model": tensors} if hasattr(model, "sam_mask_decoder") else tensors, path)
    return path


def enliven(sam: torch.nn.Module) -> None:
    """Positions are zero when untrained; random ones exercise them. SAM 2's masks get logits of a trained size."""
    for name, weight in sam.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(weight, std=0.02)
    if not hasattr(sam, "sam_mask_decoder"):
        return
    # As small as it is otherwise, forgetting it would not show.
    torch.nn.init.normal_(sam.no_mem_embed, std=0.5)  # type: ignore[arg-type]
    decoder: Any = sam.sam_mask_decoder
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data.mul_(20)


@torch.inference_mode()
def settle_sam(model: Any) -> None:
    """Let a SAM 1 give masks like a trained one's: of few parts, with clear edges, a third rated above 0.88.

    As initialised, neighbouring pixels have nothing to do with each other, no mask is rated high, and what comes
    after the network would be measured on masks of a thousand parts, or on none.
    """
    decoder = model.mask_decoder
    for layer in decoder.output_upscaling:
        if isinstance(layer, torch.nn.ConvTranspose2d):  # each position of a kernel alike: no checkerboard
            layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True).expand_as(layer.weight))
    logits, quality = _click(model)
    for head in decoder.output_hypernetworks_mlps:
        _rescale(head.layers[-1], _TYPICAL_LOGIT / float(logits.abs().median()))
    high, spread = float(quality.flatten().quantile(_RATED_HIGH)), float(quality.std())
    factor = _QUALITY_SPREAD / spread
    _rescale(decoder.iou_prediction_head.layers[-1], factor, _HIGH_QUALITY - factor * high)


def _rescale(layer: Any, factor: float, shift: float = 0.0) -> None:
    """Make a linear layer give `factor` times what it gave, and `shift`."""
    layer.weight.mul_(factor)
    layer.bias.mul_(factor).add_(shift)


def _click(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and predicted IoU of all masks of a grid of points on a drawn picture."""
    side, clicks = 1024, 8
    drawn = torch.from_numpy(draw_picture(0, (side, side))).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(rgb).view(1, 3, 1, 1) for rgb in (PIXEL_MEAN, PIXEL_STD))
    embedding = encoder_forward(model.image_encoder)((drawn - mean) / std)
    places = (torch.arange(clicks) + 0.5) * side / clicks
    points = torch.cartesian_prod(places, places)[:, None]
    sparse, dense = model.prompt_encoder((points, torch.ones(len(points), 1)), None, None)
    predict = decoder_forward(model.mask_decoder)
    logits, quality = predict(embedding, model.prompt_encoder.get_dense_pe(), sparse, dense[:1], True)
    return logits, quality


def save_yolo(path: Path, architecture: str, *, names: Sequence[str], imgsz: int = 640) -> Path:
    """Save a YOLO of Ultralytics' architecture (`yolov8n`, `yolov8n-seg`), its scores raised to find much."""
    prepare_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    torch.manual_seed(0)
    task = "segment" if architecture.endswith("-seg") else "detect"
    kind = SegmentationModel if task == "segment" else DetectionModel
    model = kind(f"{architecture}.yaml", nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    _settle(model)
    return _save_detector(path, model, task, imgsz)


def save_rtdetr(path: Path, architecture: str, *, names: Sequence[str]) -> Path:
    """RT-DETR."""
    prepare_ultralytics()
    from ultralytics.nn.tasks import RTDETRDetectionModel

    torch.manual_seed(0)
    model = RTDETRDetectionModel(f"{architecture}.yaml", nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    return _save_detector(path, model, "detect", 640)


def _save_detector(path: Path, model: Any, task: str, imgsz: int) -> Path:
    model.args = {"task": task, "imgsz": imgsz}
    model.task = task
    torch.save({"model": model.half().eval(), "train_args": {"task": task, "imgsz": imgsz}, "epoch": -1}, path)
    return path


def _settle(model: Any) -> None:
    """Let batch norms and class scores see photos: as initialised, signals fade out layer by layer."""
    import numpy as np
    from PIL import Image
    from ultralytics.utils import ASSETS

    opened = [Image.open(ASSETS / name).convert("RGB").resize((640, 640)) for name in ("bus.jpg", "zidane.jpg")]
    seen_photos = torch.stack([torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255 for photo in opened])
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(seen_photos)
        model.eval()
        for branch in _score_branches(model.model[-1]):
            _raise_scores(model, branch[-1], seen_photos)


def _score_branches(head: Any) -> list[Any]:
    """Return the branches of a YOLO head that give class scores; those without NMS have their own."""
    return [*head.cv3, *(getattr(head, "one2one_cv3", None) or ())]


def _raise_scores(model: Any, score: torch.nn.Module, photos: torch.Tensor) -> None:
    """Scores around sigmoid(-1), of all classes alike."""
    seen: list[torch.Tensor] = []
    hook = score.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(photos)
    hook.remove()
    if not seen:  # a branch that is only used in training
        return
    channels = seen[0].flatten(2).permute(1, 0, 2).flatten(1)
    weight: torch.Tensor = score.weight  # type: ignore[assignment]
    bias: torch.Tensor = score.bias  # type: ignore[assignment]
    fresh = torch.randn_like(weight) / channels.std(1).clamp(min=1e-3)[None, :, None, None]
    weight.copy_(fresh / fresh.shape[1] ** 0.5)
    bias.copy_(-1 - (weight[..., 0, 0] @ channels.mean(1)))


def transformers_config(tensors: Mapping[str, torch.Tensor]) -> Any:
    """Return the configuration of transformers' `SamModel` for a ViT SAM's tensors under Meta's names."""
    from transformers import SamConfig

    patch = tensors["image_encoder.patch_embed.proj.weight"]
    grid = tensors["image_encoder.pos_embed"].shape[1]
    spans = {
        int(name.split(".")[2]): (tensor.shape[0] + 1) // 2
        for name, tensor in tensors.items()
        if name.endswith("attn.rel_pos_h")
    }
    return SamConfig(
        vision_config={
            "image_size": grid * patch.shape[-1],
            "hidden_size": patch.shape[0],
            "num_hidden_layers": len(spans),
            "num_attention_heads": patch.shape[0] // tensors["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
            "mlp_dim": tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            "window_size": min({span for span in spans.values() if span != grid}, default=14),
            "global_attn_indexes": [block for block, span in spans.items() if span == grid],
        },
        prompt_encoder_config={"image_size": grid * patch.shape[-1], "image_embedding_size": grid},
        mask_decoder_config={"mlp_dim": tensors["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0]},
    )


if (
    __name__ == "__main__"
):  # in a process of its own: what it takes to build a network stays out of the caller's memory
    print(save_random(sys.argv[1], Path(sys.argv[2])))

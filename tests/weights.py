"""Checkpoints for tests: seeded random weights in the real architectures, so that every code path is real."""

from __future__ import annotations

from pathlib import Path

import torch

from samcli.bench import random_weights
from samcli.bench.random_weights import enliven, transformers_config


def save_sam_vit(
    path: Path, *, image_size: int = 256, dim: int = 64, depth: int = 2, heads: int = 2, out: int = 256,
    window: int | None = None,
) -> Path:  # fmt: skip
    """A small ViT SAM of segment-anything's own classes, with lively positions and masks of all sizes."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    grid = image_size // 16
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=image_size, embed_dim=dim, depth=depth, num_heads=heads, out_chans=out, use_rel_pos=True,
            window_size=window or (14 if grid > 14 else 7), global_attn_indexes=(depth - 1,), qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=out, image_embedding_size=(grid, grid), input_image_size=(image_size, image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3, transformer_dim=out, iou_head_depth=3, iou_head_hidden_dim=out,
            transformer=TwoWayTransformer(depth=2, embedding_dim=out, mlp_dim=512, num_heads=8),
        ),
    )  # fmt: skip
    enliven(sam)
    torch.save(sam.state_dict(), path)
    return path


def save_sam_ultralytics(path: Path, meta: Path) -> Path:
    """The weights of a checkpoint in Meta's form, in Ultralytics' own classes and as its files hold them."""
    from samcli.sam.networks import load_network

    network = load_network(meta)
    parts = {part: getattr(network, part) for part in ("image_encoder", "prompt_encoder", "mask_decoder")}
    assert all(type(part).__module__.startswith("ultralytics.") for part in parts.values())
    torch.save(torch.nn.ModuleDict(parts).state_dict(), path)
    return path


def save_sam_hugging_face(folder: Path, meta: Path, **options: object) -> Path:
    """The weights of a checkpoint in Meta's form, as transformers' own `SamModel` saves them.

    `options`: of `save_pretrained`. The module's own strict load says whether every name was translated.
    """
    from transformers import SamModel

    tensors = torch.load(meta, weights_only=True)
    model = SamModel(transformers_config(tensors))
    renamed = {_transformers_name(name): tensor for name, tensor in tensors.items()}
    positions = renamed["shared_image_embedding.positional_embedding"]
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = positions
    model.load_state_dict(renamed, strict=True)
    model.save_pretrained(folder, **options)
    return folder


def _transformers_name(name: str) -> str:
    replacements = {
        "image_encoder": "vision_encoder",
        ".blocks.": ".layers.",
        "patch_embed.proj.": "patch_embed.projection.",
        "neck.0.": "neck.conv1.",
        "neck.1.": "neck.layer_norm1.",
        "neck.2.": "neck.conv2.",
        "neck.3.": "neck.layer_norm2.",
        "prompt_encoder.pe_layer": "shared_image_embedding",
        "positional_encoding_gaussian_matrix": "positional_embedding",
        "point_embeddings": "point_embed",
        "mask_downscaling.0": "mask_embed.conv1",
        "mask_downscaling.1": "mask_embed.layer_norm1",
        "mask_downscaling.3": "mask_embed.conv2",
        "mask_downscaling.4": "mask_embed.layer_norm2",
        "mask_downscaling.6": "mask_embed.conv3",
        "output_upscaling.0": "upscale_conv1",
        "output_upscaling.1": "upscale_layer_norm",
        "output_upscaling.3": "upscale_conv2",
        ".norm": ".layer_norm",
    }
    if "_head.layers" in name or "_mlps." in name:
        for index, new in (("0", "proj_in"), ("1", "layers.0"), ("2", "proj_out")):
            if f".layers.{index}." in name:
                return name.replace(f"layers.{index}.", f"{new}.")
    for old, new in replacements.items():
        name = name.replace(old, new)
    return name


def save_sam_vit_b(path: Path) -> Path:
    """segment-anything's ViT-B, 1024 pixels, seeded random weights."""
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]()
    enliven(sam)
    torch.save(sam.state_dict(), path)
    return path


def save_yolo(
    path: Path, *, names: tuple[str, ...] = ("cat", "dog", "bird"), task: str = "detect", imgsz: int = 640
) -> Path:
    """YOLOv8n with seeded random weights, its scores raised so that it finds boxes everywhere."""
    architecture = "yolov8n-seg" if task == "segment" else "yolov8n"
    return random_weights.save_yolo(path, architecture, names=names, imgsz=imgsz)


def save_yolo_seg(path: Path) -> Path:
    """YOLOv8n-seg with seeded random weights, of three classes."""
    return save_yolo(path, task="segment")


def save_fastsam(path: Path, imgsz: int = 320) -> Path:
    """FastSAM's architecture (YOLOv8-seg of one class) at size n, seeded random weights, trained at `imgsz`."""
    return save_yolo(path, names=("object",), task="segment", imgsz=imgsz)


def save_mobile_sam(path: Path) -> Path:
    """MobileSAM's architecture, seeded random weights, in Ultralytics' form."""
    return random_weights.save_sam(path, "build_mobile_sam")


def save_small_mobile_sam(path: Path, image_size: int = 256) -> Path:
    """The same for smaller images: none of its weights depends on their size, which the file's metadata say."""
    from safetensors.torch import save_file

    tensors = torch.load(save_mobile_sam(path.with_suffix(".pt")), weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"img_size": str(image_size)})
    return path


def save_rtdetr(path: Path) -> Path:
    """RT-DETR with seeded random weights."""
    return random_weights.save_rtdetr(path, "rtdetr-resnet50", names=("cat", "dog", "bird"))


SMALL_SAM2 = {
    "encoder_embed_dim": 32,
    "encoder_stages": (1, 1, 3, 1),
    "encoder_num_heads": 2,
    "encoder_global_att_blocks": (3,),
    "encoder_backbone_channel_list": [256, 128, 64, 32],
    "encoder_window_spatial_size": (7, 7),
    "encoder_window_spec": (8, 4, 14, 7),
}
"""Numbers of a SAM 2 that is in nobody's table."""


def sam2(size: str = "small") -> torch.nn.Module:
    """SAM 2.1 of Ultralytics' own classes, seeded random weights: `small`, or a published `t`, `s`, `b` or `l`."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.models.sam import build

    torch.manual_seed(0)
    model = build._build_sam2(**SMALL_SAM2) if size == "small" else getattr(build, f"build_sam2_{size}")()
    enliven(model)
    return model


def save_sam2(path: Path, size: str = "small", image_size: int = 1024) -> Path:
    """A SAM 2.1 as Meta and Ultralytics save it; as .safetensors, with what no shape shows in its metadata."""
    tensors = {name: tensor.clone() for name, tensor in sam2(size).state_dict().items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        numbers = {
            "heads": SMALL_SAM2["encoder_num_heads"],
            "windows": ",".join(map(str, SMALL_SAM2["encoder_window_spec"])),
            "global_blocks": ",".join(map(str, SMALL_SAM2["encoder_global_att_blocks"])),
            "img_size": image_size,
        }
        save_file(tensors, path, {key: str(value) for key, value in numbers.items()})
    else:
        torch.save({"model": tensors}, path)
    return path

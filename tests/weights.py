"""Checkpoints for tests: seeded random weights in the real architectures, so that every code path is real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch


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
    _enliven(sam)
    torch.save(sam.state_dict(), path)
    return path


def save_sam_ultralytics(path: Path, meta: Path) -> Path:
    """The weights of a checkpoint in Meta's form, in Ultralytics' own classes and as its files hold them."""
    from samcli.networks import load_network

    network = load_network(meta)
    parts = {part: getattr(network, part) for part in ("image_encoder", "prompt_encoder", "mask_decoder")}
    assert all(type(part).__module__.startswith("ultralytics.") for part in parts.values())
    torch.save(torch.nn.ModuleDict(parts).state_dict(), path)
    return path


def save_sam_hugging_face(folder: Path, meta: Path, **options: object) -> Path:
    """The weights of a checkpoint in Meta's form, as transformers' own `SamModel` saves them.

    `options`: of `save_pretrained`. The module's own strict load says whether every name was translated.
    """
    from transformers import SamConfig, SamModel

    tensors = torch.load(meta, weights_only=True)
    patch = tensors["image_encoder.patch_embed.proj.weight"]
    grid = tensors["image_encoder.pos_embed"].shape[1]
    spans = {
        int(name.split(".")[2]): (tensor.shape[0] + 1) // 2
        for name, tensor in tensors.items()
        if name.endswith("attn.rel_pos_h")
    }
    config = SamConfig(
        vision_config={
            "image_size": grid * 16,
            "hidden_size": patch.shape[0],
            "num_hidden_layers": len(spans),
            "num_attention_heads": patch.shape[0] // tensors["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
            "mlp_dim": tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            "window_size": min({span for span in spans.values() if span != grid}, default=14),
            "global_attn_indexes": [block for block, span in spans.items() if span == grid],
        },
        prompt_encoder_config={"image_size": grid * 16, "image_embedding_size": grid},
        mask_decoder_config={"mlp_dim": tensors["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0]},
    )
    model = SamModel(config)
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
    _enliven(sam)
    torch.save(sam.state_dict(), path)
    return path


def _enliven(sam: torch.nn.Module) -> None:
    """Positions are zero when untrained; random ones exercise them."""
    for name, weight in sam.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(weight, std=0.02)


def _settle(model: torch.nn.Module) -> None:
    """Let batch norms and class scores see photos: as initialised, signals fade out layer by layer."""
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
        for branch in model.model[-1].cv3:  # class scores around sigmoid(-1), of all classes alike
            score = branch[-1]
            seen: list[torch.Tensor] = []
            hook = score.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
            model(seen_photos)
            hook.remove()
            channels = seen[0].flatten(2).permute(1, 0, 2).flatten(1)
            weight = torch.randn_like(score.weight) / channels.std(1).clamp(min=1e-3)[None, :, None, None]
            score.weight.copy_(weight / weight.shape[1] ** 0.5)
            score.bias.copy_(-1 - (score.weight[..., 0, 0] @ channels.mean(1)))


def save_yolo(
    path: Path, *, names: tuple[str, ...] = ("cat", "dog", "bird"), task: str = "detect", imgsz: int = 640
) -> Path:
    """YOLOv8n with seeded random weights, its scores raised so that it finds boxes everywhere."""
    from samcli.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    torch.manual_seed(0)
    kind = SegmentationModel if task == "segment" else DetectionModel
    model = kind(f"yolov8n{'-seg' if task == 'segment' else ''}.yaml", nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    _settle(model)
    model.args = {"task": task, "imgsz": imgsz}
    model.task = task
    torch.save({"model": model.half().eval(), "train_args": {"task": task, "imgsz": imgsz}, "epoch": -1}, path)
    return path


def save_yolo_seg(path: Path) -> Path:
    """YOLOv8n-seg with seeded random weights, of three classes."""
    return save_yolo(path, task="segment")


def save_fastsam(path: Path, imgsz: int = 320) -> Path:
    """FastSAM's architecture (YOLOv8-seg of one class) at size n, seeded random weights, trained at `imgsz`."""
    return save_yolo(path, names=("object",), task="segment", imgsz=imgsz)


def save_mobile_sam(path: Path) -> Path:
    """MobileSAM's architecture, seeded random weights, in Ultralytics' form."""
    from samcli.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.models.sam.build import build_mobile_sam

    torch.manual_seed(0)
    torch.save(build_mobile_sam().state_dict(), path)
    return path


def save_small_mobile_sam(path: Path, image_size: int = 256) -> Path:
    """The same for smaller images: none of its weights depends on their size, which the file's metadata say."""
    from safetensors.torch import save_file

    tensors = torch.load(save_mobile_sam(path.with_suffix(".pt")), weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"img_size": str(image_size)})
    return path


def save_rtdetr(path: Path) -> Path:
    """RT-DETR with seeded random weights."""
    from samcli.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.nn.tasks import RTDETRDetectionModel

    torch.manual_seed(0)
    model = RTDETRDetectionModel("rtdetr-resnet50.yaml", nc=3, verbose=False)
    model.args, model.task = {"task": "detect", "imgsz": 640}, "detect"
    torch.save({"model": model.half().eval(), "train_args": {"task": "detect", "imgsz": 640}}, path)
    return path


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
    from samcli.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.models.sam import build

    torch.manual_seed(0)
    model = build._build_sam2(**SMALL_SAM2) if size == "small" else getattr(build, f"build_sam2_{size}")()
    _enliven(model)
    torch.nn.init.normal_(model.no_mem_embed, std=0.5)  # as small as it is otherwise, forgetting it would not show
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:  # signed logits of a trained network's size
        head.layers[-1].weight.data.mul_(20)
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

"""Small models of the transformers library with seeded random weights, saved by its own classes: no network."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import torch

SWIN: dict[str, Any] = {
    "image_size": 64, "window_size": 4, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4],
}  # fmt: skip

WORDS = ("red", "blue", "car", "person", "cat", "dog", "bus", "a", "the", "##s")


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Coloured rectangles, so that neither the image nor its parts are all alike."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(6):
        top, left = random.integers(0, height), random.integers(0, width)
        image[top : top + height // 3 + 1, left : left + width // 3 + 1] = random.integers(0, 256, 3)
    return image


def bert_tokenizer(folder: Path) -> Any:
    """BERT's tokenizer with a few words and all letters; special tokens where Grounding DINO expects them."""
    from transformers import BertTokenizer

    vocabulary = [f"[unused{index}]" for index in range(1100)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for index, word in special.items():
        vocabulary[index] = word
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    for index, word in enumerate((*WORDS, *letters), 200):
        vocabulary[index] = word
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vocab.txt"
    file.write_text("\n".join(vocabulary) + "\n")
    return BertTokenizer(str(file), model_max_length=256)


def save_grounding_dino(folder: Path, *, kind: str = "GroundingDino", max_text_len: int = 64) -> Path:
    """Grounding DINO, or with `kind` MMGroundingDino: its scores raised so that it finds boxes."""
    import transformers
    from transformers import GroundingDinoImageProcessor, GroundingDinoProcessor, SwinConfig

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=SwinConfig(**SWIN),
        text_config={
            "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "vocab_size": 1100, "max_position_embeddings": 256,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=20, max_text_len=max_text_len,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    _enliven(model)
    image_processor = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 200})
    GroundingDinoProcessor(image_processor, bert_tokenizer(folder)).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _enliven(model: torch.nn.Module) -> None:
    """Give random values to weights that are zero when a network is made, and make its queries differ."""
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=1.0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
        elif ("class" in name or "mask_" in name) and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.0)


def clip_tokenizer(folder: Path, length: int = 16) -> Any:
    """CLIP's tokenizer of single letters: every word is spelled."""
    from transformers import CLIPTokenizer

    letters = list(string.ascii_lowercase + string.digits)
    tokens = ["<|pad|>", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length, pad_token="<|endoftext|>"
    )


def save_owl(folder: Path, *, kind: str = "OwlViT") -> Path:
    """OWL-ViT, or with `kind` Owlv2."""
    import transformers

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder)
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    last = len(tokenizer) - 1
    config = getattr(transformers, f"{kind}Config")(
        text_config={**small, "vocab_size": len(tokenizer), "bos_token_id": last - 1, "eos_token_id": last},
        vision_config={**small, "image_size": 96, "patch_size": 16},
        projection_dim=32,
    )
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    _enliven(model)
    image_processor = getattr(transformers, f"{kind}ImageProcessor")(size={"height": 96, "width": 96})
    getattr(transformers, f"{kind}Processor")(image_processor, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_omdet(folder: Path) -> Path:
    """OmDet-Turbo."""
    from transformers import (
        CLIPTextConfig,
        DetrImageProcessor,
        OmDetTurboConfig,
        OmDetTurboForObjectDetection,
        OmDetTurboProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder, 77)
    last = len(tokenizer) - 1
    config = OmDetTurboConfig(
        backbone_config=SwinConfig(**SWIN),
        text_config=CLIPTextConfig(
            hidden_size=48,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=48,
            vocab_size=len(tokenizer),
            bos_token_id=last - 1,
            eos_token_id=last,
        ),
        text_projection_in_dim=48,
        text_projection_out_dim=48,
        class_embed_dim=48,
        task_encoder_hidden_dim=32,
        num_queries=20,
        encoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[32, 64, 128],
        encoder_attention_heads=2,
        encoder_dim_feedforward=32,
        decoder_hidden_dim=32,
        decoder_num_heads=2,
        decoder_num_layers=2,
        decoder_dim_feedforward=32,
        image_size=96,
        cache_size=2,
        apply_layernorm_after_vision_backbone=False,
    )
    model = OmDetTurboForObjectDetection(config).eval()
    _enliven(model)
    image_processor = DetrImageProcessor(size={"height": 96, "width": 96}, do_pad=False)
    OmDetTurboProcessor(image_processor, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


IMAGES = {"size": {"height": 96, "width": 96}}
LABELS = {0: "N/A", 1: "person", 2: "N/A", 3: "red car", 4: "cat"}


def save_detr(folder: Path, kind: str) -> Path:
    """A detector of fixed classes by its class in the library: DETR, D-FINE, RT-DETR v2 or YOLOS."""
    import transformers

    torch.manual_seed(0)
    resnet = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], out_indices=[2, 3, 4]
    )
    rt = {
        "d_model": 32,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 32, 32],
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "decoder_layers": 2,
        "num_queries": 20,
        "num_denoising": 0,
        "decoder_in_channels": [32, 32, 32],
        "feat_strides": [8, 16, 32],
        "anchor_image_size": None,
    }
    options: dict[str, dict[str, Any]] = {
        "Detr": {
            "backbone_config": transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16, 32, 32], depths=[1, 1, 1, 1], out_indices=[4]
            ),
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "num_queries": 20,
        },
        "RTDetrV2": dict(backbone_config=resnet, **rt),
        "DFine": dict(backbone_config=resnet, **rt),
        "Yolos": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": [96, 96],
            "num_detection_tokens": 20,
        },
    }
    processors = {"Detr": "DetrImageProcessor", "Yolos": "YolosImageProcessor"}
    config = getattr(transformers, f"{kind}Config")(**options[kind], id2label=LABELS)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    _enliven(model)
    getattr(transformers, processors.get(kind, "RTDetrImageProcessor"))(**IMAGES).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_maskformer(folder: Path, kind: str) -> Path:
    """Mask2Former or MaskFormer."""
    import transformers

    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        **{**SWIN, "out_features": ["stage1", "stage2", "stage3", "stage4"], "out_indices": None}
    )
    if kind == "Mask2Former":
        config = transformers.Mask2FormerConfig(
            backbone_config=swin,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_layers=1,
            encoder_feedforward_dim=32,
            decoder_layers=2,
            dim_feedforward=32,
            num_attention_heads=2,
            num_queries=12,
            id2label=LABELS,
        )
        model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    else:
        config = transformers.MaskFormerConfig(
            backbone_config=swin,
            fpn_feature_size=32,
            mask_feature_size=32,
            id2label=LABELS,
            decoder_config=transformers.DetrConfig(
                d_model=32,
                decoder_layers=1,
                decoder_ffn_dim=32,
                decoder_attention_heads=2,
                num_queries=12,
                encoder_layers=1,
                encoder_attention_heads=2,
                encoder_ffn_dim=32,
            ),
        )
        model = transformers.MaskFormerForInstanceSegmentation(config).eval()
    _enliven(model)
    getattr(transformers, f"{kind}ImageProcessor")(**IMAGES).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_rf_detr(folder: Path, kind: str = "ObjectDetection") -> Path:
    """RF-DETR, or with `kind` InstanceSegmentation its segmenter."""
    import transformers

    torch.manual_seed(0)
    config = transformers.RfDetrConfig(
        backbone_config=transformers.RfDetrDinov2Config(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=112,
            patch_size=14,
            out_indices=[2, 4],
            num_windows=1,
        ),
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=20,
        id2label=LABELS,
    )
    model = getattr(transformers, f"RfDetrFor{kind}")(config).eval()
    _enliven(model)
    transformers.RfDetrImageProcessor(size={"height": 112, "width": 112}).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_sam3(folder: Path, kind: str = "Sam3") -> Path:
    """SAM 3 for images."""
    import transformers

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder, 32)
    last = len(tokenizer) - 1
    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            **small,
            "num_hidden_layers": 2,
            "image_size": 112,
            "patch_size": 14,
            "window_size": 4,
            "global_attn_indexes": [1],
            "pretrain_image_size": 112,
        },
        "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    }
    config = transformers.Sam3Config(
        vision_config=vision,
        text_config={
            **small,
            "num_hidden_layers": 1,
            "vocab_size": len(tokenizer),
            "projection_dim": 32,
            "max_position_embeddings": 32,
            "bos_token_id": last - 1,
            "eos_token_id": last,
        },
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 2, "num_queries": 12},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2, "num_upsampling_stages": 3},
    )
    model = transformers.Sam3Model(config).eval()
    _enliven(model)
    image_processor = transformers.Sam3ImageProcessor(size={"height": 112, "width": 112})
    transformers.Sam3Processor(image_processor, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_sam3_video(folder: Path) -> Path:
    """The weights of `save_sam3` as the model for videos holds them, and one tensor of its tracker."""
    from safetensors.torch import load_file, save_file
    from transformers import Sam3Config, Sam3VideoConfig

    save_sam3(folder)
    tensors = load_file(folder / "model.safetensors")
    inner = {f"detector_model.{name}": tensor for name, tensor in tensors.items()}
    tracker = {"tracker_model.no_memory_embedding": torch.zeros(1, 1, 32)}
    save_file({**inner, **tracker}, folder / "model.safetensors", {"format": "pt"})
    config = Sam3VideoConfig(detector_config=Sam3Config.from_pretrained(folder).to_dict())
    config.architectures = ["Sam3VideoModel"]
    config.save_pretrained(folder)
    return folder


def save_sam_hq(folder: Path) -> Path:
    """SAM-HQ of 256 pixels."""
    from transformers import SamHQConfig, SamHQModel, SamImageProcessor, SamProcessor

    torch.manual_seed(0)
    config = SamHQConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 256,
            "patch_size": 16,
            "global_attn_indexes": [1],
            "window_size": 7,
            "mlp_dim": 64,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 256, "mask_input_channels": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
            "vit_dim": 32,
        },
    )
    model = SamHQModel(config).eval()
    _enliven(model)
    _share_positions(model)
    sizes = {"size": {"longest_edge": 256}, "pad_size": {"height": 256, "width": 256}}
    SamProcessor(SamImageProcessor(**sizes)).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_sam3_tracker(folder: Path) -> Path:
    """SAM 3's network for points and boxes, of 112 pixels."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Sam3TrackerConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "image_size": 112,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [1],
                "pretrain_image_size": 112,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "scale_factors": [4.0, 2.0, 1.0],
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 112, "patch_size": 14},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    model = transformers.Sam3TrackerModel(config).eval()
    _enliven(model)
    _share_positions(model)
    images = transformers.Sam3ImageProcessor(size={"height": 112, "width": 112})
    transformers.Sam3TrackerProcessor(images).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def save_sam2_folder(folder: Path, *, video: bool = False) -> Path:
    """SAM 2 of 256 pixels; `video`: as the model for videos, as Meta publishes it."""
    import transformers

    torch.manual_seed(0)
    vision = {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 32,
            "num_attention_heads": 2,
            "image_size": [256, 256],
            "blocks_per_stage": [1, 1, 3, 1],
            "embed_dim_per_stage": [32, 64, 128, 256],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 14, 7],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [256, 128, 64, 32],
        "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
    }
    kind = "Sam2Video" if video else "Sam2"
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision, prompt_encoder_config={"image_size": 256, "patch_size": 16}
    )
    model = getattr(transformers, f"{kind}Model")(config).eval()
    _enliven(model)
    _share_positions(model)
    transformers.Sam2Processor(transformers.Sam2ImageProcessor(size={"height": 256, "width": 256})).save_pretrained(
        folder
    )
    model.save_pretrained(folder)
    return folder


def save_edgetam(folder: Path) -> Path:
    """EdgeTAM of 256 pixels."""
    import transformers

    torch.manual_seed(0)
    config = transformers.EdgeTamConfig(
        vision_config={
            "backbone_config": {
                "model_type": "timm_wrapper",
                "num_classes": 2,
                "label_names": ["a", "b"],
                "architecture": "repvit_m1",
                "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
            },
            "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
        },
        prompt_encoder_config={"image_size": 256, "patch_size": 16},
    )
    model = transformers.EdgeTamModel(config).eval()
    _enliven(model)
    _share_positions(model)
    transformers.Sam2Processor(transformers.Sam2ImageProcessor(size={"height": 256, "width": 256})).save_pretrained(
        folder
    )
    model.save_pretrained(folder)
    return folder


def _share_positions(model: Any) -> None:
    """In every published checkpoint prompts and images have the same random positions."""
    positions = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding.data = positions.data.clone()

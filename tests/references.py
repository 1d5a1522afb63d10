"""The reference packages with the tests' checkpoints, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from samcli.sam.networks import load_network, read_checkpoint
from samcli.types import Image, ImageRef

segment_anything = pytest.importorskip("segment_anything")


def photo(path: Path, width: int, height: int) -> Image:
    pixels = np.asarray(PillowImage.open(path).convert("RGB").resize((width, height)))
    return Image(ImageRef(path.parent, path.name), pixels)


def reference(path: Path, image_size: int, dim: int = 64, depth: int = 2, heads: int = 2) -> object:
    """segment-anything's own network with the weights of a small_sam."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid, out = image_size // 16, 256
    sam = Sam(
        ImageEncoderViT(
            img_size=image_size, embed_dim=dim, depth=depth, num_heads=heads, out_chans=out, use_rel_pos=True,
            window_size=14 if grid > 14 else 7, global_attn_indexes=(depth - 1,), qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        ),
        PromptEncoder(out, (grid, grid), (image_size, image_size), 16),
        MaskDecoder(
            transformer_dim=out, transformer=TwoWayTransformer(2, out, 8, 512), iou_head_depth=3,
            iou_head_hidden_dim=out,
        ),
    )  # fmt: skip
    sam.load_state_dict(torch.load(path, weights_only=True))
    return segment_anything.SamPredictor(sam.eval())


def mobile_reference(path: Path) -> object:
    """A MobileSAM checkpoint in segment-anything's own network, but for the encoder, which it does not have."""
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    sam = Sam(
        load_network(path).image_encoder,
        PromptEncoder(256, (64, 64), (1024, 1024), 16),
        MaskDecoder(
            transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048), iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )  # fmt: skip
    missing = sam.load_state_dict(read_checkpoint(path).tensors, strict=True)
    assert not missing.missing_keys
    return segment_anything.SamPredictor(sam.eval())


def resized(path: Path, width: int, height: int) -> Image:
    with PillowImage.open(path) as opened:
        return Image(ImageRef(path.parent, path.name), np.asarray(opened.convert("RGB").resize((width, height))))


def tiny_reference() -> object:
    """The embedded tiny network inside segment-anything's own `Sam`: trained, so that filters have work."""
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    from samcli.checkpoints.registry import find_weights
    from samcli.sam.networks import load_network

    network = load_network(find_weights("tiny", "sam").path)
    state = {**network.prompt_encoder.state_dict(prefix="prompt_encoder.")}
    state |= network.mask_decoder.state_dict(prefix="mask_decoder.")
    dim, side = state["mask_decoder.iou_token.weight"].shape[1], network.image_size
    heads = state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0]
    mlp = state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0]
    prompt_encoder = PromptEncoder(dim, (side // 16, side // 16), (side, side), 16)
    decoder = MaskDecoder(
        transformer_dim=dim, transformer=TwoWayTransformer(2, dim, 8, mlp), iou_head_depth=3,
        iou_head_hidden_dim=heads,
    )  # fmt: skip
    network.image_encoder.img_size = side
    sam = Sam(network.image_encoder, prompt_encoder, decoder)
    missing = sam.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith(("image_encoder.", "pixel_")) for name in missing.missing_keys)
    return segment_anything.SamPredictor(sam.eval())


def generated(predictor, image: Image, **options) -> list[dict]:
    torch.set_num_threads(1)
    generator = segment_anything.SamAutomaticMaskGenerator(predictor.model, **options)
    return generator.generate(image.pixels)


def fastsam_reference(path: Path, image: Image, **options: object):
    """What Ultralytics finds, with its own defaults where none is given."""
    from ultralytics import FastSAM

    bgr = np.ascontiguousarray(image.pixels[..., ::-1])
    (result,) = FastSAM(path)(bgr, retina_masks=True, verbose=False, **options)
    return result


def masks_of(result) -> list[np.ndarray]:
    return list(result.masks.data.numpy().astype(bool)) if len(result) else []

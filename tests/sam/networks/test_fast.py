"""The fast forwards give what the stock modules give, with weights and positions that matter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from precisions import needs_bf16
from torch import nn

from samcli.checkpoints.ultralytics_setup import prepare_ultralytics
from samcli.sam.networks import fast_decoder, fast_vit, kernels
from samcli.sam.networks.fast import decoder_forward, encoder_forward

prepare_ultralytics()
from ultralytics.models.sam.modules.decoders import MaskDecoder  # noqa: E402
from ultralytics.models.sam.modules.encoders import ImageEncoderViT, PromptEncoder  # noqa: E402
from ultralytics.models.sam.modules.tiny_encoder import TinyViT  # noqa: E402
from ultralytics.models.sam.modules.transformer import TwoWayTransformer  # noqa: E402


@pytest.fixture(autouse=True)
def inference() -> object:
    with torch.inference_mode():
        yield


def vit(size: int, window: int, *, dim: int = 48, heads: int = 3, qkv_bias: bool = True) -> nn.Module:
    """A ViT of three blocks, the middle one global, whose positions change its embedding by as much as it is."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=size, embed_dim=dim, depth=3, num_heads=heads, out_chans=32, window_size=window,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, qkv_bias=qkv_bias, global_attn_indexes=(1,),
    )  # fmt: skip
    for name, weight in encoder.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            weight.normal_()
        elif name.endswith("bias"):
            weight.normal_(std=0.2)
        elif "qkv" in name:
            weight.mul_(3)
    return encoder.eval()


def tinyvit(size: int) -> nn.Module:
    torch.manual_seed(0)
    encoder = TinyViT(
        img_size=size, num_classes=0, embed_dims=(16, 32, 64, 320), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4),
        window_sizes=(7, 7, 14, 7), drop_path_rate=0.0,
    )  # fmt: skip
    for name, tensor in [*encoder.named_parameters(), *encoder.named_buffers()]:
        if "attention_biases" in name or name.endswith(("bn.bias", "running_mean", "norm.bias")):
            tensor.normal_(std=0.5)
        elif name.endswith(("bn.weight", "running_var")):
            tensor.uniform_(0.5, 2)
    return encoder.eval()


def images(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert float(wanted.std()) > 1e-3, "the stock forward must say something"
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.max() - wanted.min())


VITS = [(256, 7, True), (256, 16, True), (320, 14, True), (176, 4, False), (128, 8, True)]


@pytest.mark.parametrize(("size", "window", "qkv_bias"), VITS)
def test_vit__is_the_stock_forward(size, window, qkv_bias) -> None:
    encoder = vit(size, window, qkv_bias=qkv_bias)
    batch = images(2, size)
    assert_same(encoder_forward(encoder)(batch), encoder(batch))


def test_vit__positions_matter_to_the_other_tests() -> None:
    encoder, batch = vit(256, 7), images(1, 256)
    before = encoder(batch)
    for block in encoder.blocks:
        block.attn.rel_pos_h.zero_()
    assert float((encoder(batch) - before).abs().max()) > 0.05 * float(before.max() - before.min())


@pytest.mark.parametrize("scores", [1, 3000, 64 << 10, 1 << 30])
def test_vit__does_not_depend_on_the_size_of_its_tiles(monkeypatch, scores) -> None:
    encoder, batch = vit(176, 4), images(2, 176)
    monkeypatch.setattr(fast_vit, "CACHE_BYTES", scores)
    assert_same(encoder_forward(encoder)(batch), encoder(batch))


@pytest.mark.parametrize(("size", "window", "qkv_bias"), VITS)
def test_vit__attention_of_gpus_is_the_stock_forward(monkeypatch, size, window, qkv_bias) -> None:
    encoder, batch = vit(size, window, qkv_bias=qkv_bias), images(2, size)
    monkeypatch.setattr(fast_vit, "_attend_in_tiles", fast_vit._attend_folded)
    assert_same(encoder_forward(encoder)(batch), encoder(batch))


def test_vit__takes_other_sizes_than_it_was_trained_for() -> None:
    encoder, batch = vit(256, 7), images(1, 192)
    assert_same(encoder_forward(encoder)(batch), encoder(batch))


@pytest.mark.parametrize("size", [224, 256, 448])
def test_tinyvit__is_the_stock_forward(size) -> None:
    encoder, batch = tinyvit(size), images(2, size)
    assert_same(encoder_forward(encoder)(batch), encoder(batch))


@needs_bf16
@pytest.mark.parametrize("network", [lambda: vit(256, 7), lambda: tinyvit(256)])
def test_encoders__are_as_close_in_bf16_as_the_stock_forward(network: Callable[[], nn.Module]) -> None:
    encoder, batch = network(), images(1, 256)
    exact = encoder(batch)
    rounded, batch = encoder.bfloat16().eval(), batch.bfloat16()
    theirs, ours = (
        float((forward(batch).float() - exact).norm()) for forward in (rounded, encoder_forward(rounded))
    )
    assert 0 < ours <= 1.2 * theirs


@pytest.fixture
def decoder() -> nn.Module:
    torch.manual_seed(0)
    decoder = MaskDecoder(
        transformer_dim=64, transformer=TwoWayTransformer(2, 64, 8, 96), iou_head_depth=3, iou_head_hidden_dim=32
    )
    for name, weight in decoder.named_parameters():
        if name.endswith("bias"):
            weight.normal_(std=0.5)
        elif "norm" in name:
            weight.uniform_(0.5, 2)
        elif "_proj" in name:
            weight.mul_(2)  # attention that tells places apart
    return decoder.eval()


def prompted(kind: str, count: int = 5) -> tuple[torch.Tensor, ...]:
    """Embedding, position, sparse and dense prompts, as the engine hands them on."""
    torch.manual_seed(2)
    encoder = PromptEncoder(64, (12, 12), (192, 192), 16)
    points = (torch.rand(count, 3, 2) * 192, torch.randint(0, 2, (count, 3))) if "points" in kind else None
    boxes = torch.rand(count, 4) * 192 if "boxes" in kind else None
    masks = torch.randn(count, 1, 48, 48) * 4 if "masks" in kind else None
    sparse, dense = encoder(points, boxes, masks)
    return torch.randn(1, 64, 12, 12), encoder.get_dense_pe(), sparse, dense if masks is not None else dense[:1]


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", ["points", "boxes", "points and boxes", "masks", "boxes and masks"])
@pytest.mark.parametrize("tile", [1, 12 * 12 * 64 * 4 * 2, 1 << 30])
def test_decoder__is_the_stock_forward(monkeypatch, decoder, kind, multimask, tile) -> None:
    monkeypatch.setattr(fast_decoder, "_TILE_BYTES", tile)
    inputs = prompted(kind)
    masks, quality = decoder(*inputs, multimask)
    found, predicted = decoder_forward(decoder)(*inputs, multimask)
    assert masks.shape[1] == (3 if multimask else 1)
    assert_same(found, masks)
    torch.testing.assert_close(predicted, quality, atol=1e-5, rtol=1e-5)


class OtherDecoder(MaskDecoder):
    """May override anything."""


@pytest.mark.parametrize("kind_of_decoder", [MaskDecoder, OtherDecoder])
@pytest.mark.parametrize("kind", ["points", "boxes and masks"])
@pytest.mark.parametrize("tile", [1, 12 * 12 * 64 * 4 * 2, 1 << 30])
def test_decoder__makes_the_same_masks_of_promising_prompts_and_of_those_alone(
    monkeypatch, decoder, kind, tile, kind_of_decoder
) -> None:
    monkeypatch.setattr(fast_decoder, "_TILE_BYTES", tile)
    decoder.__class__ = kind_of_decoder
    predict = decoder_forward(decoder)
    inputs = prompted(kind, 7)
    masks, quality = decoder(*inputs, True)
    best = quality.amax(1)
    between = best.sort().values.unfold(0, 2, 1).mean(1)  # thresholds that leave 6, 5, ... 1 of 7
    for above, left in zip([-2e9, *between.tolist(), 2e9], range(7, -1, -1), strict=True):
        found, predicted = predict(*inputs, True, pred_iou_thresh=above)
        torch.testing.assert_close(predicted, quality, atol=1e-5, rtol=1e-5)
        assert found.shape == (left, *masks.shape[1:])
        if left:
            assert_same(found, masks[best > above])


@needs_bf16
def test_decoder__is_as_close_in_bf16_as_the_stock_forward(decoder) -> None:
    inputs = prompted("points and boxes", 16)
    exact, _ = decoder(*inputs, True)
    rounded, inputs = decoder.bfloat16(), tuple(tensor.bfloat16() for tensor in inputs)
    theirs, ours = (
        float((forward(*inputs, True)[0].float() - exact).norm()) for forward in (rounded, decoder_forward(rounded))
    )
    assert 0 < ours <= 1.2 * theirs


def test_forwards__of_modules_without_a_faster_one_are_their_own() -> None:
    class Other(ImageEncoderViT):
        """May override anything."""

    other = Other(img_size=64, embed_dim=16, depth=1, num_heads=1)
    assert encoder_forward(other) is other


@pytest.mark.parametrize(
    ("dtype", "avx512", "chosen"),
    [(torch.float32, True, True), (torch.float32, False, False), (torch.bfloat16, False, True)],
)
def test_kernels__take_onednn_for_fp32_with_avx512_only(monkeypatch, dtype, avx512, chosen) -> None:
    monkeypatch.setattr(kernels, "_onednn_works", lambda: True)
    monkeypatch.setattr(kernels, "_has_avx512", lambda: avx512)
    assert kernels._use_onednn(torch.zeros(2, 3, dtype=dtype)) == chosen


@pytest.mark.parametrize("works", [True, False])
def test_kernels__agree_with_pytorch_with_onednn_and_without(monkeypatch, works) -> None:
    if works and not kernels._onednn_works():
        pytest.skip("this PyTorch has no oneDNN operators")
    monkeypatch.setattr(kernels, "_onednn_works", lambda: works)
    monkeypatch.setattr(kernels, "_has_avx512", lambda: works)
    torch.manual_seed(0)
    x, weight, bias, add = torch.randn(2, 5, 8), torch.randn(6, 8), torch.randn(6), torch.randn(2, 5, 6)
    product = x @ weight.t() + bias
    torch.testing.assert_close(kernels.linear(x, weight, bias), product)
    torch.testing.assert_close(kernels.linear(x, weight.t().contiguous().t(), bias, add=add), product + add)
    torch.testing.assert_close(kernels.linear(x, weight, bias, gelu=True), nn.functional.gelu(product))
    wide = torch.randn(6, 3, 8)  # slices of other tensors come as they lie
    torch.testing.assert_close(kernels.linear(x[:, 1:4], wide[:, 1]), x[:, 1:4] @ wide[:, 1].t())
    y = torch.randn(2, 7, 8)
    torch.testing.assert_close(kernels.products(x, y), x @ y.transpose(1, 2))
    torch.testing.assert_close(kernels.products(x, y[:1]), x @ y[0].t())
    maps, filters = torch.randn(1, 9, 7, 4), torch.randn(4, 1, 3, 3)
    wanted = nn.functional.conv2d(maps.permute(0, 3, 1, 2), filters, bias[:4], 2, 1, groups=4).permute(0, 2, 3, 1)
    convolved = partial(kernels.convolution, maps, filters, bias[:4], stride=2, padding=1, groups=4)
    torch.testing.assert_close(convolved(), wanted)
    torch.testing.assert_close(convolved(gelu=True), nn.functional.gelu(wanted))

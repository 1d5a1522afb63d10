"""The engine gives the masks that segment-anything gives, for every kind of prompt and size of image."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from helpers import Bomb, iou, same
from precisions import needs_bf16
from references import mobile_reference, photo, reference

from samcli.errors import UsageError, WeightsError
from samcli.images import read_image
from samcli.sam.devices import choose_device, choose_precision
from samcli.sam.engine import Engine, load_sam
from samcli.sam.networks import load_network
from samcli.sam.networks.sam import longest_side
from samcli.types import Embedding, Image, Prompts

segment_anything = pytest.importorskip("segment_anything")


def boxes_in(image: Image) -> np.ndarray:
    height, width = image.image_size
    return np.array(
        [
            [2, 3, width * 0.4, height * 0.5],
            [width * 0.3, height * 0.2, width * 0.9, height],
            [0, 0, width, height],
        ],
        np.float32,
    )


@pytest.fixture(scope="module")
def engine(small_sam: Path) -> Engine:
    return load_sam(str(small_sam), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def predictor(small_sam: Path) -> object:
    return reference(small_sam, 256)


@pytest.mark.parametrize(("width", "height"), [(810, 1080), (200, 120), (256, 256), (333, 37)])
def test_segment__boxes_give_the_reference_masks(engine, predictor, photos, width, height) -> None:
    image = photo(photos[0], width, height)
    predictor.set_image(image.pixels)
    boxes = boxes_in(image)
    wanted, quality, _ = predictor.predict_torch(
        None, None, predictor.transform.apply_boxes_torch(torch.tensor(boxes), image.image_size), None, False
    )

    (embedding,) = engine.encode([image])
    segments = engine.segment(embedding, Prompts(boxes=boxes))

    assert torch.allclose(embedding.features, predictor.features[0], atol=1e-5)
    assert [segment.prompt for segment in segments] == [0, 1, 2]
    for segment, mask, predicted in zip(segments, wanted[:, 0].numpy(), quality[:, 0].tolist(), strict=True):
        assert 0 < mask.mean() < 1, "the reference mask must say something"
        assert same(segment.mask.pixels(), mask)
        assert segment.predicted_iou == pytest.approx(predicted, abs=1e-5)


def test_segment__points_and_multimask_give_the_reference_masks(engine, predictor, photos) -> None:
    image = photo(photos[1], 640, 360)
    predictor.set_image(image.pixels)
    points = np.array([[[100, 50], [300, 200]], [[20, 300], [600, 10]]], np.float32)
    labels = np.array([[1, 0], [1, 1]])
    wanted, quality, low = predictor.predict_torch(
        predictor.transform.apply_coords_torch(torch.tensor(points), image.image_size), torch.tensor(labels)
    )

    segments = engine.segment(
        engine.encode([image])[0],
        Prompts(points=points, point_labels=labels),
        multimask=True,
        return_logits=True,
    )

    assert [(s.prompt, s.token) for s in segments] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    for index, segment in enumerate(segments):
        assert iou(segment.mask.pixels(), wanted[index // 3, index % 3].numpy()) >= 0.9999
        assert segment.predicted_iou == pytest.approx(float(quality[index // 3, index % 3]), abs=1e-5)
        np.testing.assert_allclose(segment.low_res_logits, low[index // 3, index % 3].numpy(), atol=1e-4)


def test_segment__box_with_points_and_a_previous_mask_gives_the_reference_mask(engine, predictor, photos) -> None:
    image = photo(photos[0], 400, 300)
    predictor.set_image(image.pixels)
    logits = np.random.default_rng(0).normal(0, 5, (1, 64, 64)).astype(np.float32)
    box, point = np.array([30, 40, 300, 250]), np.array([[120, 100]])
    wanted, quality, _ = predictor.predict(point, np.array([1]), box, logits, multimask_output=False)

    (segment,) = engine.segment(
        engine.encode([image])[0],
        Prompts(boxes=box[None], points=point[None], point_labels=[[1]], mask_logits=logits),
    )

    assert iou(segment.mask.pixels(), wanted[0]) >= 0.9999
    assert segment.predicted_iou == pytest.approx(float(quality[0]), abs=1e-5)


def test_segment__stability_is_metas_stability_score(engine, predictor, photos) -> None:
    from segment_anything.utils.amg import calculate_stability_score

    image = photo(photos[0], 300, 400)
    predictor.set_image(image.pixels)
    boxes = boxes_in(image)
    logits, _, _ = predictor.predict_torch(
        None,
        None,
        predictor.transform.apply_boxes_torch(torch.tensor(boxes), image.image_size),
        None,
        False,
        True,
    )
    offset = float(logits.abs().median()) / 4  # untrained logits are small: an offset that tells them apart
    wanted = calculate_stability_score(logits[:, 0], 0.0, offset)

    segments = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes), stability_offset=offset)

    assert 0.01 < float(wanted.min()) < 0.99
    assert [s.stability for s in segments] == pytest.approx(wanted.tolist(), abs=1e-4)


def test_segment__chunks_give_the_same_masks_as_one_batch(engine, photos) -> None:
    (embedding,) = engine.encode([photo(photos[0], 300, 400)])
    boxes = np.array([[10 * i, 5 * i, 10 * i + 100, 5 * i + 90] for i in range(7)], np.float32)
    one_by_one = [engine.segment(embedding, Prompts(boxes=box[None]))[0].mask for box in boxes]

    together = engine.segment(embedding, Prompts(boxes=boxes))

    assert [s.prompt for s in together] == list(range(7))
    assert all(iou(a.pixels(), s.mask.pixels()) >= 0.9999 for a, s in zip(one_by_one, together, strict=True))


@pytest.mark.parametrize("at_once", [2, 3, 100])
def test_masks__are_the_same_however_many_are_made_together(engine, monkeypatch, at_once) -> None:
    """On a GPU many are, each in what all of them reach: far apart, whole, nowhere, and in the padding alone."""
    size = (120, 300)  # the lower part of the square is padding
    embedding = Embedding(torch.zeros(1), size, engine._network.frame(size).input_size, engine.model)
    logits = torch.full((7, 64, 64), -9.0)
    logits[0, 2:6, 3:8] = logits[1, 20:24, 50:60] = logits[2] = logits[4, 60:, :9] = logits[6, 10, 10] = 5
    logits += torch.rand(7, 64, 64, generator=torch.Generator().manual_seed(0))
    alone = list(engine._finish(embedding, logits, 1.0, 0.0))
    assert [bool(mask.area) for mask, _ in alone] == [True, True, True, False, False, False, True]
    monkeypatch.setattr(type(engine), "_masks_at_once", lambda self, size: at_once)
    assert list(engine._finish(embedding, logits, 1.0, 0.0)) == alone


def test_masks_made_together__do_not_keep_what_the_others_reach(engine, monkeypatch) -> None:
    from samcli.sam.engine import _reached, _threshold

    size = (600, 900)
    embedding = Embedding(torch.zeros(1), size, engine._network.frame(size).input_size, engine.model)
    logits = torch.full((2, 64, 64), -9.0)
    logits[0, :2, :2] = logits[1, 40:, 60:] = 5
    axes = engine._axes(embedding, logits)
    for found in _threshold(logits, _reached(logits, axes, -1.0), axes, 1.0):
        assert found.pixels.untyped_storage().nbytes() == found.pixels.numel() < 600 * 900 / 10


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (20, 20), (64, 64), (100, 37), (30, 400), (700, 900)])
def test_masks_of_images_of_any_size__are_torchs_two_resizes_cut_at_zero(engine, size) -> None:
    generator = torch.Generator().manual_seed(2)
    frame = engine._network.frame(size)
    embedding = Embedding(torch.zeros(1), size, frame.input_size, engine.model)
    logits = -1.5 - torch.rand(60, 64, 64, generator=generator)
    for one in logits:
        row, column, height, width = (
            int(torch.randint(0, most, (), generator=generator)) for most in (64, 64, 9, 20)
        )
        one[row : row + height + 1, column : column + width + 1] = 5
    square = torch.nn.functional.interpolate(logits[:, None], (256, 256), mode="bilinear", align_corners=False)
    cut = square[..., : frame.input_size[0], : frame.input_size[1]]
    wanted = torch.nn.functional.interpolate(cut, size, mode="bilinear", align_corners=False)[:, 0]
    found = list(engine._finish(embedding, logits, 1.0, 0.0))
    assert len(found) == len(wanted)
    for (mask, stability), full in zip(found, wanted, strict=True):
        assert (mask.pixels() != (full > 0).numpy()).sum() <= 1
        assert stability == pytest.approx(float((full > 1).sum() / max(1, (full > -1).sum())), abs=0.02)


def test_masks__are_the_same_however_few_wait_to_be_fetched(engine, photos, monkeypatch) -> None:
    image = photo(photos[0], 300, 400)
    (embedding,) = engine.encode([image])
    wanted = engine.segment(embedding, Prompts(boxes=boxes_in(image)), multimask=True)
    monkeypatch.setattr("samcli.sam.engine._WAITING_PIXELS", 1000)
    found = engine.segment(embedding, Prompts(boxes=boxes_in(image)), multimask=True)
    assert [(s.mask, s.stability) for s in found] == [(s.mask, s.stability) for s in wanted]


def test_segment__halves_the_chunk_when_memory_is_full_and_says_so_once(
    small_sam, photos, monkeypatch, caplog
) -> None:
    engine = load_sam(str(small_sam), device="cpu", precision="fp32")
    engine._chunk = 8
    (embedding,) = engine.encode([photo(photos[0], 300, 400)])
    prompts = Prompts(boxes=np.tile(np.array([[10, 10, 90, 90]], np.float32), (12, 1)))
    wanted = engine.segment(embedding, prompts)
    seen, decode = [], engine._decode

    def small_device(embedding, part, *how):
        seen.append(len(part))
        if len(part) > 4:
            raise torch.OutOfMemoryError("full")
        return decode(embedding, part, *how)

    monkeypatch.setattr(engine, "_decode", small_device)
    segments = engine.segment(embedding, prompts)

    assert seen == [8, 4, 4, 4]
    assert [s.mask for s in segments] == [s.mask for s in wanted]
    assert sum("memory is full" in record.message for record in caplog.records) == 1


def test_encode__halves_the_batch_when_memory_is_full(small_sam, photos, monkeypatch) -> None:
    engine = load_sam(str(small_sam), device="cpu", precision="fp32")
    monkeypatch.setattr(engine, "device", torch.device("meta"))  # any but a CPU: images go through together
    images = [photo(photos[0], 300, 400)] * 5
    seen = []

    def small_device(part):
        seen.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("full")
        return [object()] * len(part)

    monkeypatch.setattr(engine, "_encode_together", small_device)

    assert len(engine.encode(images)) == 5
    assert seen == [5, 2, 2, 1]


def test_encode__one_image_too_large_for_the_device_is_an_error(small_sam, photos, monkeypatch) -> None:
    engine = load_sam(str(small_sam), device="cpu", precision="fp32")

    def full(part):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(engine, "_encode_together", full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.encode([photo(photos[0], 300, 400)])


def test_encode__does_not_depend_on_the_other_images_on_a_cpu(engine, photos) -> None:
    images = [photo(photos[0], 300, 400), photo(photos[1], 640, 360)]
    alone = [engine.encode([image])[0].features for image in images]
    assert all(torch.equal(a, e.features) for a, e in zip(alone, engine.encode(images), strict=True))


def test_segment__refuses_another_models_embedding(engine, photos) -> None:
    (embedding,) = engine.encode([photo(photos[0], 300, 400)])
    other = type(embedding)(embedding.features, embedding.image_size, embedding.input_size, "another")
    with pytest.raises(UsageError, match="made by model another"):
        engine.segment(other, Prompts(boxes=[[0, 0, 9, 9]]))


@needs_bf16
def test_bf16__masks_stay_close_to_exact_ones(small_sam, engine, photos) -> None:
    image = photo(photos[0], 810, 1080)
    exact = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes_in(image)))
    fast = load_sam(str(small_sam), device="cpu", precision="bf16")
    rounded = fast.segment(fast.encode([image])[0], Prompts(boxes=boxes_in(image)))
    assert all(iou(a.mask.pixels(), b.mask.pixels()) > 0.9 for a, b in zip(exact, rounded, strict=True))


def test_mobile_sam__gives_the_masks_of_the_same_network_in_segment_anythings_predictor(
    checkpoints, photos
) -> None:
    path = weights.save_mobile_sam(checkpoints / "mobile.pt")
    network = load_network(path)
    assert (network.family, network.image_size) == ("sam-tinyvit", 1024)
    predictor = mobile_reference(path)
    image = read_image(photos[0])
    predictor.set_image(image.pixels)
    boxes = boxes_in(image)[:1]
    wanted, _, _ = predictor.predict(box=boxes[0], multimask_output=False)
    engine = Engine(network, "x", device="cpu", precision="fp32")

    (segment,) = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes))

    assert iou(segment.mask.pixels(), wanted[0]) >= 0.9999


@pytest.mark.slow
def test_vit_b__gives_the_reference_masks_on_photos_of_two_sizes(checkpoints, photos) -> None:
    path = weights.save_sam_vit_b(checkpoints / "vit_b.pth")
    sam = segment_anything.sam_model_registry["vit_b"](str(path)).eval()
    predictor, engine = (
        segment_anything.SamPredictor(sam),
        load_sam(str(path), device="cpu", precision="fp32"),
    )
    for image in (read_image(photos[1]), photo(photos[0], 240, 320)):
        predictor.set_image(image.pixels)
        boxes = boxes_in(image)[:2]
        wanted, quality, _ = predictor.predict_torch(
            None,
            None,
            predictor.transform.apply_boxes_torch(torch.tensor(boxes), image.image_size),
            None,
            False,
        )
        segments = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes))
        for index, segment in enumerate(segments):
            assert iou(segment.mask.pixels(), wanted[index, 0].numpy()) >= 0.9999
            assert segment.predicted_iou == pytest.approx(float(quality[index, 0]), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "dim", "depth", "heads", "global_blocks"),
    [
        ("vit_b", 768, 12, 12, [2, 5, 8, 11]),
        ("vit_l", 1024, 24, 16, [5, 11, 17, 23]),
        ("vit_h", 1280, 32, 16, [7, 15, 23, 31]),
    ],
)
def test_architecture__is_told_from_the_tensors_shapes(name, dim, depth, heads, global_blocks) -> None:
    from samcli.sam.networks.sam import _vit

    with torch.device("meta"):
        tensors = segment_anything.sam_model_registry[name]().state_dict()
        size, encoder = _vit(tensors)
    assert size == 1024
    assert (encoder.pos_embed.shape[-1], len(encoder.blocks)) == (dim, depth)
    assert encoder.blocks[0].attn.num_heads == heads
    assert [i for i, block in enumerate(encoder.blocks) if block.window_size == 0] == global_blocks
    assert {block.window_size for block in encoder.blocks} == {0, 14}
    assert {k: v.shape for k, v in encoder.state_dict().items()} == {
        k.removeprefix("image_encoder."): v.shape for k, v in tensors.items() if k.startswith("image_encoder.")
    }


@pytest.mark.parametrize("save", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_checkpoint__that_would_run_code_is_refused_and_runs_nothing(tmp_path, save) -> None:
    trace, path = tmp_path / "ran", tmp_path / "evil.pth"
    save({"image_encoder.x": Bomb(trace)}, path)
    with pytest.raises(WeightsError, match="refused"):
        load_network(path)
    assert not trace.exists()


def test_checkpoint__with_wrappers_and_prefixes_is_read(tmp_path, small_sam) -> None:
    tensors = torch.load(small_sam, weights_only=True)
    path = tmp_path / "tuned.pt"
    torch.save({"model": {f"module.{name}": t for name, t in tensors.items()}, "epoch": 3}, path)
    assert load_network(path).image_size == 256


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("mask_decoder.iou_token.weight"), "lacks the tensor"),
        (lambda t: t.update(extra=torch.zeros(1)), "does not fit"),
        (lambda t: t.pop("image_encoder.blocks.1.norm1.bias"), "does not fit"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith("prompt")], "holds no SAM network"),
    ],
)
def test_checkpoint__that_does_not_fit_exactly_is_refused(tmp_path, small_sam, change, reason) -> None:
    tensors = torch.load(small_sam, weights_only=True)
    change(tensors)
    path = tmp_path / "odd.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=reason):
        load_network(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_checkpoint__that_is_damaged_is_refused_in_one_line(tmp_path, content) -> None:
    path = tmp_path / "torn.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_frame__rounds_as_metas_resize_does() -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    for height, width in [(1080, 810), (427, 640), (3, 1000), (1024, 1023), (613, 517)]:
        wanted = ResizeLongestSide.get_preprocess_shape(height, width, 1024)
        assert longest_side((height, width), 1024).input_size == wanted


def test_device_and_precision__that_are_not_here_are_refused() -> None:
    with pytest.raises(UsageError, match="cuda:99"):
        choose_device("cuda:99")
    with pytest.raises(UsageError, match="needs a GPU"):
        choose_precision("fp16", torch.device("cpu"))


def test_bf16__on_a_cpu_without_instructions_for_it_is_refused_and_auto_avoids_it(monkeypatch) -> None:
    monkeypatch.setattr("samcli.sam.devices.cpu_computes_bf16", lambda: False)
    monkeypatch.setattr("samcli.sam.devices._has_bf16", lambda device: False)
    with pytest.raises(UsageError, match="use fp32 here"):
        choose_precision("bf16", torch.device("cpu"))
    assert choose_precision("auto", torch.device("cpu")) == "fp32"

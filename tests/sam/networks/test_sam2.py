"""SAM 2 in the engine gives the masks of Ultralytics' SAM2Predictor on the same weights, for every prompt."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import weights
from helpers import iou, same
from PIL import Image as PillowImage
from precisions import BF16, needs_bf16
from safetensors.torch import load_file, save_file

from samcli.errors import WeightsError
from samcli.sam.engine import Engine, load_sam
from samcli.sam.networks import load_network
from samcli.sam.networks.sam2 import letterbox
from samcli.types import Image, ImageRef, Prompts, Segment

METADATA = {"heads": "2", "windows": "8,4,14,7", "global_blocks": "3", "img_size": "256"}


def photo(path: Path, width: int, height: int) -> Image:
    pixels = np.asarray(PillowImage.open(path).convert("RGB").resize((width, height)))
    return Image(ImageRef(path.parent, path.name), pixels)


def boxes_in(image: Image) -> np.ndarray:
    height, width = image.image_size
    return np.array(
        [[2, 3, width * 0.4, height * 0.5], [width * 0.3, height * 0.2, width * 0.9, height]], np.float32
    )


class Reference:
    """Ultralytics' own predictor. With its `conf` at 0 it drops no mask, as it otherwise does below .25."""

    def __init__(self, model: torch.nn.Module, image_size: int) -> None:
        from ultralytics.models.sam import SAM2Predictor

        settings = {"conf": 0.0, "imgsz": image_size, "save": False, "verbose": False, "device": "cpu"}
        self.predictor = SAM2Predictor(overrides=settings)
        self.predictor.setup_model(model, verbose=False)
        self.image: Image | None = None

    def __call__(self, image: Image, **prompts: object) -> tuple[np.ndarray, list[float]]:
        """Masks and their scores."""
        if image is not self.image:
            self.predictor.set_image(np.ascontiguousarray(image.pixels[..., ::-1]))  # it takes BGR
            self.image = image
        (result,) = self.predictor(**prompts)
        return result.masks.data.numpy(), result.boxes.conf.tolist()


def assert_same(segments: list[Segment], wanted: tuple[np.ndarray, list[float]]) -> None:
    masks, scores = wanted
    assert len(segments) == len(masks)
    for segment, mask, score in zip(segments, masks, scores, strict=True):
        assert 0.02 < mask.mean() < 0.98, "the reference mask must say something"
        assert same(segment.mask.pixels(), mask)
        assert segment.predicted_iou == pytest.approx(score, abs=1e-4)


@pytest.fixture(scope="module")
def engine(small_sam2: Path) -> Engine:
    return load_sam(str(small_sam2), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def reference(cache: Path) -> Reference:
    return Reference(weights.sam2(), 256)


# In the 64 x 64 logits these end at a whole pixel, at a half, at a quarter and at three quarters of one; then the
# size of the square, and one smaller than the logits.
SIZES = [(810, 1080), (640, 355), (512, 330), (333, 217), (256, 256), (50, 40)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_boxes__give_the_reference_masks_whatever_the_size(engine, reference, photos, width, height) -> None:
    image = photo(photos[0], width, height)

    (embedding,) = engine.encode([image])
    segments = engine.segment(embedding, Prompts(boxes=boxes_in(image)))

    wanted = reference(image, bboxes=boxes_in(image))
    assert_same(segments, wanted)
    features = reference.predictor.features
    assert torch.allclose(embedding.features, features["image_embed"][0], atol=1e-5)
    assert [tuple(level.shape) for level in embedding.high_res] == [(32, 64, 64), (64, 32, 32)]
    for level, theirs in zip(embedding.high_res, features["high_res_feats"], strict=True):
        assert torch.allclose(level, theirs[0], atol=1e-5)


@pytest.mark.parametrize(("width", "height"), [(500, 9), (2, 700)])
def test_boxes__give_the_reference_masks_in_images_thinner_than_a_position(
    engine, reference, photos, width, height
) -> None:
    image = photo(photos[0], width, height)
    box = np.array([[0, 0, width, height]], np.float32)
    masks, _ = reference(image, bboxes=box)
    (segment,) = engine.segment(engine.encode([image])[0], Prompts(boxes=box))
    assert iou(segment.mask.pixels(), masks[0]) >= 0.9999


def test_points__give_the_three_reference_masks(engine, reference, photos) -> None:
    image = photo(photos[1], 640, 360)
    points = np.array([[[100, 50], [300, 200]], [[20, 300], [600, 10]]], np.float32)
    labels = np.array([[1, 0], [1, 1]])

    segments = engine.segment(
        engine.encode([image])[0], Prompts(points=points, point_labels=labels), multimask=True
    )

    assert [(s.prompt, s.token) for s in segments] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert_same(segments, reference(image, points=points, labels=labels, multimask_output=True))


def test_boxes_with_points_and_earlier_masks__give_the_reference_masks(engine, reference, photos) -> None:
    image = photo(photos[0], 400, 300)
    points, labels = np.array([[[120, 100]], [[30, 250]]], np.float32), np.array([[1], [0]])
    logits = np.random.default_rng(0).normal(0, 5, (2, 64, 64)).astype(np.float32)
    embedding = engine.encode([image])[0]

    plain = engine.segment(embedding, Prompts(boxes=boxes_in(image)))
    pointed = engine.segment(embedding, Prompts(boxes_in(image), points, labels))
    refined = engine.segment(embedding, Prompts(boxes_in(image), points, labels, logits))

    assert_same(pointed, reference(image, bboxes=boxes_in(image), points=points, labels=labels))
    assert_same(refined, reference(image, bboxes=boxes_in(image), points=points, labels=labels, masks=logits))
    different = [[s.predicted_iou for s in segments] for segments in (plain, pointed, refined)]
    assert different[0] != pytest.approx(different[1], abs=1e-4)
    assert different[1] != pytest.approx(different[2], abs=1e-4)


def test_mask_logits__alone_give_the_reference_mask_also_for_several_objects(engine, reference, photos) -> None:
    """Ultralytics takes one object at a time here; two at once fail in its decoder."""
    image = photo(photos[0], 400, 300)
    logits = np.random.default_rng(0).normal(0, 5, (2, 64, 64)).astype(np.float32)

    segments = engine.segment(engine.encode([image])[0], Prompts(mask_logits=logits))

    for segment, one in zip(segments, logits, strict=True):
        assert_same([segment], reference(image, masks=one))


def test_low_res_logits__may_be_fed_back(engine, reference, photos) -> None:
    image = photo(photos[0], 400, 300)
    embedding = engine.encode([image])[0]
    boxes = boxes_in(image)
    first = engine.segment(embedding, Prompts(boxes=boxes), return_logits=True)
    logits = np.stack([segment.low_res_logits for segment in first])

    assert logits.shape == (2, 64, 64)
    assert_same(
        engine.segment(embedding, Prompts(boxes=boxes, mask_logits=logits)),
        reference(image, bboxes=boxes, masks=logits),
    )


def test_one_mask__is_the_best_of_three_where_the_first_is_not_stable(engine, photos) -> None:
    image = photo(photos[0], 400, 300)
    embedding, prompts = engine.encode([image])[0], Prompts(boxes=boxes_in(image))
    decoder = engine._network.mask_decoder
    singles, triples = engine.segment(embedding, prompts), engine.segment(embedding, prompts, multimask=True)
    best = [max(s.predicted_iou for s in triples if s.prompt == prompt) for prompt in (0, 1)]

    decoder.dynamic_multimask_via_stability = False
    always_first = engine.segment(embedding, prompts)
    decoder.dynamic_multimask_via_stability = True

    chosen, first = ([s.predicted_iou for s in segments] for segments in (singles, always_first))
    assert chosen != pytest.approx(first, abs=1e-6)
    for iou_chosen, iou_first, iou_best in zip(chosen, first, best, strict=True):
        assert iou_chosen == pytest.approx(iou_first) or iou_chosen == pytest.approx(iou_best)


def test_chunks_and_batches__change_nothing(engine, photos) -> None:
    images = [photo(photos[0], 300, 400), photo(photos[1], 640, 360)]
    boxes = np.array([[10 * i, 5 * i, 10 * i + 100, 5 * i + 90] for i in range(5)], np.float32)
    together = engine._encode_together(images)
    for image, embedding in zip(images, together, strict=True):
        (alone,) = engine.encode([image])
        assert torch.allclose(alone.features, embedding.features, atol=1e-4)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(alone.high_res, embedding.high_res, strict=True))
    one_by_one = [engine.segment(together[0], Prompts(boxes=box[None]))[0].mask for box in boxes]
    segments = engine.segment(together[0], Prompts(boxes=boxes))
    assert all(iou(a.pixels(), s.mask.pixels()) >= 0.9999 for a, s in zip(one_by_one, segments, strict=True))


@needs_bf16
def test_bf16__masks_stay_close_to_exact_ones(small_sam2, engine, photos) -> None:
    image = photo(photos[0], 810, 1080)
    exact = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes_in(image)))
    fast = load_sam(str(small_sam2), device="cpu", precision="bf16")
    rounded = fast.segment(fast.encode([image])[0], Prompts(boxes=boxes_in(image)))
    assert all(iou(a.mask.pixels(), b.mask.pixels()) > 0.9 for a, b in zip(exact, rounded, strict=True))


def check_published(size: str, path: Path, images: list[Image]) -> None:
    """The engine on a checkpoint of Ultralytics' form against the predictor on the network it was saved from."""
    engine = load_sam(str(weights.save_sam2(path, size)), device="cpu", precision="fp32")
    reference = Reference(weights.sam2(size), 1024)
    for image in images:
        boxes = boxes_in(image)
        embedding = engine.encode([image])[0]
        assert embedding.features.shape == (256, 64, 64)
        assert_same(engine.segment(embedding, Prompts(boxes=boxes)), reference(image, bboxes=boxes))
        assert_same(
            engine.segment(embedding, Prompts(boxes=boxes), multimask=True),
            reference(image, bboxes=boxes, multimask_output=True),
        )


@pytest.mark.slow
@pytest.mark.parametrize("size", ["t", "b"])
def test_published_sizes__give_the_reference_masks_on_photos(tmp_path, photos, size) -> None:
    images = [photo(photos[0], 810, 1080), photo(photos[1], 333, 217)]
    check_published(size, tmp_path / f"sam2.1_{size}.pt", images)


@pytest.mark.parametrize("size", [*"t", *(pytest.param(size, marks=pytest.mark.slow) for size in "sbl")])
def test_architecture__is_told_from_the_tensors_shapes(tmp_path, size) -> None:
    theirs = weights.sam2(size)
    path = weights.save_sam2(tmp_path / "renamed.pt", size)

    network = load_network(path)

    trunk, wanted = network.image_encoder.trunk_and_neck.trunk, theirs.image_encoder.trunk
    assert network.image_size == 1024
    assert [(b.window_size, b.attn.num_heads, b.dim_out, b.q_stride) for b in trunk.blocks] == [
        (b.window_size, b.attn.num_heads, b.dim_out, b.q_stride) for b in wanted.blocks
    ]
    assert trunk.stage_ends == wanted.stage_ends
    for module, name in ((trunk, "image_encoder.trunk"), (network.mask_decoder, "sam_mask_decoder")):
        loaded, saved = module.state_dict(), theirs.get_submodule(name).state_dict()
        assert loaded.keys() == saved.keys()
        assert all(torch.equal(loaded[key], saved[key]) for key in loaded)


def changed(path: Path, source: Path, change: object, metadata: dict[str, str] | None = None) -> Path:
    tensors = load_file(source)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path, METADATA if metadata is None else metadata)
    return path


def test_what_remembers_frames_of_a_video__may_be_missing(tmp_path, small_sam2, engine, photos) -> None:
    video = ("memory", "maskmem", "no_mem_pos_enc", "mask_downsample", "no_obj", "obj_ptr")

    def forget(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(video)]:
            tensors.pop(name)

    path = changed(tmp_path / "still.safetensors", small_sam2, forget)
    assert path.stat().st_size < 0.6 * small_sam2.stat().st_size
    image = photo(photos[0], 300, 400)
    still = load_sam(str(path), device="cpu", precision="fp32")
    assert torch.equal(still.encode([image])[0].features, engine.encode([image])[0].features)


def test_half_precision_tensors__are_computed_with_in_fp32(tmp_path, small_sam2) -> None:
    path = changed(
        tmp_path / "half.safetensors", small_sam2, lambda t: t.update({k: v.half() for k, v in t.items()})
    )
    network = load_network(path)
    for module in (network.image_encoder, network.prompt_encoder, network.mask_decoder):
        assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("no_mem_embed"), "lacks the tensor 'no_mem_embed'"),
        (lambda t: t.pop("sam_mask_decoder.iou_token.weight"), "lacks the tensor"),
        (lambda t: t.pop("image_encoder.trunk.pos_embed"), "lacks the tensor"),
        (lambda t: t.pop("image_encoder.trunk.blocks.1.norm1.bias"), "does not fit.*Missing key"),
        (lambda t: t.pop("sam_mask_decoder.conv_s0.weight"), "does not fit.*Missing key"),
        (lambda t: t.update(extra=torch.zeros(1)), "does not fit.*Unexpected key.*extra"),
        (lambda t: t.update({"image_encoder.trunk.pos_embed_window": torch.zeros(1, 32, 7, 7)}), "does not fit"),
        (lambda t: [t.pop(k) for k in list(t) if k.startswith("sam_prompt")], "holds no SAM network: found"),
    ],
)
def test_checkpoint__that_does_not_fit_exactly_is_refused(tmp_path, small_sam2, change, reason) -> None:
    path = changed(tmp_path / "odd.safetensors", small_sam2, change)
    with pytest.raises(WeightsError, match=reason):
        load_network(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, r"32 channels and 1\+1\+3\+1 blocks; known are 96 with 1\+2\+7\+2.*metadata heads"),
        ({"heads": "2"}, "need a .safetensors file with metadata"),
        (METADATA | {"heads": "3"}, "does not fit"),
        (METADATA | {"heads": "0"}, "does not fit"),
        (METADATA | {"heads": "many"}, "does not fit"),
        (METADATA | {"windows": "8,4"}, "does not fit"),
        (METADATA | {"windows": "8,4,14,0"}, "does not fit"),
        (METADATA | {"global_blocks": "6"}, "does not fit"),
        (METADATA | {"img_size": "250"}, "does not fit"),
        (METADATA | {"img_size": "0"}, "does not fit"),
    ],
)
def test_checkpoint__of_unknown_numbers_says_what_was_found(tmp_path, small_sam2, metadata, reason) -> None:
    path = changed(tmp_path / "other.safetensors", small_sam2, lambda tensors: None, metadata)
    with pytest.raises(WeightsError, match=reason) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_checkpoint__of_another_family_says_what_was_found_and_what_is_known(tmp_path) -> None:
    path = tmp_path / "sam3.pt"
    torch.save({"model": {"detector.backbone.x": torch.zeros(1), "tracker.maskmem": torch.zeros(1)}}, path)
    with pytest.raises(WeightsError, match=r"2 tensors named detector, tracker.*SAM 2\.1"):
        load_network(path)


def test_letterbox__is_ultralytics_letterbox(cache) -> None:
    from ultralytics.data.augment import LetterBox

    for height, width in [(1080, 810), (427, 640), (3, 1000), (1, 3000), (1024, 1023), (613, 517), (2048, 1365)]:
        pixels = np.zeros((height, width, 3), np.uint8)
        parameters = LetterBox((1024, 1024), auto=False, center=False).get_params({"img": pixels})
        frame = letterbox((height, width), 1024)
        assert frame.input_size == parameters["new_unpad"][::-1]
        assert frame.scale == parameters["ratio"]


def test_resize__is_opencvs_and_leaves_what_fits_alone(engine, photos) -> None:
    image = photo(photos[0], 200, 256)
    network = engine._network
    assert network.resize(image.pixels, (256, 200)) is image.pixels
    assert np.array_equal(network.resize(image.pixels, (128, 100)), cv2.resize(image.pixels, (100, 128)))


@pytest.mark.parametrize("precision", ["fp32", BF16])
def test_auto_annotate__labels_with_sam_2(annotate, small_sam2, photo_folder, precision) -> None:
    result = annotate(photo_folder, "--sam", small_sam2, "--precision", precision, "--json")
    assert result.exit_code == 0, result.stderr
    labels = photo_folder.parent / "labels"
    lines = [line.split() for file in labels.rglob("*.txt") for line in file.read_text().splitlines()]
    assert len(list(labels.rglob("*.txt"))) == 4
    assert len(lines) >= 4
    assert all(len(line) >= 7 and all(0 <= float(value) <= 1 for value in line[1:]) for line in lines)

"""SAM 1 checkpoints of the transformers library: the same weights are the same network, and give its masks.

The reference is transformers' own `SamModel` and `SamProcessor`. Where they are not Meta's arithmetic:
- the default image processor resizes with torchvision; Meta (and samcli) with Pillow, which transformers has too;
- its decoder's layer norms have an epsilon of 1e-6, Meta's 1e-5: low-resolution logits differ by some 1e-5, and
  where one is 0 to that many digits, so do pixels. The reference is given Meta's, and once its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from helpers import iou, same
from PIL import Image as PillowImage

from samcli.checkpoints.registry import find_weights, is_here
from samcli.config import MaskGeneratorOptions
from samcli.errors import WeightsError
from samcli.sam.engine import Engine, load_sam
from samcli.sam.mask_generator import everything
from samcli.sam.networks import load_network
from samcli.sam.networks.hugging_face import check_config, is_hugging_face_sam, to_meta_names
from samcli.types import Image, ImageRef, Prompts, Segment

transformers = pytest.importorskip("transformers")
pytest.importorskip("segment_anything")

BOXES = np.array([[20, 30, 150, 140], [100, 20, 290, 200], [0, 0, 320, 213]], np.float32)
POINTS = np.array([[[60, 80], [200, 60]], [[160, 100], [20, 200]], [[300, 10], [310, 200]]], np.float32)
LABELS = np.array([[1, 0], [1, 1], [1, 0]])


def exact(checkpoint: Path) -> Engine:
    return load_sam(str(checkpoint), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def image(photos: list[Path]) -> Image:
    pixels = np.asarray(PillowImage.open(photos[0]).convert("RGB").resize((320, 213)))
    return Image(ImageRef(photos[0].parent, "bus.jpg"), pixels)


@pytest.fixture(scope="module")
def engine(hugging_face_sam: Path) -> Engine:
    return exact(hugging_face_sam)


class Reference:
    """transformers' model and processor for a checkpoint of theirs."""

    def __init__(self, folder: Path, epsilon: float = 1e-5) -> None:
        config = transformers.SamConfig.from_pretrained(folder)
        config.mask_decoder_config.layer_norm_eps = epsilon
        self.model = transformers.SamModel.from_pretrained(folder, config=config).eval()
        self.side = self.model.config.vision_config.image_size
        module = transformers.models.sam  # the one that resizes with Pillow has its own name since 5.0
        kind = getattr(module, "SamImageProcessorPil", transformers.SamImageProcessor)
        self.processor = transformers.SamProcessor(kind(**self._sizes()))

    def _sizes(self) -> dict[str, object]:
        side = self.side
        return {"size": {"longest_edge": side}, "pad_size": {"height": side, "width": side}}

    @torch.inference_mode()
    def masks(
        self, image: Image, *, multimask: bool = False, mask_input: np.ndarray | None = None, **prompts: object
    ):
        """Masks (N, M, H, W) bool, predicted IoU (N, M), low-resolution logits (N, M, h, w)."""
        nested = {key: [np.asarray(value).tolist()] for key, value in prompts.items()}
        inputs = self.processor(PillowImage.fromarray(image.pixels), **nested, return_tensors="pt")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
        if mask_input is not None:
            inputs["input_masks"] = torch.from_numpy(mask_input)[:, None]
        answer = self.model(**inputs, multimask_output=multimask)
        (full,) = self.processor.image_processor.post_process_masks(
            answer.pred_masks, *sizes, pad_size=self._sizes()["pad_size"]
        )
        return full.numpy(), answer.iou_scores[0].numpy(), answer.pred_masks[0].numpy()


@pytest.fixture(scope="module")
def reference(hugging_face_sam: Path) -> Reference:
    return Reference(hugging_face_sam)


def assert_same(segments: list[Segment], wanted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    masks, quality, logits = wanted
    assert len(segments) == masks.shape[0] * masks.shape[1]
    for index, segment in enumerate(segments):
        at = divmod(index, masks.shape[1])
        assert 0 < masks[at].mean() < 1, "the reference mask must say something"
        np.testing.assert_allclose(segment.low_res_logits, logits[at], atol=1e-5, rtol=1e-5)
        assert segment.predicted_iou == pytest.approx(float(quality[at]), abs=1e-5)
        assert iou(segment.mask.pixels(), masks[at]) >= 0.9999 or (segment.mask.pixels() != masks[at]).sum() <= 2


# The same masks as transformers


def test_boxes__give_the_masks_of_transformers(engine, reference, image) -> None:
    segments = engine.segment(engine.encode([image])[0], Prompts(boxes=BOXES), return_logits=True)
    assert_same(segments, reference.masks(image, input_boxes=BOXES))


def test_points__give_the_masks_of_transformers(engine, reference, image) -> None:
    prompts = Prompts(points=POINTS, point_labels=LABELS)
    segments = engine.segment(engine.encode([image])[0], prompts, return_logits=True)
    assert_same(segments, reference.masks(image, input_points=POINTS, input_labels=LABELS))


def test_multimask__gives_all_three_masks_of_transformers(engine, reference, image) -> None:
    prompts = Prompts(points=POINTS[:, :1], point_labels=LABELS[:, :1])
    segments = engine.segment(engine.encode([image])[0], prompts, multimask=True, return_logits=True)
    wanted = reference.masks(image, multimask=True, input_points=POINTS[:, :1], input_labels=LABELS[:, :1])
    assert len(segments) == 9
    assert_same(segments, wanted)


def test_boxes_with_points__give_the_masks_of_transformers(engine, reference, image) -> None:
    prompts = Prompts(boxes=BOXES, points=POINTS, point_labels=LABELS)
    segments = engine.segment(engine.encode([image])[0], prompts, return_logits=True)
    assert_same(segments, reference.masks(image, input_boxes=BOXES, input_points=POINTS, input_labels=LABELS))


def test_mask_input__gives_the_mask_of_transformers(engine, reference, image) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (1, 64, 64)).astype(np.float32)
    prompts = Prompts(boxes=BOXES[:1], mask_logits=logits)
    embedding = engine.encode([image])[0]
    segments = engine.segment(embedding, prompts, return_logits=True)
    assert_same(segments, reference.masks(image, mask_input=logits, input_boxes=BOXES[:1]))
    (without,) = engine.segment(embedding, Prompts(boxes=BOXES[:1]), return_logits=True)
    assert np.abs(without.low_res_logits - segments[0].low_res_logits).max() > 0.01, "it must matter"


def test_transformers_own_epsilon__makes_no_difference_that_matters(engine, hugging_face_sam, image) -> None:
    segments = engine.segment(engine.encode([image])[0], Prompts(boxes=BOXES), return_logits=True)
    own = Reference(hugging_face_sam, epsilon=transformers.SamMaskDecoderConfig().layer_norm_eps)
    masks, _, logits = own.masks(image, input_boxes=BOXES)
    for segment, mask, theirs in zip(segments, masks[:, 0], logits[:, 0], strict=True):
        np.testing.assert_allclose(segment.low_res_logits, theirs, atol=1e-4)
        assert iou(segment.mask.pixels(), mask) >= 0.999


def test_default_processor__resizes_otherwise_and_agrees_where_pixels_are_equal(engine, reference, image) -> None:
    """torchvision's resize rounds other than Pillow's: an image that needs no resize has no such difference."""
    whole = Image(image.ref, np.asarray(PillowImage.fromarray(image.pixels).resize((256, 170))))
    sizes = reference._sizes()
    inputs = transformers.SamImageProcessor(**sizes)(PillowImage.fromarray(whole.pixels), return_tensors="pt")
    with torch.inference_mode():
        wanted = reference.model.get_image_embeddings(inputs["pixel_values"].float())[0]
    torch.testing.assert_close(engine.encode([whole])[0].features, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("side", "why"), [(320, "its grid is no multiple of its window"), (128, "less than a window")]
)
def test_other_image_size__gives_the_masks_of_transformers_and_of_meta(tmp_path, image, side, why) -> None:
    meta = weights.save_sam_vit(tmp_path / "sam.pth", image_size=side, window=14)
    folder = weights.save_sam_hugging_face(tmp_path / "folder", meta)
    engine = exact(folder)
    assert engine.side == side
    (embedding,) = engine.encode([image])
    assert embedding.features.shape == (256, side // 16, side // 16)
    segments = engine.segment(embedding, Prompts(boxes=BOXES), return_logits=True)
    assert_same(segments, Reference(folder).masks(image, input_boxes=BOXES))
    assert torch.equal(exact(meta).encode([image])[0].features, embedding.features)


@pytest.mark.slow
def test_vit_b__gives_the_masks_of_transformers(tmp_path, image) -> None:
    folder = weights.save_sam_hugging_face(tmp_path / "folder", weights.save_sam_vit_b(tmp_path / "sam.pth"))
    engine = exact(folder)
    segments = engine.segment(engine.encode([image])[0], Prompts(boxes=BOXES), return_logits=True)
    assert_same(segments, Reference(folder).masks(image, input_boxes=BOXES))


# One set of weights, whatever form it is in


@pytest.fixture(scope="module")
def forms(small_sam: Path, hugging_face_sam: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    tensors = torch.load(small_sam, weights_only=True)
    torch.save({"model": tensors}, folder / "model.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, folder / "trained.pth")
    weights.save_sam_ultralytics(folder / "ultralytics.pt", small_sam)

    model = transformers.SamModel.from_pretrained(hugging_face_sam)
    model.save_pretrained(folder / "shards", max_shard_size="4MB")
    theirs = folder / "pickled"
    theirs.mkdir()
    shutil.copy(hugging_face_sam / "config.json", theirs)
    torch.save(model.state_dict(), theirs / "pytorch_model.bin")  # holds the shared positions twice
    return {
        "meta": small_sam,
        "meta, in 'model'": folder / "model.pth",
        "meta, in 'state_dict', with 'module.'": folder / "trained.pth",
        "ultralytics": folder / "ultralytics.pt",
        "hugging face folder": hugging_face_sam,
        "hugging face file": hugging_face_sam / "model.safetensors",
        "hugging face shards": folder / "shards",
        "hugging face index": folder / "shards" / "model.safetensors.index.json",
        "hugging face pickle": theirs,
    }


def test_every_form__gives_the_same_embedding_and_masks_to_the_bit(forms, image) -> None:
    assert len(list(forms["hugging face shards"].glob("*.safetensors"))) > 2
    prompts = Prompts(boxes=BOXES, points=POINTS, point_labels=LABELS)
    answers = {}
    for name, path in forms.items():
        engine = exact(path)
        (embedding,) = engine.encode([image])
        answers[name] = embedding.features, engine.segment(embedding, prompts, return_logits=True)
    features, segments = answers.pop("meta")
    assert features.std() > 0.01
    for name, (others, their_segments) in answers.items():
        assert torch.equal(features, others), name
        for mine, theirs in zip(segments, their_segments, strict=True):
            assert np.array_equal(mine.low_res_logits, theirs.low_res_logits), name
            assert np.array_equal(mine.mask.pixels(), theirs.mask.pixels()), name


def test_folder__is_identified_by_the_content_of_its_files(forms, tmp_path) -> None:
    folder, file = forms["hugging face folder"], forms["hugging face file"]
    assert is_here(str(folder))
    assert find_weights(str(folder), "sam").sha256 == find_weights(str(file), "sam").sha256
    shards = find_weights(str(forms["hugging face shards"]), "sam")
    assert shards.sha256 == find_weights(str(forms["hugging face index"]), "sam").sha256
    copy = tmp_path / "copy"
    shutil.copytree(shards.path, copy)
    assert find_weights(str(copy), "sam").sha256 == shards.sha256, "wherever it lies"
    (copy / "README.md").write_text("a card")
    assert find_weights(str(copy), "sam").sha256 == shards.sha256, "whatever lies beside it"
    part = max(copy.glob("*.safetensors"))
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    assert find_weights(str(copy), "sam").sha256 != shards.sha256


def test_command_line__takes_a_folder(annotate, photo_folder, small_sam, hugging_face_sam, tmp_path) -> None:
    assert annotate(photo_folder, "-o", tmp_path / "meta", "-q").exit_code == 0
    assert annotate(photo_folder, "-o", tmp_path / "theirs", "--sam", hugging_face_sam, "-q").exit_code == 0
    labels = {path.name: path.read_text() for path in (tmp_path / "meta").glob("*.txt")}
    assert any(labels.values())
    assert {path.name: path.read_text() for path in (tmp_path / "theirs").glob("*.txt")} == labels
    recipe = json.loads((tmp_path / "theirs/.samcli/run.json").read_text())["recipe"]
    assert recipe["sam"]["sha256"] == find_weights(str(hugging_face_sam), "sam").sha256


# What is refused


@pytest.fixture
def tensors(hugging_face_sam: Path) -> dict[str, torch.Tensor]:
    return dict(transformers.SamModel.from_pretrained(hugging_face_sam).state_dict())


def test_names__are_metas_each_once(tensors, small_sam) -> None:
    assert is_hugging_face_sam(tensors)
    meta = torch.load(small_sam, weights_only=True)
    assert not is_hugging_face_sam(meta)
    found = to_meta_names(tensors, "sam")
    assert found.keys() == meta.keys()
    assert len(tensors) == len(found) + 1
    assert all(torch.equal(found[name], meta[name]) for name in meta)


@pytest.mark.parametrize("kept", ["shared_image_embedding", "prompt_encoder.shared_embedding"])
def test_shared_positions__may_be_there_once_under_either_name(tensors, kept) -> None:
    positions = {name for name in tensors if name.endswith(".positional_embedding")}
    assert len(positions) == 2
    for name in positions - {f"{kept}.positional_embedding"}:
        del tensors[name]
    assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in to_meta_names(tensors, "sam")


def test_shared_positions__that_differ_are_an_error(tensors) -> None:
    name = "prompt_encoder.shared_embedding.positional_embedding"
    tensors[name] = tensors[name] + 1e-6
    with pytest.raises(WeightsError, match=r"sam is damaged: .*positional_embedding differs"):
        to_meta_names(tensors, "sam")


def test_tensor_that_sam_has_not__is_an_error_and_named(tensors) -> None:
    tensors["mask_decoder.hq_token.weight"] = torch.zeros(1, 256)
    with pytest.raises(WeightsError, match=r"1 of its \d+ tensors are not SAM 1's: mask_decoder.hq_token.weight"):
        to_meta_names(tensors, "sam")


def test_missing_tensor__is_an_error_and_named(tensors, tmp_path) -> None:
    from safetensors.torch import save_file

    del tensors["mask_decoder.upscale_conv2.bias"]
    save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"Missing key.*mask_decoder\.output_upscaling\.3\.bias"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "sam2"}, "type 'sam2'.*expected 'sam'"),
        (
            {"mask_decoder_config": {"num_attention_heads": 4}},
            "num_attention_heads 4 in mask_decoder_config; only 8",
        ),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act relu in vision_config; only gelu"),
    ],
)
def test_config__that_asks_for_another_network_is_refused(hugging_face_sam, tmp_path, change, reason) -> None:
    shutil.copytree(hugging_face_sam, tmp_path / "folder")
    config = json.loads((hugging_face_sam / "config.json").read_text())
    check_config(config, "sam")
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    for path in (tmp_path / "folder", tmp_path / "folder" / "model.safetensors"):
        with pytest.raises(WeightsError, match=reason):
            load_network(path)


def test_config__may_be_missing(hugging_face_sam, tmp_path) -> None:
    shutil.copy(hugging_face_sam / "model.safetensors", tmp_path)
    assert load_network(tmp_path).image_size == 256


@pytest.mark.parametrize("text", ["{", "[]"])
def test_config__that_cannot_be_read_is_an_error(hugging_face_sam, tmp_path, text) -> None:
    shutil.copy(hugging_face_sam / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json (cannot be read|holds a list)"):
        load_network(tmp_path)


def test_pickle_that_would_run_code__is_refused_in_a_folder_too(tmp_path) -> None:
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weights": Runs()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="would run code"):
        load_network(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_folder_without_a_checkpoint__says_what_was_expected(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"holds no checkpoint; expected model\.safetensors"):
        find_weights(str(tmp_path), "sam")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (
            {"weight_map": {"a": "part-1.safetensors"}},
            "names the file 'part-1.safetensors', which is not beside it",
        ),
        ({"weight_map": {"a": "../secret.safetensors"}}, "names the file '../secret.safetensors'"),
        ({"weight_map": {}}, "names no file"),
        ({}, "is no index"),
        ([], "is no index"),
    ],
)
def test_index__that_is_not_whole_is_an_error(tmp_path, index, reason) -> None:
    (tmp_path / "secret.safetensors").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=reason):
        find_weights(str(folder), "sam")


def test_shards__that_hold_one_tensor_twice_are_an_error(forms, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(forms["hugging face shards"], copy)
    first, second = sorted(copy.glob("*.safetensors"))[:2]
    shutil.copy(first, second)
    with pytest.raises(WeightsError, match="in two of its files"):
        load_network(copy)


@pytest.mark.parametrize("crops", [0, 1])
def test_mask_generation_pipeline__agrees_with_everything_mode(engine, hugging_face_sam, image, crops: int) -> None:
    """Without crops: as many masks, in the same order, the same pixels. With crops it differs from Meta, and so
    from samcli: there is one NMS over all crops instead of one in each and another between them, so that of two
    alike masks another one may stay; what it finds is still the same.
    """
    reference = Reference(hugging_face_sam)
    generator = transformers.pipelines.MaskGenerationPipeline(
        model=reference.model, image_processor=reference.processor.image_processor
    )
    # Random weights give weak logits: only these thresholds let their masks through.
    wanted = generator(
        PillowImage.fromarray(image.pixels), points_per_crop=3, crops_n_layers=crops, pred_iou_thresh=-9.0,
        stability_score_thresh=0.01, stability_score_offset=0.01, crops_nms_thresh=1.0,
    )  # fmt: skip
    found = everything(
        engine,
        image,
        MaskGeneratorOptions(
            points_per_side=3, crop_n_layers=crops, pred_iou_thresh=-9.0, stability_score_thresh=0.01,
            stability_score_offset=0.01, box_nms_thresh=1.0, crop_nms_thresh=1.0,
        ),
    )  # fmt: skip
    masks = [np.asarray(mask) for mask in wanted["masks"]]
    assert len(found) == len(masks) >= 20
    if crops == 0:
        for mine, mask, score in zip(found, masks, wanted["scores"], strict=True):
            assert same(mine.mask.pixels(), mask)
            assert mine.quality.predicted_iou == pytest.approx(float(score), abs=1e-4)
    else:
        for mine in found:
            assert any(same(mine.mask.pixels(), mask) for mask in masks)

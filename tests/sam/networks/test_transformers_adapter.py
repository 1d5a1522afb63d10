"""Promptable models of the transformers library give the masks that the library's own forward gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import small_models as small
from small_models import pixels

from samcli.errors import WeightsError
from samcli.sam.engine import Engine, load_sam
from samcli.types import Image, ImageRef, Prompts

BOXES = np.array([[5, 5, 90, 70], [20, 10, 110, 90], [3, 60, 40, 90]], np.float32)
POINTS = np.array([[[20, 20], [60, 50]], [[100, 80], [9, 9]], [[60, 10], [5, 80]]], np.float32)
LABELS = np.array([[1, 0], [1, 1], [1, 0]])


def image(height: int = 97, width: int = 131) -> Image:
    return Image(ImageRef(Path(), "a.png"), pixels(1, height, width))


def library(folder: Path, class_name: str) -> Any:
    import transformers

    return getattr(transformers, class_name).from_pretrained(folder).eval()


def engine_of(folder: Path) -> Engine:
    return load_sam(str(folder), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory) -> Path:
    return small.save_sam3_tracker(tmp_path_factory.mktemp("models") / "tracker")


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_sam3_tracker__gives_the_librarys_masks(tracker: Path, kind: str, multimask: bool) -> None:
    from PIL.Image import fromarray
    from transformers import Sam3TrackerProcessor

    photo, engine = image(), engine_of(tracker)
    (embedding,) = engine.encode([photo])
    prompts = Prompts(boxes=BOXES) if kind == "boxes" else Prompts(points=POINTS, point_labels=LABELS)
    segments = engine.segment(embedding, prompts, multimask=multimask)
    processor = Sam3TrackerProcessor.from_pretrained(tracker)
    given = (
        {"input_boxes": [BOXES.tolist()]}
        if kind == "boxes"
        else {"input_points": [POINTS.tolist()], "input_labels": [LABELS.tolist()]}
    )
    inputs = processor(images=fromarray(photo.pixels), **given, return_tensors="pt")
    with torch.inference_mode():
        outputs = library(tracker, "Sam3TrackerModel")(**inputs, multimask_output=multimask)
    (masks,) = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    assert len(segments) == masks.flatten(0, 1).shape[0]
    for segment, mask, quality in zip(
        segments, masks.flatten(0, 1), outputs.iou_scores.flatten().tolist(), strict=True
    ):
        assert (segment.mask.pixels() != mask.numpy()).mean() < 1e-3
        assert segment.predicted_iou == pytest.approx(quality, abs=1e-5)
    assert any(0 < segment.mask.area < 97 * 131 for segment in segments)


def test_a_mask_as_prompt__is_each_objects_own(tracker: Path) -> None:
    engine = engine_of(tracker)
    (embedding,) = engine.encode([image()])
    first = engine.segment(embedding, Prompts(boxes=BOXES), return_logits=True)
    logits = np.stack([segment.low_res_logits for segment in first if segment.low_res_logits is not None])
    together = engine.segment(embedding, Prompts(boxes=BOXES, mask_logits=logits))
    for index, segment in enumerate(together):
        (alone,) = engine.segment(
            embedding, Prompts(boxes=BOXES[index : index + 1], mask_logits=logits[index : index + 1])
        )
        assert (segment.mask.pixels() != alone.mask.pixels()).mean() < 1e-3


def test_sam_hq__computes_as_the_library_on_metas_square(tmp_path: Path) -> None:
    folder = small.save_sam_hq(tmp_path / "hq")
    photo, engine = image(200, 256), engine_of(folder)
    (embedding,) = engine.encode([photo])
    segments = engine.segment(embedding, Prompts(boxes=BOXES), return_logits=True)
    square = engine._preprocess(photo, engine._network.frame(photo.image_size))[None]
    boxes = torch.from_numpy(BOXES)[None]
    with torch.inference_mode():
        outputs = library(folder, "SamHQModel")(pixel_values=square, input_boxes=boxes, multimask_output=False)
    for segment, logits, quality in zip(
        segments, outputs.pred_masks[0, :, 0], outputs.iou_scores.flatten().tolist(), strict=True
    ):
        assert segment.low_res_logits is not None
        assert np.allclose(segment.low_res_logits, logits.numpy(), rtol=1e-4, atol=1e-3)
        assert segment.predicted_iou == pytest.approx(quality, rel=1e-4)


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("multimask", [False, True])
def test_sam2_folders__are_the_engines_own_network(tmp_path: Path, video: bool, multimask: bool) -> None:
    folder = small.save_sam2_folder(tmp_path / "sam2", video=video)
    photo, engine = image(256, 256), engine_of(folder)
    assert engine.family == "sam2-hiera"
    (embedding,) = engine.encode([photo])
    segments = engine.segment(embedding, Prompts(boxes=BOXES), multimask=multimask, return_logits=True)
    square = engine._preprocess(photo, engine._network.frame(photo.image_size))[None]
    with torch.inference_mode():
        outputs = library(folder, "Sam2Model")(
            pixel_values=square, input_boxes=torch.from_numpy(BOXES)[None], multimask_output=multimask
        )
    logits = outputs.pred_masks.flatten(0, 2)
    assert len(segments) == len(logits)
    for segment, wanted in zip(segments, logits, strict=True):
        assert segment.low_res_logits is not None
        difference = np.abs(segment.low_res_logits - wanted.numpy()).max()
        assert difference < 1e-4 * float(wanted.abs().max())


def test_edgetam__gives_the_librarys_masks(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    from PIL.Image import fromarray
    from transformers import Sam2Processor

    folder = small.save_edgetam(tmp_path / "edgetam")
    photo, engine = image(), engine_of(folder)
    (embedding,) = engine.encode([photo])
    segments = engine.segment(embedding, Prompts(boxes=BOXES))
    processor = Sam2Processor.from_pretrained(folder)
    inputs = processor(images=fromarray(photo.pixels), input_boxes=[BOXES.tolist()], return_tensors="pt")
    with torch.inference_mode():
        outputs = library(folder, "EdgeTamModel")(**inputs, multimask_output=False)
    (masks,) = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
    for segment, mask in zip(segments, masks.flatten(0, 1), strict=True):
        assert (segment.mask.pixels() != mask.numpy()).mean() < 1e-3


def test_a_tensor_of_another_network__is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = small.save_sam2_folder(tmp_path / "sam2")
    file = folder / "model.safetensors"
    save_file({**load_file(file), "extra.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"not SAM 2's: extra\.weight"):
        load_sam(str(folder), device="cpu")


def test_another_networks_config__is_refused_in_a_line(tmp_path: Path) -> None:
    folder = small.save_sam_hq(tmp_path / "hq")
    config = (folder / "config.json").read_text().replace('"sam_hq"', '"edgetam"', 1)
    (folder / "config.json").write_text(config)
    with pytest.raises(WeightsError) as caught:
        load_sam(str(folder), device="cpu")
    assert "\n" not in str(caught.value)

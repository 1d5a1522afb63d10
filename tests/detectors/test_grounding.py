"""Grounding DINO's boxes are the library's; its classes are those of the prompts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from small_models import bert_tokenizer, pixels, save_grounding_dino

from samcli.detectors.grounding import captions
from samcli.detectors.loading import load_detector
from samcli.errors import UsageError
from samcli.labels.vocabulary import read_vocabulary
from samcli.types import Image, ImageRef

SIZES = ((97, 131), (97, 131), (60, 201), (131, 97))


@pytest.fixture(scope="module", params=["GroundingDino", "MMGroundingDino"])
def folder(request, tmp_path_factory) -> Path:
    return save_grounding_dino(tmp_path_factory.mktemp(request.param), kind=request.param)


def images(*sizes: tuple[int, int]) -> list[Image]:
    return [Image(ImageRef(Path(), f"{i}.png"), pixels(i, *size)) for i, size in enumerate(sizes)]


def by_the_library(folder: Path, image: Image, prompts: list[str], threshold: float):
    from PIL.Image import fromarray
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=[fromarray(image.pixels)], text=[prompts], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    (found,) = processor.post_process_grounded_object_detection(
        outputs, threshold=threshold, text_threshold=threshold, target_sizes=[image.image_size]
    )
    return found


@pytest.mark.parametrize("text", ["car", "red car, person, cat"])
def test_boxes_and_scores__are_those_of_the_library(folder: Path, text: str) -> None:
    prompts = [word.strip() for word in text.split(",")]
    photos = images(*SIZES)
    detector = load_detector(
        str(folder), conf=0.02, text_threshold=0.02, iou=1.0, device="cpu", vocabulary=read_vocabulary(text)
    )
    found = detector.detect(photos)
    assert detector.names == dict(enumerate(prompts))
    compared = 0
    for image, own in zip(photos, found, strict=True):
        theirs = by_the_library(folder, image, prompts, 0.02)
        named = np.array([bool(re.sub(r"\[SEP\]|[. ]", "", label)) for label in theirs["text_labels"]])
        order = np.argsort(-theirs["scores"].numpy(), kind="stable")
        boxes = theirs["boxes"].numpy()[order][named[order]]
        boxes = boxes.clip(0, (image.image_size * 2)[::-1])
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        assert np.allclose(own.boxes, boxes[inside], atol=1e-3)
        assert np.allclose(own.scores, theirs["scores"].numpy()[order][named[order]][inside], atol=1e-6)
        compared += len(own)
    assert compared > 10


def test_classes__agree_with_the_librarys_phrase_where_it_is_one_prompt(folder: Path) -> None:
    prompts = ["red car", "person", "cat"]
    image = images((97, 131))[0]
    options = {"conf": 0.02, "text_threshold": 0.02, "iou": 1.0, "device": "cpu"}
    (own,) = load_detector(str(folder), **options, vocabulary=read_vocabulary("red car, person, cat")).detect(
        [image]
    )
    theirs = by_the_library(folder, image, prompts, 0.02)
    for box, class_id in zip(own.boxes, own.class_ids, strict=True):
        place = int(np.abs(theirs["boxes"].numpy() - box).sum(1).argmin())
        phrase = theirs["text_labels"][place].replace(".", " ").split()
        if phrase and any(set(phrase) <= set(prompt.split()) for prompt in prompts):
            assert set(phrase) <= set(prompts[class_id].split())


def test_networks__see_a_text_once_a_run_and_an_image_once(tmp_path: Path) -> None:
    folder = save_grounding_dino(tmp_path / "small", max_text_len=8)
    detector = load_detector(
        str(folder), conf=0.0, device="cpu", vocabulary=read_vocabulary("red car, person, cat, dog")
    )
    network = detector.model.network.model
    counts = {"text": 0, "image": 0}
    for part, module in (("text", network.text_backbone.encoder), ("image", network.backbone.conv_encoder)):
        module.register_forward_hook(lambda *_, part=part: counts.update({part: counts[part] + 1}))
    detector.detect(images(*SIZES))
    assert len(detector._captions) == 2
    assert counts == {"text": 2, "image": len(SIZES)}


def test_captions__hold_every_prompt_once_and_never_too_many_tokens(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer(tmp_path)
    vocabulary = read_vocabulary(", ".join(f"car {'a' * (1 + i % 7)}{i}" for i in range(200)))
    made = list(captions(vocabulary, tokenizer, 64))
    assert [class_id for caption in made for class_id in caption.class_ids] == list(range(200))
    assert all(caption.tokens["input_ids"].shape[1] <= 64 for caption in made)
    for caption in made:
        spoken = [tokenizer.decode(caption.tokens["input_ids"][0][list(span)]) for span in caption.spans]
        assert all(words.startswith("car ") for words in spoken)


def test_captions__take_capitals_and_full_stops_for_what_the_model_reads(tmp_path: Path) -> None:
    (caption,) = captions(read_vocabulary("Red Car, no. 5"), bert_tokenizer(tmp_path), 64)
    text = bert_tokenizer(tmp_path).decode(caption.tokens["input_ids"][0])
    assert text.count(".") == 2 and "red car" in text


@pytest.mark.parametrize(("text", "said"), [("...", "no word"), ("car " * 70, "tokens")])
def test_captions__refuse_what_the_model_cannot_read(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list(captions(read_vocabulary(text), bert_tokenizer(tmp_path), 64))

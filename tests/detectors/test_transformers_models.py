"""Models of the transformers library find what its own processors make of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import small_models as small
from helpers import iou
from small_models import pixels

from samcli.detectors.loading import load_detector
from samcli.errors import UsageError, WeightsError
from samcli.labels.vocabulary import read_vocabulary
from samcli.types import Detections, Image, ImageRef

SIZES = ((97, 131), (97, 131), (33, 50), (131, 60))
CONF = 0.01


def images(*sizes: tuple[int, int]) -> list[Image]:
    return [Image(ImageRef(Path(), f"{i}.png"), pixels(i, *size)) for i, size in enumerate(sizes or SIZES)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model once for the module: `saved(save_owl, kind="Owlv2")`."""
    folders: dict[str, Path] = {}

    def save(how, *arguments: str, **options: str) -> Path:
        name = f"{how.__name__}-{'-'.join([*arguments, *options.values()])}"
        if name not in folders:
            folders[name] = how(tmp_path_factory.mktemp("models") / name, *arguments, **options)
        return folders[name]

    return save


def library(folder: Path, class_name: str) -> tuple[Any, Any]:
    import transformers

    return (
        getattr(transformers, class_name).from_pretrained(folder).eval(),
        transformers.AutoProcessor.from_pretrained(folder),
    )


def pil(image: Image):
    from PIL.Image import fromarray

    return fromarray(image.pixels)


def assert_same(own: Detections, boxes: Any, labels: Any, scores: Any, image: Image) -> None:
    """The same boxes, cut to the image, in the order of their scores; those without area left out."""
    boxes, labels, scores = (np.asarray(values) for values in (boxes, labels, scores))
    order = np.argsort(-scores, kind="stable")
    height, width = image.image_size
    boxes = boxes.reshape(-1, 4)[order].clip(0, (width, height, width, height))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    assert np.allclose(own.scores, scores[order][inside], atol=1e-5)
    assert np.allclose(own.boxes, boxes[inside], atol=2e-3)
    assert own.class_ids.tolist() == labels[order][inside].tolist()


@pytest.mark.parametrize("kind", ["OwlViT", "Owlv2"])
@pytest.mark.parametrize("text", ["car", "red car, Dog, a photo of a cat"])
def test_owl__finds_what_the_library_finds(saved, kind: str, text: str) -> None:
    folder = saved(small.save_owl, kind=kind)
    vocabulary = read_vocabulary(text)
    found = load_detector(str(folder), conf=CONF, iou=1.0, device="cpu", vocabulary=vocabulary).detect(images())
    model, processor = library(folder, f"{kind}ForObjectDetection")
    for image, own in zip(images(), found, strict=True):
        inputs = processor(images=[pil(image)], text=[list(vocabulary.prompts)], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs)
        (theirs,) = processor.post_process_grounded_object_detection(
            outputs, threshold=CONF, target_sizes=[image.image_size]
        )
        assert_same(own, theirs["boxes"], theirs["labels"], theirs["scores"], image)
    assert sum(map(len, found)) >= 4


@pytest.mark.parametrize("text", ["car", "red car, Dog, a photo of a cat"])
def test_omdet__finds_what_the_library_finds(saved, text: str) -> None:
    folder = saved(small.save_omdet)
    vocabulary = read_vocabulary(text)
    found = load_detector(str(folder), conf=CONF, iou=0.5, device="cpu", vocabulary=vocabulary).detect(images())
    model, processor = library(folder, "OmDetTurboForObjectDetection")
    for image, own in zip(images(), found, strict=True):
        inputs = processor(images=[pil(image)], text=[list(vocabulary.prompts)], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs)
        (theirs,) = processor.post_process_grounded_object_detection(
            outputs, threshold=CONF, nms_threshold=0.5, target_sizes=[image.image_size]
        )
        assert len(own) <= len(theirs["scores"])
        assert np.allclose(own.scores[:1], np.sort(theirs["scores"])[::-1][:1], atol=1e-5)
        pairs = {tuple(np.round(box, 1)) for box in theirs["boxes"].numpy()}
        assert all(tuple(np.round(box, 1)) in pairs for box in own.boxes)
    assert sum(map(len, found)) > 4


@pytest.mark.parametrize("kind", ["Detr", "RTDetrV2", "DFine", "Yolos", "RfDetr"])
def test_closed_detectors__find_what_the_library_finds(saved, kind: str) -> None:
    folder = saved(small.save_rf_detr) if kind == "RfDetr" else saved(small.save_detr, kind)
    detector = load_detector(str(folder), conf=CONF, device="cpu")
    assert detector.names == {0: "person", 1: "red car", 2: "cat"}
    model, processor = library(folder, f"{kind}ForObjectDetection")
    ids = {1: 0, 3: 1, 4: 2}
    found = detector.detect(images())
    for image, own in zip(images(), found, strict=True):
        with torch.inference_mode():
            outputs = model(**processor(images=[pil(image)], return_tensors="pt"))
        (theirs,) = processor.post_process_object_detection(
            outputs, threshold=CONF, target_sizes=[image.image_size]
        )
        known = np.isin(theirs["labels"], list(ids))
        labels = [ids[label] for label in theirs["labels"].numpy()[known].tolist()]
        assert_same(own, theirs["boxes"][known], labels, theirs["scores"][known], image)
    assert sum(map(len, found)) > 4


@pytest.mark.parametrize("kind", ["Mask2Former", "MaskFormer", "RfDetr"])
def test_instance_segmenters__have_the_librarys_masks(saved, kind: str) -> None:
    folder = (
        saved(small.save_rf_detr, "InstanceSegmentation")
        if kind == "RfDetr"
        else saved(small.save_maskformer, kind)
    )
    found = load_detector(str(folder), conf=CONF, device="cpu", masks=True).detect(images())
    classes = {"Mask2Former": "Mask2FormerForUniversalSegmentation"}
    model, processor = library(folder, classes.get(kind, f"{kind}ForInstanceSegmentation"))
    for image, own in zip(images(), found, strict=True):
        with torch.inference_mode():
            outputs = model(**processor(images=[pil(image)], return_tensors="pt"))
        (theirs,) = processor.post_process_instance_segmentation(
            outputs, threshold=CONF, target_sizes=[image.image_size], return_binary_maps=True
        )
        maps = [np.asarray(one, bool) for one in theirs["segmentation"]] if theirs["segments_info"] else []
        wanted = [
            (segment["label_id"], segment["score"], pixels)
            for segment, pixels in zip(theirs["segments_info"], maps, strict=True)
            if segment["label_id"] in (1, 3, 4)
        ]
        assert len(own) == len(wanted) or kind == "RfDetr"  # whose boxes may have no area
        for class_id, score, mask in zip(own.class_ids, own.scores, own.masks, strict=True):
            close = [p for label, s, p in wanted if label == (1, 3, 4)[class_id] and abs(s - score) < 2e-4]
            assert any((mask.pixels() != pixels).sum() <= 2 for pixels in close)
    assert sum(map(len, found)) > 4


@pytest.mark.parametrize("text", ["car", "red car, Dog, a photo of a cat, x, y"])
def test_concepts__are_what_the_library_finds_prompt_by_prompt(saved, text: str) -> None:
    folder = saved(small.save_sam3)
    vocabulary = read_vocabulary(text)
    detector = load_detector(str(folder), conf=0.2, device="cpu", masks=True, vocabulary=vocabulary)
    found = detector.detect(images())
    model, processor = library(folder, "Sam3Model")
    for image, own in zip(images(), found, strict=True):
        parts = []
        for prompt in vocabulary.prompts:
            inputs = processor(images=pil(image), text=prompt, return_tensors="pt")
            with torch.inference_mode():
                outputs = model(**inputs)
            parts += processor.post_process_instance_segmentation(
                outputs, threshold=0.2, target_sizes=[image.image_size]
            )
        labels = np.concatenate([np.full(len(part["scores"]), index) for index, part in enumerate(parts)])
        boxes, scores = (np.concatenate([part[name] for part in parts]) for name in ("boxes", "scores"))
        assert_same(own, boxes, labels, scores, image)
        masks = [mask for part in parts for mask in part["masks"].numpy().astype(bool)]
        order = np.argsort(-scores, kind="stable")
        inside = [i for i in order if (boxes[i][2:] > boxes[i][:2].clip(0)).all()]
        for mask, place in zip(own.masks, inside, strict=True):
            assert iou(mask.pixels(), masks[place]) >= 0.99  # many probabilities are 0.5 but for rounding here
    assert sum(map(len, found)) > 4


def test_concepts__of_a_model_for_videos_are_those_of_the_model_for_images_in_it(saved) -> None:
    options: dict[str, Any] = {
        "conf": 0.2,
        "device": "cpu",
        "masks": True,
        "vocabulary": read_vocabulary("car, dog"),
    }
    video, image = (
        load_detector(str(saved(save)), **options).detect(images((97, 131)))[0]
        for save in (small.save_sam3_video, small.save_sam3)
    )
    assert len(image) and (video.boxes == image.boxes).all() and (video.scores == image.scores).all()
    pairs = zip(video.masks, image.masks, strict=True)
    assert all((one.pixels() == other.pixels()).all() for one, other in pairs)


def test_concepts__texts_are_read_once_a_run_and_images_seen_once(saved) -> None:
    vocabulary = read_vocabulary(", ".join(f"kind {i}" for i in range(10)))
    read, seen = [], []
    from samcli.checkpoints.transformers_loading import import_transformers

    kind = import_transformers("a test").Sam3Model
    features, looks = kind.get_text_features, kind.get_vision_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kind, "get_text_features", lambda self, **o: read.append(len(o["input_ids"])) or features(self, **o)
        )
        patch.setattr(kind, "get_vision_features", lambda self, **o: seen.append(1) or looks(self, **o))
        detector = load_detector(str(saved(small.save_sam3)), device="cpu", vocabulary=vocabulary)
        detector.detect(images())
        detector.detect(images((40, 40)))
    assert sum(read) == 10
    assert len(seen) == len(SIZES) + 1


@pytest.mark.parametrize("save", [small.save_owl, small.save_omdet])
def test_texts__are_read_once_a_run(saved, save) -> None:
    vocabulary = read_vocabulary("red car, dog, cat, a, b")
    detector = load_detector(str(saved(save)), device="cpu", vocabulary=vocabulary)
    counts = []
    network = detector.model.network
    parts = [m for n, m in network.named_modules() if n.endswith(("text_model.encoder", "language_backbone.model"))]
    parts[0].register_forward_hook(lambda *_: counts.append(1))
    detector.detect(images())
    assert len(counts) <= 2 if save is small.save_omdet else len(counts) == 1


def test_prompts_of_one_class__find_an_object_once(saved, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("car: [red car, car red]\n")
    folder = saved(small.save_sam3)
    once = load_detector(str(folder), conf=0.2, device="cpu", iou=0.0001, vocabulary=read_vocabulary("red car"))
    both = load_detector(str(folder), conf=0.2, device="cpu", iou=0.0001, vocabulary=read_vocabulary(str(file)))
    apart = load_detector(str(folder), conf=0.2, device="cpu", iou=1.0, vocabulary=read_vocabulary(str(file)))
    (one,), (two,), (all_of,) = (detector.detect(images((97, 131))) for detector in (once, both, apart))
    assert both.names == {0: "car"}
    assert len(one) <= len(two) < len(all_of)


def test_classes__leave_the_others_out(saved) -> None:
    folder = saved(small.save_sam3)
    options: dict[str, Any] = {"conf": 0.2, "device": "cpu", "vocabulary": read_vocabulary("red car, dog, cat")}
    (every,) = load_detector(str(folder), **options).detect(images((97, 131)))
    (some,) = load_detector(str(folder), **options, classes="cat,0").detect(images((97, 131)))
    kept = np.isin(every.class_ids, [0, 2])
    assert np.allclose(some.boxes, every.boxes[kept], atol=1e-3)
    assert some.class_ids.tolist() == every.class_ids[kept].tolist()


def test_precision__of_a_folder_is_fp32_and_another_is_said_not_to_apply(saved, caplog) -> None:
    folder = saved(small.save_detr, "Yolos")
    with caplog.at_level("INFO", "samcli"):
        load_detector(str(folder), device="cpu", precision="fp32")
        assert not caplog.messages
        detector = load_detector(str(folder), device="cpu", precision="bf16")
    assert caplog.messages == [f"{folder.name} computes in fp32; --precision bf16 applies to SAM only"]
    assert {parameter.dtype for parameter in detector.model.network.parameters()} == {torch.float32}


def test_detections__do_not_depend_on_their_neighbours(saved) -> None:
    detector = load_detector(str(saved(small.save_detr, "DFine")), conf=CONF, device="cpu")
    together = detector.detect(images())
    for image, own in zip(images(), together, strict=True):
        (alone,) = detector.detect([image])
        assert (own.boxes == alone.boxes).all() and (own.scores == alone.scores).all()


@pytest.mark.parametrize(
    ("save", "options", "error", "said"),
    [
        (small.save_owl, {}, UsageError, "give --text"),
        (
            lambda folder: small.save_detr(folder, "Yolos"),
            {"vocabulary": read_vocabulary("a")},
            UsageError,
            "reads text",
        ),
        (lambda folder: small.save_detr(folder, "Yolos"), {"masks": True}, WeightsError, "without masks"),
        (small.save_owl, {"vocabulary": read_vocabulary("x" * 40)}, UsageError, "tokens"),
        (small.save_owl, {"vocabulary": read_vocabulary("a"), "classes": "b"}, UsageError, "no class 'b'"),
    ],
)
def test_what_does_not_fit__is_refused_in_a_line(tmp_path: Path, save, options, error, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        load_detector(str(save(tmp_path / "model")), device="cpu", **options)
    assert "\n" not in str(caught.value)

"""Detectors: the boxes that Ultralytics finds, in pixels of the original image, with their own classes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from helpers import Bomb, same
from precisions import needs_bf16
from references import resized

from samcli.checkpoints.registry import WeightsFile
from samcli.detectors.base import parse_classes
from samcli.detectors.ultralytics import load_detector
from samcli.errors import UsageError, WeightsError
from samcli.files import sha256_of
from samcli.images import read_image
from samcli.masks import box_iou
from samcli.types import Image

NAMES = {0: "cat", 1: "dog", 2: "bird"}


def load(path: Path, **options):
    return load_detector(
        WeightsFile(path, sha256_of(path)), **{"conf": 0.1, "max_det": 20, "precision": "fp32", **options}
    )


def test_detect__finds_what_ultralytics_finds_in_the_file(yolo, photos) -> None:
    from ultralytics import YOLO

    detector = load(yolo)
    for path in photos:
        image = read_image(path)
        (wanted,) = YOLO(yolo).predict(
            np.ascontiguousarray(image.pixels[..., ::-1]),
            conf=0.1,
            iou=0.45,
            max_det=20,
            imgsz=640,
            verbose=False,
        )
        (found,) = detector.detect([image])
        assert len(found) > 3
        np.testing.assert_allclose(found.boxes, wanted.boxes.xyxy.numpy(), atol=1e-3)
        np.testing.assert_array_equal(found.class_ids, wanted.boxes.cls.numpy().astype(int))
        np.testing.assert_allclose(found.scores, wanted.boxes.conf.numpy(), atol=1e-6)
    assert detector.names == NAMES


def test_detect__does_not_depend_on_the_other_images(yolo, photos) -> None:
    detector, images = load(yolo), [read_image(path) for path in photos]
    alone = [detector.detect([image])[0] for image in images]
    together = detector.detect([images[0], images[1], images[0]])
    for index, found in zip((0, 1, 0), together, strict=True):
        np.testing.assert_array_equal(found.boxes, alone[index].boxes)
        np.testing.assert_array_equal(found.scores, alone[index].scores)


def test_detect__keeps_to_the_classes_asked_for(yolo, photos) -> None:
    every = load(yolo, max_det=300).detect([read_image(photos[0])])[0]
    wanted = int(np.bincount(every.class_ids).argmax())
    only = load(yolo, max_det=300, classes=NAMES[wanted]).detect([read_image(photos[0])])[0]
    assert len(only) > 0
    assert set(only.class_ids.tolist()) == {wanted}


def test_segmentation_model__is_accepted_for_its_boxes(yolo_seg, photos) -> None:
    (found,) = load(yolo_seg, conf=0.001).detect([read_image(photos[0])])
    assert found.boxes.shape[1] == 4
    assert len(found) > 0
    assert found.masks is None


SIZES = [(301, 403), (517, 64), (40, 57), (320, 320), (9, 1)]
"""(width, height)."""


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("conf", [0.1, 0.9])
def test_masks__are_those_of_ultralytics_with_retina_masks(yolo_seg, photos, width, height, conf) -> None:
    from ultralytics import YOLO

    image = resized(photos[0], width, height)
    (wanted,) = YOLO(yolo_seg).predict(
        np.ascontiguousarray(image.pixels[..., ::-1]), retina_masks=True, conf=conf, iou=0.7, imgsz=320,
        max_det=300, verbose=False,
    )  # fmt: skip
    (found,) = load(yolo_seg, conf=conf, iou=0.7, imgsz=320, max_det=300, masks=True).detect([image])
    full = [index for index, mask in enumerate(found.masks) if mask.area]
    assert len(full) == len(wanted)
    np.testing.assert_allclose(found.boxes[full], wanted.boxes.xyxy.numpy(), atol=1e-3)
    np.testing.assert_array_equal(found.class_ids[full], wanted.boxes.cls.numpy().astype(int))
    np.testing.assert_allclose(found.scores[full], wanted.boxes.conf.numpy(), atol=1e-4)
    for index, theirs in zip(full, wanted.masks.data.numpy() if full else (), strict=True):
        assert same(found.masks[index].pixels(), theirs.astype(bool))
    if conf < 0.5 and min(width, height) > 9:
        assert len(full) > 50


def test_masks__do_not_depend_on_the_other_images(yolo_seg, photos) -> None:
    detector = load(yolo_seg, imgsz=320, masks=True)
    images = [resized(photos[0], 301, 403), resized(photos[1], 320, 180)]
    alone = [detector.detect([image])[0].masks for image in images]
    assert [found.masks for found in detector.detect([*images, images[0]])] == [*alone, alone[0]]


def network_answers(path: Path, precision: str, image: Image) -> torch.Tensor:
    """What the detector's network says before anything is selected: (4 + classes, places), boxes first."""
    detector, answers = load(path, precision=precision, imgsz=320), []
    detector.detect([image])
    network = detector._model.predictor.model.model
    hook = network.register_forward_hook(lambda _, given, answer: answers.append(answer[0]))
    detector.detect([image])
    hook.remove()
    answer = answers[0][0] if isinstance(answers[0], tuple) else answers[0]
    return answer[0].clone()


FAMILIES = ["yolov5n", "yolov8n-seg", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "rtdetr-resnet50"]


def save_family(path: Path, family: str) -> Path:
    """Random weights in one of Ultralytics' architectures."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    kind = {"n-seg": tasks.SegmentationModel, "net50": tasks.RTDETRDetectionModel}
    model = kind.get(family[-5:], tasks.DetectionModel)(f"{family}.yaml", nc=3, verbose=False)
    model.task = "segment" if family.endswith("-seg") else "detect"
    model.args = {"task": model.task, "imgsz": 320}
    torch.save({"model": model.half().eval(), "train_args": model.args, "epoch": -1}, path)
    return path


@needs_bf16
@pytest.mark.parametrize("family", ["yolov8n", *(pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES)])
def test_bf16__gives_nearly_the_same_answers_at_every_place(family, photos, tmp_path) -> None:
    path, image = save_family(tmp_path / "model.pt", family), resized(photos[0], 317, 419)
    exact, fast = (network_answers(path, precision, image) for precision in ("fp32", "bf16"))
    assert fast.dtype == torch.float32
    assert not torch.equal(fast, exact)
    if family in ("yolov10n", "yolo26n", "rtdetr-resnet50"):  # the best places, in another order
        return
    boxes, scores = (fast - exact).abs().split((4, len(exact) - 4))
    assert boxes.mean() < 0.2  # pixels
    assert scores.mean() < 0.01


@needs_bf16
def test_bf16__finds_the_shapes_that_fp32_finds() -> None:
    exact, fast = (load_detector("tiny", precision=precision) for precision in ("fp32", "bf16"))
    count = 0
    for path in sorted((Path(__file__).parents[2] / "examples" / "shapes").iterdir()):
        image = read_image(path)
        (wanted,), (found,) = exact.detect([image]), fast.detect([image])
        assert sorted(found.class_ids) == sorted(wanted.class_ids)
        for box, class_id, score in zip(wanted.boxes, wanted.class_ids, wanted.scores, strict=True):
            same_class = [
                (box_iou(tuple(box), tuple(found.boxes[i])), abs(float(found.scores[i] - score)))
                for i in np.flatnonzero(found.class_ids == class_id)
            ]
            overlap, change = max(same_class)
            assert overlap > 0.97
            assert change < 0.03
        count += len(wanted)
    assert count > 50


@needs_bf16
@pytest.mark.parametrize("masks", [False, True])
def test_bf16__boxes_are_not_rounded_to_it(yolo_seg, photos, masks) -> None:
    (found,) = load(yolo_seg, precision="bf16", masks=masks).detect([read_image(photos[0])])
    assert len(found) > 3
    rounded = torch.from_numpy(found.boxes).bfloat16().float().numpy()
    assert np.abs(found.boxes - rounded).max() > 0.5


def test_fp32__is_what_a_detector_computes_in_unless_told(yolo, photos) -> None:
    image = resized(photos[0], 320, 320)
    (plain,), (exact,) = load(yolo).detect([image]), load(yolo, precision="fp32").detect([image])
    np.testing.assert_array_equal(plain.boxes, exact.boxes)


def test_image_without_detections__has_no_masks(yolo_seg, photos) -> None:
    (found,) = load(yolo_seg, conf=1.0, imgsz=320, masks=True).detect([resized(photos[0], 64, 48)])
    assert len(found) == 0
    assert found.masks == ()


def test_detector_without_masks__is_refused_where_they_are_asked_for(yolo) -> None:
    with pytest.raises(WeightsError, match=r"yolo\.pt finds boxes without masks.*yolov8n-seg\.pt"):
        load(yolo, masks=True)


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True])
def test_exported_segmentation_model__is_taken_as_what_it_is(yolo_seg, photos, tmp_path, masks) -> None:
    from ultralytics import YOLO

    original = tmp_path / "model.pt"
    original.write_bytes(yolo_seg.read_bytes())
    exported = Path(YOLO(original).export(format="torchscript", imgsz=320, verbose=False))
    image = resized(photos[1], 320, 320)
    (wanted,) = load(original, imgsz=320, masks=masks).detect([image])
    (found,) = load(exported, imgsz=320, masks=masks, trust_weights=True).detect([image])
    assert len(found) == len(wanted) > 0
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
    if masks:
        assert all(same(a.pixels(), b.pixels()) for a, b in zip(found.masks, wanted.masks, strict=True))


@pytest.mark.slow
def test_rtdetr__is_loaded_as_what_it_is(checkpoints, photos) -> None:
    path = weights.save_rtdetr(checkpoints / "rtdetr.pt")
    (found,) = load(path, conf=0.001).detect([read_image(photos[0])])
    assert len(found) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_exported_model__gives_the_boxes_of_the_original(kind, yolo, photos, tmp_path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    from ultralytics import YOLO

    original = tmp_path / "model.pt"
    original.write_bytes(yolo.read_bytes())
    options = {"simplify": False} if kind == "onnx" else {}
    exported = Path(YOLO(original).export(format=kind, imgsz=640, verbose=False, **options))
    image = read_image(photos[1])
    image = type(image)(image.ref, np.ascontiguousarray(image.pixels[:640, :640]))  # square: no padding
    (wanted,) = load(original).detect([image])
    (found,) = load(exported, trust_weights=kind == "torchscript").detect([image])
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.5)
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)


@pytest.mark.parametrize("save", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_detector__that_would_run_code_is_refused_and_runs_nothing(tmp_path, save) -> None:
    trace, path = tmp_path / "ran", tmp_path / "evil.pt"
    save({"model": Bomb(trace)}, path)
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


class Writes(torch.nn.Module):
    """A program that empties a file of the user when it is run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file(self.path, True, 4, dtype=torch.uint8).zero_().sum()


def test_torchscript__is_a_program_and_needs_trust(tmp_path) -> None:
    (tmp_path / "mine").write_bytes(b"text")
    torch.jit.save(torch.jit.script(Writes(tmp_path / "mine")), tmp_path / "evil.torchscript")
    with pytest.raises(WeightsError, match=r"was refused.*TorchScript is a program.*--trust-weights"):
        load(tmp_path / "evil.torchscript")
    assert (tmp_path / "mine").read_bytes() == b"text"

    torch.jit.load(tmp_path / "evil.torchscript")(torch.zeros(1))
    assert (tmp_path / "mine").read_bytes() == bytes(4), "the file must be able to do harm, or this shows nothing"


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04 torn"])
def test_detector__that_is_damaged_is_refused_in_one_line(tmp_path, content) -> None:
    path = tmp_path / "torn.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged or no checkpoint") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_detector__of_another_kind_of_file_is_refused(tmp_path, small_sam) -> None:
    with pytest.raises(WeightsError, match=r"expected \.pt"):
        load(small_sam)
    sam_as_pt = tmp_path / "sam.pt"
    sam_as_pt.write_bytes(small_sam.read_bytes())
    with pytest.raises(WeightsError, match="cannot be loaded as a detector"):
        load(sam_as_pt)


def test_classes__are_names_or_ids() -> None:
    assert parse_classes("dog", NAMES) == [1]
    assert parse_classes("bird, Cat", NAMES) == [0, 2]
    assert parse_classes("2,dog,2", NAMES) == [1, 2]


@pytest.mark.parametrize("text", ["dgo", "3", "cat,dgo", "", " , "])
def test_classes__unknown_ones_are_refused_and_the_known_listed(text) -> None:
    with pytest.raises(UsageError) as caught:
        parse_classes(text, NAMES)
    if text.strip(" ,"):
        assert "0 cat, 1 dog, 2 bird" in str(caught.value)

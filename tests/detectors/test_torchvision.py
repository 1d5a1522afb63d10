"""torchvision's detectors are told from their tensors, and find what torchvision finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import pixels

from samcli.detectors.loading import load_detector
from samcli.detectors.torchvision import _pasted
from samcli.errors import UsageError, WeightsError
from samcli.labels.vocabulary import read_vocabulary
from samcli.types import Image, ImageRef


def image(height: int = 97, width: int = 131) -> Image:
    return Image(ImageRef(Path(), "a.png"), pixels(1, height, width))


def save(path: Path, builder: str = "ssdlite320_mobilenet_v3_large", classes: int = 4) -> Path:
    """A network with seeded random weights; names of three classes beside it."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = get_model(builder, weights=None, weights_backbone=None, num_classes=classes)
    torch.save(network.state_dict(), path)
    if classes == 4:
        path.with_suffix(".yaml").write_text("names: [cat, dog, bird]\n")
    return path


def by_torchvision(path: Path, builder: str, photo: Image, **limits) -> dict[str, torch.Tensor]:
    from torchvision.models import get_model

    network = get_model(builder, weights=None, weights_backbone=None, num_classes=4, **limits).eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        return network([torch.tensor(photo.pixels).permute(2, 0, 1).float() / 255])[0]


def test_ssdlite__finds_what_torchvision_finds(tmp_path: Path) -> None:
    path, builder = save(tmp_path / "mine.pth"), "ssdlite320_mobilenet_v3_large"
    detector = load_detector(str(path), conf=0.05, iou=0.4, max_det=30, device="cpu")
    assert detector.names == {0: "cat", 1: "dog", 2: "bird"}
    (own,) = detector.detect([image()])
    theirs = by_torchvision(path, builder, image(), score_thresh=0.05, nms_thresh=0.4, detections_per_img=30)
    assert len(own) > 5
    assert np.allclose(own.scores, theirs["scores"].numpy(), atol=1e-6)
    assert np.allclose(own.boxes, theirs["boxes"].numpy(), atol=1e-3)
    assert own.class_ids.tolist() == (theirs["labels"] - 1).tolist()


@pytest.mark.slow
def test_mask_rcnn__has_torchvisions_masks(tmp_path: Path) -> None:
    path, builder = save(tmp_path / "mine.pth", "maskrcnn_resnet50_fpn"), "maskrcnn_resnet50_fpn"
    (own,) = load_detector(str(path), conf=0.05, iou=0.5, max_det=20, device="cpu", masks=True).detect([image()])
    theirs = by_torchvision(
        path, builder, image(), box_score_thresh=0.05, box_nms_thresh=0.5, box_detections_per_img=20
    )
    wanted = (theirs["masks"][:, 0] > 0.5).numpy()
    assert own.masks is not None and len(own.masks) > 5
    for mask, pixels_wanted in zip(own.masks, wanted, strict=False):
        assert (mask.pixels() != pixels_wanted).sum() <= 2


def test_pasting__is_torchvisions_for_boxes_anywhere() -> None:
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    torch.manual_seed(0)
    size = (60, 90)
    boxes = torch.tensor(
        [[5.3, 7.9, 44.2, 31.0], [0.0, 0.0, 90.0, 60.0], [80.5, 50.2, 90.0, 60.0], [3.0, 3.0, 3.4, 3.2]]
    )
    masks = torch.rand(4, 1, 28, 28)
    wanted = (paste_masks_in_image(masks, boxes, size)[:, 0] > 0.5).numpy()
    for mask, box, pixels_wanted in zip(masks, boxes, wanted, strict=True):
        assert (_pasted(mask, box, size).pixels() == pixels_wanted).all()


def test_published_numbers_of_classes__have_cocos_names(tmp_path: Path) -> None:
    detector = load_detector(str(save(tmp_path / "coco.pth", classes=91)), device="cpu")
    assert len(detector.names) == 80
    assert detector.names[0] == "person" and detector.names[79] == "toothbrush"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"masks": True}, WeightsError, "without masks"),
        ({"vocabulary": read_vocabulary("a")}, UsageError, "reads text"),
        ({"classes": "horse"}, UsageError, "no class 'horse'"),
    ],
)
def test_what_does_not_fit__is_refused(tmp_path: Path, options, error, said: str) -> None:
    with pytest.raises(error, match=said):
        load_detector(str(save(tmp_path / "mine.pth")), device="cpu", **options)


def test_classes_without_names__are_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.pth")
    path.with_suffix(".yaml").unlink()
    with pytest.raises(WeightsError, match=r"3 classes without names: write them to .*mine\.yaml"):
        load_detector(str(path), device="cpu")


def test_another_table_of_tensors__is_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no detector that samcli knows"):
        load_detector(str(tmp_path / "other.pth"), device="cpu")
    tensors = torch.load(save(tmp_path / "mine.pth"), weights_only=True)
    del tensors[next(iter(tensors))]
    torch.save(tensors, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match="fits none of them"):
        load_detector(str(tmp_path / "mine.pth"), device="cpu")


@pytest.mark.slow
def test_yolo_world__with_its_vocabulary_is_an_ordinary_detector_and_reads_no_text(tmp_path: Path) -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.nn.tasks import WorldModel

    network = WorldModel("yolov8s-world.yaml", nc=3, verbose=False).eval()
    network.names, network.args = {0: "cat", 1: "dog", 2: "bird"}, {}
    torch.save({"model": network, "train_args": {"task": "detect", "imgsz": 640}}, tmp_path / "world.pt")
    assert load_detector(str(tmp_path / "world.pt"), device="cpu").names == network.names
    with pytest.raises(UsageError, match="set_classes"):
        load_detector(str(tmp_path / "world.pt"), device="cpu", vocabulary=read_vocabulary("a"))

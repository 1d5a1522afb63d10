"""What others' readers make of our files: pycocotools, Ultralytics, supervision, labelformat."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from label_samples import ANNOTATIONS, NAMES, write_images, write_labels

from samcli.polygons import PolygonOptions
from samcli.types import Annotation

PIXELS = sum(instance.mask.area for annotation in ANNOTATIONS for instance in annotation.instances)
OBJECTS = sum(len(annotation.instances) for annotation in ANNOTATIONS)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", ANNOTATIONS)


# pycocotools


@pytest.mark.parametrize("name", ["coco", "coco-polygon"])
def test_pycocotools__loads_the_file_and_decodes_every_mask(name: str, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    coco = COCO(write_labels(name, tmp_path, ANNOTATIONS, PolygonOptions(min_iou=1.0)) / "annotations.json")
    assert [coco.imgs[i]["file_name"] for i in sorted(coco.imgs)] == [a.key for a in ANNOTATIONS]
    assert {key: value["name"] for key, value in coco.cats.items()} == {i + 1: n for i, n in NAMES.items()}
    for number, annotation in enumerate(ANNOTATIONS, 1):
        rows = coco.loadAnns(coco.getAnnIds([number]))
        assert len(rows) == len(annotation.instances)
        for row, instance in zip(rows, annotation.instances, strict=True):
            np.testing.assert_array_equal(coco.annToMask(row).astype(bool), instance.mask.pixels())
            assert row["area"] == instance.mask.area
            x, y, w, h = row["bbox"]
            assert (x, y, x + w, y + h) == instance.mask.box


def test_pycocotools__finds_the_labels_perfect_when_they_are_judged_by_themselves(tmp_path: Path, capsys) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(write_labels("coco", tmp_path, ANNOTATIONS) / "annotations.json")
    results = truth.loadRes([dict(row) for row in truth.dataset["annotations"]])
    for kind in ("segm", "bbox"):
        judge = COCOeval(truth, results, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        assert judge.stats[0] == pytest.approx(1.0)


# Ultralytics


@pytest.mark.parametrize("name", ["yolo", "yolo-box"])
def test_ultralytics__accepts_every_row(name: str, tmp_path: Path, images: Path, cache: Path) -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import verify_image_label

    labels = write_labels(name, tmp_path, ANNOTATIONS)
    rows = {}
    for annotation in ANNOTATIONS:
        file = (labels / annotation.key).with_suffix(".txt")
        found = verify_image_label((str(images / annotation.key), str(file), "", False, len(NAMES), 0, 0, False))
        _, boxes, _, segments, _, missing, _, _, corrupt, message = found
        assert (missing, corrupt, message) == (0, 0, "")
        rows[annotation.key] = boxes[:, 0].astype(int).tolist()
        assert len(segments) == (len(boxes) if name == "yolo" else 0)
    assert rows == {a.key: [i.class_id for i in a.instances] for a in ANNOTATIONS}  # an object, a row


@pytest.mark.slow
def test_ultralytics__trains_an_epoch_on_the_labels(tmp_path: Path, cache: Path) -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics import YOLO

    annotations = [Annotation(f"{n}.png", a.image_size, a.instances) for n, a in enumerate(ANNOTATIONS * 2)]
    write_images(tmp_path / "images", annotations)
    labels = write_labels("yolo", tmp_path, annotations).rename(tmp_path / "labels")
    data = labels / "data.yaml"
    data.write_text(data.read_text() + f"train: {tmp_path / 'images'}\nval: {tmp_path / 'images'}\n")
    model = YOLO("yolo11n-seg.yaml")
    done = model.train(
        data=str(data), epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False, save=False,
        project=str(tmp_path / "runs"), verbose=False,
    )  # fmt: skip
    assert model.trainer.train_loader.dataset.labels[0]["segments"] is not None
    assert len(model.trainer.train_loader.dataset) == 8
    assert done is not None


def test_cvat_zip__is_a_data_set_that_ultralytics_accepts(tmp_path: Path, cache: Path) -> None:
    import yaml

    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import verify_image_label

    folder = write_labels("cvat", tmp_path, ANNOTATIONS)
    with zipfile.ZipFile(folder / "cvat.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "task")
    content = yaml.safe_load((tmp_path / "task" / "data.yaml").read_text("utf-8"))
    assert content == {"names": NAMES, "path": ".", "train": "train.txt"}
    listed = (tmp_path / "task" / content["train"]).read_text("utf-8").splitlines()
    assert listed == [f"images/train/{annotation.key}" for annotation in ANNOTATIONS]
    write_images(tmp_path / "task" / "images" / "train", ANNOTATIONS)
    for image in listed:
        label = (tmp_path / "task" / image.replace("images/", "labels/", 1)).with_suffix(".txt")
        found = verify_image_label((str(tmp_path / "task" / image), str(label), "", False, 3, 0, 0, False))
        assert (found[5], found[8], found[9]) == (0, 0, "")


def test_cvat_zip__is_the_same_for_the_same_labels(tmp_path: Path) -> None:
    first, second = (write_labels("cvat", tmp_path / n, ANNOTATIONS) / "cvat.zip" for n in "ab")
    assert first.read_bytes() == second.read_bytes()


# supervision


def test_supervision__reads_coco_to_the_pixel(tmp_path: Path, images: Path) -> None:
    supervision = pytest.importorskip("supervision")
    labels = write_labels("coco", tmp_path, ANNOTATIONS)
    found = supervision.DetectionDataset.from_coco(str(images), str(labels / "annotations.json"), force_masks=True)
    assert found.classes == list(NAMES.values())
    masks = [found.annotations[key].mask for key in found.annotations if len(found.annotations[key])]
    assert sum(len(mask) for mask in masks) == OBJECTS
    assert sum(int(mask.sum()) for mask in masks) == PIXELS


@pytest.mark.parametrize("name", ["yolo", "yolo-box"])
def test_supervision__reads_yolo(name: str, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    flat = [Annotation(f"{n}.png", a.image_size, a.instances) for n, a in enumerate(ANNOTATIONS)]
    images = write_images(tmp_path / "flat", flat)  # it knows no folders below
    labels = write_labels(name, tmp_path, flat)
    found = supervision.DetectionDataset.from_yolo(str(images), str(labels), str(labels / "data.yaml"))
    by_name = {Path(path).name: detections.class_id for path, detections in found.annotations.items()}
    wanted = {a.key: [i.class_id for i in a.instances] for a in flat}  # an object, a row
    assert {key: ids.tolist() for key, ids in by_name.items()} == wanted


def test_supervision__reads_voc(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    flat = [Annotation(f"{n}.png", a.image_size, a.instances) for n, a in enumerate(ANNOTATIONS)]
    images = write_images(tmp_path / "flat", flat)
    labels = write_labels("voc", tmp_path, flat)
    found = supervision.DetectionDataset.from_pascal_voc(str(images), str(labels / "Annotations"))
    for path, detections in found.annotations.items():
        (annotation,) = (a for a in flat if a.key == Path(path).name)
        assert [found.classes[i] for i in detections.class_id] == [NAMES[i.class_id] for i in annotation.instances]
        assert detections.xyxy[:, 2:].tolist() == [[*i.mask.box[2:]] for i in annotation.instances]


# labelformat


def test_labelformat__reads_boxes_of_coco_and_voc_and_polygons_of_coco(tmp_path: Path) -> None:
    formats = pytest.importorskip("labelformat.formats")
    flat = [Annotation(f"{n}.png", a.image_size, a.instances[1:]) for n, a in enumerate(ANNOTATIONS)]  # no holes
    count = sum(len(a.instances) for a in flat)
    coco = write_labels("coco", tmp_path, flat) / "annotations.json"
    polygons = write_labels("coco-polygon", tmp_path, flat) / "annotations.json"
    voc = write_labels("voc", tmp_path, flat) / "Annotations"
    readers = [
        formats.COCOObjectDetectionInput(coco),
        formats.COCOInstanceSegmentationInput(polygons),
        formats.PascalVOCObjectDetectionInput(voc, category_names=",".join(NAMES.values())),
    ]
    for reader in readers:
        assert [category.name for category in reader.get_categories()] == list(NAMES.values())
        assert sum(len(label.objects) for label in reader.get_labels()) == count


# Label Studio


def test_label_studio__decodes_the_brush_and_accepts_the_predictions(tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    folder = write_labels("labelstudio", tmp_path, ANNOTATIONS)
    tasks = json.loads((folder / "labelstudio.json").read_text("utf-8"))
    config = interface.LabelInterface((folder / "label_config.xml").read_text("utf-8"))
    for task, annotation in zip(tasks, ANNOTATIONS, strict=True):
        (prediction,) = task["predictions"]
        assert config.validate_prediction(prediction, return_errors=True) == []
        for region, instance in zip(prediction["result"], annotation.instances, strict=True):
            values = brush.decode_rle(region["value"]["rle"]).reshape(*annotation.image_size, 4)
            np.testing.assert_array_equal(values[..., 3] > 0, instance.mask.pixels())

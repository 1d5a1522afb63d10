"""One object is one row, and a trainer learns nearly the mask that it would learn from a row for each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import iou
from label_samples import write_images, write_labels
from numpy.typing import NDArray

from samcli.config import ConvertOptions, DatasetOptions
from samcli.datasets.build import build_dataset
from samcli.labels.convert import convert
from samcli.masks import Mask
from samcli.types import Annotation, Instance

Pixels = NDArray[np.bool_]

TRAINING_SIZE, MASK_RATIO = 640, 4
IMAGES, OBJECTS = 125, 4
SEED = 20261130
"""None that the bridges were chosen on."""


def random_mask(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """One to four blobs, half of them with a hole, and up to seven specks all over the image."""
    canvas = np.zeros((height, width), np.uint8)
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for _ in range(rng.integers(1, 5)):
        centre = rng.uniform(0.15, 0.85, 2) * (width, height)
        axes = rng.uniform(0.05, 0.2, 2) * min(width, height)
        radii = 1 + 0.2 * np.cumsum(rng.normal(0, 0.2, 60)) * np.hanning(60)
        outline = centre + np.stack([np.cos(turns), np.sin(turns)], 1) * axes * radii[:, None]
        cv2.fillPoly(canvas, [outline.astype(np.int32)], 1)
        if rng.random() < 0.5:
            cv2.circle(canvas, centre.astype(int).tolist(), max(2, int(min(axes) * 0.4)), 0, -1)
    for _ in range(rng.integers(0, 8)):
        place = (rng.random(2) * (width, height)).astype(int).tolist()
        cv2.circle(canvas, place, int(rng.integers(0, 4)), 1, -1)
    return canvas.astype(bool)


def random_annotations(seed: int) -> list[Annotation]:
    """Images smaller and larger than the training size; each object has a class of its own."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(IMAGES):
        width = int(rng.integers(300, 1400))
        height = int(width * rng.uniform(0.6, 1))
        masks = [Mask.from_pixels(random_mask(rng, height, width)) for _ in range(OBJECTS)]
        instances = tuple(Instance(mask, class_id) for class_id, mask in enumerate(masks))
        annotations.append(Annotation(f"{number:03}.png", (height, width), instances))
    return annotations


def at_training_size(pixels: Pixels) -> Pixels:
    """The mask as the trainer scales the image, pads it to a square and reduces its masks."""
    height, width = pixels.shape
    scale = TRAINING_SIZE / max(height, width)
    high, wide = (min(int(np.ceil(side * scale)), TRAINING_SIZE) for side in (height, width))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT
    scaled = cv2.resize(pixels.astype(np.float32), (wide, high), interpolation=how) >= 0.5
    top, left = (round((TRAINING_SIZE - side) / 2 - 0.1) for side in (high, wide))
    square = np.zeros((TRAINING_SIZE, TRAINING_SIZE), np.uint8)
    square[top : top + high, left : left + wide] = scaled
    reduced: Pixels = cv2.resize(square, (TRAINING_SIZE // MASK_RATIO,) * 2).astype(bool)
    return reduced


def learned(data_set: Path) -> Iterator[tuple[str, NDArray[np.int64], Pixels]]:
    """By Ultralytics' data set class: an image's name, its instances' classes (N,) and masks (N, 160, 160)."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(data_set / "data.yaml", autodownload=False)
    settings = get_cfg(overrides={"overlap_mask": False, "mask_ratio": MASK_RATIO})
    for split in ("train", "val"):
        read = YOLODataset(
            img_path=data[split], data=data, task="segment", imgsz=TRAINING_SIZE, augment=False, hyp=settings
        )
        for item in read:
            classes = item["cls"].numpy().ravel().astype(int)
            yield Path(item["im_file"]).name, classes, item["masks"].numpy().astype(bool)


def supervision_reads(rows: list[str], size: tuple[int, int]) -> Pixels:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    found = yolo_annotations_to_detections(rows, size[::-1], with_masks=True)
    assert found.mask is not None
    return np.asarray(found.mask)


@pytest.mark.slow
def test_rows__train_as_well_as_separate_ones_and_count_the_objects(tmp_path: Path) -> None:
    annotations = random_annotations(SEED)
    images = write_images(tmp_path / "images", annotations)
    source = write_labels("coco", tmp_path, annotations)
    wanted = {a.key: [at_training_size(i.mask.pixels()) for i in a.instances] for a in annotations}
    figures: dict[str, list[float]] = {"bridge": [], "separate": []}
    instances: dict[str, int] = {}
    for parts, ious in figures.items():
        labels = tmp_path / parts
        made = convert(source, labels, ConvertOptions.of(format=("yolo", "coco"), images=str(images), parts=parts))
        assert made.instances == IMAGES * OBJECTS
        built = build_dataset(tmp_path / f"{parts}-set", images, DatasetOptions(split="0.8/0.2"), labels=labels)
        instances[f"{parts}, data set"] = sum(split.objects.total() for split in built.splits.values())
        instances[f"{parts}, trainer"] = 0
        for key, classes, masks in learned(tmp_path / f"{parts}-set"):
            instances[f"{parts}, trainer"] += len(classes)
            ious += [iou(masks[classes == number].any(0), mask) for number, mask in enumerate(wanted[key])]
    read = []
    for annotation in annotations:
        rows = (tmp_path / "bridge" / annotation.key).with_suffix(".txt").read_text().splitlines()
        assert [int(row.split()[0]) for row in rows] == list(range(OBJECTS)), "one object, one row"
        masks = supervision_reads(rows, annotation.image_size)
        read += [iou(mask, i.mask.pixels()) for mask, i in zip(masks, annotation.instances, strict=True)]
    coco = json.loads((tmp_path / "bridge" / "annotations.json").read_text())
    assert len(coco["annotations"]) == IMAGES * OBJECTS
    assert instances["bridge, data set"] == instances["bridge, trainer"] == IMAGES * OBJECTS
    assert instances["separate, trainer"] > 1.5 * IMAGES * OBJECTS, "there are parts to join"
    bridged, separate = np.mean(figures["bridge"]), np.mean(figures["separate"])
    seen = f"{bridged:.4f}, separate rows {separate:.4f}, supervision {np.mean(read):.4f}"
    print(seen, f"least {min(figures['bridge']):.3f} {min(figures['separate']):.3f} {min(read):.3f}")
    assert bridged >= separate - 0.01, seen
    assert np.mean(read) >= 0.97, seen

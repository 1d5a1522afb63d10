"""Masks without SAM from the command line: a detector's own, and FastSAM's of everything or of prompts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectors.test_ultralytics import Bomb
from helpers import same
from PIL import Image as PillowImage
from precisions import needs_bf16
from references import fastsam_reference, masks_of

from samcli.config import AutoAnnotateOptions, EverythingOptions
from samcli.detectors.ultralytics import load_detector
from samcli.images import read_image
from samcli.jobs.auto_annotate import AutoAnnotate
from samcli.jobs.everything import Everything
from samcli.jobs.plan import recipe_of
from samcli.output.records import read_record
from samcli.types import Annotation

IN_FULL = ("--precision", "fp32", "--quiet")


@pytest.fixture
def photo_file(photo_folder) -> Path:
    """The smallest of the photos, alone."""
    return photo_folder / "more" / "bus.jpg"


@pytest.fixture
def detect(samcli_run, yolo_seg):
    """`samcli auto-annotate --sam none`, with few objects."""

    def run(*arguments: object):
        few = ("--imgsz", 320, "--conf", 0.3, "--max-det", 6)
        return samcli_run("auto-annotate", *arguments, "--det", yolo_seg, "--sam", "none", *few, *IN_FULL)

    return run


def record(output: Path, key: str) -> Annotation:
    return read_record((output / ".samcli" / "records" / f"{key}.json").read_bytes())


def masks(annotation: Annotation) -> list[np.ndarray]:
    return [instance.mask.pixels() for instance in annotation.instances]


def one_line(result, status: int) -> str:
    assert result.exit_code == status, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


def test_sam_none__labels_with_the_detectors_own_masks_and_classes(detect, photo_folder, yolo_seg) -> None:
    from ultralytics import YOLO

    result = detect(photo_folder)
    assert result.exit_code == 0, result.output
    output = photo_folder.parent / "labels"
    keys = ["bus.jpg", "zidane.jpg", "more/bus.jpg", "more/copy.jpg"]
    for key in keys:
        bgr = np.ascontiguousarray(read_image(photo_folder / key).pixels[..., ::-1])
        (wanted,) = YOLO(yolo_seg)(bgr, retina_masks=True, conf=0.3, iou=0.45, imgsz=320, max_det=6, verbose=False)
        found = record(output, key)
        assert len(found.instances) == len(wanted) > 1
        assert all(same(a, b) for a, b in zip(masks(found), masks_of(wanted), strict=True))
        assert [instance.class_id for instance in found.instances] == wanted.boxes.cls.int().tolist()
        rows = (output / key).with_suffix(".txt").read_text().splitlines()
        assert [int(row.split()[0]) for row in rows] == wanted.boxes.cls.int().tolist()  # an object, a row
        for instance, box, score in zip(
            found.instances, wanted.boxes.xyxy.tolist(), wanted.boxes.conf.tolist(), strict=True
        ):
            assert instance.prompt_box == pytest.approx(box, abs=1e-3)
            quality = instance.quality
            assert quality.detector_score == pytest.approx(score, abs=1e-4)
            assert (quality.predicted_iou, quality.stability) == (None, None)
            assert 0 < quality.box_iou <= 1
            assert quality.polygon_iou >= 0.85  # masks of noise, whose hundreds of parts are joined


def test_sam_none__is_part_of_the_recipe_and_resumes(detect, samcli_run, photo_folder, yolo_seg) -> None:
    detect(photo_folder)
    output = photo_folder.parent / "labels"
    recipe = json.loads((output / ".samcli" / "run.json").read_text())["recipe"]
    assert "sam" not in recipe
    before = (output / "more" / "bus.txt").read_bytes()
    (output / "more" / "bus.txt").unlink()
    result = detect(photo_folder, "--json")
    assert (json.loads(result.stdout)["done"], json.loads(result.stdout)["skipped"]) == (1, 3)
    assert (output / "more" / "bus.txt").read_bytes() == before
    other = samcli_run("auto-annotate", photo_folder, "--det", yolo_seg, "--sam", "tiny", *IN_FULL)
    assert "--sam was not given, now tiny" in one_line(other, 2)


def test_sam_none__drops_small_masks_with_their_reason(detect, photo_file) -> None:
    assert detect(photo_file, "--min-mask-area", 10**6).exit_code == 0
    found = record(photo_file.parents[2] / "labels" / "more", "bus.jpg")
    assert not found.instances
    assert {dropped.reason.split(" pixels")[1] for dropped in found.dropped} == {
        ", fewer than --min-mask-area 1000000"
    }


def test_detector_without_masks__is_refused_before_anything_is_written(samcli_run, photo_folder, yolo) -> None:
    result = samcli_run("auto-annotate", photo_folder, "--det", yolo, "--sam", "none", *IN_FULL)
    assert "yolo.pt finds boxes without masks" in one_line(result, 1)
    assert not (photo_folder.parent / "labels").exists()


@needs_bf16
def test_detector_alone__computes_in_the_precision_that_its_recipe_says(
    samcli_run, photo_file, yolo_seg, tmp_path
) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        given = ("--det", yolo_seg, "--sam", "none", "--imgsz", 320, "--max-det", 6, "--quiet")
        samcli_run("auto-annotate", photo_file, *given, "--precision", precision, "-o", tmp_path / precision)
        recipe = json.loads((tmp_path / precision / ".samcli" / "run.json").read_text())["recipe"]
        assert recipe["precision"] == precision
        found[precision] = [i.quality.detector_score for i in record(tmp_path / precision, "bus.jpg").instances]
    detector = load_detector(str(yolo_seg), imgsz=320, max_det=6, precision="fp32", masks=True)
    assert found["fp32"] == [float(f"{score:.9g}") for score in detector.detect([read_image(photo_file)])[0].scores]
    assert found["bf16"]
    assert found["bf16"] != found["fp32"]


@pytest.mark.parametrize(
    "job",
    [
        AutoAnnotate(AutoAnnotateOptions.of(det="exported.onnx", sam="none", precision="bf16")),
        Everything(EverythingOptions.of(sam="exported.torchscript")),
    ],
)
def test_exported_model_alone__has_the_precision_that_it_was_exported_in(job) -> None:
    assert recipe_of(job, None, None).precision == "as exported"


@pytest.mark.parametrize(
    "given",
    [("--embeddings", "x"), ("--pred-iou-thresh", 0.5), ("--stability-score-thresh", 0.5), ("--compile", "on")],
    ids=str,
)
def test_sam_none__takes_nothing_that_is_only_for_sam(detect, photo_folder, given) -> None:
    assert f"{given[0]} does not apply to --sam none" in one_line(detect(photo_folder, *given), 2)


def test_everything__writes_what_fastsam_finds(samcli_run, photo_file, fastsam, tmp_path) -> None:
    result = samcli_run(
        "everything", photo_file, "--sam", fastsam, "--output", tmp_path / "out", "--format", "masks",
        "--format", "rle", "--max-det", 20, *IN_FULL,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    wanted = fastsam_reference(fastsam, read_image(photo_file), max_det=20)
    pngs = [np.array(PillowImage.open(tmp_path / "out" / "bus" / f"{i}.png")) > 0 for i in range(len(wanted))]
    assert len(wanted) == 20
    assert all(same(a, b) for a, b in zip(pngs, masks_of(wanted), strict=True))
    with (tmp_path / "out" / "bus" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["predicted_iou"]) for row in rows] == pytest.approx(wanted.boxes.conf.tolist(), abs=1e-4)
    assert {row["stability_score"] for row in rows} == {row["point_input_x"] for row in rows} == {""}
    facts = json.loads((tmp_path / "out" / "bus.json").read_text())
    assert [fact["area"] for fact in facts] == [int(row["area"]) for row in rows]
    found = record(tmp_path / "out", "bus.jpg")
    for instance, box in zip(found.instances, wanted.boxes.xyxy.tolist(), strict=True):
        assert instance.prompt_box == pytest.approx(box, abs=1e-3)


def test_everything__tidies_fastsams_masks(samcli_run, photo_file, fastsam, tmp_path) -> None:
    arguments = ("everything", photo_file, "--sam", fastsam, "--format", "rle", "--max-det", 12, *IN_FULL)
    samcli_run(*arguments, "--output", tmp_path / "plain")
    tidy = ("--exclusive", "--min-mask-region-area", 40)
    assert samcli_run(*arguments, *tidy, "--output", tmp_path / "tidy").exit_code == 0
    plain, tidied = (np.array(masks(record(tmp_path / name, "bus.jpg"))) for name in ("plain", "tidy"))
    assert plain.sum(0).max() > 1
    assert tidied.sum(0).max() == 1
    assert (tidied.any(0) != plain.any(0)).sum() > 0  # small holes are filled, small parts are gone


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--points-per-side", 8), "--points-per-side does"),
        (("--pred-iou-thresh", 0.5, "--crop-n-layers", 1), "--pred-iou-thresh, --crop-n-layers do"),
        (("--embeddings", "x"), "--embeddings does"),
        (("--edges",), "--edges does"),
        (("--compile", "on"), "--compile does"),
        (("--format", "edges"), "--format edges does"),
    ],
    ids=str,
)
def test_everything__of_fastsam_takes_nothing_that_is_only_for_sam(
    samcli_run, photo_file, fastsam, given, said
) -> None:
    result = samcli_run("everything", photo_file, "--sam", fastsam, *given)
    assert f"{said} not apply to FastSAM" in one_line(result, 2)


@pytest.mark.parametrize("command", ["everything", "prompt"])
def test_fastsams_options__are_refused_for_sam(samcli_run, photo_file, command) -> None:
    result = samcli_run(command, photo_file, "--sam", "tiny", "--conf", 0.5, "--imgsz", 320)
    assert "--conf, --imgsz do not apply to SAM, only to FastSAM" in one_line(result, 2)


def test_prompt__boxes_choose_one_mask_each_and_points_all_that_hold_them(
    samcli_run, photo_file, fastsam, tmp_path
) -> None:
    box, point, not_there = [20, 60, 150, 200], [100, 130], [30, 240]
    prompts = tmp_path / "prompts.json"
    objects = [{"box": box, "class": "cat"}, {"points": [point, not_there], "labels": [1, 0], "class": "dog"}]
    prompts.write_text(json.dumps({"names": ["cat", "dog"], "images": {"bus.jpg": objects}}))
    arguments = ("prompt", photo_file, "--sam", fastsam, "--prompts", prompts, "--conf", 0.4, *IN_FULL)
    result = samcli_run(*arguments, "--output", tmp_path / "all")
    assert result.exit_code == 0, result.output
    image = read_image(photo_file)
    by_box = masks_of(fastsam_reference(fastsam, image, conf=0.4, bboxes=[box]))
    by_points = masks_of(fastsam_reference(fastsam, image, conf=0.4, points=[point, not_there], labels=[1, 0]))
    found = record(tmp_path / "all", "bus.jpg")
    assert len(by_points) > 1
    assert [instance.class_id for instance in found.instances] == [0] + [1] * len(by_points)
    assert all(same(a, b) for a, b in zip(masks(found), [*by_box, *by_points], strict=True))
    assert found.instances[0].quality.box_iou is not None
    assert all(i.quality.predicted_iou > 0.4 and i.quality.stability is None for i in found.instances)

    assert samcli_run(*arguments, "--best-mask", "--output", tmp_path / "best").exit_code == 0
    best = masks(record(tmp_path / "best", "bus.jpg"))
    assert len(best) == 2
    assert same(best[1], by_points[0])


def test_prompt__that_finds_nothing_is_dropped_with_that_reason(samcli_run, photo_file, fastsam, tmp_path) -> None:
    arguments = ("--box", "5,5,60,60", "--conf", 1.0, "--output", tmp_path / "out", *IN_FULL)
    assert samcli_run("prompt", photo_file, "--sam", fastsam, *arguments).exit_code == 0
    found = record(tmp_path / "out", "bus.jpg")
    assert [(d.reason, d.prompt_box) for d in found.dropped] == [("nothing was found there", (5, 5, 60, 60))]


def test_prompt__keeps_polygons_and_does_not_ask_for_them(
    samcli_run, photo_folder, fastsam, tmp_path, monkeypatch
) -> None:
    from samcli.detectors.fastsam import FastSam

    asked: list[str] = []
    find = FastSam.find
    monkeypatch.setattr(FastSam, "find", lambda self, i: asked.extend(x.ref.key for x in i) or find(self, i))
    labels = tmp_path / "drawn"
    labels.mkdir()
    (labels / "bus.txt").write_text("0 .1 .1 .5 .1 .5 .5\n0 .5 .5 .4 .4\n")
    (labels / "zidane.txt").write_text("0 .1 .1 .5 .1 .5 .5\n")
    arguments = ("--prompts", labels, "--output", tmp_path / "out", *IN_FULL)
    result = samcli_run("prompt", photo_folder, "--sam", fastsam, *arguments)
    assert result.exit_code == 0, result.output
    assert asked == ["bus.jpg"]
    polygon, boxed = record(tmp_path / "out", "bus.jpg").instances
    assert polygon.quality.predicted_iou is None
    assert boxed.quality.predicted_iou > 0.25


def test_prompt__with_a_mask_to_start_from_fails_its_image_alone(
    samcli_run, photo_folder, fastsam, tmp_path
) -> None:
    np.save(tmp_path / "logits.npy", np.zeros((64, 64), np.float32))
    prompts = tmp_path / "prompts.json"
    images = {
        "bus.jpg": [{"box": [5, 5, 90, 90], "mask_input": "logits.npy"}],
        "zidane.jpg": [{"box": [9, 9, 90, 90]}],
    }
    prompts.write_text(json.dumps({"images": images}))
    result = samcli_run(
        "prompt", photo_folder, "--sam", fastsam, "--prompts", prompts, "--output", tmp_path / "out", "--json",
        "--batch", 2, *IN_FULL,
    )  # fmt: skip
    assert result.exit_code == 3
    failures = json.loads(result.stdout)["failures"]
    assert list(failures) == ["bus.jpg"]
    assert "mask_input does not apply to FastSAM" in str(failures)


@pytest.mark.parametrize(
    "given",
    [("--multimask",), ("--refine", 1), ("--mask-input", "x.npy"), ("--embeddings", "x"), ("--save-logits",),
     ("--stability-score-thresh", 0.5)],
    ids=str,
)  # fmt: skip
def test_prompt__of_fastsam_takes_nothing_that_is_only_for_sam(samcli_run, photo_file, fastsam, given) -> None:
    result = samcli_run("prompt", photo_file, "--sam", fastsam, "--point", "9,9", *given)
    assert f"{given[0]} does not apply to FastSAM" in one_line(result, 2)


@pytest.mark.parametrize("arguments", [("auto-annotate", "--det", "tiny"), ("encode",)], ids=str)
def test_fastsam__is_sent_where_it_belongs(samcli_run, photo_folder, fastsam, arguments) -> None:
    for name in (fastsam, "FastSAM-s.pt"):  # the latter before it is downloaded
        result = samcli_run(arguments[0], photo_folder, *arguments[1:], "--sam", name, *IN_FULL)
        assert "finds objects by itself, as FastSAM does" in one_line(result, 2)


def test_fastsam__that_would_run_code_is_refused_unless_trusted(samcli_run, photo_file, fastsam, tmp_path) -> None:
    trace, path = tmp_path / "ran", tmp_path / "custom.pt"
    torch.save({**torch.load(fastsam, weights_only=False), "extra": Bomb(trace)}, path)
    arguments = ("everything", photo_file, "--sam", path, "--output", tmp_path / "out", *IN_FULL)
    assert "was refused: it would run code" in one_line(samcli_run(*arguments), 1)
    assert not trace.exists()
    assert samcli_run(*arguments, "--trust-weights").exit_code == 0
    assert trace.exists()

"""`--text` from the command line to labels: classes in order, resuming, formats, the detector's own masks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import small_models as small
import yaml
from PIL import Image as Pillow
from runs import files, journal


@pytest.fixture(scope="module")
def grounding(tmp_path_factory) -> Path:
    return small.save_grounding_dino(tmp_path_factory.mktemp("models") / "grounding")


@pytest.fixture(scope="module")
def concepts(tmp_path_factory) -> Path:
    return small.save_sam3(tmp_path_factory.mktemp("models") / "sam3")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, size in enumerate(((97, 131), (64, 80), (120, 90))):
        Pillow.fromarray(small.pixels(index, *size)).save(folder / f"{index}.png")
    return folder


def arguments(images: Path, det: Path, sam: Path | str, *more: object) -> list[object]:
    fixed = ["--precision", "fp32", "--device", "cpu", "--max-det", 3, "--conf", 0.05, "--text-threshold", 0.05]
    return ["auto-annotate", images, "--det", det, "--sam", sam, *fixed, *more]


def test_text__makes_labels_whose_classes_are_the_prompts_in_order(
    samcli_run, images: Path, grounding: Path, small_sam: Path, tmp_path: Path
) -> None:
    run = samcli_run(*arguments(images, grounding, small_sam, "--text", "Red Car, person", "--format", "yolo",
                                "--format", "coco"))  # fmt: skip
    assert run.exit_code == 0, run.stderr
    output = tmp_path / "labels"
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "Red Car", 1: "person"}
    rows = [line for file in output.glob("*.txt") for line in file.read_text().splitlines()]
    assert rows and {row.split()[0] for row in rows} <= {"0", "1"}
    recipe = json.loads((output / ".samcli" / "run.json").read_text())["recipe"]
    assert recipe["text"] == [["Red Car", ["Red Car"]], ["person", ["person"]]]
    categories = json.loads((output / "annotations.json").read_text())["categories"]
    assert [one["name"] for one in categories] == ["Red Car", "person"]


def test_text__of_another_order_is_another_run(
    samcli_run, images: Path, grounding: Path, small_sam: Path, tmp_path: Path
) -> None:
    first = arguments(images, grounding, small_sam, "--text", "car, person")
    assert samcli_run(*first).exit_code == 0
    lines = len(journal(tmp_path / "labels"))
    again = samcli_run(*first)
    assert again.exit_code == 0 and len(journal(tmp_path / "labels")) == lines
    other = samcli_run(*arguments(images, grounding, small_sam, "--text", "person, car"))
    assert other.exit_code == 2 and "--text was" in other.stderr


def test_text__goes_with_classes_and_a_class_map(
    samcli_run, images: Path, grounding: Path, small_sam: Path, tmp_path: Path
) -> None:
    (tmp_path / "map.yaml").write_text("red car: vehicle\nbus: vehicle\n")
    run = samcli_run(
        *arguments(images, grounding, small_sam, "--text", "red car, person, bus", "--classes", "bus,red car"),
        "--class-map", tmp_path / "map.yaml",
    )  # fmt: skip
    assert run.exit_code == 0, run.stderr
    names = yaml.safe_load((tmp_path / "labels" / "data.yaml").read_text())["names"]
    assert names == {0: "vehicle", 1: "person"}
    rows = [line for file in (tmp_path / "labels").glob("*.txt") for line in file.read_text().splitlines()]
    assert rows and {row.split()[0] for row in rows} == {"0"}


def test_concepts__own_masks_become_labels_and_any_sam_outlines_them_anew(
    samcli_run, images: Path, concepts: Path, small_sam: Path, tmp_path: Path
) -> None:
    for name, sam in (("own", "none"), ("anew", small_sam)):
        run = samcli_run(*arguments(images, concepts, sam, "--text", "car", "-o", tmp_path / name))
        assert run.exit_code == 0, run.stderr
    own, anew = files(tmp_path / "own"), files(tmp_path / "anew")
    assert own.keys() == anew.keys()
    assert any(name.endswith(".txt") and own[name] and own[name] != anew[name] for name in own)


def test_text__with_a_detector_of_fixed_classes_names_one_that_reads(
    samcli_run, images: Path, yolo: Path, small_sam: Path
) -> None:
    run = samcli_run(*arguments(images, yolo, small_sam, "--text", "car"))
    assert run.exit_code == 2
    assert "grounding-dino-tiny" in run.stderr and "Traceback" not in run.stderr


def test_a_vocabulary_that_names_nothing__is_refused_before_anything_is_loaded(
    samcli_run, images: Path, grounding: Path, small_sam: Path
) -> None:
    run = samcli_run(*arguments(images, grounding, small_sam, "--text", " , "))
    assert run.exit_code == 2 and "names nothing" in run.stderr


@pytest.mark.slow
def test_killed_runs__end_byte_equal(images: Path, grounding: Path, small_sam: Path, tmp_path: Path) -> None:
    for index in range(3, 24):
        Pillow.fromarray(small.pixels(index, 80, 100)).save(images / f"{index}.png")

    def start(output: Path) -> subprocess.Popen[bytes]:
        given = arguments(images, grounding, small_sam, "--text", "red car, person", "-o", output, "-q")
        return subprocess.Popen([sys.executable, "-m", "samcli", *map(str, given)])

    assert start(tmp_path / "whole").wait(timeout=600) == 0
    for lines in (4, 11):
        process, output = start(tmp_path / "killed"), tmp_path / "killed"
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            file = output / ".samcli" / "journal.jsonl"
            if file.is_file() and file.read_bytes().count(b"\n") >= lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait(timeout=60)
    assert start(tmp_path / "killed").wait(timeout=600) == 0
    whole, killed = (
        {name: data for name, data in files(tmp_path / folder).items() if name != "data.yaml"}
        for folder in ("whole", "killed")
    )
    assert whole == killed

"""`samcli bench` measures the work that it names."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samcli.bench.commands import run_command
from samcli.bench.comparison import compare
from samcli.bench.memory import own_peak, process_memory, reset_peak
from samcli.bench.pictures import draw_boxes, draw_picture, write_pictures
from samcli.bench.random_weights import architecture_of, save_random
from samcli.bench.rotation import run_rotation
from samcli.bench.setup import TASKS, Setup
from samcli.bench.stages import NETWORK_STAGES, STAGES, Profiler
from samcli.checkpoints.registry import CHECKPOINTS
from samcli.config import BenchOptions
from samcli.errors import SamcliError

QUICK = BenchOptions(rounds=1, threads=1, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 2, (96, 128))


def setup_of(tool: str, weights: Path | str, pictures: list[Path], **more: object) -> Setup:
    defaults = {"precision": "fp32", "threads": 1, "boxes": 3, "points_per_side": 2}
    images = tuple(map(str, pictures))
    return Setup(tool, Path(weights).name, str(weights), images, **{**defaults, **more})  # type: ignore[arg-type]


# What is measured on


def test_pictures__are_the_same_every_time_and_differ_from_each_other() -> None:
    first = draw_picture(0, (60, 80))
    assert first.shape == (60, 80, 3)
    assert first.dtype == np.uint8
    assert (first == draw_picture(0, (60, 80))).all()
    assert (first != draw_picture(1, (60, 80))).mean() > 0.5
    assert first.std() > 20, "there must be something to see"


def test_boxes__lie_in_the_image_and_have_an_area() -> None:
    boxes = draw_boxes(200, (100, 300))
    assert boxes.shape == (200, 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (300, 100)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= (29.9, 9.9)).all()


# Random weights


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_known_checkpoint__has_an_architecture(name) -> None:
    from torchvision.models import detection
    from ultralytics.models.sam import build
    from ultralytics.nn.tasks import yaml_model_load

    if CHECKPOINTS[name].publisher == "PyTorch":
        assert callable(getattr(detection, name))
        return
    architecture = architecture_of(name)
    if CHECKPOINTS[name].role == "sam":
        assert callable(getattr(build, architecture))
    else:
        assert yaml_model_load(f"{architecture}.yaml")["head"]


@pytest.mark.parametrize("name", ["mobile_sam.pt", "yolov5nu.pt", "yolo26n-seg.pt"])
def test_random_weights__have_as_many_parameters_as_the_published_file(name, tmp_path) -> None:
    from samcli.models import describe_model

    (facts,) = describe_model(str(save_random(name, tmp_path)))
    assert facts.parameters is not None
    assert facts.parameters / 1e6 == pytest.approx(CHECKPOINTS[name].parameters, abs=0.06)


def test_random_sam__gives_masks_of_few_parts_some_of_them_rated_high(tmp_path) -> None:
    import cv2

    from samcli.sam.engine import load_sam
    from samcli.types import Image, ImageRef, Prompts

    image = Image(ImageRef(Path(), "drawn"), draw_picture(1, (240, 320)))
    engine = load_sam(str(save_random("mobile_sam.pt", tmp_path)), "cpu", "fp32")
    prompts = Prompts(boxes=draw_boxes(16, image.image_size))
    segments = engine.segment(engine.encode([image])[0], prompts, multimask=True)
    parts = [cv2.connectedComponents(segment.mask.pixels().astype(np.uint8))[0] - 1 for segment in segments]
    assert np.median(parts) <= 20
    rated_high = np.mean([segment.predicted_iou > 0.88 for segment in segments])
    assert 0.05 < rated_high < 0.95


# Memory and commands


def test_peak_memory__begins_anew_when_reset() -> None:
    if process_memory("self", "VmHWM") is None:
        pytest.skip("this system keeps no peak by process")
    held = np.ones(200 << 20, np.uint8)
    assert held[-1]
    high = own_peak()
    del held
    reset_peak()
    assert own_peak() < high - 150


def test_command__is_measured_whatever_this_process_holds() -> None:
    held = np.ones(300 << 20, np.uint8)
    code = "import time; x = bytearray(64 << 20)\nwhile time.process_time() < .3: pass\nprint('said')"
    done = run_command([sys.executable, "-c", code])
    assert held[-1]
    assert done.output == "said\n"
    assert done.cpu_seconds >= 0.3
    assert done.seconds > 0
    if process_memory("self", "VmHWM") is not None:
        assert 64 < done.peak_mb < 200


def test_command_that_fails__is_an_error_with_its_last_line() -> None:
    with pytest.raises(SamcliError, match="no such thing"):
        run_command([sys.executable, "-c", "raise SystemExit('no such thing')"])


# Contenders in turn


def test_rotation__measures_each_task_in_each_round(small_sam, pictures) -> None:
    (figures,) = run_rotation([setup_of("samcli", small_sam, pictures)], TASKS, rounds=2)
    assert figures.missing is None
    assert list(figures.tasks) == list(TASKS)
    assert figures.tasks["box"].masks == 3 * len(pictures)
    assert figures.peak_mb > 50
    for task in figures.tasks.values():
        assert len(task.seconds) == len(task.cpu_seconds) == 2
        assert min(task.seconds) > 0


def test_tool_that_fails__does_not_stop_the_others(small_sam, tmp_path, pictures) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(small_sam.read_bytes()[:1000])
    bad, good = run_rotation([setup_of("samcli", path, pictures) for path in (damaged, small_sam)], ("encode",), 1)
    assert "damaged.pth" in bad.missing
    assert bad.tasks == {}
    assert len(good.tasks["encode"].seconds) == 1


# Stages


def test_stages__are_those_of_the_mode_and_add_up(small_sam, yolo, pictures) -> None:
    profiler = Profiler(setup_of("samcli", small_sam, pictures, det=str(yolo)))
    box, everything = (profiler.run(mode, pictures[0]) for mode in ("box", "everything"))
    assert list(box) == list(STAGES)
    assert list(everything) == [stage for stage in STAGES if stage not in ("detect", "polygons")]
    assert min(*box.values(), *everything.values()) > 0
    assert set(NETWORK_STAGES) < set(STAGES)


# The command


def test_table__has_a_line_for_each_model(samcli_run, small_sam, fastsam, pictures, tmp_path) -> None:
    file, models = tmp_path / "figures.json", f"{small_sam},{fastsam}"
    result = samcli_run(
        "bench", pictures[0], "--models", models, "--rounds", 1, "--points-per-side", 2, "--stages", "--threads", 1,
        "--output", file,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "model MB M params encode ms box ms everything ms peak MB"
    assert [line.split()[0] for line in lines[1:3]] == ["small_sam.pth", "fastsam.pt"]
    assert "small_sam.pth, box" in result.stdout
    facts = json.loads(file.read_text(encoding="utf-8"))
    sam, fast = facts["models"]
    assert sam["megabytes"] == pytest.approx(small_sam.stat().st_size / 1e6)
    assert set(sam["stages"]) == {"box", "everything"}
    assert fast["stages"] == {}
    assert facts["machine"]["precision"] in ("fp32", "bf16")


def test_json__is_the_only_thing_on_stdout(samcli_run, small_sam, pictures) -> None:
    result = samcli_run(
        "bench",
        pictures[0].parent,
        "--models",
        small_sam,
        "--rounds",
        1,
        "--tasks",
        "encode",
        "--images",
        2,
        "--json",
    )
    facts = json.loads(result.stdout)
    assert facts["images"] == [path.name for path in pictures]
    assert list(facts["models"][0]["tools"][0]["tasks"]) == ["encode"]


def test_model_that_is_not_here__names_both_remedies(samcli_run) -> None:
    result = samcli_run("bench", "--models", "sam_b.pt")
    assert result.exit_code == 2
    assert "samcli models fetch sam_b.pt" in result.stderr
    assert "--random-weights" in result.stderr


def test_random_weights__stand_in_for_a_model_that_is_not_here(samcli_run, pictures) -> None:
    result = samcli_run(
        "bench", pictures[0], "--models", "yolo11n.pt", "--random-weights", "--rounds", 1, "--threads", 1, "--json"
    )
    (model,) = json.loads(result.stdout)["models"]
    assert model["random"] is True
    assert model["name"] == "yolo11n.pt"
    assert list(model["tools"][0]["tasks"]) == ["everything"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tasks", "encod"], "Did you mean 'encode'?"),
        (["--growth", "--extent", "0.1"], "bench no longer has --extent, --growth: these benchmarks are scripts"),
        (["--against", "ultralytics"], "tests/benchmarks/README.md"),
        (["--models", ","], "names no model"),
    ],
)
def test_usage__is_checked_before_anything_is_measured(samcli_run, arguments, reason) -> None:
    result = samcli_run("bench", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_two_files_of_one_name__are_told_apart(pictures, small_sam, tmp_path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(str(shutil.copy(small_sam, tmp_path / folder / "sam.pt")))
    options = replace(QUICK, models=",".join(names), tasks="encode", images=1)
    assert [one.model.name for one in compare(pictures[0], options).models] == names

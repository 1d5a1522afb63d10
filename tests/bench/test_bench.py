"""`samcli bench`: it measures the work that it says, by all tools, and its verdicts follow from the figures."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samcli.bench import setup as bench_setup
from samcli.bench import targets as bench_targets
from samcli.bench.commands import run_command
from samcli.bench.comparison import compare
from samcli.bench.growth import AXES, Curve, Point, measure_growth
from samcli.bench.memory import own_peak, process_memory, reset_peak
from samcli.bench.pictures import draw_boxes, draw_picture, write_pictures
from samcli.bench.random_weights import architecture_of, save_random
from samcli.bench.rotation import ContenderFigures, Spread, TaskFigures, ratios, run_rotation
from samcli.bench.setup import TASKS, Setup
from samcli.bench.stages import NETWORK_STAGES, STAGES, Profiler
from samcli.bench.targets import TARGETS, measure_targets
from samcli.checkpoints.registry import CHECKPOINTS
from samcli.config import BenchOptions
from samcli.errors import SamcliError

QUICK = BenchOptions(rounds=1, threads=1, extent=0.001, device="cpu", precision="fp32")


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
    from ultralytics.models.sam import build
    from ultralytics.nn.tasks import yaml_model_load

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


def test_rotation__measures_each_task_in_each_round_by_tools_that_do_the_same_work(small_sam, pictures) -> None:
    pytest.importorskip("segment_anything")
    pytest.importorskip("transformers")
    tools = ("samcli", "segment-anything", "transformers")
    figures = run_rotation([setup_of(tool, small_sam, pictures) for tool in tools], TASKS, rounds=2)
    assert [one.missing for one in figures] == [None] * 3
    for one in figures:
        assert list(one.tasks) == list(TASKS)
        assert one.tasks["box"].masks == 3 * len(pictures)
        assert one.peak_mb > 50
        for task in one.tasks.values():
            assert len(task.seconds) == len(task.cpu_seconds) == 2
            assert min(task.seconds) > 0
    by_task = ratios(figures[0], figures[1])
    ours, theirs = (one.tasks["box"].seconds for one in figures[:2])
    assert by_task["box"] == Spread.of([theirs[0] / ours[0], theirs[1] / ours[1]])
    assert set(by_task) == set(TASKS)


def test_everything__is_as_many_masks_as_segment_anythings(small_sam, pictures, monkeypatch) -> None:
    """Random weights rate no mask above .88: both are asked without that threshold."""
    segment_anything = pytest.importorskip("segment_anything")
    from samcli.bench.contenders import OwnSam
    from samcli.bench.peers import load_peer
    from samcli.config import MaskGeneratorOptions
    from samcli.images import read_image
    from samcli.sam.engine import load_sam

    low = {
        "pred_iou_thresh": -9.0,
        "stability_score_thresh": 0.01,
        "stability_score_offset": 0.01,
        "box_nms_thresh": 1.0,
    }
    own = OwnSam(load_sam(str(small_sam), "cpu", "fp32"), setup_of("samcli", small_sam, pictures))
    own._options = MaskGeneratorOptions(points_per_side=2, **low)
    kind = segment_anything.SamAutomaticMaskGenerator
    monkeypatch.setattr(segment_anything, "SamAutomaticMaskGenerator", lambda *a, **k: kind(*a, **k, **low))
    peer = load_peer(setup_of("segment-anything", small_sam, pictures))
    image = read_image(pictures[0])
    assert own.run("everything", image) == peer.run("everything", image) > 1


def test_ultralytics__runs_mobile_sam_and_fastsam(tmp_path, fastsam, pictures) -> None:
    import weights

    mobile = weights.save_mobile_sam(tmp_path / "any_name.pt")
    (sam,) = run_rotation([setup_of("ultralytics", mobile, pictures[:1])], TASKS, rounds=1)
    assert sam.missing is None
    assert sam.tasks["box"].masks == 3, "all boxes, whatever their score"
    finders = run_rotation([setup_of(tool, fastsam, pictures[:1]) for tool in ("samcli", "ultralytics")], TASKS, 1)
    assert [list(one.tasks) for one in finders] == [["box", "everything"]] * 2
    assert finders[0].tasks["everything"].masks == pytest.approx(finders[1].tasks["everything"].masks, rel=0.05)


def test_tool_that_cannot_run_a_model__is_left_out_with_the_reason(small_sam, fastsam, pictures) -> None:
    (ultralytics,) = run_rotation([setup_of("ultralytics", small_sam, pictures)], TASKS, rounds=1)
    assert ultralytics.missing == "ultralytics has no network for small_sam.pth: it knows the published sizes only"
    (other,) = run_rotation([setup_of("segment-anything", fastsam, pictures)], TASKS, rounds=1)
    assert other.missing == "segment-anything has no network for fastsam.pt: it knows ViT SAM only"


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


def test_table__has_a_line_for_each_model_and_tool(samcli_run, small_sam, fastsam, pictures, tmp_path) -> None:
    pytest.importorskip("segment_anything")
    chart, file = tmp_path / "chart.svg", tmp_path / "figures.json"
    models = f"{small_sam},{fastsam}"
    result = samcli_run(
        "bench", pictures[0], "--models", models, "--against", "segment-anything", "--rounds", 1,
        "--points-per-side", 2, "--stages", "--threads", 1, "--chart", chart, "--output", file,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "model MB M params encode ms box ms everything ms peak MB"
    assert [line.split()[0] for line in lines[1:4]] == ["small_sam.pth", "segment-anything", "fastsam.pt"]
    assert "left out segment-anything: segment-anything has no network for fastsam.pt" in result.stdout
    assert "small_sam.pth, box" in result.stdout
    assert chart.read_text(encoding="utf-8").count("<svg") == 1
    facts = json.loads(file.read_text(encoding="utf-8"))
    sam, fast = facts["models"]
    assert sam["megabytes"] == pytest.approx(small_sam.stat().st_size / 1e6)
    assert set(sam["ratios"]["segment-anything"]["encode"]) == {"min", "median", "max"}
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
        (["--against", "segment-anythin"], "Did you mean 'segment-anything'?"),
        (["--tasks", "encod"], "Did you mean 'encode'?"),
        (["--growth", "--targets"], "give one"),
        (["--only", "encode"], "--targets"),
        (["--targets", "--only", "encodes"], "Did you mean 'encode'?"),
        (["--growth", "--only", "promts"], "Did you mean 'prompts'?"),
        (["--chart", "chart.jpg"], "--chart chart.jpg: expected a name that ends in .png, .svg, .pdf"),
        (["--models", ","], "names no model"),
    ],
)
def test_usage__is_checked_before_anything_is_measured(samcli_run, arguments, reason) -> None:
    result = samcli_run("bench", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_missing_peer__names_the_extra(samcli_run, monkeypatch) -> None:
    monkeypatch.setattr(bench_setup, "find_spec", lambda name: None)
    result = samcli_run("bench", "--against", "transformers")
    assert result.exit_code == 2
    assert result.stderr == "samcli: transformers is not installed: pip install 'samcli[bench]'\n"


# Growth


def curve(*pairs: tuple[float, float]) -> Curve:
    return Curve("c", "things", "work", tuple(Point(size, seconds, seconds, 100) for size, seconds in pairs))


def test_curve__is_linear_with_any_start_and_not_with_a_knee() -> None:
    start_and_line = curve((1, 2.001), (10, 2.01), (1000, 3), (100_000, 102))
    assert start_and_line.is_linear
    assert not curve((1, 1), (10, 10), (100, 100), (1000, 3000)).is_linear
    assert curve((1, 1), (10, 100)).slope == pytest.approx(2)
    grows = Curve("c", "things", "work", (Point(1, 1, 1, 10), Point(10, 1, 1, 1000)))
    assert not grows.is_linear, "memory counts too"


def test_extent__is_the_share_of_the_longest_that_is_reached() -> None:
    assert AXES["journal"].within(1) == [1000, 10_000, 100_000, 1_000_000]
    assert AXES["journal"].within(0.05) == [1000, 10_000, 50_000]
    assert AXES["prompts"].within(0.0001) == [1]


def test_growth__has_a_point_for_each_size(tmp_path) -> None:
    options = replace(QUICK, extent=0.003)
    result = measure_growth(["prompts", "journal"], options)
    prompts, journal = result.curves
    assert [point.size for point in prompts.points] == [1, 3]
    assert [point.size for point in journal.points] == [1000, 3000]
    assert min(point.peak_mb for one in result.curves for point in one.points) > 10
    assert [one["name"] for one in result.as_dict()["growth"]] == ["prompts", "journal"]


@pytest.mark.slow
def test_growth_of_pixels_and_resume__measure_the_whole_work(samcli_run, tmp_path) -> None:
    chart = tmp_path / "chart.png"
    result = samcli_run(
        "bench",
        "--growth",
        "--only",
        "pixels,resume",
        "--extent",
        0.001,
        "--threads",
        1,
        "--boxes",
        2,
        "--chart",
        chart,
    )
    assert result.exit_code == 0, result.output
    assert "pixels: one image, from file to labels" in result.stdout
    assert "resume: auto-annotate with nothing left to do" in result.stdout
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_growth_of_images__is_a_run_over_each_number() -> None:
    (images,) = measure_growth(["images"], replace(QUICK, extent=0.002)).curves
    assert [point.size for point in images.points] == [10, 20]


# Targets


def test_two_files_of_one_name__are_told_apart(pictures, small_sam, tmp_path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(str(shutil.copy(small_sam, tmp_path / folder / "sam.pt")))
    options = replace(QUICK, models=",".join(names), tasks="encode", images=1)
    assert [one.model.name for one in compare(pictures[0], options).models] == names


@pytest.fixture
def small_models(small_sam, yolo) -> dict[str, str]:
    return {"vit-b": str(small_sam), "vit-h": str(small_sam), "det": str(yolo)}


def test_targets__are_measured_and_judged_by_the_median(pictures, small_models, monkeypatch) -> None:
    pytest.importorskip("segment_anything")
    impossible = replace(TARGETS["encode"], limit=1e9)
    easy = replace(TARGETS["exact-box"], limit=0)
    monkeypatch.setattr(bench_targets, "TARGETS", {**TARGETS, "encode": impossible, "exact-box": easy})
    names = ["encode", "exact-box", "exact-encode", "gpu-box"]
    result = measure_targets(pictures[0], names, replace(QUICK, rounds=2), models=small_models)
    rows = {row.target.name: row for row in result.rows}
    assert list(rows) == names
    assert rows["encode"].met is False
    assert set(rows["encode"].stages) == set(STAGES) - {"detect"}, "what stands in the way"
    assert rows["exact-box"].met is True
    assert rows["exact-box"].stages == {}
    assert rows["exact-encode"].spread.min <= rows["exact-encode"].spread.median <= rows["exact-encode"].spread.max
    assert rows["gpu-box"].met is None
    assert rows["gpu-box"].note == "no GPU here"


def test_rows_that_are_at_most__are_met_below() -> None:
    row = bench_targets.Reached(TARGETS["overhead"], Spread.of([29.0]))
    assert row.met
    assert not replace(row, spread=Spread.of([31.0])).met


def test_targets__whose_peer_is_not_installed_say_so(pictures, small_models, monkeypatch) -> None:
    monkeypatch.setattr(bench_setup, "find_spec", lambda name: None)
    (row,) = measure_targets(pictures[0], ["encode"], QUICK, models=small_models).rows
    assert row.note == "segment-anything is not installed: pip install 'samcli[bench]'"


def test_targets__without_one_peer_lack_its_row_alone(pictures, small_models, monkeypatch) -> None:
    """Ultralytics has no network of such small numbers: its row says so, that of transformers is measured."""

    def rotation(setups, tasks, rounds, watch):
        figures = [ContenderFigures(setup.tool, tasks={"everything": TaskFigures([1.0])}) for setup in setups]
        figures[1].missing, figures[1].tasks = "has no network for it", {}
        figures[2].tasks["everything"].seconds = [4.0]
        return figures

    monkeypatch.setattr(bench_targets, "run_rotation", rotation)
    monkeypatch.setattr(bench_setup, "find_spec", lambda name: True)
    names = ["everything-ultralytics", "everything-transformers"]
    without, measured = measure_targets(pictures[0], names, QUICK, models=small_models).rows
    assert (without.met, without.note) == (None, "has no network for it")
    assert measured.spread == Spread(4, 4, 4)


def test_targets__are_kept_row_by_row(pictures, small_models) -> None:
    kept: list[list[str]] = []
    names = ["gpu-box", "gpu-everything"]
    measure_targets(
        pictures[0],
        names,
        QUICK,
        models=small_models,
        keep=lambda result: kept.append([row.target.name for row in result.rows]),
    )
    assert kept == [names[:1], names]


@pytest.mark.slow
def test_rows_of_whole_commands__are_measured(pictures, small_models) -> None:
    pytest.importorskip("segment_anything")
    pytest.importorskip("transformers")
    names = [
        "everything-amg",
        "exact-everything",
        "memory-everything",
        "everything-transformers",
        "embeddings",
        "overhead",
    ]
    rows = measure_targets(pictures[0], names, replace(QUICK, extent=0.1), models=small_models).rows
    assert [row.note for row in rows] == [""] * len(names)
    assert all(row.spread.median > 0 for row in rows)


@pytest.mark.slow
def test_rows_against_ultralytics__are_measured(pictures, small_models, tmp_path) -> None:
    import weights

    models = {**small_models, "vit-b": str(weights.save_mobile_sam(tmp_path / "mobile_sam.pt"))}
    names = ["auto-annotate"]
    rows = measure_targets(pictures[0], names, replace(QUICK, extent=0.05), models=models).rows
    assert [row.note for row in rows] == [""]
    assert all(row.spread.median > 0 for row in rows)


@pytest.mark.slow
def test_resume__is_measured_once_for_both_rows(small_models) -> None:
    rows = measure_targets(None, ["resume-seconds", "resume-memory"], QUICK, models=small_models).rows
    assert rows[0].spread.median > 0.1
    assert rows[1].spread.median > 50


@pytest.mark.slow
def test_flat_memory__is_measured_over_a_run(small_models) -> None:
    (row,) = measure_targets(None, ["memory-flat"], replace(QUICK, extent=0.03), models=small_models).rows
    assert row.note == ""
    assert abs(row.spread.median) < 50

"""The race measures the same work by all tools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import peers
import pytest
import race
from peers import peer_setup
from settings import Call, Settings, read_call

from samcli.bench.pictures import write_pictures
from samcli.bench.rotation import Spread, ratios, run_rotation
from samcli.bench.setup import TASKS, Setup
from samcli.errors import UsageError

QUICK = Settings(rounds=1, threads=1, extent=0.001, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 2, (96, 128))


def setup_of(tool: str, weights: Path | str, pictures: list[Path]) -> Setup:
    images = tuple(map(str, pictures))
    name = Path(weights).name
    own = Setup("samcli", name, str(weights), images, precision="fp32", threads=1, boxes=3, points_per_side=2)
    return own if tool == "samcli" else peer_setup(own, tool)


def test_tools__do_the_same_work_in_each_round(small_sam, pictures) -> None:
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
    from peers import load_peer

    from samcli.bench.contenders import OwnSam
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


def test_missing_peer__names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"transformers is not installed: pip install 'samcli\[bench\]'"):
        race.race(Call(settings=replace(QUICK, only="transformers")))


def test_unknown_peer__names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'segment-anything'"):
        race.race(Call(settings=replace(QUICK, only="segment-anythin")))


def test_race__prints_ratios_and_leaves_out_what_a_tool_cannot_run(
    small_sam, fastsam, pictures, tmp_path, capsys
) -> None:
    pytest.importorskip("segment_anything")
    chart, file = tmp_path / "chart.svg", tmp_path / "figures.json"
    settings = replace(QUICK, models=f"{small_sam},{fastsam}", only="segment-anything", points_per_side=2)
    race.main(Call(pictures[0], settings, file, chart))
    shown = capsys.readouterr().out
    assert "left out segment-anything: segment-anything has no network for fastsam.pt" in shown
    assert "segment-anything, small_sam.pth" in shown
    assert chart.read_text(encoding="utf-8").count("<svg") == 1
    (sam, fast) = json.loads(file.read_text(encoding="utf-8"))["models"]
    assert set(sam["ratios"]["segment-anything"]["encode"]) == {"min", "median", "max"}
    assert fast["ratios"] == {}


def test_command_line__takes_the_options_of_bench() -> None:
    call = read_call("a benchmark", ["photos", "--rounds", "5", "--extent", "0.5", "--stages"])
    assert (call.images, call.settings) == (Path("photos"), Settings(rounds=5, extent=0.5, stages=True))
    with pytest.raises(SystemExit) as ended:
        read_call("a benchmark", ["--extent", "2"])
    assert ended.value.code == 2


def test_command_line__knows_nothing_else() -> None:
    with pytest.raises(SystemExit):
        read_call("a benchmark", ["--against", "ultralytics"])

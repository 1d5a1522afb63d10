"""Targets are measured row by row, and judged by the median."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import peers
import pytest
import targets
from settings import Call, Settings
from targets import TARGETS, Reached, measure_targets

from samcli.bench.pictures import write_pictures
from samcli.bench.rotation import ContenderFigures, Spread, TaskFigures
from samcli.bench.stages import STAGES
from samcli.errors import UsageError

QUICK = Settings(rounds=1, threads=1, extent=0.001, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 2, (96, 128))


@pytest.fixture
def small_models(small_sam, yolo) -> dict[str, str]:
    return {"vit-b": str(small_sam), "vit-h": str(small_sam), "det": str(yolo)}


def test_targets__are_measured_and_judged_by_the_median(pictures, small_models, monkeypatch) -> None:
    pytest.importorskip("segment_anything")
    impossible = replace(TARGETS["encode"], limit=1e9)
    easy = replace(TARGETS["exact-box"], limit=0)
    monkeypatch.setattr(targets, "TARGETS", {**TARGETS, "encode": impossible, "exact-box": easy})
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
    row = Reached(TARGETS["overhead"], Spread.of([29.0]))
    assert row.met
    assert not replace(row, spread=Spread.of([31.0])).met


def test_targets__whose_peer_is_not_installed_say_so(pictures, small_models, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    (row,) = measure_targets(pictures[0], ["encode"], QUICK, models=small_models).rows
    assert row.note == "segment-anything is not installed: pip install 'samcli[bench]'"


def test_targets__without_one_peer_lack_its_row_alone(pictures, small_models, monkeypatch) -> None:
    """Ultralytics has no network of such small numbers: its row says so, that of transformers is measured."""

    def rotation(setups, tasks, rounds, watch):
        figures = [ContenderFigures(setup.tool, tasks={"everything": TaskFigures([1.0])}) for setup in setups]
        figures[1].missing, figures[1].tasks = "has no network for it", {}
        figures[2].tasks["everything"].seconds = [4.0]
        return figures

    monkeypatch.setattr(targets, "run_rotation", rotation)
    monkeypatch.setattr(peers, "find_spec", lambda name: True)
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
    (row,) = measure_targets(None, ["memory-flat"], replace(QUICK, extent=0.012), models=small_models).rows
    assert row.note == ""
    assert abs(row.spread.median) < 50


def test_unknown_row__names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'encode'"):
        targets.main(Call(settings=replace(QUICK, only="encodes")))

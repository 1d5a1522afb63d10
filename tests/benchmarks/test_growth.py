"""Curves have a point for each size, and their verdicts follow from the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import growth
import pytest
from growth import AXES, Curve, Point, measure_growth
from settings import Call, Settings

from samcli.bench.pictures import write_pictures
from samcli.errors import UsageError

QUICK = Settings(rounds=1, threads=1, extent=0.001, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 2, (96, 128))


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
def test_growth_of_pixels_and_resume__measure_the_whole_work(tmp_path, capsys) -> None:
    chart = tmp_path / "chart.png"
    settings = replace(QUICK, only="pixels,resume", boxes=2)
    growth.main(Call(settings=settings, chart=chart))
    shown = capsys.readouterr().out
    assert "pixels: one image, from file to labels" in shown
    assert "resume: auto-annotate with nothing left to do" in shown
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_growth_of_images__is_a_run_over_each_number() -> None:
    (images,) = measure_growth(["images"], replace(QUICK, extent=0.002)).curves
    assert [point.size for point in images.points] == [10, 20]


def test_unknown_curve__names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'prompts'"):
        growth.main(Call(settings=replace(QUICK, only="promts")))

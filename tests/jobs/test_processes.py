"""Several processes do the work, one driver keeps the books: every image has one outcome, whatever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import FakeJob

from samcli.config import PromptOptions
from samcli.errors import SamcliError, StorageError, UsageError
from samcli.jobs.plan import find_scope, make_plan
from samcli.jobs.processes import Processes, devices_of
from samcli.jobs.prompt import Prompt
from samcli.jobs.team import Task
from samcli.types import ImageRef, Outcome, Status


@pytest.fixture
def processes(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    job = Prompt(PromptOptions.of(box=("1,1,9,9",), sam="tiny", precision="fp32"))
    plan = make_plan(find_scope(tmp_path / "images", None, job), {})

    def start(*devices: str) -> Processes[Any]:
        return Processes(Task(FakeJob(tmp_path), plan, {}, batch=0, workers=1), devices, 1)  # type: ignore[arg-type]

    return start


def refs(tmp_path: Path, *keys: str) -> list[ImageRef]:
    return [ImageRef(tmp_path, key) for key in keys]


def run(
    crew: Processes[Any],
    images: list[ImageRef],
    stopping: Callable[[], bool] = lambda: False,
    alone: tuple[ImageRef, ...] = (),
) -> dict[str, Outcome]:
    settled: list[Outcome] = []
    told = list(crew.run(images, alone=alone, settle=settled.append, stopping=stopping))
    assert told == settled
    assert len({outcome.ref.key for outcome in told}) == len(told)
    return {outcome.ref.key: outcome for outcome in told}


def test_images__are_shared_by_the_processes_and_each_has_one_outcome(processes, tmp_path) -> None:
    images = refs(tmp_path, *(f"{number}.png" for number in range(40)), "torn.png")
    with processes("cpu:0", "cpu:1") as crew:
        assert crew.names == {0: "thing"}
        outcomes = run(crew, images)
    assert sorted(outcomes) == sorted(ref.key for ref in images)
    assert {key for key, one in outcomes.items() if one.status is Status.FAILED} == {"torn.png"}
    devices = Counter(file.read_text() for file in tmp_path.glob("*.done"))
    assert set(devices) == {"cpu:0\n", "cpu:1\n"}
    assert devices.total() == 40
    assert crew.notes == ["a note"]


def test_process_that_dies__is_replaced_and_its_images_are_tried_again_alone(processes, tmp_path) -> None:
    images = refs(tmp_path, "once.png", *(f"{number}.png" for number in range(20)), "kill.png")
    with processes("cpu") as crew:
        outcomes = run(crew, images)
    failed = {key: one.error for key, one in outcomes.items() if one.status is Status.FAILED}
    assert failed == {"kill.png": "two processes died while they worked on this image (killed by SIGKILL)"}
    assert len(outcomes) == len(images)
    for file in tmp_path.glob("*.done"):
        assert len(file.read_text().splitlines()) <= 2  # at least once, and no more than one retry


def test_images_at_which_an_earlier_run_was_killed__come_last_each_alone(processes, tmp_path) -> None:
    with processes("cpu") as crew:
        outcomes = run(crew, refs(tmp_path, "1.png"), alone=tuple(refs(tmp_path, "kill.png", "2.png")))
    assert list(outcomes) == ["1.png", "kill.png", "2.png"]
    assert [one.status for one in outcomes.values()] == [Status.DONE, Status.FAILED, Status.DONE]


def test_stop__finishes_what_is_in_flight_and_begins_nothing_more(processes, tmp_path) -> None:
    images = refs(tmp_path, *(f"{number}.png" for number in range(1000)))
    asked = iter([False] * 5)
    with processes("cpu") as crew:
        outcomes = run(crew, images, stopping=lambda: next(asked, True))
    assert 0 < len(outcomes) < len(images)
    assert len(outcomes) == len(list(tmp_path.glob("*.done")))


def test_process_that_dies_at_its_start__ends_the_run_and_fails_no_image(processes, tmp_path) -> None:
    told: list[Outcome] = []
    with pytest.raises(SamcliError, match="died while it loaded the models"):  # noqa: SIM117
        with processes("full", "full") as crew:
            outcomes = crew.run(refs(tmp_path, "1.png"), alone=(), settle=told.append, stopping=lambda: False)
            list(outcomes)
    assert all(one.status is Status.DONE for one in told)


def test_processes__know_all_images_of_the_run(processes, tmp_path) -> None:
    with processes("cpu") as crew:
        run(crew, refs(tmp_path, "1.png"))
    assert (tmp_path / "plan.keys").read_text() == "a.png"  # of the plan, whatever is sent


def test_full_disk__ends_the_run(processes, tmp_path) -> None:
    with pytest.raises(StorageError, match="the disk is full"), processes("cpu") as crew:
        run(crew, refs(tmp_path, "1.png", "full.png"))


def test_networks_that_cannot_be_loaded__are_refused_before_anything_else(processes) -> None:
    with pytest.raises(UsageError, match="no device 'none'"), processes("none"):
        pass


@pytest.mark.parametrize(
    ("device", "procs", "expected"),
    [
        ("auto", None, ["auto"]),
        ("cpu", 2, ["cpu", "cpu"]),
        ("cuda:0, cuda:1", None, ["cuda:0", "cuda:1"]),
        ("cuda:0,cuda:1", 3, ["cuda:0", "cuda:1", "cuda:0"]),
    ],
)
def test_devices__are_taken_in_turn(device: str, procs: int | None, expected: list[str]) -> None:
    assert devices_of(Prompt(PromptOptions.of(box=("1,1,9,9",), device=device, procs=procs))) == expected


def test_fewer_processes_than_devices__are_refused() -> None:
    with pytest.raises(UsageError, match="at least one process for each"):
        devices_of(Prompt(PromptOptions.of(box=("1,1,9,9",), device="cuda:0,cuda:1", procs=1)))


@pytest.mark.slow
def test_two_processes__write_the_files_of_one(tmp_path) -> None:
    shapes = Path(__file__).parents[2] / "examples" / "shapes"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    options = ("--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--format", "coco", "--quiet")
    for name, more in (("one", ()), ("two", ("--procs", "2"))):
        command = [sys.executable, "-m", "samcli", "auto-annotate", shapes, *options, "-o", tmp_path / name, *more]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    names = [
        path.relative_to(tmp_path / "one")
        for path in (tmp_path / "one").rglob("*")
        if path.is_file() and path.name != "journal.jsonl"
    ]
    assert len(names) > 12
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

"""A run in shards leaves the files that one run leaves, whatever the order, and whatever is killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from runs import write_review

from samcli.output.run_folder import RunFolder
from samcli.output.shards import shard_of
from samcli.review.apply import as_labelled, instance_hash

KEYS = [f"{number}.png" for number in range(6)]
"""Of three shards, each has some."""

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
OPTIONS = (
    "--box",
    "2,2,20,16",
    "--sam",
    "tiny",
    "--precision",
    "fp32",
    "--format",
    "yolo",
    "--format",
    "coco",
    "--json",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    with PillowImage.open(SHAPES / "beads.jpg") as image:
        for number, key in enumerate(KEYS):
            image.crop((20 * number, 60, 20 * number + 200, 200)).save(folder / key)
    return folder


@pytest.fixture
def prompt(samcli_run, data: Path):
    def run(output: Path, *arguments: object, status: int = 0) -> dict:
        result = samcli_run("prompt", data, "-o", output, *OPTIONS, "--json", *arguments)
        assert result.exit_code == status, result.output
        return json.loads(result.stdout) if status in (0, 3) else {"error": result.stderr}

    return run


def files(output: Path) -> dict[str, bytes]:
    """Labels, records and the manifest: all but journals, whose lines have times."""
    paths = (path for path in output.rglob("*") if path.is_file() and not path.name.startswith(("journal", "lock")))
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in paths}


def in_shard(index: int, count: int) -> list[str]:
    return [key for key in KEYS if shard_of(key, count).index == index]


def test_shards__leave_the_files_of_one_run(prompt, data, tmp_path) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    prompt(one)
    counts = [len(in_shard(index, 3)) for index in (1, 2, 3)]
    assert min(counts) > 0
    for index in (2, 3, 1):
        summary = prompt(three, "--shard", f"{index}/3")
        assert (summary["images"], summary["done"]) == (counts[index - 1], counts[index - 1])
        assert ("annotations.json: the shard that ends last" in " ".join(summary["notes"])) == (index != 1)
        assert (three / "annotations.json").exists() == (index == 1)
    expected = files(one)
    manifest = {**json.loads(expected.pop(".samcli/run.json")), "shards": 3}
    found = files(three)
    assert json.loads(found.pop(".samcli/run.json")) == manifest
    assert found == expected
    assert RunFolder.open(three).done() == KEYS
    assert prompt(three, "--shard", "2/3")["done"] == 0


def test_shard__goes_on_after_a_loss_and_makes_the_files_of_all_images_up(prompt, data, tmp_path) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        prompt(output, "--shard", f"{index}/2")
    before = files(output)
    lost = in_shard(1, 2)[0]
    Path(RunFolder.open(output).layout.record(lost)).unlink()
    (output / "annotations.json").unlink()
    assert prompt(output, "--shard", "2/2")["done"] == 0
    assert prompt(output, "--shard", "1/2")["done"] == 1
    assert files(output) == before


def test_new_images__move_no_others(prompt, data, tmp_path) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        prompt(output, "--shard", f"{index}/2")
    PillowImage.new("RGB", (32, 24)).save(data / "new.png")
    done = [prompt(output, "--shard", f"{index}/2")["done"] for index in (1, 2)]
    assert done == [int(shard_of("new.png", 2).index == index) for index in (1, 2)]
    assert len(json.loads((output / "annotations.json").read_text())["images"]) == len(KEYS) + 1


def test_shards__of_another_count_or_recipe_and_overwrite_are_refused(prompt, data, tmp_path) -> None:
    output = tmp_path / "out"
    prompt(output, "--shard", "1/2")
    for arguments, message in [
        (("--shard", "1/3"), "was begun in 2 shards, and this is a run in 3 shards"),
        ((), "was begun in 2 shards, and this is a run without --shard"),
        (("--shard", "2/2", "--best-mask"), "was begun with other options"),
        (("--shard", "2/2", "--overwrite"), "--overwrite with --shard would remove what other shards wrote"),
    ]:
        assert message in prompt(output, *arguments, status=2)["error"]


def test_review__goes_into_the_journal_of_the_images_shard(prompt, data, tmp_path, samcli_run) -> None:
    output = tmp_path / "labels"
    for index in (1, 2):
        prompt(output, "--shard", f"{index}/2")
    run, key = RunFolder.open(output), KEYS[0]
    first = as_labelled(run.record(key))[0][0]
    row = {"key": key, "index": 0, "hash": instance_hash(first), "mark": "no_object"}
    assert samcli_run("apply-review", output, write_review(tmp_path, [row])).exit_code == 0
    assert not run.layout.journal.exists()
    assert run.entries()[key].instances == ()
    assert prompt(output, "--shard", f"{shard_of(key, 2).index}/2")["done"] == 0


@pytest.mark.slow
def test_shards__begun_together_and_one_of_them_killed_end_as_one_run(prompt, data, tmp_path) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    prompt(one)
    command = [sys.executable, "-m", "samcli", "prompt", str(data), "-o", str(three), *OPTIONS, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = {
        index: subprocess.Popen([*command, "--shard", f"{index}/3"], env=environment, stdout=subprocess.DEVNULL)
        for index in (1, 2, 3)
    }
    while not list(three.glob("*.txt")):  # the first image of any shard is done
        assert any(process.poll() is None for process in runs.values())
        time.sleep(0.01)
    runs[2].kill()
    assert [runs[index].wait() for index in (1, 3)] == [0, 0]
    runs[2].wait()
    assert prompt(three, "--shard", "2/3")["failed"] == 0
    expected, found = files(one), files(three)
    for of in (expected, found):
        of.pop(".samcli/run.json")
    assert found == expected

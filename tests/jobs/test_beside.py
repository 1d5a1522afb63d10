"""A run beside labels that were there before: somebody's work stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import Run
from runs import files

from samcli.jobs.beside import merged_classes

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
TINY = ("--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images; the first has a label of somebody's, in which a ring is class 0."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in ("beads.jpg", "grey.jpg", "nothing.jpg"):
        shutil.copy(SHAPES / name, folder / "images" / name)
    (folder / "labels" / "beads.txt").write_text("0  0.5 0.5 0.25 0.25   ")
    (folder / "labels" / "data.yaml").write_text("# mine\nnames: [ring, disc]\n")
    return folder


def run(samcli_run: Run, folder: Path, *arguments: object, status: int = 0) -> dict[str, Any]:
    result = samcli_run("auto-annotate", folder / "images", *TINY, *arguments)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout) if status == 0 else {}


def classes(label: Path) -> list[int]:
    return [int(line.split()[0]) for line in label.read_text().splitlines()]


def test_keep__labels_only_images_that_have_none_with_the_numbers_of_the_others(samcli_run, folder) -> None:
    before = {name: (folder / "labels" / name).read_bytes() for name in ("beads.txt", "data.yaml")}
    summary = run(samcli_run, folder, "--existing", "keep")
    assert (summary["images"], summary["done"], summary["kept"]) == (2, 2, 1)
    assert {name: (folder / "labels" / name).read_bytes() for name in before} == before
    record = json.loads((folder / "labels/.samcli/records/grey.jpg.json").read_bytes())
    names = {row["class_name"]: row["class_id"] for row in record["instances"]}
    assert names.get("ring", 0) == 0 and names.get("disc", 1) == 1 and names
    assert all(number > 1 for name, number in names.items() if name not in ("ring", "disc"))
    assert classes(folder / "labels/grey.txt") == [row["class_id"] for row in record["instances"]]
    again = run(samcli_run, folder, "--existing", "keep")
    assert (again["done"], again["skipped"], again["kept"]) == (0, 2, 1)
    status = json.loads(samcli_run("status", folder / "labels", "--json").stdout)
    assert (status["images"], status["remaining"], status["kept"]) == (2, 0, 1)


def test_keep__a_later_overwrite_leaves_what_was_there_before_the_first_run(samcli_run, folder) -> None:
    run(samcli_run, folder, "--existing", "keep")
    first = files(folder / "labels")
    run(samcli_run, folder, "--existing", "keep", "--overwrite")
    assert files(folder / "labels") == first


def test_refuse__is_the_default(samcli_run, folder) -> None:
    before = files(folder / "labels")
    run(samcli_run, folder, status=2)
    assert files(folder / "labels") == before


def test_merged_classes__keeps_numbers_and_adds_new_names_after_them() -> None:
    merged = merged_classes({2: "Car", 5: "dog"}, {0: "person", 1: "car ", 2: "bus"})
    assert merged.names == {2: "Car", 5: "dog", 6: "person", 7: "bus"}
    assert merged.ids == {0: 6, 1: 2, 2: 7}

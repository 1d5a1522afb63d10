"""status tells why images failed and objects were dropped: like with like, the most frequent first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samcli.jobs.status import common_part, read_reasons
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.output.records import write_record
from samcli.types import Annotation, Dropped, ImageRef, Outcome, Status


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Five images that failed for two reasons, one without a name of its own, and four with dropped objects."""
    layout = Layout(tmp_path / "images", tmp_path / "labels")
    taken = {"z.png": "its label file would be that of z.jpg: rename one, or use --on-collision suffix"}
    manifest = Manifest(Recipe({"command": "prompt"}), "f" * 64, "../images", names={0: "cat"}, collisions=taken)
    write_manifest(layout.manifest, manifest)
    reasons = {
        "a/1.jpg": ["predicted IoU 0.412 below --pred-iou-thresh 0.5", "empty mask"],
        "a/2.jpg": ["predicted IoU 0.3 below --pred-iou-thresh 0.5"] * 2,
        "a/3.jpg": ["predicted IoU -0.1 below --pred-iou-thresh 0.5"],
        "a/4.jpg": ["empty mask"],
    }
    with Journal(layout.journal, manifest.run) as journal:
        for number in range(4):
            error = f"/data/boxes/{number}.txt:{number + 7}: class {number} has no name; names has 3, 0 to 2"
            journal.append(Outcome(ImageRef(tmp_path, f"{number}.jpg"), Status.FAILED, error=error))
        for key, dropped in reasons.items():
            found = Annotation(key, (9, 9), dropped=tuple(Dropped(reason, 0) for reason in dropped))
            record = Path(layout.record(key))
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_bytes(write_record(found, {0: "cat"}) if key != "a/4.jpg" else b"{")
            journal.append(Outcome(ImageRef(tmp_path, key), Status.DONE, dropped=len(dropped)))
    return layout.output


def test_reasons__are_grouped_by_what_they_have_in_common(run_folder: Path) -> None:
    reasons = read_reasons(run_folder)
    assert [(one.what, one.count, one.examples) for one in reasons.failed] == [
        ("...:#: class # has no name; names has #, # to #", 4, ["0.jpg", "1.jpg", "2.jpg"]),
        (
            "its label file would be that of z.jpg: rename one, or use --on-collision suffix",
            1,
            ["z.png"],
        ),
    ]
    assert [(one.what, one.count, one.images, one.examples) for one in reasons.dropped] == [
        ("predicted IoU # below --pred-iou-thresh 0.5", 4, 3, ["a/1.jpg", "a/2.jpg", "a/3.jpg"]),
        ("empty mask", 1, 1, ["a/1.jpg"]),
        ("the record cannot be read", 1, 1, ["a/4.jpg"]),
    ]


@pytest.mark.parametrize(
    ("reason", "common"),
    [
        ("12 pixels, fewer than --min-mask-area 20", "# pixels, fewer than --min-mask-area 20"),
        ("truncated: 5,000 of 12.5 bytes in x/a 1.jpg", "truncated: # of # bytes in ..."),
        ("not an image: '<html>' (vit_b2)", "not an image: '<html>' (vit_b2)"),
    ],
)
def test_common_part__keeps_the_values_of_options(reason: str, common: str) -> None:
    assert common_part(reason, "x/a 1.jpg") == common


def test_command__lists_reasons_with_counts_and_examples(run_folder: Path, samcli_run) -> None:
    lines = samcli_run("status", run_folder, "--reasons").stdout.splitlines()
    assert lines[0] == "failed: 5 images"
    assert lines[1:3] == [
        "      4  ...:#: class # has no name; names has #, # to #",
        "         in 0.jpg, 1.jpg, 2.jpg and 1 more",
    ]
    assert "dropped: 6 objects" in lines
    facts = json.loads(samcli_run("status", run_folder, "--reasons", "--json").stdout)
    assert (facts["images"], facts["failed"], facts["dropped"]) == (9, 5, 6)
    assert facts["reasons"]["dropped"][0] == {
        "what": "predicted IoU # below --pred-iou-thresh 0.5",
        "count": 4,
        "images": 3,
        "examples": ["a/1.jpg", "a/2.jpg", "a/3.jpg"],
    }
    assert "reasons" not in json.loads(samcli_run("status", run_folder, "--json").stdout)


def test_command__of_a_run_without_trouble_says_zero(tmp_path: Path, samcli_run) -> None:
    layout = Layout(tmp_path / "images", tmp_path / "labels")
    write_manifest(layout.manifest, Manifest(Recipe({"command": "prompt"}), "f" * 64, "../images"))
    told = samcli_run("status", layout.output, "--reasons")
    assert (told.exit_code, told.stdout) == (0, "failed: 0 images\ndropped: 0 objects\n")

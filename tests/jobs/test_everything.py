"""`samcli everything` from the command line to the bytes that amg.py would have written."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from pycocotools import mask as coco
from references import generated, tiny_reference

from samcli.errors import UsageError
from samcli.images import read_image
from samcli.jobs.everything import read_grids
from samcli.masks import Mask

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
GIVEN = ("--sam", "tiny", "--precision", "fp32")
SMALL = (*GIVEN, "--points-per-side", 6)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two small scenes in two folders."""
    folder = tmp_path / "scenes"
    (folder / "more").mkdir(parents=True)
    with PillowImage.open(SHAPES / "beads.jpg") as image:
        image.resize((320, 240)).save(folder / "beads.png")
        image.crop((0, 0, 300, 200)).save(folder / "more" / "part.png")
    return folder


def test_masks__are_amg_pys_files_to_the_byte(samcli_run, scenes, tmp_path) -> None:
    thresholds = ("--pred-iou-thresh", 0.55, "--stability-score-thresh", 0.7)
    given = (*SMALL, *thresholds, "--format", "masks")
    result = samcli_run("everything", "--input", scenes, "--output", tmp_path / "masks", *given)
    assert result.exit_code == 0, result.output
    pytest.importorskip("segment_anything")
    wanted = generated(
        tiny_reference(), read_image(scenes / "beads.png"), points_per_side=6, pred_iou_thresh=0.55,
        stability_score_thresh=0.7,
    )  # fmt: skip
    assert len(wanted) > 2
    rows = [
        "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,stability_score,"
        "crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
    ]
    for number, mask in enumerate(wanted):
        _, data = cv2.imencode(".png", mask["segmentation"].astype(np.uint8) * 255)
        assert (tmp_path / "masks" / "beads" / f"{number}.png").read_bytes() == data.tobytes()
        facts = [number, mask["area"], *mask["bbox"], *mask["point_coords"][0], mask["predicted_iou"]]
        rows.append(",".join(str(fact) for fact in [*facts, mask["stability_score"], *mask["crop_box"]]))
    table = (tmp_path / "masks" / "beads" / "metadata.csv").read_text()
    assert not table.endswith("\n")
    for mine, theirs in zip(table.split("\n"), rows, strict=True):
        if mine != theirs:  # predicted IoU may differ in its last digits; everything else is the same text
            mine, theirs = (line.split(",") for line in (mine, theirs))
            assert float(mine[8]) == pytest.approx(float(theirs[8]), abs=1e-4)
            assert mine[:8] + mine[9:] == theirs[:8] + theirs[9:]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [".samcli", "beads", "more"]


def test_convert_to_rle__is_amg_pys_json(samcli_run, scenes, tmp_path) -> None:
    samcli_run("everything", scenes, "-o", tmp_path / "png", *SMALL)
    result = samcli_run("everything", scenes, "-o", tmp_path / "rle", *SMALL, "--convert-to-rle")
    assert result.exit_code == 0, result.output
    masks = json.loads((tmp_path / "rle" / "more" / "part.json").read_text())
    assert list(masks[0]) == [
        "segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box",
    ]  # fmt: skip
    for number, mask in enumerate(masks):
        shown = cv2.imread(str(tmp_path / "png" / "more" / "part" / f"{number}.png"), cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(shown)) <= {0, 255}
        assert (coco.decode(mask["segmentation"]) == shown // 255).all()
        assert mask["area"] == (shown > 0).sum()
    assert not (tmp_path / "rle" / "more" / "part").exists()


def test_other_formats__label_map_edges_and_proposals(samcli_run, scenes, tmp_path) -> None:
    formats = ("--format", "labelmap", "--format", "yolo", "--edges", "--proposals")
    result = samcli_run("everything", scenes, "-o", tmp_path / "out", *SMALL, *formats, "--exclusive", "--json")
    assert result.exit_code == 0, result.output
    labels = cv2.imread(str(tmp_path / "out" / "beads.png"), cv2.IMREAD_UNCHANGED)
    edges = cv2.imread(str(tmp_path / "out" / "beads.edges.png"), cv2.IMREAD_UNCHANGED)
    rows = json.loads((tmp_path / "out" / "proposals.json").read_text())
    mine = [row for row in rows if row["file_name"] == "beads.png"]
    assert {row["image_id"] for row in rows} == {1, 2}
    assert [row["score"] for row in mine] == sorted((row["score"] for row in mine), reverse=True)
    assert labels.shape == edges.shape == (240, 320)
    assert labels.max() == len(mine) == json.loads(result.stdout)["instances"] - (len(rows) - len(mine))
    for row in mine:  # exclusive masks are exactly the regions of the label map
        numbers = np.unique(labels[coco.decode(row["segmentation"]) > 0])
        assert len(numbers) == 1
        assert numbers[0] > 0
    # Strong edges lie where an object ends, not inside it or far away, and go round most of the objects.
    truth = json.loads((SHAPES.with_name("shapes_truth") / "beads.jpg.json").read_text())
    strong, covered = edges > 160, 0
    near = np.zeros(strong.shape, bool)
    for item in truth["objects"]:
        mask = cv2.resize(
            Mask.from_coco(item["rle"]).pixels().astype(np.uint8), (320, 240), interpolation=cv2.INTER_AREA
        )
        outline = cv2.dilate(mask, np.ones((5, 5))) != cv2.erode(mask, np.ones((5, 5)))
        near |= outline
        covered += (strong & outline).sum() > 10
    assert (strong & near).sum() > 0.8 * strong.sum()
    assert covered >= 0.7 * len(truth["objects"])


def test_rerun__does_nothing_and_a_removed_folder_is_made_again(samcli_run, scenes, tmp_path) -> None:
    out = tmp_path / "masks"
    samcli_run("everything", scenes, "-o", out, *SMALL)
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    assert "nothing to do" in samcli_run("everything", scenes, "-o", out, *SMALL).stdout
    for path in (out / "beads").iterdir():
        path.unlink()
    (out / "beads").rmdir()
    result = samcli_run("everything", scenes, "-o", out, *SMALL, "--json")
    assert json.loads(result.stdout)["done"] == 1
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before


def test_folder_of_masks__that_would_be_another_images_folder_is_a_collision(samcli_run, scenes, tmp_path) -> None:
    (scenes / "beads.png").rename(scenes / "more.png")
    result = samcli_run("everything", scenes, "-o", tmp_path / "masks", *SMALL, "--json")
    assert result.exit_code == 3
    assert "folder of more/" in json.loads(result.stdout)["failures"]["more.png"]
    assert (tmp_path / "masks" / "more" / "part" / "0.png").is_file()
    result = samcli_run(
        "everything", scenes, "-o", tmp_path / "masks", *SMALL, "--on-collision", "suffix", "--json"
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "masks" / "more.png" / "metadata.csv").is_file()


def test_point_grid__npy_json_and_text_are_the_same(tmp_path) -> None:
    points = [[0.25, 0.5], [0.75, 0.125]]
    np.save(tmp_path / "grid.npy", np.array(points))
    (tmp_path / "grid.json").write_text(json.dumps(points))
    (tmp_path / "grid.txt").write_text("0.25,0.5\n\n0.75 0.125\n")
    for name in ("grid.npy", "grid.json", "grid.txt"):
        (grid,) = read_grids(str(tmp_path / name), 0)
        assert grid.tolist() == points
    (tmp_path / "layers.json").write_text(json.dumps([points, points[:1]]))
    assert [len(grid) for grid in read_grids(str(tmp_path / "layers.json"), 1)] == [2, 1]


@pytest.mark.parametrize(
    ("name", "text", "layers", "reason"),
    [
        ("grid.txt", "0.2,1.5\n", 0, "between 0 and 1"),
        ("grid.txt", "0.2\n", 0, "between 0 and 1"),
        ("grid.txt", "", 0, "between 0 and 1"),
        ("grid.txt", "a,b\n", 0, "between 0 and 1"),
        ("grid.json", "{", 0, "between 0 and 1"),
        ("grid.txt", "0.2,0.2\n", 1, "needs 2"),
    ],
)
def test_point_grid__rubbish_is_refused_in_one_line(tmp_path, name, text, layers, reason) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=reason):
        read_grids(str(tmp_path / name), layers)


def test_point_grid__its_content_is_part_of_the_recipe(samcli_run, scenes, tmp_path) -> None:
    grid = tmp_path / "grid.txt"
    grid.write_text("0.5,0.5\n")
    assert samcli_run("everything", scenes, "-o", tmp_path / "m", *GIVEN, "--point-grid", grid).exit_code == 0
    grid.write_text("0.5,0.6\n")
    result = samcli_run("everything", scenes, "-o", tmp_path / "m", *GIVEN, "--point-grid", grid)
    assert result.exit_code == 2
    assert "point-grid" in result.output


def test_point_grid__and_a_number_of_points_are_refused_together(samcli_run, scenes, tmp_path) -> None:
    result = samcli_run("everything", scenes, "-o", tmp_path / "m", *SMALL, "--point-grid", tmp_path / "grid.txt")
    assert result.exit_code == 2
    assert "--points-per-side does not apply to --point-grid" in result.stderr

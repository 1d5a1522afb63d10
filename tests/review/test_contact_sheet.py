"""Previews show the masks where they are, in colours that stay with a class."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from runs import write_run

from samcli.drawing import class_color, overlay, titled
from samcli.masks import Mask
from samcli.review.contact_sheet import contact_sheet, write_contact_sheet
from samcli.types import Annotation, Image, ImageRef, Instance, Quality


def black(height: int, width: int) -> Image:
    return Image(ImageRef(Path(), "a.png"), np.zeros((height, width, 3), np.uint8))


def square(height: int, width: int, class_id: int = 0) -> Annotation:
    pixels = np.zeros((height, width), bool)
    pixels[height // 2 : height - 10, width // 2 : width - 10] = True
    return Annotation("a.png", (height, width), (Instance(Mask.from_pixels(pixels), class_id, Quality(0.9)),))


@pytest.mark.parametrize("side", [None, 100, 400])
def test_overlay__paints_the_mask_and_nothing_else(side) -> None:
    picture = overlay(black(200, 200).pixels, square(200, 200), {0: ""}, side)
    scale = (side or 200) / 200
    assert picture.shape == (round(200 * scale), round(200 * scale), 3)
    assert picture[round(150 * scale), round(150 * scale)].any()
    assert not picture[: round(70 * scale)].any()
    assert not picture[:, : round(90 * scale)].any()


def test_overlay__names_the_class() -> None:
    with_name = overlay(black(200, 200).pixels, square(200, 200), {0: "cat"})
    without = overlay(black(200, 200).pixels, square(200, 200), {0: ""})
    assert (with_name != without).any()


def test_overlay__draws_what_lies_in_the_last_row_alone() -> None:
    pixels = np.zeros((640, 426), bool)
    pixels[639] = True
    annotation = Annotation("a.png", (640, 426), (Instance(Mask.from_pixels(pixels), 0),))
    picture = overlay(np.zeros((640, 426, 3), np.uint8), annotation, {0: ""}, side=256)
    assert picture[-1].any()
    assert not picture[:200].any()


def test_overlay__of_one_class_has_a_colour_for_each_object_and_no_word_for_it() -> None:
    masks = [np.zeros((60, 90), bool) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask[20:50, 30 * number + 5 : 30 * number + 25] = True
    objects = tuple(Instance(Mask.from_pixels(mask), 0) for mask in masks)
    ground = np.zeros((60, 90, 3), np.uint8)
    nameless = overlay(ground, Annotation("a.png", (60, 90), objects), {0: "object"})
    assert len({tuple(nameless[35, 30 * number + 15]) for number in range(3)}) == 3
    assert not nameless[:17].any(), "outlines reach two pixels beyond the mask"
    assert overlay(ground, Annotation("a.png", (60, 90), objects), {0: "cat"})[:18].any()
    several = overlay(ground, Annotation("a.png", (60, 90), objects), {0: "cat", 1: "dog"})
    assert len({tuple(several[35, 30 * number + 15]) for number in range(3)}) == 1


def test_class_color__is_stable_and_differs_from_the_next() -> None:
    colors = [class_color(index) for index in range(20)]
    assert colors == [class_color(index) for index in range(20)]
    assert len(set(colors)) == 20
    assert all(np.abs(np.subtract(a, b)).max() > 60 for a, b in itertools.pairwise(colors))


def test_contact_sheet__holds_every_tile() -> None:
    tiles = [np.full((20 + 5 * i, 30, 3), 100 + i, np.uint8) for i in range(5)]
    sheet = contact_sheet(tiles)
    assert [int((sheet == 100 + i).all(-1).sum()) for i in range(5)] == [30 * (20 + 5 * i) for i in range(5)]


def test_contact_sheet__of_wide_photos_wastes_no_room_below_them() -> None:
    wide, high = np.zeros((20, 60, 3), np.uint8), np.zeros((60, 20, 3), np.uint8)
    assert contact_sheet([wide] * 4, gap=2).shape == (2 * 22 + 2, 2 * 62 + 2, 3)
    assert contact_sheet([wide, wide, wide, high], gap=2).shape == (22 + 62 + 2, 2 * 62 + 2, 3)


def test_command__writes_a_sheet_of_a_run_and_prints_where(annotate, samcli_run, photo_folder, tmp_path) -> None:
    annotate(photo_folder)
    labels = photo_folder.parent / "labels"
    result = samcli_run("preview", labels)
    path = Path(result.stdout.strip())
    assert result.exit_code == 0
    assert path == labels / "samcli-preview.png"
    assert min(PillowImage.open(path).size) > 400
    assert json.loads(samcli_run("preview", labels, "--json").stdout)["file"] == str(path)
    assert samcli_run("preview", labels, "-o", tmp_path / "one.png", "--count", 1).exit_code == 0
    assert PillowImage.open(tmp_path / "one.png").size < PillowImage.open(path).size


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("x.jpg", (), "ends in .png"),
        ("x.html", (), "--html"),
        ("x.png", ("--html",), "ends in .html"),
        ("file/x.png", (), "cannot write in"),
        ("file/x.html", ("--html",), "cannot write in"),
    ],
)
def test_command__refuses_a_name_that_it_cannot_write(
    samcli_run, run_folder, tmp_path, name, more, expected
) -> None:
    (tmp_path / "file").touch()
    result = samcli_run("preview", run_folder / "labels", "-o", tmp_path / name, *more)
    assert (result.exit_code, expected in result.stderr, "Errno" in result.stderr) == (2, True, False)
    assert not (tmp_path / name).exists()


def test_command__without_a_run_is_an_error(samcli_run, tmp_path) -> None:
    result = samcli_run("preview", tmp_path)
    assert result.exit_code == 2
    assert "no labels found in" in result.stderr


def test_titled__shows_the_end_of_a_name_that_is_too_long() -> None:
    tile = np.full((40, 60, 3), 200, np.uint8)
    short, long = titled(tile, "a.png"), titled(tile, "a/folder/of/many/letters/a.png")
    assert short.shape == long.shape == (40 + 16, 60, 3)
    assert (short[:40] == 200).all()
    assert short[40:].max() > 200
    assert (titled(tile, "another/folder/of/many/letters/a.png") == long).all()


def test_overlay__writes_no_class_over_another() -> None:
    masks = [np.zeros((100, 200), bool) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask[30 + number : 60, 20 + number : 80] = True  # their upper left corners all but coincide
    objects = [Instance(Mask.from_pixels(mask), number) for number, mask in enumerate(masks)]
    ground = np.full((100, 200, 3), 40, np.uint8)

    def white(*chosen: Instance) -> int:
        names = dict.fromkeys(range(3), "class")
        picture = overlay(ground, Annotation("a.png", (100, 200), chosen), names)
        return int((picture > 240).all(-1).sum())

    assert white(*objects) == sum(white(each) for each in objects)


def test_contact_sheet__shows_what_labels_hold(tmp_path) -> None:
    """Without the specks that the run leaves out of labels; records have them."""
    sheets = []
    for name, speck in (("clean", 0), ("specks", 2)):
        pixels = np.zeros((120, 160), bool)
        pixels[10:80, 10:80] = True
        pixels[100 : 100 + speck, 140 : 140 + speck] = True
        annotation = Annotation("a.png", (120, 160), (Instance(Mask.from_pixels(pixels), 0),))
        labels = write_run(tmp_path / name, [annotation], "yolo", min_part_area="1%,16")
        sheets.append(write_contact_sheet(labels).read_bytes())
    assert sheets[0] == sheets[1]


@pytest.mark.parametrize("name", ["coco", "yolo", "labelme", "voc"])
def test_preview__takes_labels_that_are_no_run_s(samcli_run, finished_run, tmp_path, name) -> None:
    """The labels lie beside their images or `--images` names these."""
    out = tmp_path / name
    assert samcli_run("convert", finished_run / "labels", "--to", name, "-o", out).exit_code == 0
    result = samcli_run("preview", out, "--images", finished_run / "images")
    assert result.exit_code == 0, result.stderr
    sheet = tmp_path / "samcli-preview.png"
    assert result.stdout == f"{sheet}\n"
    assert min(PillowImage.open(sheet).size) > 400
    assert "samcli convert" in result.stderr
    unknown = samcli_run("preview", out)
    assert (unknown.exit_code, "--images" in unknown.stderr) == (2, True)

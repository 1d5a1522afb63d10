"""Masks: COCO run lengths, byte for byte as pycocotools makes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from samcli.errors import UsageError
from samcli.masks import (
    KEEP_ALL,
    Mask,
    PartLimit,
    box_iou,
    compress_counts,
    decompress_counts,
    mask_iou,
    parse_part_limit,
    without_specks,
)


def pixels_of(*rows: str) -> NDArray[np.bool_]:
    """A mask drawn in text: # is foreground."""
    return np.array([[mark == "#" for mark in row] for row in rows])


def coco_counts(pixels: NDArray[np.bool_]) -> bytes:
    return bytes(coco.encode(np.asfortranarray(pixels, np.uint8))["counts"])


SHAPES = {
    "one pixel": pixels_of("#"),
    "one background pixel": pixels_of("."),
    "empty": np.zeros((5, 7), bool),
    "full": np.ones((5, 7), bool),
    "first pixel": pixels_of("#...", "....", "...."),
    "last pixel": pixels_of("....", "....", "...#"),
    "row": pixels_of("....", "####", "...."),
    "column": pixels_of(".#..", ".#..", ".#.."),
    "run over two columns": pixels_of("..#.", ".##.", ".#.."),
    "run over three columns": pixels_of("..##", ".##.", ".##."),
    "ring": pixels_of(".....", ".###.", ".#.#.", ".###.", "....."),
    "all but a hole": pixels_of("###", "#.#", "###"),
    "one row high": pixels_of("##.#"),
    "one column wide": pixels_of("#", ".", "#"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_from_pixels__makes_the_bytes_of_pycocotools(name: str) -> None:
    mask = Mask.from_pixels(SHAPES[name])
    assert mask.counts == coco_counts(SHAPES[name])
    np.testing.assert_array_equal(mask.pixels(), SHAPES[name])


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(max_examples=150)
def test_any_mask__round_trips_as_in_pycocotools(pixels: NDArray[np.bool_]) -> None:
    mask = Mask.from_pixels(pixels)
    assert mask.counts == coco_counts(pixels)
    np.testing.assert_array_equal(mask.pixels(), pixels)
    assert mask.area == pixels.sum()
    if not mask.area:
        assert mask.box is None
        return
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    assert mask.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    part, (left, top, right, bottom) = mask.crop()
    np.testing.assert_array_equal(part, pixels[top:bottom, left:right])


@given(
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=8)),
    st.tuples(*[st.integers(0, 5)] * 4),
)
@settings(max_examples=150)
def test_from_pixels__of_a_crop_is_the_mask_of_the_whole_image(
    crop: NDArray[np.bool_], margins: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = margins
    whole = np.pad(crop, ((top, bottom), (left, right)))
    assert Mask.from_pixels(crop, (left, top), whole.shape) == Mask.from_pixels(whole)
    assert Mask.from_pixels(crop, (left, top), whole.shape).counts == coco_counts(whole)


def test_from_pixels__a_crop_that_fills_whole_columns_is_one_run() -> None:
    mask = Mask.from_pixels(np.ones((4, 3), bool), (2, 0), (4, 9))
    assert decompress_counts(mask.counts).tolist() == [8, 12, 16]


def test_box__of_runs_over_several_columns_reaches_from_top_to_bottom() -> None:
    assert Mask.from_pixels(SHAPES["run over two columns"]).box == (1, 0, 3, 3)
    assert Mask.from_pixels(SHAPES["full"]).box == (0, 0, 7, 5)


def test_empty_mask__has_no_box_and_an_empty_crop() -> None:
    mask = Mask.from_pixels(SHAPES["empty"])
    assert (mask.area, mask.box) == (0, None)
    part, box = mask.crop()
    assert (part.shape, box) == ((0, 0), (0, 0, 0, 0))
    assert mask.pixels().shape == (5, 7)


def test_large_runs__survive() -> None:
    """Differences beyond one, two and three characters of the compressed form, of both signs."""
    pixels = np.zeros((3000, 2000), bool)
    pixels[:, 100:1900] = True
    pixels[1:5, 300] = False
    pixels[7, 1500] = False
    mask = Mask.from_pixels(pixels)
    assert mask.counts == coco_counts(pixels)
    assert mask.area == pixels.sum()
    np.testing.assert_array_equal(mask.pixels(), pixels)


def test_to_coco__is_read_by_pycocotools() -> None:
    pixels = SHAPES["ring"]
    rle = Mask.from_pixels(pixels).to_coco()
    assert rle["size"] == [5, 5]
    assert isinstance(rle["counts"], str)
    np.testing.assert_array_equal(coco.decode([rle])[..., 0].astype(bool), pixels)


@pytest.mark.parametrize("form", ["text", "bytes", "list", "list from a full mask"])
def test_from_coco__takes_all_forms_of_run_lengths(form: str) -> None:
    pixels = SHAPES["full"] if form.endswith("mask") else SHAPES["ring"]
    counts: object = coco_counts(pixels)
    if form == "text":
        counts = coco_counts(pixels).decode()
    elif form == "list":
        counts = [6, 3, 2, 1, 1, 1, 2, 3, 6]
    elif form == "list from a full mask":
        counts = [0, 35]
    mask = Mask.from_coco({"size": list(pixels.shape), "counts": counts})
    np.testing.assert_array_equal(mask.pixels(), pixels)
    assert mask == Mask.from_pixels(pixels)


@pytest.mark.parametrize("size", [[5, 6], [4, 5], [25, 1000]])
def test_from_coco__refuses_run_lengths_of_another_size(size: list[int]) -> None:
    counts = coco_counts(SHAPES["ring"])
    with pytest.raises(ValueError, match=f"cover 25 pixels; expected {size[0]} x {size[1]}"):
        Mask.from_coco({"size": size, "counts": counts})


def test_mask__refuses_a_negative_run() -> None:
    with pytest.raises(ValueError, match="cover"):
        Mask(3, 3, b"45MN")  # 4, 5, -3, 3: nine pixels in all
    with pytest.raises(ValueError, match="negative"):
        Mask.from_coco({"size": [3, 3], "counts": [4, 5, -3, 3]})


@pytest.mark.parametrize(
    "counts",
    [
        compress_counts(np.array([1000, 1000]), 1, 2000)[:-1],  # its last number goes on
        b"12\x1f",
        "é".encode(),
        b"1 2",
    ],
    ids=["torn", "control character", "not ascii", "space"],
)
def test_decompress_counts__refuses_what_is_torn_or_something_else(counts: bytes) -> None:
    with pytest.raises(ValueError, match="torn or not COCO's compressed form"):
        decompress_counts(counts)


@given(st.lists(st.integers(1, 1 << 28), max_size=30))
@settings(max_examples=100)
def test_counts__round_trip(runs: list[int]) -> None:
    counts = compress_counts(np.array(runs, np.int64), 1, sum(runs))
    assert decompress_counts(counts).tolist() == runs


def test_masks__are_equal_by_content_and_can_be_keys() -> None:
    first, second = Mask.from_pixels(SHAPES["ring"]), Mask.from_pixels(SHAPES["ring"].copy())
    assert first == second
    assert len({first, second, Mask.from_pixels(SHAPES["row"])}) == 2


def test_mask_iou__is_shared_pixels_over_all_pixels() -> None:
    first = Mask.from_pixels(pixels_of("##..", "##.."))
    second = Mask.from_pixels(pixels_of(".##.", ".##."))
    apart = Mask.from_pixels(pixels_of("...#", "...#"))
    empty = Mask.from_pixels(np.zeros((2, 4), bool))
    assert mask_iou(first, second) == pytest.approx(2 / 6)
    assert mask_iou(first, first) == 1
    assert mask_iou(first, apart) == 0
    assert mask_iou(first, empty) == 0
    assert mask_iou(empty, empty) == 1


def test_box_iou__is_shared_area_over_whole_area() -> None:
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert box_iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert box_iou((0.5, 0.5, 1.5, 1.5), (0, 0, 2, 2)) == pytest.approx(1 / 4)
    assert box_iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0  # they touch
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


# Specks


def plate() -> NDArray[np.bool_]:
    """A square of 40 x 40 in an image of 60 x 80."""
    pixels = np.zeros((60, 80), bool)
    pixels[10:50, 10:50] = True
    return pixels


def cleaned(pixels: NDArray[np.bool_], text: str) -> NDArray[np.bool_]:
    return without_specks(Mask.from_pixels(pixels), parse_part_limit(text)).pixels()


def test_specks__go_and_pinholes_are_filled() -> None:
    pixels = plate()
    pixels[5:8, 70:73] = pixels[0, 0] = True
    pixels[20:23, 20:23] = False
    np.testing.assert_array_equal(cleaned(pixels, "16"), plate())


def test_specks__are_below_both_limits_where_both_are_given() -> None:
    """20 pixels are above 16, though below 2 % of 1,620; 9 of 209 are above 2 %, though below 16."""
    large = plate()
    large[0:4, 70:75] = True
    np.testing.assert_array_equal(cleaned(large, "2%,16"), large)
    small = np.zeros((60, 80), bool)
    small[0:10, 0:20] = small[40:43, 40:43] = True
    np.testing.assert_array_equal(cleaned(small, "2%,16"), small)
    assert cleaned(large, "2%").sum() == 1600
    assert cleaned(small, "10").sum() == 200


def test_specks__a_part_of_exactly_the_limit_stays() -> None:
    pixels = plate()
    pixels[0:4, 60:64] = True
    np.testing.assert_array_equal(cleaned(pixels, "16"), pixels)
    assert cleaned(pixels, "17").sum() == 1600


def test_specks__a_bay_is_no_hole() -> None:
    pixels = plate()
    pixels[10:14, 30] = False
    np.testing.assert_array_equal(cleaned(pixels, "16"), pixels)


def test_specks__within_a_hole_leave_the_hole_empty() -> None:
    pixels = plate()
    pixels[20:30, 20:30] = False
    wanted = pixels.copy()
    pixels[24:26, 24:26] = True
    np.testing.assert_array_equal(cleaned(pixels, "16"), wanted)


def test_specks__the_largest_part_stays_however_small() -> None:
    pixels = np.zeros((20, 20), bool)
    pixels[3, 3:6] = pixels[10, 10:12] = True
    assert np.flatnonzero(cleaned(pixels, "100").any(1)).tolist() == [3]


@pytest.mark.parametrize("text", ["0", "1", "0%"])
def test_specks__limits_that_nothing_undercuts_give_the_very_mask_back(text: str) -> None:
    mask = Mask.from_pixels(np.random.default_rng(0).random((30, 30)) < 0.5)
    assert without_specks(mask, parse_part_limit(text)) is mask


def test_specks__clean_and_empty_masks_are_given_back() -> None:
    for mask in (Mask.from_pixels(plate()), Mask.from_pixels(np.zeros((5, 5), bool))):
        assert without_specks(mask, PartLimit(16, 0.01)) is mask


@given(seed=st.integers(0, 1000), limit=st.sampled_from(["4", "9", "40"]))
def test_specks__none_is_left(seed: int, limit: str) -> None:
    mask = Mask.from_pixels(np.random.default_rng(seed).random((24, 31)) < 0.6)
    once = without_specks(mask, parse_part_limit(limit))
    assert without_specks(once, parse_part_limit(limit)) == once


def test_part_limit__is_pixels_a_share_or_both_in_any_order() -> None:
    assert parse_part_limit("16") == PartLimit(pixels=16)
    assert parse_part_limit("1.5%") == PartLimit(share=0.015)
    assert parse_part_limit("1%,16") == parse_part_limit(" 16 , 1 % ") == PartLimit(16, 0.01)
    assert parse_part_limit("0") == KEEP_ALL


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1%,2%", "3,4", "101%", "1%,", "nan", "1e3"])
def test_part_limit__refuses_the_rest(text: str) -> None:
    with pytest.raises(UsageError, match="--min-part-area is"):
        parse_part_limit(text)


def test_holds__says_of_each_point_whether_its_pixel_is_in_the_mask() -> None:
    pixels = np.random.default_rng(0).random((7, 9)) < 0.4
    pixels[:, 3], pixels[6, 2], pixels[0, 4] = True, True, True  # runs that go on in the next column
    rows, columns = np.mgrid[-1:8, -1:10]
    wanted = np.pad(pixels, 1)[rows.ravel() + 1, columns.ravel() + 1]
    points = np.stack([columns.ravel(), rows.ravel()], 1) + 0.7
    assert (Mask.from_pixels(pixels).holds(points) == wanted).all()
    assert not Mask.from_pixels(np.zeros((7, 9), bool)).holds(points).any()

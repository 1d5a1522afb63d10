"""Polygons: what Ultralytics' trainer rasterises from the written label is the mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from helpers import iou
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samcli.labels.formats.base import Rendering
from samcli.labels.formats.yolo import YoloFormat
from samcli.masks import Mask
from samcli.polygons import PolygonOptions, Polygons, label_points, mask_to_polygons, rasterise
from samcli.types import Annotation, Instance

Pixels = NDArray[np.bool_]


def blank(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.zeros((height, width), np.uint8)


def disc(canvas: NDArray[np.uint8], x: int, y: int, radius: int, value: int = 1) -> NDArray[np.uint8]:
    cv2.circle(canvas, (x, y), radius, value, -1)
    return canvas


def blob(seed: int, roughness: int = 9, share: float = 0.5, height: int = 90, width: int = 110) -> Pixels:
    """Random smooth shapes: parts, holes, islands in holes, cut by the border of the image."""
    noise = np.random.default_rng(seed).random((height, width), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), roughness)
    return smooth > np.quantile(smooth, 1 - share)


def trainer_sees(pixels: Pixels, shape: Polygons) -> Pixels:
    """The mask of the label file's rows, read and rasterised by Ultralytics' own functions."""
    height, width = pixels.shape
    annotation = Annotation("a.jpg", (height, width), (Instance(Mask.from_pixels(pixels), 0),))
    rendering = Rendering(annotation)
    vars(rendering)["polygons"] = [shape]  # where the cached property keeps them
    return np.any(trainer_reads(YoloFormat().render(rendering), (height, width)), axis=0)


def trainer_reads(label: bytes, size: tuple[int, int]) -> list[Pixels]:
    """The masks of a label file's rows, read and rasterised by Ultralytics' own functions.

    `resample_segments` is called as its data set does (1000 points, or one more than the longest row).
    """
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    segments = [np.array(row.split()[1:], np.float32).reshape(-1, 2) for row in label.decode().splitlines()]
    longest = max(map(len, segments))
    resampled = resample_segments(segments, 1000 if longest <= 1000 else longest + 1)
    return [polygon2mask(size, [(one * size[::-1]).ravel()]).astype(bool) for one in resampled]


def polygons_of(pixels: Pixels, **options: object) -> Polygons:
    return mask_to_polygons(Mask.from_pixels(np.asarray(pixels, bool)), PolygonOptions(**options))


def ring_with_a_hole() -> Pixels:
    return disc(disc(blank(), 80, 60, 50), 80, 60, 25, 0)


def two_near_parts() -> Pixels:
    return disc(disc(blank(), 45, 60, 33), 115, 60, 33)


def nested_rings() -> Pixels:
    canvas = blank()
    for number, radius in enumerate((58, 48, 38, 28, 18, 8)):
        disc(canvas, 80, 60, radius, 1 - number % 2)
    return canvas


def many_holes() -> Pixels:
    canvas = blank(300, 400) + 1
    for x in range(20, 400, 40):
        for y in range(20, 300, 40):
            disc(canvas, x, y, 9, 0)
    return canvas


def line(x1: int, y1: int, x2: int, y2: int) -> Pixels:
    return cv2.line(blank(), (x1, y1), (x2, y2), 1, 1)


def at_every_border() -> Pixels:
    canvas = blank()
    canvas[:, 70:90] = canvas[50:70] = 1
    return canvas


def open_ring_at_the_border() -> Pixels:
    return disc(disc(blank(), 0, 0, 70), 0, 0, 40, 0)


def frame() -> Pixels:
    canvas = blank() + 1
    canvas[1:-1, 1:-1] = 0
    return canvas


def checkers() -> Pixels:
    """Squares that touch at corners: one 8-connected part full of holes that touch it too."""
    return np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((15, 15), int))


SHAPES = {
    "disc": disc(blank(), 80, 60, 50),
    "ring with a hole": ring_with_a_hole(),
    "two near parts": two_near_parts(),
    "nested rings": nested_rings(),
    "many holes": many_holes(),
    "one pixel": cv2.circle(blank(), (80, 60), 0, 1, -1),
    "one pixel in the first corner": np.pad([[1]], ((0, 119), (0, 159))),
    "one pixel in the last corner": np.pad([[1]], ((119, 0), (159, 0))),
    "two pixels": line(80, 60, 81, 60),
    "two pixels at a corner": line(80, 60, 81, 61),
    "level line": line(10, 60, 140, 60),
    "upright line": line(80, 5, 80, 110),
    "slanted line": line(10, 10, 140, 110),
    "bottom row": line(0, 119, 159, 119),
    "right column": line(159, 0, 159, 119),
    "cross through every border": at_every_border(),
    "quarter ring": open_ring_at_the_border(),
    "frame": frame(),
    "checkers": checkers(),
    "full": blank() + 1,
    "full, one pixel": blank(1, 1) + 1,
    "full, one row": blank(1, 50) + 1,
    "full, one column": blank(50, 1) + 1,
    "odd size": disc(blank(333, 517), 250, 160, 140),
}


@pytest.mark.parametrize("name", SHAPES)
def test_polygons__the_trainer_sees_the_mask_again(name: str) -> None:
    pixels = np.asarray(SHAPES[name], bool)
    shape = polygons_of(pixels)
    assert iou(trainer_sees(pixels, shape), pixels) >= 0.98
    assert len(shape.rings) == 1, "all of these are one object: one row"


@pytest.mark.parametrize("name", SHAPES)
def test_polygons__the_stated_iou_is_the_trainers(name: str) -> None:
    pixels = np.asarray(SHAPES[name], bool)
    shape = polygons_of(pixels)
    assert shape.iou == pytest.approx(iou(trainer_sees(pixels, shape), pixels), abs=1e-9)


@given(seed=st.integers(0, 10_000), roughness=st.sampled_from([3, 6, 12]), share=st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=40)
def test_polygons__the_trainer_sees_any_blob_again(seed: int, roughness: int, share: float) -> None:
    pixels = blob(seed, roughness, share)
    assert iou(trainer_sees(pixels, polygons_of(pixels, parts="separate")), pixels) >= 0.98
    joined = polygons_of(pixels)
    seen = trainer_sees(pixels, joined)
    assert len(joined.rings) == 1
    assert (seen & pixels).sum() >= 0.97 * pixels.sum(), "bridges add pixels, and take none away"


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_polygons__of_a_handful_of_scattered_pixels_are_right_to_a_few_pixels(seed: int) -> None:
    """Where a trainer resamples a diagonal step it may light the pixel beside it: no ring can help that."""
    pixels = np.random.default_rng(seed).random((9, 12)) < 0.4
    pixels[4, 5] = True
    assert (trainer_sees(pixels, polygons_of(pixels, parts="separate")) ^ pixels).sum() <= 3
    assert (pixels & ~trainer_sees(pixels, polygons_of(pixels))).sum() <= 3


@pytest.mark.parametrize("bound", [0.9, 0.98, 0.999])
def test_min_iou__is_kept_and_buys_points(bound: float) -> None:
    pixels = blob(4, 6)
    shape = polygons_of(pixels, min_iou=bound, parts="separate")
    assert iou(trainer_sees(pixels, shape), pixels) >= bound


def test_min_iou__a_lower_one_needs_fewer_points() -> None:
    pixels = ring_with_a_hole()
    points = [sum(map(len, polygons_of(pixels, min_iou=bound).rings)) for bound in (0.9, 0.98, 0.999)]
    assert points[0] < points[1] < points[2]


def test_points__a_large_circle_needs_few() -> None:
    pixels = disc(blank(300, 300), 150, 150, 100).astype(bool)
    (ring,) = polygons_of(pixels).rings
    assert 8 <= len(ring) < 80


def test_points__a_rectangle_needs_its_corners() -> None:
    pixels = blank().astype(bool)
    pixels[20:90, 30:140] = True
    shape = polygons_of(pixels)
    assert len(shape.rings[0]) == 4
    assert shape.iou == 1
    assert shape.rings[0].min(0).tolist() == [30, 20]
    assert shape.rings[0].max(0).tolist() == [139, 89], "positions of pixels, the last one included"


def test_rings__always_have_three_points_and_a_box_of_some_size() -> None:
    """A trainer drops a row of fewer points, or whose box is empty."""
    for name, pixels in SHAPES.items():
        for ring in polygons_of(pixels).rings:
            written = label_points(ring, *pixels.shape)
            assert len(ring) >= 3, name
            assert (np.ptp(written, axis=0) > 0).all(), name
            assert written.min() >= 0, name
            assert written.max() <= 1, name


def test_empty_mask__has_no_rings() -> None:
    assert polygons_of(blank()) == Polygons((), 0.0)


# Holes and parts


def test_holes__fill_gives_the_outline() -> None:
    pixels = ring_with_a_hole().astype(bool)
    shape = polygons_of(pixels, holes="fill")
    filled = disc(blank(), 80, 60, 50).astype(bool)
    assert iou(trainer_sees(pixels, shape), filled) >= 0.98
    assert shape.iou == pytest.approx(iou(filled, pixels), abs=0.03), "what it costs is stated"


def far_parts() -> tuple[Pixels, Pixels]:
    small, large = disc(blank(400, 800), 40, 200, 18), disc(blank(400, 800), 740, 200, 24)
    return small.astype(bool), large.astype(bool)


def test_parts__are_one_ring_however_far_apart() -> None:
    small, large = far_parts()
    shape = polygons_of(small | large)
    seen = trainer_sees(small | large, shape)
    assert len(shape.rings) == 1
    assert (seen & (small | large)).sum() >= 0.98 * (small | large).sum()
    assert shape.iou == pytest.approx(iou(seen, small | large), abs=1e-9), "what the bridge costs is stated"
    assert 0.7 < shape.iou < 0.9, "670 pixels of bridge beside 2,800 of mask"


def test_bridges__lie_within_the_box_of_the_object() -> None:
    """A trainer makes an object's box of its ring."""
    small, large = far_parts()
    (ring,) = polygons_of(small | large).rings
    rows, columns = np.nonzero(small | large)
    assert ring.min(0).tolist() == [columns.min(), rows.min()]
    assert ring.max(0).tolist() == [columns.max(), rows.max()]


def test_bridges__join_the_nearest_points_of_the_nearest_parts() -> None:
    """Three squares in a row: two bridges of 10 pixels, none of 30."""
    pixels = blank().astype(bool)
    for left in (10, 40, 70):
        pixels[30:50, left : left + 20] = True
    added = trainer_sees(pixels, polygons_of(pixels)) & ~pixels
    assert added.sum() <= 2 * 12


def test_bridges__an_island_in_a_hole_hangs_on_the_border_of_the_hole() -> None:
    pixels = disc(ring_with_a_hole().copy(), 80, 60, 10).astype(bool)
    added = trainer_sees(pixels, polygons_of(pixels, min_iou=0.999)) & ~pixels
    assert added.sum() <= 16, "14 pixels from hole to island, not 45 from the outer border"


def test_bridges__cost_a_trainer_less_than_straight_ones() -> None:
    """After the reduction by 4, half of a level line one pixel wide is left, of a diagonal one a quarter."""
    straight, found = [], []
    for shift in range(8):
        pixels = np.zeros((640, 640), bool)
        pixels[300 + shift : 340, 20:60] = pixels[300 + shift : 340, 580:620] = True
        line = pixels.copy()
        line[300 + shift + 10, 60:580] = True
        wanted, with_line = (cv2.resize(seen.astype(np.uint8), (160, 160)) for seen in (pixels, line))
        drawn = trainer_sees(pixels, polygons_of(pixels)).astype(np.uint8)
        straight.append(int(with_line.sum()) - int(wanted.sum()))
        found.append(int(cv2.resize(drawn, (160, 160)).sum()) - int(wanted.sum()))
    assert np.mean(found) < 0.75 * np.mean(straight)


def test_parts__separate_gives_each_a_row() -> None:
    pixels = two_near_parts().astype(bool)
    shape = polygons_of(pixels, parts="separate")
    assert len(shape.rings) == 2
    assert iou(trainer_sees(pixels, shape), pixels) >= 0.98
    assert shape.rings[0][:, 0].max() < 80 < shape.rings[1][:, 0].min() or (
        shape.rings[1][:, 0].max() < 80 < shape.rings[0][:, 0].min()
    )


def test_parts__largest_keeps_one_and_states_what_it_costs() -> None:
    small, large = far_parts()
    shape = polygons_of(small | large, parts="largest")
    assert len(shape.rings) == 1
    assert iou(trainer_sees(small | large, shape), large) >= 0.98
    assert shape.iou == pytest.approx(large.sum() / (small | large).sum(), abs=0.03)


def test_parts__an_island_in_a_hole_survives_every_option_that_keeps_parts() -> None:
    pixels = disc(ring_with_a_hole().copy(), 80, 60, 10).astype(bool)
    for parts in ("bridge", "separate"):
        seen = trainer_sees(pixels, polygons_of(pixels, parts=parts))
        assert iou(seen, pixels) >= 0.98
        assert seen[60, 80]
        assert not seen[60, 80 + 17]


def test_specks__are_left_out_and_do_not_become_rows() -> None:
    body = disc(blank(), 60, 60, 45).astype(bool)
    specks = body.copy()
    specks[3, 150] = specks[110, 155] = True
    specks[60, 60] = False
    shape = polygons_of(specks)
    (ring,) = shape.rings
    assert ring[:, 0].max() < 120
    assert len(ring) < 60
    assert iou(trainer_sees(specks, shape), specks) >= 0.98


def test_specks__that_are_the_whole_mask_stay() -> None:
    pixels = blank().astype(bool)
    pixels[3, 3] = pixels[100, 150] = True
    np.testing.assert_array_equal(trainer_sees(pixels, polygons_of(pixels, parts="separate")), pixels)
    assert trainer_sees(pixels, polygons_of(pixels))[pixels].all()


# Size


def test_a_thousand_holes_in_a_row__are_walked_without_recursion() -> None:
    pixels = np.ones((5, 3002), bool)
    pixels[2, 1:3001:3] = False
    shape = polygons_of(pixels, min_iou=0.999)
    assert len(shape.rings) == 1
    assert iou(trainer_sees(pixels, shape), pixels) >= 0.999


def test_a_thousand_nested_bridges__keep_every_hole() -> None:
    pixels = np.ones((7, 2001), bool)
    pixels[2:5, 1::4] = False
    seen = trainer_sees(pixels, polygons_of(pixels, min_iou=0.9999))  # no hole is a speck then
    assert iou(seen, pixels) >= 0.9999
    assert not seen[3, 1::4].any()


def test_hundreds_of_parts__keep_the_bound() -> None:
    pixels = np.zeros((200, 200), bool)
    for x in range(5, 200, 10):
        for y in range(5, 200, 10):
            pixels[y : y + 3, x : x + 3] = True
    apart, joined = polygons_of(pixels, parts="separate"), polygons_of(pixels)
    assert iou(trainer_sees(pixels, apart), pixels) >= 0.98
    assert len(joined.rings) == 1
    assert (trainer_sees(pixels, joined) & pixels).sum() >= 0.98 * pixels.sum()


def salt(share: float = 0.1, height: int = 300, width: int = 400) -> Pixels:
    """Thousands of parts of a few pixels."""
    return np.random.default_rng(1).random((height, width)) < share


@pytest.mark.parametrize("parts", ["bridge", "separate"])
def test_max_points__holds_for_any_mask_and_says_what_it_costs(parts: str) -> None:
    for pixels in (salt(), ~salt(), blob(3, 2)):
        shape = polygons_of(pixels, parts=parts, max_points=600)
        assert 3 <= sum(map(len, shape.rings)) <= 600
        assert shape.iou == pytest.approx(iou(trainer_sees(pixels, shape), pixels), abs=1e-9)


def test_max_points__changes_nothing_where_fewer_do() -> None:
    pixels = ring_with_a_hole()
    few = polygons_of(pixels)
    assert np.array_equal(few.rings[0], polygons_of(pixels, max_points=len(few.rings[0])).rings[0])
    assert len(polygons_of(pixels, max_points=len(few.rings[0]) - 1).rings[0]) < len(few.rings[0])


def test_max_points__bounds_the_work_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as many parts are no more contours to look at, and no more polygons to draw."""
    from samcli import polygons

    work = {}
    for name in ("_contour", "rasterise", "_way"):
        original = getattr(polygons, name)
        monkeypatch.setattr(
            polygons,
            name,
            lambda *a, _f=original, _n=name, **k: work.update({_n: work.get(_n, 0) + 1}) or _f(*a, **k),
        )
    polygons_of(salt(0.1, 1000, 1000))
    assert work["_contour"] <= 8000 // 6 + 1
    assert work["_way"] < 8000 // 6
    assert work["rasterise"] <= 12


def hard_masks() -> list[Pixels]:
    """Masks of a pixel, whole images, frames, diagonals, nested rings one pixel wide, and noise down to 1 x 1."""
    rng = np.random.default_rng(4)
    rings = blank(80, 100)
    for radius in range(39, 0, -1):
        cv2.rectangle(rings, (50 - radius, 40 - radius), (50 + radius, 40 + radius), radius % 2, -1)
    frame = np.ones((30, 40), bool)
    frame[1:-1, 1:-1] = False
    corners = blank(30, 40)
    corners[::29, ::39] = 1
    lines = np.eye(30, 40, dtype=bool)
    masks = [rings, frame, corners, lines, lines | lines[:, ::-1], np.indices((12, 15)).sum(0) % 2, np.ones((9, 7))]
    masks += [rng.random(size) < 0.6 for size in ((1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (5, 7), (20, 31))]
    return [found for mask in masks if (found := np.asarray(mask, bool)).any()]


@pytest.mark.parametrize("number", range(len(hard_masks())))
def test_hard_masks__are_one_ring_within_the_image_whose_iou_is_the_trainers(number: int) -> None:
    pixels = hard_masks()[number]
    shape = polygons_of(pixels)
    (ring,) = shape.rings
    row = label_points(ring, *pixels.shape)
    assert row.min() >= 0
    assert row.max() <= 1
    assert (row.max(0) > row.min(0)).all(), "a box of some size"
    seen = trainer_sees(pixels, shape)
    assert shape.iou == pytest.approx(iou(seen, pixels), abs=1e-9)
    assert (seen & pixels).sum() >= 0.97 * pixels.sum(), "bridges add pixels and take few away"


def test_noise__is_counted_before_it_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes time by the square of the contours: minutes for noise of some megapixels."""
    from samcli import polygons

    noise = np.random.default_rng(1).random((700, 700)) < 0.5
    found = len(cv2.findContours(noise.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0])
    assert polygons._count_contours(noise) == found > 20_000
    traced, original = [], cv2.findContours

    def find(*args: Any) -> Any:
        contours, hierarchy = original(*args)
        traced.append(len(contours))
        return contours, hierarchy

    monkeypatch.setattr(cv2, "findContours", find)
    shape = polygons_of(noise)
    assert 0 < max(traced) <= 8000 // 6
    assert shape.iou == pytest.approx(iou(trainer_sees(noise, shape), noise), abs=1e-9)


def test_a_mask_far_down_a_large_image__is_placed_exactly() -> None:
    """float32 and six decimals must not move a pixel: a trainer truncates."""
    crop = disc(blank(60, 60), 30, 30, 25).astype(bool)
    mask = Mask.from_pixels(crop, (11_900, 7_900), (8_000, 12_000))
    shape = mask_to_polygons(mask)
    assert shape.iou >= 0.98
    seen = rasterise([label_points(ring, 8_000, 12_000) for ring in shape.rings], 8_000, 12_000)
    assert iou(seen[7_900:7_960, 11_900:11_960], crop) >= 0.98


# rasterise


def test_rasterise__is_ultralytics_own() -> None:
    pixels = blob(7, 6)
    shape = polygons_of(pixels)
    ours = rasterise([label_points(ring, *pixels.shape) for ring in shape.rings], *pixels.shape)
    np.testing.assert_array_equal(ours, trainer_sees(pixels, shape))


@pytest.mark.parametrize("count", [3, 4, 17, 400, 999, 1000, 2500])
def test_rasterise__many_rings_of_as_many_points_are_each_ultralytics_own(count: int) -> None:
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    rng = np.random.default_rng(count)
    middles, turns = rng.random((40, 1, 2)), np.sort(rng.random((40, count)), 1) * 2 * np.pi
    rings = np.clip(middles + 0.1 * rng.random((40, count, 1)) * np.stack([np.cos(turns), np.sin(turns)], 2), 0, 1)
    wanted = np.zeros((211, 307), bool)
    for ring in resample_segments(
        [ring.astype(np.float32) for ring in rings], 1000 if count <= 1000 else count + 1
    ):
        wanted |= polygon2mask((211, 307), [(ring * (307, 211)).reshape(-1)]).astype(bool)
    assert (rasterise(list(rings), 211, 307) == wanted).all()


def test_restated__is_the_iou_beside_a_row_of_thousands_of_points() -> None:
    """The trainer resamples all rows of a file to as many points as the longest has, if these are above 1,000."""
    pixels = [salt(0.4, 120, 160), two_near_parts().astype(bool), blob(5, 3, height=120, width=160)]
    masks = [Mask.from_pixels(one) for one in pixels]
    rendering = Rendering(Annotation("a.jpg", (120, 160), tuple(Instance(mask, 0) for mask in masks)))
    alone = [mask_to_polygons(mask) for mask in masks]
    assert len(alone[0].rings[0]) > 1000
    seen = trainer_reads(YoloFormat().render(rendering), (120, 160))
    wanted = [iou(*pair) for pair in zip(seen, pixels, strict=True)]
    assert [shape.iou for shape in rendering.polygons] == pytest.approx(wanted, abs=1e-9)
    assert [shape.iou for shape in alone[1:]] != pytest.approx(wanted[1:], abs=1e-5), "a row alone differs"


def test_rasterise__rings_that_overlap_do_not_cancel() -> None:
    square = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]])
    seen = rasterise([square, square + 0.2], 50, 50)
    assert seen[20, 20]


def test_mask_to_polygons__equal_masks_give_equal_rings() -> None:
    first, second = (polygons_of(blob(3, 6)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.rings, second.rings, strict=True))

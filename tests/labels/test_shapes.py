from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from samcli.labels import shapes
from samcli.labels.shapes import (
    Placed,
    box_mask,
    clip_ring,
    coco_mask,
    ellipse_mask,
    number,
    polygon_mask,
    rectangle_mask,
    ring_of,
    rotated_box,
    runs_mask,
)
from samcli.polygons import draw

SIZE = (120, 200)


def inside_ellipse(shape: Placed) -> np.ndarray:
    """Pixels whose centres lie inside, one after the other."""
    turn = math.radians(shape.degrees)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    u = (x - shape.x) * math.cos(turn) + (y - shape.y) * math.sin(turn)
    v = (y - shape.y) * math.cos(turn) - (x - shape.x) * math.sin(turn)
    return (u / shape.half_width) ** 2 + (v / shape.half_height) ** 2 <= 1


def inside_rectangle(corners: np.ndarray) -> np.ndarray:
    """The same for a convex polygon, by OpenCV."""
    ring = corners.astype(np.float32)
    return np.array(
        [
            [cv2.pointPolygonTest(ring, (column + 0.5, row + 0.5), False) > 0 for column in range(SIZE[1])]
            for row in range(SIZE[0])
        ]
    )


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, -120, 360])
def test_ellipse_mask__has_the_pixels_whose_centres_lie_inside(degrees: float) -> None:
    shape = Placed(80.3, 55.7, 40, 22.5, degrees)
    found = ellipse_mask(shape, SIZE).pixels()
    assert np.array_equal(found, inside_ellipse(shape))
    assert found.sum() == pytest.approx(math.pi * 40 * 22.5, rel=0.01)


def test_ellipse_mask__is_cut_at_the_image() -> None:
    shape = Placed(195, 5, 30, 30)
    assert np.array_equal(ellipse_mask(shape, SIZE).pixels(), inside_ellipse(shape))


@pytest.mark.parametrize("degrees", [15, 45, 90, 180, 200, 270, -30])
def test_rotated_box__turns_about_its_corner(degrees: float) -> None:
    turn = math.radians(degrees)
    along, down = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    corner = np.array([100.2, 60.1])
    corners = np.array([corner, corner + 40 * along, corner + 40 * along + 24 * down, corner + 24 * down])
    found = rectangle_mask(rotated_box((100.2, 60.1), (40, 24), degrees), SIZE).pixels()
    expected = inside_rectangle(corners)
    assert np.count_nonzero(found != expected) <= (40 + 24 if degrees % 90 == 0 else 4)
    assert found.sum() == pytest.approx(40 * 24, rel=0.03)


def test_rotated_box__of_no_turn_is_the_box() -> None:
    assert rectangle_mask(rotated_box((10, 20), (30, 40), 0), SIZE) == box_mask((10, 20, 40, 60), SIZE)
    assert rectangle_mask(rotated_box((10, 20), (30, 5), 90), SIZE) == box_mask((5, 20, 10, 50), SIZE)


@pytest.mark.parametrize(
    "values",
    [
        (math.nan, 5, 3, 3, 0),
        (5, 5, math.inf, 3, 0),
        (5, 5, 3, 3, math.nan),
        (5, 5, 0, 3, 0),
        (5, 5, 3, -1, 0),
        (1e300, 5, 3, 3, 0),
    ],
)
def test_placed__refuses_what_has_no_area(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        Placed(*values)


def test_shapes__of_any_extent_cover_the_image() -> None:
    for draw_shape in (ellipse_mask, rectangle_mask):
        assert draw_shape(Placed(100, 60, 1e300, 1e200, 30), SIZE).area == SIZE[0] * SIZE[1]


def test_shapes__smaller_than_a_pixel_have_one() -> None:
    assert ellipse_mask(Placed(10.9, 20.1, 0.05, 0.05), SIZE) == box_mask((10, 20, 11, 21), SIZE)


@pytest.mark.parametrize("draw_shape", [ellipse_mask, rectangle_mask])
def test_shapes__outside_the_image_are_refused(draw_shape) -> None:
    with pytest.raises(ValueError, match="outside the image"):
        draw_shape(Placed(-50, 60, 10, 10, 30), SIZE)


coordinate = st.one_of(
    st.floats(-50, 250), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e300, -1e9, 1e9])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8))
def test_clip_ring__bounds_the_ring_and_adds_few_points(points) -> None:
    ring = np.array(points)
    clipped = clip_ring(ring, SIZE)
    assert np.isfinite(clipped).all()
    assert len(clipped) <= 16 * len(ring)
    if len(clipped):
        assert clipped.min() >= -200 and (clipped.max(0) <= (400, 240)).all()


def crossings(ring: list[tuple[Fraction, Fraction]], x: Fraction, y: Fraction) -> int:
    """Edges that a ray to the right crosses, in exact arithmetic."""
    count = 0
    for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            count += 1
    return count


@pytest.mark.parametrize("scale", [1e3, 1e9, 1e100, 1e300])
def test_clip_ring__keeps_what_lies_inside_the_image(scale: float) -> None:
    ring = np.array([[-scale, -scale * 0.7], [scale, -5], [150, 40], [60, scale], [30, 30]])
    exact = [(Fraction(x), Fraction(y)) for x, y in ring.tolist()]
    clipped = [(Fraction(x), Fraction(y)) for x, y in clip_ring(ring, SIZE).tolist()]
    for x in range(3, 200, 14):
        for y in range(2, 120, 9):
            point = Fraction(x) + Fraction(1, 3), Fraction(y) + Fraction(1, 3)
            assert crossings(exact, *point) % 2 == crossings(clipped, *point) % 2, point


def test_clip_ring__leaves_what_is_near_as_it_is() -> None:
    ring = np.array([[-150.5, 3.0], [399.0, 5.0], [7.0, 239.0]])
    assert clip_ring(ring, SIZE) is ring


def test_polygon_mask__draws_sound_rings_as_before() -> None:
    rings = [np.array([[0.1, 0.1], [0.7, 0.2], [1.2, 0.9], [0.3, 0.6]]), np.array([[-0.2, 0], [0.3, 0], [0, 0.4]])]
    assert polygon_mask(rings, SIZE) == draw(rings, SIZE)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [1e3, 1e9, 1e300, 1.7e308])
def test_polygon_mask__draws_the_part_of_a_far_ring_in_the_image(far: float) -> None:
    mask = polygon_mask([np.array([[-far, 0.25], [far, 0.25], [far, 0.75], [-far, 0.75]])], SIZE).pixels()
    assert mask[31:89].all()
    assert not mask[:29].any() and not mask[92:].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_polygon_mask__refuses_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        polygon_mask([np.array([[0.1, 0.1], [value, 0.5], [0.5, 0.9]])], SIZE)


def test_polygon_mask__refuses_what_lies_outside() -> None:
    with pytest.raises(ValueError, match="outside the image"):
        polygon_mask([np.array([[3.1, 0.1], [3.5, 0.5], [3.5, 0.9]])], SIZE)


@pytest.mark.parametrize("box", [(1, 2, math.inf, 5), (math.nan, 0, 5, 5), (5, 5, 5, 9), (300, 5, 310, 9)])
def test_box_mask__refuses_what_has_no_pixels(box) -> None:
    with pytest.raises(ValueError, match="box "):
        box_mask(box, SIZE)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "whose points are null"),
        ("1,2", "whose points are '1,2'"),
        ([], "polygon of 0 points"),
        ([[1, 1], [2, 2]], "polygon of 2 points"),
        ([[1, 1], [2, 2], 5], "a point a number"),
        ([[1, 1], [2, 2], [1, "x"]], "is 'x'; expected a number"),
        ([[1, 1], [2, 2], [1, None]], "is null; expected a number"),
        ([[1, 1], [2, 2], [1, math.nan]], "is nan; expected a finite number"),
        ([[1, 1], [2, 2], [1, 10**400]], "expected a number"),
    ],
)
def test_ring_of__says_what_is_wrong(points, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ring_of(points)


def test_number__reads_text_that_spells_one() -> None:
    assert number("2.5") == 2.5


def test_runs_mask__goes_along_the_rows() -> None:
    mask = runs_mask([1, 2, 2, 1], (10, 20, 3, 2), SIZE).pixels()
    assert mask[20:22, 10:13].tolist() == [[False, True, True], [False, False, True]]
    assert mask.sum() == 3


@pytest.mark.parametrize(
    ("runs", "box"), [([7], (10, 20, 3, 2)), ([-1, 7], (10, 20, 3, 2)), ([6], (199, 20, 3, 2)), ([], (0, 0, 0, 0))]
)
def test_runs_mask__refuses_what_does_not_fit(runs: list[int], box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="mask"):
        runs_mask(runs, box, SIZE)


def test_coco_mask__is_pycocotools_mask() -> None:
    pixels = np.zeros(SIZE, np.uint8, order="F")
    pixels[20:40, 50:90] = 1
    rle = coco.encode(pixels)
    assert np.array_equal(coco_mask({**rle, "counts": rle["counts"].decode()}, SIZE).pixels(), pixels == 1)


@pytest.mark.parametrize(
    "rle",
    [
        None,
        {"size": [120, 200], "counts": None},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [120, 200], "counts": [1e300, 5]},
        {"size": [120, 200], "counts": [24000.0, -5, 5]},
        {"size": [120], "counts": [120]},
        {"size": [120, 200], "counts": "zz"},
        {"size": None, "counts": "0"},
    ],
)
def test_coco_mask__refuses_what_is_not_of_the_image(rle) -> None:
    with pytest.raises(ValueError, match=r"mask|run lengths|numbers"):
        coco_mask(rle, SIZE)


@pytest.mark.parametrize("seed", range(4))
def test_coco_polygon_mask__of_a_long_ring_is_pycocotools_own_though_drawn_in_pieces(monkeypatch, seed) -> None:
    monkeypatch.setattr(shapes, "_DRAWN_AT_ONCE", 90.0)
    ring = np.random.default_rng(seed).uniform(-20, 70, (60, 2))
    whole = coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist()], 40, 50)))
    assert len(shapes._pieces(ring)) > 10
    assert (shapes.coco_polygon_mask([ring], (40, 50)).pixels() == whole.astype(bool)).all()


@pytest.mark.parametrize(("draw", "unit"), [(shapes.coco_polygon_mask, 1), (polygon_mask, 500)])
def test_polygon__of_a_million_long_edges_is_refused_before_it_is_drawn(draw, unit) -> None:
    zigzag = np.stack([np.linspace(0, 500, 1_000_000), np.arange(1_000_000) % 2 * 500.0], 1)
    with pytest.raises(ValueError, match=r"whose outline is 5e\+08 pixels long; expected at most 1.1e\+06"):
        draw([zigzag / unit], (500, 500))

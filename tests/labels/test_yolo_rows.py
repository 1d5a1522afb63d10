"""A row of a YOLO label file is a box or a polygon, with or without score; anything else is told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samcli.labels.yolo_rows import YoloRow, numbered_rows, read_row
from samcli.polygons import rasterise

SIZE = (50, 80)


def test_row__of_four_shares_is_a_box_in_pixels() -> None:
    row = read_row("3 0.5 0.5 0.25 0.2 0.875")
    assert row == YoloRow(3, (0.5, 0.5, 0.25, 0.2), 0.875)
    assert row.is_box
    assert row.box(SIZE) == pytest.approx((30, 20, 50, 30))


def test_row__of_more_is_a_polygon_as_the_trainer_draws_it() -> None:
    row = read_row("1.0 0 0 0.5 0 0.5 0.5")
    assert (row.class_id, row.score, row.is_box) == (1, None, False)
    assert (row.mask(SIZE).pixels() == rasterise([row.points()], *SIZE)).all()


@given(
    values=st.lists(st.tuples(*[st.floats(-0.01, 1.01)] * 2), min_size=3, max_size=6),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_polygon__drawn_in_a_window_is_the_same_as_in_the_whole_image(values, size) -> None:
    row = YoloRow(0, tuple(np.ravel(values).tolist()), None)
    assert (row.mask(size).pixels() == rasterise([row.points()], *size)).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 1.02 0.5 0.5 0.5", "'1.02'; expected numbers from 0 to 1"),
        ("0 0.5 0.5 nan 0.5", "'nan'; expected numbers from 0 to 1"),
        ("0 0.5 0.5 0 0.5", "box of 0, 0.5 of the image; expected a width and height above 0"),
        ("0 0.5 0.5", "3 values; expected 'class x y w h' or"),
        ("inf 0.5 0.5 0.5 0.5", "class 'inf'; expected a whole number from 0 to 65535"),
        ("65536 0.5 0.5 0.5 0.5", "class '65536'"),
    ],
)
def test_row__that_is_none_is_an_error(line: str, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        read_row(line)
    assert str(error.value).startswith(reason)


def test_numbered_rows__count_blank_lines_and_take_no_byte_order_mark() -> None:
    assert list(numbered_rows("\ufeff0 1\r\n \n2 3".encode())) == [(1, "0 1"), (3, "2 3")]

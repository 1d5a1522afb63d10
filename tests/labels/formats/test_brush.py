"""Label Studio's brush run lengths: bits as its own converter writes and reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from samcli.labels.formats.brush import decode_brush, encode_brush
from samcli.masks import Mask


def packed(*fields: tuple[int, int]) -> list[int]:
    """Bytes out of (value, number of bits)."""
    bits = "".join(f"{value:0{count}b}" for value, count in fields)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


HEAD = [(7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]
"""Values of eight bits; lengths of 3, 4, 8 or 16 bits."""


def test_encode__is_a_head_and_a_run_for_each_stretch() -> None:
    pixels = np.array([[False, True, True], [False, False, False]])
    runs = [(1, 1), (0, 2), (3, 3), (0, 8), (1, 1), (0, 2), (7, 3), (255, 8), (1, 1), (1, 2), (11, 4), (0, 8)]
    assert encode_brush(Mask.from_pixels(pixels)) == packed((24, 32), *HEAD, *runs)


def test_decode__takes_single_values_and_the_alpha_channel() -> None:
    single = [(0, 1), (0, 2), (3, 3), (9, 8), (9, 8), (9, 8), (200, 8)]
    run = [(1, 1), (0, 2), (3, 3), (100, 8)]
    assert decode_brush(packed((8, 32), *HEAD, *single, *run), 1, 2).pixels().tolist() == [[True, False]]


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(max_examples=150)
def test_any_mask__comes_back(pixels) -> None:
    mask = Mask.from_pixels(pixels)
    assert decode_brush(encode_brush(mask), *pixels.shape) == mask


def test_runs_longer_than_sixteen_bits__are_split() -> None:
    pixels = np.zeros((300, 301), bool)
    pixels[100:290] = True
    mask = Mask.from_pixels(pixels)
    assert decode_brush(encode_brush(mask), 300, 301) == mask


@pytest.mark.parametrize(
    "data", [[], [0] * 4, packed((8, 32), *HEAD), packed((8, 32), *HEAD, (1, 1), (0, 2), (7, 3))]
)
def test_decode__refuses_what_is_torn(data: list[int]) -> None:
    with pytest.raises(ValueError):
        decode_brush(data, 1, 2)


def test_decode__refuses_another_size_before_it_makes_room() -> None:
    with pytest.raises(ValueError, match="not of 2 x 1 pixels"):
        decode_brush(packed(((1 << 32) - 1, 32), *HEAD), 1, 2)

"""Masks out of prototypes are those of Ultralytics' `process_mask_native`, made object by object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import same

from samcli.detectors import yolo_masks
from samcli.detectors.yolo_masks import cut_masks
from samcli.sam import resampling


def lively(seed: int, size: tuple[int, int], grid: tuple[int, int], count: int) -> tuple[torch.Tensor, ...]:
    """Smooth random prototypes (8, h, w), coefficients, and boxes of which some reach over the border."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 8, 24, 24, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, grid, mode="bicubic")[0]
    corners = torch.rand(count, 2, 2, generator=random) * 1.2 - 0.1
    corners = corners.sort(dim=1).values * torch.tensor([size[1], size[0]])
    return smooth, torch.randn(count, 8, generator=random), corners.reshape(count, 4).float()


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((480, 640), (60, 80)),  # no padding
        ((403, 301), (80, 64)),
        ((300, 301), (80, 80)),  # an odd padding on one axis
        ((298, 301), (80, 80)),
        ((632, 640), (80, 80)),  # a padding of half a prototype on each side
        ((64, 517), (16, 80)),
        ((31, 1000), (8, 80)),  # far more padding than image
        ((1, 9), (8, 16)),
        ((320, 320), (80, 80)),
        ((1000, 700), (40, 32)),
    ],
)
def test_masks__are_ultralytics_for_any_size_and_padding(size, grid) -> None:
    from ultralytics.utils.ops import process_mask_native

    smooth, coefficients, boxes = lively(sum(size), size, grid, 60)
    wanted = process_mask_native(smooth, coefficients, boxes.clone(), size).numpy().astype(bool)
    found = list(cut_masks(smooth, coefficients, boxes, size))
    assert len(found) == 60
    assert wanted.any()
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.height, mine.width) == size
        assert same(mine.pixels(), theirs)


def test_masks__made_in_strips_and_parts_are_the_same(monkeypatch) -> None:
    size = (403, 301)
    values = lively(1, size, (80, 64), 9)
    whole = list(cut_masks(*values, size))
    monkeypatch.setattr(yolo_masks, "_FLOATS", 2 * 80 * 64)
    monkeypatch.setattr(resampling, "_CPU_ROWS", 7)
    assert list(cut_masks(*values, size)) == whole


def test_box_without_a_pixel__has_an_empty_mask() -> None:
    smooth, coefficients, _ = lively(0, (32, 32), (8, 8), 3)
    boxes = torch.tensor([[3.2, 1, 3.7, 30], [-9, -9, -2, -2], [40, 0, 50, 32]], dtype=torch.float32)
    assert [mask.area for mask in cut_masks(smooth, coefficients, boxes, (32, 32))] == [0, 0, 0]


def test_no_objects__have_no_masks() -> None:
    nothing = cut_masks(torch.zeros(8, 8, 8), torch.zeros(0, 8), torch.zeros(0, 4), (32, 32))
    assert list(nothing) == []


def test_pixels__are_those_whose_number_lies_in_the_box() -> None:
    everywhere = torch.ones(1, 8, 8), torch.ones(1, 1)
    (mask,) = cut_masks(*everywhere, torch.tensor([[2.0, 3.5, 7.0, 9.5]]), (32, 32))
    wanted = np.zeros((32, 32), bool)
    wanted[4:10, 2:7] = True
    np.testing.assert_array_equal(mask.pixels(), wanted)

"""Axes are torch's own resizes, one after another, and say truly what is read from where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samcli.sam import resampling
from samcli.sam.resampling import Axis, AxisBuilder, resized

CPU = torch.device("cpu")


def sam_axes(side: int, input_size: tuple[int, int], size: tuple[int, int]) -> tuple[Axis, Axis]:
    """As SAM's masks: enlarged to the square, cut to the image, resized to its size."""
    vertical, horizontal = (
        AxisBuilder.of(16).resize(side).cut(0, inner).resize(new).axis(CPU)
        for inner, new in zip(input_size, size, strict=True)
    )
    return vertical, horizontal


def noise(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(0)) * 10


@pytest.mark.parametrize("input_size", [(64, 64), (64, 43), (1, 64), (17, 9)])
@pytest.mark.parametrize("size", [(64, 64), (200, 300), (5, 7), (1, 1), (33, 1000)])
def test_resized__is_torchs_two_resizes(input_size, size) -> None:
    logits = noise(3, 16, 16)
    square = F.interpolate(logits[:, None], (64, 64), mode="bilinear", align_corners=False)
    cut = square[..., : input_size[0], : input_size[1]]
    wanted = F.interpolate(cut, size, mode="bilinear", align_corners=False)[:, 0]
    found = torch.cat(list(resized(logits, *sam_axes(64, input_size, size))), 1)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(("extent", "length"), [(12.5, 14), (7.25, 8), (16.0, 16)])
def test_resize__of_an_extent_that_ends_within_a_position_is_torchs_by_scale_factor(extent, length) -> None:
    """`interpolate` with a scale factor takes it as it is: the image ends where the extent does."""
    values = noise(1, 1, length)
    new = int(4 * extent)
    wanted = F.interpolate(values, scale_factor=new / extent, mode="linear", align_corners=False)[0, 0, :new]
    axis = AxisBuilder.of(length).resize(new, extent).axis(CPU)
    assert (axis.weights @ values[0, 0] - wanted).abs().max() < 1e-4


def test_axis__first_and_end_enclose_all_weights_that_count() -> None:
    axis, _ = sam_axes(64, (50, 64), (333, 64))
    for position, (first, end) in enumerate(zip(axis.first, axis.end, strict=True)):
        weights = axis.weights[position].numpy()
        assert weights[first] != 0 and weights[end - 1] != 0
        assert weights[first:end].sum() == pytest.approx(1, abs=1e-6)
        assert not weights[:first].any() and not weights[end:].any()
    assert (np.diff(axis.first) >= 0).all() and (np.diff(axis.end) >= 0).all()


@pytest.mark.parametrize("present", [[0], [3], [15], [4, 5, 6], [0, 15]])
def test_reach__has_every_position_that_reads_what_is_present(present) -> None:
    axis, _ = sam_axes(64, (40, 64), (200, 64))
    there = np.zeros(16, bool)
    there[present] = True
    read = axis.weights[:, min(present) : max(present) + 1].any(1).numpy().nonzero()[0]
    reach = axis.reach(there)
    if not len(read):
        assert reach is None, "only padding is there"
    else:
        assert (reach.start, reach.stop) == (read[0], read[-1] + 1)


def test_reach__of_nothing_is_none() -> None:
    assert sam_axes(64, (40, 64), (200, 64))[0].reach(np.zeros(16, bool)) is None


def test_resized__parts_are_cut_out_of_the_whole_in_strips_of_any_height(monkeypatch) -> None:
    logits = noise(2, 16, 16)
    axes = sam_axes(64, (64, 48), (150, 170))
    whole = torch.cat(list(resized(logits, *axes)), 1)
    monkeypatch.setattr(resampling, "_CPU_ROWS", 20)
    monkeypatch.setattr(resampling, "_CPU_COLUMNS", 9)
    strips = list(resized(logits, axes[0].part(31, 140), axes[1].part(5, 77)))
    assert [strip.shape[1] for strip in strips] == [20] * 5 + [9]
    assert (torch.cat(strips, 1) - whole[:, 31:140, 5:77]).abs().max() < 1e-5


def test_resized__to_nothing_is_nothing() -> None:
    vertical, horizontal = sam_axes(64, (64, 64), (10, 10))
    assert list(resized(noise(1, 16, 16), vertical.part(3, 3), horizontal)) == []

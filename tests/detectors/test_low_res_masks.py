"""Masks made one by one are those that torch makes of all together, in the memory of one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import interpolate

from samcli.detectors.low_res_masks import bilinear_masks, nearest_masks

SIZES = [(97, 131), (33, 50), (7, 300), (501, 400), (1, 1)]


@pytest.fixture
def values() -> torch.Tensor:
    torch.manual_seed(0)
    blobs = interpolate(torch.randn(6, 1, 12, 12), size=(72, 64), mode="bicubic")[:, 0]
    return torch.cat([blobs, torch.full((1, 72, 64), -1.0), torch.full((1, 72, 64), 1.0)])


@pytest.mark.parametrize("size", SIZES)
def test_bilinear_masks__are_torchs(values: torch.Tensor, size: tuple[int, int]) -> None:
    wanted = interpolate(values[None], size=size, mode="bilinear")[0] > 0
    for mask, pixels in zip(bilinear_masks(values, size), wanted, strict=True):
        assert (mask.pixels() == pixels.numpy()).all()


@pytest.mark.parametrize("size", SIZES)
def test_nearest_masks__are_torchs(values: torch.Tensor, size: tuple[int, int]) -> None:
    present = values > 0
    wanted = interpolate(present[None].float(), size=size, mode="nearest")[0] > 0
    for mask, pixels in zip(nearest_masks(present, size), wanted, strict=True):
        assert (mask.pixels() == pixels.numpy()).all()


@pytest.mark.slow
def test_memory__of_a_hundred_objects_in_24_megapixels_is_that_of_few(tmp_path) -> None:
    code = (
        "import resource, sys, torch\n"
        "from torch.nn.functional import interpolate\n"
        "from samcli.detectors.low_res_masks import bilinear_masks\n"
        "torch.manual_seed(0)\n"
        "count = int(sys.argv[1])\n"
        "values = interpolate(torch.randn(count, 1, 9, 9), size=(288, 288), mode='bicubic')[:, 0]\n"
        "masks = list(bilinear_masks(values, (4000, 6000)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    few, many = (
        int(subprocess.run([sys.executable, "-c", code, count], capture_output=True, check=True).stdout)
        for count in ("4", "100")
    )
    assert many - few < 300  # MiB: one mask has 24, all 100 of the library 19,200

"""The faster paths give the masks of the exact one: of fp32 through the networks' own modules.

A small version of `benchmarks/parity.py`, whose figures are in docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import parity
import pytest
import weights
from parity import Agreement, Way
from precisions import needs_bf16

from samcli.config import MaskGeneratorOptions

FP32 = Way("fp32, chunks of 5 prompts", chunk=5)
BF16 = Way("bf16", precision="bf16")


def of_boxes_and_everything(
    sam: object, way: Way, images: Callable[[], object], options: MaskGeneratorOptions
) -> tuple[Agreement, Agreement]:
    ((_, boxes, grid),) = parity.compare(str(sam), [way], images, options)
    assert boxes.masks > 15, "the figures must rest on something"
    assert grid.masks > 10
    return boxes, grid


@pytest.fixture(scope="module")
def scenes() -> Callable[[], object]:
    return partial(parity.scene_images, parity.held_out_scenes(4))


@pytest.mark.parametrize("save", [weights.save_sam_vit, weights.save_small_mobile_sam])
def test_fp32__gives_the_exact_masks_of_random_networks(photos, tmp_path, save) -> None:
    """ViT and TinyViT: their encoders have forwards of our own, which the tiny model's has not."""
    sam = save(tmp_path / "sam.safetensors" if save is weights.save_small_mobile_sam else tmp_path / "sam.pt")
    images = partial(parity.photos, Path(photos[0]).parent, 2)
    for found in of_boxes_and_everything(sam, FP32, images, parity.KEEP_ALL):
        assert found.same_count == found.images
        assert found.mean >= 0.9999
        assert found.least >= 0.99, "where a mask is small, a pixel is much"


def test_fp32__gives_the_exact_masks_of_the_tiny_model(scenes) -> None:
    for found in of_boxes_and_everything("tiny", FP32, scenes, MaskGeneratorOptions(points_per_side=8)):
        assert found.same_count == found.images
        assert found.mean >= 0.9999
        assert found.least >= 0.99


@needs_bf16
def test_bf16__stays_near_the_exact_masks_of_the_tiny_model(scenes) -> None:
    boxes, grid = of_boxes_and_everything("tiny", BF16, scenes, MaskGeneratorOptions(points_per_side=8))
    assert boxes.mean >= 0.985
    assert boxes.least >= 0.85
    assert grid.mean >= 0.97
    assert grid.largest_difference <= 1


@needs_bf16
def test_bf16__loses_no_more_than_one_of_the_objects_that_fp32_finds(samcli_run, tmp_path) -> None:
    few = parity.held_out_scenes(8)
    exact, rounded = (parity.end_to_end(samcli_run, few, tmp_path, name) for name in ("fp32", "bf16"))
    assert exact["objects"] > 60
    assert exact["covered"] > 0.4
    assert rounded["covered"] >= exact["covered"] - 1 / exact["objects"]

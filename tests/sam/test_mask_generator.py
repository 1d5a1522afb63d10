"""Everything mode finds the masks that segment-anything's generator finds, in the same order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import weights
from blobs import Blobs
from helpers import same
from references import generated, mobile_reference, photo, reference, tiny_reference

from samcli.config import MaskGeneratorOptions
from samcli.images.tiling import Tiling
from samcli.labels.formats.amg import amg_facts
from samcli.masks import Mask
from samcli.sam.engine import Engine, load_sam
from samcli.sam.mask_generator import (
    Candidate,
    Places,
    Settings,
    box_nms,
    crop_boxes,
    everything,
    mask_nms,
    without_small_regions,
)
from samcli.types import Annotation, Image, ImageRef, Segment

segment_anything = pytest.importorskip("segment_anything")


def assert_same(engine: Engine, predictor: object, image: Image, at_least: int, **options) -> None:
    """As many masks, in the same order, the same boxes and crops; scores to 1e-4, IoU of .9999."""
    wanted = generated(predictor, image, **options)
    found = everything(engine, image, MaskGeneratorOptions(**options))
    assert len(wanted) >= at_least
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        facts = amg_facts(mine, Annotation("x", image.image_size))
        for name in ("bbox", "crop_box"):
            assert facts[name] == theirs[name]
        assert np.allclose(facts["point_coords"], theirs["point_coords"], atol=1e-9)
        assert facts["predicted_iou"] == pytest.approx(theirs["predicted_iou"], abs=1e-4)
        stability = np.nan_to_num(theirs["stability_score"])  # two pixels of it may fall on the other side
        assert facts["stability_score"] == pytest.approx(stability, abs=1e-4 + 2 / max(1, facts["area"]))
        assert same(mine.mask.pixels(), theirs["segmentation"])


@pytest.fixture(scope="module")
def tiny() -> Engine:
    return load_sam("tiny", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tiny_predictor() -> object:
    return tiny_reference()


@pytest.fixture(scope="module")
def scene() -> Image:
    from samcli.images import read_image

    return read_image(sorted((Path(__file__).parents[2] / "examples" / "shapes").glob("*.jpg"))[0])


THRESHOLDS = {"pred_iou_thresh": 0.55, "stability_score_thresh": 0.7}
LOW = {"pred_iou_thresh": 0.05, "stability_score_thresh": 0.05}
"""So low that many masks survive where there is something to find."""


RANDOM = {"points_per_side": 3, "pred_iou_thresh": -9.0, "stability_score_thresh": 0.01,
          "stability_score_offset": 0.01, "box_nms_thresh": 1}  # fmt: skip
"""Random weights give weak logits and masks as large as the image: only this lets them through."""


@pytest.mark.parametrize(
    ("at_least", "options"),
    [
        (5, {"points_per_side": 12, **THRESHOLDS}),
        (15, {"points_per_side": 14, "box_nms_thresh": 0.95, **LOW}),
        (5, {"points_per_side": 8, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2, **LOW}),
        (6, {"points_per_side": 8, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2,
              "crop_overlap_ratio": 0.2, "crop_nms_thresh": 0.9, **LOW}),
        (10, {"points_per_side": 12, "min_mask_region_area": 100, "box_nms_thresh": 0.9, **LOW}),
        (3, {"points_per_side": 8, "points_per_batch": 5, "stability_score_offset": 0.5, **THRESHOLDS}),
        (2, {"points_per_side": 6, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}),
    ],
    ids=["defaults", "many", "crops", "crops of two layers", "small regions", "small batches", "no filter"],
)  # fmt: skip
def test_everything__of_the_tiny_model_is_segment_anythings(
    tiny, tiny_predictor, scene, at_least: int, options: dict
) -> None:
    assert_same(tiny, tiny_predictor, scene, at_least, **options)


@pytest.mark.parametrize(("width", "height"), [(200, 120), (700, 900)])
def test_everything__of_random_weights_is_segment_anythings(small_sam, photos, width: int, height: int) -> None:
    """Images smaller and larger than the network's 256 pixels."""
    hundreds = {**RANDOM, "points_per_side": 8}
    engine = load_sam(str(small_sam), device="cpu", precision="fp32")
    assert_same(engine, reference(small_sam, 256), photo(photos[0], width, height), 150, **hundreds)


def test_everything__takes_custom_grids(tiny, tiny_predictor, scene) -> None:
    grid = np.random.default_rng(0).random((40, 2))
    generator = segment_anything.SamAutomaticMaskGenerator(
        tiny_predictor.model, points_per_side=None, point_grids=[grid], **THRESHOLDS
    )
    wanted = generator.generate(scene.pixels)
    found = everything(tiny, scene, MaskGeneratorOptions(**THRESHOLDS), grids=[grid])
    assert len(found) == len(wanted) > 2
    for mine, theirs in zip(found, wanted, strict=True):
        assert same(mine.mask.pixels(), theirs["segmentation"])


def test_thresholds__come_from_the_weights_file_where_it_has_them(tiny, scene) -> None:
    assert tiny.defaults["pred_iou_thresh"] != 0.88
    settings = Settings.of(MaskGeneratorOptions(), tiny.defaults)
    assert settings.pred_iou_thresh == tiny.defaults["pred_iou_thresh"]
    assert Settings.of(MaskGeneratorOptions(pred_iou_thresh=0.3), tiny.defaults).pred_iou_thresh == 0.3
    assert Settings.of(MaskGeneratorOptions(), {}) == Settings(32, 0.88, 0.95)


def test_upsampling__is_spared_for_what_predicted_iou_rules_out(tiny, scene, monkeypatch) -> None:
    upsampled = []
    finish = Engine._finish
    monkeypatch.setattr(
        Engine, "_finish", lambda self, e, logits, *a: upsampled.append(len(logits)) or finish(self, e, logits, *a)
    )
    everything(tiny, scene, MaskGeneratorOptions(points_per_side=8, pred_iou_thresh=2.0))
    assert sum(upsampled) == 0
    everything(tiny, scene, MaskGeneratorOptions(points_per_side=8, pred_iou_thresh=0.0))
    assert sum(upsampled) == 8 * 8 * 3


def test_mask_nms__keeps_thin_things_that_box_nms_takes_for_one(tiny, scene) -> None:
    def diagonal(shift: int) -> Candidate:
        pixels = np.zeros((100, 100), bool)
        for i in range(90):
            pixels[i, i + shift : i + shift + 4] = True
        segment = Segment(0, 1, Mask.from_pixels(pixels), 0.9, 0.9)
        return Candidate(segment, (0, 0), (0, 0, 100, 100))

    found = [diagonal(0), diagonal(5), diagonal(1)]
    assert box_nms(found, [0.9, 0.8, 0.7], 0.7) == [0]
    assert mask_nms(found, [0.9, 0.8, 0.7], 0.5) == [0, 1]
    assert mask_nms(found, [0.7, 0.8, 0.9], 0.5) == [2, 1]


def test_exclusive__gives_each_pixel_to_the_smallest_mask(tiny, scene) -> None:
    options = {"points_per_side": 10, "box_nms_thresh": 0.9, **THRESHOLDS}
    shared = everything(tiny, scene, MaskGeneratorOptions(**options))
    apart = everything(tiny, scene, MaskGeneratorOptions(**options, exclusive=True))
    count = sum(instance.mask.pixels().astype(int) for instance in apart)
    assert count.max() == 1
    assert (count > 0).sum() == np.any([instance.mask.pixels() for instance in shared], axis=0).sum()
    assert sum(instance.mask.pixels().astype(int) for instance in shared).max() > 1


def test_small_regions__holes_are_filled_and_specks_removed_but_not_the_last_part() -> None:
    pixels = np.zeros((60, 60), bool)
    pixels[5:40, 5:40] = True
    pixels[10:13, 10:13] = False
    pixels[50:52, 50:52] = True
    wanted = pixels.copy()
    wanted[10:13, 10:13] = True
    wanted[50:52, 50:52] = False
    assert (without_small_regions(Mask.from_pixels(pixels), 20).pixels() == wanted).all()
    mask = Mask.from_pixels(wanted)
    assert without_small_regions(mask, 20) is mask
    assert without_small_regions(mask, 5000).area == 60 * 60  # what is around it is a hole of less, as in Meta's


@pytest.mark.slow
def test_everything__of_vit_b_is_segment_anythings(checkpoints, photos) -> None:
    path = weights.save_sam_vit_b(checkpoints / "vit_b.pth")
    engine = load_sam(str(path), device="cpu", precision="fp32")
    predictor = segment_anything.SamPredictor(segment_anything.sam_model_registry["vit_b"](path))
    assert_same(engine, predictor, photo(photos[0], 640, 480), 20, **RANDOM)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(500, 640), (1500, 1100)])
def test_everything__of_mobile_sam_is_segment_anythings(checkpoints, photos, width: int, height: int) -> None:
    path = weights.save_mobile_sam(checkpoints / "mobile_everything.pt")
    engine = load_sam(str(path), device="cpu", precision="fp32")
    assert_same(engine, mobile_reference(path), photo(photos[0], width, height), 20, **RANDOM)


@pytest.mark.parametrize(("device", "wanted"), [("cpu", [1] * 21), ("meta", [1, 8, 8, 4])])
def test_crops__go_through_the_encoder_together_but_on_a_cpu(device, wanted) -> None:
    from samcli.sam.mask_generator import _embeddings

    seen: list[list[tuple[int, int]]] = []

    class Recorder:
        """Stands for an engine that remembers the sizes of what it was given."""

        def encode(self, images):
            seen.append([image.image_size for image in images])
            return [image.image_size for image in images]

    engine = Recorder()
    engine.device = torch.device(device)
    image = Image(ImageRef(Path(), "x.png"), np.zeros((60, 80, 3), np.uint8))
    crops = crop_boxes(image.image_size, 2, 0.3)

    found = list(_embeddings(engine, image, crops, None))

    assert [len(part) for part in seen] == wanted
    assert found == [(bottom - top, right - left) for (left, top, right, bottom), _ in crops]


@pytest.mark.parametrize(
    ("size", "ratio"), [((300, 1), 0.34), ((1, 300), 0.34), ((1, 1), 1.0), ((40, 3), 0.34), ((9, 9), 1.0)]
)
def test_crops__have_pixels_and_cover_the_image(size: tuple[int, int], ratio: float) -> None:
    crops = crop_boxes(size, 2, ratio)
    covered = np.zeros(size, bool)
    for (left, top, right, bottom), layer in crops:
        assert 0 <= left < right <= size[1]
        assert 0 <= top < bottom <= size[0]
        if layer:
            covered[top:bottom, left:right] = True
    assert covered.all()


TILING = Tiling(200, 0.2, 200)
BLOBS = [(30, 30, 60, 60), (185, 250, 215, 280), (150, 60, 230, 150), (300, 20, 590, 330), (570, 370, 600, 400)]
"""In one tile; where tiles overlap; cut by every tile that shows it; larger than a tile; in the last corner."""


def blobs() -> Image:
    pixels = np.zeros((400, 600, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(BLOBS, 1):
        pixels[top:bottom, left:right] = number
    return Image(ImageRef(Path(), "blobs.png"), pixels)


def test_tiles__give_each_object_once_and_whole_wherever_their_borders_lie() -> None:
    image, engine, options = blobs(), Blobs(), MaskGeneratorOptions(points_per_side=12)
    found = everything(engine, image, options, places=Places(tiling=TILING))  # type: ignore[arg-type]
    assert sorted(one.mask.box for one in found) == sorted([*BLOBS, (0, 0, 600, 400)])
    for one in found:
        seen = one.crop_box or (0, 0, 600, 400)
        number = image.pixels[int(one.prompt_points[0][1]), int(one.prompt_points[0][0]), 0]
        assert (one.mask.pixels() == (image.pixels[..., 0] == number)).all()
        assert (seen[2] - seen[0] == 200) == (number in (1, 2, 3, 5))
    tiles = TILING.tiles(image.image_size)
    assert len(tiles) < len(engine.sizes) - 1 <= len(tiles) + 2  # few more, around what borders have cut


def test_clicks__outside_of_what_is_wanted_are_not_asked_and_tiles_without_any_not_encoded() -> None:
    image, engine, options = blobs(), Blobs(), MaskGeneratorOptions(points_per_side=12)
    places = Places(tiling=TILING, wanted=lambda points: (points < 100).all(1))
    found = everything(engine, image, options, places=places)  # type: ignore[arg-type]
    assert {BLOBS[0]} < {one.mask.box for one in found} <= {BLOBS[0], (0, 0, 600, 400)}
    assert all(max(one.prompt_points[0][:2]) < 100 for one in found)
    assert engine.sizes == [(400, 600), (200, 200)]

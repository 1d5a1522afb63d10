"""What commands that ask for masks share: duplicates of one object under several classes."""

from __future__ import annotations

import numpy as np
import pytest

from samcli.config import AutoAnnotateOptions
from samcli.jobs import segmenting
from samcli.jobs.auto_annotate import AutoAnnotate
from samcli.jobs.segmenting import without_duplicates
from samcli.masks import Mask
from samcli.types import Instance, Quality

NAMES = {0: "blob", 1: "ellipse"}


def square(class_id: int, score: float, left: int = 10, side: int = 40) -> Instance:
    pixels = np.zeros((100, 400), bool)
    pixels[10 : 10 + side, left : left + side] = True
    return Instance(Mask.from_pixels(pixels), class_id, Quality(detector_score=score), (left, 10, left + side, 50))


def test_duplicates__the_better_score_stays_and_the_reason_names_the_other() -> None:
    ellipse, blob = square(1, 0.46), square(0, 0.84, side=41)
    kept, dropped = without_duplicates([ellipse, blob], 0.9, NAMES)
    assert kept == [blob]
    (double,) = dropped
    assert (double.class_id, double.detector_score, double.prompt_box) == (1, 0.46, ellipse.prompt_box)
    assert double.reason == (
        "mask IoU 0.952 with an object of class blob and a better score, above --cross-class-iou 0.9"
    )


@pytest.mark.parametrize(
    ("second", "iou"),
    [
        (square(0, 0.4), 0.9),  # of the same class: the detector's NMS judges those
        (square(1, 0.4, left=15), 0.9),  # IoU 0.78
        (square(1, 0.4, left=200), 0.9),
        (square(1, 0.4), 1.0),  # turned off
    ],
)
def test_duplicates__all_others_stay(second: Instance, iou: float) -> None:
    first = square(0, 0.9)
    assert without_duplicates([first, second], iou, NAMES) == ([first, second], [])


def test_duplicates__are_held_against_kept_ones_only() -> None:
    """The third is a double of the second, which is itself a double of the first, and not of the first."""
    chain = [square(0, 0.9, side=80), square(1, 0.8, side=78), square(2, 0.7, side=76)]
    kept, dropped = without_duplicates(chain, 0.94, NAMES)
    assert [i.class_id for i in kept] == [0, 2]
    assert [d.class_id for d in dropped] == [1]


def test_duplicates__of_300_objects_compare_few_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and areas rule out nearly all of the 45,000 pairs."""
    calls = []
    compare = segmenting.mask_iou
    monkeypatch.setattr(segmenting, "mask_iou", lambda *pair: calls.append(pair) or compare(*pair))
    rng = np.random.default_rng(0)
    lefts, sides = rng.integers(0, 350, 300).tolist(), rng.integers(5, 50, 300).tolist()
    objects = [square(k % 3, float(rng.random()), lefts[k], sides[k]) for k in range(300)]
    kept, dropped = without_duplicates(objects, 0.9, NAMES)
    assert len(kept) + len(dropped) == 300
    assert len(calls) < 3000
    calls.clear()
    same = [square(k, 1 - k / 300) for k in range(300)]
    assert without_duplicates(same, 0.9, NAMES)[0] == same[:1]
    assert len(calls) == 299, "each double is held against the one that stays"


def test_recipe__options_that_do_nothing_are_left_out_of_it(tmp_path) -> None:
    idle = AutoAnnotateOptions.of(agnostic_nms=False, cross_class_iou=1.0, min_part_area="0")
    assert not {"agnostic_nms", "cross_class_iou", "min_part_area"} & AutoAnnotate(idle).recipe().keys()
    active = AutoAnnotateOptions.of(agnostic_nms=True, cross_class_iou=0.9, min_part_area="16")
    recipe = AutoAnnotate(active).recipe()
    assert (recipe["agnostic_nms"], recipe["cross_class_iou"], recipe["min_part_area"]) == (True, 0.9, "16")

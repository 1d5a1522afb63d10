"""The words that the recipe of the tiny models gives to objects."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

RECIPE = Path(__file__).parents[1] / "examples" / "tiny_models"


@pytest.fixture(autouse=True)
def recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECIPE))
    for name in ("words", "scenes"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((220, 30, 30), "red"),
        ((220, 30, 50), "red"),  # on the other side of the hue circle's end
        ((230, 130, 20), "orange"),
        ((30, 160, 40), "green"),
        ((30, 40, 200), "blue"),
        ((10, 12, 20), "black"),
        ((240, 240, 238), "white"),
        ((120, 125, 122), "grey"),
        ((210, 190, 190), None),  # between white, grey and pink
        ((200, 60, 20), None),  # between red and orange
    ],
)
def test_colour_name__is_none_between_two_names(rgb, name) -> None:
    from words import colour_name

    assert colour_name(np.array(rgb, float)) == name


def test_meanings__the_right_words_and_none_about_an_unnamed_colour() -> None:
    from words import PROMPTS, RIGHT, UNKNOWN, meanings

    star = 4
    said = dict(zip(PROMPTS, meanings(star, "red").tolist(), strict=True))
    assert [prompt for prompt, value in said.items() if value == RIGHT] == ["star", "red", "red star"]
    assert UNKNOWN not in said.values()
    said = dict(zip(PROMPTS, meanings(star, None).tolist(), strict=True))
    assert said["star"] == RIGHT and said["circle"] == 0
    assert said["blue"] == said["blue star"] == UNKNOWN
    assert said["blue circle"] == 0  # whatever its colour, it is no circle


def test_object_colour__is_that_of_its_own_pixels() -> None:
    from words import object_colour

    image = np.full((8, 8, 3), (30, 40, 200), np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    image[mask] = (30, 160, 40)
    assert object_colour(image, mask) == "green"
    assert object_colour(image, ~mask) == "blue"

"""Pictures: colours that can be told apart, text that can be read on large images."""

from __future__ import annotations

import numpy as np

from samcli.drawing import PALETTE, class_color, edged, legend, overlay, titled
from samcli.masks import Mask
from samcli.types import Annotation, Instance, Quality

EYES = {
    "all cones": np.eye(3),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colours: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """CIE Lab of sRGB colours (N, 3), as an eye sees them."""
    linear = np.where(colours <= 10, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ eye.T, 0, 1) @ TO_XYZ.T / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def test_palette__differs_for_colour_blind_eyes_too() -> None:
    assert len(set(PALETTE)) == len(PALETTE) >= 20
    for name, eye in EYES.items():
        seen = lab(np.array(PALETTE, float), eye)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(seen)) * 1000
        assert apart.min() > 15, name


def test_colour__is_the_same_for_a_class_and_there_for_any_number() -> None:
    assert class_color(0) == PALETTE[0]
    assert class_color(1000) == class_color(1000)
    assert len({class_color(index) for index in range(80)}) == 80


def plate_height(side: int) -> int:
    """Rows of an overlay that the plate of one object's text darkens, on a white image."""
    size = (side * 3 // 4, side)
    pixels = np.zeros(size, bool)
    pixels[size[0] // 2 :, side // 2 :] = True
    one = Instance(Mask.from_pixels(pixels), 0, Quality(detector_score=0.5))
    drawn = overlay(np.full((*size, 3), 255, np.uint8), Annotation("a.png", size, (one,)), {0: "star", 1: "x"})
    dark = (drawn[: size[0] // 2 - 3] < 100).all(-1).any(1)
    return int(dark.sum())


def test_text__grows_with_the_image() -> None:
    small, large = plate_height(1000), plate_height(4000)
    assert 11 <= small <= 13
    assert large >= 2.5 * small


def prompted(prompts: bool, label: int = 1, count: int = 1) -> np.ndarray:
    """An overlay of objects in the middle of a grey image, each with a box and a point, or a point alone."""
    pixels = np.zeros((400, 400), bool)
    pixels[180:220, 180:220] = True
    box = (60.0, 60.0, 340.0, 340.0) if count == 1 else None
    one = Instance(Mask.from_pixels(pixels), 0, prompt_box=box, prompt_points=((120.0, 300.0, label),))
    annotation = Annotation("a.png", (400, 400), (one,) * count)
    return overlay(np.full((400, 400, 3), 128, np.uint8), annotation, {0: "", 1: ""}, prompts=prompts)


def test_prompts__are_drawn_with_signs_that_differ() -> None:
    plain, foreground, background = prompted(False), prompted(True), prompted(True, 0)
    assert (plain[290:310, 110:130] == 128).all()
    edge = (foreground[60, 60:340] != 128).any(-1)
    assert 0.3 < edge.mean() < 0.99, "the box is a dashed line"
    red, green, _ = foreground[303, 117].astype(int)
    assert green > red
    red, green, _ = background[303, 117].astype(int)
    assert red > green
    white = [(picture[296:305, 120] == 255).all(-1).sum() for picture in (foreground, background)]
    assert white[0] > white[1], "a plus and a minus"


def test_prompts__of_a_sampling_grid_are_not_drawn() -> None:
    assert (prompted(True, count=30) == prompted(False, count=30)).all()


def test_line__has_an_edge_that_differs_from_its_colour() -> None:
    for color in PALETTE:
        (wide, edge), (narrow, own) = edged(color, 1)
        assert wide > narrow
        assert own == color
        assert abs(sum(edge) - sum(color)) > 200


def test_legend__takes_another_row_where_it_is_narrow() -> None:
    entries = [(word, (PALETTE[0], 2)) for word in ("matched", "missed", "wrong")]
    wide, narrow = legend(800, entries), legend(150, entries)
    assert wide.shape[1] == 800
    assert narrow.shape[0] > 2 * wide.shape[0]


def test_text__of_any_characters_is_drawn() -> None:
    """OpenCV ends the process on a lone half of a surrogate pair, as names that are no UTF-8 have."""
    for name in ("caf\udce9.jpg", "a\nb\x1b[0m", "grün 猫", ""):
        assert titled(np.zeros((20, 200, 3), np.uint8), name).shape[1] == 200

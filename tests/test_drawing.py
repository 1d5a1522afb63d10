"""Pictures: colours that can be told apart, text that can be read on large images."""

from __future__ import annotations

import numpy as np

from samcli.drawing import PALETTE, class_color, overlay
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

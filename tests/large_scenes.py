"""Large scenes of small objects, drawn by the generator of the tiny models, from seeds never trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "tiny_models"))
import scenes

SEED = 1_500_000_000
"""Above all seeds of training; see `scenes.HELD_OUT`."""


def large_scene(
    number: int,
    side: int = 4000,
    count: int = 150,
    diameters: tuple[float, float] = (16, 60),
    profile: str = "plain",
) -> scenes.Scene:
    """Return a square scene of `count` objects (255 at most) whose longer sides lie between two `diameters`."""
    rng = np.random.default_rng([SEED + number, list(scenes.PROFILES).index(profile)])
    canvas = scenes._Canvas(rng, scenes.PROFILES[profile], side, side)
    for diameter in sorted(np.exp(rng.uniform(*np.log(diameters), count)).tolist(), reverse=True):
        any(canvas.try_to_place(diameter) for _ in range(12))
    return scenes.Scene(canvas.finish(), canvas.ids, tuple(canvas.classes))

"""Training views, for both trainings: random parts of the cached scenes, turned and recoloured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from dataset import TRAINING_PROFILES, SceneCache
from numpy.random import Generator
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

LEAST_PIXELS = 24  # an object cut off to less than this by a view does not count


@dataclass(frozen=True)
class View:
    """One augmented picture: `image` uint8 (S, S, 3), `inside` bool (S, S), `ids` uint8 (S, S).

    `scene` is its index in the cache, `scale` the size of one frame pixel in pixels of the view.
    """

    image: NDArray[np.uint8]
    inside: Mask
    ids: NDArray[np.uint8]
    scene: int
    scale: float


def draw_view(
    rng: Generator, cache: SceneCache, ready: int, side: int, plain: float = 0.0
) -> tuple[View, list[int]]:
    """A random part of a random scene, and the objects that can be asked for.

    `ready`: how many scenes there are; `plain`: how often it has to be a plain one.
    """
    while True:
        index = int(rng.integers(ready))
        if plain and rng.random() < plain:
            index = _plain_scene(index, ready)
        window = side if side == cache.frame else _window(rng, side, cache.frame)
        x0, y0 = _corner(rng, cache.ids[index], window)
        view = _cut(cache, index, (x0, y0, window), side)
        counts = np.bincount(view.ids.ravel(), minlength=2)
        objects = [k for k in range(1, len(counts)) if counts[k] >= LEAST_PIXELS]
        if objects:
            return _augment(rng, view), objects


def _plain_scene(index: int, ready: int) -> int:
    """A plain scene near `index`: profiles take turns in the cache."""
    found = index - index % len(TRAINING_PROFILES) + TRAINING_PROFILES.index("plain")
    return found if found < ready else index


def _window(rng: Generator, side: int, frame: int) -> int:
    """How many frame pixels a small view covers: mostly its own size, so that objects look as they will."""
    kind = rng.random()
    if kind < 0.55:
        return side
    if kind < 0.8:
        return int(rng.uniform(0.7, 1.7) * side)
    return frame


def _corner(rng: Generator, ids: NDArray[np.uint8], window: int) -> tuple[int, int]:
    """A window's corner, such that it holds some random object's pixel where there is one."""
    frame = len(ids)
    if window >= frame:
        return 0, 0
    rows, columns = np.nonzero(ids[::4, ::4])
    if len(rows) == 0:
        return 0, 0
    # By object, not by pixel: small ones have to be met as often as large ones.
    found = ids[::4, ::4][rows, columns]
    chosen = np.flatnonzero(found == rng.choice(np.unique(found)))
    pixel = rng.choice(chosen)
    x, y = 4 * columns[pixel] - rng.integers(window), 4 * rows[pixel] - rng.integers(window)
    return int(np.clip(x, 0, frame - window)), int(np.clip(y, 0, frame - window))


def _cut(cache: SceneCache, index: int, window: tuple[int, int, int], side: int) -> View:
    x, y, size = window
    height, width = cache.sizes[index]
    image = np.ascontiguousarray(cache.images[index, y : y + size, x : x + size])
    ids = np.ascontiguousarray(cache.ids[index, y : y + size, x : x + size])
    inside = np.zeros((size, size), np.uint8)
    inside[: max(0, height - y), : max(0, width - x)] = 1
    if size != side:
        how = cv2.INTER_AREA if side < size else cv2.INTER_LINEAR
        image = cv2.resize(image, (side, side), interpolation=how)
        ids = cv2.resize(ids, (side, side), interpolation=cv2.INTER_NEAREST)
        inside = cv2.resize(inside, (side, side), interpolation=cv2.INTER_NEAREST)
    return View(image, inside > 0, ids, index, side / size)


def _augment(rng: Generator, view: View) -> View:
    """Mirror and transpose; swap, invert, bend and drop colours. Padding stays where it is."""
    image, inside, ids = view.image, view.inside, view.ids
    turns = int(rng.integers(8))
    padded = not inside.all()
    if turns & 1 and not padded:
        image, inside, ids = image[:, ::-1], inside[:, ::-1], ids[:, ::-1]
    if turns & 2 and not padded:
        image, inside, ids = image[::-1], inside[::-1], ids[::-1]
    if turns & 4:
        image, inside, ids = image.transpose(1, 0, 2), inside.T, ids.T
    image = image[..., rng.permutation(3)]
    if rng.random() < 0.2:
        image = 255 - image
    if rng.random() < 0.3:
        bent = 255 * (np.arange(256) / 255) ** rng.uniform(0.6, 1.6)
        image = cv2.LUT(np.ascontiguousarray(image), bent.astype(np.uint8))
    if rng.random() < 0.08:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    return replace(
        view,
        image=np.ascontiguousarray(image),
        inside=np.ascontiguousarray(inside),
        ids=np.ascontiguousarray(ids),
    )

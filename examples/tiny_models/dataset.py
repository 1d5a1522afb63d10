"""Render training scenes once, in bulk, so that training waits for no drawing.

    python examples/tiny_models/dataset.py --out work/scenes --count 8000 --frame 512

`images.npy`: uint8 (N, F, F, 3) RGB, every scene resized as a network of frame F gets it (longest side F, Pillow
bilinear) and padded with zeros at the right and bottom. `ids.npy`: uint8 (N, F, F), as in `Scene`.
`sizes.npy`: int16 (N, 2), height and width of the picture inside its frame. `classes.npy`: int8 (N, 15), -1
beyond the last object. Scene i is `make_scene(i, TRAINING_PROFILES[i % 4])`; a scene whose size is 0 is not
there yet, so that a run which was broken off goes on where it stopped, and training may start before
rendering ends.
"""

from __future__ import annotations

import argparse
import functools
import time
from dataclasses import dataclass, fields
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scenes import Bytes, make_scene

MOST_OBJECTS = 15
TRAINING_PROFILES = ("hard", "plain", "hard", "soft")


def fit_frame(image: Bytes, ids: Bytes, frame: int) -> tuple[Bytes, Bytes]:
    """Resize image (H, W, 3) and ids (H, W) to a longest side of `frame`, as Meta does."""
    height, width = ids.shape
    scale = frame / max(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    return np.asarray(resized), np.asarray(labels)


@dataclass(frozen=True)
class SceneCache:
    """The arrays of the module's docstring, mapped from disk."""

    images: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    sizes: NDArray[np.int16]
    classes: NDArray[np.int8]

    @classmethod
    def open(cls, folder: Path, frame: int) -> SceneCache:
        """Map the cache in `folder`, for reading; one of other frames than wanted ends the program."""
        cache = cls(**{field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(cls)})
        if cache.frame != frame:
            raise SystemExit(f"{folder} has frames of {cache.frame} pixels: make others by --frame {frame}")
        return cache

    @classmethod
    def make(cls, folder: Path, count: int, frame: int) -> SceneCache:
        """Map the cache in `folder`, for writing; created where it does not exist."""
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "images": ((frame, frame, 3), np.uint8),
            "ids": ((frame, frame), np.uint8),
            "sizes": ((2,), np.int16),
            "classes": ((MOST_OBJECTS,), np.int8),
        }
        arrays = {}
        for name, (shape, dtype) in shapes.items():
            path = folder / f"{name}.npy"
            if path.exists():
                arrays[name] = np.load(path, mmap_mode="r+")
            else:
                folder.mkdir(parents=True, exist_ok=True)
                arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
        return cls(**arrays)

    @property
    def frame(self) -> int:
        """Side of the square frames, in pixels."""
        return int(self.images.shape[1])

    def ready(self) -> int:
        """How many scenes from the start on are complete."""
        missing = np.flatnonzero(self.sizes[:, 0] == 0)
        return int(missing[0]) if len(missing) else len(self.sizes)


def _render(frame: int, index: int) -> tuple[int, Bytes, Bytes, tuple[int, ...]]:
    scene = make_scene(index, TRAINING_PROFILES[index % len(TRAINING_PROFILES)])
    return index, *fit_frame(scene.image, scene.ids, frame), scene.classes


def main() -> None:
    """Render what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--frame", type=int, required=True, help="longest side of the network's input")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cache = SceneCache.make(options.out, options.count, options.frame)
    start, begun = cache.ready(), time.time()
    render = functools.partial(_render, cache.frame)
    with Pool(options.processes) as pool:
        for index, image, ids, classes in pool.imap(render, range(start, len(cache.sizes)), chunksize=8):
            height, width = ids.shape
            cache.images[index, :height, :width] = image
            cache.ids[index, :height, :width] = ids
            cache.classes[index] = -1
            cache.classes[index, : len(classes)] = classes
            cache.sizes[index] = height, width  # last: it is what says that the scene is complete
            if index % 500 == 499:
                print(f"{index + 1} scenes, {time.time() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()

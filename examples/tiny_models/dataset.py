"""Render training scenes once, in bulk, so that training waits for no drawing.

    python examples/tiny_models/dataset.py --out work/scenes --count 8000

`images.npy`: uint8 (N, 512, 512, 3) RGB, every scene resized as the network gets it (longest side 512, Pillow
bilinear) and padded with zeros at the right and bottom. `ids.npy`: uint8 (N, 512, 512), as in `Scene`.
`sizes.npy`: int16 (N, 2), height and width of the picture inside its frame. `classes.npy`: int8 (N, 15), -1
beyond the last object. Scene i is `make_scene(i, TRAINING_PROFILES[i % 4])`; a scene whose size is 0 is not
there yet, so that a run which was broken off goes on where it stopped, and training may start before
rendering ends.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scenes import Bytes, make_scene

FRAME = 512
MOST_OBJECTS = 15
TRAINING_PROFILES = ("hard", "plain", "hard", "soft")


def fit_frame(image: Bytes, ids: Bytes, frame: int = FRAME) -> tuple[Bytes, Bytes]:
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
    def open(cls, folder: Path, count: int | None = None) -> SceneCache:
        """Map the cache in `folder`; with `count`, for writing, and created where it does not exist."""
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "images": ((FRAME, FRAME, 3), np.uint8),
            "ids": ((FRAME, FRAME), np.uint8),
            "sizes": ((2,), np.int16),
            "classes": ((MOST_OBJECTS,), np.int8),
        }
        arrays = {}
        for name, (shape, dtype) in shapes.items():
            path = folder / f"{name}.npy"
            if count is not None and not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
            else:
                arrays[name] = np.load(path, mmap_mode="r" if count is None else "r+")
        return cls(**arrays)

    def ready(self) -> int:
        """How many scenes from the start on are complete."""
        missing = np.flatnonzero(self.sizes[:, 0] == 0)
        return int(missing[0]) if len(missing) else len(self.sizes)


def _render(index: int) -> tuple[int, Bytes, Bytes, tuple[int, ...]]:
    scene = make_scene(index, TRAINING_PROFILES[index % len(TRAINING_PROFILES)])
    return index, *fit_frame(scene.image, scene.ids), scene.classes


def main() -> None:
    """Render what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cache = SceneCache.open(options.out, options.count)
    start, begun = cache.ready(), time.time()
    with Pool(options.processes) as pool:
        for index, image, ids, classes in pool.imap(_render, range(start, options.count), chunksize=8):
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

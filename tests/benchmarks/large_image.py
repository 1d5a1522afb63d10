"""Memory for many boxes on a large image.

python tests/benchmarks/large_image.py [--boxes 300] [--megapixels 50] [--sam tiny]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from samcli import Image, ImageRef, Prompts, load_sam


def main() -> None:
    """Print seconds and how far memory rises above that of the loaded model and the image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=300)
    parser.add_argument("--megapixels", type=float, default=50)
    parser.add_argument("--sam", default="tiny")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    engine = load_sam(given.sam, device="cpu")
    height = int((given.megapixels * 1e6 / 1.5) ** 0.5)
    width = int(height * 1.5)
    coarse = PillowImage.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    image = Image(ImageRef(Path(), "large"), np.asarray(coarse.resize((width, height))))
    corners = rng.uniform(0, 0.7, (given.boxes, 2))
    boxes = np.concatenate([corners, corners + 0.2], 1) * (width, height, width, height)
    before, start = peak(), time.perf_counter()
    segments = engine.segment(engine.encode([image])[0], Prompts(boxes=boxes))
    print(
        f"{len(segments)} masks at {width} x {height}: {time.perf_counter() - start:.1f} s, "
        f"{peak() - before:.0f} MB above the loaded model and image"
    )


def peak() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

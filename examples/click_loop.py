"""Click after click on an image whose embedding is cached: each answer takes milliseconds.

Lines `x y` add a point of the object, `x y 0` one of the background; `new` begins another object. The best mask so
far goes back in with the points, as interactive tools do.

samcli encode examples/shapes --sam tiny -o embeddings
echo "363 354" | python examples/click_loop.py embeddings examples/shapes poster.png tiny
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import samcli
from samcli.images import find_images
from samcli.output.embeddings import open_store


def main(store: str, folder: str, key: str, sam_name: str) -> None:
    """Read clicks from standard input, print a line for each."""
    sam = samcli.load_sam(sam_name)
    ref = next(ref for ref in find_images(Path(folder)) if ref.key == key)
    embedding = open_store(store, sam.model, sam.precision).read(ref)
    if embedding is None:
        sys.exit(f"{key} is not in {store}, or has changed since: run samcli encode again")
    points: list[list[float]] = []
    labels: list[int] = []
    logits = None
    for line in sys.stdin:
        words = line.split()
        if words == ["new"]:
            points, labels, logits = [], [], None
            continue
        x, y, label = (*map(float, words[:2]), int(words[2]) if len(words) > 2 else 1)
        points, labels = [*points, [x, y]], [*labels, label]
        prompts = samcli.Prompts(points=[points], point_labels=[labels], mask_logits=logits)
        # One click is ambiguous: of three answers the best. With more, SAM's single answer is better.
        answers = sam.segment(embedding, prompts, multimask=len(points) == 1, return_logits=True)
        best = max(answers, key=lambda segment: segment.predicted_iou)
        logits = np.asarray(best.low_res_logits)[None]
        print(f"{best.mask.area} pixels in {best.mask.box}, predicted IoU {best.predicted_iou:.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python examples/click_loop.py STORE FOLDER IMAGE SAM    (x y [label] per line on stdin)")
    main(*sys.argv[1:])

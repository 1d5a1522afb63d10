"""Measure the tiny text detector on plain and hard scenes it was never trained on.

    python examples/tiny_models/evaluate_text.py --model work/tiny_text

AP50 of shape words (`star`) and of colour and shape (`red star`), all prompts of a kind asked at once. An object
whose colour is between two names counts for the shape words only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from evaluate import as_image, held_out
from metrics import Detections, pairwise_box_iou
from scenes import CLASSES, Scene
from words import COLOURS, PAIRS, object_colour

import samcli
from samcli.labels.vocabulary import TextClass, Vocabulary

UNNAMED = -1


def pair_ids(scene: Scene) -> list[int]:
    """Return the number in `PAIRS` of each object, UNNAMED for those whose colour has no name."""
    names = [object_colour(scene.image, mask) for mask in scene.masks()]
    return [
        UNNAMED if name is None else COLOURS.index(name) * len(CLASSES) + shape
        for name, shape in zip(names, scene.classes, strict=True)
    ]


def average_precision(model: Path, prompts: tuple[str, ...], scenes: Iterator[Scene]) -> float:
    """AP50 over the prompts, which are `CLASSES` or `PAIRS`."""
    vocabulary = Vocabulary(tuple(TextClass(prompt, (prompt,)) for prompt in prompts))
    detector = samcli.load_detector(str(model), conf=0.01, vocabulary=vocabulary)
    detections = Detections()
    for scene in scenes:
        found, boxes = detector.detect([as_image(scene)])[0], scene.boxes()
        wanted = np.array(scene.classes if prompts == CLASSES else pair_ids(scene), np.int64)
        named = wanted != UNNAMED
        # What lies on an object without a colour's name is neither right nor wrong.
        counted = ~(pairwise_box_iou(boxes[~named], found.boxes) >= 0.5).any(0)
        detections.add(
            found.boxes[counted], found.scores[counted], found.class_ids[counted], boxes[named], wanted[named]
        )
    return detections.mean_average_precision()[0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder that train_text.py wrote")
    parser.add_argument("--scenes", type=int, default=200, help="scenes a profile")
    parser.add_argument("--tune", action="store_true", help="use the tuning seeds instead of the held-out ones")
    options = parser.parse_args()
    for profile in ("plain", "hard"):
        for kind, prompts in (("shapes", CLASSES), ("colours and shapes", PAIRS)):
            scenes = held_out(profile, options.scenes, options.tune)
            figure = average_precision(options.model, prompts, scenes)
            print(json.dumps({"scenes": profile, "words": kind, "ap50": round(figure, 3)}), flush=True)


if __name__ == "__main__":
    main()

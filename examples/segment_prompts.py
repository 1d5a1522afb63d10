"""Ask SAM with points and boxes: one click with its three possible answers, and a box with a click to exclude.

python examples/segment_prompts.py [IMAGE] [SAM]
"""

from __future__ import annotations

import sys
from pathlib import Path

import samcli

SHAPES = Path(__file__).parent / "shapes"


def main(image_path: str = str(SHAPES / "poster.png"), sam_name: str = "tiny") -> None:
    """A line for each mask: its pixels, its box and the IoU that SAM predicts."""
    sam = samcli.load_sam(sam_name)
    image = samcli.read_image(image_path)
    (embedding,) = sam.encode([image])  # the slow half; any number of prompts follow
    height, width = image.image_size

    click = samcli.Prompts(points=[[[363, 354]]], point_labels=[[1]])  # one object, one point
    for segment in sam.segment(embedding, click, multimask=True):
        print(f"click, answer {segment.token}: {describe(segment)}")

    box = [[width * 0.4, height * 0.4, width * 0.8, height * 0.8]]
    not_there = [[[width * 0.45, height * 0.45]]]
    both = samcli.Prompts(boxes=box, points=not_there, point_labels=[[0]])
    (segment,) = sam.segment(embedding, both)
    print(f"box without a corner: {describe(segment)}")


def describe(segment: samcli.Segment) -> str:
    """Its figures in words."""
    return f"{segment.mask.area} pixels in {segment.mask.box}, predicted IoU {segment.predicted_iou:.2f}"


if __name__ == "__main__":
    main(*sys.argv[1:])

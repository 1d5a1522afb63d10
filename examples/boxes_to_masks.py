"""Detect, segment and print what was found: the main job in a few lines of Python.

python examples/boxes_to_masks.py [IMAGE] [DETECTOR] [SAM]
"""

from __future__ import annotations

import sys
from pathlib import Path

import samcli


def main(image_path: str, detector_name: str = "tiny", sam_name: str = "tiny") -> None:
    """One line for each object: class, score, pixels of its mask, IoU that SAM predicts."""
    detector = samcli.load_detector(detector_name)
    sam = samcli.load_sam(sam_name)
    image = samcli.read_image(image_path)
    (found,) = detector.detect([image])
    if not len(found):
        print("nothing found")
        return
    (embedding,) = sam.encode([image])
    for segment in sam.segment(embedding, samcli.Prompts(boxes=found.boxes)):
        name, score = detector.names[int(found.class_ids[segment.prompt])], found.scores[segment.prompt]
        print(
            f"{name:10} score {score:.2f}  {segment.mask.area:7} pixels  predicted IoU {segment.predicted_iou:.2f}"
        )


if __name__ == "__main__":
    default = str(Path(__file__).parent / "shapes" / "poster.png")
    main(*(sys.argv[1:] or [default]))

"""Cut every detected object out of an image, on transparency.

python examples/cutouts.py [IMAGE] [FOLDER] [DETECTOR] [SAM]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import samcli

SHAPES = Path(__file__).parent / "shapes"


def main(
    image_path: str = str(SHAPES / "beads.jpg"),
    folder: str = "cutouts",
    detector_name: str = "tiny",
    sam_name: str = "tiny",
) -> None:
    """`<number>_<class>.png`, each as large as its object. On the command line: `samcli prompt ... --cutout`."""
    detector, sam = samcli.load_detector(detector_name), samcli.load_sam(sam_name)
    image = samcli.read_image(image_path)
    (found,) = detector.detect([image])
    (embedding,) = sam.encode([image])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for segment in sam.segment(embedding, samcli.Prompts(boxes=found.boxes)) if len(found) else ():
        inside, (left, top, right, bottom) = segment.mask.crop()
        if not inside.size:
            continue
        rgba = np.dstack([image.pixels[top:bottom, left:right], inside.astype(np.uint8) * 255])
        name = detector.names[int(found.class_ids[segment.prompt])]
        path = Path(folder) / f"{segment.prompt}_{name}.png"
        Image.fromarray(rgba).save(path)
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

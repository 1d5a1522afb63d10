"""Masks of everything in an image, as one picture of labels.

python examples/everything.py [IMAGE] [SAM] [LABELS.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import samcli
from samcli.labels.formats import Rendering

SHAPES = Path(__file__).parent / "shapes"


def main(image_path: str = str(SHAPES / "poster.png"), sam_name: str = "tiny", target: str = "") -> None:
    """A line for each object, best first; small ones lie on top in the picture."""
    sam = samcli.load_sam(sam_name)
    image = samcli.read_image(image_path)
    options = samcli.MaskGeneratorOptions(points_per_side=12, min_mask_region_area=50)
    instances = samcli.everything(sam, image, options)
    for number, instance in enumerate(instances, 1):
        quality = instance.quality
        print(f"{number:3} {instance.mask.area:7} pixels  predicted IoU {quality.predicted_iou:.2f}")
    if target:
        annotation = samcli.Annotation(image.ref.key, image.image_size, tuple(instances))
        Image.fromarray(Rendering(annotation).label_map).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])

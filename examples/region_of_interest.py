"""A 16-bit grey image, of a microscope or a scanner, of which only a region matters.

The region is cut out, so that SAM sees it at full resolution; the masks go back to the whole image.

python examples/region_of_interest.py [IMAGE] [SAM] [MASK.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

import samcli

SHAPES = Path(__file__).parent / "shapes"
REGION = (180, 200, 400, 320)
"""left, top, right, bottom in pixels."""


def main(image_path: str = str(SHAPES / "sixteen_bit.png"), sam_name: str = "tiny", target: str = "") -> None:
    """Everything in the region; the union of the masks as a black and white picture of the whole image."""
    image = samcli.read_image(image_path)  # all 16 bits are scaled to what is in the image, not just shifted
    left, top, right, bottom = REGION
    region = samcli.Image(image.ref, np.ascontiguousarray(image.pixels[top:bottom, left:right]))
    sam = samcli.load_sam(sam_name)
    options = samcli.MaskGeneratorOptions(points_per_side=12, pred_iou_thresh=0.4, stability_score_thresh=0.5)
    found = samcli.everything(sam, region, options)
    whole = np.zeros(image.image_size, bool)
    for instance in found:
        mask = instance.mask.placed((left, top), image.image_size)
        whole |= mask.pixels()
        print(f"{mask.area} pixels in {mask.box}")
    if target:
        Pillow.fromarray(whole).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Click on an image with onnxruntime: samcli encodes it once, the exported decoder answers each click.

samcli export-onnx --sam tiny --output decoder.onnx --return-single-mask
python examples/onnx_decoder.py decoder.onnx [IMAGE] [X,Y] [SAM] [MASK.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import samcli


def main(
    decoder: str,
    image_path: str = str(Path(__file__).parent / "shapes" / "poster.png"),
    click: str = "363,354",
    sam_name: str = "tiny",
    mask_path: str = "mask.png",
) -> None:
    """Write the mask under a click (pixels of the image) as a PNG; print its size and score."""
    sam = samcli.load_sam(sam_name, precision="fp32")
    image = samcli.read_image(image_path)
    (embedding,) = sam.encode([image])
    height, width = image.image_size
    features = embedding.features[None].cpu().numpy()
    point = np.array([float(part) for part in click.split(",")]) * sam.side / max(height, width)
    masks, scores = onnxruntime.InferenceSession(decoder).run(
        ["masks", "iou_predictions"],
        {
            "image_embeddings": features,
            "point_coords": np.array([[point, (0, 0)]], np.float32),  # the click, and a padding point
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 4 * features.shape[2], 4 * features.shape[3]), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([height, width], np.float32),
        },
    )
    best = int(scores[0].argmax())
    mask = masks[0, best] > 0
    Image.fromarray(mask).save(mask_path)
    print(f"{mask_path}: {mask.sum()} of {mask.size} pixels, predicted IoU {scores[0, best]:.2f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])

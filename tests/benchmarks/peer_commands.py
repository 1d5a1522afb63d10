"""Run a whole command of a peer, for `targets.py` to time: `python tests/benchmarks/peer_commands.py`.

    encode PHOTOS SAM OUT DEVICE
    amg PHOTOS SAM OUT POINTS_PER_SIDE DEVICE
    auto-annotate PHOTOS DET SAM OUT MAX_DET DEVICE

`encode` stores the embeddings of segment-anything's `SamPredictor`, an array a photo. `amg` does what
segment-anything's own `amg.py` does with `--convert-to-rle` (the package does not hold that script);
`auto-annotate` calls Ultralytics' function with the thresholds that are samcli's defaults.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def encode(photos: str, sam: str, out: str, device: str) -> None:
    """Store the embedding of each image of a folder."""
    import cv2
    import numpy as np
    import torch
    from peers import segment_anything_sam
    from segment_anything import SamPredictor

    network = segment_anything_sam(torch.load(sam, map_location="cpu", weights_only=True)).to(device)
    predictor = SamPredictor(network)
    Path(out).mkdir()
    for path in sorted(Path(photos).iterdir()):
        predictor.set_image(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
        np.save(Path(out) / path.with_suffix(".npy").name, predictor.get_image_embedding().cpu().numpy())


def amg(photos: str, sam: str, out: str, points: str, device: str) -> None:
    """Masks of everything in a folder of images, a JSON file each."""
    import cv2
    import torch
    from peers import segment_anything_sam
    from segment_anything import SamAutomaticMaskGenerator

    network = segment_anything_sam(torch.load(sam, map_location="cpu", weights_only=True)).to(device)
    generator = SamAutomaticMaskGenerator(network, points_per_side=int(points), output_mode="coco_rle")
    Path(out).mkdir()
    for path in sorted(Path(photos).iterdir()):
        masks = generator.generate(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
        (Path(out) / path.with_suffix(".json").name).write_text(json.dumps(masks), encoding="utf-8")


def auto_annotate(photos: str, det: str, sam: str, out: str, most: str, device: str) -> None:
    """Labels of a folder of images."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.annotator import auto_annotate

    auto_annotate(
        photos, det, sam, device=device, conf=0.25, iou=0.45, imgsz=640, max_det=int(most), output_dir=out
    )


if __name__ == "__main__":
    {"encode": encode, "amg": amg, "auto-annotate": auto_annotate}[sys.argv[1]](*sys.argv[2:])

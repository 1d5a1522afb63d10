"""Make `examples/shapes`: a dozen images of mixed sizes and formats, and `examples/shapes_truth` beside it.

    python examples/tiny_models/make_shapes.py

The truth of `name.ext` is `shapes_truth/name.ext.json`: the upright image's height and width, and per object
its class, its box (xyxy, pixels, right and bottom exclusive), its area, and its visible mask as COCO run
lengths (uncompressed: column by column, starting with the background). `shapes_truth.json` holds all of them as one
COCO file, for `samcli eval`, `tune` and `convert`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scenes import CLASSES, HELD_OUT, Scene, make_scene, mask_box

EXAMPLES = Path(__file__).resolve().parent.parent
EXIF_ORIENTATION = 0x0112

# name, profile, (height, width), objects
PICTURES: tuple[tuple[str, str, tuple[int, int], int], ...] = (
    ("beads.jpg", "plain", (480, 640), 9),
    ("confetti.jpg", "hard", (768, 1024), 14),
    ("poster.png", "plain", (512, 512), 6),
    ("tiles.webp", "hard", (600, 800), 8),
    ("buttons.bmp", "plain", (320, 320), 5),
    ("stones.tif", "soft", (360, 480), 7),
    ("grey.jpg", "plain", (400, 600), 6),
    ("transparent.png", "plain", (384, 512), 5),
    ("sixteen_bit.png", "plain", (320, 400), 4),
    ("turned.jpg", "soft", (900, 600), 8),
    ("large.jpg", "hard", (1200, 1600), 12),
    ("nothing.jpg", "hard", (480, 480), 0),
)


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths of a mask (H, W): down the columns, first run is background."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    runs = np.diff(bounds).tolist()
    return [0, *runs] if flat[0] else runs


def truth(scene: Scene, name: str) -> dict[str, Any]:
    """What is on the scene, ready for JSON."""
    height, width = scene.ids.shape
    objects = [
        {
            "class": CLASSES[kind],
            "class_id": kind,
            "box": list(mask_box(mask)),
            "area": int(mask.sum()),
            "rle": {"size": [height, width], "counts": run_lengths(mask)},
        }
        for kind, mask in zip(scene.classes, scene.masks(), strict=True)
    ]
    return {"image": name, "height": height, "width": width, "objects": objects}


def _clear_in_grey(scene: Scene) -> bool:
    """Whether every object still differs from the rest of the picture once colour is gone."""
    grey = np.asarray(Image.fromarray(scene.image).convert("L"), np.float32)
    background = np.median(grey[scene.ids == 0])
    return all(abs(float(np.median(grey[mask])) - background) > 30 for mask in scene.masks())


def _scene(number: int, profile: str, size: tuple[int, int], count: int, grey: bool) -> Scene:
    for attempt in range(1000):
        scene = make_scene(HELD_OUT["shapes"] + 1000 * number + attempt, profile, size, count)
        if len(scene.classes) == count and (not grey or _clear_in_grey(scene)):
            return scene
    raise RuntimeError(f"no scene with {count} objects of the kind wanted in 1000 seeds ({profile}, {size})")


def save(scene: Scene, path: Path) -> None:
    """Write the picture in the odd way its name asks for, else as its suffix says."""
    image = Image.fromarray(scene.image)
    if path.stem == "grey":
        image.convert("L").save(path, quality=90)
    elif path.stem == "transparent":
        image.putalpha(255)
        image.save(path, optimize=True)
    elif path.stem == "sixteen_bit":
        grey = np.asarray(image.convert("L"), np.uint16)
        Image.fromarray(grey * 257).save(path, optimize=True)
    elif path.stem == "turned":
        # Stored lying on its side; orientation 6 tells a reader to turn it clockwise by 90 degrees.
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)
    elif path.suffix == ".tif":
        image.save(path, compression="tiff_lzw")
    else:
        image.save(path, quality=88, optimize=True)


def coco(truths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The truths of several pictures as COCO instances; category ids are class ids."""
    annotations = [
        {
            "image_id": number,
            "category_id": item["class_id"],
            "bbox": [
                item["box"][0],
                item["box"][1],
                item["box"][2] - item["box"][0],
                item["box"][3] - item["box"][1],
            ],
            "area": item["area"],
            "iscrowd": 0,
            "segmentation": item["rle"],
        }
        for number, one in enumerate(truths, 1)
        for item in one["objects"]
    ]
    return {
        "images": [
            {"id": number, "file_name": one["image"], "height": one["height"], "width": one["width"]}
            for number, one in enumerate(truths, 1)
        ],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
        "categories": [{"id": class_id, "name": name} for class_id, name in enumerate(CLASSES)],
    }


def main() -> None:
    """Write all pictures and their truths."""
    pictures, truths = EXAMPLES / "shapes", EXAMPLES / "shapes_truth"
    pictures.mkdir(exist_ok=True)
    truths.mkdir(exist_ok=True)
    written = []
    for number, (name, profile, size, count) in enumerate(PICTURES):
        scene = _scene(number, profile, size, count, grey=name in ("grey.jpg", "sixteen_bit.png"))
        save(scene, pictures / name)
        written.append(truth(scene, name))
        write(truths / f"{name}.json", written[-1])
        print(f"{name}: {size[1]}x{size[0]}, {count} objects, {(pictures / name).stat().st_size / 1e3:.0f} kB")
    write(EXAMPLES / "shapes_truth.json", coco(written))


def write(path: Path, document: Mapping[str, Any]) -> None:
    """JSON on one line."""
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

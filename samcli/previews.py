"""Pictures of what a run has written: masks over the photos, many photos on one sheet."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError
from samcli.files import write_atomic
from samcli.formats.records import read_record
from samcli.images import read_image
from samcli.journal import Manifest, read_journal, read_manifest
from samcli.outputs import Layout
from samcli.types import Annotation, Image, ImageRef, Instance

_TILE = 480
"""Side of a photo on a contact sheet, in pixels."""

_OPACITY = 0.45
_TEXT_HEIGHT = 13
_GOLDEN = 0.618034


def write_contact_sheet(output: Path, target: Path | None = None, count: int = 12) -> Path:
    """Put `count` photos of a run, evenly spread, with their masks on one PNG; its path.

    `target`: where to write it; None is `preview.png` in the run's own folder.

    Raises:
        UsageError: no run was begun there, or it has no labels whose photo can be read.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow links
    manifest = read_manifest(Layout(output, output).manifest)
    if manifest is None:
        raise UsageError(f"no run in {output}: give the folder that samcli wrote labels into")
    layout = Layout(Path(os.path.normpath(output / manifest.input_root)), output)
    keys = sorted(
        key for key, entry in read_journal(layout.journal).items() if entry.done and entry.run == manifest.run
    )
    chosen = [keys[index * len(keys) // count] for index in range(count)] if len(keys) > count else keys
    tiles = [tile for key in chosen if (tile := _tile(layout, key, manifest)) is not None]
    if not tiles:
        raise UsageError(f"no labels in {output} whose photo can be read in {layout.input_root}")
    target = target or layout.run_folder / "preview.png"
    _, png = cv2.imencode(".png", contact_sheet(tiles)[..., ::-1])
    write_atomic(target, png.tobytes())
    return target


def _tile(layout: Layout, key: str, manifest: Manifest) -> NDArray[np.uint8] | None:
    """One photo with its masks; None where the photo or its record is gone."""
    try:
        image = read_image(ImageRef(layout.input_root, key))
        annotation = read_record(Path(layout.record(key)).read_bytes())
    except (ImageError, OSError, ValueError):
        return None
    return overlay(image, annotation, manifest.names, side=_TILE)


def overlay(
    image: Image, annotation: Annotation, names: Mapping[int, str], side: int | None = None
) -> NDArray[np.uint8]:
    """Translucent masks, their outlines, class and score over a photo: uint8 (H, W, 3) RGB.

    `side`: the longer side of the result; None keeps the photo's size.
    """
    height, width = image.image_size
    scale = side / max(height, width) if side else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for instance in sorted(annotation.instances, key=lambda item: -item.mask.area):  # small ones stay visible
        _paint(canvas, instance, names, scale)
    return np.asarray(canvas)


def _paint(canvas: NDArray[np.uint8], instance: Instance, names: Mapping[int, str], scale: float) -> None:
    pixels, (left, top, right, bottom) = instance.mask.crop()
    if not pixels.size:
        return
    x1, y1 = int(left * scale), int(top * scale)
    x2, y2 = (
        min(max(x1 + 1, round(right * scale)), canvas.shape[1]),
        min(max(y1 + 1, round(bottom * scale)), canvas.shape[0]),
    )
    small = cv2.resize(pixels.astype(np.uint8), (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
    color = class_color(instance.class_id)
    part = canvas[y1:y2, x1:x2]
    inside = small > 0
    part[inside] = (part[inside] * (1 - _OPACITY) + np.array(color) * _OPACITY).astype(np.uint8)
    outlines, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(part, outlines, -1, color, 1, cv2.LINE_AA)
    score = instance.quality.detector_score
    text = names.get(instance.class_id, str(instance.class_id)) + ("" if score is None else f" {score:.2f}")
    _write(canvas, text, x1, max(_TEXT_HEIGHT, y1 - 2))


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """White on a dark plate, so that it reads on any ground; `y` is its lower edge."""
    if not text:
        return
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    x = max(0, min(x, canvas.shape[1] - width))
    plate = canvas[max(0, y - _TEXT_HEIGHT) : y, x : x + width]
    plate //= 4
    cv2.putText(canvas, text, (x, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)


def class_color(class_id: int) -> tuple[int, int, int]:
    """A bright RGB colour, always the same for a class, far from its neighbours' (golden ratio round the hues)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], gap: int = 8) -> NDArray[np.uint8]:
    """Tiles in rows on a grey ground, about as wide as high."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    side = max(max(tile.shape[:2]) for tile in tiles) + gap
    sheet = np.full((rows * side + gap, columns * side + gap, 3), 40, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = gap + index // columns * side, gap + index % columns * side
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet

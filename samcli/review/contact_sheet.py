"""Pictures of what a run has written: masks over the photos, many photos on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import overlay, titled
from samcli.errors import ImageError, UsageError
from samcli.files import write_atomic
from samcli.images import read_image
from samcli.labels.formats.base import cleaned, recorded_part_limit
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.plots import check_sheet
from samcli.types import ImageRef

_TILE = 480
"""Side of a photo on a contact sheet, in pixels."""


def write_contact_sheet(output: Path, target: Path | None = None, count: int = 12) -> Path:
    """Put `count` photos of a run, evenly spread, with their masks on one PNG; its path.

    `target`: where to write it; None is `preview.png` in the run's own folder.

    Raises:
        UsageError: no run was begun there, or it has no labels whose photo can be read.
    """
    run = RunFolder.open(output, Product.LABELS)
    target = target or run.layout.run_folder / "preview.png"
    check_sheet(target, "--output", "; for a page give --html too" if target.suffix in (".html", ".htm") else "")
    keys = run.done()
    chosen = [keys[index * len(keys) // count] for index in range(count)] if len(keys) > count else keys
    tiles = [tile for key in chosen if (tile := _tile(run, key)) is not None]
    if not tiles:
        raise UsageError(f"no labels in {run.output} whose photo can be read in {run.layout.input_root}")
    _, png = cv2.imencode(".png", contact_sheet(tiles)[..., ::-1])
    write_atomic(target, png.tobytes())
    return target


def _tile(run: RunFolder, key: str) -> NDArray[np.uint8] | None:
    """One photo with the masks that its labels hold; None where the photo or its record is gone."""
    try:
        image = read_image(ImageRef(run.layout.input_root, key))
        annotation = run.record(key)
    except (ImageError, OSError):
        return None
    labelled = cleaned(annotation, recorded_part_limit(run.manifest.recipe.values))
    tile = overlay(image.pixels, labelled, run.manifest.names, side=_TILE)
    return titled(tile, key)


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], gap: int = 8) -> NDArray[np.uint8]:
    """Tiles in rows on a grey ground, about as many as columns; a row is as high as its highest tile."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.shape[0] for tile in row) + gap for row in rows]
    width = max(tile.shape[1] for tile in tiles) + gap
    sheet = np.full((sum(heights) + gap, columns * width + gap, 3), 40, np.uint8)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for index, tile in enumerate(row):
            left = gap + index * width
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        top += height
    return sheet

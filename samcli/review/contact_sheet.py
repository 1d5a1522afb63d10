"""Contact sheets: the masks of a run, or of labels from elsewhere, drawn on many images, on one picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import overlay, titled
from samcli.errors import ImageError, UsageError
from samcli.files import write_atomic
from samcli.images import PREVIEW, read_image
from samcli.labels.convert import image_folder
from samcli.labels.formats.base import cleaned, recorded_part_limit
from samcli.labels.formats.reading import detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.plots import check_sheet
from samcli.types import Annotation, ImageRef

_TILE = 480
"""Side of a photo on a contact sheet, in pixels."""


@dataclass(frozen=True)
class _Labelled:
    """Labels whose images are drawn.

    `annotation`: of an image, by its key; raises ImageError or OSError if there is none. `where`: for messages.
    `target`: the default path of the picture. `prompts`: also draw points and boxes that prompted the masks.
    """

    keys: Sequence[str]
    annotation: Callable[[str], Annotation]
    names: Mapping[int, str]
    images: Path
    where: Path
    target: Path
    prompts: bool = False


def write_contact_sheet(
    labels: Path,
    target: Path | None = None,
    count: int = 12,
    *,
    images: str | None = None,
    source_format: str | None = None,
) -> Path:
    """Write a PNG with the masks of `count` images, sampled evenly. Return its path.

    `labels`: the output folder of a run, or labels in any format that is read. `target`: where to write it; None:
    in the output folder of the run, or beside the labels. `images`: the folder of the images of other labels, and
    `source_format` their format; None: found.

    Raises:
        UsageError: there are no labels, or none of which the image can be read.
    """
    found = _open(labels, images, source_format)
    target = target or found.target
    check_sheet(target, "--output", "; for a page give --html too" if target.suffix in (".html", ".htm") else "")
    keys = found.keys
    chosen = [keys[index * len(keys) // count] for index in range(count)] if len(keys) > count else keys
    tiles = [tile for key in chosen if (tile := _tile(found, key)) is not None]
    if not tiles:
        raise UsageError(f"no labels in {found.where} whose image can be read in {found.images}")
    _, png = cv2.imencode(".png", contact_sheet(tiles)[..., ::-1])
    write_atomic(target, png.tobytes())
    return target


def find_previewed_run(labels: Path) -> RunFolder | None:
    """Return the run whose labels are drawn; None for labels from elsewhere.

    Raises:
        UsageError: the run makes no labels, there are several, or there is nothing at all.
    """
    if (run := RunFolder.find(labels)) is not None:
        run.check(Product.LABELS)
        return run
    try:
        return RunFolder.open(labels, Product.LABELS)  # below the folder of a data set
    except UsageError:
        if not labels.exists():
            raise
        return None


def _open(labels: Path, images: str | None, source_format: str | None) -> _Labelled:
    run = find_previewed_run(labels) if source_format in (None, "records") and images is None else None
    return _of_run(run) if run is not None else _of_labels(labels, images, source_format)


def _of_run(run: RunFolder) -> _Labelled:
    limit = recorded_part_limit(run.manifest.recipe.values)
    images = run.layout.input_root
    folder = run.layout.run_folder if run.output == images else run.output  # a trainer would read it as an image
    return _Labelled(
        run.done(), lambda key: cleaned(run.record(key), limit), run.manifest.names, images, run.output,
        folder / PREVIEW, prompts=run.manifest.recipe.command == "prompt",
    )  # fmt: skip


def _of_labels(path: Path, given: str | None, source_format: str | None) -> _Labelled:
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links
    name = source_format or detect_format(path)
    images = image_folder(path, given, name)
    if images is None:
        raise UsageError(f"the images of {path} were not found; give their folder with --images")
    labels = read_labels(name, Source(path, images))

    def annotation(key: str) -> Annotation:
        found = labels.annotation(key)
        if isinstance(found, Failure):
            raise ImageError(found.reason)
        return found

    return _Labelled(labels.keys(), annotation, labels.names, images, path, path.with_name(PREVIEW))


def _tile(labels: _Labelled, key: str) -> NDArray[np.uint8] | None:
    """Return one image with its masks; None if the image or its labels cannot be read."""
    try:
        image = read_image(ImageRef(labels.images, key))
        annotation = labels.annotation(key)
    except (ImageError, OSError):
        return None
    tile = overlay(image.pixels, annotation, labels.names, side=_TILE, prompts=labels.prompts)
    return titled(tile, key)


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], gap: int = 8) -> NDArray[np.uint8]:
    """Return tiles in a grid on a grey ground, with about as many rows as columns; tiles may differ in size."""
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

"""Annotations with what is hard for label formats: holes, parts, overlaps, odd names, nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.reading import read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.masks import Mask, mask_iou
from samcli.output.layout import Layout
from samcli.polygons import PolygonOptions
from samcli.types import Annotation, Instance, Quality

NAMES = {0: "person", 1: "żółty bus", 2: "traffic light"}
SIZE = (60, 90)
FIGURES = Quality(0.875, 0.96875, 0.984375, 0.75, 0.9921875)


def pixels(*boxes: tuple[int, int, int, int], without: tuple[tuple[int, int, int, int], ...] = ()) -> np.ndarray:
    """Rectangles (x1, y1, x2, y2), and rectangles cut out of them."""
    canvas = np.zeros(SIZE, bool)
    for x1, y1, x2, y2 in boxes:
        canvas[y1:y2, x1:x2] = True
    for x1, y1, x2, y2 in without:
        canvas[y1:y2, x1:x2] = False
    return canvas


def plain(x1: int, y1: int, x2: int, y2: int) -> Mask:
    return Mask.from_pixels(pixels((x1, y1, x2, y2)))


HOLED = Mask.from_pixels(pixels((5, 5, 35, 40), without=((12, 12, 25, 30),)))
PARTED = Mask.from_pixels(pixels((45, 5, 60, 20), (62, 5, 85, 20)))
APART = Mask.from_pixels(pixels((2, 45, 12, 58), (70, 45, 88, 58)))
DISC = Mask.from_pixels(np.hypot(*(np.mgrid[:60, :90] - np.array([[[40]], [[55]]]))) < 9.5)

ANNOTATIONS = [
    Annotation("a b/two words.png", SIZE, (Instance(HOLED, 2, FIGURES), Instance(PARTED, 0, FIGURES))),
    Annotation("a b/żółć #1.png", SIZE, (Instance(DISC, 1, FIGURES), Instance(plain(0, 0, 90, 10), 1, FIGURES))),
    Annotation("nothing.png", SIZE),
    Annotation("x.y.png", SIZE, (Instance(plain(89, 59, 90, 60), 0, FIGURES), Instance(APART, 2, FIGURES))),
]
"""In the order of keys; no two masks of an image overlap."""


def write_images(folder: Path, annotations: list[Annotation]) -> Path:
    """Black images of the sizes and names that the annotations say; their folder."""
    from PIL import Image

    for annotation in annotations:
        path = folder / annotation.key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", annotation.image_size[::-1]).save(path)
    return folder


def write_labels(
    name: str, folder: Path, annotations: list[Annotation], options: PolygonOptions | None = None
) -> Path:
    """Labels as a run writes them for images in `folder/images`; their folder."""
    fmt, layout = FORMATS[name], Layout(folder / "images", folder / name)
    shapes = options or PolygonOptions()
    renderings = [Rendering(a, NAMES, shapes, images=layout.images_from_output) for a in annotations]
    for rendering in renderings:
        for suffix, files in zip(fmt.suffixes, fmt.render_all(rendering), strict=True):
            path = Path(layout.label(rendering.annotation.key, suffix))
            for file, data in files.items() if isinstance(files, dict) else [("", files)]:
                (path / file if file else path).parent.mkdir(parents=True, exist_ok=True)
                (path / file if file else path).write_bytes(data)
    extra = fmt.data_set_files(NAMES, {})
    if fmt.folded_name:
        extra[fmt.folded_name] = b"".join(fmt.fold(iter(renderings), NAMES))
    for file, data in extra.items():
        (layout.output / file).parent.mkdir(parents=True, exist_ok=True)
        (layout.output / file).write_bytes(data)
    return layout.output


def read_all(name: str, path: Path, images: Path | None) -> tuple[dict[int, str], list[Annotation]]:
    """Names and annotations; a failure is an error."""
    labels = read_labels(name, Source(path, images))
    found = list(labels.annotations)
    assert [item for item in found if isinstance(item, Failure)] == []
    return dict(labels.names), [item for item in found if isinstance(item, Annotation)]


def least_iou(first: Annotation, second: Annotation) -> float:
    """The lowest IoU of two annotations' masks, taken in order."""
    assert len(first.instances) == len(second.instances)
    pairs = zip(first.instances, second.instances, strict=True)
    return min((mask_iou(a.mask, b.mask) for a, b in pairs), default=1.0)

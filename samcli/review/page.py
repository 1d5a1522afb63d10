"""The review page: one HTML file for a run, to look through its masks and mark them.

Its data are made from records and journal alone. Masks travel as contours: a third of the size of their run
lengths, and the browser fills them at any zoom. Marks come back through `review.apply_review`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import class_color
from samcli.errors import ImageError, RecordError, UsageError
from samcli.files import check_writable, relative_posix, write_atomic_pieces
from samcli.images import probe_image, read_image
from samcli.labels.formats.base import recorded_part_limit
from samcli.masks import Mask, PartLimit, without_specks
from samcli.output.journal import JournalEntry
from samcli.output.layout import Layout
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.review.apply import (
    DOUBT_FORMULA,
    REVIEW_FORMAT,
    REVIEW_VERSION,
    as_labelled,
    doubt,
    instance_hash,
)
from samcli.types import Annotation, ImageRef, Instance, Origin, Verdict

_DETAIL = 1600
"""Contours are exact to a pixel of the image at this longer side: a window seldom shows more."""

_TOLERANCE = 0.6
"""Of simplified contours, in pixels at that size: less would keep every stair of a slanted border."""

_LEAST_AREA = 4
"""Rings that enclose less (same pixels) are left out where a mask has others."""

_FEW = 150
_SIDE_OF_FEW, _SIDE_OF_MANY = 800, 360
"""Longer side of embedded pictures, in pixels: up to `_FEW` images, and for more (a page to be sent by mail)."""

_JPEG_QUALITY = 72
_MAX_PIXELS = 500_000_000

_NOT_IN_BROWSERS = (".tif", ".tiff")
_MAYBE_NOT_IN_BROWSERS = (".png",)
"""Suffixes of images that browsers show otherwise than we read them where they are 16-bit or turned by EXIF."""

_FIGURES = (
    ("doubt", "Doubt"),
    ("detector_score", "Detector score"),
    ("predicted_iou", "Predicted IoU"),
    ("stability", "Stability"),
    ("box_iou", "Box IoU"),
    ("polygon_iou", "Polygon IoU"),
)
"""In the order of an instance's row in the page's data; `doubt` first."""

_VERDICT_CODES = {None: 0, Verdict.BAD_MASK: 1, Verdict.NO_OBJECT: 2}
"""How an instance's row in the page's data says what a review made of it."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def write_review_page(
    output: Path, target: Path | None = None, *, count: int | None = None, embed: bool = False
) -> Path:
    """Write the review page of a run; its path.

    `target`: where to write it; None is `review.html` in the run's own folder. `count`: so many images, evenly
    spread, instead of all. `embed`: small pictures go into the page, so that it can be sent without the images.

    Raises:
        UsageError: no run was begun there, or nothing has become of any image yet.
    """
    run = RunFolder.open(output, Product.LABELS)
    target = Path(os.path.abspath(target or run.layout.run_folder / "review.html"))  # noqa: PTH100
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {target}: expected a name that ends in .html; without --html it is a PNG")
    check_writable(target)
    entries = run.entries()
    keys = sorted({*entries, *run.manifest.collisions})
    if not keys:
        raise UsageError(f"nothing to review in {run.output}: its run has finished no image yet")
    if count is not None and len(keys) > count:
        keys = [keys[index * len(keys) // count] for index in range(count)]
    write_atomic_pieces(target, _page(run, entries, keys, target, embed=embed))
    return target


_AT_FIRST = 48
"""Images whose masks a served page has from the beginning; it asks for the others once it is shown."""


def served_page(run: RunFolder, keys: Sequence[str]) -> Iterator[bytes]:
    """Return the pieces of the page as `samcli review` serves it: with the editor, without the pictures."""
    entries = run.entries()

    def rows() -> Iterator[list[Any]]:
        for number, key in enumerate(keys):
            yield image_row(run, entries, key) if number < _AT_FIRST else [key]

    head = {**_head(run, run.layout.run_folder / "review.html"), "served": True}
    style, script = _served_assets()
    return _filled(style, script, served_policy(), _data(head, rows()), iter([b"{}"]))


def _served_assets() -> tuple[str, str]:
    """Return style and script: the editor's come first, which the page's look for."""
    return _asset("style.css") + _asset("edit.css"), _asset("edit.js") + _asset("script.js")


@functools.cache
def served_policy() -> str:
    """Return the content security policy of a served page: nothing but what its own server gives."""
    return f"{_policy(*_served_assets(), images=_SERVED_IMAGES)}; connect-src 'self'"


_FILE_IMAGES, _SERVED_IMAGES = "'self' file: data:", "'self' data:"


def _page(
    run: RunFolder, entries: Mapping[str, JournalEntry], keys: Sequence[str], target: Path, *, embed: bool
) -> Iterator[bytes]:
    """Return the page in pieces.

    Data, then the script, then the pictures, which the first paint need not wait for.
    """
    rows = (image_row(run, entries, key) for key in keys)
    style, script = _asset("style.css"), _asset("script.js")
    return _filled(
        style,
        script,
        _policy(style, script),
        _data(_head(run, target), rows),
        _pictures(run.layout, keys, embed=embed),
    )


def _filled(
    style: str, script: str, policy: str, data: Iterator[bytes], pictures: Iterator[bytes]
) -> Iterator[bytes]:
    """Yield the template with everything in its place."""
    fixed = {
        "style": f"<style>{style}</style>",
        "script": f"<script>{script}</script>",
        "policy": html.escape(policy),
    }
    for piece in re.split(r"(\{\{\w+\}\})", _asset("template.html")):
        name = piece[2:-2] if piece.startswith("{{") else ""
        if name == "data":
            yield from data
        elif name == "pictures":
            yield from pictures
        else:
            yield fixed.get(name, piece).encode()


def _data(head: dict[str, Any], rows: Iterator[list[Any]]) -> Iterator[bytes]:
    """One JSON object: what is known of the run, a row for each image, and the colours of the classes in them."""
    yield _embeddable(_json(head)[:-1] + ',"images":[')
    class_ids: set[int] = set()
    for number, row in enumerate(rows):
        class_ids.update(instance[0] for instance in (row[3] if len(row) > 2 else ()))
        yield _embeddable((",\n" if number else "\n") + _json(row))
    every = sorted(class_ids if "served" not in head else map(int, head["names"]))
    colors = {class_id: " ".join(map(str, class_color(class_id))) for class_id in every}
    yield _embeddable('],"colors":' + _json(colors) + "}")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _asset(name: str) -> str:
    return (resources.files("samcli") / "assets" / "review" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str, images: str = _FILE_IMAGES) -> str:
    """Nothing but this page's own style and script, and pictures beside it: no network whatever the data say."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        f"img-src {images}; base-uri 'none'; form-action 'none'"
    )


def _embeddable(text: str) -> bytes:
    """JSON that is safe between script tags, whatever names are in it: ASCII, and no tag can open or end."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").encode("ascii")


def _head(run: RunFolder, target: Path) -> dict[str, Any]:
    """Return the page's facts about the run as a whole."""
    return {
        "format": REVIEW_FORMAT,
        "version": REVIEW_VERSION,
        "name": run.output.name,
        "command": shlex.join(["samcli", "apply-review", _as_seen(run.output)]),
        "fingerprint": run.manifest.fingerprint,
        "run": _identity(run),
        "images_at": relative_posix(run.layout.input_root, target.parent) + "/",
        "detail": _DETAIL,
        "formula": DOUBT_FORMULA,
        "figures": _FIGURES,
        "names": {str(class_id): name for class_id, name in run.manifest.names.items()},
    }


def _as_seen(output: Path) -> str:
    """Return a folder as one would type it in the current folder; pages are sent around, so no home is named."""
    try:
        relative = os.path.relpath(output)
    except ValueError:  # on another drive
        return output.name
    return output.name if Path(relative).parts[:1] == ("..",) else relative


def _identity(run: RunFolder) -> str:
    """Return the key of this run's marks in the browser: its recipe, and the journal's first line (with times)."""
    return hashlib.sha256(run.manifest.fingerprint.encode() + run.first_line()).hexdigest()[:16]


def image_row(run: RunFolder, entries: Mapping[str, JournalEntry], key: str) -> list[Any]:
    """One image: `[key, width, height, instances, mark or 0, omitted objects]`, or `[key, why it failed]`.

    The last two are left out where both are 0.
    """
    entry = entries.get(key)
    collisions = run.manifest.collisions
    if key in collisions or entry is None or not entry.done:
        return [key, collisions.get(key) or (entry and entry.error) or "unknown"]
    try:
        annotation = run.record(key)
        instances = as_labelled(annotation)
    except (RecordError, ValueError) as error:
        return [key, str(error)]
    height, width = annotation.image_size
    unit = _unit(annotation)
    limit = recorded_part_limit(run.manifest.recipe.values)
    rows = [_instance_row(instance, verdict, unit, limit) for instance, verdict in instances]
    mark = annotation.mark.value if annotation.mark else 0
    return [key, width, height, rows, *([mark, annotation.omitted] if mark or annotation.omitted else [])]


def _unit(annotation: Annotation) -> float:
    """Contour coordinates per pixel of the image."""
    return min(1.0, _DETAIL / max(annotation.image_size))


def _instance_row(instance: Instance, verdict: Verdict | None, unit: float, limit: PartLimit) -> list[Any]:
    """`[class id, verdict, hash, contours, prompt box or 0, *figures in thousandths]`; the script reads it.

    Contours are of what labels hold, without the specks that `limit` tells; the hash is of the mask in the record.
    """
    quality = instance.quality
    own = doubt(quality) if instance.source is not Origin.HUMAN else None  # whoever has drawn it is sure
    figures = [own, *(getattr(quality, name) for name, _ in _FIGURES[1:])]
    box = instance.prompt_box
    return [
        instance.class_id,
        _VERDICT_CODES[verdict],
        instance_hash(instance),
        encode_contours(without_specks(instance.mask, limit), unit),
        [round(value * unit) for value in box] if box else 0,
        *(None if value is None or not math.isfinite(value) else round(value * 1000) for value in figures),
    ]


def encode_contours(mask: Mask, unit: float = 1.0) -> str:
    """Return the borders of a mask, holes too (to be filled by the even-odd rule), as a short string.

    They run along the edges of pixels; slits one pixel wide are closed. For each ring: the number of its points,
    then each point as the difference (x, y) to the one before, of any ring; the first to (0, 0). Numbers are
    zigzag-coded, five bits a character, least significant first, the sixth bit set while more follow. `unit`:
    coordinates per pixel.
    """
    pixels, (left, top, _, _) = mask.crop()
    if not pixels.size:
        return ""
    found, _ = cv2.findContours(_corners(pixels), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_ring(points, unit) for points in found]
    areas = [cv2.contourArea(points) * unit * unit for points in found]
    largest = areas.index(max(areas))
    codes: list[str] = []
    last = np.zeros((1, 2), np.int64)
    for index, ring in enumerate(rings):
        if index != largest and areas[index] < _LEAST_AREA:
            continue
        points = np.rint(ring + (left * unit, top * unit)).astype(np.int64)
        steps = np.diff(np.concatenate([last, points]), axis=0).ravel()
        last = points[-1:]
        codes.append(_code(2 * len(points)))
        codes.extend(map(_code, (steps << 1 ^ steps >> 63).tolist()))
    return "".join(codes)


def _corners(pixels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the corners of the pixels of a mask, (h + 1, w + 1).

    OpenCV traces through pixels, and these lie on edges.
    """
    padded = cv2.copyMakeBorder(pixels.astype(np.uint8), 0, 1, 0, 1, cv2.BORDER_CONSTANT)
    return np.asarray(cv2.dilate(padded, np.ones((2, 2), np.uint8), anchor=(1, 1)))


def _ring(points: NDArray[np.int32], unit: float) -> NDArray[np.float64]:
    """(K, 2) simplified points of one border. What is too thin for that is a line; a speck is its box."""
    scaled = points.reshape(-1, 2) * unit
    simple = cv2.approxPolyDP(scaled.astype(np.float32), _TOLERANCE, True).reshape(-1, 2)
    (left, top), (right, bottom) = scaled.min(0), scaled.max(0)
    if len(simple) > 2 or max(right - left, bottom - top) > 2:
        return np.asarray(simple, np.float64)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _code(value: int) -> str:
    text = ""
    while value > 31:
        text += _ALPHABET[value & 31 | 32]
        value >>= 5
    return text + _ALPHABET[value]


def _pictures(layout: Layout, keys: Sequence[str], *, embed: bool) -> Iterator[bytes]:
    """Yield a JSON object: position of the image -> base64 of a small JPEG. Without `embed`, only those that
    browsers
    cannot show."""
    side = _SIDE_OF_FEW if len(keys) <= _FEW else _SIDE_OF_MANY

    def picture(item: tuple[int, str]) -> str | None:
        number, key = item
        ref = ImageRef(layout.input_root, key)
        if not embed and shown_by_browsers(ref):
            return None
        jpeg = _small_jpeg(ref, side)
        return f'"{number}":"{base64.b64encode(jpeg).decode()}"' if jpeg else None

    yield b"{"
    comma = ""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(keys), 256):  # pictures of one part at a time are held
            for text in pool.map(picture, enumerate(keys[start : start + 256], start)):
                if text:
                    yield (comma + text).encode("ascii")
                    comma = ",\n"
    yield b"}"


def shown_by_browsers(ref: ImageRef) -> bool:
    suffix = ref.path.suffix.lower()
    if suffix in _NOT_IN_BROWSERS or ref.page:
        return False
    if suffix not in _MAYBE_NOT_IN_BROWSERS:
        return True
    try:
        probe = probe_image(ref, _MAX_PIXELS)
    except ImageError:
        return True
    return not (probe.wide or probe.rotated)


def _small_jpeg(ref: ImageRef, side: int) -> bytes | None:
    """Return the image at that longer side; None where it cannot be read."""
    try:
        pixels = read_image(ref, max_pixels=_MAX_PIXELS).pixels
    except (ImageError, OSError):
        return None
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(data.tobytes())

"""Image files, judged as Ultralytics' trainer judges them before it looks at their labels.

What is called an error here is what `ultralytics.data.utils.check_image` rejects, and what it takes for sound
although it cannot be decoded: training would end there.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samcli.errors import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 10
"""Pixels; a trainer goes on without smaller images."""

FORMATS = frozenset(
    {"avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpeg2000", "jpg", "mpo", "png", "tif", "tiff", "webp"}
)
"""Pillow's names of the formats that a trainer takes, in lower case; a file's own name does not count."""

_JPEG_END = b"\xff\xd9"
_WITH_PLUGINS = (".heic", ".heif", ".avif")
"""Pillow reads these with plugins that a trainer installs when it meets one."""

_DECODED = frozenset({"bmp", "mpo", "webp"})
"""Truncated, these pass the trainer's check, and training ends where one is loaded. Pillow's verify reads all of a
PNG; it does not decode every TIFF that OpenCV does, so none is judged by it."""

ImageKind = Literal["image-damaged", "image-too-small", "image-format", "image-rewritten"]


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """Problem of an image file."""

    kind: ImageKind
    detail: str

    @property
    def is_error(self) -> bool:
        """Return whether the trainer goes on without the image, or cannot go on."""
        return self.kind != "image-rewritten"


def judge_image(path: Path) -> ImageProblem | None:
    """Return what is wrong with an image file, None for a sound one; the file is only read."""
    from PIL import Image, UnidentifiedImageError

    try:
        if not path.stat().st_size:
            return ImageProblem("image-damaged", "the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of odd metadata: a trainer takes them
            with Image.open(path) as opened:
                return _judge_opened(opened, path)
    except UnidentifiedImageError:
        if path.suffix.lower() in _WITH_PLUGINS:
            return None
        return ImageProblem("image-damaged", f"not an image file, although it is named {path.suffix}")
    except Exception as error:  # a decoder may raise anything for a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        return ImageProblem("image-damaged", f"cannot be decoded: {reason}")


def _judge_opened(opened: Image, path: Path) -> ImageProblem | None:
    name = (opened.format or "").lower()
    width, height = opened.size
    opened.verify()
    if min(width, height) < LEAST_SIDE:
        return ImageProblem("image-too-small", f"{width} x {height} pixels (width x height)")
    if name not in FORMATS:
        return ImageProblem("image-format", f"a {opened.format} file, although it is named {path.suffix}")
    if name == "jpeg":
        return _judge_end(path)
    if name in _DECODED:
        _decode(path)
    return None


def _judge_end(path: Path) -> ImageProblem | None:
    """Judge the end of a JPEG file: a trainer rewrites files that do not end with their end marker."""
    with path.open("rb") as file:
        file.seek(-len(_JPEG_END), os.SEEK_END)
        if file.read() == _JPEG_END:
            return None
    _decode(path)
    return ImageProblem("image-rewritten", "bytes follow the end of the JPEG data")


def _decode(path: Path) -> None:
    """Decode all of an image.

    Raises:
        Exception: whatever Pillow raises for a damaged or truncated file.
    """
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()

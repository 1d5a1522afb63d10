"""Find images and decode them to upright RGB."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError, is_transient, missing_path, one_line
from samcli.images.jpeg_headers import jpeg_header
from samcli.images.memory import LARGE, room_for
from samcli.images.patterns import Pattern
from samcli.types import Image, ImageRef, Size

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".j2k", ".avif", ".heic", ".heif",
)  # fmt: skip
RAW_SUFFIXES = (".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2")
"""Of raw photos: a sensor's values, which are no picture before somebody has chosen how to develop them."""
RAW_REMEDY = "raw photos are to be developed first, to JPEG or 16-bit TIFF, e.g. with darktable-cli or dcraw -T"

PREVIEW = "samcli-preview.png"
"""Name of the contact sheets that `samcli preview` writes; never an image of the input."""

_NAMED = frozenset(SUFFIXES)

Content = Callable[[ImageRef], BinaryIO]
"""Opens an image that is no file; what it raises is an ImageError."""

_WIDE_MODES = ("I", "F")  # Pillow's modes (and I;16...) with more than eight bits a pixel
_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG = 258
_ROWS_PER_STRIP_TAG = 278
_TILE_WIDTH_TAG = 322
_HEAD_BYTES = 32
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_GREY_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
_WIDE_SAMPLES = 2  # bytes a channel of OpenCV's sixteen bits
_RGB = 3
_MARGIN = 1.1  # for strips, and what libraries hold beside
_OF_FORMAT = {"WEBP": 8, "JPEG2000": 12, "AVIF": 3, "HEIF": 1}
"""Bytes a pixel that decoders of these formats hold beside their result: copies, and numbers of 32 bits."""
_STRIP = 1 << 22
"""Pixels that are converted at a time: an image is never held twice beside its result."""
_BYTES_IN_STRIP = 16
"""Of a pixel while it is converted."""


def find_images(
    root: Path, *, exclude: Sequence[Path] = (), passed_over: Counter[str] | None = None
) -> list[ImageRef]:
    """Return all images under `root` (a folder, searched recursively, or one file), sorted by key.

    Names that begin with a dot are left out. A linked folder is followed once; a loop is not. Folders in
    `exclude` are not entered. `passed_over`: counts the files that are no images, by suffix.

    Raises:
        UsageError: `root` does not exist, is no image, or holds none.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise UsageError(no_image(root))
        return [image_ref(root.parent, root.name, root.stat())]
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a regular file; expected an image or a folder of images")
    if not root.is_dir():
        raise missing_path(root, "an image or a folder of images")
    refs = sorted(search(root, exclude=exclude, passed_over=passed_over), key=operator.attrgetter("key"))
    if not refs:
        raw = f"; {RAW_REMEDY}" if passed_over and not passed_over.keys().isdisjoint(RAW_SUFFIXES) else ""
        raise UsageError(f"no images in {root} (searched all folders below it for {' '.join(SUFFIXES)}{raw})")
    return refs


def no_image(path: Path) -> str:
    """Return what to say of a file whose suffix is not that of an image."""
    if path.suffix.lower() in RAW_SUFFIXES:
        return f"{path} cannot be read: {RAW_REMEDY}"
    return f"{path} is not an image: expected one of {' '.join(SUFFIXES)}"


def is_image_name(name: str) -> bool:
    """Return whether a file's suffix is that of an image."""
    return name[name.rfind(".") :].lower() in _NAMED


def suffix_of(name: str) -> str:
    """Return the suffix by which a file that is no image is counted, in lower case."""
    return os.path.splitext(name)[1].lower() or "no suffix"  # noqa: PTH122 - asked for by the million


def image_ref(root: Path, key: str, status: os.stat_result) -> ImageRef:
    """Return the reference of an image whose file has this status."""
    return ImageRef(root, key, status.st_size, status.st_mtime_ns)


def search(
    root: Path,
    *,
    exclude: Sequence[Path] = (),
    pattern: Pattern | None = None,
    passed_over: Counter[str] | None = None,
) -> Iterator[ImageRef]:
    """Yield the images under a folder, in no particular order, each real folder visited once.

    `exclude`, `passed_over`: see `find_images`. `pattern`: only for files that match, and these alone are counted.
    """
    excluded = {path.resolve() for path in exclude}
    counted = Counter[str]() if passed_over is None else passed_over
    pending = [(root, "")]
    seen: set[tuple[int, int]] = set()
    while pending:
        folder, relative = pending.pop()
        own = folder.stat()
        if (own.st_dev, own.st_ino) in seen or (excluded and folder.resolve() in excluded):
            continue
        seen.add((own.st_dev, own.st_ino))
        if relative and (folder / ".samcli" / "run.json").is_file():
            continue  # the output of a run: its pictures are no images of the input
        # Ordinary folders before linked ones, so that a folder keeps its own name, not a link's.
        linked: list[tuple[Path, str]] = []
        real: list[tuple[Path, str]] = []
        with _listed(folder) as entries:
            for entry in entries:
                name = entry.name
                named = name[name.rfind(".") :].lower() in _NAMED
                if name[0] == "." or name == PREVIEW:
                    continue
                if not named and entry.is_file(follow_symlinks=False):
                    if pattern is None or pattern.matches(relative + name):
                        counted[suffix_of(name)] += 1
                    continue
                status = _status(entry)
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if pattern is None or pattern.may_hold(relative + name):
                        (linked if entry.is_symlink() else real).append((Path(entry.path), f"{relative}{name}/"))
                elif (
                    named
                    and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode))
                    and (pattern is None or pattern.matches(relative + name))
                ):
                    yield image_ref(root, relative + name, status)
        # Taken from the end: in order of name, so that a folder linked twice always has the same name.
        pending[:0] = sorted(linked, reverse=True)
        pending += sorted(real, reverse=True)


@contextlib.contextmanager
def _listed(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """A folder's entries; one that cannot be read is an error, never images silently lost."""
    try:
        entries = os.scandir(folder)
    except PermissionError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}") from error
    with entries:
        yield entries


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of the target of an entry, or of the link itself if it is broken."""
    try:
        return entry.stat()
    except OSError:
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
            return entry.stat(follow_symlinks=False)
        return None


@dataclass(frozen=True)
class Probe:
    """Facts from the header of an image, before any pixel is decoded."""

    image_size: Size
    """Upright: (height, width) after the EXIF orientation is applied."""
    rotated: bool
    wide: bool
    """More than eight bits a channel."""
    alpha: bool
    mode: str


def probe_image(ref: ImageRef, max_pixels: int) -> Probe:
    """Read an image's header.

    Raises:
        ImageError: it cannot be read, is no image, or has more than `max_pixels` pixels.
    """
    with _readable(ref):
        header = jpeg_header(f"{ref.root}{os.sep}{ref.key}")
        if header is not None:
            _check_pixels(header.size, max_pixels)
            return _probe(header.size, header.mode, _exif_orientation(header.exif))
        with _regular(ref.path) as file:
            head = _head(file)
            with _open(file, head) as opened:
                _seek(opened, ref.page, max_pixels)
                return _probe_opened(opened, head, max_pixels)


def read_image(
    source: str | Path | ImageRef,
    *,
    max_pixels: int = 500_000_000,
    on_large: Callable[[ImageRef], None] = lambda ref: None,
    content: Content | None = None,
) -> Image:
    """Decode an image to upright 8-bit RGB.

    Grey, palette and CMYK images are converted; alpha is dropped; more than eight bits a channel are scaled
    by the range that the image really uses (a 12-bit image in a 16-bit file keeps its contrast).
    `on_large`: called before an image is decoded that takes much memory, of which only one is decoded at a time.
    `content`: opens images that are no files.

    Raises:
        ImageError: it cannot be read, is damaged or truncated, or has more than `max_pixels` pixels.
        MemoryShortageError: there is too little memory for it now.
    """
    ref = source if isinstance(source, ImageRef) else ImageRef(Path(source).parent, Path(source).name)
    with _readable(ref), content(ref) if content else _regular(ref.path) as file:
        head = _head(file)
        with _open(file, head) as opened:
            page = 0 if content else ref.page
            _seek(opened, page, max_pixels)
            _check_pixels(opened.size, max_pixels)
            wide = _is_wide(opened, head)
            cost = decoding_cost(opened, _size_of(file), wide=wide)
            if cost >= LARGE:
                on_large(ref)
            with room_for(cost):
                opened.load()  # raises for a truncated file; half an image is never returned
                orientation = _orientation(opened)
                pixels = _wide_to_rgb(opened, file, page) if wide else _to_rgb(opened)
                return Image(ref, _upright(pixels, orientation))


def page_count(ref: ImageRef) -> int:
    """Return the number of pages of a file, 1 of one that cannot be read."""
    with contextlib.suppress(Exception), _regular(ref.path) as file, _open(file, _head(file)) as opened:
        return int(getattr(opened, "n_frames", 1))
    return 1


def _seek(opened: PIL.Image.Image, page: int, max_pixels: int) -> None:
    if page:
        if opened.format == "GIF":  # to seek decodes the frames before, all of the screen's size
            _check_pixels(opened.size, max_pixels)
        count = getattr(opened, "n_frames", 1)
        try:
            opened.seek(page)
        except EOFError as error:
            raise ImageError(f"its file has {count} pages, and none of number {page + 1}") from error


def decoding_cost(opened: PIL.Image.Image, file_size: int, *, wide: bool) -> int:
    """Bytes that decoding an opened image takes at most, from its header: the decoder's own, and the result."""
    width, height = opened.size
    colour = opened.mode not in ("1", "L", "P", *_GREY_WIDE)
    held = 8 if opened.mode in ("I", "F") else 4 if colour else 2 if opened.mode in _GREY_WIDE else 1
    held += 6 if opened.info.get("progressive") else _OF_FORMAT.get(opened.format or "", 0)
    if wide and colour:  # with a copy in another order of the channels
        held = max(held, 2 * _WIDE_SAMPLES * len(opened.getbands()) - _RGB)
    # The decoder's pixels are freed before an image is turned, which takes a second copy of the result.
    whole = int(width * height * (max(held, _RGB) + _RGB) * _MARGIN)
    strips = _BYTES_IN_STRIP * _STRIP if width * height > _STRIP else 0
    return whole + strips + _strip_of_file(opened) + (file_size if wide else 0)


def _strip_of_file(opened: PIL.Image.Image) -> int:
    """Return the bytes of a strip of a compressed TIFF file, decoded at once: it may be the whole image."""
    tags = getattr(opened, "tag_v2", {})
    if opened.format != "TIFF" or opened.info.get("compression", "raw") == "raw" or tags.get(_TILE_WIDTH_TAG):
        return 0
    width, height = opened.size
    rows = min(int(tags.get(_ROWS_PER_STRIP_TAG, height)), height)
    return rows * width * len(opened.getbands())


@contextlib.contextmanager
def _regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read, without waiting for the writer of a pipe or for a device.

    Raises:
        ImageError: it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError("not a regular file: a folder, pipe, socket or device")
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        yield file


def _size_of(file: BinaryIO) -> int:
    """Return the bytes of a file; its position stays as it is."""
    at = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    return size


class _readable:  # noqa: N801 - reads as a statement: with _readable(ref)
    """Turn whatever a decoder raises into an ImageError with one line of reason."""

    def __init__(self, ref: ImageRef) -> None:
        self.ref = ref

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, ImageError) or not isinstance(error, Exception):
            return
        from PIL import UnidentifiedImageError

        # Ultralytics wraps Pillow's open, and then fails to import a decoder that nobody asked for.
        if any(isinstance(e, UnidentifiedImageError) for e in (error, error.__context__)):
            raise ImageError(f"not a valid image file (extension is {self.ref.path.suffix})") from error
        if isinstance(error, FileNotFoundError):
            what = "its folder" if is_transient(error) else "the file"
            raise ImageError(f"{what} is gone, or a link that leads nowhere") from error
        if isinstance(error, MemoryError):
            raise ImageError("too large for this machine's memory") from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise ImageError(f"cannot be decoded: {reason}") from error


def _head(file: BinaryIO) -> bytes:
    """Return the first bytes of a file; it is rewound. Whatever a header says is judged before the rest is read."""
    head = file.read(_HEAD_BYTES)
    if not head:
        raise ImageError("the file is empty (0 bytes)")
    file.seek(0)
    return head


@functools.cache
def _add_heif() -> None:
    """Teach Pillow to read HEIF, the usual format of phones.

    Raises:
        ImageError: the package for that is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("HEIC and HEIF images need a decoder: pip install 'samcli[heif]'") from error
    pillow_heif.register_heif_opener()


def _open(file: BinaryIO, head: bytes) -> PIL.Image.Image:
    import PIL.Image

    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _add_heif()
    # Our own limit (max_pixels) is checked from the header, per image; Pillow's is global and lower.
    PIL.Image.MAX_IMAGE_PIXELS = None
    return PIL.Image.open(file)


def _probe_opened(opened: PIL.Image.Image, head: bytes, max_pixels: int) -> Probe:
    _check_pixels(opened.size, max_pixels)
    orientation = _orientation(opened)
    alpha = opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info
    probe = _probe(opened.size, opened.mode, orientation, upright=opened.format == "TIFF")
    return replace(probe, wide=_is_wide(opened, head), alpha=alpha)


def _probe(size: tuple[int, int], mode: str, orientation: int, *, upright: bool = False) -> Probe:
    """`size`: (width, height) as stored, or as turned already (`upright`)."""
    width, height = size
    swapped = orientation in (5, 6, 7, 8) and not upright
    return Probe(
        image_size=(width, height) if swapped else (height, width),
        rotated=orientation in range(2, 9),
        wide=False,
        alpha=False,
        mode=mode,
    )


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than --max-pixels {max_pixels}")


def _orientation(opened: PIL.Image.Image) -> int:
    """EXIF orientation 1 to 8, as far as it has been read: a PNG may state it after its pixels."""
    import PIL.Image

    # Not opened.getexif(): PNG's own decodes the whole image.
    return int(PIL.Image.Image.getexif(opened).get(_ORIENTATION_TAG, 1))


def _exif_orientation(segment: bytes) -> int:
    """Return the orientation that an EXIF segment states, 1 where it states none."""
    if not segment:
        return 1
    import PIL.Image

    exif = PIL.Image.Exif()
    exif.load(segment)
    return int(exif.get(_ORIENTATION_TAG, 1))


def _is_wide(opened: PIL.Image.Image, head: bytes) -> bool:
    """More than eight bits a channel. Pillow's mode hides that it reads 48-bit colour without its low bytes."""
    if opened.mode.startswith(_WIDE_MODES):
        return True
    if opened.format == "PNG":
        return head[24] > 8  # the bit depth in the header that every PNG begins with
    bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE_TAG, (8,))
    return (max(bits) if isinstance(bits, tuple) else int(bits)) > 8


def _to_rgb(opened: PIL.Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 as stored: not turned yet. Closes the image."""
    opened.info.pop("transparency", None)  # Pillow would warn that it is lost, and it is meant to be
    return _in_strips(opened, lambda strip: np.asarray(strip.convert("RGB")))


def _in_strips(
    opened: PIL.Image.Image, convert: Callable[[PIL.Image.Image], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, converted a few rows at a time. Closes the image: its memory is free for what follows."""
    width, height = opened.size
    if width * height <= _STRIP:
        return _coloured(convert(opened))
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = _coloured(convert(opened.crop((0, top, width, bottom))))
    opened.close()
    return pixels


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey as three equal channels."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _wide_to_rgb(opened: PIL.Image.Image, file: BinaryIO, page: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 as stored, out of more bits a channel; `page`: its number from 0. Closes the image."""
    if opened.mode.startswith(_WIDE_MODES):
        values = np.asarray(opened)
        opened.close()
        return _scaled_rgb(values[..., None])
    import cv2

    # Pillow has decoded the file just before, so it is whole; OpenCV keeps all its bits.
    file.seek(0)
    name, data = opened.format, np.frombuffer(file.read(), np.uint8)
    opened.close()
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    if page:
        _, pages = cv2.imdecodemulti(data, flags, range=(page, page + 1))
        decoded = pages[0] if pages else None
    else:
        decoded = cv2.imdecode(data, flags)
    if decoded is None:
        raise ImageError(f"no decoder for {name} with this number of bits per channel")
    if decoded.ndim == 2:
        decoded = decoded[..., None]
    return _scaled_rgb(decoded[..., 2::-1] if decoded.shape[2] >= 3 else decoded[..., :1])


def _scaled_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of values (H, W, 1 or 3), a few rows at a time, all by one range.

    Linear from the lowest and highest finite value present to 0 and 255; a constant image stays dark.
    """
    height, width, channels = values.shape
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP // max(width * channels, 1), 1)
    strips = [slice(top, top + rows) for top in range(0, height, rows)]
    ranges = [found for strip in strips if (found := _range(values[strip])) is not None]
    low, high = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 0.0)
    for strip in strips:
        pixels[strip] = _scaled(values[strip], low, high)
    return pixels


def _range(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return the lowest and highest finite value; None: none is finite."""
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        values = values[np.isfinite(values)]
    return (float(np.float32(values.min())), float(np.float32(values.max()))) if values.size else None


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Values from low to high as 0 to 255; what is not finite as low."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    if values.dtype == np.uint16:  # by table, which is quicker
        table = _scaled(np.arange(int(low), int(high) + 1, dtype=np.int32), low, high)
        return np.asarray(table[values - np.uint16(low)])
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, low)
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply EXIF orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)

"""The headers of ordinary JPEG files are read as Pillow reads them; all others are left to Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import samcli.images
from samcli.errors import ImageError
from samcli.images import Probe, probe_image
from samcli.images.jpeg_headers import jpeg_header
from samcli.types import ImageRef

ORIENTATION = 0x0112


def encoded(mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG of 30 x 20 pixels."""
    data = io.BytesIO()
    PIL.Image.new(mode, (30, 20)).save(data, "JPEG", **options)
    return data.getvalue()


def oriented(value: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

FILES = {
    "rgb": encoded(),
    "grey": encoded("L"),
    "cmyk": encoded("CMYK"),
    "progressive": encoded(progressive=True),
    "comment": encoded(comment=b"x" * 60_000),
    "profile": encoded(icc_profile=b"p" * 150_000),
    "xmp": encoded(xmp=XMP),
    "exif and xmp": encoded(exif=oriented(3), xmp=XMP),
    "empty exif": encoded(exif=b"Exif\0\0"),
    "damaged exif": encoded(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "cut": encoded()[:100],
    "header alone": encoded()[:400],
    "no jpeg": b"\xff\xd8\xff" + b"x" * 500,
    "twelve bits": encoded().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
    "no width": encoded().replace(b"\x00\x14\x00\x1e", b"\x00\x14\x00\x00"),
    **{f"orientation {value}": encoded(exif=oriented(value)) for value in range(10)},
}


def probed(path: Path) -> Probe | str:
    """What is said of an image, or why it cannot be read."""
    try:
        return probe_image(ImageRef(path.parent, path.name), 1000)
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("name", FILES)
def test_jpeg_header__agrees_with_pillow(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FILES[name])
    found = probed(path)
    monkeypatch.setattr(samcli.images, "jpeg_header", lambda path: None)
    assert found == probed(path)


def test_jpeg_header__is_read_without_pillow_where_the_file_is_ordinary(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    ordinary = ("rgb", "grey", "cmyk", "progressive", "comment", "orientation 6")
    for name in ordinary:
        path.write_bytes(FILES[name])
        header = jpeg_header(str(path))
        assert header is not None and header.size == (30, 20), name


@pytest.mark.parametrize("name", ["xmp", "cut", "no jpeg", "twelve bits"])
def test_jpeg_header__leaves_what_is_unusual_to_pillow(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FILES[name])
    assert jpeg_header(str(path)) is None


def test_jpeg_header__of_several_images_in_one_file_is_left_to_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = PIL.Image.new("RGB", (30, 20)), PIL.Image.new("RGB", (15, 10))
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert jpeg_header(str(path)) is None
    probe = probed(path)
    assert isinstance(probe, Probe) and probe.image_size == (20, 30)

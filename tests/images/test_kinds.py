"""Kinds of images that phones, scanners and satellites write."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samcli.errors import ImageError, UsageError
from samcli.images import find_images, probe_image, read_image
from samcli.types import ImageRef

PIXELS = np.zeros((40, 60, 3), np.uint8)
PIXELS[:, :30], PIXELS[:20, 30:] = (200, 40, 30), (20, 60, 220)


@pytest.mark.parametrize("suffix", [".gif", ".jp2", ".j2k", ".avif", ".heic", ".heif"])
def test_image__of_any_kind_is_found_and_decoded(tmp_path: Path, suffix: str) -> None:
    if suffix.startswith(".hei"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(PIXELS)
    picture.save(path, **({} if suffix == ".gif" else {"quality": 95} if suffix != ".jp2" else {}))
    (ref,) = find_images(tmp_path)
    assert probe_image(ref, 10**6).image_size == (40, 60)
    assert np.abs(read_image(ref).pixels[5::10, 5::10].astype(int) - PIXELS[5::10, 5::10]).max() < 12


def test_animation__is_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())
    for name in ("a.gif", "a.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert (read_image(tmp_path / name).pixels[5, 45] == PIXELS[5, 45]).all()


def test_heif__without_its_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samcli import images

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images._add_heif.cache_clear()
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageError, match=r"pip install 'samcli\[heif\]'"):
        read_image(ImageRef(tmp_path, "a.heic"))


def test_raw_photo__is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"II*\0")
    with pytest.raises(UsageError, match="developed first, to JPEG or 16-bit TIFF"):
        find_images(tmp_path / "a.dng")

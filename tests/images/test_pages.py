"""Files of several pages: each page is an image with a key of its own, and stays what it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from samcli.config import SourceOptions
from samcli.errors import ImageError, UsageError
from samcli.images import find_images, probe_image, read_image
from samcli.images.pages import with_all_pages
from samcli.jobs.inputs import find_input, open_inputs
from samcli.types import ImageRef

COLOURS = [(250, 10, 20), (10, 240, 30), (20, 30, 230)]


def write_pages(path: Path) -> Path:
    """Three pages of different colours and, in a TIFF, sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = (40, 50, 60) if path.suffix == ".tif" else (40, 40, 40)
    pages = [Image.new("RGB", (side, 30), colour) for side, colour in zip(sides, COLOURS, strict=True)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.mark.parametrize("name", ["a/scan.tif", "moving.gif"])
def test_pages__are_images_of_their_own(tmp_path: Path, name: str) -> None:
    write_pages(tmp_path / name)
    refs = with_all_pages(find_images(tmp_path))
    stem, suffix = name.rsplit(".", 1)
    assert [ref.key for ref in refs] == [f"{stem}#2.{suffix}", f"{stem}#3.{suffix}", name]
    for ref, colour in zip(refs, [*COLOURS[1:], COLOURS[0]], strict=True):
        image = read_image(ref)
        assert np.abs(image.pixels[5, 5].astype(int) - colour).max() < 12
        assert probe_image(ref, 10**6).image_size == image.image_size
        assert ref.path == tmp_path / name


def test_pages__of_more_bits_keep_them(tmp_path: Path) -> None:
    ramps = [np.linspace(low, 60000, 32 * 24 * 3).reshape(24, 32, 3).astype(np.uint16) for low in (0, 30000)]
    cv2.imwritemulti(str(tmp_path / "deep.tif"), ramps)
    first, second = (read_image(ImageRef(tmp_path, key)).pixels for key in ("deep.tif", "deep#2.tif"))
    assert first.min() == second.min() == 0 and first.max() == second.max() == 255
    assert len(np.unique(second)) > 200


def test_page__that_is_not_there_fails_and_a_file_of_that_name_goes_before(tmp_path: Path) -> None:
    write_pages(tmp_path / "scan.tif")
    with pytest.raises(ImageError, match="has 3 pages, and none of number 4"):
        read_image(ImageRef(tmp_path, "scan#4.tif"))
    Image.new("RGB", (9, 8)).save(tmp_path / "scan#2.tif")
    assert read_image(ImageRef(tmp_path, "scan#2.tif")).image_size == (8, 9)
    with pytest.raises(UsageError, match=r"scan#2.tif has the name by which page 2 of another file"):
        with_all_pages(find_images(tmp_path))


def test_damaged_file__has_one_page(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(b"II*\0 no tiff")
    assert [ref.key for ref in with_all_pages(find_images(tmp_path))] == ["scan.tif"]


@pytest.mark.parametrize(
    ("pages", "keys"), [("first", ["scan.tif"]), ("all", ["scan#2.tif", "scan#3.tif", "scan.tif"])]
)
def test_inputs__take_the_first_page_or_all(tmp_path: Path, pages: str, keys: list[str]) -> None:
    file = write_pages(tmp_path / "images" / "scan.tif")
    for given in (file, file.parent, file.parent / "*.tif"):
        found = find_input(open_inputs([given], SourceOptions(pages=pages)), None, "labels")
        assert [ref.key for ref in found.refs] == keys


def test_run__over_all_pages_goes_on_from_one_over_first_pages(annotate, tmp_path: Path) -> None:
    file = write_pages(tmp_path / "images" / "scan.tif")
    labels = tmp_path / "labels"
    assert annotate(file.parent).exit_code == 0
    before = (labels / "scan.txt").read_bytes()
    result = annotate(file.parent, "--pages", "all", "--format", "yolo")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in labels.glob("*.txt")) == ["scan#2.txt", "scan#3.txt", "scan.txt"]
    assert (labels / "scan.txt").read_bytes() == before
    assert len((labels / ".samcli" / "journal.jsonl").read_text().splitlines()) == 3


def test_gif__of_a_huge_screen_is_refused_before_its_frames_are_decoded(tmp_path: Path, monkeypatch) -> None:
    data = bytearray(write_pages(tmp_path / "x.gif").read_bytes())
    data[6:10] = (60000).to_bytes(2, "little") * 2
    (tmp_path / "x.gif").write_bytes(data)
    monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile.seek", lambda self, frame: pytest.fail("decoded"))
    for read in (lambda ref: probe_image(ref, 10**6), lambda ref: read_image(ref, max_pixels=10**6)):
        with pytest.raises(ImageError, match="pixels"):
            read(ImageRef(tmp_path, "x#3.gif"))

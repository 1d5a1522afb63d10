"""Finding images, and decoding them to upright 8-bit RGB."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import PIL.Image
import PIL.ImageOps
import pytest
from numpy.typing import NDArray

from samcli.errors import ImageError, UsageError
from samcli.images import find_images, probe_image, read_image
from samcli.types import ImageRef


def photo(height: int = 6, width: int = 9) -> NDArray[np.uint8]:
    """Colours that differ at every pixel, corner and channel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 25, y * 40, (x + y) * 15], -1).astype(np.uint8)


def save(path: Path, pixels: NDArray[np.generic] | None = None, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(photo() if pixels is None else pixels)
    (image if image.mode == mode else image.convert(mode)).save(path, **options)
    return path


def keys(root: Path, **options: object) -> list[str]:
    return [ref.key for ref in find_images(root, **options)]


def wide_png(values: NDArray[np.integer]) -> bytes:
    """A 16-bit PNG of (H, W, channels) values, chunk by chunk: Pillow writes no 16-bit colour."""
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def wide_tiff(values: NDArray[np.uint16], orientation: int = 1) -> bytes:
    """An uncompressed 16-bit RGB TIFF of (H, W, 3) values, field by field."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    fields = {
        256: (3, width), 257: (3, height), 258: (3, None), 259: (3, 1), 262: (3, 2), 273: (4, 8),
        274: (3, orientation), 277: (3, 3), 278: (3, height), 279: (4, len(pixels)), 284: (3, 1),
    }  # fmt: skip
    directory = 8 + len(pixels)
    bits_at = directory + 2 + 12 * len(fields) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 3 if value is None else 1, bits_at if value is None else value)
        for tag, (kind, value) in fields.items()
    )
    return (
        b"II*\0" + struct.pack("<I", directory) + pixels + struct.pack("<H", len(fields)) + entries
        + struct.pack("<I", 0) + struct.pack("<HHH", 16, 16, 16)
    )  # fmt: skip


def stretched(values: NDArray[np.generic]) -> NDArray[np.floating]:
    """The range in use as 0..255."""
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float64) - low) * 255 / (high - low)


# Finding


def test_find_images__searches_all_folders_and_sorts_by_key(tmp_path: Path) -> None:
    for key in ("b/2.jpg", "b/10.jpg", "a.png", "b/c/d/e.tiff", "B.webp", "x.bmp", "y.tif", "z.jpeg"):
        save(tmp_path / key)
    assert keys(tmp_path) == [
        "B.webp", "a.png", "b/10.jpg", "b/2.jpg", "b/c/d/e.tiff", "x.bmp", "y.tif", "z.jpeg",
    ]  # fmt: skip


def test_find_images__knows_size_and_time_of_each_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "b.png")
    os.utime(path, ns=(1, 1234567890123456789))
    assert find_images(tmp_path) == [ImageRef(tmp_path, "a/b.png", path.stat().st_size, 1234567890123456789)]


def test_find_images__takes_upper_case_suffixes_and_leaves_other_files(tmp_path: Path) -> None:
    for key in ("A.JPG", "b.Jpeg", "c.PNG"):
        save(tmp_path / key, format="PNG")
    for name in ("notes.txt", "jpg", "a.jpg.txt", "a.svg"):
        (tmp_path / name).write_text("no image")
    assert keys(tmp_path) == ["A.JPG", "b.Jpeg", "c.PNG"]


def test_find_images__leaves_out_hidden_files_and_folders(tmp_path: Path) -> None:
    for key in ("a.png", ".b.png", ".cache/c.png", "d/.e/f.png"):
        save(tmp_path / key)
    assert keys(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["zażółć 汉字.png", "two\nlines.png", "🐈.png", "a b%20#?.png", "-x.png"])
def test_find_images__takes_any_name(tmp_path: Path, name: str) -> None:
    save(tmp_path / "folder" / name)
    (ref,) = find_images(tmp_path)
    assert ref.key == f"folder/{name}"
    assert read_image(ref).image_size == (6, 9)


def test_find_images__takes_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / "plain.png").rename(tmp_path / name)
    (ref,) = find_images(tmp_path)
    assert read_image(ref).image_size == (6, 9)


def test_find_images__ends_in_a_loop_of_links(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b" / "1.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    assert keys(tmp_path) == ["a/b/1.png"]


def test_find_images__follows_a_link_to_a_folder_elsewhere(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    assert keys(root) == ["linked/1.png"]


def test_find_images__visits_a_folder_linked_twice_once_under_its_first_name(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    for name in "dkbicjaehgf":
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / name).symlink_to(tmp_path / "elsewhere")
    assert keys(tmp_path / "folders") == ["a/link/1.png"]
    assert keys(tmp_path / "links") == ["a/1.png"]


def test_find_images__calls_a_folder_by_its_own_name_rather_than_a_links(tmp_path: Path) -> None:
    save(tmp_path / "z" / "real" / "1.png")
    (tmp_path / "a").symlink_to(tmp_path / "z" / "real")
    assert keys(tmp_path) == ["z/real/1.png"]


def test_find_images__lists_a_link_that_leads_nowhere_so_that_it_fails_with_a_reason(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "gone.png")
    refs = find_images(tmp_path)
    assert [ref.key for ref in refs] == ["1.png", "2.png"]
    with pytest.raises(ImageError, match="link that leads nowhere"):
        read_image(refs[1])


def test_find_images__leaves_out_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert keys(tmp_path) == ["1.png"]


def test_find_images__does_not_enter_excluded_folders(tmp_path: Path) -> None:
    for key in ("1.png", "out/2.png", "out/deep/3.png", "other/out/4.png"):
        save(tmp_path / key)
    assert keys(tmp_path, exclude=[tmp_path / "out"]) == ["1.png", "other/out/4.png"]


def test_find_images__of_one_file_is_that_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "b.png")
    save(tmp_path / "a" / "c.png")
    (ref,) = find_images(path)
    assert (ref.root, ref.key, ref.path) == (tmp_path / "a", "b.png", path)


def test_find_images__says_where_it_searched_and_for_what(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UsageError) as caught:
        find_images(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert ".jpg" in str(caught.value)
    assert "no images" in str(caught.value)


def test_find_images__refuses_what_is_not_there_or_no_image(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match="does not exist"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"not an image: expected one of \.jpg"):
        find_images(tmp_path / "notes.txt")


# Decoding: formats and modes


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_read_image__lossless_formats_give_back_their_pixels(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a.{suffix}"))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, photo())


def test_read_image__webp(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.webp", lossless=True))
    np.testing.assert_array_equal(image.pixels, photo())


def test_read_image__jpeg_is_decoded_as_opencv_does(tmp_path: Path) -> None:
    import cv2

    path = save(tmp_path / "a.jpg", photo(61, 83), quality=80)
    np.testing.assert_array_equal(read_image(path).pixels, cv2.imread(str(path))[..., ::-1])


def test_read_image__photos_are_decoded_as_opencv_does(photos: list[Path]) -> None:
    import cv2

    for path in photos:
        np.testing.assert_array_equal(read_image(path).pixels, cv2.imread(str(path))[..., ::-1])


def test_read_image__grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = photo()[..., 0]
    pixels = read_image(save(tmp_path / "a.png", grey, "L")).pixels
    np.testing.assert_array_equal(pixels, np.repeat(grey[..., None], 3, 2))


def test_read_image__one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = np.indices((5, 7)).sum(0) % 3 == 0
    pixels = read_image(save(tmp_path / "a.png", bits.astype(np.uint8) * 255, "1")).pixels
    np.testing.assert_array_equal(pixels, np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_read_image__alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 54).reshape(6, 9, 1).astype(np.uint8)
    path = save(tmp_path / "a.png", np.concatenate([photo(), alpha], 2), "RGBA")
    np.testing.assert_array_equal(read_image(path).pixels, photo())


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80\xff"])
def test_read_image__palette_gives_its_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    indices = (np.indices((4, 6)).sum(0) % 3).astype(np.uint8)
    colours = np.array([[250, 10, 20], [30, 240, 40], [50, 60, 230]], np.uint8)
    image = PIL.Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency}))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, colours[indices])


def test_read_image__cmyk_keeps_its_colours(tmp_path: Path) -> None:
    red = np.full((16, 16, 3), (220, 30, 40), np.uint8)
    pixels = read_image(save(tmp_path / "a.jpg", red, "CMYK", quality=95)).pixels
    assert np.abs(pixels.astype(int) - red).max() < 12


# Decoding: more than eight bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_read_image__twelve_bits_in_a_16_bit_png_keep_their_contrast(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(100, 4096, (6, 9, channels)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(wide_png(values))
    pixels = read_image(tmp_path / "a.png").pixels
    colours = values[..., :3] if channels > 2 else values[..., :1]
    if channels in (2, 4):  # alpha's range must not be counted
        assert pixels.max() == 255
    np.testing.assert_allclose(pixels, np.broadcast_to(stretched(colours), (6, 9, 3)), atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image__16_bit_colour_tiff_is_stretched_and_upright(tmp_path: Path, orientation: int) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (4, 6, 3)).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(wide_tiff(values, orientation))
    expected = turned(np.rint(stretched(values)).astype(np.uint8), orientation)
    pixels = read_image(tmp_path / "a.tif").pixels
    np.testing.assert_allclose(pixels, expected, atol=1)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_read_image__wide_grey_tiff_is_stretched(tmp_path: Path, kind: type[np.generic]) -> None:
    values = np.random.default_rng(0).integers(1000, 2000, (6, 9)).astype(kind)
    PIL.Image.fromarray(values).save(tmp_path / "a.tif")
    pixels = read_image(tmp_path / "a.tif").pixels
    np.testing.assert_allclose(pixels, np.repeat(stretched(values)[..., None], 3, 2), atol=0.51)


def test_read_image__gaps_in_a_float_tiff_do_not_cost_contrast(tmp_path: Path) -> None:
    values = np.linspace(1000, 1001, 54, dtype=np.float32).reshape(6, 9)
    values[0, 0], values[2, 3], values[5, 5] = np.nan, np.inf, -np.inf
    PIL.Image.fromarray(values).save(tmp_path / "a.tif")
    pixels = read_image(tmp_path / "a.tif").pixels[..., 0]
    assert pixels[0, 1] < 10
    assert pixels[5, 8] == 255
    assert len(np.unique(pixels)) > 40


def test_read_image__a_constant_wide_image_stays_dark(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((4, 4), 700, np.uint16)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").pixels.any()


# Decoding: orientation


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright pixels of what a camera stored with that orientation, by Pillow's own transposition."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(file)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_read_image__applies_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = save(
        tmp_path / f"a.{suffix}", photo(12, 20), exif=exif, **({"lossless": True} if suffix == "webp" else {})
    )
    with PIL.Image.open(path) as opened:
        expected = np.asarray(PIL.ImageOps.exif_transpose(opened))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.image_size == ((20, 12) if orientation >= 5 else (12, 20))
    assert image.pixels.flags["C_CONTIGUOUS"]
    probe = probe_image(ImageRef(tmp_path, path.name), 1000)
    assert (probe.image_size, probe.rotated) == (image.image_size, orientation != 1)


def test_read_image__turns_16_bit_images_too(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.arange(15, dtype=np.uint16).reshape(3, 5) * 100).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").image_size == (5, 3)


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_read_image__an_orientation_that_does_not_exist_is_upright(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(path).pixels, photo())


# What cannot be decoded


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_read_image__half_an_image_is_an_error_never_half_grey(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert len(str(caught.value)) > 10
    assert "\n" not in str(caught.value)


def test_read_image__a_jpeg_that_lost_its_end_says_that_it_is_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


def test_read_image__a_png_with_a_flipped_byte_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ImageError):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"these are my notes, saved as a photo", r"not a valid image file.*\.jpg"),
        (b"", r"empty \(0 bytes\)"),
        (b"\xff\xd8\xff", "not a valid image file"),
    ],
)
def test_read_image__says_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match=reason):
        probe_image(ImageRef(tmp_path, "a.jpg"), 100)


def test_read_image__whatever_the_system_says_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    for name, reason in (
        ("gone.png", "the file is gone"),
        ("loop.png", "Too many levels"),
        ("folder.png", "not a regular file"),
        ("n" * 300 + ".png", "name too long"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)


def test_read_image__memory_that_does_not_suffice_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match="memory"):
        read_image(save(tmp_path / "a.png"))


def test_read_image__one_pixel_is_an_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[[1, 2, 3]]], np.uint8))
    assert read_image(path).pixels.tolist() == [[[1, 2, 3]]]


def test_read_image__takes_text_paths_and_refs(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "b.png")
    for source in (path, str(path), ImageRef(tmp_path, "a/b.png")):
        assert read_image(source).ref.path == path


def test_max_pixels__is_checked_from_the_header_before_any_pixel_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise AssertionError("decoded")

    path = save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match=r"9 x 6 pixels are more than --max-pixels 53"):
        read_image(path, max_pixels=53)
    with pytest.raises(ImageError, match=r"--max-pixels 53"):
        probe_image(ImageRef(tmp_path, "a.png"), 53)
    probe_image(ImageRef(tmp_path, "a.png"), 54)


def test_max_pixels__may_be_more_than_pillow_allows_by_itself(tmp_path: Path) -> None:
    """Pillow refuses twice its MAX_IMAGE_PIXELS (179 million): ours is the only limit."""
    header = struct.pack(">IIBBBBB", 30_000, 20_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    empty = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + empty
    )
    assert probe_image(ImageRef(tmp_path, "a.png"), 600_000_000).image_size == (20_000, 30_000)


# Headers


def test_probe_image__tells_what_is_unusual_about_an_image(tmp_path: Path) -> None:
    save(tmp_path / "plain.png")
    save(tmp_path / "alpha.png", mode="RGBA")
    (tmp_path / "wide.png").write_bytes(wide_png(np.zeros((2, 3, 3), np.uint16)))
    (tmp_path / "wide.tif").write_bytes(wide_tiff(np.zeros((2, 3, 3), np.uint16)))
    PIL.Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "grey.png")
    probes = {path.name: probe_image(ImageRef(tmp_path, path.name), 1000) for path in tmp_path.iterdir()}
    assert {name for name, probe in probes.items() if probe.alpha} == {"alpha.png"}
    assert {name for name, probe in probes.items() if probe.wide} == {"wide.png", "wide.tif", "grey.png"}
    assert not any(probe.rotated for probe in probes.values())


def test_read_image__keeps_its_words_where_ultralytics_has_wrapped_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a program that imported ultralytics itself, PIL.Image.open looks for a HEIC decoder to install."""

    def wrapped(file: object) -> object:
        try:
            return pillows_open(file)
        except PIL.UnidentifiedImageError:
            raise ModuleNotFoundError("No module named 'pi_heif'")  # noqa: B904 - as it does

    pillows_open = PIL.Image.open
    monkeypatch.setattr("PIL.Image.open", wrapped)
    (tmp_path / "a.jpg").write_bytes(b"these are my notes")
    with pytest.raises(ImageError, match="not a valid image file"):
        read_image(tmp_path / "a.jpg")


def test_read_image__turns_a_png_that_states_its_orientation_after_its_pixels(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = save(tmp_path / "a.png").read_bytes()
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, turned(photo(), 6))


def test_read_image__does_not_warn_about_the_transparency_it_drops(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = PIL.Image.fromarray(np.zeros((2, 2), np.uint8), "P")
    image.putpalette([1, 2, 3])
    image.save(tmp_path / "a.png", transparency=b"\x80")
    assert read_image(tmp_path / "a.png").pixels[0, 0].tolist() == [1, 2, 3]
    assert not recwarn.list

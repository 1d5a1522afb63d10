"""Pascal VOC folders as others have them."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import iou
from label_samples import ANNOTATIONS, read_all, write_images, write_labels
from PIL import Image

from samcli.labels.formats import FORMATS, Rendering
from samcli.labels.formats.index_maps import map_png, palette
from samcli.labels.formats.reading import detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.masks import Mask
from samcli.types import Annotation, Instance

OBJECT = """
<object><name>{name}</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>8</ymax></bndbox></object>
"""
SIDES = "<width>30</width><height>20</height>"


def save(
    folder: Path, *names: str, file: str = "1.xml", size: str = "<width>30</width><height>20</height>"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(name=name) for name in names)
    (folder / file).write_text(
        f"<annotation><filename>{file[:-4]}.jpg</filename><size>{size}</size>{objects}</annotation>"
    )
    return folder


def test_boxes__count_from_one_and_include_their_last_pixel(tmp_path: Path) -> None:
    source = Source(save(tmp_path, "dog", "cat"))
    labels = read_labels("voc", source)
    (found,) = labels.annotations
    assert labels.names == {0: "cat", 1: "dog"}
    assert [(i.class_id, i.mask.box) for i in found.instances] == [(1, (2, 3, 12, 8)), (0, (2, 3, 12, 8))]
    assert source.remarks == {"objects have no mask: their boxes were filled": 2}
    assert detect_format(tmp_path) == "voc"


def test_objects__have_the_pixels_of_their_number_and_void_is_nobodys(tmp_path: Path) -> None:
    save(tmp_path / "Annotations", "dog", "cat")
    labels = np.zeros((20, 30), np.uint8)
    labels[3:8, 2:6], labels[3:8, 6:12], labels[2] = 1, 2, 255
    (tmp_path / "SegmentationObject").mkdir()
    (tmp_path / "SegmentationObject" / "1.png").write_bytes(map_png(labels))
    _, (found,) = read_all("voc", tmp_path, None)
    assert [i.mask.box for i in found.instances] == [(2, 3, 6, 8), (6, 3, 12, 8)]


def test_palette__is_that_of_the_devkit() -> None:
    assert palette()[:4] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert palette()[15] == (192, 128, 128)
    assert palette()[255] == (224, 224, 192)


def test_pngs__have_the_palette_and_the_numbers(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_labels("voc", tmp_path, ANNOTATIONS)
    with Image.open(folder / "SegmentationClass" / "a b" / "two words.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[9:12] == [128, 128, 0]
        assert sorted(set(np.asarray(image).ravel().tolist())) == [0, 1, 3]


def test_image_list__names_all_images_also_those_without_objects(tmp_path: Path) -> None:
    folder = write_labels("voc", tmp_path, ANNOTATIONS)
    listed = (folder / "ImageSets" / "Segmentation" / "train.txt").read_text("utf-8").splitlines()
    assert listed == ["a b/two words", "a b/żółć #1", "nothing", "x.y"]


def test_names_that_xml_cannot_hold__lead_to_the_image_of_the_same_stem(tmp_path: Path) -> None:
    annotation = Annotation(
        "caf\udce9\x01.png", (20, 30), (Instance(Mask.from_pixels(np.ones((20, 30), bool)), 0),)
    )
    try:
        images = write_images(tmp_path / "images", [annotation])
    except (OSError, ValueError):
        pytest.skip("this file system refuses such names")
    _, (found,) = read_all("voc", write_labels("voc", tmp_path, [annotation]), images)
    assert found == annotation


def test_too_many_classes__are_an_error_that_says_how_many_there_may_be() -> None:
    lone = Annotation("1.png", (2, 2), (Instance(Mask.from_pixels(np.ones((2, 2), bool)), 254),))
    with pytest.raises(ValueError, match="VOC has room for classes 0 to 253"):
        FORMATS["voc"].render_all(Rendering(lone))


@pytest.mark.parametrize("size", ["", "<width>x</width><height>20</height>", "<width>2</width><height>2</height>"])
def test_a_damaged_file__fails_alone(size: str, tmp_path: Path) -> None:
    save(tmp_path, "cat", size=size)
    save(tmp_path, "cat", file="2.xml")
    (tmp_path / "3.xml").write_text("<annotation>")
    bad, good, torn = read_labels("voc", Source(tmp_path)).annotations
    assert isinstance(good, Annotation)
    assert isinstance(bad, Failure) and isinstance(torn, Failure)


TRIANGLE = [(5, 3), (26, 4), (12, 18)]
NUMBERED = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(TRIANGLE, 1))
POINTS = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in TRIANGLE)
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"


def one_file(folder: Path, content: str, images: Path | None = None) -> tuple[Annotation, Source]:
    """What a file with this content says of its image."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.xml").write_text(f"<annotation>{content}</annotation>")
    source = Source(folder, images)
    (found,) = read_labels("voc", source).annotations
    assert isinstance(found, Annotation)
    return found, source


@pytest.mark.parametrize("polygon", [NUMBERED, POINTS])
def test_polygon__goes_before_the_box_and_counts_pixels_from_one(tmp_path: Path, polygon: str) -> None:
    shape = f"{BOX}<polygon>{polygon}</polygon>"
    content = f"<filename>1.jpg</filename><size>{SIDES}</size><object><name>cat</name>{shape}</object>"
    found, source = one_file(tmp_path, content)
    expected = np.zeros((20, 30), np.uint8)
    cv2.fillPoly(expected, [np.array(TRIANGLE, np.int32) - 1], 1)
    pixels = found.instances[0].mask.pixels()
    assert np.count_nonzero(pixels & (expected > 0)) / np.count_nonzero(pixels | (expected > 0)) > 0.95
    assert not source.remarks


def test_robndbox__is_a_rectangle_turned_about_its_centre_by_radians(tmp_path: Path) -> None:
    values = {"cx": 15, "cy": 10, "w": 12, "h": 6, "angle": math.radians(30)}
    turned = "".join(f"<{tag}>{value}</{tag}>" for tag, value in values.items())
    shape = f"<robndbox>{turned}</robndbox>"
    content = f"<filename>1.jpg</filename><size>{SIDES}</size><object><name>cat</name>{shape}</object>"
    found, _ = one_file(tmp_path, content)
    y, x = np.mgrid[0.5:20, 0.5:30]
    cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
    along, down = (x - 15) * cos + (y - 10) * sin, (y - 10) * cos - (x - 15) * sin
    assert (found.instances[0].mask.pixels() == ((abs(along) <= 6) & (abs(down) <= 3))).all()


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
@pytest.mark.parametrize("filename", ["", "<filename/>", "<filename>1.png</filename>"])
def test_size_and_filename_that_are_missing__come_from_the_image_and_the_file_s_own_name(
    tmp_path: Path, size: str, filename: str
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "1.png")
    content = f"{filename}{size}<object><name>cat</name>{BOX}</object>"
    found, _ = one_file(tmp_path / "v", content, tmp_path / "images")
    assert (found.key, found.image_size) == ("1.png", (20, 30))
    assert [one.mask.area for one in found.instances] == [600]


def test_object_without_name_or_place__costs_itself_alone(tmp_path: Path) -> None:
    nowhere = "<object><name>cat</name></object>"
    content = f"<filename>1.jpg</filename><size>{SIDES}</size><object>{BOX}</object>{nowhere}"
    found, source = one_file(tmp_path, content)
    assert (len(found.instances), found.omitted) == (1, 1)
    assert any("shapes without a label" in remark for remark in source.remarks)


def test_turned_boxes_and_polygons_of_other_tools__cover_what_a_rasteriser_fills(tmp_path: Path) -> None:
    box = "<bndbox><xmin>6</xmin><ymin>7</ymin><xmax>21</xmax><ymax>12</ymax></bndbox>"
    turn = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
    points = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in ((3, 3), (20, 3), (20, 15)))
    objects = (box + turn, f"{box}<polygon>{points}</polygon>", f"{box}<polygon>3,3 20,3 20,15</polygon>")
    (tmp_path / "1.xml").write_text(
        f"<annotation><filename>1.jpg</filename><size>{SIDES}</size>"
        + "".join(f"<object><name>a</name>{one}</object>" for one in objects)
        + "</annotation>"
    )
    labels = read_labels("voc", Source(tmp_path))
    (found,) = labels.annotations
    assert isinstance(found, Annotation)
    turned, triangle = (one.mask.pixels() for one in found.instances)
    large = np.zeros((20 * 16, 30 * 16), np.uint8)
    corners = cv2.boxPoints(((13.0, 9.0), (16.0, 6.0), 30.0)) * 16
    cv2.fillPoly(large, [np.round(corners).astype(np.int32)], 1)
    assert iou(turned, large.reshape(20, 16, 30, 16).mean((1, 3)) >= 0.5) > 0.95
    drawn = np.zeros((20, 30), np.uint8)
    cv2.fillPoly(drawn, [np.array([[2, 2], [19, 2], [19, 14]])], 1)
    assert iou(triangle, drawn.astype(bool)) > 0.9
    assert "a polygon that is text" in " ".join(labels.omitted.lines())


def test_image_list__has_a_name_with_spaces_once(tmp_path) -> None:
    existing = tmp_path / "list.txt"
    existing.write_text("my image 1\nb 1\n")
    renderings = [Rendering(Annotation(key, (4, 4), ())) for key in ("my image 1.jpg", "b.jpg", "c.jpg")]
    assert b"".join(FORMATS["voc"].fold_into(existing, renderings, {})) == b"my image 1\nb 1\nc\n"

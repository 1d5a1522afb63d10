"""CVAT's own XML: every shape with an area, the others counted, nothing that can hurt."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from label_samples import write_images
from pycocotools import mask as coco

from samcli.errors import UsageError
from samcli.labels.formats.reading import Labels, detect_format, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.types import Annotation

SIZE = (60, 90)
META = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"


def save(folder: Path, shapes: str, *, meta: str = META, image: str = "a.png", more: str = "") -> Path:
    text = (
        f"<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>{meta}"
        f"<image id='0' name='{image}' width='90' height='60'>{shapes}</image>{more}</annotations>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotations.xml").write_text(text, encoding="utf-8")
    return folder / "annotations.xml"


def read(file: Path, images: Path | None = None) -> tuple[list[Annotation], list[Failure], Labels]:
    labels = read_labels("cvat", Source(file, images))
    found = list(labels.annotations)
    return (
        [one for one in found if isinstance(one, Annotation)],
        [one for one in found if isinstance(one, Failure)],
        labels,
    )


def centres() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return x, y


def test_shapes_with_an_area__are_read(tmp_path: Path) -> None:
    file = save(
        tmp_path,
        "<polygon label='cat' points='20.00,20.00;50.00,20.00;50.00,40.00;20.00,40.00' z_order='0'/>"
        "<box label='dog' xtl='10' ytl='5' xbr='30.5' ybr='15'/>"
        "<box label='dog' xtl='30' ytl='20' xbr='60' ybr='40' rotation='30'/>"
        "<ellipse label='cat' cx='45' cy='30' rx='20' ry='10' rotation='90'/>"
        "<mask label='cat' rle='1, 2, 2, 1' left='10' top='20' width='3' height='2'/>",
    )
    (found,), failures, labels = read(file)
    assert (labels.names, failures, found.key, found.image_size) == ({0: "dog", 1: "cat"}, [], "a.png", SIZE)
    assert [one.class_id for one in found.instances] == [1, 0, 0, 1, 1]
    polygon, box, turned, ellipse, mask = (one.mask.pixels() for one in found.instances)
    drawn = coco.decode(coco.frPyObjects([[20, 20, 50, 20, 50, 40, 20, 40]], *SIZE))[..., 0]
    assert np.array_equal(polygon, drawn == 1)
    assert box.sum() == 20 * 10
    x, y = centres()
    u = (x - 45) * math.cos(math.radians(30)) + (y - 30) * math.sin(math.radians(30))
    v = (y - 30) * math.cos(math.radians(30)) - (x - 45) * math.sin(math.radians(30))
    assert np.array_equal(turned, (abs(u) <= 15) & (abs(v) <= 10))
    assert np.array_equal(ellipse, ((x - 45) / 10) ** 2 + ((y - 30) / 20) ** 2 <= 1)
    assert mask[20:22, 10:13].tolist() == [[False, True, True], [False, False, True]]


def test_what_has_no_area__is_counted_by_its_type(tmp_path: Path) -> None:
    file = save(
        tmp_path,
        "<box label='dog' xtl='10' ytl='5' xbr='30' ybr='15'/>"
        "<polyline label='cat' points='1,1;2,2'/><points label='cat' points='1,1'/><tag label='cat'/>"
        "<skeleton label='cat'><points label='1' points='1,1'/></skeleton><cuboid label='cat'/>",
    )
    (found,), _, labels = read(file)
    assert len(found.instances) == 1
    lines = labels.omitted.lines()
    for name in ("polyline", "points", "tag", "skeleton", "cuboid"):
        assert any(f"type {name} has no area" in line for line in lines)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "shape",
    [
        "<polygon label='cat' points=''/>",
        "<polygon label='cat'/>",
        "<polygon label='cat' points='1,1;2'/>",
        "<polygon label='cat' points='1,1;nan,2;3,3'/>",
        "<polygon label='cat' points='1e300,1e300;2e300,1e300;1e300,2e300'/>",
        "<box label='cat' xtl='x' ytl='5' xbr='30' ybr='15'/>",
        "<box label='cat' xtl='30' ytl='5' xbr='10' ybr='15'/>",
        "<box label='cat' xtl='30' ytl='5' xbr='inf' ybr='15'/>",
        "<ellipse label='cat' cx='5' cy='5' rx='0' ry='1'/>",
        "<mask label='cat' rle='999999999999999999' left='0' top='0' width='999999999' height='1000000001'/>",
        "<mask label='cat' rle='1, -1, 6' left='0' top='0' width='3' height='2'/>",
        "<mask label='cat' rle='1, 1' left='0' top='0' width='3' height='2'/>",
        "<mask label='cat' rle='x' left='0' top='0' width='1' height='1'/>",
    ],
)
def test_damaged_shapes__cost_themselves_alone(shape: str, tmp_path: Path) -> None:
    (found,), failures, labels = read(
        save(tmp_path, shape + "<box label='dog' xtl='1' ytl='5' xbr='30' ybr='15'/>")
    )
    assert len(found.instances) == 1 and failures == []
    (line,) = labels.omitted.lines()
    assert "len()" not in line and "NoneType" not in line and "a.png" in line


def test_exports__are_known_as_a_file_a_folder_and_a_zip(tmp_path: Path) -> None:
    file = save(tmp_path / "task", "<box label='dog' xtl='10' ytl='5' xbr='30' ybr='15'/>", image="train/a.png")
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.write(file, "annotations.xml")
    images = write_images(tmp_path / "images", [Annotation("train/a.png", SIZE)])
    for form in (file, file.parent, tmp_path / "task.zip"):
        assert detect_format(form) == "cvat"
        (found,), _, _ = read(form, images)
        assert (found.key, found.instances[0].mask.box) == ("train/a.png", (10, 5, 30, 15))


def test_classes_that_the_task_does_not_list__follow_by_name(tmp_path: Path) -> None:
    shapes = "".join(
        f"<box label='{name}' xtl='1' ytl='5' xbr='30' ybr='15'/>" for name in ("zoo", "ant", "cat", "")
    )
    (found,), _, labels = read(save(tmp_path, shapes))
    assert labels.names == {0: "dog", 1: "cat", 2: "ant", 3: "unnamed", 4: "zoo"}
    assert [one.class_id for one in found.instances] == [4, 2, 1, 3]


def test_an_image_of_another_size__fails_with_both_sizes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [Annotation("a.png", (90, 60))])
    file = save(tmp_path, "<box label='dog' xtl='10' ytl='5' xbr='30' ybr='15'/>")
    _, (failure,), _ = read(file, images)
    assert "90 x 60" in failure.reason and "60 x 90" in failure.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotations><image name='a.png'", "not XML"),
        ("<annotations><track id='0' label='cat'/></annotations>", "CVAT for images 1.1"),
        ("<!-- <annotations --><other/>", "expected <annotations>"),
        (
            "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]>"
            "<annotations><image name='&b;' width='1' height='1'/></annotations>",
            "entities",
        ),
    ],
)
def test_other_files__are_refused_with_their_name(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UsageError, match=reason) as error:
        read(tmp_path / "annotations.xml")
    assert "annotations.xml" in str(error.value)

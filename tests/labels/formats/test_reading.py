"""What all readers have in common: sizes, names, omissions, and any content whatever."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.config import ConvertOptions
from samcli.errors import SamcliError, UsageError
from samcli.labels.convert import Conversion, convert
from samcli.labels.formats.reading import detect_format, not_yolo, read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.prompts import open_prompts
from samcli.types import Annotation

SQUARE = [[20, 20, 80, 20, 80, 70, 20, 70]]


def image(folder: Path, name: str, size: tuple[int, int] = (120, 200)) -> None:
    from PIL import Image

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(folder / name)


def coco(tmp_path: Path, *objects: dict[str, Any], **members: Any) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 120}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **one} for n, one in enumerate(objects, 1)],
        "categories": [{"id": 1, "name": "cat"}],
        **members,
    }
    file = tmp_path / "c.json"
    file.write_text(json.dumps(content))
    return file


def converted(file: Path, to: str, **given: Any) -> Conversion:
    options = ConvertOptions.of(format=(to,), images=str(file.parent / "images"), **given)
    return convert(file, file.parent / f"out-{to}", options)


def test_size__of_a_resized_image_fails_it_and_rescale_scales_the_labels(tmp_path: Path) -> None:
    image(tmp_path / "images", "a.jpg", (60, 100))
    file = coco(tmp_path, {"segmentation": SQUARE})
    failed = converted(file, "coco")
    assert "200 x 120 pixels, and this one has 100 x 60: it has been resized" in failed.failures["a.jpg"]
    assert failed.exit_status == 3
    assert converted(file, "yolo-box", rescale=True).exit_status == 0
    x, y, w, h = map(float, (tmp_path / "out-yolo-box" / "a.txt").read_text().split()[1:])
    np.testing.assert_allclose([x * 200, y * 120, w * 200, h * 120], [50, 45, 60, 50], atol=2)


def test_boxes__stay_boxes_to_the_sixth_digit(tmp_path: Path) -> None:
    image(tmp_path / "images", "a.jpg")
    file = coco(tmp_path, {"bbox": [10.5, 10.25, 2.125, 2.0625]}, {"bbox": [50.4, 50.4, 0.2, 0.3]})
    conversion = converted(file, "yolo-box")
    assert conversion.notes == []
    rows = [list(map(float, row.split())) for row in (tmp_path / "out-yolo-box/a.txt").read_text().splitlines()]
    for (_, x, y, w, h), (left, top, width, height) in zip(
        rows, [(10.5, 10.25, 2.125, 2.0625), (50.4, 50.4, 0.2, 0.3)], strict=True
    ):
        np.testing.assert_allclose(
            [x, y, w, h],
            [(left + width / 2) / 200, (top + height / 2) / 120, width / 200, height / 120],
            atol=1e-6,
        )


@pytest.mark.parametrize("far", [2e8, 1e300, -1e300])
def test_far_coordinates__are_cut_at_the_image(tmp_path: Path, far: float) -> None:
    image(tmp_path / "images", "a.jpg")
    file = coco(
        tmp_path, {"segmentation": [[50, 20, abs(far), 20, abs(far), 70, 50, 70]]}, {"bbox": [far, far, 1, 1]}
    )
    conversion = converted(file, "coco")
    assert (conversion.instances, conversion.incomplete) == (1, {"a.jpg": 1})
    (row,) = json.loads((tmp_path / "out-coco/annotations.json").read_text())["annotations"]
    assert row["bbox"] == [50, 20, 150, 50]


def test_nothing_known__is_no_empty_label_file(tmp_path: Path) -> None:
    image(tmp_path / "images", "a.jpg")
    damaged = converted(coco(tmp_path, {"bbox": [1, 2, "x", 4]}), "yolo")
    assert (damaged.images, damaged.exit_status) == (0, 3)
    assert "no label is written: 1 object was left out" in damaged.failures["a.jpg"]
    crowd = converted(coco(tmp_path, {"segmentation": SQUARE, "iscrowd": "1"}), "yolo-box")
    assert (crowd.images, list(crowd.left_out), crowd.exit_status) == (0, ["a.jpg"], 0)
    assert any("iscrowd = 1 for all objects" in note for note in crowd.notes)
    assert not list(tmp_path.glob("out-*/a.txt"))


def test_yolo__of_darknet_roboflow_and_label_studio_are_read_with_their_names(tmp_path: Path) -> None:
    row = "1 0.5 0.5 0.25 0.25\n"
    for layout, labels, picture, names in (
        ("darknet", "obj_train_data/a.txt", "obj_train_data/a.jpg", ("obj.names", "cat\ndog\n")),
        ("apart", "obj_train_data/a.txt", "images/a.jpg", ("obj.names", "cat\ndog\n")),
        ("roboflow", "valid/labels/a.txt", "valid/images/a.jpg", ("data.yaml", "names: [cat, dog]")),
        ("studio", "labels/a.txt", "images/a.jpg",
         ("notes.json", '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]}')),
        ("other", "labels/a.txt", "images/a.jpg", ("pets.yaml", "names: [cat, dog]\n")),
    ):  # fmt: skip
        folder = tmp_path / layout
        (folder / labels).parent.mkdir(parents=True)
        (folder / labels).write_text(row)
        (folder / names[0]).write_text(names[1])
        image(folder, picture)
        given = {"images": str(folder / "images")} if layout == "apart" else {}
        done = convert(folder, tmp_path / f"out-{layout}", ConvertOptions.of(format=("coco",), **given))
        assert (layout, done.images, done.instances, done.failures) == (layout, 1, 1, {})
        content = json.loads((tmp_path / f"out-{layout}/annotations.json").read_text())
        assert [one["name"] for one in content["categories"]] == ["cat", "dog"], layout


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(
        [0, 1, 2, -1, 1.0, 1e300, -1e300, float("nan"), float("inf"), 10**30, "1", "cat", "", "a.jpg"]
    ),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from(["id", "file_name", "size", "counts", "bbox", "image_id", "name"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
OBJECT = st.fixed_dictionaries(
    {"image_id": st.just(1) | ANY, "category_id": st.just(1) | ANY},
    optional={"segmentation": ANY, "bbox": ANY, "iscrowd": ANY, "area": ANY, "score": ANY, "id": ANY},
)


@given(st.lists(OBJECT, max_size=4), st.lists(ANY, max_size=2), st.lists(ANY, max_size=2))
@settings(max_examples=80, deadline=None)
def test_coco__of_any_content_gives_objects_omissions_or_one_clear_error(objects, images, categories) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = coco(
            Path(folder),
            images=[{"id": 1, "file_name": "a.jpg", "width": 200, "height": 120}, *images],
            categories=[{"id": 1, "name": "cat"}, *categories],
            annotations=objects,
        )
        try:
            found = list(read_labels("coco", Source(file)).annotations)
        except SamcliError as error:
            assert len(str(error).splitlines()) == 1
            return
        for item in found:
            assert isinstance(item, Failure) or all(one.mask.area <= 200 * 120 for one in item.instances)
            if isinstance(item, Failure):
                assert not any(
                    word in item.reason for word in ("object of type", "NoneType", "not supported between")
                )


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_yolo__of_any_text_gives_objects_omissions_or_one_clear_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image(Path(folder) / "images", "a.png")
        (Path(folder) / "labels").mkdir()
        (Path(folder) / "labels/a.txt").write_text(text, encoding="utf-8", errors="replace")
        source = Source(Path(folder) / "labels", Path(folder) / "images")
        assert len(list(read_labels("yolo", source).annotations)) == 1


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "r.json",
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
            "list of COCO results",
        ),
        ("p.json", '{"images": {"a.jpg": [{"box": [1, 2, 3, 4]}]}}', "prompts"),
        ("l.json", '{"version": "5", "shapes": [], "imagePath": "a.jpg"}', "give the folder"),
        ("a.txt", "0 0.5 0.5 0.1 0.1\n", "give their folder"),
        ("a.csv", "image,x1,y1,x2,y2\n", "prompts"),
    ],
)
def test_known_files__given_for_labels_are_named(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=what):
        detect_format(tmp_path / name)


def one_box(folder: Path, own: tuple[int, int], **stated: int) -> tuple[Path, Path]:
    """A COCO file of one box (20, 20, 80, 70) in an image of `own` (width, height); both paths."""
    image(folder / "images", "a.png", own[::-1])
    content = {
        "images": [{"id": 1, "file_name": "a.png", **stated}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 20, 60, 50]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "c.json").write_text(json.dumps(content))
    return folder / "c.json", folder / "images"


@pytest.mark.parametrize(
    ("own", "stated", "reason"),
    [
        ((200, 120), {"width": 120, "height": 200}, "turned by its EXIF"),
        ((400, 240), {"width": 120, "height": 200}, "turned by its EXIF"),  # and resized
        ((200, 120), {"width": 100}, "100 x unknown pixels"),
        ((200, 120), {"height": 60, "width": 0}, "unknown x 60 pixels"),
    ],
)
def test_rescale__never_stretches_a_turned_image_or_one_whose_size_is_half_known(
    own: tuple[int, int], stated: dict[str, int], reason: str, tmp_path: Path
) -> None:
    file, images = one_box(tmp_path, own, **stated)
    (found,) = read_labels("coco", Source(file, images, rescale=True)).annotations
    assert isinstance(found, Failure)
    assert reason in found.reason


def test_size__that_is_half_stated_and_right_is_taken(tmp_path: Path) -> None:
    file, images = one_box(tmp_path, (200, 120), width=200)
    (found,) = read_labels("coco", Source(file, images)).annotations
    assert isinstance(found, Annotation)
    assert found.instances[0].mask.box == (20, 20, 80, 70)


@pytest.mark.parametrize("name", ["voc", "labelme", "yolo", "sa1b", "rle", "png"])
def test_from__a_file_where_labels_are_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    file, images = one_box(tmp_path, (200, 120))
    with pytest.raises(UsageError, match=f"is a file; labels of the format {name} are a folder"):
        read_labels(name, Source(file, images))


def test_from__a_folder_without_such_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no labels of the format voc"):
        read_labels("voc", Source(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", '{"image": {"file_name": "a.jpg"}, "annotations": []}', "SA-1B's file of one image"),
        ("a.json", '{"shapes": [], "imagePath": "a.jpg"}', "labelme's file of one image"),
        ("a.json", '[{"segmentation": {}, "area": 5}]', "amg.py's file of one image"),
        ("a.json", '[{"id": 1, "image": "a.jpg", "label": []}]', "JSON-MIN"),
        ("a.json", '[{"image": "a.jpg", "box": [1, 1, 5, 5]}]', "file of prompts"),
        ("a.json", '[{"image_id": 1, "category_id": 1, "bbox": []}]', "list of COCO results"),
        ("a.json", '{"type": "FeatureCollection", "features": []}', "GeoJSON"),
        ("a.json", '{"a.jpg12": {"filename": "a.jpg", "regions": []}}', "VGG Image Annotator"),
        ("a.json", '{"images": [', "damaged: 1: not JSON"),
        ("a.json", "[]", "holds nothing"),
        ("a.xml", "<annotation/>", "Pascal VOC's file of one image"),
        ("a.xml", "<foo/>", "root is <foo>"),
        ("a.txt", "0 .5 .5 .1 .1", "give their folder"),
        ("data.yaml", "names: [cat]", "give the folder of the labels"),
        ("a.zip", "no zip", "damaged"),
        ("a.png", "", "an image"),
    ],
)
def test_known_files__are_named_with_what_to_do(name: str, content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError) as caught:
        detect_format(tmp_path / name)
    assert what in str(caught.value)
    assert "object of type" not in str(caught.value)
    if what not in ("file of prompts", "holds nothing"):  # which are prompts
        with pytest.raises(UsageError, match=re.escape(name)):
            open_prompts(tmp_path / name)
    assert name in str(not_yolo(tmp_path / name))

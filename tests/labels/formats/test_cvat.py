"""CVAT's "Ultralytics YOLO Segmentation 1.0": read from the zip, from our folder with it, and unpacked."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from label_samples import ANNOTATIONS, NAMES, least_iou, read_all, write_images, write_labels

from samcli.config import ConvertOptions
from samcli.errors import UsageError
from samcli.labels.convert import convert
from samcli.labels.formats.reading import detect_format, read_labels
from samcli.labels.formats.sources import Source

NEAR = ANNOTATIONS[:3]
ROW = "1 0.1 0.1 0.5 0.1 0.5 0.5\n"


def export(folder: Path, files: dict[str, str], names: str = "names: [cat, dog]\n") -> Path:
    for name, text in {"data.yaml": f"{names}path: .\ntrain: train.txt\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("form", ["folder with the zip", "zip", "zip of a folder", "unpacked"])
def test_convert__reads_an_export_in_any_form(form: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", NEAR)
    labels = write_labels("cvat", tmp_path, NEAR)
    if form == "zip":
        labels = labels / "cvat.zip"
    elif form != "folder with the zip":
        with zipfile.ZipFile(labels / "cvat.zip") as archive:
            archive.extractall(labels := tmp_path / "task")
        if form == "zip of a folder":
            with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
                for file in labels.rglob("*.*"):
                    archive.write(file, f"task/{file.relative_to(labels).as_posix()}")
            labels = tmp_path / "task.zip"
    assert detect_format(labels) == "cvat"
    conversion = convert(labels, tmp_path / "out", ConvertOptions(format=("yolo",)))
    assert (conversion.images, conversion.instances, conversion.failures) == (3, 4, {})
    names, found = read_all("yolo", tmp_path / "out", tmp_path / "images")
    assert names == NAMES
    assert min(map(least_iou, NEAR, found)) >= 0.96


def test_export_with_images__is_read_as_any_data_set_of_a_yolo_trainer(tmp_path: Path) -> None:
    write_images(tmp_path / "task" / "images" / "train", NEAR[2:])
    export(tmp_path / "task", {"train.txt": "images/train/nothing.png\n", "labels/train/nothing.txt": ROW})
    assert detect_format(tmp_path / "task") == "yolo"
    for name in ("yolo", "cvat"):
        _, (read,) = read_all(name, tmp_path / "task", tmp_path / "task" / "images")
        assert (read.key, [i.class_id for i in read.instances]) == ("train/nothing.png", [1])


def test_subsets__are_read_together_and_images_without_labels_left_out(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ANNOTATIONS)
    task = export(
        tmp_path / "task",
        {
            "train.txt": "data/images/train/nothing.png\r\n\n",
            "val.txt": "data\\images\\val\\x.y.png\ndata/images/val/a b/two words.png\n",
            "labels/train/nothing.txt": ROW,
            "labels/val/x.y.txt": ROW * 2,
        },
        names="names: {0: cat, 1: cat}\nval: val.txt\n",
    )
    conversion = convert(task, tmp_path / "out", ConvertOptions(format=("coco",)))
    assert (conversion.images, conversion.instances, conversion.exit_status) == (2, 3, 0)
    assert conversion.notes == [
        "1 class is called 'cat-1': the name 'cat' is there twice (id 1)",
        "1 images have no labels and were left out",
    ]


def test_folder_called_images_in_a_key__is_part_of_it(tmp_path: Path) -> None:
    keyed = [replace(NEAR[0], key="a/images/x.png"), replace(NEAR[1], key="images/y.png")]
    write_images(tmp_path / "images", keyed)
    labels = write_labels("cvat", tmp_path, keyed)
    conversion = convert(labels, tmp_path / "out", ConvertOptions(format=("coco",)))
    assert (conversion.images, conversion.notes) == (2, [])


def test_image_with_two_label_files__is_a_failure_that_names_both(tmp_path: Path) -> None:
    write_images(tmp_path / "images", [replace(NEAR[0], key="1.png")])
    lists = {"train.txt": "data/images/train/1.png\n", "val.txt": "data/images/val/1.png\n"}
    rows = {"labels/train/1.txt": ROW, "labels/val/1.txt": ROW}
    task = export(tmp_path / "task", {**lists, **rows}, names="names: {0: cat, 1: cat}\nval: val.txt\n")
    conversion = convert(task, tmp_path / "out", ConvertOptions(format=("coco",)))
    assert (conversion.images, conversion.exit_status) == (0, 3)
    assert all(f"labels/{name}/1.txt" in conversion.failures["1.png"] for name in ("train", "val"))


def test_damaged_row__is_left_out_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ANNOTATIONS[2:])
    task = export(
        tmp_path / "task",
        {
            "train.txt": "images/train/nothing.png\nimages/train/x.y.png\nimages/train/gone.png\n",
            "labels/train/nothing.txt": ROW + "cat\n",
            "labels/train/x.y.txt": ROW,
            "labels/train/gone.txt": "",
        },
    )
    conversion = convert(task, tmp_path / "out", ConvertOptions(format=("coco",)))
    assert (conversion.images, conversion.instances) == (2, 2)
    assert "1 object was left out: class 'cat'; expected a whole number from 0 to 65535" in conversion.notes[0]
    assert "nothing.png, labels/train/nothing.txt:2" in conversion.notes[0]
    assert "no image of that name" in conversion.failures["gone.png"]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("data.yaml", "has no data.yaml, obj.names or annotations.xml"),
        ("train.txt", "has no train.txt, which lists the images"),
        ("images", "give their folder with --images"),
    ],
)
def test_export__that_is_not_whole_is_refused(missing: str, reason: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", NEAR[2:])
    task = export(tmp_path / "task", {"train.txt": "images/train/nothing.png\n", "labels/train/nothing.txt": ""})
    (tmp_path / missing if missing == "images" else task / missing).rename(tmp_path / "away")
    with pytest.raises(UsageError) as error:
        convert(task, tmp_path / "out", ConvertOptions(format=("coco",), source_format="cvat"))
    assert reason in str(error.value)


def test_zip__that_is_damaged_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(UsageError, match="no labels found"):
        detect_format(tmp_path / "x.zip")
    with pytest.raises(UsageError, match=r"cannot read .*x\.zip"):
        convert(tmp_path / "x.zip", tmp_path / "out", ConvertOptions(format=("coco",), source_format="cvat"))


def zipped(folder: Path) -> Path:
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder).as_posix())
    return file


def test_subsets_of_any_name__are_read_and_label_files_that_no_list_names_are_counted(tmp_path: Path) -> None:
    write_images(tmp_path / "images", [replace(NEAR[0], key=f"{name}.png") for name in "abc"])
    files = {
        "train.txt": "data/images/train/a.png\n",
        "night shift.txt": "data/images/night shift/b.png\n",
        "labels/train/a.txt": ROW,
        "labels/night shift/b.txt": ROW,
        "labels/lost/c.txt": ROW,
    }
    task = export(tmp_path / "task", files, names="names: [cat, dog]\nnight shift: night shift.txt\n")
    conversion = convert(
        zipped(task), tmp_path / "out", ConvertOptions(format=("coco",), images=str(tmp_path / "images"))
    )
    assert (conversion.images, conversion.failures) == (2, {})
    assert "1 label files are named by no list of images and were left out" in conversion.notes


@pytest.mark.parametrize("form", ["zip", "folder", "folder with its images"])
def test_yolo_1_1__has_its_names_and_lists_in_files_of_its_own(form: str, tmp_path: Path) -> None:
    task = tmp_path / "task"
    (task / "obj_train_data" / "deep").mkdir(parents=True)
    (task / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    (task / "obj.names").write_text("cat\ndog\n")
    (task / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/deep/b.png\n")
    (task / "obj_train_data" / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    (task / "obj_train_data" / "deep" / "b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    place = task / "obj_train_data" if form == "folder with its images" else tmp_path / "images"
    images = write_images(place, [replace(NEAR[2], key=key) for key in ("a.png", "deep/b.png")])
    labels = zipped(task) if form == "zip" else task
    assert detect_format(labels) == "cvat"
    names, found = read_all("cvat", labels, task if form == "folder with its images" else images)
    assert names == {0: "cat", 1: "dog"}
    assert [[i.class_id for i in one.instances] for one in found] == [[1], [0]]


@pytest.mark.parametrize("different", [False, True])
def test_coco_in_a_zip__is_read_with_all_its_subsets(different: bool, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", [replace(NEAR[2], key=f"{name}.png") for name in "ab"])
    (tmp_path / "task" / "annotations").mkdir(parents=True)
    for name in "ab":
        content = {
            "images": [{"id": 1, "file_name": f"{name}.png", "height": 60, "width": 90}],
            "categories": [{"id": 1, "name": "dog" if different and name == "b" else "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 30], "iscrowd": 0}],
        }
        (tmp_path / "task" / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    labels = zipped(tmp_path / "task")
    assert detect_format(labels) == "cvat"
    if different:
        with pytest.raises(UsageError, match="different classes"):
            read_all("cvat", labels, images)
    else:
        _, found = read_all("cvat", labels, images)
        assert [(one.key, one.instances[0].mask.box) for one in found] == [
            ("a.png", (10, 10, 30, 40)),
            ("b.png", (10, 10, 30, 40)),
        ]


@pytest.mark.parametrize("labels", ["labels/train/a.txt", "train/labels/a.txt", "set/train/labels/a.txt"])
def test_zip_whose_yaml_lists_folders__is_read_by_the_places_of_its_label_files(
    labels: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", [replace(NEAR[0], key="a.png")])
    top = "set/" if labels.startswith("set/") else ""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"{top}data.yaml", "train: ../train/images\nval: images/val\nnames: [person, bus]\n")
        archive.writestr(labels, ROW)
    found = read_labels("cvat", Source(tmp_path / "x.zip", tmp_path / "images")).annotations
    assert [one.key for one in found] == ["a.png"]


def test_xml_of_any_name__is_found_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "task 7.xml").write_text('<annotations><image name="a.jpg" width="9" height="9"/></annotations>')
    assert detect_format(tmp_path) == "cvat"
    assert read_labels("cvat", Source(tmp_path)).keys() == ["a.jpg"]

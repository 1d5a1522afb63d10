"""dataset builds what a trainer takes as it is, and never touches what is there."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage

from samcli.config import DatasetOptions
from samcli.datasets import build as module
from samcli.datasets.build import build_dataset
from samcli.errors import SamcliError, UsageError
from samcli.labels.class_map import ClassMap

TRIANGLE = "0.1 0.1 0.5 0.1 0.3 0.6"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty images of four clips; cats in all, a dog in every fourth, nothing in the last of each clip."""
    root = tmp_path / "source"
    for number in range(40):
        clip = number // 10
        key = f"clip{clip}/{number:02}"
        rows = [f"0 {TRIANGLE}\n"] + ([f"1 {TRIANGLE}\n"] if number % 4 == 0 else [])
        save(root, key, "" if number % 10 == 9 else "".join(rows))
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    return root


def save(root: Path, key: str, rows: str | None, suffix: str = ".png") -> None:
    image, label = root / "images" / f"{key}{suffix}", root / "labels" / f"{key}.txt"
    image.parent.mkdir(parents=True, exist_ok=True)
    label.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (32, 24), (sum(key.encode()) % 256, 80, 90)).save(image)
    if rows is not None:
        label.write_text(rows)


def build(source: Path, output: Path, class_map: ClassMap | None = None, **options):
    return build_dataset(output, source / "images", DatasetOptions(**options), class_map=class_map)


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_data_set__holds_every_image_once_with_its_label(source, tmp_path) -> None:
    result = build(source, tmp_path / "out")
    out = files(tmp_path / "out")
    assert (result.exit_status, result.unlabelled, result.left_out, result.notes) == (0, 0, {}, [])
    found = {}
    for name, data in out.items():
        kind, _, rest = name.partition("/")
        if kind == "images":
            split, _, key = rest.partition("/")
            assert data == (source / "images" / key).read_bytes()
            label = out[f"labels/{split}/{key.removesuffix('.png')}.txt"]
            assert label == (source / "labels" / key).with_suffix(".txt").read_bytes()
            found[key] = split
    assert len(found) == 40
    assert len(out) == 40 + 40 + 2
    rows = list(csv.DictReader((tmp_path / "out" / "splits.csv").open()))
    assert {row["key"]: row["split"] for row in rows} == found
    assert [result.splits[split].images for split in ("train", "val", "test")] == [32, 4, 4]
    assert sum(one.background for one in result.splits.values()) == 4
    assert {split: one.objects["dog"] for split, one in result.splits.items()} == {"train": 8, "val": 1, "test": 1}


def test_data_set__is_what_the_trainer_reads(source, tmp_path, photos) -> None:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    result = build(source, tmp_path / "out")
    data = check_det_dataset(tmp_path / "out" / "data.yaml", autodownload=False)
    assert data["names"] == {0: "cat", 1: "dog"}
    for split in ("train", "val", "test"):
        read = YOLODataset(img_path=data[split], data=data, task="segment", imgsz=32, augment=False)
        objects = sum(len(label["cls"]) for label in read.labels)
        assert (len(read), objects) == (result.splits[split].images, result.splits[split].objects.total())


def test_same_seed__gives_the_same_and_another_another(source, tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(source, tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a").keys() != files(tmp_path / "c").keys()


def test_groups__never_cross_splits(source, tmp_path) -> None:
    build(source, tmp_path / "out", split="2/1/1", group_by=r"^(clip\d)")
    rows = list(csv.DictReader((tmp_path / "out" / "splits.csv").open()))
    splits = {clip: {row["split"] for row in rows if row["key"].startswith(clip)} for clip in ("clip0", "clip1")}
    assert all(len(found) == 1 for found in splits.values())
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_notes__name_classes_and_splits_that_have_nothing(source, tmp_path) -> None:
    (source / "data.yaml").write_text("names: [cat, dog, emu]\n")
    assert build(source, tmp_path / "a").notes == ["no examples in any split of: emu"]
    for number in range(3, 40):
        (source / "labels" / f"clip{number // 10}" / f"{number:02}.txt").unlink()
    notes = build(source, tmp_path / "b", split="1/1/1").notes  # one of the three shows a dog
    emu, *dog = notes
    assert emu == "no examples in any split of: emu"
    uses = {"train": "training", "val": "validation", "test": "test"}
    table = {split: one.objects for split, one in build(source, tmp_path / "c", split="1/1/1").splits.items()}
    without = [split for split in uses if not table[split]["dog"]]
    lacks = {"train": ""}
    assert dog == [
        f"no {uses[split]} examples of: dog{lacks.get(split, ' (metrics will be missing)')}" for split in without
    ]
    assert len(dog) == 2
    for number in range(3):
        (source / "labels" / "clip0" / f"{number:02}.txt").write_text("")
    assert "train has no objects" in build(source, tmp_path / "d", split="1/1/1").notes


def test_group_by__says_where_it_finds_nothing(source, tmp_path) -> None:
    result = build(source, tmp_path / "out", group_by=r"^(clip[012])")
    assert any("10 image paths" in note for note in result.notes)


def test_class_map__renames_merges_and_drops(source, tmp_path) -> None:
    result = build(source, tmp_path / "out", ClassMap({"cat": None, "dog": "animal"}))
    assert result.names == {0: "animal"}
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"] == {0: "animal"}
    rows = [data for name, data in files(tmp_path / "out").items() if name.startswith("labels/") and data]
    assert rows == [f"0 {TRIANGLE}\n".encode()] * 10
    assert sum(one.background for one in result.splits.values()) == 30


def test_ids_with_gaps__are_numbered_anew(source, tmp_path) -> None:
    (source / "data.yaml").write_text("names: {0: cat, 1: dog, 5: cow}\n")
    save(source, "clip0/99", f"5 {TRIANGLE}\n")
    result = build(source, tmp_path / "out")
    assert result.names == {0: "cat", 1: "dog", 2: "cow"}
    label = next(data for name, data in files(tmp_path / "out").items() if name.endswith("99.txt"))
    assert label == f"2 {TRIANGLE}\n".encode()


@pytest.mark.parametrize("link", ["hard", "symlink", "copy"])
def test_link__decides_how_images_get_there(source, tmp_path, link) -> None:
    build(source, tmp_path / "out", link=link)
    image = next((tmp_path / "out" / "images").rglob("00.png"))
    original = source / "images" / "clip0" / "00.png"
    assert image.is_symlink() == (link == "symlink")
    assert image.samefile(original) == (link != "copy")
    assert image.read_bytes() == original.read_bytes()
    label = next((tmp_path / "out" / "labels").rglob("00.txt"))
    assert not label.samefile(source / "labels" / "clip0" / "00.txt"), "labels are files of their own"


def test_hard_link__that_cannot_be_made_is_a_copy(source, tmp_path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    build(source, tmp_path / "out")
    image = next((tmp_path / "out" / "images").rglob("00.png"))
    assert not image.samefile(source / "images" / "clip0" / "00.png")
    assert image.read_bytes() == (source / "images" / "clip0" / "00.png").read_bytes()


def test_hard_link__of_a_linked_image_leads_to_the_file(source, tmp_path) -> None:
    image = source / "images" / "clip0" / "00.png"
    store = image.rename(tmp_path / "store.png")
    image.symlink_to(os.path.relpath(store, image.parent))
    build(source, tmp_path / "out")
    built = next((tmp_path / "out" / "images").rglob("00.png"))
    assert not built.is_symlink()
    assert built.samefile(store)


def test_unlabelled_images__are_left_out_or_background(source, tmp_path) -> None:
    save(source, "clip0/98", None)
    skipped = build(source, tmp_path / "a")
    assert (skipped.unlabelled, sum(one.images for one in skipped.splits.values())) == (1, 40)
    taken = build(source, tmp_path / "b", unlabelled="background")
    assert (taken.unlabelled, sum(one.images for one in taken.splits.values())) == (1, 41)
    assert [data for name, data in files(tmp_path / "b").items() if name.endswith("98.txt")] == [b""]


def test_labels_that_no_trainer_takes__are_left_out_by_name(source, tmp_path) -> None:
    save(source, "clip0/97", "0 nan 0.5 0.1 0.1\n")
    save(source, "clip0/96", f"7 {TRIANGLE}\n")
    result = build(source, tmp_path / "out")
    assert set(result.left_out) == {"clip0/97.png", "clip0/96.png"}
    assert "not-finite" in result.left_out["clip0/97.png"]
    assert "class 7 has no name" in result.left_out["clip0/96.png"]
    assert result.exit_status == 3
    assert not [name for name in files(tmp_path / "out") if "97" in name]


def test_two_images_of_one_stem__keep_their_own_labels(source, tmp_path) -> None:
    """The trainer would take `00.txt` for both: one of them gets another name."""
    save(source, "clip0/00.jpg", f"1 {TRIANGLE}\n", suffix="")
    build(source, tmp_path / "out", split="40/1")
    out = files(tmp_path / "out")
    rows = {row["key"]: row["file"] for row in csv.DictReader((tmp_path / "out" / "splits.csv").open())}
    for key, label in (("clip0/00.png", "clip0/00.txt"), ("clip0/00.jpg", "clip0/00.jpg.txt")):
        own = rows[key].replace("images/", "labels/", 1).rpartition(".")[0] + ".txt"
        assert out[own] == (source / "labels" / label).read_bytes()
    assert rows["clip0/00.png"] != rows["clip0/00.jpg"]


def test_shared_label__belongs_to_the_first_image(source, tmp_path) -> None:
    save(source, "clip0/00", None, suffix=".webp")
    assert list(build(source, tmp_path / "out").left_out) == ["clip0/00.webp"]


def test_folder_called_images__would_lead_the_trainer_astray(source, tmp_path, photos) -> None:
    from ultralytics.data.utils import img2label_paths

    save(source, "a/images/b", f"1 {TRIANGLE}\n")
    build(source, tmp_path / "out")
    image = next((tmp_path / "out" / "images").rglob("b.png"))
    label = Path(img2label_paths([str(image)])[0])
    assert label.is_relative_to(tmp_path / "out" / "labels")
    assert label.read_text() == f"1 {TRIANGLE}\n"


def test_mixed_boxes_and_polygons__are_told(source, tmp_path) -> None:
    save(source, "clip0/97", "0 0.5 0.5 0.1 0.1\n")
    assert any("1 images have boxes and 36 polygons" in note for note in build(source, tmp_path / "out").notes)


def test_output_that_is_there__is_never_touched(source, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        build(source, tmp_path / "out")
    assert files(tmp_path / "out") == {"mine.txt": b"mine"}
    (tmp_path / "out" / "mine.txt").unlink()
    build(source, tmp_path / "out")  # an empty folder is no loss


def test_failure_on_the_way__leaves_nothing_behind(source, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("power")

    monkeypatch.setattr(module, "_splits_csv", fail)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(RuntimeError):
        build(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_output__has_ordinary_permissions(source, tmp_path) -> None:
    build(source, tmp_path / "out")
    (tmp_path / "other").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "data.yaml").unlink(), "--names"),
        (lambda root: [path.unlink() for path in root.rglob("*.txt")], "no image"),
        (lambda root: (root / "labels").rename(root / "rows"), "--labels"),
    ],
)
def test_what_is_missing__is_asked_for(source, tmp_path, change, message) -> None:
    change(source)
    with pytest.raises(UsageError, match=message):
        build(source, tmp_path / "out")


def test_command__prints_a_table_and_json(source, tmp_path, samcli_run) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text("dog: hound\n")
    arguments = ("--images", source / "images", "--class-map", mapping, "--split", "3/1")
    result = samcli_run("dataset", tmp_path / "a", *arguments)
    assert result.exit_code == 0, result.stderr
    assert all(word in result.stdout for word in ("train", "val", "hound", "yolo segment train"))
    facts = json.loads(samcli_run("dataset", tmp_path / "b", *arguments, "--json").stdout)
    assert (list(facts["splits"]), facts["names"]) == (["train", "val"], {"0": "cat", "1": "hound"})
    assert samcli_run("verify", tmp_path / "b").exit_code == 0


def test_clean_rows__are_not_rewritten(tmp_path) -> None:
    """Rows keep their digits; only the class is exchanged."""
    root = tmp_path / "source"
    row = "0 0.123456789 0.1 0.5 0.1 0.3 0.6"
    for key in ("a", "b"):
        save(root, key, row + "\n")
    (root / "data.yaml").write_text("names: [cat]\n")
    build(root, tmp_path / "out", split="1/1")
    labels = [data for name, data in files(tmp_path / "out").items() if name.startswith("labels/")]
    assert np.unique(labels).tolist() == [f"{row}\n".encode()]


def test_output_that_cannot_be_written__is_refused_in_plain_words(source, tmp_path, samcli_run) -> None:
    (tmp_path / "file").touch()
    result = samcli_run("dataset", tmp_path / "file" / "out", "--images", source / "images")
    assert result.exit_code == 2
    assert f"cannot write in {tmp_path / 'file'}: Not a directory" in result.stderr


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("train/images/a.png", "train/labels/a.txt"),  # Roboflow's
        ("images/train/a.png", "labels/train/a.txt"),
        ("obj_train_data/a.png", "obj_train_data/a.txt"),  # Darknet's
        ("a.png", "obj_train_data/a.txt"),  # the same, exported without images
    ],
)
def test_layouts_of_other_tools__are_read_as_by_the_other_commands(tmp_path, image, label) -> None:
    root, rows = tmp_path / "set", f"0 {TRIANGLE}\n"
    for name in "ab":  # an image for each split
        picture, labels = (root / path.replace("a.", f"{name}.") for path in (image, label))
        for path in (picture, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.new("RGB", (32, 24)).save(picture)
        labels.write_text(rows)
    (root / "classes.txt").write_text("cat\n")
    result = build_dataset(tmp_path / "out", root, DatasetOptions(split="0.5/0.5", unlabelled="skip"), labels=root)
    assert [split.objects for split in result.splits.values()] == [{"cat": 1}] * 2
    assert [path.read_text() for path in (tmp_path / "out" / "labels").rglob("*.txt")] == [rows] * 2


def test_names_that_repeat__are_told_apart_in_the_data_set(source, tmp_path) -> None:
    (source / "data.yaml").write_text("names: [cat, cat]\n")
    result = build(source, tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"] == {0: "cat", 1: "cat-1"}
    assert "1 class is called 'cat-1': the name 'cat' is there twice (id 1)" in result.notes


def test_data_set__is_not_built_without_a_label_that_cannot_be_read_now(source, tmp_path, monkeypatch) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "03.txt":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(SamcliError, match=r"03\.txt: Input/output error: nothing was written"):
        build(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()

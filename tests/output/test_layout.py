"""Where labels lie, which image gets which, and one run at a time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from samcli.output.layout import (
    LabelFiles,
    Layout,
    Listing,
    assign_labels,
    default_output,
    images_of,
    make_layout,
)
from samcli.types import ImageRef


def touch(root: Path, *keys: str) -> None:
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"")


# Which folder


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("/data/images", "/data/labels"),
        ("/data/images/train", "/data/labels/train"),
        ("/images/a/images/train", "/images/a/labels/train"),
        ("/data/photos", "/data/labels"),
        ("/data/images2", "/data/labels"),
        ("/data/Images", "/data/labels"),
    ],
)
def test_default_output__exchanges_the_last_folder_named_images(images: str, labels: str) -> None:
    assert default_output(Path(images)) == Path(labels)


def test_default_output__is_where_ultralytics_looks_for_labels(cache: Path) -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import img2label_paths

    for folder in ("/data/images", "/data/images/train", "/images/a/images/b"):
        layout = Layout(Path(folder), default_output(Path(folder)))
        assert [str(layout.label("c/1.jpg", ".txt"))] == img2label_paths([f"{folder}/c/1.jpg"])


def test_make_layout__an_output_that_is_given_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "data/images/1.jpg")
    layout = make_layout(tmp_path / "data" / "images", tmp_path / "elsewhere")
    assert layout == Layout(tmp_path / "data" / "images", tmp_path / "elsewhere")


def test_make_layout__is_absolute_and_keeps_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "store/1.jpg")
    (tmp_path / "images").symlink_to("store")
    monkeypatch.chdir(tmp_path)
    assert make_layout(Path("images"), None) == Layout(tmp_path / "images", tmp_path / "labels")
    assert make_layout(Path("images/../images"), Path("out/../o")).output == tmp_path / "o"


def test_make_layout__of_one_image_is_that_of_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "data/images/1.jpg")
    layout = make_layout(tmp_path / "data" / "images" / "1.jpg", None)
    assert layout == Layout(tmp_path / "data" / "images", tmp_path / "data" / "labels")


def test_make_layout__a_folder_whose_images_all_lie_below_images_stands_for_that(tmp_path: Path) -> None:
    touch(tmp_path, "data/images/train/1.jpg", "data/README.md", "data/labels/train/1.txt")
    assert make_layout(tmp_path / "data", None) == Layout(tmp_path / "data/images", tmp_path / "data/labels")


def test_make_layout__a_folder_with_images_elsewhere_too_is_taken_whole(tmp_path: Path) -> None:
    touch(tmp_path, "data/images/1.jpg", "data/more/2.jpg")
    assert make_layout(tmp_path / "data", None) == Layout(tmp_path / "data", tmp_path / "labels")


def test_splits_from_output__only_where_a_trainer_finds_the_labels(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    assert Layout(images, labels).splits_from_output() == {"train": "../images", "val": "../images"}
    inner = Layout(images / "train", labels / "train").splits_from_output()
    assert inner == {"train": "../../images/train", "val": "../../images/train"}
    assert Layout(images, tmp_path / "elsewhere").splits_from_output() == {}
    assert Layout(tmp_path / "photos", tmp_path / "labels").splits_from_output() == {}


def test_splits_from_output__are_those_that_are_there(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / "images" / name).mkdir(parents=True)
    splits = Layout(tmp_path / "images", tmp_path / "labels").splits_from_output()
    assert splits == {name: f"../images/{name}" for name in ("train", "val", "test")}


# Which file


def test_paths__mirror_the_tree_of_the_input() -> None:
    layout = Layout(Path("/in"), Path("/out"))
    assert layout.label("a/b/1.jpg", ".txt") == "/out/a/b/1.txt"
    assert layout.label("a/b/1.jpg", ".txt", whole_name=True) == "/out/a/b/1.jpg.txt"
    assert layout.record("a/b/1.jpg") == "/out/.samcli/records/a/b/1.jpg.json"
    assert layout.journal == Path("/out/.samcli/journal.jsonl")
    assert layout.manifest == Path("/out/.samcli/run.json")


def test_paths__only_the_last_suffix_is_exchanged() -> None:
    assert Layout(Path("/in"), Path("/out")).label("a.b/1.2.jpg", ".txt") == "/out/a.b/1.2.txt"


@pytest.mark.parametrize("stem", ["x" * 251, "汉" * 83, "🐈" * 62])
def test_paths__of_the_longest_names_can_be_written(tmp_path: Path, stem: str) -> None:
    layout = Layout(tmp_path / "in", tmp_path / "out")
    key = f"a/{stem}.jpg"
    touch(tmp_path / "in", key)
    paths = [layout.record(key), layout.label(key, ".txt"), layout.label(key, ".txt", whole_name=True)]
    for path in paths:
        touch(Path(path).parent, Path(path).name)
    assert len(set(paths)) == 3


def labels_of(*keys: str, on_collision: str = "fail") -> LabelFiles:
    refs = [ImageRef(Path("/in"), key) for key in keys]
    return assign_labels(Layout(Path("/in"), Path("/out")), refs, [".txt"], on_collision)


def names(labels: LabelFiles, *keys: str) -> list[str]:
    return [path.removeprefix("/out/") for key in keys for path in labels.paths(key)]


def test_labels__of_images_in_different_folders_do_not_collide() -> None:
    labels = labels_of("1.jpg", "a/1.jpg", "b/1.jpg")
    assert not labels.collisions
    assert names(labels, "1.jpg", "a/1.jpg", "b/1.jpg") == ["1.txt", "a/1.txt", "b/1.txt"]


def test_collision__the_first_keeps_the_name_and_the_second_fails_with_the_reason() -> None:
    labels = labels_of("a/1.jpg", "a/1.png")
    assert list(labels.collisions) == ["a/1.png"]
    assert "that of a/1.jpg" in labels.collisions["a/1.png"]
    assert "--on-collision suffix" in labels.collisions["a/1.png"]
    assert names(labels, "a/1.jpg") == ["a/1.txt"]


def test_collision__suffix_gives_the_second_its_whole_name() -> None:
    labels = labels_of("a/1.jpg", "a/1.png", "a/1.webp", on_collision="suffix")
    assert not labels.collisions
    assert names(labels, "a/1.jpg", "a/1.png", "a/1.webp") == ["a/1.txt", "a/1.png.txt", "a/1.webp.txt"]


@pytest.mark.parametrize("on_collision", ["fail", "suffix"])
def test_collision__names_that_differ_in_case_alone_are_one(on_collision: str) -> None:
    """On a file system that ignores case they would be."""
    labels = labels_of("A/Photo.jpg", "a/photo.jpg", on_collision=on_collision)
    if on_collision == "fail":
        assert list(labels.collisions) == ["a/photo.jpg"]
    else:
        assert names(labels, "A/Photo.jpg", "a/photo.jpg") == ["A/Photo.txt", "a/photo.jpg.txt"]


def test_collision__a_whole_name_may_be_taken_too() -> None:
    keys = ("1.jpg", "1.png", "1.png.jpg", "1.PNG")
    labels = labels_of(*keys, on_collision="suffix")
    assert list(labels.collisions) == ["1.PNG"]
    written = names(labels, "1.jpg", "1.png", "1.png.jpg")
    assert written == ["1.txt", "1.png.txt", "1.png.jpg.txt"]


def test_labels__has_one_path_for_each_format() -> None:
    refs = [ImageRef(Path("/in"), "1.jpg")]
    labels = assign_labels(Layout(Path("/in"), Path("/out")), refs, [".txt", ".xml"], "fail")
    assert names(labels, "1.jpg") == ["1.txt", "1.xml"]


def test_listing__knows_what_existed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.txt")
    listing = Listing()
    assert listing.has(str(tmp_path / "a" / "1.txt"))
    assert not listing.has(str(tmp_path / "a" / "2.txt"))
    assert not listing.has(str(tmp_path / "nowhere" / "1.txt"))


def test_listing__looks_at_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "1.txt", "2.txt")
    listed: list[object] = []
    real = os.listdir
    monkeypatch.setattr("os.listdir", lambda folder: listed.append(folder) or real(folder))
    listing = Listing()
    assert all(listing.has(str(tmp_path / name)) for name in ("1.txt", "2.txt", "1.txt"))
    assert listed == [str(tmp_path)]


def test_images_of__is_the_inverse_of_the_default_output() -> None:
    for images in (Path("/data/images"), Path("/labels/images/train")):
        assert images_of(default_output(images)) == images
    assert images_of(Path("/data/masks")) is None


def test_listing__a_folder_that_cannot_be_listed_is_not_an_empty_one(tmp_path, monkeypatch) -> None:
    def failing(folder: str) -> list[str]:
        raise OSError(errno.EIO, "Input/output error", folder)

    assert not Listing().has(f"{tmp_path}/no such folder/a.txt")
    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(OSError, match="Input/output error"):
        Listing().has(f"{tmp_path}/a.txt")

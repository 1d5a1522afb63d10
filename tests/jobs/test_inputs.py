"""Whatever names the images, a run has the same keys, the same root and the same place for labels."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from samcli.config import SourceOptions
from samcli.errors import UsageError
from samcli.jobs.inputs import FoundImages, find_input, open_inputs
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest

KEYS = ["a.jpg", "b.png", "sub/c.jpg"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with three files that have names of images, and one that has not, below the current folder."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "data/images", *KEYS, "notes.txt")
    return tmp_path / "data/images"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def found(*arguments: str | Path, output: Path | None = None, **options: Any) -> FoundImages:
    return find_input(open_inputs(arguments, SourceOptions(**options)), output, "labels")


def keys(of: FoundImages) -> list[str]:
    return [ref.key for ref in of.refs]


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


WAYS: dict[str, Callable[[Path], list[str]]] = {
    "folder": lambda images: [str(images)],
    "folder above": lambda images: [str(images.parent)],
    "files": lambda images: [str(images / key) for key in KEYS],
    "files in another order, some twice": lambda images: [str(images / KEYS[i]) for i in (2, 0, 1, 0)],
    "as a shell expands images/*": lambda images: sorted(map(str, images.iterdir())),
    "pattern": lambda images: ["data/images/**/*.*g"],
    "pattern above": lambda images: ["data/**/*.*g"],
    "pattern that matches folders": lambda images: ["data/im*"],
    "list from where one stands": lambda images: [
        write(images.parents[1] / "elsewhere/list.txt", "".join(f"data/images/{key}\n" for key in KEYS))
    ],
    "list with paths from its own folder": lambda images: [
        write(images.parent / "list.txt", "\ufeff" + "\r\n".join(f"./images/{key}" for key in KEYS))
    ],
    "list separated by NUL": lambda images: [
        write(images.parent / "list.lst", "\0".join(str(images / key) for key in KEYS))
    ],
    "list of folders": lambda images: [write(images.parent / "list.txt", f"{images}/\n\n{images}/sub\n")],
    "data.yaml": lambda images: [write(images.parent / "data.yaml", "train: images\nval: images\nnames: [a]\n")],
    "data.yaml with lists": lambda images: [
        write(images.parent / "train.txt", "./images/a.jpg\n./images/b.png\n./images/sub/c.jpg\n")
        and write(images.parent / "data.yaml", "path: .\ntrain: train.txt\ntest: nowhere\nnames: [a]\n")
    ],
    "COCO": lambda images: [
        write(images.parent / "coco.json", json.dumps({"images": [{"id": 1, "file_name": key} for key in KEYS]}))
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_images__have_the_same_keys_and_labels_however_they_are_named(images: Path, way: str) -> None:
    result = found(*WAYS[way](images))
    assert keys(result) == KEYS
    assert result.layout == Layout(images, images.parent / "labels")
    assert [(ref.path, ref.size > 0) for ref in result.refs] == [(images / key, True) for key in KEYS]


def test_list__comes_from_standard_input_too(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(f"data/images/{key}\n" for key in KEYS).encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert keys(found("-")) == KEYS


def test_list__comes_from_a_pipe_too(images: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, f"{images}/a.jpg\n".encode())
    os.close(writing)
    assert keys(found(f"/dev/fd/{reading}")) == ["a.jpg"]
    os.close(reading)


def test_keys__of_several_roots_start_from_the_folder_that_holds_all(images: Path, tmp_path: Path) -> None:
    touch(tmp_path / "more", "a.jpg")
    result = found(images, tmp_path / "more/a.jpg")
    assert keys(result) == ["data/images/a.jpg", "data/images/b.png", "data/images/sub/c.jpg", "more/a.jpg"]
    assert result.layout.input_root == tmp_path


def test_root__is_what_is_asked_for(images: Path, tmp_path: Path) -> None:
    result = found(images / "sub", root=str(images.parent))
    assert (keys(result), result.layout.input_root) == (["images/sub/c.jpg"], images.parent)
    with pytest.raises(UsageError, match="is not below --root"):
        found(images, root=str(images / "sub"))


def test_root__is_that_of_the_run_which_the_input_is_a_part_of(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    root = os.path.relpath(images, output)
    output.mkdir()
    write_manifest(Layout(images, output).manifest, Manifest(Recipe({}), "f" * 64, root))
    assert keys(found(images / "sub/c.jpg", output=output)) == ["sub/c.jpg"]
    assert keys(found("data/images/sub/*.jpg", output=output)) == ["sub/c.jpg"]


def test_what_is_no_image__is_counted_by_suffix(images: Path) -> None:
    touch(images, "README", "sub/x.TXT")
    assert found(images).passed_over == {".txt": 2, "no suffix": 1}
    assert found("data/images/*.txt", images / "a.jpg").passed_over == {".txt": 1}
    assert found(images / "a.jpg", images / "notes.txt").passed_over == {".txt": 1}
    assert found(write(images.parent / "l.txt", "images/a.jpg\nimages/notes.txt\n")).passed_over == {".txt": 1}


def test_listed_image_that_is_gone__is_one_that_fails_when_it_is_read(images: Path) -> None:
    result = found(write(images.parent / "list.txt", "images/a.jpg\nimages/gone.jpg\n"))
    assert [(ref.key, ref.size > 0) for ref in result.refs] == [("a.jpg", True), ("gone.jpg", False)]


def test_output_folder__is_no_input(images: Path) -> None:
    touch(images, "out/a.png")
    assert keys(found("data/images/**/*.png", output=images / "out")) == ["b.png"]
    assert keys(found(images / "b.png", images / "out/a.png", output=images / "out")) == ["b.png"]


@pytest.mark.parametrize("split", ["train", "val,train", "val"])
def test_split__chooses_among_those_of_a_data_set(images: Path, split: str) -> None:
    data = write(images.parent / "data.yaml", "train: [images/a.jpg]\nval: ../images/sub\nnames: [a]\n")
    wanted = {"train": ["a.jpg"], "val": ["c.jpg"], "val,train": ["a.jpg", "sub/c.jpg"]}
    assert keys(found(data, split=split)) == wanted[split]


def test_coco__images_are_found_beside_annotations(tmp_path: Path) -> None:
    touch(tmp_path / "val2017", "1.jpg")
    names = [{"file_name": "1.jpg"}, {"file_name": "../../2.jpg"}, {"file_name": 3}]
    file = write(tmp_path / "annotations/instances_val2017.json", json.dumps({"images": names}))
    assert [str(ref.path) for ref in found(file).refs] == [
        f"{tmp_path}/val2017/{name}" for name in ("1.jpg", "2.jpg")
    ]


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        (["nowhere"], {}, "nowhere does not exist; expected images, folders"),
        (["data", "out"], {}, "out does not exist.*The output folder is given with --output"),
        (["data/*.gif"], {}, r"no images in data/\*.gif"),
        (["nowhere/*.jpg"], {}, "matches nothing: .*nowhere is no folder"),
        (["data/images/notes.txt"], {}, "no images in data/images/notes.txt: expected the path"),
        (["gone.txt"], {}, "none of the 2 images that gone.txt names is there, e.g. .*x.jpg"),
        (["empty.json"], {}, "is no COCO file: it lists no images"),
        (["lost.json"], {}, "none of its 1 images is there, e.g. 1.jpg; looked for in"),
        (["data.yaml"], {"split": "tset"}, "has no split 'tset'; it has: train"),
        (["data.yaml"], {}, "the images of 'train' are not there: nothing"),
        (["list.yaml"], {}, "is no data.yaml"),
        (["data"], {"split": "val"}, "--split val is for a data.yaml"),
        (["data"], {"root": "nowhere"}, "is no folder; give one that holds all inputs"),
        (["data/images/../other.bin"], {}, "is not an image: expected one of .jpg"),
    ],
)
def test_wrong_input__is_said_in_a_line(images: Path, arguments: list[str], options: dict, reason: str) -> None:
    write(Path("gone.txt"), "x.jpg\ny.jpg\n")
    write(Path("empty.json"), "{}")
    write(Path("lost.json"), '{"images": [{"file_name": "1.jpg"}]}')
    write(Path("data.yaml"), "train: nothing\n")
    write(Path("list.yaml"), "[1]")
    write(Path("data/other.bin"), "")
    with pytest.raises(UsageError, match=reason) as error:
        found(*arguments, **options)
    assert "\n" not in str(error.value)


def test_run__over_files_goes_on_over_their_folder(samcli_run, photo_folder, small_sam) -> None:
    photos = sorted(photo_folder.glob("*.jpg"))
    command = ("prompt", "--box", "1,1,30,30", "--sam", small_sam, "--json")
    first = json.loads(samcli_run(*command, *photos).stdout)
    assert (first["images"], first["done"]) == (2, 2)
    second = json.loads(samcli_run(*command, photo_folder).stdout)
    assert (second["skipped"], second["failed"]) == (2, 0)
    refused = samcli_run(*command, *photos, "--overwrite")
    assert "--overwrite would remove the labels of" in refused.stderr

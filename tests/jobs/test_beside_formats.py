"""A run beside labels of every format that can be added to: what was there stays, and comes back."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finding
import numpy as np
import pytest
from finding import FOUND, make_images, mask_of, run
from PIL import Image as Picture
from runs import files

from samcli.errors import UsageError
from samcli.jobs.removing import take_back
from samcli.labels.formats.reading import read_labels
from samcli.labels.formats.sources import Source
from samcli.masks import mask_iou
from samcli.output.run_folder import RunFolder
from samcli.review import editing
from samcli.review.apply import Publisher
from samcli.types import Annotation, Verdict

HALF = {"a.png": FOUND["a.png"][:3:2], "b.png": FOUND["b.png"][1:], "c.png": []}
"""What somebody has labelled; d.png is not labelled, and nothing of the class `cross` but in b.png."""


def bytes_stay(before: bytes, after: bytes) -> bool:
    """Return whether the text has at most one thing inserted into it."""
    same = next((at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    return any(after.endswith(before[at:]) for at in range(same + 1))


def pixels_stay(before: bytes, after: bytes) -> bool:
    old, new = (np.asarray(Picture.open(io.BytesIO(data))) for data in (before, after))
    return bool((new[old != 0] == old[old != 0]).all())


def tasks_stay(before: bytes, after: bytes) -> bool:
    """Return whether every task is there with its regions first, in their order."""
    old, new = json.loads(before), json.loads(after)
    for task, other in zip(old, new, strict=False):
        (one,), (two,) = task["predictions"], other["predictions"]
        if task["data"] != other["data"] or two["result"][: len(one["result"])] != one["result"]:
            return False
    return len(new) >= len(old)


def rows_stay(before: bytes, after: bytes) -> bool:
    pq = pytest.importorskip("pyarrow.parquet")
    old, new = (pq.read_table(io.BytesIO(data)) for data in (before, after))
    return bool(new.slice(0, old.num_rows).equals(old))


STAYS: dict[str, Callable[[bytes, bytes], bool]] = {
    ".txt": bytes_stay, ".json": bytes_stay, ".xml": bytes_stay, ".png": pixels_stay, ".yaml": bytes.__eq__,
    "labelstudio.json": tasks_stay, ".parquet": rows_stay,
}  # fmt: skip
"""By the end of a file's name: whether what was in it is in it still."""

FORMATS = ["yolo", "yolo-box", "labelme", "voc", "png", "sa1b", "rle", "coco", "labelstudio", "parquet"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_images(tmp_path / "data")


def put_labels(folder: Path, name: str, monkeypatch) -> dict[str, bytes]:
    """Write labels of `HALF`, as if no run had made them."""
    with monkeypatch.context() as patch:
        for key in FOUND:
            patch.setitem(finding.FOUND, key, HALF.get(key, []))
        run(folder, format=(name,))
    labels = folder / "labels"
    shutil.rmtree(labels / ".samcli")
    for path in labels.rglob("d.*"):
        path.unlink()
    return files(labels)


def read(labels: Path, name: str) -> dict[str, Annotation]:
    source = Source(labels, labels.parent / "images")
    return {one.key: one for one in read_labels(name, source).annotations if isinstance(one, Annotation)}


def stay(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, bool]:
    def stays(name: str) -> bool:
        end = next(end for end in sorted(STAYS, key=len, reverse=True) if name.endswith(end))
        return STAYS[end](before[name], after[name])

    return {name: stays(name) for name in before}


@pytest.mark.parametrize("name", FORMATS)
def test_add__keeps_what_was_there_and_adds_what_is_missing(folder, name, monkeypatch) -> None:
    before, labels = put_labels(folder, name, monkeypatch), folder / "labels"
    options: dict[str, Any] = {"format": (name,), "existing": "add"}
    assert not run(folder, **options).failures
    after = files(labels)
    assert all((found := stay(before, after)).values()), found
    whole = read(labels, name)
    assert {key: len(one.instances) for key, one in whole.items()} == {key: len(FOUND[key]) for key in FOUND}
    for key, one in whole.items():
        for _, *box in FOUND[key]:
            assert max(mask_iou(found.mask, mask_of(*box)) for found in one.instances) > 0.9
    run(folder, **options)
    assert files(labels) == after
    run(folder, **options, overwrite=True)
    assert files(labels) == after
    take_back(labels)
    assert files(labels) == before


@pytest.mark.parametrize("name", FORMATS)
def test_review__takes_an_object_out_that_was_there_and_leaves_the_others(folder, name, monkeypatch) -> None:
    before, labels = put_labels(folder, name, monkeypatch), folder / "labels"
    run(folder, format=(name,), existing="add")
    found = RunFolder.open(labels)
    publisher, entries = Publisher(found), found.entries()
    record = found.record("a.png")
    publisher.publish_one(editing.with_verdict(record, [0], Verdict.NO_OBJECT), entries["a.png"])
    publisher.finish()
    left = read(labels, name)["a.png"].instances
    assert len(left) == len(FOUND["a.png"]) - 1
    gone = record.instances[0].mask
    assert max(mask_iou(one.mask, gone) for one in left) < 0.1
    publisher.publish_one(record, entries["a.png"])
    publisher.finish()
    assert all(stay(before, files(labels)).values())


def edit(path: Path) -> bytes:
    """Change a label file by hand; return its content."""
    data = path.read_bytes()
    path.write_bytes(data + (b"1 0.5 0.5 0.9 0.5 0.9 0.9\n" if path.suffix == ".txt" else b"\n\n"))
    return path.read_bytes()


def touch(image: Path) -> None:
    Picture.new("RGB", finding.SIZE[::-1], (9, 9, 9)).save(image)


@pytest.mark.parametrize(("name", "file"), [("yolo", "a.txt"), ("coco", "annotations.json")])
def test_changed_meanwhile__a_label_file_is_its_editors_and_not_written(folder, name, file, monkeypatch) -> None:
    before, path = put_labels(folder, name, monkeypatch), folder / "labels" / file
    options: dict[str, Any] = {"format": (name,), "existing": "add"}
    run(folder, **options)
    edited = edit(path)
    assert run(folder, **options).skipped == 4 and path.read_bytes() == edited
    touch(folder / "images" / "a.png")
    if name == "yolo":
        assert "changed by somebody else" in run(folder, **options).failures["a.png"]
    else:
        with pytest.raises(UsageError, match="changed by somebody else"):
            run(folder, **options)
    assert path.read_bytes() == edited
    run(folder, **options, overwrite=True)  # now it is what was there before
    assert bytes_stay(edited, path.read_bytes())
    taken = take_back(folder / "labels")
    assert taken.changed == () and files(folder / "labels") == {**before, file: edited}


@pytest.mark.parametrize(("name", "file"), [("yolo", "a.txt"), ("coco", "annotations.json")])
@pytest.mark.parametrize("discard", [False, True])
def test_take_back__leaves_what_somebody_changed_since(folder, name, file, discard, monkeypatch) -> None:
    before, path = put_labels(folder, name, monkeypatch), folder / "labels" / file
    run(folder, format=(name,), existing="add")
    edited = edit(path)
    taken = take_back(folder / "labels", discard_human=discard)
    assert taken.changed == (() if discard else (str(path),))
    assert files(folder / "labels") == (before if discard else {**before, file: edited})


def test_changed_meanwhile__before_the_run_comes_to_the_image(folder, monkeypatch) -> None:
    put_labels(folder, "yolo", monkeypatch)
    path, original = folder / "labels" / "b.txt", finding.Finder.annotate

    def annotate(self, images):
        if any(image.ref.key == "b.png" for image in images):
            edit(path)
        return original(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(finding.Finder, "annotate", annotate)
        assert "changed by somebody else" in run(folder, existing="add").failures["b.png"]
    edited = path.read_bytes()
    assert not run(folder, existing="add").failures  # tried again unasked
    assert path.read_bytes().startswith(edited) and path.read_bytes() != edited


def test_review__refuses_to_write_a_label_file_that_somebody_changed(folder, monkeypatch) -> None:
    put_labels(folder, "yolo", monkeypatch)
    run(folder, existing="add")
    found, path = RunFolder.open(folder / "labels"), folder / "labels" / "a.txt"
    edited, record = edit(path), found.record("a.png")
    with pytest.raises(OSError, match="changed by somebody else"):
        Publisher(found).publish_one(editing.with_class(record, 0, 2), found.entries()["a.png"])
    assert path.read_bytes() == edited and found.record("a.png") == record


def test_add__to_labels_without_classes_holds_all_objects_against_them(folder, monkeypatch) -> None:
    put_labels(folder, "rle", monkeypatch)
    run(folder, format=("rle",), existing="add")
    dropped = RunFolder.open(folder / "labels").record("a.png").dropped
    assert [one.reason for one in dropped] == ["IoU 1.000 with an existing object, above --existing-iou 0.5"] * 2


def test_add__gives_a_task_that_nobody_has_labelled_a_prediction(folder, monkeypatch) -> None:
    put_labels(folder, "labelstudio", monkeypatch)
    file = folder / "labels" / "labelstudio.json"
    tasks = json.loads(file.read_text())
    tasks[1:3] = [
        {**tasks[1], "predictions": []},
        {"data": tasks[2]["data"], "annotations": [{"was_cancelled": True}]},
    ]
    regions = tasks[0].pop("predictions")[0]["result"]
    tasks[0]["annotations"] = [{"id": 5, "result": regions, "lead_time": 3.5}]
    file.write_text(json.dumps(tasks, indent=1))
    assert not run(folder, format=("labelstudio",), existing="add").failures
    after = json.loads(file.read_text())
    assert [task["data"] for task in after] == [task["data"] for task in tasks]
    assert after[0]["annotations"][0]["result"][:2] == regions
    assert {"id", "lead_time"} < after[0]["annotations"][0].keys()
    assert [len(one.instances) for one in read(folder / "labels", "labelstudio").values()] == [4, 2, 1, 0]
    assert len({region["id"] for region in after[0]["annotations"][0]["result"]}) == 4


def test_add__to_tasks_of_import_files_and_beside_odd_answers_gives_json(folder, monkeypatch) -> None:
    put_labels(folder, "labelstudio", monkeypatch)
    file = folder / "labels" / "labelstudio.json"
    tasks = json.loads(file.read_text())
    tasks[0]["predictions"].insert(0, 7)
    tasks[1] = {"data": tasks[1]["data"]}
    file.write_text(json.dumps(tasks))
    assert not run(folder, format=("labelstudio",), existing="add").failures
    after = json.loads(file.read_text())
    assert after[0]["predictions"][0] == 7
    assert [len(one.instances) for one in read(folder / "labels", "labelstudio").values()][:2] == [4, 2]


def test_publish__of_a_table_with_a_row_group_that_is_gone_writes_it(folder, monkeypatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("samcli.labels.formats.parquet._ROWS", 1)
    put_labels(folder, "parquet", monkeypatch)
    run(folder, format=("parquet",), existing="add")
    found = RunFolder.open(folder / "labels")
    publisher = Publisher(found)
    changed = editing.with_verdict(found.record("a.png"), [0], Verdict.NO_OBJECT)
    publisher.publish_one(changed, found.entries()["a.png"])
    publisher.finish()
    assert len(read(folder / "labels", "parquet")["a.png"].instances) == 3


def test_add__to_boxes_of_voc_without_maps_makes_what_was_there_void(folder, monkeypatch) -> None:
    put_labels(folder, "voc", monkeypatch)
    labels = folder / "labels"
    for tree in ("SegmentationClass", "SegmentationObject"):
        shutil.rmtree(labels / tree)
    assert not run(folder, format=("voc",), existing="add").failures
    maps = [
        np.asarray(Picture.open(labels / tree / "a.png")) for tree in ("SegmentationClass", "SegmentationObject")
    ]
    assert [sorted(set(one.ravel().tolist())) for one in maps] == [[0, 1, 3, 255], [0, 3, 4, 255]]
    found = read(labels, "voc")["a.png"].instances
    assert [one.class_id for one in found] == [0, 1, 0, 2]


def test_add__to_an_xml_of_another_encoding_keeps_its_bytes(folder, monkeypatch) -> None:
    put_labels(folder, "voc", monkeypatch)
    path = folder / "labels" / "Annotations" / "a.xml"
    text = path.read_text().replace(
        "<annotation>", "<?xml version='1.0' encoding='latin-1'?>\n<annotation><!-- <object> -->"
    )
    path.write_bytes(before := text.replace("samcli", "caf\xe9").encode("latin-1"))
    assert not run(folder, format=("voc",), existing="add").failures
    assert bytes_stay(before, path.read_bytes())
    assert len(read(folder / "labels", "voc")["a.png"].instances) == 4

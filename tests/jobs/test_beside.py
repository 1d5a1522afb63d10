"""A run beside labels that were there before: somebody's work stays as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from finding import Find, make_images, mask_of, run
from PIL import Image as Picture
from runs import files

from samcli.config import AutoAnnotateOptions
from samcli.errors import StorageError, UsageError
from samcli.jobs.base import Models
from samcli.jobs.beside import beside_existing, merged_classes
from samcli.jobs.plan import Plan
from samcli.jobs.removing import take_back
from samcli.jobs.run import run_job
from samcli.jobs.status import read_status
from samcli.jobs.worker import AnnotatedImage, Worker
from samcli.labels.class_names import read_names
from samcli.labels.formats.yolo import read_rows
from samcli.masks import Mask, mask_iou
from samcli.output.records import read_record
from samcli.types import Annotation, Image, Origin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_images(tmp_path / "data")


def record(labels: Path, key: str) -> Annotation:
    return read_record((labels / ".samcli" / "records" / f"{key}.json").read_bytes())


def put_labels(folder: Path, names: str = "[ring, disc]") -> dict[str, bytes]:
    """Write somebody's labels: an object of a.png (its numbers are others), an unknown one, and the class names."""
    labels = folder / "labels"
    labels.mkdir()
    disc = "1  0.025 0.0333 0.25 0.0333 0.25 0.3333 0.025 0.3333"  # as the first of a.png, with a space more
    (labels / "a.txt").write_text(f"\n{disc}\r\n0 0.9 0.1 0.97 0.1 0.97 0.2")
    (labels / "d.txt").write_bytes(b"")
    if names:
        (labels / "data.yaml").write_text(f"# mine\nnames: {names}\n")
    return {path.name: path.read_bytes() for path in labels.iterdir()}


def test_keep__labels_only_images_that_have_none_with_the_numbers_of_the_others(folder) -> None:
    before, labels = put_labels(folder), folder / "labels"
    summary = run(folder, existing="keep")
    assert (summary.total, summary.done, summary.kept) == (2, 2, 2)
    assert {name: (labels / name).read_bytes() for name in before} == before
    assert [one.class_id for one in record(labels, "b.png").instances] == [0, 2]
    assert [line.split()[0] for line in (labels / "b.txt").read_text().splitlines()] == ["0", "2"]
    assert [note for note in summary.notes if "data.yaml lacks" in note and note.endswith("2: cross")]
    again = run(folder, existing="keep")
    assert (again.done, again.skipped, again.kept) == (0, 2, 2)
    status = read_status(labels)
    assert (status.total, status.remaining, status.kept) == (2, 0, 2)


def test_keep__a_later_overwrite_leaves_what_was_there_before_the_first_run(folder) -> None:
    put_labels(folder)
    run(folder, existing="keep")
    first = files(folder / "labels")
    run(folder, existing="keep", overwrite=True)
    assert files(folder / "labels") == first
    with pytest.raises(UsageError, match="take-back"):
        run(folder, overwrite=True)
    assert files(folder / "labels") == first


def test_refuse__is_the_default(folder) -> None:
    put_labels(folder)
    before = files(folder / "labels")
    with pytest.raises(UsageError, match="did not write"):
        run(folder)
    assert files(folder / "labels") == before


def test_add__keeps_every_byte_and_adds_what_is_missing(folder) -> None:
    before, labels = put_labels(folder), folder / "labels"
    summary = run(folder, existing="add")
    assert (summary.total, summary.done, summary.kept) == (4, 4, 0)
    after = (labels / "a.txt").read_bytes()
    assert after.startswith(before["a.txt"] + b"\n")
    assert [row.split()[0] for row in after.splitlines() if row] == [b"1", b"0", b"1", b"0", b"2"]
    assert (labels / "data.yaml").read_bytes() == before["data.yaml"]
    found = record(labels, "a.png")
    assert [one.source for one in found.instances] == [Origin.EXISTING] * 2 + [Origin.MACHINE] * 3
    assert [one.place for one in found.instances] == [0, 1, None, None, None]
    assert [one.class_id for one in found.instances] == [1, 0, 1, 0, 2]
    assert mask_iou(found.instances[0].mask, mask_of(2, 2, 20, 20)) > 0.8
    assert ["--existing-iou 0.5" in one.reason for one in found.dropped] == [True]
    assert len(record(labels, "d.png").instances) == 0 and (labels / "d.txt").read_bytes() == b""


def test_add__of_another_class_or_below_the_bound_is_added(folder) -> None:
    put_labels(folder, names="[disc, ring]")  # now the disc of a.png is a ring to them
    run(folder, existing="add")
    assert len(record(folder / "labels", "a.png").instances) == 2 + 4
    run(folder, folder / "labels", existing="add", existing_iou=1, overwrite=True)
    assert not record(folder / "labels", "a.png").dropped


@pytest.mark.parametrize("lost", ["record, line", "line", "label, line", "label", ""])
def test_add__ends_the_same_wherever_it_was_interrupted(folder, lost) -> None:
    before, labels = put_labels(folder), folder / "labels"
    run(folder, existing="add")
    whole = files(labels)
    if "label" in lost or "record" in lost:  # between record and label, or before both
        (labels / "a.txt").write_bytes(before["a.txt"])
    if "record" in lost:
        (labels / ".samcli/records/a.png.json").unlink()
    if "line" in lost:
        (labels / ".samcli/journal.jsonl").unlink()
        run(folder, existing="add")
        assert files(labels) == whole
    run(folder, existing="add", overwrite=True)
    assert files(labels) == whole


def test_add__leaves_labels_alone_of_which_a_row_cannot_be_read(folder) -> None:
    put_labels(folder)
    label = folder / "labels" / "a.txt"
    label.write_bytes(b"0 0.1 0.2\n")
    summary = run(folder, existing="add")
    assert label.read_bytes() == b"0 0.1 0.2\n"
    assert list(summary.failures) == ["a.png"] and "left as they are" in summary.failures["a.png"]


def test_add__an_image_that_changes_and_cannot_be_read_any_more_has_its_own_labels_again(folder) -> None:
    before, labels = put_labels(folder), folder / "labels"
    run(folder, existing="add")
    (folder / "images" / "a.png").write_bytes(b"no image")
    assert list(run(folder, existing="add").failures) == ["a.png"]
    assert (labels / "a.txt").read_bytes() == before["a.txt"]


def test_add__to_coco_keeps_the_bytes_of_the_file_and_the_ids_of_its_categories(folder) -> None:
    run(folder, folder / "full", format=("coco",))
    full = json.loads((folder / "full" / "annotations.json").read_bytes())
    ids = {2: 40, 1: 44}  # of ring and disc
    lacking = {
        "licenses": [],
        "annotations": [
            {**row, "image_id": 7 * row["image_id"], "category_id": ids[row["category_id"]], "id": 100 + row["id"]}
            for row in full["annotations"]
            if row["category_id"] in ids and row["id"] % 2 and row["image_id"] < 3
        ],
        "images": [
            {**row, "id": 7 * row["id"]} for row in full["images"] if row["file_name"] in ("a.png", "b.png")
        ],
        "categories": [{"id": 40, "name": "Ring"}, {"id": 44, "name": "disc"}],
    }
    labels = folder / "coco"
    labels.mkdir()
    (labels / "annotations.json").write_text(text := json.dumps(lacking, indent=1))
    for _ in range(2):
        run(folder, labels, format=("coco",), existing="add")
        after = (labels / "annotations.json").read_text()
        found = json.loads(after)
        kept = len(lacking["annotations"])
        assert found["annotations"][:kept] == lacking["annotations"] and kept
        assert found["images"][:2] == lacking["images"]
        assert found["categories"] == [*lacking["categories"], {"id": 45, "name": "cross", "supercategory": ""}]
        lines = (line.rstrip(",") for line in after.splitlines())
        assert all(line.rstrip(",") in lines for line in text.splitlines())  # all of them, in order
        assert len(found["annotations"]) == len(full["annotations"]) and len(found["images"]) == 4
        assert len({row["id"] for row in found["annotations"]}) == len(found["annotations"])
        assert {row["image_id"] for row in found["annotations"]} <= {row["id"] for row in found["images"]}
    shutil.rmtree(labels / ".samcli")
    (labels / "annotations.json").write_text(text)
    summary = run(folder, labels, format=("coco",), existing="keep")
    assert (summary.done, summary.kept) == (2, 2)
    found = json.loads((labels / "annotations.json").read_text())
    assert found["annotations"][:kept] == lacking["annotations"] and len(found["annotations"]) == kept + 1


@pytest.mark.parametrize("mode", ["keep", "add"])
def test_take_back__leaves_what_was_there_before(folder, mode) -> None:
    before = put_labels(folder)
    run(folder, existing=mode)
    taken = take_back(folder / "labels")
    assert taken.images == {"keep": 2, "add": 4}[mode]
    assert files(folder / "labels") == before
    with pytest.raises(UsageError, match="no run"):
        take_back(folder / "labels")


def test_take_back__refuses_a_run_that_was_alone(folder) -> None:
    run(folder)
    before = files(folder / "labels")
    with pytest.raises(UsageError, match="nothing to go back to"):
        take_back(folder / "labels")
    assert files(folder / "labels") == before


def test_add__names_the_formats_that_it_cannot_add_to(folder) -> None:
    (folder / "labels" / "a").mkdir(parents=True)
    (folder / "labels" / "a" / "metadata.csv").write_bytes(b"somebody's")
    summary = run(folder, format=("masks",), existing="add")
    assert "cannot add to labels of the format masks" in summary.failures["a.png"]
    assert (folder / "labels" / "a" / "metadata.csv").read_bytes() == b"somebody's"
    for mode in ("keep", "add"):
        (folder / mode).mkdir()
        (folder / mode / "cvat.zip").write_bytes(b"somebody's")
        with pytest.raises(UsageError, match=r"cvat.zip was there before.*samcli convert"):
            run(folder, folder / mode, format=("cvat",), existing=mode)
        assert (folder / mode / "cvat.zip").read_bytes() == b"somebody's"


def test_add__leaves_half_of_a_pair_of_maps_alone(folder) -> None:
    (folder / "labels" / "classes").mkdir(parents=True)
    (folder / "labels" / "classes" / "a.png").write_bytes(b"somebody's")
    summary = run(folder, format=("png",), existing="add")
    assert "left as they are" in summary.failures["a.png"]
    assert (folder / "labels" / "classes" / "a.png").read_bytes() == b"somebody's"


def test_merged_classes__keeps_numbers_and_adds_new_names_after_them() -> None:
    merged = merged_classes({2: "Car", 5: "dog"}, {0: "person", 1: "car ", 2: "bus"})
    assert merged.names == {2: "Car", 5: "dog", 6: "person", 7: "bus"}
    assert merged.ids == {0: 6, 1: 2, 2: 7}


@dataclass(frozen=True)
class FindAgain(Find):
    """Finds all that a folder of YOLO labels has, a little shifted; breaks off before the image `stop`."""

    labels: Path = Path()
    stop: str = ""

    def load(self, plan: Plan, models: Models) -> Worker:
        beside = beside_existing(Rereader(self.labels, self.stop), self, plan)
        return Worker(beside.annotator, plan.labels, self.formats, self.shapes, limits=self.options.input)


class Rereader:
    on_cpu = True

    def __init__(self, folder: Path, stop: str) -> None:
        self.names = read_names(max(folder.parent.glob("names*.yaml")))
        self._folder, self._stop = folder, stop

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        if any(image.ref.key == self._stop for image in images):
            raise StorageError("the machine goes down")
        return [AnnotatedImage(self._annotation(image)) for image in images]

    def _annotation(self, image: Image) -> Annotation:
        label = self._folder / f"{Path(image.ref.key).stem}.txt"
        data = label.read_bytes() if label.is_file() else b""
        found = replace(read_rows(image.ref.key, data, self.names, str(label)), size=image.image_size).drawn()[0]
        shifted = (replace(one, mask=Mask.from_pixels(np.roll(one.mask.pixels(), 1, 1))) for one in found.instances)
        return replace(found, instances=tuple(shifted))


def remove_half(everything: Path, labels: Path) -> dict[Path, bytes]:
    """Write every other row of each label file to another folder, the last row of some without a line break."""
    labels.mkdir(parents=True, exist_ok=True)
    left = {}
    for number, label in enumerate(sorted(everything.glob("*.txt"))):
        rows = label.read_bytes().splitlines(keepends=True)
        left[labels / label.name] = b"".join(rows[number % 2 :: 2]).rstrip(b"\n" * (number % 3))
    for path, data in left.items():
        path.write_bytes(data)
    return left


def overlaps(labels: Path) -> list[float]:
    """Return for each added object its highest IoU with one of its class that was there before."""
    found = []
    for path in (labels / ".samcli" / "records").iterdir():
        instances = read_record(path.read_bytes()).instances
        before = [one for one in instances if one.source is Origin.EXISTING]
        for one in instances:
            same = [other for other in before if other.class_id == one.class_id]
            if one.source is not Origin.EXISTING:
                found.append(max((mask_iou(one.mask, other.mask) for other in same), default=0.0))
    return found


def check_half_removed(images: Path, everything: Path, folder: Path) -> int:
    """Remove half of the objects, have them found again, in one go and interrupted; return how many were added."""
    options = AutoAnnotateOptions.of(precision="fp32", existing="add")
    left = remove_half(everything, folder / "whole")
    assert not run_job(FindAgain(options, everything), images, folder / "whole").failures
    added = overlaps(folder / "whole")
    assert max(added) <= 0.5
    kept = {path: path.read_bytes().splitlines(keepends=True) for path in left}
    for path, data in left.items():
        assert b"".join(kept[path]).startswith(data)
    stops = sorted(path.name for path in images.iterdir())[3::40]
    remove_half(everything, folder / "again")
    for stop in stops:
        with pytest.raises(StorageError):
            run_job(FindAgain(options, everything, stop), images, folder / "again")
    assert not run_job(FindAgain(options, everything), images, folder / "again").failures
    assert files(folder / "again") == files(folder / "whole")
    return len(added)


def make_photos(folder: Path) -> tuple[Path, Path]:
    """Write 12 images with triangles of two classes, and their labels; return the folders of both."""
    chance = np.random.default_rng(5)
    for name in ("images", "everything"):
        (folder / name).mkdir()
    (folder / "names.yaml").write_text("names: [first, second]\n")
    for number in range(12):
        Picture.new("RGB", (120, 90)).save(folder / "images" / f"{number}.png")
        rows = []
        for x, y in chance.uniform(0.05, 0.7, (number, 2)):
            corners = (x, y, x + 0.25, y, x + 0.1, y + 0.25)
            rows.append(" ".join([str(number % 2), *(f"{value:.6f}" for value in corners)]) + "\n")
        (folder / "everything" / f"{number}.txt").write_text("".join(rows))
    return folder / "images", folder / "everything"


def test_add__to_half_of_the_objects_gives_the_others_back(tmp_path) -> None:
    """No kept row changes, nothing is added that overlaps one of its class by more than the bound."""
    assert check_half_removed(*make_photos(tmp_path), tmp_path) > 20


@pytest.mark.slow
def test_add__to_half_of_the_objects_of_real_photos_gives_the_others_back(coco_photos, tmp_path) -> None:
    """The same of 128 photos."""
    assert check_half_removed(coco_photos, coco_photos.parent / "labels-polygons", tmp_path) > 300

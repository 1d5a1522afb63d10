"""A review takes instances out of the labels and puts them back, loses nothing, and never hits another mask."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ODD_NAMES
from runs import KEY, annotation_of, label_of, layout_of, manifest_of, marks, write_review

from samcli.config import ConvertOptions
from samcli.files import remove_temporary_files
from samcli.labels.convert import convert
from samcli.labels.formats import FORMATS
from samcli.masks import Mask
from samcli.output.journal import read_journal
from samcli.output.layout import Layout
from samcli.output.manifest import Recipe, write_manifest
from samcli.output.records import rejection
from samcli.review.apply import DOUBT_FORMULA, apply_review, as_labelled, doubt, instance_hash
from samcli.types import Annotation, Dropped, ImageMark, Instance, Quality, Verdict, Withheld

OTHER = ODD_NAMES[1]

NOTHING = dict.fromkeys(
    ("images", "rejected", "bad_masks", "restored", "accepted", "incomplete", "excluded", "complete", "remade"), 0
)
"""What a review that changes nothing says."""


def files(folder: Path) -> dict[str, bytes]:
    """Everything of the run but its journal, which only grows."""
    found = (path for path in (folder / "labels").rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): path.read_bytes() for path in found if path.name != "journal.jsonl"}


def set_formats(folder: Path, *names: str) -> None:
    """Let the run's recipe have these formats; the fingerprint stays as it is."""
    manifest = manifest_of(folder)
    recipe = Recipe({**manifest.recipe.values, "format": list(names)})
    write_manifest(layout_of(folder).manifest, replace(manifest, recipe=recipe))


@pytest.fixture
def apply(samcli_run, run_folder):
    """Apply a review of `KEY` (index to mark; a mark of the image), or these rows; gives what it says as JSON."""

    def run(
        verdicts: dict[int, str] | None = None, rows: list[dict[str, Any]] | None = None, image: str | None = None
    ) -> dict[str, int]:
        images = [] if image is None else [{"key": KEY, "mark": image}]
        path = write_review(run_folder, marks(run_folder, verdicts or {}) if rows is None else rows, images=images)
        result = samcli_run("apply-review", run_folder / "labels", path, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def refused(samcli_run, run_folder):
    """Apply these rows, which must be refused in a line and leave every file as it was; gives the line."""

    def run(rows: list[dict[str, Any]], **changes: Any) -> str:
        path = write_review(run_folder, rows, **changes)
        before = files(run_folder)
        result = samcli_run("apply-review", run_folder / "labels", path)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert files(run_folder) == before
        return result.stderr

    return run


# Doubt, and which instance is which.


def test_doubt__is_what_its_formula_says() -> None:
    assert DOUBT_FORMULA == "1 − predicted IoU × stability × box IoU"
    assert doubt(Quality(predicted_iou=0.9, stability=0.8, box_iou=0.5)) == pytest.approx(1 - 0.9 * 0.8 * 0.5)


def test_doubt__is_documented_as_it_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "review.md"
    if not page.is_file():
        pytest.skip("the docs are in the repository only")
    assert f"**Doubt = {DOUBT_FORMULA}**" in page.read_text(encoding="utf-8")


def test_doubt__leaves_out_what_is_absent_and_cuts_what_lies_outside() -> None:
    assert doubt(Quality(detector_score=0.3)) is None
    assert doubt(Quality(predicted_iou=1.04)) == 0
    assert doubt(Quality(predicted_iou=1.04, stability=0.75)) == 0.25
    assert doubt(Quality(predicted_iou=-0.2, stability=0.75)) == 1


def square(side: int) -> Mask:
    pixels = np.zeros((20, 30), bool)
    pixels[2 : 2 + side, 3 : 3 + side] = True
    return Mask.from_pixels(pixels)


def test_instance_hash__is_of_class_and_mask_alone() -> None:
    own = instance_hash(Instance(square(5), 1, Quality(0.9)))
    assert own == instance_hash(Instance(square(5), 1, Quality(0.2), (1.0, 2.0, 3.0, 4.0)))
    assert own != instance_hash(Instance(square(5), 2))
    assert own != instance_hash(Instance(square(6), 1))


def test_as_labelled__puts_rejected_instances_back_in_their_places() -> None:
    a, b, c, d = (Instance(square(side), side) for side in (2, 3, 4, 5))
    gone = [rejection(a, 0, Verdict.NO_OBJECT), rejection(c, 2, Verdict.BAD_MASK)]
    annotation = Annotation("1.jpg", (20, 30), (b, d), (Dropped("empty mask", 9), *gone))
    assert as_labelled(annotation) == [(a, Verdict.NO_OBJECT), (b, None), (c, Verdict.BAD_MASK), (d, None)]


def test_as_labelled__refuses_places_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="damaged"):
        as_labelled(Annotation("1.jpg", (20, 30), (), (rejection(Instance(square(2), 0), 3, Verdict.BAD_MASK),)))


# Applying.


def test_rejected_instance__leaves_the_labels_and_stays_whole_in_the_record(apply, run_folder) -> None:
    before, rows = annotation_of(run_folder), label_of(run_folder).read_text().splitlines()
    assert len(rows) == len(before.instances) > 3  # a row an instance, so that rows tell which is gone
    assert apply({1: "no_object", 3: "no_object", 0: "accept"}) == {
        **NOTHING, "images": 1, "rejected": 2, "accepted": 1,
    }  # fmt: skip
    after = annotation_of(run_folder)
    assert label_of(run_folder).read_text().splitlines() == [row for i, row in enumerate(rows) if i not in (1, 3)]
    assert after.instances == tuple(instance for i, instance in enumerate(before.instances) if i not in (1, 3))
    assert after.dropped[len(before.dropped) :] == (
        rejection(before.instances[1], 1, Verdict.NO_OBJECT),
        rejection(before.instances[3], 3, Verdict.NO_OBJECT),
    )
    assert as_labelled(after) == [
        (instance, Verdict.NO_OBJECT if index in (1, 3) else None)
        for index, instance in enumerate(before.instances)
    ]


def test_rejected_instance__leaves_every_format_of_the_run(apply, run_folder) -> None:
    layout, count = layout_of(run_folder), len(annotation_of(run_folder).instances)
    masks, overlay = Path(layout.label(KEY, "")), Path(layout.label(KEY, ".overlay.jpg"))
    drawn = overlay.read_bytes()
    assert len(list(masks.glob("*.png"))) == count
    apply({0: "no_object"})
    assert len(list(masks.glob("*.png"))) == count - 1
    assert overlay.read_bytes() != drawn


def test_accepting_again__restores_every_byte(apply, run_folder) -> None:
    before = files(run_folder)
    apply({1: "no_object", 2: "no_object"})
    assert files(run_folder) != before
    assert apply({2: "accept", 1: "accept"})["restored"] == 2
    after = files(run_folder)
    after.pop(str(run_folder / "review.json"), None)
    assert after == before


def test_restoring_one__leaves_the_other_rejected(apply, run_folder) -> None:
    before = annotation_of(run_folder)
    apply({0: "no_object", 2: "no_object"})
    apply({0: "accept"})
    assert [verdict for _, verdict in as_labelled(annotation_of(run_folder))].count(Verdict.NO_OBJECT) == 1
    assert annotation_of(run_folder).instances == before.instances[:2] + before.instances[3:]


def test_nothing_rejected__changes_no_byte(apply, run_folder) -> None:
    journal = layout_of(run_folder).journal
    before, lines = files(run_folder), journal.read_bytes()
    assert apply({0: "accept", 1: "accept"}) == {**NOTHING, "accepted": 2}
    assert apply(rows=[])["accepted"] == 0
    assert files(run_folder) == before
    assert journal.read_bytes() == lines


def test_labels_made_again_from_records__are_the_bytes_that_the_run_wrote(apply, run_folder) -> None:
    """Rejecting and restoring in one image must not be needed to see it: the writers are the run's own."""
    before = files(run_folder)
    for key in (*ODD_NAMES, "stones.tif"):
        apply(rows=marks(run_folder, {0: "no_object"}, key))
        apply(rows=marks(run_folder, {0: "accept"}, key))
    assert files(run_folder) == before


def test_applying_twice__is_applying_once(apply, run_folder) -> None:
    apply({1: "no_object"})
    once = files(run_folder)
    assert apply({1: "no_object"}) == NOTHING
    assert files(run_folder) == once


def test_everything_rejected_as_no_object__leaves_an_empty_label(apply, run_folder) -> None:
    apply(dict.fromkeys(range(len(annotation_of(run_folder).instances)), "no_object"))
    assert label_of(run_folder).read_bytes() == b""


def test_review__of_many_images_at_once(apply, run_folder) -> None:
    rows = [row for key in (*ODD_NAMES, "stones.tif") for row in marks(run_folder, {0: "no_object"}, key)]
    assert apply(rows=rows)["images"] == 4
    assert all(as_labelled(annotation_of(run_folder, key))[0][1] for key in (*ODD_NAMES, "stones.tif"))


def test_journal__counts_what_is_labelled_now(apply, run_folder, samcli_run) -> None:
    before = json.loads(samcli_run("status", run_folder / "labels", "--json").stdout)
    entry = read_journal(layout_of(run_folder).journal)[KEY]
    apply({0: "no_object", 1: "no_object"})
    after = json.loads(samcli_run("status", run_folder / "labels", "--json").stdout)
    assert after["instances"] == before["instances"] - 2
    assert after["dropped"] == before["dropped"] + 2
    assert after["done"] == before["done"]
    now = read_journal(layout_of(run_folder).journal)[KEY]
    assert (now.size, now.mtime_ns, now.whole_name) == (entry.size, entry.mtime_ns, entry.whole_name)


def test_resume__sees_reviewed_images_as_done(apply, run_folder, samcli_run, monkeypatch) -> None:
    apply({0: "no_object", 1: "no_object"})
    before = files(run_folder)
    monkeypatch.setattr("samcli.jobs.auto_annotate.AutoAnnotate.load", lambda *_: pytest.fail("a model was loaded"))
    formats = [word for name in ("yolo", "masks", "overlay") for word in ("--format", name)]
    models = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32"]
    result = samcli_run("auto-annotate", run_folder / "images", *models, *formats, "--json")
    assert json.loads(result.stdout)["skipped"] == 5
    assert files(run_folder) == before


@pytest.mark.parametrize("survive", range(1, 4))
def test_interrupted_review__is_completed_by_applying_it_again(run_folder, apply, monkeypatch, survive) -> None:
    import samcli.labels.writing
    import samcli.output.placing
    import samcli.review.apply

    apply({1: "no_object"})
    once = files(run_folder)
    apply({1: "accept"})
    written = []

    def write_some(path: Path, data: Any, write: Any) -> None:
        written.append(path)
        if len(written) > survive:
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        for module, name in ((samcli.labels.writing, "write_atomic"), (samcli.output.placing, "write_files")):
            original = getattr(module, name)
            patch.setattr(module, name, lambda path, data, write=original: write_some(path, data, write))
        with pytest.raises(KeyboardInterrupt):
            samcli.review.apply.apply_review(
                run_folder / "labels", write_review(run_folder, marks(run_folder, {1: "no_object"}))
            )
    assert files(run_folder) != once
    apply({1: "no_object"})
    assert files(run_folder) == once


def test_interrupted_exchange_of_two_of_a_class__is_completed_too(run_folder, apply) -> None:
    """The journal's counts are the same before and after: they cannot tell that the labels are the old ones."""
    classes = [instance.class_id for instance in annotation_of(run_folder).instances]
    first = next(i for i, class_id in enumerate(classes) if class_id in classes[i + 1 :])
    second = classes.index(classes[first], first + 1)
    apply({first: "no_object"})
    old = label_of(run_folder).read_bytes()
    apply({first: "accept", second: "no_object"})
    once = files(run_folder)
    label_of(run_folder).write_bytes(old)  # as if it had stopped after the record
    apply({first: "accept", second: "no_object"})
    assert files(run_folder) == once


@pytest.fixture
def with_coco(run_folder, samcli_run) -> Path:
    """`annotations.json` of the run, which has COCO among its formats."""
    set_formats(run_folder, *manifest_of(run_folder).recipe.formats, "coco")
    layout_of(run_folder).unfolded.touch()  # the file is not there yet
    review = write_review(run_folder, marks(run_folder, {0: "accept"}))
    assert samcli_run("apply-review", run_folder / "labels", review).exit_code == 0
    return run_folder / "labels" / "annotations.json"


@pytest.mark.parametrize(("before", "mark"), [("no_object", "accept"), ("accept", "no_object")])
def test_review__interrupted_in_the_file_of_all_images_is_completed_by_applying_it_again(
    apply, run_folder, with_coco, monkeypatch, before, mark
) -> None:
    apply({1: mark})
    once = files(run_folder)
    apply({1: before})
    stale = with_coco.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    review = write_review(run_folder, marks(run_folder, {1: mark}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("samcli.output.run_folder.write_atomic_pieces", interrupted)
        apply_review(run_folder / "labels", review)
    assert with_coco.read_bytes() == stale
    assert layout_of(run_folder).unfolded.exists()
    apply({1: mark})
    assert files(run_folder) == once


def test_review__with_a_record_that_cannot_be_read_keeps_the_file_of_all_images(
    run_folder, with_coco, samcli_run
) -> None:
    stale = with_coco.read_bytes()
    record = Path(layout_of(run_folder).record(ODD_NAMES[1]))
    whole = record.read_bytes()
    record.write_bytes(b"{")
    review = write_review(run_folder, marks(run_folder, {1: "no_object"}))
    result = samcli_run("apply-review", run_folder / "labels", review)
    assert (result.exit_code, with_coco.read_bytes()) == (1, stale)
    assert "is as it was before the review" in result.stderr
    record.write_bytes(whole)
    assert samcli_run("apply-review", run_folder / "labels", review).exit_code == 0
    assert len(json.loads(with_coco.read_bytes())["images"]) == 5
    assert with_coco.read_bytes() != stale


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.needs <= {"pixels"}])
def test_every_format__is_what_the_reviewed_records_convert_to(apply, run_folder, name) -> None:
    set_formats(run_folder, name)
    apply({0: "no_object"})
    convert(run_folder / "labels", run_folder / "expected", ConvertOptions(format=(name,)))
    expected = Layout(run_folder / "images", run_folder / "expected")
    pairs = [
        (layout.label(KEY, suffix) for layout in (layout_of(run_folder), expected))
        for suffix in FORMATS[name].suffixes
    ]
    if folded := FORMATS[name].folded_name:
        pairs.append(layout.output / folded for layout in (layout_of(run_folder), expected))
    assert pairs
    for found, wanted in pairs:
        assert content(Path(found)) == content(Path(wanted))


def content(path: Path) -> dict[str, bytes]:
    """Of a file, or of the files of a folder, by name."""
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


def test_format_of_all_images__is_made_again(apply, run_folder, monkeypatch) -> None:
    from samcli.labels.formats import LabelFormat

    class Counts(LabelFormat):
        folded_name = "counts.txt"

        def fold(self, renderings, names):
            yield from (f"{len(rendering.annotation.instances)} ".encode() for rendering in renderings)

    monkeypatch.setitem(FORMATS, "counts", Counts())
    set_formats(run_folder, *manifest_of(run_folder).recipe.formats, "counts")
    apply({0: "no_object"})
    journal = read_journal(layout_of(run_folder).journal)
    expected = [sum(dict(journal[key].instances).values()) for key in sorted(journal) if journal[key].done]
    assert (run_folder / "labels" / "counts.txt").read_text().split() == [str(count) for count in expected]


# Bad masks, and marks of whole images.


def aside(folder: Path, suffix: str = ".txt") -> Path:
    """Where the label of `KEY` is kept while trainers do not get the image."""
    layout = layout_of(folder)
    return Path(layout.aside(layout.label(KEY, suffix)))


def test_everything_rejected_as_bad_mask__leaves_no_label_where_trainers_look(apply, run_folder) -> None:
    count = len(annotation_of(run_folder).instances)
    said = apply(dict.fromkeys(range(count), "bad_mask"))
    assert said == {**NOTHING, "images": 1, "rejected": count, "bad_masks": count, "incomplete": 1}
    assert not label_of(run_folder).exists()
    assert aside(run_folder).read_bytes() == b""
    assert annotation_of(run_folder).withheld is Withheld.INCOMPLETE
    assert b".samcli/train.txt" in (run_folder / "labels" / "data.yaml").read_bytes()
    assert read_journal(layout_of(run_folder).journal)[KEY].withheld is Withheld.INCOMPLETE


def test_bad_mask__keeps_every_format_of_the_image_aside_and_no_other_image(apply, run_folder) -> None:
    before = files(run_folder)
    apply({0: "bad_mask"})
    layout = layout_of(run_folder)
    for suffix in (".txt", "", ".overlay.jpg"):
        assert not Path(layout.label(KEY, suffix)).exists()
        assert aside(run_folder, suffix).exists()
    after = files(run_folder)
    moved = {str(layout.label(KEY, suffix)) for suffix in (".txt", "", ".overlay.jpg")} | {layout.record(KEY)}
    moved.add(str(layout.output / "data.yaml"))  # it names a list of the other images
    others = {path for path in before if not any(path.startswith(one) for one in moved)}
    assert {path: before[path] for path in others} == {path: after[path] for path in others}


def test_accepting_a_bad_mask_again__restores_every_byte_in_its_place(apply, run_folder) -> None:
    before = files(run_folder)
    apply({0: "bad_mask", 2: "no_object"})
    assert apply({0: "accept", 2: "accept"})["complete"] == 1
    assert files(run_folder) == before
    assert read_journal(layout_of(run_folder).journal)[KEY].withheld is None


def test_bad_mask_that_becomes_no_object__makes_the_image_complete(apply, run_folder) -> None:
    apply({0: "bad_mask"})
    rest = aside(run_folder).read_bytes()
    said = apply({0: "no_object"})
    assert (said["images"], said["complete"], said["rejected"], said["restored"]) == (1, 1, 0, 0)
    assert label_of(run_folder).read_bytes() == rest
    assert not aside(run_folder).exists()


def test_complete__is_a_persons_word_against_bad_masks_until_a_new_one(apply, run_folder) -> None:
    apply({0: "bad_mask"})
    assert apply(image="complete")["complete"] == 1
    assert label_of(run_folder).exists()
    assert annotation_of(run_folder).mark is ImageMark.COMPLETE
    assert apply({0: "bad_mask"}) == NOTHING  # the earlier review again
    assert label_of(run_folder).exists()
    assert apply({1: "bad_mask"})["incomplete"] == 1
    assert not label_of(run_folder).exists()


def test_complete__with_bad_masks_in_one_review_counts(apply, run_folder) -> None:
    said = apply({0: "bad_mask"}, image="complete")
    assert (said["incomplete"], said["rejected"]) == (0, 1)
    assert label_of(run_folder).exists()


def test_exclude__takes_the_label_aside_until_it_is_cleared(apply, run_folder) -> None:
    before = files(run_folder)
    assert apply(image="exclude") == {**NOTHING, "images": 1, "excluded": 1}
    assert not label_of(run_folder).exists()
    assert aside(run_folder).read_bytes() == before[str(label_of(run_folder))]
    assert apply(image="exclude") == NOTHING
    assert apply(image="clear")["complete"] == 1
    assert files(run_folder) == before


def test_reject_of_an_older_review__is_a_bad_mask(run_folder, samcli_run) -> None:
    path = write_review(run_folder, marks(run_folder, {0: "reject"}), version=1)
    result = samcli_run("apply-review", run_folder / "labels", path, "--json")
    assert json.loads(result.stdout)["incomplete"] == 1
    assert as_labelled(annotation_of(run_folder))[0][1] is Verdict.BAD_MASK
    assert not label_of(run_folder).exists()


def test_review_of_an_older_version__applied_again_takes_its_images_aside(apply, run_folder) -> None:
    """It left the label in its place, and a record without a verdict."""
    apply({0: "no_object"})
    record = Path(layout_of(run_folder).record(KEY))
    older = json.loads(record.read_bytes())
    del older["dropped"][-1]["verdict"]
    older["dropped"][-1]["reason"] = "rejected in review"
    record.write_text(json.dumps(older))
    assert label_of(run_folder).exists()
    apply({0: "bad_mask"})
    assert not label_of(run_folder).exists()
    assert aside(run_folder).exists()


def test_review__of_a_run_of_an_earlier_version_writes_all_polygons_alike(apply, run_folder) -> None:
    wanted = files(run_folder)
    manifest = manifest_of(run_folder)
    earlier = {name: value for name, value in manifest.recipe.values.items() if name != "polygons"}
    write_manifest(layout_of(run_folder).manifest, replace(manifest, recipe=Recipe(earlier)))
    label_of(run_folder, OTHER).write_bytes(b"0 0.1 0.1 0.2 0.1 0.2 0.2\n")  # as that version wrote it
    assert apply({0: "no_object"})["remade"] == 4
    assert apply({0: "accept"})["remade"] == 4
    path = str(label_of(run_folder, OTHER))
    assert files(run_folder)[path] == wanted[path]
    assert not layout_of(run_folder).unfolded.exists()


@pytest.mark.parametrize(("first", "then"), [("accept", "bad_mask"), ("bad_mask", "accept")])
@pytest.mark.parametrize("survive", range(7))
def test_interrupted_change_of_place__leaves_each_label_in_one_place_and_is_completed(
    run_folder, apply, monkeypatch, first, then, survive
) -> None:
    """`survive`: so many files are renamed, by which they are written and moved, before it is killed."""
    apply({0: then})
    wanted = files(run_folder)
    apply({0: first})
    layout, renamed = layout_of(run_folder), []

    def rename(self: Path, target: Path) -> None:
        if len(renamed) == survive:
            raise KeyboardInterrupt
        renamed.append(target)
        os.replace(self, target)  # noqa: PTH105 - Path's is the one that is patched

    review = write_review(run_folder, marks(run_folder, {0: then}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", rename)
        apply_review(run_folder / "labels", review)
    for suffix in (".txt", ".overlay.jpg"):  # no folder can be replaced by another without a moment in between
        label = layout.label(KEY, suffix)
        assert Path(label).exists() != Path(layout.aside(label)).exists(), suffix
    remove_temporary_files(layout.output)  # as every command does after one that was killed
    apply({0: then})
    assert files(run_folder) == wanted


def test_resume__takes_labels_that_are_kept_aside_for_done(apply, run_folder, samcli_run, monkeypatch) -> None:
    apply({0: "bad_mask"})
    before = files(run_folder)
    monkeypatch.setattr("samcli.jobs.auto_annotate.AutoAnnotate.load", lambda *_: pytest.fail("a model was loaded"))
    formats = [word for name in ("yolo", "masks", "overlay") for word in ("--format", name)]
    models = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32"]
    result = samcli_run("auto-annotate", run_folder / "images", *models, *formats, "--json")
    assert json.loads(result.stdout)["skipped"] == 5
    assert files(run_folder) == before


def test_file_of_all_images__leaves_incomplete_ones_out(apply, run_folder, with_coco) -> None:
    whole = with_coco.read_bytes()
    apply({0: "bad_mask"})
    assert KEY not in {image["file_name"] for image in json.loads(with_coco.read_bytes())["images"]}
    apply({0: "accept"})
    assert with_coco.read_bytes() == whole


def test_page__says_what_apply_review_did(apply, run_folder, samcli_run) -> None:
    review = write_review(
        run_folder, marks(run_folder, {0: "bad_mask"}), images=[{"key": "stones.tif", "mark": "exclude"}]
    )
    said = samcli_run("apply-review", run_folder / "labels", review).stdout
    assert "1 object removed, 1 for a bad mask" in said
    assert "incomplete" in said
    assert "excluded" in said


# Who gets the images then.


@pytest.fixture
def reviewed(run_folder, samcli_run) -> Path:
    """A run with one image incomplete, `stones.tif` excluded, and all objects of another rejected as none."""
    rows = marks(run_folder, {0: "bad_mask"})
    rows += marks(
        run_folder, dict.fromkeys(range(len(annotation_of(run_folder, OTHER).instances)), "no_object"), OTHER
    )
    review = write_review(run_folder, rows, images=[{"key": "stones.tif", "mark": "exclude"}])
    assert samcli_run("apply-review", run_folder / "labels", review).exit_code == 0
    return run_folder


def in_splits(folder: Path) -> set[str]:
    with (folder / "splits.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {row["key"] for row in csv.DictReader(file)}


def test_dataset__has_no_incomplete_and_no_excluded_image(reviewed, tmp_path, samcli_run) -> None:
    words = ["--images", reviewed / "images", "--labels", reviewed / "labels", "--split", "0.5/0.5", "--json"]
    said = json.loads(samcli_run("dataset", tmp_path / "skip", *words).stdout)
    assert (said["incomplete"], said["excluded"]) == ([KEY], ["stones.tif"])
    assert in_splits(tmp_path / "skip") == {OTHER, ODD_NAMES[2], "nothing.jpg"}
    said = json.loads(samcli_run("dataset", tmp_path / "keep", *words, "--incomplete", "keep").stdout)
    assert in_splits(tmp_path / "keep") == {OTHER, ODD_NAMES[2], "nothing.jpg", KEY}
    assert (said["incomplete"], said["excluded"]) == ([KEY], ["stones.tif"])


def test_dataset__with_unlabelled_as_background_takes_no_incomplete_image(reviewed, tmp_path, samcli_run) -> None:
    words = ["--images", reviewed / "images", "--labels", reviewed / "labels", "--unlabelled", "background"]
    assert samcli_run("dataset", tmp_path / "out", *words).exit_code == 0
    assert not {KEY, "stones.tif"} & in_splits(tmp_path / "out")


def test_verify__counts_and_lists_them(reviewed, samcli_run) -> None:
    found = json.loads(samcli_run("verify", reviewed / "labels", "--json").stdout)["findings"]
    assert (found["image-incomplete"]["count"], found["image-excluded"]["examples"]) == (1, ["stones.tif"])
    assert "image-without-label" not in {kind for kind, one in found.items() if KEY in one["examples"]}


def test_status__counts_and_lists_them(reviewed, samcli_run) -> None:
    said = json.loads(samcli_run("status", reviewed / "labels", "--json").stdout)
    assert (said["incomplete"], said["excluded"]) == ([KEY], ["stones.tif"])
    assert "1 incomplete, 1 excluded" in samcli_run("status", reviewed / "labels").stdout
    assert "stones.tif: excluded" in samcli_run("status", reviewed / "labels", "--incomplete").stdout


def test_convert__of_a_run_leaves_them_out_and_says_so(reviewed, tmp_path, samcli_run) -> None:
    def converted(*words: str) -> set[str]:
        target = tmp_path / "-".join(["coco", *words])
        said = json.loads(
            samcli_run("convert", reviewed / "labels", "--to", "coco", "-o", target, *words, "--json").stdout
        )
        assert said["withheld"]["stones.tif"] == "excluded"
        assert any("1 excluded image left out" in note for note in said["notes"])
        return {image["file_name"] for image in json.loads((target / "annotations.json").read_bytes())["images"]}

    assert converted() == {OTHER, ODD_NAMES[2], "nothing.jpg"}
    assert converted("--incomplete", "keep") == {OTHER, ODD_NAMES[2], "nothing.jpg", KEY}


# Refusals.


def test_review_of_another_run__is_refused(refused) -> None:
    assert "reviews a run with other options (eeeeeeee" in refused([], fingerprint="e" * 64)


def test_image_that_is_gone__and_would_be_drawn_on_changes_no_other_either(refused, run_folder) -> None:
    keys = sorted(key for key, entry in read_journal(layout_of(run_folder).journal).items() if entry.done)
    rows = [
        row
        for key in keys
        if annotation_of(run_folder, key).instances
        for row in marks(run_folder, {0: "no_object"}, key)
    ]
    last = rows[-1]["key"]
    assert last != rows[0]["key"]
    (run_folder / "images" / last).unlink()
    assert f"1 of them cannot be read, '{last}' first. Nothing was changed" in refused(rows)


def test_review_of_other_masks__is_refused_whole(refused, run_folder) -> None:
    rows = marks(run_folder, {0: "no_object", 1: "no_object"})
    rows[1]["hash"] = "0" * 16
    assert "instance 1 of" in refused(rows)
    assert "is not the one that was reviewed" in refused(rows)


def test_review__with_instances_exchanged_is_refused(refused, run_folder) -> None:
    rows = marks(run_folder, {0: "no_object", 1: "accept"})
    rows[0]["index"], rows[1]["index"] = 1, 0
    assert "is not the one that was reviewed" in refused(rows)


@pytest.mark.parametrize("index", [-1, 99])
def test_review__of_an_instance_that_is_not_there_is_refused(refused, run_folder, index) -> None:
    assert f"instance {index} of" in refused([{**marks(run_folder, {0: "no_object"})[0], "index": index}])


@pytest.mark.parametrize("key", ["elsewhere.jpg", "../../etc/passwd", "broken.jpg"])
def test_review__of_an_image_that_is_not_labelled_is_refused(refused, run_folder, key) -> None:
    assert "which this run has not labelled" in refused([{**marks(run_folder, {0: "no_object"})[0], "key": key}])


@pytest.mark.parametrize(
    "change",
    [
        {"mark": "maybe"}, {"index": "0"}, {"index": True}, {"hash": 5}, {"key": None}, {"key": ["a"]},
    ],
)  # fmt: skip
def test_review__with_a_mark_that_makes_no_sense_is_refused(refused, run_folder, change) -> None:
    rows = [*marks(run_folder, {1: "no_object"}), {**marks(run_folder, {0: "no_object"})[0], **change}]
    assert "has a mark (number 1) without" in refused(rows)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": "coco"}, "is no review"),
        ({"version": 3}, "is a review of version 3, not 1 or 2"),
        ({"images": {}}, "lacks its fingerprint or its marks"),
        ({"images": [{"key": "a.jpg", "mark": "finished"}]}, "has a mark of an image (number 0) without key"),
        ({"images": [{"key": 5, "mark": "complete"}]}, "has a mark of an image (number 0) without key"),
        ({"marks": {}}, "lacks its fingerprint or its marks"),
        ({"fingerprint": None}, "lacks its fingerprint or its marks"),
    ],
)
def test_file_of_another_kind__is_refused(refused, changes, why) -> None:
    assert why in refused([], **changes)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1", b"[" * 100_000])
def test_file_that_is_no_json__is_refused(run_folder, samcli_run, content) -> None:
    (run_folder / "review.json").write_bytes(content)
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "review.json")
    assert result.exit_code == 2
    assert "is not JSON" in result.stderr


def test_review_that_is_not_there__is_refused(run_folder, samcli_run) -> None:
    result = samcli_run("apply-review", run_folder / "labels", run_folder / "nothing.json")
    assert result.exit_code == 2
    assert "cannot read the review" in result.stderr


def test_folder_without_a_run__is_refused(tmp_path, run_folder, samcli_run) -> None:
    result = samcli_run("apply-review", tmp_path, write_review(run_folder, []))
    assert result.exit_code == 2
    assert "no run in" in result.stderr


def test_run_at_work__is_left_alone(run_folder, samcli_run) -> None:
    from samcli.output.locks import locked

    with locked(layout_of(run_folder)):
        result = samcli_run("apply-review", run_folder / "labels", write_review(run_folder, []))
    assert result.exit_code == 1
    assert "another samcli is at work" in result.stderr


def test_format_that_needs_the_networks__is_refused(refused, run_folder) -> None:
    set_formats(run_folder, *manifest_of(run_folder).recipe.formats, "logits")
    assert "--format logits" in refused(marks(run_folder, {0: "no_object"}))

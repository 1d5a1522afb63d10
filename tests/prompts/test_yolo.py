"""YOLO label folders: boxes in pixels, polygons kept as they are, one image's bad file fails that image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from samcli.errors import ImageError, UsageError
from samcli.images import find_images, probe_image
from samcli.polygons import normalise
from samcli.prompts import PromptSource, group, kept_mask, open_prompts

SIZE = (200, 400)


def labels(folder: Path, files: dict[str, str], names: str | None = "names: [cat, dog, bird]\n") -> Path:
    root = folder / "labels"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if names is not None:
        (root / "data.yaml").write_text(names)
    return root


def opened(folder: Path, *rows: str, names: str | None = "names: [cat, dog, bird]\n") -> PromptSource:
    """The labels of one image, `a/1.jpg`."""
    return open_prompts(labels(folder, {"a/1.txt": "\n".join(rows)}, names)).matched(["a/1.jpg"])


def test_rows__become_boxes_in_pixels_and_polygons_in_their_order(tmp_path) -> None:
    source = opened(tmp_path, "2 0.5 0.5 0.25 0.5", "0 0 0 0.5 0 0.5 0.5", "", "1.0 0.1 0.1 0.1 0.1 0.75")
    first, second, third = source.for_image("a/1.jpg", SIZE)
    assert (first.box, first.class_id, first.score) == ((150, 50, 250, 150), 2, None)
    assert second.rings == (((-0.5, -0.5), (199.5, -0.5), (199.5, 99.5)),)
    assert (second.box, second.class_id) == (None, 0)
    assert third.box == pytest.approx((20, 10, 60, 30))
    assert (third.class_id, third.score) == (1, 0.75)
    assert third.where == f"{tmp_path}/labels/a/1.txt:4"
    assert source.names == {0: "cat", 1: "dog", 2: "bird"}
    assert source.recipe() == {"prompts": "yolo", "names": ["cat", "dog", "bird"]}


def test_polygon__may_carry_a_score_too(tmp_path) -> None:
    (prompt,) = opened(tmp_path, "1 0 0 1 0 1 1 0.5").for_image("a/1.jpg", SIZE)
    assert (len(prompt.rings[0]), prompt.score) == (3, 0.5)


def test_values__just_outside_are_rounding_and_cut(tmp_path) -> None:
    source = opened(tmp_path, "0 0.01 0.5 0.0200002 1.0001", "0 -0.004 0 1.009 0 1 1")
    box, polygon = source.for_image("a/1.jpg", SIZE)
    assert box.box[0] == 0
    assert (box.box[1], box.box[3]) == (0, 200)
    assert polygon.rings == (((-0.5, -0.5), (399.5, -0.5), (399.5, 199.5)),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 100 50 20 30", "'100'; expected numbers from 0 to 1"),
        ("0 0.5 0.5 nan 0.5", "'nan'; expected numbers"),
        ("0 0.5 0.5 x 0.5", "'x'; expected numbers"),
        ("0 0.5 0.5 0 0.5", "expected a width and height above 0"),
        ("0 0.5 0.5 0.5", "4 values; expected 'class x y w h'"),
        ("0", "1 values; expected"),
        ("cat 0.5 0.5 0.5 0.5", "class 'cat'; expected a whole number"),
        ("-1 0.5 0.5 0.5 0.5", "class '-1'"),
        ("0.5 0.5 0.5 0.5 0.5", "class '0.5'"),
        ("3 0.5 0.5 0.5 0.5", "class 3 has no name; names has 3, 0 to 2"),
    ],
)
def test_bad_row__is_left_out_alone_and_said_with_its_line(tmp_path, row, reason) -> None:
    root = labels(tmp_path, {"a.txt": f"0 .5 .5 .5 .5\n\n{row}\n", "b.txt": f"{row}\n"})
    source = open_prompts(root).matched(["a.jpg", "b.jpg"])
    assert len(source.for_image("a.jpg", SIZE)) == 1
    (note,) = [note for note in source.notes if "left out" in note]
    assert "1 object was left out" in note and reason in note and "labels/a.txt:3" in note
    with pytest.raises(ImageError, match=r"labels/b\.txt:1"):  # nothing known is not nothing there
        source.for_image("b.jpg", SIZE)


def test_file__that_cannot_be_read_fails_its_image_alone(tmp_path) -> None:
    root = labels(tmp_path, {"a.txt": "", "b.txt": "", "c.txt": ""})
    (root / "a.txt").write_bytes(b"\xff\xfe\x00")
    (root / "b.txt").unlink()
    (root / "b.txt").mkdir()
    source = open_prompts(root).matched(["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(ImageError, match=r"a\.txt: it is not UTF-8 text"):
        source.for_image("a.jpg", SIZE)
    with pytest.raises(ImageError, match=r"b.txt cannot be read: Is a directory"):
        source.for_image("b.jpg", SIZE)
    assert source.for_image("c.jpg", SIZE) == []


def test_empty_file__is_no_objects_and_a_missing_one_says_nothing(tmp_path) -> None:
    source = open_prompts(labels(tmp_path, {"a/1.txt": ""})).matched(["a/1.jpg", "a/2.jpg"])
    assert list(source.keys()) == ["a/1.jpg"]
    assert source.digest("a/1.jpg") != source.digest("a/2.jpg") == ""
    assert source.for_image("a/2.jpg", SIZE) == []
    assert any("1 of 2 images have no label file" in note for note in source.notes)


def test_no_label_at_all__is_refused_with_the_name_that_was_expected(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"none of 2 images has a label file .* expected .*/labels/train/1.txt"):
        open_prompts(labels(tmp_path, {"1.txt": ""})).matched(["train/1.jpg", "train/2.jpg"])


def test_one_label_name_for_two_images__is_the_firsts(tmp_path) -> None:
    root = labels(tmp_path, {"1.txt": "0 .5 .5 .5 .5", "2.txt": "0 .5 .5 .5 .5", "2.png.txt": ""})
    source = open_prompts(root).matched(["1.jpg", "1.png", "2.jpg", "2.png"])
    assert len(source.for_image("1.jpg", SIZE)) == len(source.for_image("2.jpg", SIZE)) == 1
    assert source.for_image("2.png", SIZE) == []
    for ask in (lambda: source.for_image("1.png", SIZE), lambda: source.digest("1.png")):
        with pytest.raises(ImageError, match=r"1.txt is the label file of 1.jpg; name this one's 1.png.txt"):
            ask()


def test_digest__is_of_the_files_content(tmp_path) -> None:
    source = opened(tmp_path, "0 .5 .5 .5 .5")
    before = source.digest("a/1.jpg")
    file = tmp_path / "labels" / "a" / "1.txt"
    os.utime(file, (1, 1))
    assert source.digest("a/1.jpg") == before
    file.write_text("1 .5 .5 .5 .5")
    assert source.digest("a/1.jpg") != before


# Names


def test_names__are_found_up_to_the_folder_above_labels(tmp_path) -> None:
    root = labels(tmp_path / "data", {"train/1.txt": ""}, None)
    (tmp_path / "data.yaml").write_text("names: [wrong]")
    assert open_prompts(root / "train").names == {0: "object"}
    (tmp_path / "data" / "data.yaml").write_text("names: {1: dog, 3: bird}")
    source = open_prompts(root / "train")
    assert source.names == {0: "class0", 1: "dog", 2: "class2", 3: "bird"}
    assert f"class names from {tmp_path}/data/data.yaml" in source.notes
    (root / "classes.txt").write_text("cat\r\ndog\n\n")
    assert open_prompts(root / "train").names == {0: "cat", 1: "dog"}


def test_names__may_come_from_any_file_that_is_said(tmp_path) -> None:
    root = labels(tmp_path, {"1.txt": "1 .5 .5 .5 .5"})
    (tmp_path / "boxes.yaml").write_text("names: [horse, cow]")
    source = open_prompts(root, tmp_path / "boxes.yaml").matched(["1.jpg"])
    assert source.names == {0: "horse", 1: "cow"}
    assert f"class names from {tmp_path}/boxes.yaml" in source.notes


def test_class__in_a_gap_between_the_names_is_refused(tmp_path) -> None:
    source = opened(tmp_path, "2 .5 .5 .5 .5", names="names: {1: dog, 3: bird}")
    with pytest.raises(ImageError, match="class 2 has no name"):
        source.for_image("a/1.jpg", SIZE)


def test_names__without_any_file_stand_for_the_numbers_found(tmp_path) -> None:
    root = labels(tmp_path, {"1.txt": "2 .5 .5 .5 .5\n", "2.txt": "0 0 0 1 0 1 1\n", "3.txt": "x y\n"}, None)
    source = open_prompts(root).matched(["1.jpg", "2.jpg", "3.jpg"])
    assert source.names == {0: "class0", 1: "class1", 2: "class2"}
    assert source.recipe()["names"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: [", "cannot read .*data.yaml"),
        ("nc: 3", "has no 'names'"),
        ("names: {a: cat}", "expected a class id and its name"),
        ("names: [cat]\nkpt_shape: [17, 3]", "labels of key points"),
    ],
)
def test_data_yaml__that_is_wrong_is_refused(tmp_path, text, reason) -> None:
    with pytest.raises(UsageError, match=reason):
        open_prompts(labels(tmp_path, {"1.txt": ""}, text))


def test_names__that_repeat_or_are_empty_become_usable_and_a_note_says_so(tmp_path) -> None:
    source = open_prompts(labels(tmp_path, {"1.txt": ""}, "names: [cat, cat, '']"))
    assert source.names == {0: "cat", 1: "cat-1", 2: "class2"}
    assert len([note for note in source.notes if "class is called" in note]) == 2


def test_names__may_be_numbers(tmp_path) -> None:
    assert opened(tmp_path, "0 .5 .5 .5 .5", names="names: [7, 9]").names == {0: "7", 1: "9"}


# Polygons that are kept


def test_kept_polygon__is_drawn_as_the_trainer_does_and_written_as_it_was(tmp_path) -> None:
    row = "1 0.100000 0.200000 0.612345 0.250000 0.500000 0.900001 0.110000 0.800000"
    (prompt,) = opened(tmp_path, row).for_image("a/1.jpg", SIZE)
    mask = kept_mask(prompt, SIZE)
    assert mask.box == (40, 40, 245, 181)
    (ring,) = prompt.rings
    assert "1 " + " ".join(f"{value:.6f}" for value in normalise(np.array(ring), *SIZE).ravel()) == row
    assert group([prompt]) == []


@pytest.mark.parametrize("kind", ["labels-boxes", "labels-polygons"])
def test_real_labels__come_back_as_they_are(coco_photos, kind) -> None:
    """941 boxes and 746 polygons of 128 photos: to the sixth digit, and every mask has pixels."""
    folder = coco_photos.parent / kind
    refs = find_images(coco_photos)
    source = open_prompts(folder).matched([ref.key for ref in refs])
    for ref in refs:
        if ref.key not in source.keys():  # noqa: SIM118
            continue
        size = probe_image(ref, 10**9).image_size
        rows = (folder / ref.key).with_suffix(".txt").read_text().splitlines()
        prompts = source.for_image(ref.key, size)
        assert len(prompts) == len(rows)
        for prompt, row in zip(prompts, rows, strict=True):
            class_id, *values = map(float, row.split())
            assert prompt.class_id == class_id
            if prompt.rings:
                shares = (np.array(prompt.rings[0]) + 0.5) / size[::-1]
                np.testing.assert_allclose(shares.ravel(), values, atol=1e-9)
                assert kept_mask(prompt, size).area
            else:
                x, y, w, h = values
                corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * [*size[::-1], *size[::-1]]
                np.testing.assert_allclose(prompt.box, corners, atol=0.01)
